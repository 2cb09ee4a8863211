//! Which tokens are kept, without sorting them: in the order of logits, and of equals the lower number first, the kept
//! ones always are the first ones, so that one logit says where they end.
//!
//! The logit is found digit by digit: a histogram over the upper bits of what orders floats as integers, then one over
//! the next bits of those in the bucket where the end falls. Blocks whose greatest logit is too small are not looked at.

use super::weigh;
use std::cmp::Ordering;

/// The kept tokens: those whose logit is greater than `logit`, and of those that are equal to it the first `ties`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cut {
    pub logit: f32,
    pub ties: usize,
}

impl Cut {
    /// All tokens but NaN.
    pub const ALL: Cut = Cut::at_least(f32::NEG_INFINITY);

    /// Those whose logit is at least `logit`.
    pub const fn at_least(logit: f32) -> Cut {
        Cut { logit, ties: usize::MAX }
    }
}

/// How much is kept.
#[derive(Clone, Copy)]
pub(super) enum Keep {
    /// So many tokens.
    Count(usize),
    /// As many as together have this share of the probability.
    Share(f64),
}

/// Digits of a key, upper first: shift and number of bits.
const DIGITS: [(u32, u32); 3] = [(21, 11), (10, 11), (0, 10)];

/// Buckets of a histogram.
pub(super) const BUCKETS: usize = 1 << 11;

/// An integer that orders as the float does; both zeros are one.
fn key(x: f32) -> u32 {
    let bits = (x + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// The float of a key.
fn number(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

/// Logits in equal blocks, some of them replaced, with the greatest of each block.
#[derive(Clone, Copy)]
pub(super) struct Blocks<'a> {
    pub logits: &'a [f32],
    /// Number and logit of tokens whose logit is another than in `logits`, by number.
    pub changed: &'a [(u32, f32)],
    /// Tokens of a block.
    pub len: usize,
    pub maxima: &'a [f32],
}

/// The most tokens that are copied to put changed ones in.
const PIECE: usize = 64;

impl Blocks<'_> {
    /// The tokens of block `block`: `f` receives consecutive ones and the number of the first.
    pub fn pieces(&self, block: usize, mut f: impl FnMut(usize, &[f32])) {
        let from = block * self.len;
        let all = &self.logits[from..self.logits.len().min(from + self.len)];
        let before = |id: usize| self.changed.partition_point(|&(changed, _)| (changed as usize) < id);
        let changed = &self.changed[before(from)..before(from + all.len())];
        if changed.is_empty() {
            return f(from, all);
        }
        let mut changed = changed.iter().peekable();
        for (i, piece) in all.chunks(PIECE).enumerate() {
            let first = from + i * PIECE;
            let mut copy = [0.0; PIECE];
            let copy = &mut copy[..piece.len()];
            copy.copy_from_slice(piece);
            while let Some((id, logit)) = changed.next_if(|&&(id, _)| (id as usize) < first + piece.len()) {
                copy[*id as usize - first] = *logit;
            }
            f(first, copy);
        }
    }

    /// Calls `f` with block, number and logit of each token within `cut`, in the order of numbers. Those below `floor`
    /// may be left out.
    pub fn kept(&self, cut: Cut, floor: f32, mut f: impl FnMut(usize, usize, f32)) {
        let floor = floor.max(cut.logit);
        let mut ties = cut.ties;
        for (block, _) in self.maxima.iter().enumerate().filter(|&(_, &max)| max >= floor) {
            self.pieces(block, |first, piece| {
                for (id, &logit) in (first..).zip(piece) {
                    if logit > cut.logit {
                        f(block, id, logit);
                    } else if logit == cut.logit && ties > 0 {
                        ties -= 1;
                        f(block, id, logit);
                    }
                }
            });
        }
    }

    /// The first of the greatest; token 0 when all are NaN.
    pub fn best(&self) -> (usize, f32) {
        let best = weigh::max(self.maxima);
        let mut found = None;
        for (block, _) in self.maxima.iter().enumerate().filter(|&(_, &max)| max == best) {
            self.pieces(block, |first, piece| {
                found = found.or_else(|| piece.iter().position(|&logit| logit == best).map(|i| first + i));
            });
            if found.is_some() {
                break;
            }
        }
        (found.unwrap_or(0), best)
    }

    /// The end of the best tokens of those within `cut` that come to `keep`: at least one, if there is any. `best` is
    /// the greatest logit; `buckets` has [`BUCKETS`].
    pub fn cut(&self, cut: Cut, keep: Keep, best: f32, buckets: &mut [f64]) -> Cut {
        let measure = |logit: f32| match keep {
            Keep::Count(_) => 1.0,
            Keep::Share(_) => f64::from(weigh::exp(logit - best)),
        };
        let (mut upper, mut left) = (0, 0.0);
        for (shift, bits) in DIGITS {
            let above = (shift + bits) % 32; // 0 at the first digit, whose keys are all of one kind
            let buckets = &mut buckets[..1 << bits];
            buckets.fill(0.0);
            let first = above == 0;
            let floor = if first { cut.logit } else { number(upper << above) };
            self.kept(cut, floor, |_, _, logit| {
                let key = key(logit);
                if first || key >> above == upper {
                    buckets[(key >> shift) as usize & ((1 << bits) - 1)] += measure(logit);
                }
            });
            if first {
                left = match keep {
                    Keep::Count(n) => n as f64,
                    Keep::Share(share) => share * buckets.iter().sum::<f64>(),
                };
                left = left.max(f64::MIN_POSITIVE);
            }
            let mut bucket = buckets.len() - 1;
            while bucket > 0 && buckets[bucket] < left {
                left -= buckets[bucket];
                bucket -= 1;
            }
            upper = upper << bits | bucket as u32;
        }
        // All in the last bucket are equal. Rounding may have left more than there is: then all are kept.
        let logit = number(upper).max(f32::NEG_INFINITY); // some keys are of no number
        let one = measure(logit);
        let ties = if one > 0.0 { ((left / one).ceil() as usize).max(1) } else { usize::MAX };
        match logit.partial_cmp(&cut.logit) {
            Some(Ordering::Greater) => Cut { logit, ties },
            Some(Ordering::Equal) => Cut { logit, ties: ties.min(cut.ties) },
            _ => cut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_as_numbers() {
        let x = [f32::NEG_INFINITY, -1e30, -2.0, -1e-40, 0.0, 1e-40, 0.5, 3.0, f32::INFINITY];
        for pair in x.windows(2) {
            assert!(key(pair[0]) < key(pair[1]), "{pair:?}");
        }
        assert_eq!(key(-0.0), key(0.0));
        assert!(x.iter().all(|&x| number(key(x)) == x));
    }

    /// What is kept, by sorting.
    fn sorted(logits: &[f32], cut: &[usize], keep: Keep) -> Vec<usize> {
        let mut ids = cut.to_vec();
        ids.sort_by(|&a, &b| logits[b].partial_cmp(&logits[a]).unwrap().then(a.cmp(&b)));
        let n = match keep {
            Keep::Count(n) => n.min(ids.len()),
            Keep::Share(share) => {
                let weight = |id: &usize| f64::from(weigh::exp(logits[*id] - logits[ids[0]]));
                let total: f64 = ids.iter().map(weight).sum();
                let mut sum = 0.0;
                let n = ids.iter().take_while(|id| {
                    let before = sum;
                    sum += weight(id);
                    before < share * total
                });
                n.count().max(1)
            }
        };
        ids.truncate(n);
        ids.sort_unstable();
        ids
    }

    #[test]
    fn cuts_are_those_of_sorting() {
        for (seed, n) in (1..60u64).zip([1, 2, 63, 64, 65, 200, 1000, 5000].into_iter().cycle()) {
            // Few different values, so that there are ties; of both signs.
            let logit = |i: u64| {
                let r = crate::engine::rng::philox(seed, 0, i)[0];
                (r % (10 + 40 * seed as u32)) as f32 / 8.0 - 2.0 * (seed % 4) as f32
            };
            let mut logits: Vec<f32> = (0..n).map(logit).collect();
            let changed = [(0, 1.5), (n as u32 / 2 + 1, -0.0)];
            let changed = &changed[..if n > 2 { 2 } else { 0 }];
            let plain = logits.clone();
            changed.iter().for_each(|&(id, l)| logits[id as usize] = l);
            let maxima: Vec<f32> = logits.chunks(64).map(weigh::max).collect();
            let blocks = Blocks { logits: &plain, changed, len: 64, maxima: &maxima };
            let (id, best) = blocks.best();
            assert_eq!(vec![id], sorted(&logits, &(0..logits.len()).collect::<Vec<_>>(), Keep::Count(1)));
            let mut buckets = [f64::NAN; BUCKETS];
            let (mut cut, mut ids) = (Cut::ALL, (0..logits.len()).collect::<Vec<_>>());
            for keep in [Keep::Share(0.999), Keep::Count(300), Keep::Count(40), Keep::Share(0.6), Keep::Share(0.0)] {
                cut = blocks.cut(cut, keep, best, &mut buckets);
                ids = sorted(&logits, &ids, keep);
                let mut kept = Vec::new();
                blocks.kept(cut, f32::NEG_INFINITY, |block, id, logit| {
                    assert_eq!((block, logit), (id / 64, logits[id]));
                    kept.push(id);
                });
                assert_eq!(kept, ids, "{seed} {n} {cut:?}");
            }
        }
    }
}
