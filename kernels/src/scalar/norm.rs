//! Normalisation of one row: RMSNorm and LayerNorm.

use crate::order;
use crate::real::Real;
use crate::table::{Entry, Func};
use crate::{Isa, Type};

/// The kernels of this file.
pub const ENTRIES: &[Entry] = &[
    Entry::new("rmsnorm", Type::F32, Isa::Scalar, Func::RmsNorm(rmsnorm::<f32>)),
    Entry::new("layernorm", Type::F32, Isa::Scalar, Func::LayerNorm(layernorm::<f32>)),
];

/// `y = x / sqrt(mean(x^2) + eps) * w`.
pub fn rmsnorm<R: Real>(x: &[R], w: &[R], eps: R, y: &mut [R]) {
    let mean = order::dot(x, x) / R::from_count(x.len());
    let inverse = R::ONE / (mean + eps).sqrt();
    for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
        *y = *x * inverse * *w;
    }
}

/// `y = (x - mean(x)) / sqrt(var(x) + eps) * w + b`, the variance being the mean square of what is left
/// after the mean is taken away; without `b`, nothing is added.
pub fn layernorm<R: Real>(x: &[R], w: &[R], b: Option<&[R]>, eps: R, y: &mut [R]) {
    let n = R::from_count(x.len());
    let mean = order::sum(x) / n;
    let square = order::sum_products(x.len(), |i| (x[i] - mean, x[i] - mean));
    let inverse = R::ONE / (square / n + eps).sqrt();
    for (i, y) in y.iter_mut().enumerate() {
        let unit = (x[i] - mean) * inverse;
        *y = match b {
            Some(b) => unit.mul_add(w[i], b[i]),
            None => unit * w[i],
        };
    }
}
