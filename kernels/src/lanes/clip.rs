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

/// `x = 0`, past the caches: what is there is not read before, and long gradients would not stay.
#[inline(always)]
pub fn zero<S: Simd>(s: S, x: &mut [f32]) {
    let start = x.as_ptr().align_offset(size_of::<[f32; 16]>()).min(x.len());
    let (head, x) = x.split_at_mut(start);
    let (chunks, tail) = x.as_chunks_mut::<16>();
    for x in chunks {
        for part in 0..S::PARTS {
            s.stream(x, part, s.splat(0.0));
        }
    }
    s.fence();
    head.fill(0.0);
    tail.fill(0.0);
}

/// x, but no further from 0 than the limit.
#[inline(always)]
pub(super) fn within<S: Simd>(s: S, x: S::V, limit: S::V) -> S::V {
    s.greater(s.neg(limit), s.lesser(limit, x))
}
