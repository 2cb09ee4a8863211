//! f32 to stored elements: what the KV cache writes at run time, and what files are written with.

mod legacy;

use super::quantize_act::TINY;
use crate::blocks::{Q4_0, Q8_0, QuantBlock};
use crate::table::{Entry, Func};
use crate::{Isa, Type};
use half::{bf16, f16};

/// The kernels of this file.
pub const ENTRIES: &[Entry] = &[
    Entry::new("quantize", Type::F32, Isa::Scalar, Func::Quantize(to_f32)),
    Entry::new("quantize", Type::F16, Isa::Scalar, Func::Quantize(to_f16)),
    Entry::new("quantize", Type::BF16, Isa::Scalar, Func::Quantize(to_bf16)),
    Entry::new("quantize", Type::Q8_0, Isa::Scalar, Func::Quantize(blocks::<Q8_0>)),
    Entry::new("quantize", Type::Q4_0, Isa::Scalar, Func::Quantize(blocks::<Q4_0>)),
];

/// A block that can be made of the weights it is to stand for.
trait Encode: QuantBlock {
    /// The block nearest to `x`, which has as many elements. Where one of them is infinite or NaN, the scale is
    /// NaN and so is every element read back.
    fn encode(x: &[f32]) -> Self;
}

/// Block by block.
fn blocks<B: Encode>(src: &[f32], dst: &mut [u8]) {
    let dst = bytemuck::cast_slice_mut::<u8, B>(dst);
    for (x, block) in src.chunks_exact(B::TYPE.block_len()).zip(dst) {
        *block = B::encode(x);
    }
}

/// Numbers as they are.
fn to_f32(src: &[f32], dst: &mut [u8]) {
    for (x, y) in src.iter().zip(dst.as_chunks_mut().0) {
        *y = x.to_le_bytes();
    }
}

/// To half precision, the nearest, ties to even; beyond 65504 to infinity. A NaN stays one, made quiet, with the
/// upper bits of its payload.
pub(crate) fn to_f16(src: &[f32], dst: &mut [u8]) {
    for (x, y) in src.iter().zip(dst.as_chunks_mut().0) {
        *y = f16::from_f32(*x).to_le_bytes();
    }
}

/// To the upper half of an f32, the nearest, ties to even. A NaN as for half precision.
pub(crate) fn to_bf16(src: &[f32], dst: &mut [u8]) {
    for (x, y) in src.iter().zip(dst.as_chunks_mut().0) {
        *y = bf16::from_f32(*x).to_le_bytes();
    }
}

/// Scale of a block, and what its elements are multiplied by to become integers, when `extreme`, the element of
/// greatest magnitude, is to become `level`. The integers follow the scale before it is rounded to half precision.
///
/// The inverse is zero where the elements are too small, and where one is not finite; then the scale is NaN. A
/// scale beyond 65504 is stored as infinity: such a block reads back as infinities and NaN.
pub(crate) fn scale(extreme: f32, level: f32) -> ([u8; 2], f32) {
    let scale = extreme / level;
    let (scale, inverse) = match extreme.abs() {
        max if !max.is_finite() => (f32::NAN, 0.0),
        max if max < TINY => (scale, 0.0),
        _ => (scale, 1.0 / scale),
    };
    (f16::from_f32(scale).to_le_bytes(), inverse)
}

/// The element of greatest magnitude, the first of equals, zero of none. Magnitudes compare as their bits do, so
/// that every NaN is above infinity.
fn extreme(x: &[f32]) -> f32 {
    let magnitude = |x: f32| x.to_bits() & 0x7fff_ffff;
    x.iter().fold(0.0, |max, &x| if magnitude(x) > magnitude(max) { x } else { max })
}

/// The greatest number below a half. Added in magnitude before a number is cut off, it rounds to nearest, ties away
/// from zero: a half itself would carry its lower neighbour up to 1.
pub(crate) const BELOW_HALF: f32 = 0.5 - f32::EPSILON / 4.0;

/// To the nearest integer of 8 bits, ties away from zero; NaN to 0.
fn nearest(x: f32) -> i8 {
    (x + BELOW_HALF.copysign(x)) as i8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_is_round() {
        assert_eq!(BELOW_HALF.to_bits() + 1, 0.5f32.to_bits());
        for n in -256..=256 {
            // About every integer and every half: the tie itself and its neighbours.
            let tie = n as f32 / 2.0;
            for x in [tie, tie.next_down(), tie.next_up(), tie + 0.1] {
                assert_eq!(nearest(x), x.round() as i8, "{x}");
            }
        }
        assert_eq!(nearest(f32::NAN), 0);
    }
}
