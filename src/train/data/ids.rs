//! The file of ids beside a run: what tokenising made of a data set, mapped and read by offset.
//!
//! Little-endian: a header of [`HEADER`] bytes; for each token its id, the highest bit of which says that it counts for the loss;
//! zeros up to a multiple of 8; for each sample 16 bytes: where it ends (in tokens from the first sample on, u64), the CRC-32 of
//! its ids as they stand there, and how many of its targets count.
//!
//! Header: magic (8), version (u32), [`Key`] (4 x u32 and u64: see there), samples (u64), tokens (u64), vocabulary (u32),
//! CRC-32 of the table (u32), CRC-32 of the header up to here (u32), [`Sifted`] (4 x u64), CRC-32 of these (u32), zeros.
//!
//! The bit of a sample's first token, which is nobody's target, is its label in a set of judged answers.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::sift::Sifted;
use crate::error::{Result, fail};
use crate::memory::map::Map;
use crate::memory::save::SaveFile;

pub(super) const MAGIC: &[u8; 8] = b"QORUSIDS";
const VERSION: u32 = 1;
/// Bytes before the first id.
pub const HEADER: usize = 128;
/// The bit of a token that counts for the loss.
pub(super) const COUNTS: u32 = 1 << 31;
/// Bytes of a sample in the table.
const ENTRY: usize = 16;

/// What a file was made from. A file with another key is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// CRC-32 of the bytes of all sources, in order.
    pub source: u32,
    /// CRC-32 of how they were read: the kind and the settings that change ids.
    pub settings: u32,
    /// CRC-32 of everything in the vocabulary's file that begins with `tokenizer.`.
    pub tokenizer: u32,
    /// The bytes of all sources.
    pub bytes: u64,
}

/// A data set as ids. Shared between threads.
pub struct Ids {
    map: Map,
    name: String,
    key: Key,
    samples: u64,
    tokens: u64,
    vocab: u32,
    /// The table's offset.
    table: usize,
    sifted: Sifted,
}

/// One sample of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its first token, counted over all samples.
    pub start: u64,
    /// Its tokens.
    pub len: u64,
    /// CRC-32 of its ids with their bits: equal samples have equal ones.
    pub crc: u32,
    /// How many of its tokens but the first count for the loss; at most `u32::MAX`.
    pub counted: u32,
}

impl Ids {
    /// Maps a file that [`prepare`](super::prepare()) wrote and checks its lengths and its table against each other.
    ///
    /// Errors: those of [`Map::open`]; `Format` for a file that is something else, damaged or cut; `Unsupported` for another
    /// version.
    pub fn open(path: &Path) -> Result<Ids> {
        let name = path.display().to_string();
        let map = Map::open(path)?;
        let Some(h) = map.get(..HEADER) else {
            fail!(Format, "{name}: has {} bytes, a file of ids has {HEADER} at least: delete it", map.len());
        };
        if !h.starts_with(MAGIC) {
            fail!(Format, "{name}: is no file of ids: delete it or choose another name");
        }
        let (int, long) = (|at| u32_at(h, at), |at| u64_at(h, at));
        if int(8) != VERSION {
            fail!(Unsupported, "{name}: has version {} of files of ids, expected {VERSION}: delete it", int(8));
        }
        if int(60) != crc32fast::hash(&h[..60]) {
            fail!(Format, "{name}: its header is damaged: delete it");
        }
        if int(96) != crc32fast::hash(&h[64..96]) {
            fail!(Format, "{name}: its header is damaged, or of an older version: delete it");
        }
        let sifted = Sifted { equal: long(64), alike: long(72), cut: long(80), lost: long(88) };
        let key = Key { source: int(12), settings: int(16), tokenizer: int(20), bytes: long(24) };
        let (samples, tokens, vocab) = (long(32), long(40), int(48));
        let layout = || {
            let ids = usize::try_from(tokens).ok()?.checked_mul(4)?;
            let table = HEADER.checked_add(ids)?.checked_next_multiple_of(8)?;
            Some((table, table.checked_add(usize::try_from(samples).ok()?.checked_mul(ENTRY)?)?))
        };
        let Some((table, end)) = layout().filter(|l| l.1 == map.len()) else {
            fail!(
                Format,
                "{name}: has {} bytes, which {samples} samples of {tokens} tokens do not have: it was cut; delete it",
                map.len()
            );
        };
        if crc32fast::hash(map.get(table..end).unwrap_or(&[])) != int(52) {
            fail!(Format, "{name}: its table of samples is damaged: delete it");
        }
        let ids = Ids { map, name, key, samples, tokens, vocab, table, sifted };
        let mut last = 0;
        for no in 0..samples {
            let end = ids.end(no);
            if end < last || end > tokens {
                fail!(Format, "{}: sample {no} ends at token {end}, after {last} of {tokens}: delete it", ids.name);
            }
            last = end;
        }
        if last != tokens {
            fail!(Format, "{}: its samples have {last} tokens, it has {tokens}: delete it", ids.name);
        }
        Ok(ids)
    }

    /// The number of samples.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The number of tokens of all samples.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// The size of the vocabulary: every id is below it.
    pub fn vocab(&self) -> u32 {
        self.vocab
    }

    /// What the file was made from.
    pub fn key(&self) -> Key {
        self.key
    }

    /// What was left out and cut when it was made.
    pub fn sifted(&self) -> Sifted {
        self.sifted
    }

    /// The file's path, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A sample, or None from `samples` on.
    pub fn sample(&self, no: u64) -> Option<Sample> {
        if no >= self.samples {
            return None;
        }
        let start = if no == 0 { 0 } else { self.end(no - 1) };
        let entry = self.table + no as usize * ENTRY;
        let (crc, counted) = (u32_at(&self.map, entry + 8), u32_at(&self.map, entry + 12));
        // Checked when it was opened, but a mapped file can be written to.
        Some(Sample { start, len: self.end(no).saturating_sub(start), crc, counted })
    }

    /// How many targets a row of whole samples can have at most, by the greatest share of them that one has.
    pub fn counts_at_most(&self, row: usize) -> usize {
        let share = |sample: Sample| sample.counted as f64 / sample.len.saturating_sub(1).max(1) as f64;
        let greatest = (0..self.samples).filter_map(|no| self.sample(no)).map(share).fold(0.0, f64::max);
        ((row as f64 * greatest).ceil() as usize).clamp(1, row.max(1))
    }

    /// Token `at`, counted over all samples, and whether it counts for the loss.
    ///
    /// Errors: `InvalidArgument` behind the last, `Format` for an id outside the vocabulary.
    pub fn token(&self, at: u64) -> Result<(u32, bool)> {
        if at >= self.tokens {
            fail!(InvalidArgument, "{}: token {at} of {} was asked for", self.name, self.tokens);
        }
        let word = u32_at(&self.map, HEADER + 4 * at as usize);
        let id = word & !COUNTS;
        if id >= self.vocab {
            fail!(
                Format,
                "{}: token {at} is {id}, the vocabulary has {}: the file is damaged; delete it",
                self.name,
                self.vocab
            );
        }
        Ok((id, word & COUNTS != 0))
    }

    /// `FileChanged` if the file was cut, rewritten or replaced since it was opened.
    pub fn check_unchanged(&self) -> Result<()> {
        self.map.check_unchanged()
    }

    /// Reads the whole file and compares each sample with its checksum, each id with the vocabulary. Errors: `Format` naming
    /// the sample.
    pub fn verify(&self) -> Result<()> {
        for no in 0..self.samples {
            let Some(sample) = self.sample(no) else { break };
            let from = HEADER + 4 * sample.start as usize;
            let bytes = self.map.get(from..from + 4 * sample.len as usize).unwrap_or(&[]);
            if crc32fast::hash(bytes) != sample.crc {
                fail!(Format, "{}: sample {no} is damaged: delete the file", self.name);
            }
            for at in sample.start..sample.start + sample.len {
                self.token(at)?;
            }
        }
        Ok(())
    }

    fn end(&self, no: u64) -> u64 {
        u64_at(&self.map, self.table + no as usize * ENTRY)
    }
}

/// The number at `at`, 0 outside.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

/// The number at `at`, 0 outside.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
}

/// A file of ids on its way: tokens stream to the disk, samples to a file beside it, so that memory does not grow with them.
pub(super) struct IdsWriter {
    file: SaveFile,
    table: Spill,
    samples: u64,
    tokens: u64,
    vocab: u32,
    /// Of the sample under way.
    len: u64,
    counted: u64,
    crc: crc32fast::Hasher,
    table_crc: crc32fast::Hasher,
    path: PathBuf,
}

impl IdsWriter {
    /// Begins the file that will be at `path`, for a vocabulary of that size.
    pub fn create(path: &Path, vocab: u32) -> Result<IdsWriter> {
        if vocab == 0 || vocab > COUNTS {
            fail!(InvalidArgument, "{}: a vocabulary of {vocab} tokens has no file of ids", path.display());
        }
        let mut file = SaveFile::create(path)?;
        // The header's place: it is written last, when its numbers are known.
        put(&mut file, &[0; HEADER])?;
        Ok(IdsWriter {
            file,
            table: Spill::create(path)?,
            samples: 0,
            tokens: 0,
            vocab,
            len: 0,
            counted: 0,
            crc: crc32fast::Hasher::new(),
            table_crc: crc32fast::Hasher::new(),
            path: path.to_owned(),
        })
    }

    /// The samples so far.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// One more token of the sample under way.
    pub fn push(&mut self, id: u32, counts: bool) -> Result<()> {
        if id >= self.vocab {
            fail!(Internal, "{}: the tokenizer made id {id} of {}", self.path.display(), self.vocab);
        }
        let word = (if counts { id | COUNTS } else { id }).to_le_bytes();
        self.crc.update(&word);
        self.counted += u64::from(counts && self.len > 0);
        self.len += 1;
        put(&mut self.file, &word)
    }

    /// Ends the sample under way; one without tokens is none.
    pub fn end_sample(&mut self) -> Result<()> {
        let len = std::mem::take(&mut self.len);
        let counted = u32::try_from(std::mem::take(&mut self.counted)).unwrap_or(u32::MAX);
        let crc = std::mem::take(&mut self.crc).finalize();
        if len == 0 {
            return Ok(());
        }
        self.tokens += len;
        self.samples += 1;
        let mut entry = [0; ENTRY];
        entry[..8].copy_from_slice(&self.tokens.to_le_bytes());
        entry[8..12].copy_from_slice(&crc.to_le_bytes());
        entry[12..].copy_from_slice(&counted.to_le_bytes());
        self.table_crc.update(&entry);
        self.table.write(&entry)
    }

    /// Brings it to the disk under its name.
    pub fn finish(mut self, key: Key, sifted: Sifted) -> Result<()> {
        self.end_sample()?;
        let ids = self.tokens.saturating_mul(4);
        let pad = (8 - ids % 8) % 8;
        put(&mut self.file, &[0; 8][..pad as usize])?;
        self.table.drain(&mut self.file)?;
        let mut h = [0; HEADER];
        h[..8].copy_from_slice(MAGIC);
        h[24..32].copy_from_slice(&key.bytes.to_le_bytes());
        h[32..40].copy_from_slice(&self.samples.to_le_bytes());
        h[40..48].copy_from_slice(&self.tokens.to_le_bytes());
        let ints = [(8, VERSION), (12, key.source), (16, key.settings), (20, key.tokenizer), (48, self.vocab)];
        for (at, x) in ints.into_iter().chain([(52, self.table_crc.finalize())]) {
            h[at..at + 4].copy_from_slice(&x.to_le_bytes());
        }
        let crc = crc32fast::hash(&h[..60]);
        h[60..64].copy_from_slice(&crc.to_le_bytes());
        for (at, n) in [(64, sifted.equal), (72, sifted.alike), (80, sifted.cut), (88, sifted.lost)] {
            h[at..at + 8].copy_from_slice(&n.to_le_bytes());
        }
        let crc = crc32fast::hash(&h[64..96]);
        h[96..100].copy_from_slice(&crc.to_le_bytes());
        self.file.put_front(&h)?;
        self.file.commit()
    }
}

fn put(file: &mut SaveFile, bytes: &[u8]) -> Result<()> {
    match file.write_all(bytes) {
        Ok(()) => Ok(()),
        // The error names the file.
        Err(e) => fail!(Io, "{e}: it cannot be written; is the disk full?"),
    }
}

/// Bytes that wait on disk, in a file that vanishes with this.
struct Spill {
    file: BufWriter<File>,
    path: PathBuf,
}

impl Spill {
    fn create(beside: &Path) -> Result<Spill> {
        for attempt in 0..100 {
            let path = beside.with_extension(format!("{}.{attempt}.samples.tmp", std::process::id()));
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Spill { file: BufWriter::with_capacity(1 << 16, file), path }),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => fail!(Io, "{}: cannot be written: {e}", path.display()),
            }
        }
        fail!(Io, "{}: left-over files *.samples.tmp beside it are in the way: delete them", beside.display())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self.file.write_all(bytes) {
            Ok(()) => Ok(()),
            Err(e) => fail!(Io, "{}: cannot be written: {e}; is the disk full?", self.path.display()),
        }
    }

    /// Copies all of it to `to`.
    fn drain(&mut self, to: &mut SaveFile) -> Result<()> {
        let name = self.path.display();
        let io = |e: std::io::Error| crate::Error::new(crate::Code::Io, format!("{name}: cannot be copied: {e}"));
        self.file.flush().map_err(io)?;
        let file = self.file.get_mut();
        file.rewind().map_err(io)?;
        let mut part = [0; 1 << 13];
        loop {
            let n = file.read(&mut part).map_err(io)?;
            if n == 0 {
                return Ok(());
            }
            put(to, part.get(..n).unwrap_or(&[]))?;
        }
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
