//! The list of tensors: names, types, shapes and places, checked against each other and the file's length.

use super::cursor::{Cursor, Quoted};
use super::header::MAX_TENSORS;
use crate::Type;
use crate::error::{Result, fail};

/// Bytes of a tensor's name at most (the format says 64; some writers know no limit).
const MAX_NAME_BYTES: usize = 255;
/// Bytes between tensors when the file does not say.
pub(super) const DEFAULT_ALIGNMENT: u64 = 32;

/// One tensor of a file: what it is and where it lies.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// How the elements are stored.
    pub ty: Type,
    /// Elements in each direction, innermost first: a matrix is `[length of a row, rows, 1, 1]`.
    pub dims: [u64; 4],
    /// How many of `dims` the file has; the others are 1.
    pub n_dims: u32,
    /// Which part of a split file holds it, from 0.
    pub part: u32,
    /// Where its bytes begin, counted from the beginning of that part.
    pub offset: u64,
    /// The number of its bytes.
    pub bytes: u64,
    name_at: usize,
    name_len: usize,
}

impl TensorInfo {
    /// The number of elements.
    pub fn elements(&self) -> u64 {
        self.dims.iter().product() // checked at opening
    }

    /// The number of rows: elements over the length of a row.
    pub fn rows(&self) -> u64 {
        self.dims[1..].iter().product()
    }

    /// The name; `part` is the part of the file that lists the tensor. See `Entry::key` for the fallbacks.
    pub(super) fn name<'a>(&self, part: &'a [u8]) -> &'a str {
        str::from_utf8(self.name_bytes(part)).unwrap_or_default()
    }

    pub(super) fn name_bytes<'a>(&self, part: &'a [u8]) -> &'a [u8] {
        part.get(self.name_at..self.name_at + self.name_len).unwrap_or_default()
    }

    /// Reads one entry of the list. The offset is still the one of the file: relative to the data section.
    fn read(c: &mut Cursor, i: usize, part: u32, file: &str) -> Result<TensorInfo> {
        let start = c.at();
        let name = c.string(format_args!("the name of tensor {i}"))?;
        let (name_at, name_len) = (c.at() - name.len(), name.len());
        let name = match str::from_utf8(name) {
            Ok(name) if (1..=MAX_NAME_BYTES).contains(&name_len) => Quoted(name),
            Ok(_) => fail!(
                Format,
                "{file}: the name of tensor {i} at offset {start} has {name_len} bytes; 1 to {MAX_NAME_BYTES} are read: the \
                 file is damaged, fetch it again"
            ),
            Err(_) => fail!(
                Format,
                "{file}: the name of tensor {i} at offset {start} is not UTF-8: the file is damaged, fetch it again"
            ),
        };
        let n_dims = c.u32(format_args!("the number of dimensions of tensor {name}"))?;
        if n_dims > 4 {
            fail!(Format, "{file}: tensor {name} has {n_dims} dimensions; at most 4 are read");
        }
        let mut dims = [1; 4];
        for dim in dims.iter_mut().take(n_dims as usize) {
            *dim = c.u64(format_args!("a dimension of tensor {name}"))?;
        }
        let id = c.u32(format_args!("the type of tensor {name}"))?;
        let Some(ty) = Type::from_id(id) else {
            fail!(
                Unsupported,
                "{file}: tensor {name} is stored as {}, which is not read: take another quantization of the model",
                unread_type(id)
            );
        };
        let Some(bytes) = size(ty, dims) else {
            fail!(
                Format,
                "{file}: tensor {name} has the shape {dims:?} in {}, whose blocks hold {} elements of a row: a dimension is \
                 0, no multiple of that, or too large; the file is damaged, fetch it again",
                ty.name(),
                ty.block_len()
            );
        };
        let offset = c.u64(format_args!("the offset of tensor {name}"))?;
        Ok(TensorInfo { ty, dims, n_dims, part, offset, bytes, name_at, name_len })
    }
}

/// Reads `count` entries behind those of the parts before, and makes their offsets absolute: the data section begins
/// at the next multiple of the alignment. Then each tensor lies in the file, aligned, and shares no byte with another.
pub(super) fn read(
    c: &mut Cursor,
    count: usize,
    alignment: Option<u64>,
    part: u32,
    bytes: &[u8],
    file: &str,
    list: &mut Vec<TensorInfo>,
) -> Result<()> {
    let alignment = alignment.unwrap_or(DEFAULT_ALIGNMENT);
    if !is_alignment(alignment) {
        fail!(
            Format,
            "{file}: general.alignment is {alignment}, expected a power of two from 8 to {}: the file is damaged, fetch it \
             again",
            1 << 20
        );
    }
    let first = list.len();
    if (first + count) as u64 > MAX_TENSORS {
        fail!(Unsupported, "{file}: brings the model to {} tensors; at most {MAX_TENSORS} are read", first + count);
    }
    if list.try_reserve_exact(count).is_err() {
        fail!(OutOfMemory, "{file}: no memory for {count} tensors");
    }
    for i in 0..count {
        list.push(TensorInfo::read(c, i, part, file)?);
    }
    let data = (c.at() as u64).next_multiple_of(alignment);
    let len = bytes.len() as u64;
    let own = list.get_mut(first..).unwrap_or_default();
    for tensor in own.iter_mut() {
        let name = Quoted(tensor.name(bytes));
        if tensor.offset % alignment != 0 {
            fail!(
                Format,
                "{file}: tensor {name} lies at offset {} of the data, no multiple of the alignment {alignment}: the file is \
                 damaged, fetch it again",
                tensor.offset
            );
        }
        let begin = data.checked_add(tensor.offset);
        let Some(begin) = begin.filter(|b| b.checked_add(tensor.bytes).is_some_and(|end| end <= len)) else {
            fail!(
                Format,
                "{file}: tensor {name} has {} bytes at offset {} of the data, which begins at {data}, but the file ends at \
                 {len}: it is damaged or cut short, fetch it again",
                tensor.bytes,
                tensor.offset
            );
        };
        tensor.offset = begin;
    }
    check_apart(own, bytes, file)
}

/// No two tensors share bytes.
fn check_apart(tensors: &[TensorInfo], bytes: &[u8], file: &str) -> Result<()> {
    let mut order = crate::error::try_vec(tensors.len(), "tensors")?;
    order.extend(tensors.iter());
    order.sort_unstable_by_key(|t| t.offset);
    for pair in order.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        if a.offset + a.bytes > b.offset {
            fail!(
                Format,
                "{file}: tensors {} (offset {}, {} bytes) and {} (offset {}) overlap: the file is damaged, fetch it again",
                Quoted(a.name(bytes)),
                a.offset,
                a.bytes,
                Quoted(b.name(bytes)),
                b.offset
            );
        }
    }
    Ok(())
}

/// Whether tensors may lie at multiples of this.
pub(super) fn is_alignment(n: u64) -> bool {
    n.is_power_of_two() && (8..=1 << 20).contains(&n)
}

/// Bytes of a tensor, None when a dimension is 0, a row no multiple of the block, or anything overflows. Dimensions
/// are signed in other readers, so they stay below 2^63.
pub(super) fn size(ty: Type, dims: [u64; 4]) -> Option<u64> {
    let elements = dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d))?;
    let block = ty.block_len() as u64;
    if elements == 0 || elements > i64::MAX as u64 || !dims[0].is_multiple_of(block) {
        return None;
    }
    (elements / block).checked_mul(ty.block_bytes() as u64)
}

/// The name of a storage type that is not read.
fn unread_type(id: u32) -> String {
    let name = match id {
        4 => "Q4_2",
        5 => "Q4_3",
        9 => "Q8_1",
        15 => "Q8_K",
        31 => "Q4_0_4_4",
        32 => "Q4_0_4_8",
        33 => "Q4_0_8_8",
        34 => "TQ1_0",
        35 => "TQ2_0",
        36 => "IQ4_NL_4_4",
        37 => "IQ4_NL_4_8",
        38 => "IQ4_NL_8_8",
        39 => "MXFP4",
        40 => "NVFP4",
        41 => "Q1_0",
        42 => "Q2_0",
        _ => return format!("type {id}, which nobody has named yet"),
    };
    format!("{name} (type {id})")
}
