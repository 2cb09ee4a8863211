//! Losses: squared differences, and the cross-entropy of one row of logits, each with its gradient.

use crate::loss::{Logits, RowLoss, Target, Weighting, shares};
use crate::order;
use crate::real::Real;
use crate::table::{Entry, Func};
use crate::{Isa, Type};

/// The kernels of this file.
pub const ENTRIES: &[Entry] = &[
    Entry::new("mse", Type::F32, Isa::Scalar, Func::Dot(mse::<f32>)),
    Entry::new("mse_grad", Type::F32, Isa::Scalar, Func::MseGrad(mse_grad::<f32>)),
    Entry::new("cross_entropy", Type::F32, Isa::Scalar, Func::CrossEntropy(cross_entropy::<f32>)),
];

/// The sum of `(p - t)^2`.
pub fn mse<R: Real>(p: &[R], t: &[R]) -> R {
    order::sum_products(p.len(), |i| (p[i] - t[i], p[i] - t[i]))
}

/// `g = (p - t) * scale`.
pub fn mse_grad<R: Real>(p: &[R], t: &[R], scale: R, g: &mut [R]) {
    for ((g, p), t) in g.iter_mut().zip(p).zip(t) {
        *g = (*p - *t) * scale;
    }
}

/// The loss `-sum(t' * log softmax(x))`, where t' is the target with `smoothing` of it spread evenly, and its gradient
/// `(softmax(x) * sum(t') - t') * scale`.
///
/// All is computed from `x - max(x)`, so that logits of any size lose no more than their own rounding.
pub fn cross_entropy<R: Real>(logits: Logits<R>, target: Target<R>, weighting: &Weighting<R>) -> RowLoss<R> {
    let x = logits.read();
    let max = order::max(x);
    let (share, even) = shares(weighting.smoothing, x.len());
    let (total, at, hit) = match target {
        Target::Class(class) => (R::ONE, share * (x[class] - max), x[class] == max),
        Target::Distribution(t) => {
            let at = order::sum_products(x.len(), |i| (t[i], x[i] - max));
            (share.mul_add(order::sum(t), weighting.smoothing), share * at, false)
        }
    };
    let at = if weighting.smoothing > R::ZERO {
        order::sum_products(x.len(), |i| (x[i] - max, R::ONE)).mul_add(even, at)
    } else {
        at
    };
    let sum = order::sum_products(x.len(), |i| ((x[i] - max).decay(), R::ONE));
    let loss = total.mul_add(sum.ln(), -at);
    let g = match logits {
        Logits::Read(_) => return RowLoss { loss, hit },
        Logits::InPlace(g) => g,
        Logits::To(x, g) => {
            g.copy_from_slice(x);
            g
        }
    };
    let factor = weighting.scale * total / sum;
    let (share, even) = (weighting.scale * share, weighting.scale * even);
    match target {
        Target::Class(class) => {
            for g in g.iter_mut() {
                *g = (*g - max).decay().mul_add(factor, -even);
            }
            g[class] = g[class] - share;
        }
        Target::Distribution(t) => {
            for (g, t) in g.iter_mut().zip(t) {
                *g = (*g - max).decay().mul_add(factor, -t.mul_add(share, even));
            }
        }
    }
    RowLoss { loss, hit }
}
