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

/// The kernels of this file that training needs.
#[cfg(feature = "train")]
pub const TRAIN_ENTRIES: &[Entry] = &[
    Entry::new("rmsnorm_backward", Type::F32, Isa::Scalar, Func::RmsNormBackward(rmsnorm_backward::<f32>)),
    Entry::new("layernorm_backward", Type::F32, Isa::Scalar, Func::LayerNormBackward(layernorm_backward::<f32>)),
];

/// Of y = rmsnorm(x, w) and the gradient `dy`: writes `dx`, and adds the row's part to `dw`. With r = 1 / sqrt(mean(x^2) + eps),
/// `dx = r (w dy - x r^2 mean(w dy x))` and `dw += dy x r`.
#[cfg(feature = "train")]
pub fn rmsnorm_backward<R: Real>(x: &[R], w: &[R], eps: R, dy: &[R], dx: &mut [R], dw: &mut [R]) {
    let n = R::from_count(x.len());
    let inverse = R::ONE / (order::dot(x, x) / n + eps).sqrt();
    let along = order::sum_products(x.len(), |i| (w[i] * dy[i], x[i]));
    let factor = along / n * inverse * inverse;
    for i in 0..x.len() {
        dx[i] = (-factor).mul_add(x[i], w[i] * dy[i]) * inverse;
        dw[i] = dy[i].mul_add(x[i] * inverse, dw[i]);
    }
}

/// Of y = layernorm(x, w, b) and the gradient `dy`: writes `dx`, and adds the row's part to `dw` and `db`. With u the normalised
/// row and s its deviation, `dx = (w dy - mean(w dy) - u mean(w dy u)) / s`, `dw += dy u` and `db += dy`.
#[cfg(feature = "train")]
pub fn layernorm_backward<R: Real>(x: &[R], w: &[R], eps: R, dy: &[R], dx: &mut [R], dw: &mut [R], db: &mut [R]) {
    let n = R::from_count(x.len());
    let mean = order::sum(x) / n;
    let square = order::sum_products(x.len(), |i| (x[i] - mean, x[i] - mean));
    let inverse = R::ONE / (square / n + eps).sqrt();
    let level = order::dot(w, dy) / n;
    let along = order::sum_products(x.len(), |i| (w[i] * dy[i], (x[i] - mean) * inverse)) / n;
    for i in 0..x.len() {
        let unit = (x[i] - mean) * inverse;
        dx[i] = (-along).mul_add(unit, w[i] * dy[i] - level) * inverse;
        dw[i] = dy[i].mul_add(unit, dw[i]);
        db[i] = db[i] + dy[i];
    }
}
