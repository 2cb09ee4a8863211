//! Softmax of one row, in place.

use super::map::map;
use super::{Lanes, Simd, math, reduce};

/// `x = exp(scale x - max(scale x)) / sum`.
#[inline(always)]
pub fn softmax<S: Simd>(s: S, x: &mut [f32], scale: f32) {
    let by = s.splat(scale);
    let max = reduce::max_map(
        s,
        x,
        #[inline(always)]
        |x| s.mul(x, by),
    );
    let max = s.splat(max);
    let mut sums = [s.splat(0.0); 2];
    let (chunks, tail) = x.as_chunks_mut::<16>();
    for x in chunks {
        exp16(s, x, by, max, &mut sums);
    }
    if !tail.is_empty() {
        // Behind the end what becomes 0.
        let mut x = [f32::NEG_INFINITY; 16];
        x.iter_mut().zip(tail.iter()).for_each(|(x, tail)| *x = tail * scale);
        exp16(s, &mut x, s.splat(1.0), max, &mut sums);
        tail.copy_from_slice(&x[..tail.len()]);
    }
    let inverse = s.splat(1.0 / s.sum(sums));
    map(
        s,
        x,
        #[inline(always)]
        |x| s.mul(x, inverse),
    );
}

/// `x = exp(by x - max)`, which is added to `sums`.
#[inline(always)]
fn exp16<S: Simd>(s: S, x: &mut [f32; 16], by: S::V, max: S::V, sums: &mut Lanes<S>) {
    for part in 0..S::PARTS {
        let v = math::decay(s, s.sub(s.mul(s.load(x, part), by), max));
        sums[part] = s.add(v, sums[part]);
        s.store(x, part, v);
    }
}

/// `d = scale y (d - sum(y d))`.
#[cfg(feature = "train")]
#[inline(always)]
pub fn softmax_backward<S: Simd>(s: S, d: &mut [f32], scale: f32, y: &[f32]) {
    let (scale, mean) = (s.splat(scale), s.splat(reduce::dot(s, d, y)));
    super::map::zip(
        s,
        d,
        y,
        #[inline(always)]
        |d, y| s.mul(s.mul(s.sub(d, mean), y), scale),
    );
}
