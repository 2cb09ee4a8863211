//! Choosing the next token: penalties, top-k, top-p, min-p, temperature, and a draw.
//!
//! The vocabulary is neither sorted nor copied: the filters say where the kept tokens end (see `cut`), and the draw
//! walks over those in the order of their numbers.

use super::cut::{BUCKETS, Blocks, Cut, Keep};
use super::{rng, weigh};
use crate::error::{Result, fail, try_vec};

pub use super::weigh::log_prob;

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

/// The most tokens by which a sampler can be taken back: see [`Sampler::mark`].
pub const MAX_AHEAD: usize = 64;

/// The most blocks the logits are seen in.
const BLOCKS: usize = 1 << 10;

/// A choice of tokens with its memory: recent tokens, the number of draws. What it reserves does not grow with the
/// vocabulary.
#[derive(Debug)]
pub struct Sampler {
    params: SamplerParams,
    vocab: usize,
    /// The last `repeat_last + MAX_AHEAD` tokens, a ring.
    recent: Vec<u32>,
    seen: usize,
    draws: u64,
    /// Recent tokens with their logits after the penalty.
    changed: Vec<(u32, f32)>,
    /// The greatest logit of each block.
    maxima: Vec<f32>,
    /// The histogram of a cut; then the sum of each block.
    sums: Vec<f64>,
}

/// Where a sampler was: see [`Sampler::mark`].
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    seen: usize,
    draws: u64,
}

impl Sampler {
    /// A sampler for vocabularies of up to `vocab` tokens; nothing is allocated afterwards.
    pub fn new(params: SamplerParams, vocab: usize) -> Result<Sampler> {
        params.check()?;
        let ring = ring(&params);
        let mut recent = try_vec(ring, "recent tokens")?;
        recent.resize(ring, 0);
        let mut sums = try_vec(BUCKETS, "sums")?;
        sums.resize(BUCKETS, 0.0);
        Ok(Sampler {
            params,
            vocab,
            recent,
            seen: 0,
            draws: 0,
            changed: try_vec(params.repeat_last, "recent tokens")?,
            maxima: try_vec(BLOCKS, "blocks")?,
            sums,
        })
    }

    /// Bytes a sampler reserves, for a vocabulary of any size.
    pub const fn bytes(params: &SamplerParams) -> usize {
        ring(params) * size_of::<u32>()
            + params.repeat_last * size_of::<(u32, f32)>()
            + BLOCKS * size_of::<f32>()
            + BUCKETS * size_of::<f64>()
    }

    /// The parameters.
    pub fn params(&self) -> &SamplerParams {
        &self.params
    }

    /// Forgets recent tokens and starts the draws again.
    pub fn reset(&mut self) {
        (self.seen, self.draws) = (0, 0);
    }

    /// Forgets recent tokens.
    pub fn forget(&mut self) {
        self.seen = 0;
    }

    /// Tells the sampler of a token of the text, for the penalty.
    pub fn accept(&mut self, token: u32) {
        if self.params.repeat_last > 0 {
            let at = self.seen % self.recent.len();
            self.recent[at] = token;
            self.seen += 1;
        }
    }

    /// Where the sampler is now, to come back to after at most [`MAX_AHEAD`] tokens.
    pub fn mark(&self) -> Mark {
        Mark { seen: self.seen, draws: self.draws }
    }

    /// Takes back what was accepted and drawn since `mark`.
    pub fn rewind(&mut self, mark: Mark) {
        (self.seen, self.draws) = (mark.seen, mark.draws);
    }

    /// Draws the next token from `logits`, which has an entry for each token of the vocabulary. NaN is never chosen,
    /// unless there is nothing else: then it is token 0.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32> {
        if logits.is_empty() || logits.len() > self.vocab {
            fail!(Shape, "{} logits for a sampler of up to {}", logits.len(), self.vocab);
        }
        self.penalize(logits);
        let p = &self.params;
        let len = logits.len().div_ceil(BLOCKS).next_multiple_of(64);
        self.maxima.clear();
        self.maxima.resize(logits.len().div_ceil(len), f32::NEG_INFINITY);
        let mut all = Blocks { logits, changed: &self.changed, len, maxima: &[] };
        for (block, max) in self.maxima.iter_mut().enumerate() {
            all.pieces(block, |_, piece| *max = max.max(weigh::max(piece)));
        }
        all.maxima = &self.maxima;
        let (first, best) = all.best();
        if p.temperature == 0.0 || best.is_infinite() {
            return Ok(first as u32);
        }
        let mut cut = Cut::ALL;
        if (1..logits.len()).contains(&p.top_k) {
            if p.top_k <= all.maxima.len() {
                // So many blocks have a token that is at least this great, so no lesser one is among the best.
                let maxima = Blocks { logits: all.maxima, changed: &[], len: all.maxima.len(), maxima: &[best] };
                cut = Cut::at_least(maxima.cut(cut, Keep::Count(p.top_k), best, &mut self.sums).logit);
            }
            cut = all.cut(cut, Keep::Count(p.top_k), best, &mut self.sums);
        }
        if p.top_p < 1.0 {
            cut = all.cut(cut, Keep::Share(p.top_p.into()), best, &mut self.sums);
        }
        if p.min_p > 0.0 {
            let least = best + p.min_p.ln();
            if least > cut.logit {
                cut = Cut::at_least(least);
            }
        }
        let draw = rng::uniform(p.seed, 0, self.draws);
        self.draws += 1;
        Ok(pick(&all, cut, draw, |logit| f64::from(weigh::exp((logit - best) / p.temperature)), &mut self.sums) as u32)
    }

    /// Notes what the penalty makes of the logits of recent tokens.
    fn penalize(&mut self, logits: &[f32]) {
        let (p, changed) = (&self.params, &mut self.changed);
        changed.clear();
        if p.repeat_penalty == 1.0 {
            return;
        }
        for i in self.seen.saturating_sub(p.repeat_last)..self.seen {
            let id = self.recent[i % self.recent.len()];
            if let Some(&logit) = logits.get(id as usize) {
                changed.push((id, if logit > 0.0 { logit / p.repeat_penalty } else { logit * p.repeat_penalty }));
            }
        }
        changed.sort_unstable_by_key(|&(id, _)| id);
        changed.dedup_by_key(|&mut (id, _)| id);
    }
}

/// Tokens that a sampler remembers.
const fn ring(params: &SamplerParams) -> usize {
    params.repeat_last + MAX_AHEAD
}

/// The token within `cut` at which the sum of weights, in the order of numbers, exceeds the part `draw` of the whole.
fn pick(all: &Blocks<'_>, cut: Cut, draw: f64, weight: impl Fn(f32) -> f64, sums: &mut [f64]) -> usize {
    sums[..BLOCKS].fill(0.0);
    let mut last = 0; // of the tokens that have a weight
    all.kept(cut, f32::NEG_INFINITY, |block, id, logit| {
        let w = weight(logit);
        sums[block] += w;
        if w > 0.0 {
            last = id;
        }
    });
    let mut left = draw * sums[..BLOCKS].iter().sum::<f64>();
    let Some(block) = sums[..BLOCKS].iter().position(|&sum| {
        left -= sum;
        left < 0.0
    }) else {
        return last;
    };
    left += sums[block];
    let mut drawn = None;
    let mut in_block = last;
    all.kept(cut, f32::NEG_INFINITY, |b, id, logit| {
        if b == block && drawn.is_none() {
            let w = weight(logit);
            left -= w;
            in_block = if w > 0.0 { id } else { in_block };
            drawn = (left < 0.0).then_some(id);
        }
    });
    drawn.unwrap_or(in_block)
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
        assert_eq!(s.sample(&[f32::NAN, f32::NEG_INFINITY, f32::NEG_INFINITY]).unwrap(), 1);
        assert_eq!(s.sample(&[f32::NAN]).unwrap(), 0);
        let mut s = Sampler::new(SamplerParams::default(), 4).unwrap();
        assert_eq!(s.sample(&[1.0, f32::INFINITY, f32::NAN, f32::INFINITY]).unwrap(), 1);
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
    fn a_sampler_goes_back_to_where_it_was() {
        let params = SamplerParams { repeat_penalty: 1.5, repeat_last: 5, ..SamplerParams::default() };
        let mut s = Sampler::new(params, 200).unwrap();
        let step = |s: &mut Sampler| {
            let token = s.sample(&logits()).unwrap();
            s.accept(token);
            token
        };
        (0..100).for_each(|_| assert!(step(&mut s) < 200));
        let mark = s.mark();
        let ahead: Vec<u32> = (0..MAX_AHEAD).map(|_| step(&mut s)).collect();
        s.rewind(mark);
        assert_eq!(ahead, (0..MAX_AHEAD).map(|_| step(&mut s)).collect::<Vec<_>>());
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
