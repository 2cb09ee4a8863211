//! Softmax of one row, in place.

use crate::order;
use crate::real::Real;
use crate::table::{Entry, Func};
use crate::{Isa, Type};

/// The kernels of this file.
pub const ENTRIES: &[Entry] = &[Entry::new("softmax", Type::F32, Isa::Scalar, Func::Scaled(softmax::<f32>))];

/// `x = exp(scale x - max(scale x)) / sum`. An element of negative infinity becomes 0; a row of nothing else, NaN.
pub fn softmax<R: Real>(x: &mut [R], scale: R) {
    x.iter_mut().for_each(|x| *x = *x * scale);
    let max = order::max(x);
    for x in x.iter_mut() {
        *x = (*x - max).decay();
    }
    let inverse = R::ONE / order::sum(x);
    for x in x {
        *x = *x * inverse;
    }
}

/// The kernels of this file that training needs.
#[cfg(feature = "train")]
pub const TRAIN_ENTRIES: &[Entry] =
    &[Entry::new("softmax_backward", Type::F32, Isa::Scalar, Func::Axpy(softmax_backward::<f32>))];

/// Of y = softmax(scale x): `d`, the gradient of y, becomes that of x, `scale y (d - sum(y d))`.
#[cfg(feature = "train")]
pub fn softmax_backward<R: Real>(d: &mut [R], scale: R, y: &[R]) {
    let mean = order::dot(d, y);
    d.iter_mut().zip(y).for_each(|(d, y)| *d = (*d - mean) * *y * scale);
}
