//! Element by element, sixteen at a time; a rest shorter than that is worked on in a padded copy.

use super::Simd;

/// `x = f(x)`.
#[inline(always)]
pub fn map<S: Simd>(s: S, x: &mut [f32], f: impl Fn(S::V) -> S::V) {
    let (chunks, tail) = x.as_chunks_mut::<16>();
    for x in chunks {
        map16(s, x, &f);
    }
    if !tail.is_empty() {
        let mut x = padded(tail);
        map16(s, &mut x, &f);
        tail.copy_from_slice(&x[..tail.len()]);
    }
}

#[inline(always)]
fn map16<S: Simd>(s: S, x: &mut [f32; 16], f: &impl Fn(S::V) -> S::V) {
    for part in 0..S::PARTS {
        let v = f(s.load(x, part));
        s.store(x, part, v);
    }
}

/// `y = f(y, x)`; `x` must be as long as `y`.
#[inline(always)]
pub fn zip<S: Simd>(s: S, y: &mut [f32], x: &[f32], f: impl Fn(S::V, S::V) -> S::V) {
    assert_eq!(y.len(), x.len());
    let (y_chunks, y_tail) = y.as_chunks_mut::<16>();
    let (x_chunks, x_tail) = x.as_chunks::<16>();
    for (y, x) in y_chunks.iter_mut().zip(x_chunks) {
        zip16(s, y, x, &f);
    }
    if !y_tail.is_empty() {
        let mut y = padded(y_tail);
        zip16(s, &mut y, &padded(x_tail), &f);
        y_tail.copy_from_slice(&y[..y_tail.len()]);
    }
}

#[inline(always)]
fn zip16<S: Simd>(s: S, y: &mut [f32; 16], x: &[f32; 16], f: &impl Fn(S::V, S::V) -> S::V) {
    for part in 0..S::PARTS {
        let v = f(s.load(y, part), s.load(x, part));
        s.store(y, part, v);
    }
}

/// Fewer than sixteen elements, and zeros behind them.
#[inline(always)]
pub fn padded(tail: &[f32]) -> [f32; 16] {
    let mut x = [0.0; 16];
    x[..tail.len()].copy_from_slice(tail);
    x
}
