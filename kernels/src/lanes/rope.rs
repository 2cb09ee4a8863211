//! Rotary position embedding of one head.

use super::Simd;
use crate::scalar;

/// Rotates the neighbours `(2i, 2i + 1)`.
#[inline(always)]
pub fn rope_norm<S: Simd>(s: S, x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let ((cos8, cos), (sin8, sin)) = (cos.as_chunks::<8>(), sin.as_chunks::<8>());
    let (x16, tail) = x.split_at_mut(16 * cos8.len());
    for ((x, cos), sin) in x16.as_chunks_mut::<16>().0.iter_mut().zip(cos8).zip(sin8) {
        for part in 0..S::PARTS {
            let v = s.load(x, part);
            let crossed = s.mul(s.swap_pairs(v), s.load_twice(sin, part));
            s.store(x, part, s.mul_subadd(v, s.load_twice(cos, part), crossed));
        }
    }
    scalar::rope::rope_norm(tail, cos, sin);
}

/// Rotates `(i, i + n)`, n being the number of angles.
#[inline(always)]
pub fn rope_neox<S: Simd>(s: S, x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let n = cos.len();
    let (a, b) = x[..2 * n].split_at_mut(n);
    let (a16, a_tail) = a.as_chunks_mut::<16>();
    let (b16, b_tail) = b.as_chunks_mut::<16>();
    let ((cos16, cos), (sin16, sin)) = (cos.as_chunks::<16>(), sin.as_chunks::<16>());
    for (((a, b), cos), sin) in a16.iter_mut().zip(b16).zip(cos16).zip(sin16) {
        for part in 0..S::PARTS {
            let (va, vb, c, d) = (s.load(a, part), s.load(b, part), s.load(cos, part), s.load(sin, part));
            s.store(a, part, s.mul_add(va, c, s.neg(s.mul(vb, d))));
            s.store(b, part, s.mul_add(vb, c, s.mul(va, d)));
        }
    }
    for i in 0..cos.len() {
        (a_tail[i], b_tail[i]) = scalar::rope::rotate(a_tail[i], b_tail[i], cos[i], sin[i]);
    }
}
