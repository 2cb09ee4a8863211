//! f32 to stored elements: what the KV cache writes at run time, and what files are written with.
//!
//! The types of the cache, Q8_0 and Q4_0, follow a plain rule. The others are for files and search for the scales that
//! leave the least squared error. Each loses at most so much, as root mean square of the error over that of the
//! values, on normally distributed values, uniform ones from -1 to 1, and the wave `0.1 + 2 cos i`; the limits are
//! tested:
//!
//! | type | normal | uniform | wave |
//! | --- | --- | --- | --- |
//! | Q8_0 | 0.00549 | 0.00383 | 0.00339 |
//! | Q4_0 | 0.088 | 0.0655 | 0.0512 |
//! | Q4_1 | 0.071 | 0.0537 | 0.043 |
//! | Q5_0 | 0.0411 | 0.0283 | 0.025 |
//! | Q5_1 | 0.0341 | 0.026 | 0.0228 |
//! | Q2_K | 0.265 | 0.218 | 0.2 |
//! | Q3_K | 0.147 | 0.119 | 0.109 |
//! | Q4_K | 0.0711 | 0.0539 | 0.043 |
//! | Q5_K | 0.035 | 0.0265 | 0.0231 |
//! | Q6_K | 0.0174 | 0.0128 | 0.0112 |
//! | IQ4_NL | 0.0745 | 0.0624 | 0.056 |

mod kquants;
mod legacy;
mod search;
mod single;

use super::quantize_act::TINY;
use crate::blocks::{IQ4_NL, Q2_K, Q3_K, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0, QuantBlock};
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
    Entry::new("quantize", Type::Q4_1, Isa::Scalar, Func::Quantize(blocks::<Q4_1>)),
    Entry::new("quantize", Type::Q5_0, Isa::Scalar, Func::Quantize(blocks::<Q5_0>)),
    Entry::new("quantize", Type::Q5_1, Isa::Scalar, Func::Quantize(blocks::<Q5_1>)),
    Entry::new("quantize", Type::Q2_K, Isa::Scalar, Func::Quantize(blocks::<Q2_K>)),
    Entry::new("quantize", Type::Q3_K, Isa::Scalar, Func::Quantize(blocks::<Q3_K>)),
    Entry::new("quantize", Type::Q4_K, Isa::Scalar, Func::Quantize(blocks::<Q4_K>)),
    Entry::new("quantize", Type::Q5_K, Isa::Scalar, Func::Quantize(blocks::<Q5_K>)),
    Entry::new("quantize", Type::Q6_K, Isa::Scalar, Func::Quantize(blocks::<Q6_K>)),
    Entry::new("quantize", Type::IQ4_NL, Isa::Scalar, Func::Quantize(blocks::<IQ4_NL>)),
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

/// The power of two by which a [`Normal`] block was divided.
#[derive(Clone, Copy)]
struct Unit(f32);

impl Unit {
    /// The half-precision number nearest to `x` units, and what it stands for in units.
    fn half(self, x: f32) -> ([u8; 2], f32) {
        let half = f16::from_f32(x * self.0);
        (half.to_le_bytes(), half.to_f32() / self.0)
    }

    /// The same, but none of less magnitude than `x`.
    fn half_up(self, x: f32) -> ([u8; 2], f32) {
        let half = f16::from_f32(x * self.0);
        let short = half.to_f32().abs() < (x * self.0).abs();
        let half = if short { f16::from_bits(half.to_bits() + 1) } else { half };
        (half.to_le_bytes(), half.to_f32() / self.0)
    }
}

/// A block in units of the power of two below its greatest magnitude, so that squares and their sums stay within range.
struct Normal<const N: usize> {
    x: [f32; N],
    unit: Unit,
}

/// Brings a block of `N` elements to such units. Where that makes no sense, what its scale is to be: zero for a block of
/// zeros or nearly so, infinity where no scale is great enough, NaN where an element is not finite.
fn normal<const N: usize>(x: &[f32]) -> Result<Normal<N>, [u8; 2]> {
    /// Beyond all products of 65504 with the integers of a format.
    const GREAT: f32 = (1u64 << 40) as f32;
    let extreme = extreme(x).abs();
    let unit = f32::from_bits(extreme.to_bits() & 0x7f80_0000);
    let mut normal = [0.0; N];
    match extreme {
        _ if !extreme.is_finite() => Err(f16::NAN.to_le_bytes()),
        _ if extreme > GREAT => Err(f16::INFINITY.to_le_bytes()),
        _ if extreme < TINY => Err([0; 2]),
        _ => {
            normal.iter_mut().zip(x).for_each(|(y, x)| *y = x / unit);
            Ok(Normal { x: normal, unit: Unit(unit) })
        }
    }
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
