//! GGUF files: a reader that trusts no byte of them, and a writer.
//!
//! A GGUF file is a header, key-value pairs, a list of tensors, and the tensors' bytes (format: `docs/gguf.md` of
//! ggml). [`Gguf`] maps one, checks all of it but the weights' values once, and then hands out slices of the mapping:
//! nothing is copied. Versions 2 and 3, little-endian, in one file or split into parts.

mod cursor;
mod header;
mod meta;
mod split;
mod tensors;
mod value;
mod writer;

use std::borrow::Cow;
use std::path::Path;

use crate::error::{Result, fail, try_vec};
use crate::memory::map::Map;
use cursor::{Cursor, Quoted};
use meta::Meta;
use split::Split;
pub use tensors::TensorInfo;
pub use value::{Array, Strings, Value, ValueType};
pub use writer::{Output, Writer};

#[cfg(target_endian = "big")]
compile_error!("the weights of GGUF files are computed on as stored, which needs a little-endian machine");

/// A GGUF file, checked whole. Immutable, shared between threads, usually in an `Arc`.
pub struct Gguf {
    parts: Vec<Part>,
    /// Of the first part; the others have none of their own.
    meta: Meta,
    version: u32,
    tensors: Vec<TensorInfo>,
    /// Indices of `tensors`, by name.
    by_name: Vec<u32>,
}

struct Part {
    map: Map,
    /// For messages.
    name: String,
}

type Opener = fn(&Path) -> Result<Map>;

impl Gguf {
    /// Maps the file at `path` and checks it; a split model opens by its first part.
    ///
    /// Errors: those of [`Map::open`], `Format` for a damaged file, `Unsupported` for one that is whole but not read.
    pub fn open(path: &Path) -> Result<Gguf> {
        Gguf::load(Part::new(Map::open(path)?, path), Some((path, Map::open)))
    }

    /// As [`open`](Gguf::open), but reads the file into memory: it may then change or vanish.
    pub fn open_copy(path: &Path) -> Result<Gguf> {
        Gguf::load(Part::new(Map::copy(path)?, path), Some((path, Map::copy)))
    }

    /// A file that is in memory already; see [`Map::from_bytes`] for when it is copied. Errors as [`open`](Gguf::open).
    pub fn from_bytes(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Gguf> {
        Gguf::load(Part::new(Map::from_bytes(bytes)?, "memory".as_ref()), None)
    }

    /// Reads the first part and, by `open`, those that it says exist beside it.
    fn load(first: Part, beside: Option<(&Path, Opener)>) -> Result<Gguf> {
        let mut tensors = Vec::new();
        let (version, meta) = first.read(0, &mut tensors)?;
        let split = Split::read(&meta, &first)?;
        let mut parts = try_vec(split.count, "parts")?;
        parts.push(first);
        for no in 1..split.count {
            let Some((path, open)) = beside else {
                fail!(Unsupported, "the model is split into {} files: open it by its path", split.count);
            };
            let path = split.path(path, no)?;
            let map = open(&path).map_err(|e| e.context(format_args!("part {} of {}", no + 1, split.count)))?;
            let part = Part::new(map, &path);
            let (_, meta) = part.read(no as u32, &mut tensors)?;
            split.check(no, &meta, &part)?;
            parts.push(part);
        }
        let mut gguf = Gguf { parts, meta, version, by_name: try_vec(tensors.len(), "tensors")?, tensors };
        split.check_total(gguf.tensors.len(), gguf.name())?;
        gguf.index()?;
        Ok(gguf)
    }

    /// Sorts the tensors by name, and finds names that come twice.
    fn index(&mut self) -> Result<()> {
        let mut by_name = std::mem::take(&mut self.by_name);
        by_name.extend(0..self.tensors.len() as u32);
        by_name.sort_unstable_by_key(|&i| self.name_bytes(i));
        for pair in by_name.windows(2) {
            if self.name_bytes(pair[0]) == self.name_bytes(pair[1]) {
                let name = Quoted(self.tensor_name(&self.tensors[pair[0] as usize]));
                fail!(Format, "{}: has the tensor {name} twice: it was written wrongly, convert it anew", self.name());
            }
        }
        self.by_name = by_name;
        Ok(())
    }

    fn name_bytes(&self, i: u32) -> &[u8] {
        let tensor = &self.tensors[i as usize];
        tensor.name_bytes(&self.parts[tensor.part as usize].map)
    }

    /// The file's path as it was given, for messages.
    pub fn name(&self) -> &str {
        self.parts.first().map_or("", |p| &p.name)
    }

    /// The version of the format, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The value of that key.
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        self.meta.get(key, &self.parts.first()?.map)
    }

    /// All key-value pairs in the file's order.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&str, Value<'_>)> {
        self.meta.iter(self.parts.first().map_or(&[], |p| &p.map))
    }

    /// The tensors in the file's order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        let at = self.by_name.binary_search_by_key(&name.as_bytes(), |&i| self.name_bytes(i)).ok()?;
        self.tensors.get(*self.by_name.get(at)? as usize)
    }

    /// The name of one of [`tensors`](Gguf::tensors).
    pub fn tensor_name(&self, tensor: &TensorInfo) -> &str {
        self.parts.get(tensor.part as usize).map_or("", |p| tensor.name(&p.map))
    }

    /// The bytes of one of [`tensors`](Gguf::tensors), at an address that is a multiple of 8 at least.
    pub fn data(&self, tensor: &TensorInfo) -> &[u8] {
        let part = self.parts.get(tensor.part as usize);
        let range = tensor.offset as usize..(tensor.offset + tensor.bytes) as usize;
        part.and_then(|p| p.map.get(range)).unwrap_or_default()
    }

    /// Gives the memory that holds parts of the file back to the system: they come again when they are read. See [`Map::release`].
    pub fn release(&self) {
        self.parts.iter().for_each(|p| p.map.release());
    }

    /// `FileChanged` if the file, or a part of it, is not the one that was opened any more; see [`Map::check_unchanged`].
    pub fn check_unchanged(&self) -> Result<()> {
        self.parts.iter().try_for_each(|p| p.map.check_unchanged())
    }

    /// Bytes of all parts: what is mapped, or was copied.
    pub fn file_bytes(&self) -> u64 {
        self.parts.iter().map(|p| p.map.len() as u64).sum()
    }

    /// Bytes of memory that the index of keys and tensors holds, the file itself apart.
    pub fn reserved(&self) -> usize {
        self.meta.reserved()
            + self.tensors.capacity() * size_of::<TensorInfo>()
            + self.by_name.capacity() * size_of::<u32>()
            + self.parts.iter().map(|p| size_of::<Part>() + p.name.capacity()).sum::<usize>()
    }
}

/// Typed access. Each gives None for a missing key, and a `Format` error that names file, key, expected and found for
/// a value of another type or out of range.
impl Gguf {
    /// An integer of any width.
    pub fn u32(&self, key: &str) -> Result<Option<u32>> {
        self.typed(key, "an integer from 0 to 2^32-1", |v| v.int()?.try_into().ok())
    }

    /// An integer of any width.
    pub fn u64(&self, key: &str) -> Result<Option<u64>> {
        self.typed(key, "an integer from 0 to 2^64-1", |v| v.int()?.try_into().ok())
    }

    /// A float of either width.
    pub fn f32(&self, key: &str) -> Result<Option<f32>> {
        self.typed(key, "a float", |v| Some(v.float()? as f32))
    }

    /// A bool.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "a bool", |v| if let Value::Bool(b) = v { Some(b) } else { None })
    }

    /// A string that is UTF-8.
    pub fn str(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a string of UTF-8", |v| if let Value::Str(s) = v { str::from_utf8(s).ok() } else { None })
    }

    /// An array of any type.
    pub fn array(&self, key: &str) -> Result<Option<Array<'_>>> {
        self.typed(key, "an array", |v| if let Value::Array(a) = v { Some(a) } else { None })
    }

    /// An array of strings.
    pub fn strings(&self, key: &str) -> Result<Option<Strings<'_>>> {
        self.typed_array(key, "an array of strings", |a| a.strings())
    }

    /// An array of integers of any width.
    pub fn u32s(&self, key: &str) -> Result<Option<impl ExactSizeIterator<Item = u32> + Clone>> {
        self.typed_array(key, "an array of integers from 0 to 2^32-1", |a| a.u32s())
    }

    /// An array of integers of any width.
    pub fn i32s(&self, key: &str) -> Result<Option<impl ExactSizeIterator<Item = i32> + Clone>> {
        self.typed_array(key, "an array of integers from -2^31 to 2^31-1", |a| a.i32s())
    }

    /// An array of floats of either width.
    pub fn f32s(&self, key: &str) -> Result<Option<impl ExactSizeIterator<Item = f32> + Clone>> {
        self.typed_array(key, "an array of floats", |a| a.f32s())
    }

    fn typed<'a, T>(&'a self, key: &str, want: &str, read: impl FnOnce(Value<'a>) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match read(value) {
            Some(v) => Ok(Some(v)),
            None => fail!(Format, "{}: key {key:?} is {value}, expected {want}", self.name()),
        }
    }

    fn typed_array<'a, T>(
        &'a self,
        key: &str,
        want: &str,
        read: impl FnOnce(Array<'a>) -> Option<T>,
    ) -> Result<Option<T>> {
        self.typed(key, want, |v| if let Value::Array(a) = v { read(a) } else { None })
    }
}

impl Part {
    fn new(map: Map, path: &Path) -> Part {
        Part { map, name: path.display().to_string() }
    }

    /// Reads and checks the whole of this part but the weights; its tensors go to the end of `tensors`.
    fn read(&self, part: u32, tensors: &mut Vec<TensorInfo>) -> Result<(u32, Meta)> {
        let (bytes, file) = (&*self.map, self.name.as_str());
        let mut c = Cursor::new(bytes, file);
        let header = header::read(&mut c, file)?;
        let meta = Meta::read(&mut c, header.keys, bytes, file)?;
        let alignment = match meta.get("general.alignment", bytes) {
            None => None,
            Some(v) => match v.int().and_then(|v| u64::try_from(v).ok()) {
                Some(v) => Some(v),
                None => fail!(Format, "{file}: key \"general.alignment\" is {v}, expected an integer"),
            },
        };
        tensors::read(&mut c, header.tensors, alignment, part, bytes, file, tensors)?;
        Ok((header.version, meta))
    }
}
