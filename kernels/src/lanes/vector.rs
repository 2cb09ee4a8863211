//! Sums, products and multiples of vectors, and the dot product.

use super::map::{map, zip};
use super::{Simd, reduce};

/// `y += x`.
#[inline(always)]
pub fn add<S: Simd>(s: S, y: &mut [f32], x: &[f32]) {
    zip(
        s,
        y,
        x,
        #[inline(always)]
        |y, x| s.add(y, x),
    );
}

/// `y *= x`, element by element.
#[inline(always)]
pub fn mul<S: Simd>(s: S, y: &mut [f32], x: &[f32]) {
    zip(
        s,
        y,
        x,
        #[inline(always)]
        |y, x| s.mul(y, x),
    );
}

/// `y *= a`.
#[inline(always)]
pub fn scale<S: Simd>(s: S, y: &mut [f32], a: f32) {
    let a = s.splat(a);
    map(
        s,
        y,
        #[inline(always)]
        |y| s.mul(y, a),
    );
}

/// `y += a * x`, rounded once.
#[inline(always)]
pub fn axpy<S: Simd>(s: S, y: &mut [f32], a: f32, x: &[f32]) {
    let a = s.splat(a);
    zip(
        s,
        y,
        x,
        #[inline(always)]
        |y, x| s.mul_add(a, x, y),
    );
}

/// The sum of products.
#[inline(always)]
pub fn dot<S: Simd>(s: S, a: &[f32], b: &[f32]) -> f32 {
    reduce::dot(s, a, b)
}
