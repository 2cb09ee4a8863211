//! A reader of untrusted bytes: every step is checked against the end before it is taken.

use std::fmt::Display;

use crate::error::{Result, fail};

/// A place in the bytes of one file.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    file: &'a str,
}

impl<'a> Cursor<'a> {
    /// At the beginning of `bytes`; `file` is named in errors.
    pub fn new(bytes: &'a [u8], file: &'a str) -> Self {
        Cursor { bytes, at: 0, file }
    }

    /// The offset reached.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The bytes that are left.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `n` bytes, which are `what`.
    pub fn take(&mut self, n: u64, what: impl Display) -> Result<&'a [u8]> {
        let taken = usize::try_from(n).ok().and_then(|n| Some((n, self.bytes.get(self.at..)?.get(..n)?)));
        let Some((n, bytes)) = taken else {
            fail!(
                Format,
                "{}: {what} at offset {} takes {n} bytes, but only {} are left of the file's {}: it is damaged or cut short, \
                 fetch it again",
                self.file,
                self.at,
                self.left(),
                self.bytes.len()
            );
        };
        self.at += n;
        Ok(bytes)
    }

    pub fn u32(&mut self, what: impl Display) -> Result<u32> {
        Ok(u32::from_le_bytes(self.chunk(what)?))
    }

    pub fn u64(&mut self, what: impl Display) -> Result<u64> {
        Ok(u64::from_le_bytes(self.chunk(what)?))
    }

    /// A string behind its length: `what`.
    pub fn string(&mut self, what: impl Display) -> Result<&'a [u8]> {
        let len = self.u64(format_args!("the length of {what}"))?;
        self.take(len, what)
    }

    /// Walks over `n` strings that follow each other.
    pub fn skip_strings(&mut self, n: u64, of: impl Display) -> Result<()> {
        for i in 0..n {
            let skipped = self.bytes.get(self.at..).and_then(|left| {
                let (len, left) = left.split_first_chunk::<8>()?;
                let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
                (len <= left.len()).then_some(len)
            });
            match skipped {
                Some(len) => self.at += 8 + len,
                // The slow way fails too, and says why.
                None => drop(self.string(format_args!("string {i} of {of}"))?),
            }
        }
        Ok(())
    }

    fn chunk<const N: usize>(&mut self, what: impl Display) -> Result<[u8; N]> {
        let mut chunk = [0; N];
        chunk.copy_from_slice(self.take(N as u64, what)?);
        Ok(chunk)
    }
}

/// A name from the file as messages show it: in quotes, escaped, and no longer than is read at a glance.
pub(super) struct Quoted<'a>(pub &'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 80;
        match self.0.char_indices().nth(SHOWN) {
            Some((end, _)) => write!(f, "{:?}...", self.0.get(..end).unwrap_or_default()),
            None => write!(f, "{:?}", self.0),
        }
    }
}
