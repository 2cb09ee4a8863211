//! Losses of preferences, as functions of log-probabilities: DPO (arXiv 2305.18290) and KTO (arXiv 2402.01306).
//!
//! A reward is `beta (log p - log p_ref)`, the log-probabilities of a whole answer under what is trained and under the reference.
//! What the gradient of a loss by a log-probability is, each target of the answer is weighted with: the gradient of the logits is
//! `-weight (softmax - onehot)`.

use super::not_negative;
use crate::error::{Result, fail};

/// How answers are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Preference {
    /// `-log sigmoid(reward_chosen - reward_rejected)`; with smoothing that share of it is taken the other way round
    /// (conservative DPO, which expects so many labels to be wrong).
    Dpo {
        /// How far what is trained may go from the reference: the smaller, the further.
        beta: f64,
        /// From 0 to below 0.5.
        smoothing: f64,
    },
    /// `desirable (1 - sigmoid(reward - z))` for good answers, `undesirable (1 - sigmoid(z - reward))` for bad ones. `z` is beta times
    /// the mean log-ratio of answers to other prompts, where it is positive: how far the model has moved altogether. No
    /// gradient goes through it.
    Kto {
        /// As above.
        beta: f64,
        /// The weight of good answers.
        desirable: f64,
        /// The weight of bad answers.
        undesirable: f64,
    },
}

/// The log-probabilities of a pair of samples: of what is trained, and of the reference. DPO: the chosen and the rejected answer. KTO: the
/// answer, and another prompt's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pair {
    /// Under what is trained.
    pub policy: [f64; 2],
    /// Under the reference.
    pub reference: [f64; 2],
    /// Whether the answer is good; for KTO.
    pub good: bool,
}

/// What the pairs of a pass come to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rewards {
    /// The sum of losses.
    pub loss: f64,
    /// Pairs.
    pub pairs: usize,
    /// Sums of the rewards of chosen and rejected answers, or of good and bad ones.
    pub rewards: [f64; 2],
    /// How many answers those are.
    pub counts: [usize; 2],
    /// Pairs whose chosen answer has the greater reward; for KTO, answers whose reward is on the right side of `z`.
    pub right: usize,
}

impl Rewards {
    /// By how much chosen (good) answers are rewarded more than rejected (bad) ones in the mean; None when one kind is missing.
    pub fn margin(&self) -> Option<f64> {
        let mean = |i: usize| (self.counts[i] > 0).then(|| self.rewards[i] / self.counts[i] as f64);
        Some(mean(0)? - mean(1)?)
    }

    /// Adds those of another pass.
    pub fn add(&mut self, other: &Rewards) {
        self.loss += other.loss;
        self.pairs += other.pairs;
        self.right += other.right;
        for i in 0..2 {
            self.rewards[i] += other.rewards[i];
            self.counts[i] += other.counts[i];
        }
    }
}

impl Preference {
    /// DPO as it is commonly run: a beta of 0.1.
    pub fn dpo() -> Preference {
        Preference::Dpo { beta: 0.1, smoothing: 0.0 }
    }

    /// KTO as it is commonly run: a beta of 0.1, both weights 1.
    pub fn kto() -> Preference {
        Preference::Kto { beta: 0.1, desirable: 1.0, undesirable: 1.0 }
    }

    /// `InvalidArgument` for numbers out of range.
    pub fn check(&self) -> Result<()> {
        let beta = match *self {
            Preference::Dpo { beta, smoothing } => {
                if !(0.0..0.5).contains(&smoothing) {
                    fail!(InvalidArgument, "the smoothing of DPO is {smoothing}: give a number from 0 to below 0.5");
                }
                beta
            }
            Preference::Kto { beta, desirable, undesirable } => {
                not_negative("the weight of good answers", desirable)?;
                not_negative("the weight of bad answers", undesirable)?;
                beta
            }
        };
        not_negative("beta", beta)?;
        if beta == 0.0 {
            fail!(InvalidArgument, "beta is 0: nothing would be learned");
        }
        Ok(())
    }

    /// The losses of a pass's pairs, and the gradients of their sum by the log-probabilities of each pair's two samples, to
    /// `gradients`, `[pairs]`.
    pub fn losses(&self, pairs: &[Pair], gradients: &mut [[f64; 2]]) -> Rewards {
        let ratio = |p: &Pair, i: usize| p.policy[i] - p.reference[i];
        let mut total = Rewards { pairs: pairs.len(), ..Rewards::default() };
        match *self {
            Preference::Dpo { beta, smoothing } => {
                for (pair, g) in pairs.iter().zip(gradients) {
                    let rewards = [beta * ratio(pair, 0), beta * ratio(pair, 1)];
                    let margin = rewards[0] - rewards[1];
                    total.loss -= (1.0 - smoothing) * log_sigmoid(margin) + smoothing * log_sigmoid(-margin);
                    let slope = beta * (smoothing * sigmoid(margin) - (1.0 - smoothing) * sigmoid(-margin));
                    *g = [slope, -slope];
                    total.rewards[0] += rewards[0];
                    total.rewards[1] += rewards[1];
                    total.counts = total.counts.map(|n| n + 1);
                    total.right += usize::from(margin > 0.0);
                }
            }
            Preference::Kto { beta, desirable, undesirable } => {
                let moved = pairs.iter().map(|p| ratio(p, 1)).sum::<f64>() / pairs.len().max(1) as f64;
                let z = beta * moved.max(0.0);
                for (pair, g) in pairs.iter().zip(gradients) {
                    let reward = beta * ratio(pair, 0);
                    let (sign, weight, kind) = if pair.good { (1.0, desirable, 0) } else { (-1.0, undesirable, 1) };
                    let value = sigmoid(sign * (reward - z));
                    total.loss += weight * (1.0 - value);
                    *g = [-weight * sign * beta * value * (1.0 - value), 0.0];
                    total.rewards[kind] += reward;
                    total.counts[kind] += 1;
                    total.right += usize::from(sign * (reward - z) > 0.0);
                }
            }
        }
        total
    }
}

fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

/// Without loss where the sigmoid is next to 0.
fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs() -> Vec<Pair> {
        let at = |i: usize, k: f64| -30.0 + 17.0 * ((i as f64 + 1.0) * k).sin();
        (0..6)
            .map(|i| Pair { policy: [at(i, 1.3), at(i, 2.7)], reference: [at(i, 1.31), at(i, 2.75)], good: i % 3 != 1 })
            .collect()
    }

    #[test]
    fn gradients_are_those_of_the_values() {
        for loss in [
            Preference::dpo(),
            Preference::Dpo { beta: 0.5, smoothing: 0.1 },
            Preference::kto(),
            Preference::Kto { beta: 0.3, desirable: 1.0, undesirable: 1.4 },
        ] {
            let mut g = [[0.0; 2]; 6];
            loss.losses(&pairs(), &mut g);
            // Of KTO the second sample is held: it is `z`, through which no gradient goes.
            let samples = if matches!(loss, Preference::Kto { .. }) { 1 } else { 2 };
            for (i, g) in g.iter().enumerate() {
                for (s, g) in g.iter().enumerate().take(samples) {
                    let value = |h: f64| {
                        let mut pairs = pairs();
                        pairs[i].policy[s] += h;
                        loss.losses(&pairs, &mut [[0.0; 2]; 6]).loss
                    };
                    let slope = (value(1e-4) - value(-1e-4)) / 2e-4;
                    assert!((slope - g).abs() < 1e-8, "{loss:?} {i} {s}: {slope} {g}");
                }
            }
        }
    }

    #[test]
    fn extremes_are_finite() {
        for x in [1e4, -1e4] {
            let pair = Pair { policy: [x, -x], reference: [0.0; 2], good: true };
            let mut g = [[0.0; 2]];
            for loss in [Preference::dpo(), Preference::kto()] {
                let total = loss.losses(&[pair], &mut g);
                assert!(total.loss.is_finite() && g[0].iter().all(|g| g.is_finite()), "{loss:?} {x}");
            }
        }
        assert_eq!(Preference::kto().losses(&[], &mut []).loss, 0.0);
        assert_eq!(Rewards::default().margin(), None);
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for bad in [
            Preference::Dpo { beta: 0.0, smoothing: 0.0 },
            Preference::Dpo { beta: f64::NAN, smoothing: 0.0 },
            Preference::Dpo { beta: 0.1, smoothing: 0.5 },
            Preference::Kto { beta: 0.1, desirable: -1.0, undesirable: 1.0 },
            Preference::Kto { beta: 0.1, desirable: 1.0, undesirable: f64::INFINITY },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        assert!(Preference::dpo().check().is_ok() && Preference::kto().check().is_ok());
    }
}
