//! Normalisation of one row: RMSNorm and LayerNorm.

use super::map::padded;
use super::{Simd, reduce};

/// `y = x / sqrt(mean(x^2) + eps) * w`.
#[inline(always)]
pub fn rmsnorm<S: Simd>(s: S, x: &[f32], w: &[f32], eps: f32, y: &mut [f32]) {
    let mean = reduce::dot(s, x, x) / x.len() as f32;
    let inverse = s.splat(1.0 / (mean + eps).sqrt());
    each(
        s,
        x,
        w,
        w,
        y,
        #[inline(always)]
        |x, w, _| s.mul(s.mul(x, inverse), w),
    );
}

/// `y = (x - mean(x)) / sqrt(var(x) + eps) * w + b`.
#[inline(always)]
pub fn layernorm<S: Simd>(s: S, x: &[f32], w: &[f32], b: Option<&[f32]>, eps: f32, y: &mut [f32]) {
    let n = x.len() as f32;
    let mean = reduce::sum(s, x) / n;
    let square = reduce::sum_squares(s, x, mean);
    let inverse = s.splat(1.0 / (square / n + eps).sqrt());
    let mean = s.splat(mean);
    match b {
        Some(b) => each(
            s,
            x,
            w,
            b,
            y,
            #[inline(always)]
            |x, w, b| s.mul_add(s.mul(s.sub(x, mean), inverse), w, b),
        ),
        None => each(
            s,
            x,
            w,
            w,
            y,
            #[inline(always)]
            |x, w, _| s.mul(s.mul(s.sub(x, mean), inverse), w),
        ),
    }
}

/// `y = f(x, w, b)`, element by element; all of one length.
#[inline(always)]
pub(super) fn each<S: Simd>(
    s: S,
    x: &[f32],
    w: &[f32],
    b: &[f32],
    y: &mut [f32],
    f: impl Fn(S::V, S::V, S::V) -> S::V,
) {
    let ((x, x_tail), (w, w_tail), (b, b_tail)) = (x.as_chunks(), w.as_chunks(), b.as_chunks());
    let (y, y_tail) = y.as_chunks_mut();
    for (((x, w), b), y) in x.iter().zip(w).zip(b).zip(y) {
        each16(s, x, w, b, y, &f);
    }
    if !y_tail.is_empty() {
        let mut y = [0.0; 16];
        each16(s, &padded(x_tail), &padded(w_tail), &padded(b_tail), &mut y, &f);
        y_tail.copy_from_slice(&y[..y_tail.len()]);
    }
}

#[inline(always)]
fn each16<S: Simd>(
    s: S,
    x: &[f32; 16],
    w: &[f32; 16],
    b: &[f32; 16],
    y: &mut [f32; 16],
    f: &impl Fn(S::V, S::V, S::V) -> S::V,
) {
    for part in 0..S::PARTS {
        s.store(y, part, f(s.load(x, part), s.load(w, part), s.load(b, part)));
    }
}
