//! What the factors of a product of matrices are rounded to, and how their products are added.
//!
//! Products of bf16 are multiplied as f32, which holds them exactly: so they come at the rate of f32 at every level, and have the bits of
//! [`crate::scalar::pairs`] and of the instruction VDPBF16PS, which adds the second product of a pair first and flushes what is subnormal.
//! The order is that of the panels. Nothing needs to be flushed where no sum can be subnormal, which is told beforehand: a number of
//! exponent e and p digits is a multiple of 2^(e + 1 - p), so sums of products of bf16 (p = 8) with the least exponents e and f
//! are multiples of 2^(e + f - 14), rounded or not. Where that is 2^-126 at least, the least normal number, they are zero or normal.

use super::Simd;
use crate::scalar::pairs;

/// How words of a panel come into being.
pub trait Factors<S: Simd> {
    /// Lines of a panel that change places with their neighbours, 2, or 1 where none do.
    const TURN: usize;
    /// Whether rows can be multiplied as they lie, for nothing is done to them.
    const BARE: bool;

    /// A register of elements.
    fn register(s: S, v: S::V) -> S::V;
    /// One element.
    fn one(x: f32) -> f32;
    /// What [`Factors::stay_normal`] has to know of the words of panels.
    fn least(words: &[f32]) -> u32;
    /// Whether sums of products of words of both operands, none of which is subnormal, cannot become so either.
    fn stay_normal(a: u32, b: u32) -> bool;
    /// Whether that is true of sums that go on from these, too.
    fn go_on_normal(sums: &[f32]) -> bool;
}

/// Elements as they are.
pub struct Bare;

/// Elements rounded to bf16.
pub struct Rounded;

impl<S: Simd> Factors<S> for Bare {
    const TURN: usize = 1;
    const BARE: bool = true;

    #[inline(always)]
    fn register(_: S, v: S::V) -> S::V {
        v
    }
    #[inline(always)]
    fn one(x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn least(_: &[f32]) -> u32 {
        0
    }
    /// Subnormal sums are kept.
    #[inline(always)]
    fn stay_normal(_: u32, _: u32) -> bool {
        true
    }
    #[inline(always)]
    fn go_on_normal(_: &[f32]) -> bool {
        true
    }
}

impl<S: Simd> Factors<S> for Rounded {
    const TURN: usize = 2;
    const BARE: bool = false;

    #[inline(always)]
    fn register(s: S, v: S::V) -> S::V {
        s.round_bf16(v)
    }
    #[inline(always)]
    fn one(x: f32) -> f32 {
        pairs::round(x)
    }
    #[inline(always)]
    fn least(words: &[f32]) -> u32 {
        least_exponent(words)
    }
    /// e + f - 14 >= -126, of exponents as they are stored, 127 more.
    #[inline(always)]
    fn stay_normal(a: u32, b: u32) -> bool {
        a + b >= 2 * 127 - 126 + 14
    }
    /// As above with the 24 digits of f32.
    #[inline(always)]
    fn go_on_normal(sums: &[f32]) -> bool {
        least_exponent(sums) >= 127 - 126 + 23
    }
}

/// The least exponent, as it is stored, of numbers that are not zero; 255 where there are none.
#[inline(always)]
fn least_exponent(x: &[f32]) -> u32 {
    // Without their signs, one less: zeros become the greatest.
    let least = x.iter().fold(u32::MAX, |least, x| least.min((x.to_bits() << 1).wrapping_sub(1)));
    least.saturating_add(1) >> 24
}

/// How a product is added to a sum.
pub trait Adds<S: Simd> {
    /// The sums.
    fn mul_add(s: S, a: S::V, b: S::V, sum: S::V) -> S::V;
}

/// By a fused multiply-add.
pub struct Fused;

/// As [`pairs::add_product`]: subnormal sums, read or computed, are zeros. The factors are not subnormal.
pub struct Flushed;

impl<S: Simd> Adds<S> for Fused {
    #[inline(always)]
    fn mul_add(s: S, a: S::V, b: S::V, sum: S::V) -> S::V {
        s.mul_add(a, b, sum)
    }
}

impl<S: Simd> Adds<S> for Flushed {
    #[inline(always)]
    fn mul_add(s: S, a: S::V, b: S::V, sum: S::V) -> S::V {
        s.mul_add_flushed(a, b, sum)
    }
}
