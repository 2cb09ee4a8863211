//! e^-x, tanh and the activations of one f32: the sequence of roundings that every level repeats.
//!
//! The SIMD twins apply the same constants by the same operations in the same order, a fused
//! multiply-add where this file has `mul_add`, so their results have the same bits. Everything is
//! branch-free; a NaN gives a NaN. The limits of the errors against the exact value, given in units in the
//! last place, are tested in `tests/ulp.rs`.

/// Adding 1.5 * 2^23 rounds to an integer; 127 more leaves the exponent of 2^n in the low bits.
pub(crate) const MAGIC: f32 = 12_582_912.0 + 127.0;
/// Just below -127 ln 2: there the 2^n of [`decay`] has the exponent of zero, and is 0; below, it is what it is there.
pub(crate) const DECAY_LO: f32 = -88.03;
/// ln 2 in two parts; the first has so few bits that multiples of it are exact.
pub(crate) const LN2_HI: f32 = 0.693_359_4;
pub(crate) const LN2_LO: f32 = -2.121_944_4e-4;
/// (exp(r) - 1 - r) / r^2 on |r| <= ln 2 / 2, highest power first.
pub(crate) const EXP_POLY: [f32; 5] = [0.001_392_621_3, 0.008_363_203, 0.041_666_556, 0.166_665_76, 0.5];
/// Beyond, tanh is 1.
pub(crate) const TANH_HI: f32 = 10.0;
/// Twice the argument of the tanh in GELU is `x * (C0 + C1 * x^2)`: 2 sqrt(2 / pi), and that times 0.044715.
pub(crate) const GELU_C0: f32 = 1.595_769;
pub(crate) const GELU_C1: f32 = 0.071_354_814;
/// Beyond, the tail of the normal distribution is taken as that at 15, about 4e-51.
pub(crate) const TAIL_HI: f32 = 15.0;
/// The tail of the normal distribution beyond x, over exp(-x^2 / 2), is `t * poly(t)` with
/// `t = 1 / (1 + x / 4)`; highest power first.
pub(crate) const TAIL_POLY: [f32; 10] = [
    0.016_071_474,
    -0.060_225_85,
    0.046_119_936,
    0.035_075_154,
    0.007_866_204,
    0.088_859_36,
    0.071_388_57,
    0.095_611_57,
    0.099_485_57,
    0.099_748_015,
];

/// 1 / sqrt(2 pi).
#[cfg(feature = "train")]
pub(crate) const NORMAL_DENSITY: f32 = 0.398_942_3;

/// The smaller, and `x` when it is a NaN.
#[inline(always)]
fn at_most(limit: f32, x: f32) -> f32 {
    if limit < x { limit } else { x }
}

/// 2^n, of the sum `n + MAGIC`.
#[inline(always)]
fn pow2(t: f32) -> f32 {
    f32::from_bits(t.to_bits() << 23)
}

#[inline(always)]
fn horner(coefficients: &[f32], x: f32) -> f32 {
    coefficients[1..].iter().fold(coefficients[0], |sum, c| sum.mul_add(x, *c))
}

/// `(n, exp(r) - 1)` with `x = n ln 2 + r`.
#[inline(always)]
fn reduce(x: f32) -> (f32, f32) {
    let n = x.mul_add(core::f32::consts::LOG2_E, MAGIC) - MAGIC;
    let r = n.mul_add(-LN2_HI, x);
    let r = n.mul_add(-LN2_LO, r);
    (n, horner(&EXP_POLY, r).mul_add(r * r, r))
}

/// e^x of an x that is not positive, within 1.1 ULP down to -87.3, where it is no longer normal, and 0 from -87.7 on: what softmax and
/// gates need, for less work.
#[inline(always)]
pub fn decay(x: f32) -> f32 {
    let (n, p) = reduce(if DECAY_LO > x { DECAY_LO } else { x });
    let s = pow2(n + MAGIC);
    s.mul_add(p, s)
}

/// Hyperbolic tangent, within 3 ULP, through exp(2x) - 1 so that small arguments keep their digits.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let a = at_most(TANH_HI, x.abs());
    let (n, p) = reduce(a + a);
    let s = pow2(n + MAGIC);
    let t = s.mul_add(p, s - 1.0);
    (t / (t + 2.0)).copysign(x)
}

/// `num / (1 + exp(-|s|))`, where `num` is `x` for s >= 0 and `x exp(-|s|)` below: x times the logistic
/// function of s, without overflow and without cancellation.
#[inline(always)]
fn gate(x: f32, s: f32) -> f32 {
    let z = decay(-s.abs());
    (if s < 0.0 { x * z } else { x }) / (1.0 + z)
}

/// Logistic function, `1 / (1 + exp(-x))`, within 3 ULP down to -87.3, and 0 from -87.7 on.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    gate(1.0, x)
}

/// `x / (1 + exp(-x))`, within 3.5 ULP down to -87, and 0 from -87.7 on.
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    gate(x, x)
}

/// GELU in its tanh form: `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`. The error grows with
/// the argument of tanh, u: within 4 + 6 |u| ULP.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    gate(x, x * (x * x).mul_add(GELU_C1, GELU_C0))
}

/// `(exp(-x^2 / 2), integral of the normal distribution beyond |x|)`.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let a = at_most(TAIL_HI, x.abs());
    // a^2 / 2 with its rounding error, which exp would magnify.
    let half = 0.5 * a;
    let square = half * a;
    let error = half.mul_add(a, -square);
    let z = decay(-square);
    let z = (-error).mul_add(z, z);
    let t = 1.0 / a.mul_add(0.25, 1.0);
    (z, z * (t * horner(&TAIL_POLY, t)))
}

/// GELU: x times the integral of the normal distribution up to x, within 8 ULP down to -12.
#[inline(always)]
pub fn gelu_erf(x: f32) -> f32 {
    let (_, tail) = normal(x);
    if x < 0.0 { x * tail } else { (-x).mul_add(tail, x) }
}

/// Derivative of [`silu`]. Its magnitude is about 1; so are the units of the errors of all three derivatives.
#[cfg(feature = "train")]
#[inline(always)]
pub fn silu_slope(x: f32) -> f32 {
    let s = sigmoid(x);
    s * x.mul_add(1.0 - s, 1.0)
}

/// Derivative of [`gelu`].
#[cfg(feature = "train")]
#[inline(always)]
pub fn gelu_slope(x: f32) -> f32 {
    let square = x * x;
    let s = sigmoid(x * square.mul_add(GELU_C1, GELU_C0));
    s * (x * square.mul_add(3.0 * GELU_C1, GELU_C0)).mul_add(1.0 - s, 1.0)
}

/// Derivative of [`gelu_erf`].
#[cfg(feature = "train")]
#[inline(always)]
pub fn gelu_erf_slope(x: f32) -> f32 {
    let (z, tail) = normal(x);
    (x * NORMAL_DENSITY).mul_add(z, if x < 0.0 { tail } else { 1.0 - tail })
}
