//! Stored weights to f32, sixteen at a time.

use super::Simd;
use super::stored::Stored;
use crate::blocks::{GROUP, QuantBlock};

/// As [`crate::scalar::dequantize`] has it: `s * q + m`.
#[inline(always)]
pub fn blocks<S: Simd, B: QuantBlock>(s: S, src: &[u8], dst: &mut [f32]) {
    let mut q = [0; GROUP];
    for (block, dst) in bytemuck::cast_slice::<u8, B>(src).iter().zip(dst.chunks_exact_mut(B::GROUPS * GROUP)) {
        for sub in 0..B::GROUPS {
            block.unpack32(sub, &mut q);
            let (scales, dst) = (block.scales(sub), &mut dst[sub * GROUP..][..GROUP]);
            let (q, dst) = (q.as_chunks::<16>().0, dst.as_chunks_mut::<16>().0);
            for half in 0..2 {
                let (scale, min) = (s.splat(scales.s[half]), s.splat(scales.m[half]));
                for part in 0..S::PARTS {
                    let y = s.mul(scale, s.load_i8(bytemuck::cast_ref(&q[half]), part));
                    s.store(&mut dst[half], part, if B::HAS_MIN { s.add(y, min) } else { y });
                }
            }
        }
    }
}

/// Numbers as they are.
#[inline(always)]
pub fn floats<S: Simd, T: Stored>(s: S, src: &[u8], dst: &mut [f32]) {
    let (whole, rest) = dst.as_chunks_mut::<16>();
    assert!(src.len() >= whole.len() * T::BYTES);
    for (chunk, y) in whole.iter_mut().enumerate() {
        for part in 0..S::PARTS {
            // SAFETY: the source has the chunk.
            s.store(y, part, unsafe { T::load(s, src.as_ptr(), chunk, part) });
        }
    }
    let first = 16 * whole.len();
    for (i, y) in rest.iter_mut().enumerate() {
        *y = T::get(src, first + i);
    }
}
