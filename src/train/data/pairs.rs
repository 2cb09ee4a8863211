//! Batches of pairs: two samples each that belong together, one sequence after the other.

use std::sync::Arc;

use super::batch::{IGNORED, Part, Place, Position};
use super::ids::Ids;
use super::shuffle::{self, Permutation};
use crate::error::{Result, fail};

/// The pairs of one side of a set of preferences or judged answers. Nothing allocates once it is made.
pub struct PairBatches {
    ids: Arc<Ids>,
    /// Pairs of a batch, and tokens of a sequence at most.
    size: usize,
    longest: usize,
    /// The share for validation, and which side this is.
    share: f64,
    part: Part,
    seed: u64,
    order: Permutation,
    position: Position,
    pairs: u64,
}

impl PairBatches {
    /// Batches of `size` pairs whose sequences have `longest` tokens at most. The training side is shuffled and comes again, the
    /// other comes once, in order. The side of a pair is decided by a hash of its first sample.
    ///
    /// Errors: `InvalidArgument` for sizes of 0 and a share out of range, `Format` for a set that has an odd sample, one that is too
    /// long, or nothing for this side.
    pub fn new(
        ids: Arc<Ids>,
        (size, longest): (usize, usize),
        share: f64,
        part: Part,
        seed: u64,
    ) -> Result<PairBatches> {
        if size == 0 || longest == 0 || !(0.0..=1.0).contains(&share) {
            fail!(
                InvalidArgument,
                "batches of {size} pairs of {longest} tokens, a share of {share}: give sizes above 0 and a share from 0 to 1"
            );
        }
        if ids.samples() % 2 != 0 {
            fail!(Format, "{}: has {} samples, which are no pairs: delete it", ids.name(), ids.samples());
        }
        let order = Permutation::new(ids.samples() / 2, seed, 0);
        let position = Position::default();
        let mut batches = PairBatches { ids, size, longest, share, part, seed, order, position, pairs: 0 };
        for no in 0..batches.order.len() {
            let long =
                [0, 1].iter().find_map(|i| batches.ids.sample(2 * no + i).filter(|s| s.len > longest as u64 + 1));
            if let Some(long) = long {
                fail!(
                    Format,
                    "{}: pair {no} has a sample of {} tokens, a sequence has {longest}: take a longer context",
                    batches.ids.name(),
                    long.len - 1
                );
            }
            batches.pairs += u64::from(batches.is_here(no));
        }
        if batches.pairs == 0 {
            let side = if part == Part::Train { "training" } else { "validation" };
            let (name, all) = (batches.ids.name(), batches.order.len());
            fail!(Format, "{name}: the {side} part has none of the {all} pairs, a share of {share} is for validation");
        }
        Ok(batches)
    }

    /// Pairs of this side.
    pub fn pairs(&self) -> u64 {
        self.pairs
    }

    /// Where the next batch begins.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Epochs done, with the share of the one under way.
    pub fn epochs(&self) -> f64 {
        self.position.epoch as f64 + self.position.unit as f64 / self.order.len().max(1) as f64
    }

    /// Goes on from `position`. Errors: `InvalidArgument` for one that this data does not have.
    pub fn seek(&mut self, position: Position) -> Result<()> {
        if position.unit > self.order.len() || position.offset != 0 || position.epoch >= 1 << 32 {
            fail!(InvalidArgument, "{}: has no position {position:?}: it is of other data", self.ids.name());
        }
        self.begin(position.epoch);
        self.position = position;
        Ok(())
    }

    /// Tells apart data and parameters that give other batches.
    pub fn fingerprint(&self) -> u32 {
        let key = self.ids.key();
        let mut crc = crc32fast::Hasher::new();
        [key.source, key.settings, key.tokenizer].iter().for_each(|part| crc.update(&part.to_le_bytes()));
        let way = (self.size, self.longest, self.share, self.part, self.seed);
        crc.update(format!("{way:?}").as_bytes());
        crc.finalize()
    }

    /// Fills the next pairs, each two sequences, into slices of `2 * size * longest`, and their labels into `labels`, of `size`.
    /// Returns how many rows and pairs there are; no pairs at the end.
    ///
    /// Errors: `InvalidArgument` for shorter slices, `FileChanged`, `Format`.
    pub fn next(
        &mut self,
        (tokens, targets, places): (&mut [u32], &mut [i32], &mut [Place]),
        labels: &mut [bool],
    ) -> Result<(usize, usize)> {
        let most = 2 * self.size * self.longest;
        if tokens.len() < most || targets.len() < most || places.len() < most || labels.len() < self.size {
            fail!(InvalidArgument, "{} pairs need slices of {most}, they have {}", self.size, tokens.len());
        }
        self.ids.check_unchanged()?;
        let (mut at, mut pairs) = (0, 0);
        while pairs < self.size {
            let Some(no) = self.current() else { break };
            for i in 0..2 {
                let Some(sample) = self.ids.sample(2 * no + i) else { break };
                labels[pairs] = self.ids.token(sample.start)?.1;
                for pos in 0..sample.len.saturating_sub(1).min(self.longest as u64) {
                    let next = self.ids.token(sample.start + pos + 1)?;
                    tokens[at] = self.ids.token(sample.start + pos)?.0;
                    targets[at] = if next.1 { next.0 as i32 } else { IGNORED };
                    places[at] = Place { seq: (2 * pairs) as u32 + i as u32, pos: pos as u32 };
                    at += 1;
                }
            }
            self.position.unit += 1;
            pairs += 1;
        }
        Ok((at, pairs))
    }

    /// The pair at the position, past those of the other side.
    fn current(&mut self) -> Option<u64> {
        loop {
            while self.position.unit < self.order.len() {
                let no = match self.part {
                    Part::Train => self.order.get(self.position.unit)?,
                    Part::Validation => self.position.unit,
                };
                if self.is_here(no) {
                    return Some(no);
                }
                self.position.unit += 1;
            }
            if self.part == Part::Validation {
                return None;
            }
            self.begin(self.position.epoch + 1);
        }
    }

    fn begin(&mut self, epoch: u64) {
        self.position = Position { epoch, unit: 0, offset: 0 };
        self.order = Permutation::new(self.order.len(), self.seed, epoch);
    }

    fn is_here(&self, no: u64) -> bool {
        let Some(sample) = self.ids.sample(2 * no) else { return false };
        (shuffle::side(self.seed, u64::from(sample.crc)) < self.share) == (self.part == Part::Validation)
    }
}
