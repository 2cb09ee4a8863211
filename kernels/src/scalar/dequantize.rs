//! Stored weights to f32.

use crate::Type;
use crate::blocks::{GROUP, QuantBlock, with_block};

/// One row or several of type `B`: `s * q + m`. The product is exact for every format, so the value has one rounding.
pub fn blocks<B: QuantBlock>(src: &[u8], dst: &mut [f32]) {
    let mut q = [0; GROUP];
    for (block, dst) in bytemuck::cast_slice::<u8, B>(src).iter().zip(dst.chunks_exact_mut(B::GROUPS * GROUP)) {
        for (sub, dst) in dst.chunks_exact_mut(GROUP).enumerate() {
            block.unpack32(sub, &mut q);
            let scales = block.scales(sub);
            for (i, (y, &q)) in dst.iter_mut().zip(&q).enumerate() {
                let (s, m) = (scales.s[i / 16], scales.m[i / 16]);
                *y = if B::HAS_MIN { s * f32::from(q) + m } else { s * f32::from(q) };
            }
        }
    }
}

/// The function for storage type `ty`, if that is a quantized one.
pub fn for_type(ty: Type) -> Option<fn(&[u8], &mut [f32])> {
    with_block!(ty, B => Some(blocks::<B>), None)
}
