//! From a source to its file of ids: tokenised once, in memory that depends on the longest line alone.

use std::io::Read;
use std::path::Path;

use super::asked::Asker;
use super::ids::{Ids, IdsWriter, Key, MAGIC};
use super::lines::{self, Lines};
use super::sample::{Reader, Text};
use super::sift::{Found, Seen, Sift, Sifted};
use super::source::{Kind, Source};
use super::stretch::{read, stretches};
use crate::error::{Code, Result, fail};
use crate::gguf::{Gguf, Value};
use crate::tokenizer::{Encode, Tokenizer};

/// The ids of `source` in the file at `path`: opened if it was made from just these bytes by this vocabulary, made anew
/// otherwise. `gguf` is the file that `tokenizer` was made from. `progress` is told the bytes done and of all (each is read
/// twice: once to compare, once to tokenise) and cancels by saying false.
///
/// BOS goes before each sample where the vocabulary's file says so. A long plain text is encoded in stretches that end behind
/// a line where one ends; a vocabulary that puts a space before every text gets none at the seams.
///
/// Errors: `NotFound`, `Io`, `InvalidArgument` for a source without files; `Format` naming file, line and key for what is no
/// UTF-8, no JSON or lacks a key, and for a set without samples; `FileChanged` when a source changes while it is read;
/// a sample that [`Sift`] finds too long; `Cancelled`; those of the chat template and the tokenizer. After an error the file at `path` is what it was.
pub fn prepare(
    source: &Source,
    gguf: &Gguf,
    tokenizer: &Tokenizer,
    path: &Path,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Ids> {
    source.sift.check()?;
    if source.files.is_empty() {
        fail!(InvalidArgument, "a data set without files: name one at least");
    }
    for file in &source.files {
        if same_file(file, path) {
            fail!(InvalidArgument, "{}: is a source and cannot be its own file of ids", path.display());
        }
    }
    let mut progress = Progress { done: 0, total: 0, tell: progress };
    for file in &source.files {
        let len = lines::open(file)?.metadata().map_or(0, |meta| meta.len());
        progress.total = progress.total.saturating_add(len.saturating_mul(2));
    }
    let key = key(source, gguf, &mut progress)?;
    match Ids::open(path) {
        Ok(ids) if ids.key() == key && ids.vocab() as usize == tokenizer.vocab_len() => return Ok(ids),
        // Another data set's, or half a one: it is this function's own, so it is made anew.
        Ok(_) => {}
        Err(e) if e.code() == Code::NotFound => {}
        Err(e) if matches!(e.code(), Code::Format | Code::Unsupported) && is_ids(path) => {}
        Err(e) => return Err(e),
    }
    let vocab = u32::try_from(tokenizer.vocab_len()).unwrap_or(u32::MAX);
    let mut out = IdsWriter::create(path, vocab)?;
    let mut sifted = Sifted::default();
    let crc = match source.kind {
        Kind::Text => texts(source, tokenizer, &mut out, &mut progress)?,
        _ => jsonl(source, tokenizer, &mut out, &mut progress, &mut sifted)?,
    };
    if crc != key.source {
        fail!(FileChanged, "{}: changed while it was read: start again", names(source));
    }
    if out.samples() == 0 {
        fail!(Format, "{}: the data set has no samples", names(source));
    }
    out.finish(key, sifted)?;
    Ids::open(path)
}

/// How far it is.
struct Progress<'a> {
    done: u64,
    total: u64,
    tell: &'a mut dyn FnMut(u64, u64) -> bool,
}

impl Progress<'_> {
    fn more(&mut self, bytes: usize) -> Result<()> {
        self.done = self.done.saturating_add(bytes as u64);
        if !(self.tell)(self.done.min(self.total), self.total) {
            fail!(Cancelled, "preparing the data was cancelled");
        }
        Ok(())
    }
}

fn names(source: &Source) -> String {
    let names: Vec<String> = source.files.iter().take(3).map(|f| f.display().to_string()).collect();
    let more = if source.files.len() > 3 { ", ..." } else { "" };
    names.join(", ") + more
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Whether a file begins as those of ids do, or with nothing: then it may be replaced.
fn is_ids(path: &Path) -> bool {
    let Ok(mut file) = lines::open(path) else { return false };
    let mut magic = [0; 8];
    file.metadata().is_ok_and(|meta| meta.len() == 0) || (file.read_exact(&mut magic).is_ok() && magic == *MAGIC)
}

/// What the set would be made from now.
fn key(source: &Source, gguf: &Gguf, progress: &mut Progress) -> Result<Key> {
    let mut crc = crc32fast::Hasher::new();
    let mut part = vec![0; 1 << 16];
    let mut bytes = 0;
    for path in &source.files {
        let mut file = lines::open(path)?;
        loop {
            let n = read(&mut file, &mut part, path)?;
            if n == 0 {
                break;
            }
            crc.update(part.get(..n).unwrap_or(&[]));
            bytes += n as u64;
            progress.more(n)?;
        }
    }
    let mut settings = crc32fast::Hasher::new();
    settings.update(&[source.kind as u8, source.end.into()]);
    if source.sift != Sift::default() {
        settings.update(format!("{:?}", source.sift).as_bytes());
    }
    for file in &source.files {
        // Where one file ends and the next begins.
        let len = file.metadata().map_or(0, |meta| meta.len());
        settings.update(&len.to_le_bytes());
    }
    Ok(Key { source: crc.finalize(), settings: settings.finalize(), tokenizer: vocabulary_crc(gguf), bytes })
}

/// CRC-32 of everything that decides how text becomes ids.
fn vocabulary_crc(gguf: &Gguf) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    // A vocabulary's name decides one thing too: Phi-3's files have no key for it.
    for (key, value) in gguf.entries().filter(|(key, _)| key.starts_with("tokenizer.") || *key == "general.name") {
        crc.update(key.as_bytes());
        match value {
            Value::Str(text) => crc.update(text),
            Value::Array(array) => crc.update(array.bytes()),
            other => crc.update(other.to_string().as_bytes()),
        }
    }
    crc.finalize()
}

/// Each file as one sample. Returns the CRC-32 of all bytes.
fn texts(source: &Source, tokenizer: &Tokenizer, out: &mut IdsWriter, progress: &mut Progress) -> Result<u32> {
    let mut crc = crc32fast::Hasher::new();
    let spaced = prefixes_space(tokenizer)?;
    let mut buffer = Vec::new();
    for path in &source.files {
        let mut begun = false;
        let mut seen = |bytes: &[u8]| {
            crc.update(bytes);
            progress.more(bytes.len())
        };
        stretches(path, &mut buffer, &mut seen, &mut |text| {
            // BOS alone, before the first stretch; and the space that a vocabulary puts before a text takes the place of the
            // one that stands there.
            let bos = tokenizer.bos().filter(|_| !begun && tokenizer.adds_bos());
            bos.map_or(Ok(()), |id| out.push(id, true))?;
            let text = if begun && spaced { text.strip_prefix(' ').unwrap_or(text) } else { text };
            begun = true;
            tokenizer.encode_each(text, Encode::default(), |id| out.push(id, true))
        })?;
        if let Some(eos) = tokenizer.eos().filter(|_| begun && source.end) {
            out.push(eos, true)?;
        }
        out.end_sample()?;
    }
    Ok(crc.finalize())
}

/// Whether the vocabulary puts a space before a text.
fn prefixes_space(tokenizer: &Tokenizer) -> Result<bool> {
    let mut first = None;
    tokenizer.encode_each("a", Encode::default(), |id| {
        first.get_or_insert(id);
        Ok(())
    })?;
    Ok(first.is_some_and(|id| tokenizer.raw(id).starts_with("\u{2581}".as_bytes())))
}

/// Each line as one sample, or two. Returns the CRC-32 of all bytes.
fn jsonl(
    source: &Source,
    tokenizer: &Tokenizer,
    out: &mut IdsWriter,
    progress: &mut Progress,
    sifted: &mut Sifted,
) -> Result<u32> {
    let mut reader = Reader::new(tokenizer);
    let mut asker = Asker::new(tokenizer, source.kind);
    let mut seen = Seen::new(&source.sift);
    let mut text = Text::default();
    let mut coder = Coder { tokenizer, sift: source.sift, end: source.end, whole: Vec::new(), head: Vec::new() };
    let mut crc = crc32fast::Hasher::new();
    for path in &source.files {
        let mut lines = Lines::open(path, source.max_line)?;
        while let Some((number, line)) = lines.next()? {
            progress.more(line.len() + 1)?;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let mut one = || -> Result<()> {
                let asked = match source.kind.is_paired() {
                    true => Some(asker.read(line)?),
                    false => reader.read(line, &mut text).map(|()| None)?,
                };
                if seen.looks() {
                    let found = match &asked {
                        Some(asked) => seen.look(&asked.whole())?,
                        None => seen.look(&text.text)?,
                    };
                    match found {
                        Found::New => {}
                        Found::Equal => sifted.equal += 1,
                        Found::Alike => sifted.alike += 1,
                    }
                    if found != Found::New {
                        return Ok(());
                    }
                }
                match asked {
                    Some(asked) => asker.take(asked, &mut |text, label| coder.encode(text, label, out, sifted)),
                    None => coder.encode(&text, false, out, sifted),
                }
            };
            one().map_err(|e| e.context(format_args!("{}:{number}", path.display())))?;
        }
        crc.combine(lines.crc());
    }
    asker.last(&mut |text, label| coder.encode(text, label, out, sifted))?;
    Ok(crc.finalize())
}

/// Turns samples into ids that count or not.
struct Coder<'a> {
    tokenizer: &'a Tokenizer,
    sift: Sift,
    end: bool,
    whole: Vec<u32>,
    head: Vec<u32>,
}

impl Coder<'_> {
    /// The text is encoded whole, as it would be read. A stretch begins where the ids of the text before it end: a token that
    /// reaches over the seam belongs to the later stretch, whose text it decides. The first token's bit is the label.
    fn encode(&mut self, sample: &Text, label: bool, out: &mut IdsWriter, sifted: &mut Sifted) -> Result<()> {
        let how = Encode { bos: false, special: sample.special };
        ids(self.tokenizer, &sample.text, how, &mut self.whole)?;
        if self.whole.is_empty() {
            return Ok(());
        }
        let bos = self.tokenizer.bos().filter(|_| self.tokenizer.adds_bos());
        let eos = self.tokenizer.eos().filter(|_| self.end && sample.end);
        let all = self.whole.len() + usize::from(bos.is_some()) + usize::from(eos.is_some());
        let room = self.room(sample, all)?;
        let (mut at, mut answer) = (0, 0);
        let mut push = |id, counts: bool| {
            at += 1;
            if at > room {
                return Ok(());
            }
            answer += usize::from(counts && at > 1);
            out.push(id, if at == 1 { counts || label } else { counts })
        };
        // Whether the first token counts does not matter: it is never a target.
        if let Some(bos) = bos {
            push(bos, false)?;
        }
        let mut done = 0;
        for (no, &(to, counts)) in sample.stretches.iter().enumerate() {
            let until = if no + 1 == sample.stretches.len() {
                self.whole.len()
            } else {
                ids(self.tokenizer, sample.text.get(..to).unwrap_or(""), how, &mut self.head)?;
                self.head.iter().zip(&self.whole).take_while(|(a, b)| a == b).count()
            };
            for &id in self.whole.get(done..until).unwrap_or(&[]) {
                push(id, counts)?;
            }
            done = done.max(until);
        }
        if let Some(eos) = eos {
            push(eos, true)?;
        }
        if all > room {
            if answer == 0 {
                fail!(
                    Format,
                    "the prompt alone fills the row of {} tokens, so that nothing of the answer is left: shorten it or take a \
                     longer context",
                    self.sift.longest
                );
            }
            sifted.cut += 1;
            sifted.lost += (all - room) as u64;
        }
        out.end_sample()
    }

    /// How many tokens of a sample find room: the last is a target alone.
    fn room(&self, sample: &Text, all: usize) -> Result<usize> {
        let most = self.sift.longest.saturating_add(1);
        if self.sift.longest == 0 || all <= most || sample.stretches.len() < 2 {
            return Ok(all);
        }
        if !self.sift.cut {
            fail!(
                Format,
                "the sample takes {} tokens, a row has {}: take a longer context, cut long answers, or leave it out",
                all - 1,
                self.sift.longest
            );
        }
        Ok(most)
    }
}

/// The ids of a text, in a buffer that is used again.
fn ids(tokenizer: &Tokenizer, text: &str, how: Encode, to: &mut Vec<u32>) -> Result<()> {
    to.clear();
    tokenizer.encode_each(text, how, |id| {
        if to.try_reserve(1).is_err() {
            fail!(OutOfMemory, "no memory for the sample's ids");
        }
        to.push(id);
        Ok(())
    })
}
