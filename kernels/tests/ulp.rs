//! The errors of exp, tanh and the activations against the exact value, in units in the last place, over
//! f32 of every magnitude. The SIMD twins have the same bits (`differential.rs`), so scalar speaks for all.

use qorus_kernels::math;
use qorus_kernels::real::Real;

/// Bit patterns between two that are tried: a prime, so that all of the mantissa's bits vary.
const STRIDE: usize = 1009;

/// The distance between f32 around `x`.
fn ulp(x: f64) -> f64 {
    let exponent = (x.abs().to_bits() >> 52) as i32 - 1023;
    2f64.powi((exponent - 23).max(-149))
}

/// The greatest error relative to `limit` over all arguments that have one, and where; infinities must agree.
fn worst(stride: usize, row: &Row) -> (f64, f32) {
    let mut worst = (0.0, 0.0);
    for bits in (0..=u32::MAX).step_by(stride) {
        let x = f32::from_bits(bits);
        let (found, limit) = ((row.f)(x), (row.limit)(x));
        if x.is_nan() {
            assert!(found.is_nan(), "{} of a NaN is {found}", row.name);
            continue;
        }
        let exact = (row.exact)(f64::from(x));
        let error = if found == exact as f32 { 0.0 } else { (f64::from(found) - exact).abs() / ulp(exact) };
        if limit.is_finite() {
            assert!(!error.is_nan(), "{}({x:e}) = {found:e}, exactly {exact:e}", row.name);
            if error / limit > worst.0 {
                worst = (error / limit, x);
            }
        }
    }
    worst
}

/// A function, what it should be, and its limit in ULP at each argument.
struct Row {
    name: &'static str,
    f: fn(f32) -> f32,
    exact: fn(f64) -> f64,
    limit: fn(f32) -> f64,
}

const ROWS: &[Row] = &[
    Row {
        name: "decay",
        f: math::decay,
        exact: f64::exp,
        limit: |x| if (-87.3..=0.0).contains(&x) { 1.1 } else { f64::INFINITY },
    },
    Row { name: "tanh", f: math::tanh, exact: f64::tanh, limit: |_| 3.0 },
    Row {
        name: "sigmoid",
        f: math::sigmoid,
        exact: |x| 1.0 / (1.0 + (-x).exp()),
        limit: |x| if x > -87.3 { 3.0 } else { f64::INFINITY },
    },
    // Below, exp(x) is subnormal and has few digits to be multiplied.
    Row { name: "silu", f: math::silu, exact: Real::silu, limit: |x| if x > -87.0 { 3.5 } else { f64::INFINITY } },
    // The rounding of its argument becomes an error of exp, as many times as great as the argument.
    Row { name: "gelu", f: math::gelu, exact: exact_gelu, limit: gelu_limit },
    Row {
        name: "gelu_erf",
        f: math::gelu_erf,
        exact: Real::gelu_erf,
        limit: |x| if x > -12.0 { 8.0 } else { f64::INFINITY },
    },
];

fn gelu_limit(x: f32) -> f64 {
    let x = f64::from(x.abs());
    let argument = 1.6 * x + 0.0714 * x * x * x;
    if argument < 87.0 { 4.0 + 3.0 * argument } else { f64::INFINITY }
}

/// GELU's tanh form without the cancellation that 1 + tanh has.
fn exact_gelu(x: f64) -> f64 {
    let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    x / (1.0 + (-2.0 * u).exp())
}

fn check(stride: usize) {
    for row in ROWS {
        let (share, at) = worst(stride, row);
        let limit = (row.limit)(at);
        println!("{}: worst at {at:e}, {:.2} of {limit:.2} ULP", row.name, share * limit);
        assert!(share <= 1.0, "{}({at:e}) is {} ULP off", row.name, share * limit);
    }
}

#[test]
fn errors_stay_within_their_limits() {
    check(STRIDE);
}

#[test]
#[ignore = "all f32: half an hour"]
fn errors_stay_within_their_limits_over_all_f32() {
    check(1);
}

#[test]
fn what_decays_far_enough_is_nothing() {
    for x in [-87.7, -88.0, -88.1, -104.0, -1e30, f32::NEG_INFINITY] {
        assert_eq!(math::decay(x).to_bits(), 0, "{x}");
    }
    assert_eq!(math::decay(0.0), 1.0);
    assert!(math::decay(-87.3) >= f32::MIN_POSITIVE);
}
