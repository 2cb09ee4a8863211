//! Writes GGUF files of version 3: key-values and tensors in the order given, weights streamed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use super::tensors::{self, DEFAULT_ALIGNMENT};
use super::value::{Value, ValueType};
use crate::Type;
use crate::error::{Result, fail};
use crate::memory::save::SaveFile;

/// Bytes of a tensor's name at most: other readers keep names in 64 bytes with a zero at the end.
const MAX_NAME_BYTES: usize = 63;

/// What a file will consist of: first everything but the weights is declared here, then the weights are given to the
/// [`Output`], tensor by tensor.
///
/// ```
/// # fn main() -> qorus::Result<()> {
/// use qorus::{Type, gguf::{Gguf, Writer}};
/// let mut writer = Writer::new();
/// writer.put("general.architecture", "llama")?;
/// writer.tensor("output_norm.weight", Type::F32, &[2])?;
/// let mut output = writer.begin(Vec::new())?;
/// output.write(&[0; 8])?;
/// let file = Gguf::from_bytes(output.finish()?)?;
/// assert_eq!(file.str("general.architecture")?, Some("llama"));
/// # Ok(()) }
/// ```
#[derive(Default)]
pub struct Writer {
    /// Key, and the pair's bytes as they go to the file.
    pairs: Vec<Vec<u8>>,
    by_key: BTreeMap<String, usize>,
    tensors: Vec<Tensor>,
    names: BTreeSet<String>,
    alignment: Option<u64>,
}

struct Tensor {
    name: String,
    ty: Type,
    dims: Vec<u64>,
    bytes: u64,
}

impl Writer {
    /// A file of nothing.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Sets a key to a value: a number, a string, a slice of numbers, or a [`Value`] of another file. A key that is
    /// there keeps its place and takes the new value. `general.alignment` also governs how tensors are laid.
    ///
    /// Errors: `InvalidArgument` for a key without bytes, or an alignment that is no power of two from 8 to 2^20.
    pub fn put<'a>(&mut self, key: &str, value: impl Into<Value<'a>>) -> Result<&mut Writer> {
        let value = value.into();
        if key == "general.alignment" {
            let alignment = value.int().and_then(|v| u64::try_from(v).ok());
            let Some(alignment) = alignment.filter(|&a| tensors::is_alignment(a)) else {
                fail!(InvalidArgument, "general.alignment is {value}, expected a power of two from 8 to 2^20");
            };
            self.alignment = Some(alignment);
        }
        let mut pair = Vec::new();
        if pair.try_reserve_exact(key.len() + size(&value) + 24).is_err() {
            fail!(OutOfMemory, "no memory for the value of key {key:?}, {value}");
        }
        string(&mut pair, key.as_bytes());
        pair.extend(value.ty().id().to_le_bytes());
        match value {
            Value::U8(v) => pair.extend(v.to_le_bytes()),
            Value::I8(v) => pair.extend(v.to_le_bytes()),
            Value::U16(v) => pair.extend(v.to_le_bytes()),
            Value::I16(v) => pair.extend(v.to_le_bytes()),
            Value::U32(v) => pair.extend(v.to_le_bytes()),
            Value::I32(v) => pair.extend(v.to_le_bytes()),
            Value::F32(v) => pair.extend(v.to_le_bytes()),
            Value::Bool(v) => pair.push(v.into()),
            Value::Str(v) => string(&mut pair, v),
            Value::Array(v) => array(&mut pair, v.ty(), v.len(), v.bytes()),
            Value::U64(v) => pair.extend(v.to_le_bytes()),
            Value::I64(v) => pair.extend(v.to_le_bytes()),
            Value::F64(v) => pair.extend(v.to_le_bytes()),
        }
        self.put_pair(key, pair)
    }

    /// Sets a key to an array of strings. Errors as [`put`](Writer::put).
    pub fn put_strings<S: AsRef<[u8]>>(
        &mut self,
        key: &str,
        strings: impl IntoIterator<Item = S>,
    ) -> Result<&mut Writer> {
        let (mut bytes, mut len) = (Vec::new(), 0);
        for s in strings {
            string(&mut bytes, s.as_ref());
            len += 1;
        }
        let mut pair = Vec::new();
        string(&mut pair, key.as_bytes());
        pair.extend(ValueType::Array.id().to_le_bytes());
        array(&mut pair, ValueType::Str, len, &bytes);
        self.put_pair(key, pair)
    }

    fn put_pair(&mut self, key: &str, pair: Vec<u8>) -> Result<&mut Writer> {
        if key.is_empty() {
            fail!(InvalidArgument, "a key without a name cannot be written");
        }
        match self.by_key.get(key) {
            Some(&at) => self.pairs[at] = pair,
            None => {
                self.by_key.insert(key.to_owned(), self.pairs.len());
                self.pairs.push(pair);
            }
        }
        Ok(self)
    }

    /// Declares the next tensor: `dims` innermost first, 1 to 4 of them.
    ///
    /// Errors: `InvalidArgument` for a name of no or more than 63 bytes or one that was declared, `Shape` for a shape
    /// that has no size or does not fit the type's blocks.
    pub fn tensor(&mut self, name: &str, ty: Type, dims: &[u64]) -> Result<&mut Writer> {
        if !(1..=MAX_NAME_BYTES).contains(&name.len()) {
            fail!(InvalidArgument, "the tensor name {name:?} has {} bytes, expected 1 to {MAX_NAME_BYTES}", name.len());
        }
        let mut four = [1; 4];
        let bytes = match four.get_mut(..dims.len()) {
            Some(four_dims) if !dims.is_empty() => {
                four_dims.copy_from_slice(dims);
                tensors::size(ty, four)
            }
            _ => None,
        };
        let Some(bytes) = bytes else {
            fail!(
                Shape,
                "tensor {name:?} cannot have the shape {dims:?} in {}: 1 to 4 dimensions, none 0, and rows of a multiple of {}",
                ty.name(),
                ty.block_len()
            );
        };
        if !self.names.insert(name.to_owned()) {
            fail!(InvalidArgument, "tensor {name:?} is declared twice");
        }
        self.tensors.push(Tensor { name: name.to_owned(), ty, dims: dims.to_vec(), bytes });
        Ok(self)
    }

    /// Writes everything but the weights, and gives what takes these. Errors: `Io` of `to`.
    pub fn begin<W: Write>(self, to: W) -> Result<Output<W>> {
        let alignment = self.alignment.unwrap_or(DEFAULT_ALIGNMENT);
        let mut out = Output { to, at: 0, alignment, sizes: Vec::new(), tensor: 0, done: 0 };
        out.put(b"GGUF")?;
        out.put(&3u32.to_le_bytes())?;
        out.put(&(self.tensors.len() as u64).to_le_bytes())?;
        out.put(&(self.pairs.len() as u64).to_le_bytes())?;
        for pair in &self.pairs {
            out.put(pair)?;
        }
        let (mut entry, mut offset) = (Vec::new(), 0u64);
        for t in &self.tensors {
            entry.clear();
            string(&mut entry, t.name.as_bytes());
            entry.extend((t.dims.len() as u32).to_le_bytes());
            t.dims.iter().for_each(|d| entry.extend(d.to_le_bytes()));
            entry.extend(t.ty.id().to_le_bytes());
            entry.extend(offset.to_le_bytes());
            out.put(&entry)?;
            let Some(next) = offset.checked_add(t.bytes).and_then(|end| end.checked_next_multiple_of(alignment)) else {
                fail!(Shape, "the tensors up to {:?} have more bytes than can be counted", t.name);
            };
            offset = next;
        }
        out.pad()?;
        out.sizes.extend(self.tensors.iter().map(|t| t.bytes));
        Ok(out)
    }

    /// Begins the file that will be at `path` once [`save`](Output::save)d; see [`SaveFile`].
    pub fn create(self, path: &Path) -> Result<Output<SaveFile>> {
        self.begin(SaveFile::create(path)?)
    }
}

/// Takes the weights of the tensors that were declared, in that order.
pub struct Output<W: Write> {
    to: W,
    /// Bytes written.
    at: u64,
    alignment: u64,
    /// Bytes of each tensor, which of them is under way, and how much of it is there.
    sizes: Vec<u64>,
    tensor: usize,
    done: u64,
}

impl<W: Write> Output<W> {
    /// The next bytes of the tensor under way: all of it, or a piece. Behind its last byte the next tensor begins.
    ///
    /// Errors: `Shape` for more bytes than the tensor still lacks; `Io`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let size = self.sizes.get(self.tensor).copied().unwrap_or(0);
        if bytes.len() as u64 > size - self.done {
            fail!(
                Shape,
                "{} bytes for tensor {}, which lacks {} of {size}",
                bytes.len(),
                self.tensor,
                size - self.done
            );
        }
        self.put(bytes)?;
        self.done += bytes.len() as u64;
        if self.done == size {
            (self.tensor, self.done) = (self.tensor + 1, 0);
            self.pad()?;
        }
        Ok(())
    }

    /// Bytes that the tensor under way still lacks; None when all tensors are written.
    pub fn lacks(&self) -> Option<u64> {
        self.sizes.get(self.tensor).map(|size| size - self.done)
    }

    /// Bytes of all tensors together, padding apart.
    pub fn total(&self) -> u64 {
        self.sizes.iter().sum()
    }

    /// Ends the file. Errors: `State` while a tensor lacks bytes; `Io`.
    pub fn finish(mut self) -> Result<W> {
        if self.tensor != self.sizes.len() {
            fail!(State, "{} of {} tensors are written: the file is not complete", self.tensor, self.sizes.len());
        }
        match self.to.flush() {
            Ok(()) => Ok(self.to),
            Err(e) => fail!(Io, "writing failed at byte {}: {e}", self.at),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        if let Err(e) = self.to.write_all(bytes) {
            fail!(Io, "writing failed at byte {}: {e}", self.at);
        }
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self) -> Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        let mut lack = self.at.next_multiple_of(self.alignment) - self.at;
        while lack > 0 {
            let n = lack.min(ZEROS.len() as u64);
            self.put(&ZEROS[..n as usize])?;
            lack -= n;
        }
        Ok(())
    }
}

impl Output<SaveFile> {
    /// Ends the file and puts it in its place. Errors as [`finish`](Output::finish) and [`SaveFile::commit`].
    pub fn save(self) -> Result<()> {
        self.finish()?.commit()
    }
}

fn string(to: &mut Vec<u8>, s: &[u8]) {
    to.extend((s.len() as u64).to_le_bytes());
    to.extend(s);
}

fn array(to: &mut Vec<u8>, ty: ValueType, len: usize, bytes: &[u8]) {
    to.extend(ty.id().to_le_bytes());
    to.extend((len as u64).to_le_bytes());
    to.extend(bytes);
}

/// Bytes of what is of any length in a value.
fn size(value: &Value) -> usize {
    match value {
        Value::Str(s) => s.len(),
        Value::Array(a) => a.bytes().len(),
        _ => 0,
    }
}
