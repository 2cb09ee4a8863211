//! Exchange with other libraries through the structs of DLPack 1.0 (dmlc.github.io/dlpack): their layout alone, written
//! down here.

use super::{Q_MAX_DIMS, Tensor};
use crate::error::{Result, fail};
use qorus_kernels::Type;
use std::ffi::c_void;

/// DLDevice: where memory is. 1, 0 is the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct DlDevice {
    /// 1: CPU.
    pub device_type: i32,
    /// 0.
    pub device_id: i32,
}

/// DLDataType: what elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct DlDataType {
    /// 0: signed integers; 2: floats; 4: bfloat16.
    pub code: u8,
    /// Bits of an element.
    pub bits: u8,
    /// 1.
    pub lanes: u16,
}

/// DLTensor: cast pointers to it as you like, the layout is the same. It owns nothing.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct DlTensor {
    /// The memory.
    pub data: *mut c_void,
    /// The CPU.
    pub device: DlDevice,
    /// Dimensions.
    pub ndim: i32,
    /// Type of the elements.
    pub dtype: DlDataType,
    /// Elements of each dimension, the outermost first.
    pub shape: *mut i64,
    /// Elements from one index of a dimension to the next; NULL: dense.
    pub strides: *mut i64,
    /// Bytes from `data` to the first element.
    pub byte_offset: u64,
}

/// Types that DLPack has: type, code, bits.
const TYPES: [(Type, u8, u8); 8] = [
    (Type::F32, 2, 32),
    (Type::F16, 2, 16),
    (Type::F64, 2, 64),
    (Type::BF16, 4, 16),
    (Type::I8, 0, 8),
    (Type::I16, 0, 16),
    (Type::I32, 0, 32),
    (Type::I64, 0, 64),
];

impl Tensor {
    /// The tensor as DLPack has it, its shape and strides in the two arrays, to which it points.
    /// `Unsupported` for block types, `Shape` when a stride is no whole number of elements.
    pub fn to_dlpack(&self, shape: &mut [i64; Q_MAX_DIMS], strides: &mut [i64; Q_MAX_DIMS]) -> Result<DlTensor> {
        let ty = self.check()?;
        let Some(&(_, code, bits)) = TYPES.iter().find(|row| row.0 == ty) else {
            fail!(Unsupported, "DLPack has no type for {}: convert the tensor first", ty.name())
        };
        for i in 0..self.dims().len() {
            let size = ty.block_bytes() as u64;
            let (dim, stride) = (i64::try_from(self.dims[i]), i64::try_from(self.strides[i] / size));
            let (Ok(dim), Ok(stride), true) = (dim, stride, self.strides[i] % size == 0) else {
                fail!(Shape, "dimension {i} of {} elements, {} bytes apart", self.dims[i], self.strides[i])
            };
            (shape[i], strides[i]) = (dim, stride);
        }
        Ok(DlTensor {
            data: self.data,
            device: DlDevice { device_type: 1, device_id: 0 },
            ndim: self.n_dims as i32,
            dtype: DlDataType { code, bits, lanes: 1 },
            shape: shape.as_mut_ptr(),
            strides: strides.as_mut_ptr(),
            byte_offset: 0,
        })
    }

    /// The tensor of DLPack's description, whose `shape` and `strides` (if any) were read already. `Unsupported` for
    /// other memory than the CPU's, other types, and strides that go backwards.
    pub fn from_dlpack(t: &DlTensor, shape: &[i64], strides: Option<&[i64]>) -> Result<Tensor> {
        if t.device.device_type != 1 {
            fail!(Unsupported, "the tensor is on a device of type {}, expected 1, the CPU", t.device.device_type);
        }
        let DlDataType { code, bits, lanes } = t.dtype;
        let Some(&(ty, ..)) = TYPES.iter().find(|row| (row.1, row.2, 1) == (code, bits, lanes)) else {
            fail!(Unsupported, "elements of code {code} with {bits} bits and {lanes} lanes")
        };
        let mut dims = [1; Q_MAX_DIMS];
        let Some(used) = dims.get_mut(..shape.len()) else {
            fail!(Unsupported, "{} dimensions: at most {Q_MAX_DIMS} are possible", shape.len())
        };
        for (dim, &n) in used.iter_mut().zip(shape) {
            let Ok(n) = u64::try_from(n) else { fail!(Shape, "a dimension of {n} elements") };
            *dim = n;
        }
        let Ok(offset) = usize::try_from(t.byte_offset) else { fail!(Shape, "a byte_offset of {}", t.byte_offset) };
        let mut tensor = Tensor::dense(ty, used, t.data.wrapping_byte_add(offset))?;
        for (i, &stride) in strides.unwrap_or(&[]).iter().enumerate().take(shape.len()) {
            let bytes = u64::try_from(stride).ok().and_then(|s| s.checked_mul(ty.block_bytes() as u64));
            let Some(bytes) = bytes else { fail!(Unsupported, "a stride of {stride} elements") };
            tensor.strides[i] = bytes;
        }
        Ok(tensor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let mut memory = [0.0f32; 24];
        let t = Tensor::dense(Type::F32, &[2, 3, 4], memory.as_mut_ptr().cast()).unwrap().transpose(0, 1).unwrap();
        let (mut shape, mut strides) = ([0; 6], [0; 6]);
        let d = t.to_dlpack(&mut shape, &mut strides).unwrap();
        assert_eq!((d.ndim, &shape[..3], &strides[..3]), (3, &[3, 2, 4][..], &[4, 12, 1][..]));
        assert_eq!(Tensor::from_dlpack(&d, &shape[..3], Some(&strides[..3])).unwrap(), t);
        assert!(Tensor::from_dlpack(&d, &shape[..3], None).unwrap().is_dense());
        let bad = |d: DlTensor, shape: &[i64], strides: &[i64]| Tensor::from_dlpack(&d, shape, Some(strides)).is_err();
        assert!(bad(DlTensor { device: DlDevice { device_type: 2, device_id: 0 }, ..d }, &[1], &[1]));
        assert!(bad(DlTensor { dtype: DlDataType { code: 1, bits: 4, lanes: 1 }, ..d }, &[1], &[1]));
        assert!(bad(d, &[-1], &[1]) && bad(d, &[1], &[-1]) && bad(d, &[1; 7], &[1; 7]) && bad(d, &[], &[]));
        let blocks = Tensor::dense(Type::Q8_0, &[64], memory.as_mut_ptr().cast()).unwrap();
        assert!(blocks.to_dlpack(&mut shape, &mut strides).is_err());
    }
}
