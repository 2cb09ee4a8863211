//! Gates on a state vector whose real and imaginary parts lie apart: the rotation `exp(-i beta X)` of qubits, and phases.
//!
//! Both members of a pair are rotated alike: `re' = c re + s im_other`, `im' = c im - s re_other`.

use crate::table::{Entry, Func};
use crate::{Isa, Type};

/// The kernels of this file.
pub const ENTRIES: &[Entry] = &[
    Entry::new("rotate_near", Type::F32, Isa::Scalar, Func::RotateNear(rotate_near)),
    Entry::new("rotate_far", Type::F32, Isa::Scalar, Func::RotateFar(rotate_far)),
    Entry::new("phase", Type::F32, Isa::Scalar, Func::Phase(phase)),
];

/// One register's worth of amplitudes with those that differ in bit `BIT` of their place.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // the loop is unrolled into shuffles
fn rotate<const BIT: usize>(re: &mut [f32; 16], im: &mut [f32; 16], c: f32, s: f32) {
    let (mut re2, mut im2) = ([0.0; 16], [0.0; 16]);
    for i in 0..16 {
        re2[i] = im[i ^ BIT].mul_add(s, c * re[i]);
        im2[i] = re[i ^ BIT].mul_add(-s, c * im[i]);
    }
    (*re, *im) = (re2, im2);
}

/// Rotates the four lowest qubits; lengths are multiples of 16.
#[inline(always)]
pub fn rotate_near(re: &mut [f32], im: &mut [f32], c: f32, s: f32) {
    for (re, im) in re.as_chunks_mut::<16>().0.iter_mut().zip(im.as_chunks_mut::<16>().0) {
        rotate::<1>(re, im, c, s);
        rotate::<2>(re, im, c, s);
        rotate::<4>(re, im, c, s);
        rotate::<8>(re, im, c, s);
    }
}

/// Rotates one qubit: amplitudes where it is 0 with those where it is 1, all of one length.
#[inline(always)]
pub fn rotate_far(re0: &mut [f32], im0: &mut [f32], re1: &mut [f32], im1: &mut [f32], c: f32, s: f32) {
    for (((re0, im0), re1), im1) in re0.iter_mut().zip(im0).zip(re1).zip(im1) {
        let (a, b, d, e) = (*re0, *im0, *re1, *im1);
        *re0 = e.mul_add(s, c * a);
        *im0 = d.mul_add(-s, c * b);
        *re1 = b.mul_add(s, c * d);
        *im1 = a.mul_add(-s, c * e);
    }
}

/// Coefficients of sin(2 pi t) / t and cos(2 pi t) in t^2 (Taylor): errors are below 4e-6 for |t| <= 1/4.
const SIN: [f32; 5] = [core::f32::consts::TAU, -41.3417, 81.60525, -76.70586, 42.058_694];
const COS: [f32; 6] = [1.0, -19.739_209, 64.93939, -85.45682, 60.24464, -26.426_257];
/// Added and taken away, it rounds to a whole number.
const ROUND: f32 = 12_582_912.0;

/// Multiplies each amplitude by `exp(-2 pi i turns cost)`; of one length, and `turns * cost` less than 2^20 in magnitude.
#[inline(always)]
pub fn phase(re: &mut [f32], im: &mut [f32], cost: &[f32], turns: f32) {
    for ((re, im), cost) in re.iter_mut().zip(im).zip(cost) {
        let t = turns * *cost;
        // To half turns first: what is left is a quarter at most.
        let halves = (2.0 * t + ROUND) - ROUND;
        let t = halves.mul_add(-0.5, t);
        let odd = halves - 2.0 * ((0.5 * halves + ROUND) - ROUND);
        let sign = (-2.0 * odd.abs()) + 1.0;
        let q = t * t;
        let mut sin = SIN[4];
        for c in [SIN[3], SIN[2], SIN[1], SIN[0]] {
            sin = sin.mul_add(q, c);
        }
        let mut cos = COS[5];
        for c in [COS[4], COS[3], COS[2], COS[1], COS[0]] {
            cos = cos.mul_add(q, c);
        }
        let (sin, cos) = (sign * (sin * t), sign * cos);
        let (a, b) = (*re, *im);
        *re = b.mul_add(sin, a * cos);
        *im = a.mul_add(-sin, b * cos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_sines_and_cosines() {
        for i in -4000..4000 {
            let cost = i as f32 * 0.013;
            let (mut re, mut im) = ([1.0f32], [0.0f32]);
            phase(&mut re, &mut im, &[cost], 0.7);
            let angle = 2.0 * std::f64::consts::PI * f64::from(0.7f32 * cost);
            assert!((f64::from(re[0]) - angle.cos()).abs() < 1e-5, "{angle}: {}", re[0]);
            assert!((f64::from(im[0]) + angle.sin()).abs() < 1e-5, "{angle}: {}", im[0]);
        }
    }
}
