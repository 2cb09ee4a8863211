//! Probabilities from logits: an exponential that the compiler turns into vector code, and what softmax is made of.
//!
//! It is the same sequence of roundings on every machine, so draws do not depend on a platform's mathematical library.

use crate::error::{Result, fail};

/// e^x for x <= 0, within 3 units in the last place; 0 below -87 (where it is less than 2e-38) and for NaN.
pub(super) fn exp(x: f32) -> f32 {
    /// Added to a number it leaves the nearest integer in the lower bits.
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
    /// ln 2 in two parts, of which the first has few bits, so that its products are exact.
    const LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let low = if x > -87.0 { x } else { -87.0 };
    let n = low * std::f32::consts::LOG2_E + ROUND;
    let whole = n - ROUND;
    let r = (low - whole * LN2[0]) - whole * LN2[1];
    // Taylor's series; |r| <= ln 2 / 2, so what is left out is below 2^-27.
    let p = 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    let y = p * f32::from_bits((n.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    if x >= -87.0 { y } else { 0.0 }
}

/// The greatest number of a slice, NaN left out; negative infinity when there is none.
pub(super) fn max(x: &[f32]) -> f32 {
    let greater = |m: &mut f32, v: f32| *m = if v > *m { v } else { *m };
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (blocks, rest) = x.as_chunks::<16>();
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(m, &v)| greater(m, v));
    }
    lanes.iter_mut().zip(rest).for_each(|(m, &v)| greater(m, v));
    for half in [8, 4, 2, 1] {
        let (low, high) = lanes.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(m, v)| greater(m, *v));
    }
    lanes[0]
}

/// The natural logarithm of the probability that softmax gives token `id`.
pub fn log_prob(logits: &[f32], id: u32) -> Result<f32> {
    let Some(&logit) = logits.get(id as usize) else {
        fail!(InvalidArgument, "token {id} is outside the vocabulary of {}", logits.len())
    };
    let max = max(logits);
    let mut sum = 0.0;
    for part in logits.chunks(1024) {
        let mut lanes = [0.0f32; 16];
        let (blocks, rest) = part.as_chunks::<16>();
        for block in blocks {
            lanes.iter_mut().zip(block).for_each(|(s, &v)| *s += exp(v - max));
        }
        sum += lanes.iter().copied().chain(rest.iter().map(|&v| exp(v - max))).map(f64::from).sum::<f64>();
    }
    Ok((f64::from(logit - max) - sum.ln()) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_near_the_truth() {
        assert_eq!((exp(0.0), exp(-87.5), exp(f32::NEG_INFINITY), exp(f32::NAN)), (1.0, 0.0, 0.0, 0.0));
        let mut worst: f64 = 0.0;
        for i in 0..870_000 {
            let x = -(i as f32) * 1e-4;
            let truth = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - truth).abs() / truth);
        }
        assert!(worst < 3.0 * f64::from(f32::EPSILON) / 2.0, "{worst:e}");
    }

    #[test]
    fn log_prob_is_that_of_softmax() {
        let logits: Vec<f32> = (0..5000).map(|i| ((i * 37 % 500) as f32) / 25.0 - 7.0).collect();
        let sum: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        for id in [0, 13, 499, 4999] {
            let truth = f64::from(logits[id as usize]) - sum.ln();
            assert!((f64::from(log_prob(&logits, id).unwrap()) - truth).abs() < 1e-5);
        }
        assert!(log_prob(&logits, 5000).is_err());
        let numbers = [1.0, f32::NAN, 1.0];
        assert!((log_prob(&numbers, 0).unwrap() - 0.5f32.ln()).abs() < 1e-6, "NaN has no probability");
    }
}
