//! Tensors: a plain view of memory that somebody else owns, an arena or the host.
//!
//! [`Tensor`] is what C sees as `q_tensor`: numbers and a pointer, which may be anything. [`View`] is a tensor whose
//! numbers were checked and whose memory the caller vouched for; what computes takes views.
//!
//! Dimensions stand as in C arrays, the outermost first; strides count bytes. The elements of the last dimension of a
//! block type are blocks that lie one after another.

pub mod convert;
pub mod dlpack;
mod view;

pub use view::{View, ViewMut};

use crate::error::{Result, fail};
use qorus_kernels::Type;
use std::ffi::c_void;

/// The most dimensions of a tensor.
pub const Q_MAX_DIMS: usize = 6;

/// Flag of a tensor: its memory may not be written.
pub const Q_TENSOR_READONLY: u32 = 1;

/// A view of memory: numbers and a pointer, without an owner. It may be copied freely, and never grows.
///
/// Dimensions stand as in C arrays, the outermost first. Element (i, j, k) begins at
/// `data + i * strides[0] + j * strides[1] + k * strides[2]`. In block types (Q4_0 ...) the last dimension consists of
/// whole blocks that lie one after another, and its stride is the bytes of a block. Unused entries of dims are 1.
#[allow(rustdoc::broken_intra_doc_links)] // the text of the header, where brackets are C's
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Tensor {
    /// The first element.
    pub data: *mut c_void,
    /// Elements of each dimension.
    pub dims: [u64; Q_MAX_DIMS],
    /// Bytes from one index of a dimension to the next.
    pub strides: [u64; Q_MAX_DIMS],
    /// A q_type.
    pub r#type: u32,
    /// Dimensions in use: 1 to 6.
    pub n_dims: u32,
    /// 0 or Q_TENSOR_READONLY.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
}

/// The bytes of a dense tensor; `Shape` when its last dimension is no whole number of blocks, or it has no place in
/// the address space.
pub fn bytes(ty: Type, dims: &[u64]) -> Result<usize> {
    let Some((&width, outer)) = dims.split_last().filter(|_| dims.len() <= Q_MAX_DIMS) else {
        fail!(Shape, "{} dimensions: give 1 to {Q_MAX_DIMS}", dims.len())
    };
    let row = usize::try_from(width).ok().and_then(|width| ty.row_bytes(width));
    let Some(row) = row else {
        fail!(Shape, "rows of {width} elements are no whole blocks of {}, which have {}", ty.name(), ty.block_len())
    };
    let all = outer.iter().try_fold(row, |bytes, &dim| bytes.checked_mul(usize::try_from(dim).ok()?));
    match all.filter(|&bytes| bytes <= isize::MAX as usize) {
        Some(bytes) => Ok(bytes),
        None => fail!(Shape, "a tensor of {dims:?} elements does not fit the address space"),
    }
}

impl Tensor {
    /// A dense tensor over memory at `data`. Errors: as [`bytes`].
    pub fn dense(ty: Type, dims: &[u64], data: *mut c_void) -> Result<Tensor> {
        bytes(ty, dims)?;
        let mut t = Tensor {
            data,
            dims: [1; Q_MAX_DIMS],
            strides: [0; Q_MAX_DIMS],
            r#type: ty.id(),
            n_dims: dims.len() as u32,
            flags: 0,
            reserved: 0,
        };
        t.dims[..dims.len()].copy_from_slice(dims);
        let last = dims.len() - 1;
        t.strides[last] = ty.block_bytes() as u64;
        let mut stride = dims[last] / ty.block_len() as u64 * ty.block_bytes() as u64;
        for i in (0..last).rev() {
            t.strides[i] = stride;
            stride = stride.saturating_mul(dims[i]); // an outer stride beside a dimension of 0 is never used
        }
        Ok(t)
    }

    /// The type, when number, dimensions and flags are what they may be.
    pub fn check(&self) -> Result<Type> {
        let Some(ty) = Type::from_id(self.r#type) else {
            fail!(Shape, "a tensor of type {}, which is none", self.r#type)
        };
        if self.n_dims == 0 || self.n_dims as usize > Q_MAX_DIMS {
            fail!(Shape, "a tensor of {} dimensions: 1 to {Q_MAX_DIMS} are possible", self.n_dims);
        }
        if self.flags & !Q_TENSOR_READONLY != 0 || self.reserved != 0 {
            fail!(Abi, "a tensor with flags {:#x}, of which this version knows only {Q_TENSOR_READONLY}", self.flags);
        }
        Ok(ty)
    }

    /// The dimensions in use. Call [`Tensor::check`] first.
    pub fn dims(&self) -> &[u64] {
        &self.dims[..(self.n_dims as usize).min(Q_MAX_DIMS)]
    }

    fn used_strides(&self) -> &[u64] {
        &self.strides[..(self.n_dims as usize).min(Q_MAX_DIMS)]
    }

    /// Whether the elements lie one after another, in order.
    pub fn is_dense(&self) -> bool {
        let Ok(ty) = self.check() else { return false };
        let Ok(dense) = Tensor::dense(ty, self.dims(), self.data) else { return false };
        let pairs = self.used_strides().iter().zip(dense.used_strides()).zip(self.dims());
        pairs.into_iter().all(|((a, b), &dim)| a == b || dim == 1)
    }

    /// The part `start..start + len` of dimension `dim`, over the same memory.
    pub fn slice(&self, dim: usize, start: u64, len: u64) -> Result<Tensor> {
        let ty = self.check()?;
        let Some(&size) = self.dims().get(dim) else {
            fail!(Shape, "dimension {dim} of a tensor with {}", self.n_dims)
        };
        if start.checked_add(len).is_none_or(|end| end > size) {
            fail!(Shape, "{len} elements from {start} on, of a dimension of {size}");
        }
        let block = if dim + 1 == self.dims().len() { ty.block_len() as u64 } else { 1 };
        if start % block != 0 || len % block != 0 {
            fail!(Shape, "{len} elements from {start} on are no whole blocks of {}, which have {block}", ty.name());
        }
        let offset = usize::try_from(start / block).ok().zip(usize::try_from(self.strides[dim]).ok());
        let Some(offset) = offset.and_then(|(n, stride)| n.checked_mul(stride)) else {
            fail!(Shape, "the slice begins beyond the address space")
        };
        let mut t = *self;
        t.dims[dim] = len;
        // Past an empty slice there need not be memory, so its pointer stays.
        t.data = if len == 0 { self.data } else { self.data.cast::<u8>().wrapping_add(offset).cast() };
        Ok(t)
    }

    /// The same elements, which must be dense, under other dimensions.
    pub fn reshape(&self, dims: &[u64]) -> Result<Tensor> {
        let ty = self.check()?;
        if !self.is_dense() {
            fail!(Shape, "only a dense tensor can be reshaped: convert it to a dense one first");
        }
        if bytes(ty, dims)? != bytes(ty, self.dims())? {
            fail!(Shape, "{:?} and {dims:?} have different numbers of elements", self.dims());
        }
        Ok(Tensor { flags: self.flags, ..Tensor::dense(ty, dims, self.data)? })
    }

    /// The same elements with two dimensions exchanged. The last one of a block type stays where it is.
    pub fn transpose(&self, a: usize, b: usize) -> Result<Tensor> {
        let ty = self.check()?;
        let n = self.dims().len();
        if a >= n || b >= n {
            fail!(Shape, "dimensions {a} and {b} of a tensor with {n}");
        }
        if ty.block_len() > 1 && a != b && (a + 1 == n || b + 1 == n) {
            fail!(Shape, "the last dimension of {} consists of blocks and stays the last", ty.name());
        }
        let mut t = *self;
        t.dims.swap(a, b);
        t.strides.swap(a, b);
        Ok(t)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    fn dense(ty: Type, dims: &[u64]) -> Tensor {
        Tensor::dense(ty, dims, 64 as *mut c_void).unwrap()
    }

    #[test]
    fn strides_follow_from_types_and_dimensions() {
        assert_eq!(dense(Type::F32, &[2, 3, 4]).strides[..3], [48, 16, 4]);
        assert_eq!(dense(Type::Q4_0, &[5, 64]).strides[..2], [36, 18]);
        assert_eq!(bytes(Type::Q6_K, &[3, 512]).unwrap(), 3 * 2 * 210);
        assert_eq!(bytes(Type::F32, &[0, 4]).unwrap(), 0);
        for dims in [&[][..], &[1; 7], &[3, 33], &[1 << 40, 1 << 40, 32], &[u64::MAX, 32], &[u64::MAX - 31]] {
            assert_eq!(bytes(Type::Q8_0, dims).unwrap_err().code(), Code::Shape, "{dims:?}");
        }
    }

    #[test]
    fn views_share_memory() {
        let t = dense(Type::F32, &[2, 3, 4]);
        let s = t.slice(1, 1, 2).unwrap();
        assert_eq!((s.data as usize, s.dims(), s.is_dense()), (64 + 16, &[2, 2, 4][..], false));
        assert!(t.slice(0, 1, 1).unwrap().is_dense());
        assert!(t.slice(0, 2, 1).is_err() && t.slice(3, 0, 1).is_err() && t.slice(0, u64::MAX, 2).is_err());
        let r = t.reshape(&[6, 4]).unwrap();
        assert_eq!((r.dims(), r.strides[0]), (&[6, 4][..], 16));
        assert!(t.reshape(&[5, 5]).is_err() && s.reshape(&[16]).is_err());
        let x = t.transpose(0, 2).unwrap();
        assert_eq!((x.dims(), &x.strides[..3], x.is_dense()), (&[4, 3, 2][..], &[4, 16, 48][..], false));
        let q = dense(Type::Q8_0, &[2, 3, 64]);
        assert!(q.transpose(0, 1).is_ok() && q.transpose(1, 2).is_err());
        assert_eq!(q.slice(2, 32, 32).unwrap().data as usize, 64 + 34);
        assert!(q.slice(2, 16, 32).is_err());
    }
}
