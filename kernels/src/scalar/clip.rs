//! Clipping: the sum of squares that a norm is made of, and the bound on each element; and gradients that begin anew.

use crate::order;
use crate::real::Real;
use crate::table::{Entry, Func};
use crate::{Isa, Type};

/// The kernels of this file.
pub const ENTRIES: &[Entry] = &[
    Entry::new("sum_squares", Type::F32, Isa::Scalar, Func::Reduce(sum_squares::<f32>)),
    Entry::new("clamp", Type::F32, Isa::Scalar, Func::Clamp(clamp::<f32>)),
    Entry::new("zero", Type::F32, Isa::Scalar, Func::Unary(zero)),
];

/// `x = 0`.
fn zero(x: &mut [f32]) {
    x.fill(0.0);
}

/// The sum of `x^2`.
pub fn sum_squares<R: Real>(x: &[R]) -> R {
    order::dot(x, x)
}

/// `x = clamp(x * scale, -limit, limit)`; a NaN stays one.
pub fn clamp<R: Real>(x: &mut [R], scale: R, limit: R) {
    for x in x {
        *x = within(*x * scale, limit);
    }
}

/// x, but no further from 0 than the limit.
#[inline(always)]
pub(super) fn within<R: Real>(x: R, limit: R) -> R {
    order::greater(-limit, order::lesser(limit, x))
}
