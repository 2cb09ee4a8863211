//! From one storage type to another, row by row.

use super::{View, ViewMut};
use crate::error::{Result, fail};
use qorus_kernels::{Kernels, Type};

/// Elements that are on their way at once: a multiple of every block.
const CHUNK: usize = 256;

/// Whether every element of the two stands for a number of its own, and at least one is not a float of 32 bits or less:
/// such are converted one by one.
fn one_by_one(a: Type, b: Type) -> bool {
    let exact = |ty| matches!(ty, Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::F64);
    let plain = |ty| exact(ty) || ty == Type::F32;
    plain(a) && plain(b) && (exact(a) || exact(b))
}

fn is_integer(ty: Type) -> bool {
    matches!(ty, Type::I8 | Type::I16 | Type::I32 | Type::I64)
}

/// Checks that `src` can become `dst`: the same dimensions, types that can be read and written.
pub fn check(kernels: &Kernels, src: &View, dst: &ViewMut) -> Result<()> {
    src.same_dims(dst.view(), "source and destination")?;
    let (from, to) = (src.ty(), dst.view().ty());
    if from == to {
        return dst.same_or_apart(src, "source and destination");
    }
    let has = |op: &str, ty| kernels.has(op, ty) || one_by_one(ty, Type::F64);
    if !has("dequantize", from) || !has("quantize", to) {
        fail!(Unsupported, "{} cannot be converted to {}", from.name(), to.name());
    }
    dst.apart(src, "source and destination")
}

/// Converts one row. Numbers out of an integer's range become its limits, NaN becomes 0; floats are rounded to the
/// nearest integer.
///
/// # Safety
/// [`check`] passed for the two, and no other thread converts this row.
pub unsafe fn row(kernels: &Kernels, src: &View, dst: &ViewMut, row: usize) {
    let (from, to) = (src.ty(), dst.view().ty());
    let (s, d) = (src.row(row), dst.row(row));
    let (s_step, d_step, width) = (src.stride(), dst.view().stride(), src.width());
    let dense = src.rows_are_dense() && dst.view().rows_are_dense();
    // SAFETY: rows of views, whose elements are there, and this thread's alone to write.
    unsafe {
        if from == to {
            if dense {
                std::ptr::copy(s, d, src.row_bytes());
            } else {
                let size = from.block_bytes();
                (0..width).for_each(|i| std::ptr::copy(s.add(i * s_step), d.add(i * d_step), size));
            }
        } else if one_by_one(from, to) {
            for i in 0..width {
                let (s, d) = (s.add(i * s_step), d.add(i * d_step));
                if is_integer(from) && is_integer(to) {
                    write_integer(to, d, read_integer(from, s));
                } else {
                    write_number(to, d, read_number(from, s));
                }
            }
        } else {
            let mut chunk = [0.0f32; CHUNK];
            for at in (0..width).step_by(CHUNK) {
                let chunk = &mut chunk[..CHUNK.min(width - at)];
                load(kernels, from, s.add(at / from.block_len() * s_step), s_step, chunk);
                store(kernels, to, chunk, d.add(at / to.block_len() * d_step), d_step);
            }
        }
    }
}

/// Reads elements as f32.
unsafe fn load(kernels: &Kernels, ty: Type, s: *const u8, step: usize, out: &mut [f32]) {
    let size = ty.block_bytes();
    // SAFETY: the caller's promises.
    unsafe {
        if one_by_one(ty, Type::F64) && ty != Type::F32 {
            out.iter_mut().enumerate().for_each(|(i, out)| *out = read_number(ty, s.add(i * step)) as f32);
        } else if step == size {
            let bytes = std::slice::from_raw_parts(s, ty.row_bytes(out.len()).unwrap_or(0));
            kernels.dequantize(ty, bytes, out);
        } else {
            for (i, out) in out.iter_mut().enumerate() {
                kernels.dequantize(ty, std::slice::from_raw_parts(s.add(i * step), size), std::slice::from_mut(out));
            }
        }
    }
}

/// Writes elements from f32.
unsafe fn store(kernels: &Kernels, ty: Type, x: &[f32], d: *mut u8, step: usize) {
    let size = ty.block_bytes();
    // SAFETY: the caller's promises.
    unsafe {
        if one_by_one(ty, Type::F64) && ty != Type::F32 {
            x.iter().enumerate().for_each(|(i, &x)| write_number(ty, d.add(i * step), f64::from(x)));
        } else if step == size {
            let bytes = std::slice::from_raw_parts_mut(d, ty.row_bytes(x.len()).unwrap_or(0));
            kernels.quantize(ty, x, bytes);
        } else {
            for (i, x) in x.iter().enumerate() {
                let bytes = std::slice::from_raw_parts_mut(d.add(i * step), size);
                kernels.quantize(ty, std::slice::from_ref(x), bytes);
            }
        }
    }
}

unsafe fn read_integer(ty: Type, s: *const u8) -> i64 {
    // SAFETY: an element of that type, aligned, by the caller's promise.
    unsafe {
        match ty {
            Type::I8 => s.cast::<i8>().read().into(),
            Type::I16 => s.cast::<i16>().read().into(),
            Type::I32 => s.cast::<i32>().read().into(),
            _ => s.cast::<i64>().read(),
        }
    }
}

unsafe fn write_integer(ty: Type, d: *mut u8, x: i64) {
    // SAFETY: an element of that type, aligned, by the caller's promise.
    unsafe {
        match ty {
            Type::I8 => d.cast::<i8>().write(x.clamp(i8::MIN.into(), i8::MAX.into()) as i8),
            Type::I16 => d.cast::<i16>().write(x.clamp(i16::MIN.into(), i16::MAX.into()) as i16),
            Type::I32 => d.cast::<i32>().write(x.clamp(i32::MIN.into(), i32::MAX.into()) as i32),
            _ => d.cast::<i64>().write(x),
        }
    }
}

unsafe fn read_number(ty: Type, s: *const u8) -> f64 {
    // SAFETY: an element of that type, aligned, by the caller's promise.
    unsafe {
        match ty {
            Type::F64 => s.cast::<f64>().read(),
            Type::F32 => s.cast::<f32>().read().into(),
            _ => read_integer(ty, s) as f64,
        }
    }
}

unsafe fn write_number(ty: Type, d: *mut u8, x: f64) {
    // SAFETY: an element of that type, aligned, by the caller's promise.
    unsafe {
        match ty {
            Type::F64 => d.cast::<f64>().write(x),
            Type::F32 => d.cast::<f32>().write(x as f32),
            // Saturates, NaN to 0.
            _ => write_integer(ty, d, x.round_ties_even() as i64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;
    use qorus_kernels::Isa;

    fn convert<A, B>(from: Type, to: Type, src: &mut [A], dst: &mut [B], dims: &[u64], transposed: bool) {
        let kernels = Kernels::new(Isa::Scalar).unwrap();
        let mut s = Tensor::dense(from, dims, src.as_mut_ptr().cast()).unwrap();
        let mut dims = dims.to_vec();
        if transposed {
            s = s.transpose(0, 1).unwrap();
            dims.swap(0, 1);
        }
        let d = Tensor::dense(to, &dims, dst.as_mut_ptr().cast()).unwrap();
        // SAFETY: both slices have the elements.
        unsafe {
            let (s, d) = (s.view("s").unwrap(), d.view_mut("d").unwrap());
            check(&kernels, &s, &d).unwrap();
            (0..s.rows()).for_each(|i| row(&kernels, &s, &d, i));
        }
    }

    #[test]
    fn numbers_keep_their_values_or_saturate() {
        let mut out = [0i8; 6];
        convert(Type::F32, Type::I8, &mut [1.5f32, 2.5, -300.0, 300.0, f32::NAN, -0.4], &mut out, &[6], false);
        assert_eq!(out, [2, 2, -128, 127, 0, 0]);
        let mut out = [0i32; 2];
        convert(Type::I64, Type::I32, &mut [i64::MAX, -5], &mut out, &[2], false);
        assert_eq!(out, [i32::MAX, -5]);
        let mut out = [0i64; 2];
        convert(Type::I64, Type::I64, &mut [i64::MAX - 1, -5], &mut out, &[2], false);
        assert_eq!(out, [i64::MAX - 1, -5]);
        let mut out = [0.0f64; 2];
        convert(Type::F32, Type::F64, &mut [0.1f32, -7.0], &mut out, &[2], false);
        assert_eq!(out, [f64::from(0.1f32), -7.0]);
    }

    #[test]
    fn strided_sources_become_dense() {
        let mut src: Vec<f32> = (0..6).map(|i| i as f32).collect();
        let mut same = [0.0f32; 6];
        convert(Type::F32, Type::F32, &mut src, &mut same, &[2, 3], true);
        assert_eq!(same, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        let mut half = [half::f16::ZERO; 6];
        convert(Type::F32, Type::F16, &mut src, &mut half, &[2, 3], true);
        assert_eq!(half.map(f32::from), same);
        let mut int = [0i16; 6];
        convert(Type::F16, Type::I16, &mut half, &mut int, &[3, 2], true);
        assert_eq!(int, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn long_rows_of_blocks_are_those_of_the_kernels() {
        let kernels = Kernels::new(Isa::Scalar).unwrap();
        let x: Vec<f32> = (0..2 * 544).map(|i| ((i * 37) % 101) as f32 / 7.0 - 6.0).collect();
        for ty in [Type::Q8_0, Type::Q4_0, Type::F16, Type::BF16] {
            let n = ty.row_bytes(x.len()).unwrap();
            let (mut expected, mut found) = (vec![0u8; n], vec![0u64; n.div_ceil(8)]);
            kernels.quantize(ty, &x, &mut expected);
            convert(Type::F32, ty, &mut x.clone(), &mut found, &[2, 544], false);
            assert_eq!(&bytemuck::cast_slice::<u64, u8>(&found)[..n], expected, "{}", ty.name());
            let (mut back, mut expected_back) = (vec![0.0f32; x.len()], vec![0.0f32; x.len()]);
            kernels.dequantize(ty, &expected, &mut expected_back);
            convert(ty, Type::F32, &mut found, &mut back, &[2, 544], false);
            assert_eq!(back, expected_back, "{}", ty.name());
        }
    }
}
