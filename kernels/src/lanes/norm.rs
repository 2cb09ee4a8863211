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

/// `dx`, and the row's part of `dw`.
#[cfg(feature = "train")]
#[inline(always)]
pub fn rmsnorm_backward<S: Simd>(s: S, x: &[f32], w: &[f32], eps: f32, dy: &[f32], dx: &mut [f32], dw: &mut [f32]) {
    let n = x.len() as f32;
    let inverse = 1.0 / (reduce::dot(s, x, x) / n + eps).sqrt();
    let along = reduce::sum_of3(
        s,
        [w, dy, x],
        [0.0; 3],
        #[inline(always)]
        |w, dy, x| (s.mul(w, dy), x),
    );
    let factor = s.splat(-(along / n * inverse * inverse));
    let inverse = s.splat(inverse);
    super::map::each(
        s,
        [x, w, dy],
        [dx, dw],
        #[inline(always)]
        |[x, w, dy], [_, dw]| {
            [s.mul(s.mul_add(factor, x, s.mul(w, dy)), inverse), s.mul_add(dy, s.mul(x, inverse), dw)]
        },
    );
}

/// `dx`, and the row's parts of `dw` and `db`.
#[cfg(feature = "train")]
#[inline(always)]
#[allow(clippy::too_many_arguments)] // those of the kernel
pub fn layernorm_backward<S: Simd>(
    s: S,
    x: &[f32],
    w: &[f32],
    eps: f32,
    dy: &[f32],
    dx: &mut [f32],
    dw: &mut [f32],
    db: &mut [f32],
) {
    let n = x.len() as f32;
    let mean = reduce::sum(s, x) / n;
    let inverse = 1.0 / (reduce::sum_squares(s, x, mean) / n + eps).sqrt();
    let level = s.splat(reduce::dot(s, w, dy) / n);
    let (mean_v, inverse) = (s.splat(mean), s.splat(inverse));
    let along = reduce::sum_of3(
        s,
        [w, dy, x],
        [0.0, 0.0, mean],
        #[inline(always)]
        |w, dy, x| (s.mul(w, dy), s.mul(s.sub(x, mean_v), inverse)),
    );
    let along = s.splat(-(along / n));
    super::map::each(
        s,
        [x, w, dy],
        [dx, dw, db],
        #[inline(always)]
        |[x, w, dy], [_, dw, db]| {
            let unit = s.mul(s.sub(x, mean_v), inverse);
            let dx = s.mul(s.mul_add(along, unit, s.sub(s.mul(w, dy), level)), inverse);
            [dx, s.mul_add(dy, unit, dw), s.add(db, dy)]
        },
    );
}
