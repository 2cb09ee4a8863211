//! Plain text of any length, a stretch at a time, cut where no word reaches over.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::lines;
use crate::error::{Result, fail};

/// Bytes of a stretch at most.
const STRETCH: usize = 1 << 20;

/// Hands the text of a file to `each`, stretch by stretch, without a byte-order mark, and its bytes as they are read to `seen`.
/// `buffer` is memory to be used again.
///
/// Errors: theirs; those of opening; `Io`; `Format` for what is no UTF-8.
pub(super) fn stretches(
    path: &Path,
    buffer: &mut Vec<u8>,
    seen: &mut dyn FnMut(&[u8]) -> Result<()>,
    each: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<()> {
    buffer.resize(STRETCH, 0);
    let mut file = lines::open(path)?;
    // `held` bytes of the buffer are not handed on yet; the first of them is at `at` in the file.
    let (mut held, mut at) = (0, 0u64);
    loop {
        let n = read(&mut file, buffer.get_mut(held..).unwrap_or(&mut []), path)?;
        seen(buffer.get(held..held + n).unwrap_or(&[]))?;
        held += n;
        if n > 0 && held < buffer.len() {
            continue;
        }
        let bytes = buffer.get(..held).unwrap_or(&[]);
        let used = if n == 0 { held } else { seam(bytes) };
        let mark = if at == 0 && bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let text = match std::str::from_utf8(bytes.get(mark..used).unwrap_or(&[])) {
            Ok(text) => text,
            Err(e) => {
                let at = at + (mark + e.valid_up_to()) as u64;
                fail!(Format, "{}: byte {at} is no UTF-8: convert the file to UTF-8", path.display())
            }
        };
        if !text.is_empty() {
            each(text)?;
        }
        buffer.copy_within(used..held, 0);
        (held, at) = (held - used, at + used as u64);
        if n == 0 {
            return Ok(());
        }
    }
}

/// Reads what there is; 0 at the end.
pub(super) fn read(file: &mut File, to: &mut [u8], path: &Path) -> Result<usize> {
    loop {
        match file.read(to) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => fail!(Io, "{}: cannot be read: {e}", path.display()),
            Ok(n) => return Ok(n),
        }
    }
}

/// Where to cut text that goes on: behind the last end of a line that no white space follows, where no pre-tokenizer's word
/// reaches over; else before the last space; else before the last character. Never 0 for a buffer that is full.
fn seam(bytes: &[u8]) -> usize {
    let pair = |is: fn(u8, u8) -> bool| {
        let at = bytes.windows(2).rposition(|w| is(w[0], w[1]))? + 1;
        Some(at)
    };
    let line = pair(|a, b| a == b'\n' && !b.is_ascii_whitespace() && b < 0x80);
    let space = || pair(|a, b| !a.is_ascii_whitespace() && a < 0x80 && b == b' ');
    let letter = || bytes.iter().rposition(|b| b & 0xc0 != 0x80).filter(|&at| at > 0);
    line.or_else(space).or_else(letter).unwrap_or(bytes.len())
}
