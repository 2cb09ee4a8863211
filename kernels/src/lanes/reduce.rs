//! Sums and maxima in the order of [`crate::order`].

use super::map::padded;
use super::{Lanes, Simd};

/// Folds `x` into sixteen lanes by `f(x, lane)`; they begin as `start`, with which the last incomplete sixteen
/// are completed too.
#[inline(always)]
fn fold<S: Simd>(s: S, x: &[f32], start: f32, f: impl Fn(S::V, S::V) -> S::V) -> Lanes<S> {
    let mut lanes = [s.splat(start); 2];
    let (chunks, tail) = x.as_chunks::<16>();
    for x in chunks {
        for part in 0..S::PARTS {
            lanes[part] = f(s.load(x, part), lanes[part]);
        }
    }
    if !tail.is_empty() {
        let mut x = [start; 16];
        x[..tail.len()].copy_from_slice(tail);
        for part in 0..S::PARTS {
            lanes[part] = f(s.load(&x, part), lanes[part]);
        }
    }
    lanes
}

/// The sum of a slice.
#[inline(always)]
pub fn sum<S: Simd>(s: S, x: &[f32]) -> f32 {
    s.sum(fold(
        s,
        x,
        0.0,
        #[inline(always)]
        |x, sum| s.add(x, sum),
    ))
}

/// The sum of the squares of a slice from which `mean` is taken away.
#[inline(always)]
pub fn sum_squares<S: Simd>(s: S, x: &[f32], mean: f32) -> f32 {
    let mut lanes = [s.splat(0.0); 2];
    let (chunks, tail) = x.as_chunks::<16>();
    for x in chunks {
        for part in 0..S::PARTS {
            let x = s.sub(s.load(x, part), s.splat(mean));
            lanes[part] = s.mul_add(x, x, lanes[part]);
        }
    }
    if !tail.is_empty() {
        let mut rest = [0.0; 16];
        rest.iter_mut().zip(tail).for_each(|(rest, x)| *rest = x - mean);
        for part in 0..S::PARTS {
            let x = s.load(&rest, part);
            lanes[part] = s.mul_add(x, x, lanes[part]);
        }
    }
    s.sum(lanes)
}

/// The greatest element, a NaN being passed over.
#[inline(always)]
pub fn max<S: Simd>(s: S, x: &[f32]) -> f32 {
    max_map(
        s,
        x,
        #[inline(always)]
        |x| x,
    )
}

/// The greatest element under `f`, which must leave negative infinity what it is, or make it NaN.
#[inline(always)]
pub fn max_map<S: Simd>(s: S, x: &[f32], f: impl Fn(S::V) -> S::V) -> f32 {
    s.max(fold(
        s,
        x,
        f32::NEG_INFINITY,
        #[inline(always)]
        |x, max| s.greater(f(x), max),
    ))
}

/// The sum of a slice under `f`; `pad`, which `f` must make 0, completes the last sixteen.
#[cfg(feature = "train")]
#[inline(always)]
pub fn sum_map<S: Simd>(s: S, x: &[f32], pad: f32, f: impl Fn(S::V) -> S::V) -> f32 {
    sum_of(
        s,
        x,
        x,
        pad,
        #[inline(always)]
        |_, x, sum| s.add(f(x), sum),
    )
}

/// Two slices of one length folded by `f(a, b, sum)`; zeros complete the last sixteen of the first, `pad` those of the second.
#[cfg(feature = "train")]
#[inline(always)]
pub fn sum_of<S: Simd>(s: S, a: &[f32], b: &[f32], pad: f32, f: impl Fn(S::V, S::V, S::V) -> S::V) -> f32 {
    assert_eq!(a.len(), b.len());
    let mut lanes = [s.splat(0.0); 2];
    let (a_chunks, a_tail) = a.as_chunks::<16>();
    let (b_chunks, b_tail) = b.as_chunks::<16>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for part in 0..S::PARTS {
            lanes[part] = f(s.load(a, part), s.load(b, part), lanes[part]);
        }
    }
    if !a_tail.is_empty() {
        let (a, mut b) = (padded(a_tail), [pad; 16]);
        b[..b_tail.len()].copy_from_slice(b_tail);
        for part in 0..S::PARTS {
            lanes[part] = f(s.load(&a, part), s.load(&b, part), lanes[part]);
        }
    }
    s.sum(lanes)
}

/// The sum of products of two slices of one length.
#[inline(always)]
pub fn dot<S: Simd>(s: S, a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let mut lanes = [s.splat(0.0); 2];
    let (a_chunks, a_tail) = a.as_chunks::<16>();
    let (b_chunks, b_tail) = b.as_chunks::<16>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for part in 0..S::PARTS {
            lanes[part] = s.mul_add(s.load(a, part), s.load(b, part), lanes[part]);
        }
    }
    if !a_tail.is_empty() {
        let (a, b) = (padded(a_tail), padded(b_tail));
        for part in 0..S::PARTS {
            lanes[part] = s.mul_add(s.load(&a, part), s.load(&b, part), lanes[part]);
        }
    }
    s.sum(lanes)
}

/// The sum of the products of the pairs that `f` makes of three slices of one length, whose ends are completed with `pad`.
#[cfg(feature = "train")]
#[inline(always)]
pub fn sum_of3<S: Simd>(s: S, x: [&[f32]; 3], pad: [f32; 3], f: impl Fn(S::V, S::V, S::V) -> (S::V, S::V)) -> f32 {
    assert!(x[1].len() == x[0].len() && x[2].len() == x[0].len());
    let mut lanes = [s.splat(0.0); 2];
    let ((a, a_tail), (b, b_tail), (c, c_tail)) =
        (x[0].as_chunks::<16>(), x[1].as_chunks::<16>(), x[2].as_chunks::<16>());
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        for part in 0..S::PARTS {
            let (p, q) = f(s.load(a, part), s.load(b, part), s.load(c, part));
            lanes[part] = s.mul_add(p, q, lanes[part]);
        }
    }
    if !a_tail.is_empty() {
        let mut rest = [[pad[0]; 16], [pad[1]; 16], [pad[2]; 16]];
        for (rest, tail) in rest.iter_mut().zip([a_tail, b_tail, c_tail]) {
            rest[..tail.len()].copy_from_slice(tail);
        }
        for part in 0..S::PARTS {
            let (p, q) = f(s.load(&rest[0], part), s.load(&rest[1], part), s.load(&rest[2], part));
            lanes[part] = s.mul_add(p, q, lanes[part]);
        }
    }
    s.sum(lanes)
}
