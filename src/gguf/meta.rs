//! The key-value pairs of a file: read once, checked whole, then found by binary search.

use super::cursor::{Cursor, Quoted};
use super::value::{Array, Value, ValueType};
use crate::error::{Result, fail, try_vec};

/// Bytes of a key at most.
const MAX_KEY_BYTES: usize = 1024;
/// Strings in all arrays of one file at most: each must be walked over.
const MAX_STRINGS: u64 = 1 << 22;

/// Where the pairs are in the bytes they were read from.
pub(super) struct Meta {
    entries: Vec<Entry>,
    /// Indices of `entries`, by key.
    by_key: Vec<u32>,
}

struct Entry {
    key_at: usize,
    key_len: usize,
    ty: ValueType,
    /// Of an array: the type and number of the elements.
    elem: ValueType,
    len: usize,
    at: usize,
    bytes: usize,
}

impl Meta {
    /// Reads `count` pairs.
    pub fn read(c: &mut Cursor, count: usize, bytes: &[u8], file: &str) -> Result<Meta> {
        let mut meta = Meta { entries: try_vec(count, "metadata")?, by_key: try_vec(count, "metadata")? };
        let mut strings = MAX_STRINGS;
        for i in 0..count {
            meta.entries.push(Entry::read(c, i, &mut strings, file)?);
            meta.by_key.push(i as u32);
        }
        let Meta { entries, by_key } = &mut meta;
        let entry = |i: u32| &entries[i as usize];
        by_key.sort_unstable_by_key(|&i| entry(i).key_bytes(bytes));
        for pair in by_key.windows(2) {
            if entry(pair[0]).key_bytes(bytes) == entry(pair[1]).key_bytes(bytes) {
                fail!(
                    Format,
                    "{file}: has the key {} twice: it was written wrongly, convert it anew",
                    Quoted(entry(pair[0]).key(bytes))
                );
            }
        }
        Ok(meta)
    }

    pub fn get<'a>(&self, key: &str, bytes: &'a [u8]) -> Option<Value<'a>> {
        let key_of = |&i: &u32| self.entries[i as usize].key_bytes(bytes);
        let found = self.by_key.binary_search_by_key(&key.as_bytes(), key_of).ok()?;
        Some(self.entries[self.by_key[found] as usize].value(bytes))
    }

    /// All pairs in the file's order.
    pub fn iter<'a>(&self, bytes: &'a [u8]) -> impl ExactSizeIterator<Item = (&'a str, Value<'a>)> {
        self.entries.iter().map(|e| (e.key(bytes), e.value(bytes)))
    }

    /// Bytes of the index.
    pub fn reserved(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.by_key.capacity() * size_of::<u32>()
    }
}

impl Entry {
    /// Reads pair number `i`; `strings` is how many strings arrays may still have.
    fn read(c: &mut Cursor, i: usize, strings: &mut u64, file: &str) -> Result<Entry> {
        let start = c.at();
        let key = c.string(format_args!("key {i}"))?;
        let key_at = c.at() - key.len();
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            fail!(
                Format,
                "{file}: key {i} at offset {start} has {} bytes; 1 to {MAX_KEY_BYTES} are read: the file is damaged, fetch it \
                 again",
                key.len()
            );
        }
        let Ok(name) = str::from_utf8(key).map(Quoted) else {
            fail!(Format, "{file}: key {i} at offset {start} is not UTF-8: the file is damaged, fetch it again");
        };
        let ty = value_type(c, file, format_args!("key {name}"))?;
        let mut entry = Entry { key_at, key_len: key.len(), ty, elem: ty, len: 1, at: c.at(), bytes: 0 };
        match ty {
            ValueType::Str => {
                entry.bytes = c.string(format_args!("the string of key {name}"))?.len();
                entry.at = c.at() - entry.bytes;
            }
            ValueType::Array => entry.read_array(c, &name, strings, file)?,
            _ => {
                let value = c.take(ty.bytes().unwrap_or(0) as u64, format_args!("the value of key {name}"))?;
                if ty == ValueType::Bool && value.iter().any(|&b| b > 1) {
                    fail!(
                        Format,
                        "{file}: key {name} at offset {start} is a bool of value {}, expected 0 or 1: the file is damaged, \
                         fetch it again",
                        value[0]
                    );
                }
                entry.bytes = value.len();
            }
        }
        Ok(entry)
    }

    fn read_array(&mut self, c: &mut Cursor, name: &Quoted, strings: &mut u64, file: &str) -> Result<()> {
        let elem = value_type(c, file, format_args!("the array of key {name}"))?;
        let len = c.u64(format_args!("the length of the array of key {name}"))?;
        let start = c.at();
        let what = format_args!("the array of key {name}, {len} {},", elem.name());
        match (elem, elem.bytes()) {
            (ValueType::Array, _) => {
                fail!(Unsupported, "{file}: key {name} is an array of arrays, which are not read")
            }
            (_, Some(size)) => {
                let Some(total) = len.checked_mul(size as u64) else {
                    fail!(Format, "{file}: {what} has more bytes than can be counted: it is damaged, fetch it again");
                };
                c.take(total, what)?;
            }
            (_, None) => {
                if len > c.left() as u64 / 8 {
                    fail!(
                        Format,
                        "{file}: {what} does not fit in the remaining {} bytes: the file is damaged or cut short, fetch it \
                         again",
                        c.left()
                    );
                }
                let Some(left) = strings.checked_sub(len) else {
                    fail!(
                        Unsupported,
                        "{file}: {what} is too long: at most {MAX_STRINGS} strings are read from one file"
                    );
                };
                *strings = left;
                c.skip_strings(len, format_args!("key {name}"))?;
            }
        }
        // Both fit in usize: the array lies in the file.
        (self.elem, self.len, self.at, self.bytes) = (elem, len as usize, start, c.at() - start);
        Ok(())
    }

    /// The slices below are in bounds since opening, and the keys UTF-8; the fallbacks serve a file that was written
    /// to while it is mapped.
    fn key<'a>(&self, bytes: &'a [u8]) -> &'a str {
        str::from_utf8(self.key_bytes(bytes)).unwrap_or_default()
    }

    fn key_bytes<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.key_at..self.key_at + self.key_len).unwrap_or_default()
    }

    fn value<'a>(&self, bytes: &'a [u8]) -> Value<'a> {
        let bytes = bytes.get(self.at..self.at + self.bytes).unwrap_or_default();
        match self.ty {
            ValueType::Array => Value::Array(Array::new(self.elem, self.len, bytes)),
            ty => Value::scalar(ty, bytes).unwrap_or(Value::Str(bytes)),
        }
    }
}

fn value_type(c: &mut Cursor, file: &str, of: std::fmt::Arguments) -> Result<ValueType> {
    let id = c.u32(format_args!("the type of {of}"))?;
    match ValueType::from_id(id) {
        Some(ty) => Ok(ty),
        None => {
            fail!(Format, "{file}: {of} has the value type {id}; types 0 to 12 are known: the file is damaged or newer")
        }
    }
}
