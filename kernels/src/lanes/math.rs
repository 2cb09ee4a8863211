//! [`crate::math`], a register at a time: the same operations in the same order.

use super::Simd;
use crate::math::*;

#[inline(always)]
fn horner<S: Simd, const N: usize>(s: S, coefficients: &[f32; N], x: S::V) -> S::V {
    let mut sum = s.splat(coefficients[0]);
    for c in &coefficients[1..] {
        sum = s.mul_add(sum, x, s.splat(*c));
    }
    sum
}

/// `(n, exp(r) - 1)` with `x = n ln 2 + r`.
#[inline(always)]
fn reduce<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    let magic = s.splat(MAGIC);
    let n = s.sub(s.mul_add(x, s.splat(core::f32::consts::LOG2_E), magic), magic);
    let r = s.mul_add(n, s.splat(-LN2_HI), x);
    let r = s.mul_add(n, s.splat(-LN2_LO), r);
    (n, s.mul_add(horner(s, &EXP_POLY, r), s.mul(r, r), r))
}

/// e^x of an x that is not positive.
#[inline(always)]
pub fn decay<S: Simd>(s: S, x: S::V) -> S::V {
    let (n, p) = reduce(s, s.greater(s.splat(DECAY_LO), x));
    let f = s.pow2(s.add(n, s.splat(MAGIC)));
    s.mul_add(f, p, f)
}

/// Hyperbolic tangent.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::V) -> S::V {
    let a = s.lesser(s.splat(TANH_HI), s.abs(x));
    let (n, p) = reduce(s, s.add(a, a));
    let f = s.pow2(s.add(n, s.splat(MAGIC)));
    let t = s.mul_add(f, p, s.sub(f, s.splat(1.0)));
    s.with_sign(s.div(t, s.add(t, s.splat(2.0))), x)
}

/// x times the logistic function of `arg`.
#[inline(always)]
fn gate<S: Simd>(s: S, x: S::V, arg: S::V) -> S::V {
    let z = decay(s, s.neg(s.abs(arg)));
    s.div(s.if_negative(arg, s.mul(x, z), x), s.add(s.splat(1.0), z))
}

/// `x / (1 + exp(-x))`.
#[inline(always)]
pub fn silu<S: Simd>(s: S, x: S::V) -> S::V {
    gate(s, x, x)
}

/// GELU in its tanh form.
#[inline(always)]
pub fn gelu<S: Simd>(s: S, x: S::V) -> S::V {
    gate(s, x, s.mul(x, s.mul_add(s.mul(x, x), s.splat(GELU_C1), s.splat(GELU_C0))))
}

/// `(exp(-x^2 / 2), integral of the normal distribution beyond |x|)`.
#[inline(always)]
fn normal<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    let a = s.lesser(s.splat(TAIL_HI), s.abs(x));
    let half = s.mul(s.splat(0.5), a);
    let square = s.mul(half, a);
    let error = s.mul_add(half, a, s.neg(square));
    let z = decay(s, s.neg(square));
    let z = s.mul_add(s.neg(error), z, z);
    let t = s.div(s.splat(1.0), s.mul_add(a, s.splat(0.25), s.splat(1.0)));
    (z, s.mul(z, s.mul(t, horner(s, &TAIL_POLY, t))))
}

/// GELU by the normal distribution's integral.
#[inline(always)]
pub fn gelu_erf<S: Simd>(s: S, x: S::V) -> S::V {
    let (_, tail) = normal(s, x);
    s.if_negative(x, s.mul(x, tail), s.mul_add(s.neg(x), tail, x))
}

/// Derivative of [`silu`].
#[cfg(feature = "train")]
#[inline(always)]
pub fn silu_slope<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    let open = gate(s, one, x);
    s.mul(open, s.mul_add(x, s.sub(one, open), one))
}

/// Derivative of [`gelu`].
#[cfg(feature = "train")]
#[inline(always)]
pub fn gelu_slope<S: Simd>(s: S, x: S::V) -> S::V {
    let (one, square) = (s.splat(1.0), s.mul(x, x));
    let open = gate(s, one, s.mul(x, s.mul_add(square, s.splat(GELU_C1), s.splat(GELU_C0))));
    let steep = s.mul(x, s.mul_add(square, s.splat(3.0 * GELU_C1), s.splat(GELU_C0)));
    s.mul(open, s.mul_add(steep, s.sub(one, open), one))
}

/// Derivative of [`gelu_erf`].
#[cfg(feature = "train")]
#[inline(always)]
pub fn gelu_erf_slope<S: Simd>(s: S, x: S::V) -> S::V {
    let (z, tail) = normal(s, x);
    let below = s.if_negative(x, tail, s.sub(s.splat(1.0), tail));
    s.mul_add(s.mul(x, s.splat(NORMAL_DENSITY)), z, below)
}
