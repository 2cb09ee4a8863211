//! Rotary position embedding of one head.
//!
//! `cos` and `sin` hold one angle per rotated pair; elements past the pairs stay as they are.

use crate::real::Real;
use crate::table::{Entry, Func};
use crate::{Isa, Type};

/// The kernels of this file.
pub const ENTRIES: &[Entry] = &[
    Entry::new("rope_norm", Type::F32, Isa::Scalar, Func::Rope(rope_norm::<f32>)),
    Entry::new("rope_neox", Type::F32, Isa::Scalar, Func::Rope(rope_neox::<f32>)),
];

/// The pair `(a, b)` turned by an angle.
#[inline(always)]
pub fn rotate<R: Real>(a: R, b: R, cos: R, sin: R) -> (R, R) {
    (a.mul_add(cos, -(b * sin)), b.mul_add(cos, a * sin))
}

/// Rotates the neighbours `(2i, 2i + 1)`.
#[inline(always)]
pub fn rope_norm<R: Real>(x: &mut [R], cos: &[R], sin: &[R]) {
    for (i, (cos, sin)) in cos.iter().zip(sin).enumerate() {
        (x[2 * i], x[2 * i + 1]) = rotate(x[2 * i], x[2 * i + 1], *cos, *sin);
    }
}

/// Rotates `(i, i + n)`, n being the number of angles.
#[inline(always)]
pub fn rope_neox<R: Real>(x: &mut [R], cos: &[R], sin: &[R]) {
    let n = cos.len();
    for (i, (cos, sin)) in cos.iter().zip(sin).enumerate() {
        (x[i], x[i + n]) = rotate(x[i], x[i + n], *cos, *sin);
    }
}
