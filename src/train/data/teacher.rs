//! A teacher's greatest logits for each token of a file of ids, on disk: computed once, mapped, checked whole when opened.
//!
//! Little-endian: magic (8), version (u32), how many of each token (u32), tokens (u64), the fingerprint of the ids (u32), that of the
//! teacher (8 bytes), zeros up to 64; for each token its top: id (u32) and logit (f32), greatest first; a CRC-32 of all before it.

use std::io::Write;
use std::path::Path;

use super::ids::Ids;
use crate::engine::{Context, Token};
use crate::error::{Code, Result, fail, try_vec};
use crate::memory::map::Map;
use crate::memory::save::SaveFile;
use crate::train::distill::{MAX_TOP, Top};

const MAGIC: &[u8; 8] = b"QORUSTOP";
const VERSION: u32 = 1;
const HEADER: usize = 64;

/// See the module.
pub struct Teacher {
    map: Map,
    top: usize,
    tokens: u64,
}

impl Teacher {
    /// The file at `path` where it is of these ids, this teacher and so many logits; made anew otherwise, by a context of the teacher for one
    /// sequence. `progress` is told the tokens done and of all, and cancels by saying false.
    ///
    /// Errors: `InvalidArgument` for a teacher of another vocabulary or a number of logits out of range; `Cancelled`; `Io`. The file is
    /// then what it was.
    pub fn prepare(
        path: &Path,
        ids: &Ids,
        ctx: &mut Context,
        top: usize,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Teacher> {
        let vocab = ctx.model().graph.out_width();
        if vocab != ids.vocab() as usize || !(1..=MAX_TOP.min(vocab)).contains(&top) {
            fail!(
                InvalidArgument,
                "a teacher of {vocab} tokens for a student of {}, {top} logits each: both need one vocabulary, and 1 to {MAX_TOP} logits",
                ids.vocab()
            );
        }
        let header = header(ids, ctx, top);
        match Teacher::open(path) {
            Ok(found) if found.map.get(..HEADER) == Some(&header) => return Ok(found),
            Ok(_) => {}
            Err(e) if matches!(e.code(), Code::NotFound | Code::Format | Code::Unsupported) => {}
            Err(e) => return Err(e),
        }
        let mut out = Sum { file: SaveFile::create(path)?, crc: crc32fast::Hasher::new(), path };
        out.put(&header)?;
        let (most, slice) = (ctx.params().n_ctx, ctx.params().n_outputs.max(1));
        let (mut row, mut tokens) = (try_vec(vocab, "logits")?, try_vec::<Token>(slice, "tokens")?);
        let mut done = 0;
        for no in 0..ids.samples() {
            let Some(sample) = ids.sample(no) else { break };
            for at in 0..sample.len {
                // A sample that is longer than the teacher's context goes on in a new one.
                let pos = (at % most as u64) as u32;
                if pos == 0 {
                    ctx.truncate(0, 0)?;
                }
                let (id, _) = ids.token(sample.start + at)?;
                tokens.push(Token { id, seq: 0, pos, logits: true });
                if tokens.len() == slice || at + 1 == sample.len || pos as usize + 1 == most {
                    ctx.decode(&tokens)?;
                    for i in 0..tokens.len() {
                        out.put(bytemuck::cast_slice(greatest(ctx.logits(i)?, top, &mut row)))?;
                    }
                    done += tokens.len() as u64;
                    tokens.clear();
                    if !progress(done, ids.tokens()) {
                        fail!(Cancelled, "{}: asking the teacher was cancelled", path.display());
                    }
                }
            }
        }
        out.finish()?;
        Teacher::open(path)
    }

    /// Maps a file and compares it with its checksum. Errors: `NotFound`, `Format`.
    pub fn open(path: &Path) -> Result<Teacher> {
        let (name, map) = (path.display(), Map::open(path)?);
        let damaged =
            || crate::Error::new(Code::Format, format!("{name}: is no whole file of a teacher's logits: delete it"));
        let head = map.get(..HEADER).filter(|h| h.starts_with(MAGIC)).ok_or_else(damaged)?;
        let int = |at: usize| head.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b));
        let (top, tokens) = (int(12) as usize, u64::from(int(16)) | u64::from(int(20)) << 32);
        let bytes =
            usize::try_from(tokens).ok().and_then(|n| n.checked_mul(top)).and_then(|n| n.checked_mul(size_of::<Top>()));
        let end = bytes.and_then(|n| n.checked_add(HEADER)).filter(|end| end.checked_add(4) == Some(map.len()));
        let (body, crc) = map.split_at(end.ok_or_else(damaged)?);
        if int(8) != VERSION || !(1..=MAX_TOP).contains(&top) || crc32fast::hash(body).to_le_bytes() != crc {
            return Err(damaged());
        }
        Ok(Teacher { map, top, tokens })
    }

    /// Logits of each token.
    pub fn top(&self) -> usize {
        self.top
    }

    /// Those of token `at` of the ids, greatest first. `InvalidArgument` behind the last.
    pub fn row(&self, at: u64) -> Result<&[Top]> {
        if at >= self.tokens {
            fail!(InvalidArgument, "the teacher's logits of token {at} of {} were asked for", self.tokens);
        }
        let each = self.top * size_of::<Top>();
        let from = HEADER + at as usize * each;
        Ok(bytemuck::cast_slice(self.map.get(from..from + each).unwrap_or_default()))
    }
}

fn header(ids: &Ids, ctx: &Context, top: usize) -> [u8; HEADER] {
    let mut head = [0; HEADER];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[12..16].copy_from_slice(&(top as u32).to_le_bytes());
    head[16..24].copy_from_slice(&ids.tokens().to_le_bytes());
    let key = ids.key();
    let mut crc = crc32fast::Hasher::new();
    [key.source, key.settings, key.tokenizer].iter().for_each(|part| crc.update(&part.to_le_bytes()));
    head[24..28].copy_from_slice(&crc.finalize().to_le_bytes());
    if let Some(gguf) = &ctx.model().gguf {
        head[28..36].copy_from_slice(&crate::adapter::base_hash(gguf)[..8]);
    }
    head
}

/// The `top` greatest of a row, greatest first; equal ones in the order of their tokens.
fn greatest<'a>(logits: &[f32], top: usize, row: &'a mut Vec<Top>) -> &'a [Top] {
    row.clear();
    row.extend(logits.iter().enumerate().map(|(id, logit)| Top { id: id as u32, logit: *logit }));
    let order = |a: &Top, b: &Top| b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id));
    if top < row.len() {
        row.select_nth_unstable_by(top, order);
        row.truncate(top);
    }
    row.sort_unstable_by(order);
    row
}

/// A file under way, with its checksum.
struct Sum<'a> {
    file: SaveFile,
    crc: crc32fast::Hasher,
    path: &'a Path,
}

impl Sum<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.crc.update(bytes);
        match self.file.write_all(bytes) {
            Ok(()) => Ok(()),
            Err(e) => fail!(Io, "{}: cannot be written: {e}; is the disk full?", self.path.display()),
        }
    }

    fn finish(mut self) -> Result<()> {
        let crc = self.crc.clone().finalize().to_le_bytes();
        self.put(&crc)?;
        self.file.commit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_come_first() {
        let mut row = Vec::new();
        let ids = |x: &[f32], top, row: &mut Vec<Top>| greatest(x, top, row).iter().map(|t| t.id).collect::<Vec<_>>();
        assert_eq!(ids(&[1.0, 5.0, -2.0, 5.0, 3.0], 3, &mut row), [1, 3, 4]);
        assert_eq!(ids(&[1.0, 2.0], 2, &mut row), [1, 0]);
    }
}
