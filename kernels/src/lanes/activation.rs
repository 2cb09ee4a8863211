//! Activations, in place, alone or as the gate of a product.

use super::map::{map, zip};
use super::{Simd, math};

/// `x / (1 + exp(-x))`.
#[inline(always)]
pub fn silu<S: Simd>(s: S, x: &mut [f32]) {
    map(
        s,
        x,
        #[inline(always)]
        |x| math::silu(s, x),
    );
}

/// GELU in its tanh form.
#[inline(always)]
pub fn gelu<S: Simd>(s: S, x: &mut [f32]) {
    map(
        s,
        x,
        #[inline(always)]
        |x| math::gelu(s, x),
    );
}

/// GELU by the normal distribution's integral.
#[inline(always)]
pub fn gelu_erf<S: Simd>(s: S, x: &mut [f32]) {
    map(
        s,
        x,
        #[inline(always)]
        |x| math::gelu_erf(s, x),
    );
}

/// The greater of x and 0; of a NaN, 0.
#[inline(always)]
pub fn relu<S: Simd>(s: S, x: &mut [f32]) {
    map(
        s,
        x,
        #[inline(always)]
        |x| s.greater(x, s.splat(0.0)),
    );
}

/// `cap * tanh(x / cap)`.
#[inline(always)]
pub fn softcap<S: Simd>(s: S, x: &mut [f32], cap: f32) {
    let cap = s.splat(cap);
    map(
        s,
        x,
        #[inline(always)]
        |x| s.mul(cap, math::tanh(s, s.div(x, cap))),
    );
}

/// `gate = silu(gate) * up`.
#[inline(always)]
pub fn silu_mul<S: Simd>(s: S, gate: &mut [f32], up: &[f32]) {
    zip(
        s,
        gate,
        up,
        #[inline(always)]
        |gate, up| s.mul(math::silu(s, gate), up),
    );
}

/// `gate = gelu(gate) * up`, in the tanh form.
#[inline(always)]
pub fn gelu_mul<S: Simd>(s: S, gate: &mut [f32], up: &[f32]) {
    zip(
        s,
        gate,
        up,
        #[inline(always)]
        |gate, up| s.mul(math::gelu(s, gate), up),
    );
}
