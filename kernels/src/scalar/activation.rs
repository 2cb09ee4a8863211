//! Activations, in place, alone or as the gate of a product.

use crate::real::Real;
use crate::table::{Entry, Func};
use crate::{Isa, Type};

/// The kernels of this file.
pub const ENTRIES: &[Entry] = &[
    Entry::new("silu", Type::F32, Isa::Scalar, Func::Unary(silu::<f32>)),
    Entry::new("gelu", Type::F32, Isa::Scalar, Func::Unary(gelu::<f32>)),
    Entry::new("gelu_erf", Type::F32, Isa::Scalar, Func::Unary(gelu_erf::<f32>)),
    Entry::new("relu", Type::F32, Isa::Scalar, Func::Unary(relu::<f32>)),
    Entry::new("softcap", Type::F32, Isa::Scalar, Func::Scaled(softcap::<f32>)),
    Entry::new("silu_mul", Type::F32, Isa::Scalar, Func::Binary(silu_mul::<f32>)),
    Entry::new("gelu_mul", Type::F32, Isa::Scalar, Func::Binary(gelu_mul::<f32>)),
];

/// `x / (1 + exp(-x))`.
pub fn silu<R: Real>(x: &mut [R]) {
    x.iter_mut().for_each(|x| *x = x.silu());
}

/// GELU in its tanh form.
pub fn gelu<R: Real>(x: &mut [R]) {
    x.iter_mut().for_each(|x| *x = x.gelu());
}

/// GELU by the normal distribution's integral.
pub fn gelu_erf<R: Real>(x: &mut [R]) {
    x.iter_mut().for_each(|x| *x = x.gelu_erf());
}

/// The greater of x and 0; of a NaN, 0.
pub fn relu<R: Real>(x: &mut [R]) {
    x.iter_mut().for_each(|x| *x = if *x > R::ZERO { *x } else { R::ZERO });
}

/// `cap * tanh(x / cap)`.
pub fn softcap<R: Real>(x: &mut [R], cap: R) {
    x.iter_mut().for_each(|x| *x = cap * (*x / cap).tanh());
}

/// `gate = silu(gate) * up`.
pub fn silu_mul<R: Real>(gate: &mut [R], up: &[R]) {
    gate.iter_mut().zip(up).for_each(|(gate, up)| *gate = gate.silu() * *up);
}

/// `gate = gelu(gate) * up`, in the tanh form.
pub fn gelu_mul<R: Real>(gate: &mut [R], up: &[R]) {
    gate.iter_mut().zip(up).for_each(|(gate, up)| *gate = gate.gelu() * *up);
}

/// The kernels of this file that training needs.
#[cfg(feature = "train")]
pub const TRAIN_ENTRIES: &[Entry] = &[
    Entry::new("silu_backward", Type::F32, Isa::Scalar, Func::Binary(silu_backward::<f32>)),
    Entry::new("gelu_backward", Type::F32, Isa::Scalar, Func::Binary(gelu_backward::<f32>)),
    Entry::new("gelu_erf_backward", Type::F32, Isa::Scalar, Func::Binary(gelu_erf_backward::<f32>)),
    Entry::new("relu_backward", Type::F32, Isa::Scalar, Func::Binary(relu_backward::<f32>)),
    Entry::new("softcap_backward", Type::F32, Isa::Scalar, Func::Axpy(softcap_backward::<f32>)),
    Entry::new("silu_mul_backward", Type::F32, Isa::Scalar, Func::GatedBackward(silu_mul_backward::<f32>)),
    Entry::new("gelu_mul_backward", Type::F32, Isa::Scalar, Func::GatedBackward(gelu_mul_backward::<f32>)),
];

/// `d = d * silu'(x)`.
#[cfg(feature = "train")]
pub fn silu_backward<R: Real>(d: &mut [R], x: &[R]) {
    d.iter_mut().zip(x).for_each(|(d, x)| *d = *d * x.silu_slope());
}

/// `d = d * gelu'(x)`, in the tanh form.
#[cfg(feature = "train")]
pub fn gelu_backward<R: Real>(d: &mut [R], x: &[R]) {
    d.iter_mut().zip(x).for_each(|(d, x)| *d = *d * x.gelu_slope());
}

/// `d = d * gelu_erf'(x)`.
#[cfg(feature = "train")]
pub fn gelu_erf_backward<R: Real>(d: &mut [R], x: &[R]) {
    d.iter_mut().zip(x).for_each(|(d, x)| *d = *d * x.gelu_erf_slope());
}

/// `d` where x is positive, else 0.
#[cfg(feature = "train")]
pub fn relu_backward<R: Real>(d: &mut [R], x: &[R]) {
    d.iter_mut().zip(x).for_each(|(d, x)| *d = if *x > R::ZERO { *d } else { R::ZERO });
}

/// `d = d * (1 - tanh(x / cap)^2)`.
#[cfg(feature = "train")]
pub fn softcap_backward<R: Real>(d: &mut [R], cap: R, x: &[R]) {
    for (d, x) in d.iter_mut().zip(x) {
        let t = (*x / cap).tanh();
        *d = *d * (-t).mul_add(t, R::ONE);
    }
}

/// Of h = silu(gate) up and the gradient `d` of h: `gate` and `up` become their gradients, and `d` becomes h.
#[cfg(feature = "train")]
pub fn silu_mul_backward<R: Real>(gate: &mut [R], up: &mut [R], d: &mut [R]) {
    for ((gate, up), d) in gate.iter_mut().zip(up).zip(d) {
        (*gate, *up, *d) = gated(gate.silu(), gate.silu_slope(), *up, *d);
    }
}

/// The same with GELU in the tanh form.
#[cfg(feature = "train")]
pub fn gelu_mul_backward<R: Real>(gate: &mut [R], up: &mut [R], d: &mut [R]) {
    for ((gate, up), d) in gate.iter_mut().zip(up).zip(d) {
        (*gate, *up, *d) = gated(gate.gelu(), gate.gelu_slope(), *up, *d);
    }
}

#[cfg(feature = "train")]
#[inline(always)]
fn gated<R: Real>(act: R, slope: R, up: R, d: R) -> (R, R, R) {
    (d * up * slope, d * act, act * up)
}
