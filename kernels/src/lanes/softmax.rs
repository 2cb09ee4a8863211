//! Softmax of one row, in place.

use super::map::map;
use super::{Simd, math, reduce};

/// `x = exp(x - max(x)) / sum`.
#[inline(always)]
pub fn softmax<S: Simd>(s: S, x: &mut [f32]) {
    let sum = exp_less_max(s, x).1;
    let inverse = s.splat(1.0 / sum);
    map(
        s,
        x,
        #[inline(always)]
        |x| s.mul(x, inverse),
    );
}

/// `x = exp(x - max(x))`; gives the greatest element and the sum.
#[inline(always)]
pub fn exp_less_max<S: Simd>(s: S, x: &mut [f32]) -> (f32, f32) {
    let max = reduce::max(s, x);
    let max_v = s.splat(max);
    map(
        s,
        x,
        #[inline(always)]
        |x| math::exp(s, s.sub(x, max_v)),
    );
    (max, reduce::sum(s, x))
}

/// `d = y (d - sum(y d))`.
#[cfg(feature = "train")]
#[inline(always)]
pub fn softmax_backward<S: Simd>(s: S, d: &mut [f32], y: &[f32]) {
    let mean = s.splat(reduce::dot(s, d, y));
    super::map::zip(
        s,
        d,
        y,
        #[inline(always)]
        |d, y| s.mul(s.sub(d, mean), y),
    );
}
