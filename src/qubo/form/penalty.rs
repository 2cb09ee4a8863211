//! How large a penalty must be, and how an inequality becomes one.
//!
//! Let `swing` be the most that one flip of a variable can change the objective. An assignment that misses "exactly k" by d is mended by
//! d flips, and one that exceeds a budget of whole weights by e by at most e flips to 0; the squares of d and e times more than the
//! greatest swing are therefore more than what mending can lose, as long as no variable is in two constraints. Where one is, the
//! penalty is more than the whole range of the objective.

/// How "at most" is written without constraints.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Slack {
    /// With further bits for what is left of the limit: the best assignment keeps the constraint.
    #[default]
    Bits,
    /// Without: `-first h + second h^2`, h being what is left (unbalanced penalisation, arXiv 2211.13914). Fewer variables and a smoother
    /// ground, but nothing guarantees that the best assignment keeps the constraint or is the best of those: see the check.
    /// None: chosen from the objective.
    Unbalanced(Option<(f64, f64)>),
}

/// Largest change of the objective by a flip of each variable, from terms (i, j, value).
pub(super) fn swings(n: usize, terms: &[(u32, u32, f64)]) -> Vec<f64> {
    let mut up = vec![0.0f64; n];
    let mut down = vec![0.0f64; n];
    for &(i, j, value) in terms {
        let side = if value > 0.0 { &mut up } else { &mut down };
        side[i as usize] += value.abs();
        if i != j {
            side[j as usize] += value.abs();
        }
    }
    up.iter().zip(&down).map(|(a, b)| a.max(*b)).collect()
}

/// What a penalty must be above: `worst`, by a margin that rounding does not eat; never 0.
pub(super) fn above(worst: f64) -> f64 {
    if worst == 0.0 {
        1.0
    } else if worst.fract() == 0.0 && worst < 1e15 {
        worst + 1.0
    } else {
        worst * (1.0 + 1e-6)
    }
}

/// Weights 1, 2, 4 ... of slack bits, the last one smaller, which make every number from 0 to `limit` and none above.
pub(super) fn slack_bits(limit: u64) -> Vec<u64> {
    let (mut bits, mut left) = (Vec::new(), limit);
    while left > 0 {
        let bit = (1u64 << bits.len()).min(left);
        bits.push(bit);
        left -= bit;
    }
    bits
}

/// First and second factor of the unbalanced penalty for a budget, where `gains` are (gain of a 1, weight) of its variables.
///
/// What is left has a price, which rises by twice `second` for each part less of it. It is the price of the linear relaxation (the
/// gain per weight of the variable at which a list by gain per weight reaches the limit) where a quarter of a mean weight is left:
/// there the best assignment is drawn to, from both sides, so that most of the gaps lie below the limit and not above.
pub(super) fn unbalanced(mut gains: Vec<(f64, u64)>, limit: u64) -> (f64, f64) {
    gains.retain(|g| g.1 > 0 && g.0 > 0.0);
    if gains.is_empty() {
        return (0.0, 1.0);
    }
    gains.sort_by(|a, b| (b.0 / b.1 as f64).total_cmp(&(a.0 / a.1 as f64)));
    let mean = gains.iter().map(|g| g.1 as f64).sum::<f64>() / gains.len() as f64;
    let mut left = limit;
    let mut price = 0.0;
    for (gain, weight) in gains {
        price = gain / weight as f64;
        if weight > left {
            break;
        }
        left -= weight;
    }
    (1.25 * price, price / (2.0 * mean))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slack_makes_every_number_and_none_above() {
        for limit in 0..70u64 {
            let bits = slack_bits(limit);
            let mut made = std::collections::BTreeSet::new();
            for state in 0..1u32 << bits.len() {
                made.insert(bits.iter().enumerate().filter(|(b, _)| state >> b & 1 == 1).map(|(_, w)| w).sum::<u64>());
            }
            assert!(made.into_iter().eq(0..=limit), "{limit}");
        }
        assert_eq!(slack_bits(u64::MAX).len(), 64);
    }

    #[test]
    fn swings_are_of_the_worse_side() {
        assert_eq!(swings(3, &[(0, 0, 2.0), (0, 1, -3.0), (1, 1, 1.0), (0, 1, -1.0)]), [4.0, 4.0, 0.0]);
        assert!(above(0.3) > 0.3 && above(4.0) == 5.0 && above(0.0) == 1.0);
    }
}
