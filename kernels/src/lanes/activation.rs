//! Activations, in place, alone or as the gate of a product.

#[cfg(feature = "train")]
use super::map::each;
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

/// `d = d * silu'(x)`.
#[cfg(feature = "train")]
#[inline(always)]
pub fn silu_backward<S: Simd>(s: S, d: &mut [f32], x: &[f32]) {
    zip(
        s,
        d,
        x,
        #[inline(always)]
        |d, x| s.mul(d, math::silu_slope(s, x)),
    );
}

/// `d = d * gelu'(x)`, in the tanh form.
#[cfg(feature = "train")]
#[inline(always)]
pub fn gelu_backward<S: Simd>(s: S, d: &mut [f32], x: &[f32]) {
    zip(
        s,
        d,
        x,
        #[inline(always)]
        |d, x| s.mul(d, math::gelu_slope(s, x)),
    );
}

/// `d = d * gelu_erf'(x)`.
#[cfg(feature = "train")]
#[inline(always)]
pub fn gelu_erf_backward<S: Simd>(s: S, d: &mut [f32], x: &[f32]) {
    zip(
        s,
        d,
        x,
        #[inline(always)]
        |d, x| s.mul(d, math::gelu_erf_slope(s, x)),
    );
}

/// `d` where x is positive, else 0.
#[cfg(feature = "train")]
#[inline(always)]
pub fn relu_backward<S: Simd>(s: S, d: &mut [f32], x: &[f32]) {
    zip(
        s,
        d,
        x,
        #[inline(always)]
        |d, x| s.if_negative(s.neg(x), d, s.splat(0.0)),
    );
}

/// `d = d * (1 - tanh(x / cap)^2)`.
#[cfg(feature = "train")]
#[inline(always)]
pub fn softcap_backward<S: Simd>(s: S, d: &mut [f32], cap: f32, x: &[f32]) {
    let (cap, one) = (s.splat(cap), s.splat(1.0));
    zip(
        s,
        d,
        x,
        #[inline(always)]
        |d, x| {
            let t = math::tanh(s, s.div(x, cap));
            s.mul(d, s.mul_add(s.neg(t), t, one))
        },
    );
}

/// Gradients of `silu(gate) * up` in the places of `gate` and `up`, and the product in that of its gradient.
#[cfg(feature = "train")]
#[inline(always)]
pub fn silu_mul_backward<S: Simd>(s: S, gate: &mut [f32], up: &mut [f32], d: &mut [f32]) {
    each(
        s,
        [],
        [gate, up, d],
        #[inline(always)]
        |[], [gate, up, d]| {
            let act = math::silu(s, gate);
            [s.mul(s.mul(d, up), math::silu_slope(s, gate)), s.mul(d, act), s.mul(act, up)]
        },
    );
}

/// The same with GELU in the tanh form.
#[cfg(feature = "train")]
#[inline(always)]
pub fn gelu_mul_backward<S: Simd>(s: S, gate: &mut [f32], up: &mut [f32], d: &mut [f32]) {
    each(
        s,
        [],
        [gate, up, d],
        #[inline(always)]
        |[], [gate, up, d]| {
            let act = math::gelu(s, gate);
            [s.mul(s.mul(d, up), math::gelu_slope(s, gate)), s.mul(d, act), s.mul(act, up)]
        },
    );
}
