//! Lines of a file one at a time, in a buffer that a bad file cannot grow.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Result, fail};

/// Opens a regular file for reading from front to end. Errors: `NotFound`, `InvalidArgument` for a directory or a device, `Io`.
pub(super) fn open(path: &Path) -> Result<File> {
    let name = path.display();
    let io = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => Error::new(Code::NotFound, format!("{name}: no such file")),
        _ => Error::new(Code::Io, format!("{name}: cannot be opened: {e}")),
    };
    // Looked at before it is opened: opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        fail!(InvalidArgument, "{name}: is not a regular file: save it to disk first");
    }
    File::open(path).map_err(io)
}

/// The lines of one file, numbered from 1.
pub(super) struct Lines {
    reader: BufReader<File>,
    path: PathBuf,
    line: Vec<u8>,
    max: usize,
    number: u64,
    crc: crc32fast::Hasher,
}

impl Lines {
    /// Reads `path`, whose lines have at most `max` bytes each without their end.
    pub fn open(path: &Path, max: usize) -> Result<Lines> {
        let reader = BufReader::with_capacity(1 << 16, open(path)?);
        let crc = crc32fast::Hasher::new();
        Ok(Lines { reader, path: path.to_owned(), line: Vec::new(), max, number: 0, crc })
    }

    /// The next line's number and bytes without its end (`\n` or `\r\n`) and without a byte-order mark, or None at the end
    /// of the file. Errors: `Format` for a line that is too long, `Io`, `OutOfMemory`.
    pub fn next(&mut self) -> Result<Option<(u64, &[u8])>> {
        self.line.clear();
        let mut any = false;
        self.number += 1;
        loop {
            let seen = match self.reader.fill_buf() {
                Ok(seen) => seen,
                Err(e) => fail!(Io, "{}: cannot be read after line {}: {e}", self.path.display(), self.number - 1),
            };
            if seen.is_empty() {
                break;
            }
            any = true;
            let end = seen.iter().position(|&b| b == b'\n');
            let (part, used) = end.map_or((seen, seen.len()), |at| (&seen[..at], at + 1));
            // One byte of room for the `\r` that does not count.
            if self.line.len() + part.len() > self.max.saturating_add(1) {
                fail!(
                    Format,
                    "{}:{}: the line has more than {} bytes: cut it into several, or raise the limit of a line",
                    self.path.display(),
                    self.number,
                    self.max
                );
            }
            if self.line.try_reserve(part.len()).is_err() {
                fail!(OutOfMemory, "{}:{}: no memory for the line", self.path.display(), self.number);
            }
            self.line.extend_from_slice(part);
            self.crc.update(&seen[..used]);
            self.reader.consume(used);
            if end.is_some() {
                break;
            }
        }
        if !any {
            return Ok(None);
        }
        let mut line = self.line.as_slice();
        line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.number == 1 {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.len() > self.max {
            fail!(
                Format,
                "{}:{}: the line has {} bytes, at most {} are read: cut it into several, or raise the limit of a line",
                self.path.display(),
                self.number,
                line.len(),
                self.max
            );
        }
        Ok(Some((self.number, line)))
    }

    /// The CRC-32 of all bytes read so far, to be combined with those of other files.
    pub fn crc(&self) -> &crc32fast::Hasher {
        &self.crc
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, bytes: &[u8], test: impl FnOnce(&Path)) {
        let path = std::env::temp_dir().join(format!("qorus-lines-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        test(&path);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn ends_and_marks_are_no_part_of_a_line() {
        with("ends", b"\xef\xbb\xbfone\r\n\ntwo\n\xef\xbb\xbfthree", |path| {
            let mut lines = Lines::open(path, 6 + 3).unwrap();
            let mut seen = Vec::new();
            while let Some((no, line)) = lines.next().unwrap() {
                seen.push((no, line.to_vec()));
            }
            assert_eq!(
                seen,
                [(1, b"one".to_vec()), (2, vec![]), (3, b"two".to_vec()), (4, b"\xef\xbb\xbfthree".to_vec())]
            );
            assert_eq!(lines.crc().clone().finalize(), crc32fast::hash(&std::fs::read(path).unwrap()));
        });
    }

    #[test]
    fn a_long_line_is_named_and_not_kept() {
        let mut bytes = b"12345\n12345\r\n".to_vec();
        bytes.extend(vec![b'x'; 1 << 20]);
        with("long", &bytes, |path| {
            let mut lines = Lines::open(path, 5).unwrap();
            assert_eq!(lines.next().unwrap(), Some((1, &b"12345"[..])));
            assert_eq!(lines.next().unwrap(), Some((2, &b"12345"[..])));
            let e = lines.next().unwrap_err();
            assert_eq!(e.code(), Code::Format);
            assert!(e.message().contains(":3: the line has more than 5 bytes"), "{e}");
            assert!(lines.line.capacity() < 1 << 17);
            let mut lines = Lines::open(path, 4).unwrap();
            assert!(lines.next().unwrap_err().message().contains(":1:"));
        });
    }

    #[test]
    fn what_is_no_file_is_refused() {
        assert_eq!(Lines::open(&std::env::temp_dir(), 9).err().unwrap().code(), Code::InvalidArgument);
        assert_eq!(Lines::open(Path::new("/none/there"), 9).err().unwrap().code(), Code::NotFound);
    }
}
