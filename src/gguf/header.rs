//! The first bytes of a file: magic, version, and the number of tensors and of key-value pairs.

use super::cursor::Cursor;
use crate::error::{Result, fail};

/// What a file has at most. Real files stay far below; a header that claims more is refused before its claim costs
/// memory or time.
pub(super) const MAX_KEYS: u64 = 1 << 15;
pub(super) const MAX_TENSORS: u64 = 1 << 16;

/// Smallest sizes: length, one byte, type, one byte; and length, one byte, no dimensions, type, offset.
const MIN_KEY_BYTES: u64 = 8 + 1 + 4 + 1;
const MIN_TENSOR_BYTES: u64 = 8 + 1 + 4 + 4 + 8;

pub(super) struct Header {
    pub version: u32,
    pub tensors: usize,
    pub keys: usize,
}

/// Reads the header and checks that its counts can be true of a file of this length.
pub(super) fn read(c: &mut Cursor, file: &str) -> Result<Header> {
    let magic = c.take(4, "the magic")?;
    if magic != b"GGUF" {
        fail!(
            Format,
            "{file}: begins with {:?} rather than \"GGUF\": {}",
            magic.escape_ascii().to_string(),
            guess(magic)
        );
    }
    let version = c.u32("the version")?;
    match version {
        2 | 3 => {}
        v if matches!(v.swap_bytes(), 1..=3) => fail!(
            Unsupported,
            "{file}: is a big-endian GGUF file of version {}; only little-endian ones are read: convert it anew",
            v.swap_bytes()
        ),
        v => fail!(Unsupported, "{file}: is of GGUF version {v}; versions 2 and 3 are read: convert it anew"),
    }
    let tensors = c.u64("the number of tensors")?;
    let keys = c.u64("the number of key-value pairs")?;
    let left = c.left() as u64;
    for (count, least, most, what) in
        [(keys, MIN_KEY_BYTES, MAX_KEYS, "key-value pairs"), (tensors, MIN_TENSOR_BYTES, MAX_TENSORS, "tensors")]
    {
        if count > left / least {
            fail!(
                Format,
                "{file}: claims {count} {what}, which do not fit in its remaining {left} bytes: it is damaged or cut short, \
                 fetch it again"
            );
        }
        if count > most {
            fail!(Unsupported, "{file}: has {count} {what}; at most {most} are read");
        }
    }
    Ok(Header { version, tensors: tensors as usize, keys: keys as usize })
}

/// What the file may be instead.
fn guess(magic: &[u8]) -> &'static str {
    match magic {
        b"FUGG" => "it is a big-endian file, only little-endian ones are read",
        b"lmgg" | b"fmgg" | b"tjgg" | b"algg" => "it is a model of the time before GGUF, convert it anew",
        b"PK\x03\x04" => "it is a zip archive or a PyTorch checkpoint, convert it first",
        b"vers" => "it may be the pointer of a large-file store, fetch the file itself",
        b"<htm" | b"<!DO" | b"<HTM" => "it is a web page, the download failed",
        _ => "it is no GGUF file",
    }
}
