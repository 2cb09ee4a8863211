//! Choosing the next token: penalties, top-k, top-p, min-p, temperature, and a draw.
//!
//! The vocabulary is never sorted. The best candidates are moved to the front by selection, and only as many of them
//! are ordered as the filters look at.

use super::rng;
use crate::error::{Result, fail, try_vec};

/// How tokens are chosen. The order is penalty, top-k, top-p, min-p, temperature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerParams {
    /// Divides the logits before the draw; 0: always the most probable token.
    pub temperature: f32,
    /// Only the k most probable tokens; 0: all.
    pub top_k: usize,
    /// Only the most probable tokens that together reach this probability; 1: all
    /// (Holtzman et al., arXiv 1904.09751).
    pub top_p: f32,
    /// Only tokens at least this fraction as probable as the best one; 0: all (Nguyen et al., arXiv 2407.01082).
    pub min_p: f32,
    /// Logits of recent tokens are divided by this when positive and multiplied when negative; 1: none
    /// (Keskar et al., arXiv 1909.05858).
    pub repeat_penalty: f32,
    /// How many tokens are recent.
    pub repeat_last: usize,
    /// Of the draws.
    pub seed: u64,
}

impl Default for SamplerParams {
    fn default() -> Self {
        SamplerParams {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.0,
            repeat_last: 64,
            seed: 0,
        }
    }
}

impl SamplerParams {
    /// The most probable token, always.
    pub fn greedy() -> Self {
        SamplerParams { temperature: 0.0, ..Self::default() }
    }

    /// `InvalidArgument` when a number is outside its range.
    pub fn check(&self) -> Result<()> {
        let range = |name: &str, value: f32, low: f32, high: f32| -> Result<()> {
            if !(low..=high).contains(&value) {
                fail!(InvalidArgument, "{name} is {value}: give a number from {low} to {high}");
            }
            Ok(())
        };
        range("temperature", self.temperature, 0.0, 100.0)?;
        range("top_p", self.top_p, 0.0, 1.0)?;
        range("min_p", self.min_p, 0.0, 1.0)?;
        range("repeat_penalty", self.repeat_penalty, 0.01, 100.0)?;
        const MAX_RECENT: usize = 1 << 20;
        if self.repeat_last > MAX_RECENT {
            fail!(InvalidArgument, "repeat_last is {}: give at most {MAX_RECENT}", self.repeat_last);
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    logit: f32,
    id: u32,
}

impl Candidate {
    /// The better one first; of equals the lower number.
    fn order(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
        b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
    }
}

/// A choice of tokens with its memory: candidates, recent tokens, the number of draws.
#[derive(Debug)]
pub struct Sampler {
    params: SamplerParams,
    candidates: Vec<Candidate>,
    /// The last `repeat_last` tokens, a ring.
    recent: Vec<u32>,
    seen: usize,
    draws: u64,
}

impl Sampler {
    /// A sampler for vocabularies of up to `vocab` tokens; nothing is allocated afterwards.
    pub fn new(params: SamplerParams, vocab: usize) -> Result<Sampler> {
        params.check()?;
        let mut recent = try_vec(params.repeat_last, "recent tokens")?;
        recent.resize(params.repeat_last, 0);
        Ok(Sampler { params, candidates: try_vec(vocab, "candidates")?, recent, seen: 0, draws: 0 })
    }

    /// Bytes a sampler reserves.
    pub fn bytes(params: &SamplerParams, vocab: usize) -> usize {
        vocab * size_of::<Candidate>() + params.repeat_last * size_of::<u32>()
    }

    /// The parameters.
    pub fn params(&self) -> &SamplerParams {
        &self.params
    }

    /// Forgets recent tokens and starts the draws again.
    pub fn reset(&mut self) {
        (self.seen, self.draws) = (0, 0);
    }

    /// Tells the sampler of a token of the text, for the penalty.
    pub fn accept(&mut self, token: u32) {
        if !self.recent.is_empty() {
            let at = self.seen % self.recent.len();
            self.recent[at] = token;
            self.seen += 1;
        }
    }

    /// Draws the next token from `logits`, which has an entry for each token of the vocabulary. NaN is never chosen.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32> {
        if logits.is_empty() || logits.len() > self.candidates.capacity() {
            fail!(Shape, "{} logits for a sampler of up to {}", logits.len(), self.candidates.capacity());
        }
        let c = &mut self.candidates;
        c.clear();
        // A NaN must not win: in the total order it would be the greatest.
        let number = |logit: f32| if logit.is_nan() { f32::NEG_INFINITY } else { logit };
        c.extend(logits.iter().zip(0..).map(|(&logit, id)| Candidate { logit: number(logit), id }));
        let p = &self.params;
        if p.repeat_penalty != 1.0 {
            let recent = &self.recent[..self.seen.min(self.recent.len())];
            for (i, &token) in recent.iter().enumerate() {
                if recent[..i].contains(&token) {
                    continue;
                }
                if let Some(c) = c.get_mut(token as usize) {
                    c.logit = if c.logit > 0.0 { c.logit / p.repeat_penalty } else { c.logit * p.repeat_penalty };
                }
            }
        }
        if p.temperature == 0.0 {
            return Ok(c.iter().min_by(|a, b| Candidate::order(a, b)).map_or(0, |best| best.id));
        }
        let mut front = Front { all: c, ordered: 0 };
        let mut keep = if p.top_k == 0 { front.all.len() } else { p.top_k.min(front.all.len()) };
        let best = front.get(0).logit;
        if best == f32::NEG_INFINITY {
            return Ok(front.get(0).id);
        }
        let weight = |c: &Candidate| f64::from(c.logit - best).exp();
        if p.top_p < 1.0 {
            if p.top_k > 0 {
                front.order(keep);
            }
            let total: f64 = front.all[..keep].iter().map(weight).sum();
            let mut sum = 0.0;
            for i in 0..keep {
                sum += weight(&front.get(i));
                if sum >= total * f64::from(p.top_p) {
                    keep = i + 1;
                    break;
                }
            }
        }
        if p.min_p > 0.0 {
            let least = best + p.min_p.ln();
            keep = (1..keep).find(|&i| front.get(i).logit < least).unwrap_or(keep);
        }
        if keep < front.all.len() {
            front.order(keep);
        }
        let weight = |c: &Candidate| f64::from((c.logit - best) / p.temperature).exp();
        let total: f64 = front.all[..keep].iter().map(weight).sum();
        let mut left = rng::uniform(p.seed, 0, self.draws) * total;
        self.draws += 1;
        let drawn = front.all[..keep].iter().find(|c| {
            left -= weight(c);
            left < 0.0
        });
        Ok(drawn.or(front.all[..keep].last()).map_or(0, |c| c.id))
    }
}

/// Candidates of which the best ones stand in order at the front, as many as were asked for.
struct Front<'a> {
    all: &'a mut Vec<Candidate>,
    ordered: usize,
}

impl Front<'_> {
    /// Orders at least the best `n`.
    fn order(&mut self, n: usize) {
        let (n, rest) = (n.min(self.all.len()), &mut self.all[self.ordered..]);
        let Some(more) = n.checked_sub(self.ordered).filter(|&more| more > 0) else { return };
        if more < rest.len() {
            rest.select_nth_unstable_by(more - 1, Candidate::order);
        }
        rest[..more].sort_unstable_by(Candidate::order);
        self.ordered = n;
    }

    /// The `i`-th best.
    fn get(&mut self, i: usize) -> Candidate {
        if i >= self.ordered {
            self.order((2 * self.ordered).max(i + 1).max(64));
        }
        self.all[i]
    }
}

/// The natural logarithm of the probability that softmax gives token `id`.
pub fn log_prob(logits: &[f32], id: u32) -> Result<f32> {
    let Some(&logit) = logits.get(id as usize) else {
        fail!(InvalidArgument, "token {id} is outside the vocabulary of {}", logits.len())
    };
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&l| f64::from(l - max).exp()).sum();
    Ok((f64::from(logit - max) - sum.ln()) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits() -> Vec<f32> {
        (0..200).map(|i| ((i * 37 % 200) as f32) / 20.0).collect()
    }

    #[test]
    fn greedy_takes_the_best_and_the_first_of_equals() {
        let mut s = Sampler::new(SamplerParams::greedy(), 200).unwrap();
        let l = logits();
        let best = (0..200).max_by(|&a, &b| l[a].total_cmp(&l[b])).unwrap();
        assert_eq!(s.sample(&l).unwrap() as usize, best);
        assert_eq!(s.sample(&[1.0, 3.0, 3.0, f32::NAN]).unwrap(), 1);
        assert_eq!(s.sample(&[f32::NAN, f32::NEG_INFINITY]).unwrap(), 0);
    }

    #[test]
    fn draws_follow_the_softmax_of_the_kept_tokens() {
        let base = SamplerParams { top_k: 0, top_p: 1.0, min_p: 0.0, temperature: 1.0, ..SamplerParams::default() };
        let logits = [2.0f32, 1.0, 0.0, -1.0];
        let e: Vec<f64> = logits.iter().map(|&l| f64::from(l).exp()).collect();
        let cases = [
            (base, 4),
            (SamplerParams { top_k: 2, ..base }, 2),
            (SamplerParams { top_p: 0.8, ..base }, 2),
            (SamplerParams { min_p: 0.1, ..base }, 3),
        ];
        for (params, kept) in cases {
            let mut s = Sampler::new(params, 4).unwrap();
            let mut counts = [0usize; 4];
            const N: usize = 40_000;
            (0..N).for_each(|_| counts[s.sample(&logits).unwrap() as usize] += 1);
            let total: f64 = e[..kept].iter().sum();
            for i in 0..4 {
                let expected = if i < kept { e[i] / total } else { 0.0 };
                // Five standard deviations of a binomial.
                let bound = 5.0 * (expected * (1.0 - expected) / N as f64).sqrt();
                assert!((counts[i] as f64 / N as f64 - expected).abs() <= bound, "{params:?} {counts:?}");
            }
        }
    }

    #[test]
    fn same_seed_same_tokens() {
        let run = |seed| {
            let mut s = Sampler::new(SamplerParams { seed, ..SamplerParams::default() }, 200).unwrap();
            (0..20).map(|_| s.sample(&logits()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn a_penalty_makes_a_repeated_token_less_likely() {
        let mut s = Sampler::new(SamplerParams { repeat_penalty: 2.0, ..SamplerParams::greedy() }, 3).unwrap();
        assert_eq!(s.sample(&[3.0, 2.0, -1.0]).unwrap(), 0);
        s.accept(0);
        assert_eq!(s.sample(&[3.0, 2.0, -1.0]).unwrap(), 1);
    }

    #[test]
    fn nonsense_is_refused() {
        for params in [
            SamplerParams { temperature: f32::NAN, ..SamplerParams::default() },
            SamplerParams { temperature: -1.0, ..SamplerParams::default() },
            SamplerParams { top_p: 1.5, ..SamplerParams::default() },
            SamplerParams { repeat_penalty: 0.0, ..SamplerParams::default() },
        ] {
            assert!(Sampler::new(params, 10).is_err());
        }
    }
}
