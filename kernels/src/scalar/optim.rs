//! Steps of optimizers, in one pass over weights, gradients and moments; gradients are zeroed on the way.

use super::clip::within;
use crate::dynamic::{self, BLOCK};
use crate::optim::{AdamStep, Intake, SgdStep};
use crate::real::Real;
use crate::table::{Entry, Func};
use crate::{Isa, Type};

/// The kernels of this file.
pub const ENTRIES: &[Entry] = &[
    Entry::new("sgd", Type::F32, Isa::Scalar, Func::Sgd(sgd::<f32>)),
    Entry::new("adam", Type::F32, Isa::Scalar, Func::Adam(adam::<f32>)),
    Entry::new("adam8", Type::F32, Isa::Scalar, Func::Adam8(adam8)),
];

/// [`SgdStep`]; `b` is empty where there is no momentum.
pub fn sgd<R: Real>(w: &mut [R], g: &mut [R], b: &mut [R], step: &SgdStep<R>) {
    for (i, (w, g)) in w.iter_mut().zip(g).enumerate() {
        let mut along = take(*g, *w, &step.intake);
        if let Some(b) = b.get_mut(i) {
            *b = step.momentum.mul_add(*b, along);
            along = if step.nesterov { step.momentum.mul_add(*b, along) } else { *b };
        }
        *w = (-step.rate).mul_add(along, *w);
        *g = R::ZERO;
    }
}

/// [`AdamStep`].
pub fn adam<R: Real>(w: &mut [R], g: &mut [R], m: &mut [R], v: &mut [R], step: &AdamStep<R>) {
    for (((w, g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
        (*w, *m, *v) = adam1(*w, *g, *m, *v, step);
        *g = R::ZERO;
    }
}

/// The same with moments in blocks of 256 codes of the [`dynamic`] map; `scales` are the greatest magnitudes of both moments,
/// for each block in turn.
pub fn adam8(w: &mut [f32], g: &mut [f32], m: &mut [u8], v: &mut [u8], scales: &mut [f32], step: &AdamStep) {
    let blocks = w.chunks_mut(BLOCK).zip(g.chunks_mut(BLOCK)).zip(m.chunks_mut(BLOCK)).zip(v.chunks_mut(BLOCK));
    for ((((w, g), m), v), scales) in blocks.zip(scales.as_chunks_mut::<2>().0) {
        let (mut m32, mut v32) = ([0.0; BLOCK], [0.0; BLOCK]);
        for i in 0..w.len() {
            m32[i] = dynamic::SIGNED[m[i] as usize] * scales[0];
            v32[i] = dynamic::UNSIGNED[v[i] as usize] * scales[1];
            (w[i], m32[i], v32[i]) = adam1(w[i], g[i], m32[i], v32[i], step);
            g[i] = 0.0;
        }
        *scales = [m32, v32].map(|x| x.iter().fold(0.0, |max, x| crate::order::greater(x.abs(), max)));
        let inverse = scales.map(dynamic::inverse);
        for i in 0..w.len() {
            m[i] = dynamic::encode_signed(m32[i] * inverse[0]);
            v[i] = dynamic::encode_unsigned(v32[i] * inverse[1]);
        }
    }
}

/// One element: `(w, m, v)`.
#[inline(always)]
fn adam1<R: Real>(w: R, g: R, m: R, v: R, step: &AdamStep<R>) -> (R, R, R) {
    let g = take(g, w, &step.intake);
    let m = step.rest1.mul_add(g - m, m);
    let v = (step.rest2 * g).mul_add(g, step.beta2 * v);
    let along = m / v.sqrt().mul_add(step.root, step.eps);
    ((-step.rate).mul_add(along, (-step.decay).mul_add(w, w)), m, v)
}

/// [`Intake`].
#[inline(always)]
fn take<R: Real>(g: R, w: R, intake: &Intake<R>) -> R {
    let sign = if w < R::ZERO {
        -intake.l1
    } else if -w < R::ZERO {
        intake.l1
    } else {
        R::ZERO
    };
    intake.l2.mul_add(w, within(g * intake.scale, intake.limit)) + sign
}
