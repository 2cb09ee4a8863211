//! Sums, products and multiples of vectors, and the dot product.

use crate::order;
use crate::real::Real;
use crate::table::{Entry, Func};
use crate::{Isa, Type};

/// The kernels of this file.
pub const ENTRIES: &[Entry] = &[
    Entry::new("add", Type::F32, Isa::Scalar, Func::Binary(add::<f32>)),
    Entry::new("mul", Type::F32, Isa::Scalar, Func::Binary(mul::<f32>)),
    Entry::new("scale", Type::F32, Isa::Scalar, Func::Scaled(scale::<f32>)),
    Entry::new("axpy", Type::F32, Isa::Scalar, Func::Axpy(axpy::<f32>)),
    Entry::new("dot", Type::F32, Isa::Scalar, Func::Dot(dot::<f32>)),
];

/// `y += x`.
pub fn add<R: Real>(y: &mut [R], x: &[R]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = *y + *x;
    }
}

/// `y *= x`, element by element.
pub fn mul<R: Real>(y: &mut [R], x: &[R]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = *y * *x;
    }
}

/// `y *= a`.
pub fn scale<R: Real>(y: &mut [R], a: R) {
    for y in y {
        *y = *y * a;
    }
}

/// `y += a * x`, rounded once.
pub fn axpy<R: Real>(y: &mut [R], a: R, x: &[R]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = a.mul_add(*x, *y);
    }
}

/// The sum of products, in the order of [`order`].
pub fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    order::dot(a, b)
}
