//! Clipping.

use super::map::map;
use super::{Simd, reduce};

/// The sum of `x^2`.
#[inline(always)]
pub fn sum_squares<S: Simd>(s: S, x: &[f32]) -> f32 {
    reduce::dot(s, x, x)
}

/// `x = clamp(x * scale, -limit, limit)`; a NaN stays one.
#[inline(always)]
pub fn clamp<S: Simd>(s: S, x: &mut [f32], scale: f32, limit: f32) {
    let (scale, limit) = (s.splat(scale), s.splat(limit));
    map(
        s,
        x,
        #[inline(always)]
        |x| within(s, s.mul(x, scale), limit),
    );
}

/// x, but no further from 0 than the limit.
#[inline(always)]
pub(super) fn within<S: Simd>(s: S, x: S::V, limit: S::V) -> S::V {
    s.greater(s.neg(limit), s.lesser(limit, x))
}
