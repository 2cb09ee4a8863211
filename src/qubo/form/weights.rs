//! Weights of budgets: whole numbers, or decimal ones counted in parts of ten.

use crate::error::{Result, fail, try_vec};

/// Parts of 1 that weights are counted in at most.
const FINEST: f64 = 1e6;

/// Weights and a limit as whole numbers of equal parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// Each weight in parts.
    pub parts: Vec<u64>,
    /// The limit in parts.
    pub limit: u64,
    /// Parts of 1.
    pub per_one: f64,
}

impl Weights {
    /// Finds the coarsest parts, powers of ten up to a million of 1, in which all weights are whole. Where there are none, a weight
    /// counts as the next part above, so that the budget is kept all the same.
    ///
    /// Errors: `InvalidArgument` for a weight that is negative or not finite, or so great that the sum is none of u64's 2^53.
    pub fn new(weights: &[f64], limit: f64) -> Result<Weights> {
        if !(limit.is_finite() && limit >= 0.0) {
            fail!(InvalidArgument, "the budget is {limit}: give a finite number of at least 0");
        }
        if let Some((i, w)) = weights.iter().enumerate().find(|(_, w)| !(w.is_finite() && **w >= 0.0)) {
            fail!(InvalidArgument, "weight {i} is {w}: give finite numbers of at least 0");
        }
        let whole = |x: f64| (x - x.round()).abs() <= 1e-9 * x.max(1.0);
        let mut per_one = 1.0;
        while per_one < FINEST && !weights.iter().all(|w| whole(w * per_one)) {
            per_one *= 10.0;
        }
        let parts = |w: f64| if whole(w * per_one) { (w * per_one).round() } else { (w * per_one).ceil() };
        let sum: f64 = weights.iter().map(|&w| parts(w)).sum();
        let limit = (limit * per_one + 1e-9 * (limit * per_one).max(1.0)).floor().min(sum);
        if sum >= crate::qubo::format::EXACT {
            fail!(InvalidArgument, "the weights sum to {sum} parts of 1/{per_one}: give coarser or smaller ones");
        }
        let mut list = try_vec(weights.len(), "weights")?;
        list.extend(weights.iter().map(|&w| parts(w) as u64));
        Ok(Weights { parts: list, limit: limit as u64, per_one })
    }

    /// A number of parts as it was given.
    pub fn value(&self, parts: u64) -> f64 {
        parts as f64 / self.per_one
    }
}

/// The greatest number that divides all; 1 of nothing.
pub(super) fn common(numbers: impl Iterator<Item = u64>) -> u64 {
    let gcd = |mut a: u64, mut b: u64| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    numbers.fold(0, gcd).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_become_whole() {
        let w = Weights::new(&[0.5, 1.25, 3.0], 4.0).unwrap();
        assert_eq!((w.parts.as_slice(), w.limit, w.per_one), (&[50, 125, 300][..], 400, 100.0));
        assert_eq!(w.value(125), 1.25);
        let w = Weights::new(&[1.0 / 3.0], 1.0).unwrap();
        assert_eq!((w.parts[0], w.limit), (333_334, 333_334));
        assert_eq!(Weights::new(&[2.0, 4.0], 1e300).unwrap().limit, 6);
        assert_eq!(Weights::new(&[0.1, 0.2], 0.3).unwrap().limit, 3);
        for (weights, limit) in
            [(&[-1.0][..], 1.0), (&[f64::NAN], 1.0), (&[1.0], -1.0), (&[1e300], 1.0), (&[1.0], f64::NAN)]
        {
            assert!(Weights::new(weights, limit).is_err());
        }
        assert_eq!([common([6, 9, 0].into_iter()), common([].into_iter())], [3, 1]);
    }
}
