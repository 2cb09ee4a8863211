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

#[inline(always)]
fn rotate<R: Real>(x: &mut [R], i: usize, j: usize, cos: R, sin: R) {
    let (a, b) = (x[i], x[j]);
    x[i] = a.mul_add(cos, -(b * sin));
    x[j] = b.mul_add(cos, a * sin);
}

/// Rotates the neighbours `(2i, 2i + 1)`.
pub fn rope_norm<R: Real>(x: &mut [R], cos: &[R], sin: &[R]) {
    for (i, (cos, sin)) in cos.iter().zip(sin).enumerate() {
        rotate(x, 2 * i, 2 * i + 1, *cos, *sin);
    }
}

/// Rotates `(i, i + n)`, n being the number of angles.
pub fn rope_neox<R: Real>(x: &mut [R], cos: &[R], sin: &[R]) {
    for (i, (c, s)) in cos.iter().zip(sin).enumerate() {
        rotate(x, i, i + cos.len(), *c, *s);
    }
}
