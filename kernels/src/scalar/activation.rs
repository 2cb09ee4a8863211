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
