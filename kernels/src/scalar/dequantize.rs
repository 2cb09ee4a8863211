//! Stored weights to f32.

use super::stored::{self, Stored};
use crate::blocks::{GROUP, QuantBlock, block_entries};
use crate::table::{Entry, Func};
use crate::{Isa, Type};

/// The kernels of this file for blocks.
pub const ENTRIES: &[Entry] = block_entries!("dequantize", Scalar, Dequantize(blocks));

/// The kernels of this file for single numbers.
pub const FLOAT_ENTRIES: &[Entry] = &[
    Entry::new("dequantize", Type::F32, Isa::Scalar, Func::Dequantize(floats::<stored::F32>)),
    Entry::new("dequantize", Type::F16, Isa::Scalar, Func::Dequantize(floats::<stored::F16>)),
    Entry::new("dequantize", Type::BF16, Isa::Scalar, Func::Dequantize(floats::<stored::BF16>)),
];

/// `s * q + m`. The product is exact for every format, so the value has one rounding.
fn blocks<B: QuantBlock>(src: &[u8], dst: &mut [f32]) {
    let mut q = [0; GROUP];
    for (block, dst) in bytemuck::cast_slice::<u8, B>(src).iter().zip(dst.chunks_exact_mut(B::GROUPS * GROUP)) {
        for (sub, dst) in dst.chunks_exact_mut(GROUP).enumerate() {
            block.unpack32(sub, &mut q);
            let scales = block.scales(sub);
            for (half, (dst, q)) in dst.chunks_exact_mut(16).zip(q.chunks_exact(16)).enumerate() {
                let (s, m) = (scales.s[half], scales.m[half]);
                for (y, &q) in dst.iter_mut().zip(q) {
                    *y = if B::HAS_MIN { s * f32::from(q) + m } else { s * f32::from(q) };
                }
            }
        }
    }
}

/// Numbers as they are.
fn floats<S: Stored>(src: &[u8], dst: &mut [f32]) {
    for (i, y) in dst.iter_mut().enumerate() {
        *y = S::get(src, i);
    }
}
