//! The one order of floating-point reductions.
//!
//! A sum over n elements has sixteen lanes: lane j takes the elements whose index is j modulo 16, in
//! order, each by one fused multiply-add; the last incomplete group of sixteen is completed with zeros.
//! Then the lanes are folded in halves: lane j takes lane j + 8, then j + 4, j + 2, j + 1. The order depends on
//! the length alone. Sixteen lanes are two registers of AVX2 and one of AVX-512, which therefore give
//! the bits of the plain loops here.

use crate::real::Real;
use crate::scalar::pairs::add_pair;

/// Partial sums of a reduction.
pub const LANES: usize = 16;

/// The sum of `a * b` over the pairs of `term(0..len)`.
#[inline(always)]
pub fn sum_products<R: Real>(len: usize, term: impl Fn(usize) -> (R, R)) -> R {
    let mut lanes = [R::ZERO; LANES];
    for i in 0..len.next_multiple_of(LANES) {
        let (a, b) = if i < len { term(i) } else { (R::ZERO, R::ZERO) };
        lanes[i % LANES] = a.mul_add(b, lanes[i % LANES]);
    }
    fold(lanes, |a, b| a + b)
}

/// The sum of `a * b` over the pairs of `term(0..len)` for elements of bf16: lane j takes elements 2j and 2j + 1 of each group of 32, as
/// [`add_pair`] does.
pub fn sum_pairs(len: usize, term: impl Fn(usize) -> (f32, f32)) -> f32 {
    let mut lanes = [0.0; LANES];
    let term = |i| if i < len { term(i) } else { (0.0, 0.0) };
    for i in (0..len.next_multiple_of(2 * LANES)).step_by(2) {
        let (first, second) = (term(i), term(i + 1));
        let lane = &mut lanes[i / 2 % LANES];
        *lane = add_pair([first.0, second.0], [first.1, second.1], *lane);
    }
    fold(lanes, |a, b| a + b)
}

/// The sum of products of two slices of one length.
pub fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    sum_products(a.len(), |i| (a[i], b[i]))
}

/// The sum of a slice.
pub fn sum<R: Real>(x: &[R]) -> R {
    sum_products(x.len(), |i| (x[i], R::ONE))
}

/// The greatest element, a NaN being passed over; negative infinity of none.
pub fn max<R: Real>(x: &[R]) -> R {
    let mut lanes = [R::NEG_INFINITY; LANES];
    for (i, x) in x.iter().enumerate() {
        lanes[i % LANES] = greater(*x, lanes[i % LANES]);
    }
    fold(lanes, greater)
}

/// The greater of two, the second unless the first is greater.
#[inline(always)]
pub fn greater<R: Real>(a: R, b: R) -> R {
    if a > b { a } else { b }
}

/// The lesser of two, the second unless the first is less.
#[cfg(feature = "train")]
#[inline(always)]
pub fn lesser<R: Real>(a: R, b: R) -> R {
    if a < b { a } else { b }
}

/// Sixteen lanes folded in halves.
#[inline(always)]
fn fold<R: Real>(mut lanes: [R; LANES], f: impl Fn(R, R) -> R) -> R {
    for half in [8, 4, 2, 1] {
        for j in 0..half {
            lanes[j] = f(lanes[j], lanes[j + half]);
        }
    }
    lanes[0]
}
