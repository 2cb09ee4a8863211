//! Backward kernels: in f64 against central differences of the forward kernels, in f32 of every level against f64.
#![cfg(feature = "train")]

use qorus_kernels::real::Real;
use qorus_kernels::scalar::{activation as act, norm, softmax};
use qorus_kernels::{Isa, Kernels};

/// Numbers between -limit and limit, exact in f32.
fn random(seed: u32, len: usize, limit: f32) -> Vec<f64> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        f64::from(((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * limit)
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|x| *x as f32).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Central differences of `f` at `x`.
fn differences(x: &[f64], mut f: impl FnMut(&[f64]) -> f64) -> Vec<f64> {
    let (mut x, h) = (x.to_vec(), 1e-5);
    (0..x.len())
        .map(|i| {
            let at = x[i];
            x[i] = at + h;
            let up = f(&x);
            x[i] = at - h;
            let down = f(&x);
            x[i] = at;
            (up - down) / (2.0 * h)
        })
        .collect()
}

/// The greatest difference, over the greatest value or 1.
#[track_caller]
fn close(name: &str, found: &[f64], expected: &[f64], bound: f64) {
    let size = expected.iter().fold(1.0f64, |m, x| m.max(x.abs()));
    assert_eq!(found.len(), expected.len(), "{name}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= bound * size, "{name}, element {i} of {}: {a} for {b}", found.len());
    }
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

/// Central differences in f64: the error of the step's square and of the cancellation.
const STEP: f64 = 1e-8;
/// f32 against f64, for values of magnitude 1: sums over a few hundred, and the argument of the tanh in GELU.
const SINGLE: f64 = 4e-6;
const LENGTHS: [usize; 8] = [1, 2, 7, 16, 17, 33, 100, 257];

fn levels() -> impl Iterator<Item = Kernels> {
    Isa::ALL.into_iter().filter_map(|isa| {
        let kernels = Kernels::new(isa);
        if kernels.is_none() {
            println!("SKIPPED: this CPU has no {}", isa.name());
        }
        kernels
    })
}

#[test]
fn norms() {
    for n in LENGTHS {
        let (x, w, b, dy) = (random(1, n, 2.0), random(2, n, 1.0), random(3, n, 1.0), random(4, n, 1.0));
        let eps = f64::from(1e-2f32);
        let rms = |x: &[f64], w: &[f64]| {
            let mut y = vec![0.0; n];
            norm::rmsnorm(x, w, eps, &mut y);
            dot(&y, &dy)
        };
        let layer = |x: &[f64], w: &[f64], b: &[f64]| {
            let mut y = vec![0.0; n];
            norm::layernorm(x, w, Some(b), eps, &mut y);
            dot(&y, &dy)
        };
        let (mut dx, mut dw, mut db) = (vec![f64::NAN; n], vec![1.0; n], vec![2.0; n]);
        norm::rmsnorm_backward(&x, &w, eps, &dy, &mut dx, &mut dw);
        close("rmsnorm dx", &dx, &differences(&x, |x| rms(x, &w)), STEP);
        let expected: Vec<f64> = differences(&w, |w| rms(&x, w)).iter().map(|d| d + 1.0).collect();
        close("rmsnorm dw", &dw, &expected, STEP);
        for k in levels() {
            let (mut fx, mut fw) = (vec![f32::NAN; n], vec![1.0; n]);
            k.rmsnorm_backward(&narrow(&x), &narrow(&w), eps as f32, &narrow(&dy), &mut fx, &mut fw);
            close("rmsnorm dx in f32", &wide(&fx), &dx, SINGLE);
            close("rmsnorm dw in f32", &wide(&fw), &dw, SINGLE);
        }

        dw.fill(1.0);
        norm::layernorm_backward(&x, &w, eps, &dy, &mut dx, &mut dw, &mut db);
        close("layernorm dx", &dx, &differences(&x, |x| layer(x, &w, &b)), STEP);
        let expected: Vec<f64> = differences(&w, |w| layer(&x, w, &b)).iter().map(|d| d + 1.0).collect();
        close("layernorm dw", &dw, &expected, STEP);
        let expected: Vec<f64> = differences(&b, |b| layer(&x, &w, b)).iter().map(|d| d + 2.0).collect();
        close("layernorm db", &db, &expected, STEP);
        for k in levels() {
            let (mut fx, mut fw, mut fb) = (vec![f32::NAN; n], vec![1.0; n], vec![2.0; n]);
            let at = (&narrow(&x)[..], &narrow(&w)[..], eps as f32);
            k.layernorm_backward(at, &narrow(&dy), &mut fx, (&mut fw, &mut fb));
            close("layernorm dx in f32", &wide(&fx), &dx, SINGLE);
            close("layernorm dw in f32", &wide(&fw), &dw, SINGLE);
            close("layernorm db in f32", &wide(&fb), &db, SINGLE);
        }
    }
}

#[test]
fn softmax_rows() {
    for n in LENGTHS {
        let (x, dy) = (random(5, n, 4.0), random(6, n, 1.0));
        let mut y = x.clone();
        softmax::softmax(&mut y, 0.7);
        let mut dx = dy.clone();
        softmax::softmax_backward(&mut dx, 0.7, &y);
        let expected = differences(&x, |x| {
            let mut y = x.to_vec();
            softmax::softmax(&mut y, 0.7);
            dot(&y, &dy)
        });
        close("softmax", &dx, &expected, STEP);
        for k in levels() {
            let mut d = narrow(&dy);
            k.softmax_backward(&mut d, 0.7, &narrow(&y));
            close("softmax in f32", &wide(&d), &dx, SINGLE);
        }
    }
}

type Unary = (&'static str, fn(&mut [f64]), fn(&mut [f64], &[f64]), fn(&Kernels, &mut [f32], &[f32]));

#[test]
fn activations() {
    let all: [Unary; 5] = [
        ("silu", act::silu, act::silu_backward, Kernels::silu_backward),
        ("gelu", act::gelu, act::gelu_backward, Kernels::gelu_backward),
        ("gelu_erf", act::gelu_erf, act::gelu_erf_backward, Kernels::gelu_erf_backward),
        ("relu", act::relu, act::relu_backward, Kernels::relu_backward),
        (
            "softcap",
            |x| act::softcap(x, 2.5),
            |d, x| act::softcap_backward(d, 2.5, x),
            |k, d, x| k.softcap_backward(d, 2.5, x),
        ),
    ];
    // Up to where tails vanish, and beyond where f32 holds them.
    for (name, forward, backward, kernel) in all {
        for limit in [1.0, 6.0, 40.0, 200.0] {
            let (x, dy) = (random(7, 500, limit), random(8, 500, 1.0));
            let mut dx = dy.clone();
            backward(&mut dx, &x);
            let expected: Vec<f64> = x
                .iter()
                .zip(&dy)
                .map(|(x, dy)| {
                    let h = 1e-5;
                    let mut at = [x + h, x - h];
                    forward(&mut at);
                    (at[0] - at[1]) / (2.0 * h) * dy
                })
                .collect();
            close(name, &dx, &expected, STEP);
            for k in levels() {
                let mut d = narrow(&dy);
                kernel(&k, &mut d, &narrow(&x));
                close(name, &wide(&d), &dx, SINGLE);
            }
        }
    }
}

#[test]
fn relu_is_flat_at_zero() {
    let mut d = [1.0f32; 3];
    act::relu_backward(&mut d, &[0.0, -0.0, f32::NAN]);
    assert_eq!(d, [0.0; 3]);
}

#[test]
fn gates() {
    type Gated = (
        &'static str,
        fn(&mut [f64], &[f64]),
        fn(&mut [f64], &mut [f64], &mut [f64]),
        fn(&Kernels, &mut [f32], &mut [f32], &mut [f32]),
    );
    let all: [Gated; 2] = [
        ("silu_mul", act::silu_mul, act::silu_mul_backward, Kernels::silu_mul_backward),
        ("gelu_mul", act::gelu_mul, act::gelu_mul_backward, Kernels::gelu_mul_backward),
    ];
    for (name, forward, backward, kernel) in all {
        for n in LENGTHS {
            let (gate, up, dh) = (random(9, n, 5.0), random(10, n, 1.0), random(11, n, 1.0));
            let product = |gate: &[f64], up: &[f64]| {
                let mut h = gate.to_vec();
                forward(&mut h, up);
                h
            };
            let (mut dgate, mut dup, mut h) = (gate.clone(), up.clone(), dh.clone());
            backward(&mut dgate, &mut dup, &mut h);
            close(name, &dgate, &differences(&gate, |gate| dot(&product(gate, &up), &dh)), STEP);
            close(name, &dup, &differences(&up, |up| dot(&product(&gate, up), &dh)), STEP);
            assert_eq!(h, product(&gate, &up));
            for k in levels() {
                let (mut g, mut u, mut d) = (narrow(&gate), narrow(&up), narrow(&dh));
                kernel(&k, &mut g, &mut u, &mut d);
                close(name, &wide(&g), &dgate, SINGLE);
                close(name, &wide(&u), &dup, SINGLE);
                close(name, &wide(&d), &h, SINGLE);
            }
        }
    }
}

#[test]
fn slopes_have_their_limits() {
    for (x, expected) in [(-1e4f32, 0.0), (1e4, 1.0), (f32::MIN_POSITIVE, 0.5), (-1e-30, 0.5)] {
        assert_eq!((x.silu_slope(), x.gelu_slope(), x.gelu_erf_slope()), (expected, expected, expected), "{x}");
    }
}
