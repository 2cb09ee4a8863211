//! Batches of rows of tokens, in an order that is a function of the seed: where a run stands in its data is three numbers.
//!
//! A unit is what is shuffled: a window of a long text, or a sample. A row is filled with units, each a segment of its own with
//! positions from 0, so that attention sees nothing of the segments beside it.

use std::sync::Arc;

use super::ids::Ids;
use super::shuffle::{self, Permutation};
use crate::error::{Result, fail};
pub use crate::ops::attend::Place;
pub use crate::train::loss::IGNORED;

/// How rows are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// All samples one after another are one long text, cut into consecutive windows of a row each. Where units are shuffled
    /// and the split is no hash, the first window of each epoch begins at another of the first tokens.
    Windows,
    /// Samples one after another; one that does not fit is cut and goes on in the next row, at position 0.
    Cut,
    /// As `Cut`, but a row ends early rather than cut a sample that a row of its own has room for, or begin one that
    /// none has.
    Whole,
}

/// Which units are kept for validation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Split {
    /// None.
    None,
    /// About that share of the units, by a hash of their content (of a window's place for [`Fill::Windows`]): the side of a
    /// sample does not depend on the others, and equal samples are on one side.
    Hash {
        /// From 0 to 1.
        share: f64,
        /// Another seed keeps others.
        seed: u64,
    },
    /// The last of the data: that share of the tokens for [`Fill::Windows`], of the samples otherwise.
    Tail {
        /// From 0 to 1.
        share: f64,
    },
}

/// Which side of the split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What is learned.
    Train,
    /// What is kept.
    Validation,
}

/// What batches are made of.
#[derive(Clone, Copy, Debug)]
pub struct BatchParams {
    /// Rows of a batch.
    pub rows: usize,
    /// Tokens of a row.
    pub row: usize,
    /// How rows are filled.
    pub fill: Fill,
    /// What is kept for validation.
    pub split: Split,
    /// Which side these batches are from.
    pub part: Part,
    /// The order of the units is shuffled, in each epoch otherwise.
    pub shuffle: bool,
    /// Decides the order.
    pub seed: u64,
    /// After the last unit the next epoch begins; otherwise the batches end.
    pub repeat: bool,
    /// The token of places that nothing is left for.
    pub pad: u32,
}

impl BatchParams {
    /// Batches to learn from: all of the data, shuffled, without end.
    pub fn train(rows: usize, row: usize, fill: Fill) -> BatchParams {
        let (split, part) = (Split::None, Part::Train);
        BatchParams { rows, row, fill, split, part, shuffle: true, seed: 0, repeat: true, pad: 0 }
    }

    /// What these leave for validation, once and in order.
    pub fn validation(self) -> BatchParams {
        BatchParams { part: Part::Validation, shuffle: false, repeat: false, ..self }
    }
}

/// The caller's memory of a batch, each of rows x row.
pub struct Batch<'a> {
    /// The tokens.
    pub tokens: &'a mut [u32],
    /// The token that follows on each, or [`IGNORED`].
    pub targets: &'a mut [i32],
    /// Where each stands.
    pub places: &'a mut [Place],
}

/// What a batch was filled with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Rows that have tokens; those after them are padding.
    pub rows: usize,
    /// Segments, padding not counted.
    pub segments: u32,
    /// Tokens that are no padding.
    pub tokens: usize,
    /// Targets that count. It can be none: then there is nothing to learn from the batch.
    pub counted: usize,
}

/// Where in the data the next batch begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The epoch, from 0.
    pub epoch: u64,
    /// How many units of the epoch's order are done with.
    pub unit: u64,
    /// How many tokens of the next unit are.
    pub offset: u64,
}

impl Position {
    /// For a checkpoint: three numbers, little-endian.
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        for (to, x) in bytes.chunks_exact_mut(8).zip([self.epoch, self.unit, self.offset]) {
            to.copy_from_slice(&x.to_le_bytes());
        }
        bytes
    }

    /// The way back.
    pub fn from_bytes(bytes: [u8; 24]) -> Position {
        let mut x = bytes.chunks_exact(8).map(|b| b.try_into().map_or(0, u64::from_le_bytes));
        let mut next = || x.next().unwrap_or(0);
        Position { epoch: next(), unit: next(), offset: next() }
    }
}

/// The batches of one side of a data set. Nothing allocates once it is made.
pub struct Batches {
    ids: Arc<Ids>,
    params: BatchParams,
    /// What of the data its units are taken from: tokens for windows, samples otherwise.
    from: u64,
    to: u64,
    position: Position,
    /// The epoch's order and, for windows, its first token.
    order: Permutation,
    shift: u64,
    units: u64,
    tokens: u64,
}

/// A stretch of the ids: `len` tokens that each have a next one.
#[derive(Clone, Copy)]
struct Unit {
    start: u64,
    len: u64,
}

impl Batches {
    /// Batches over `ids`. Looks once at each unit's entry, so as to count them.
    ///
    /// Errors: `InvalidArgument` for no rows, rows of no tokens, a share outside 0 to 1, padding outside the vocabulary;
    /// `Format` when the side asked for has nothing to learn from.
    pub fn new(ids: Arc<Ids>, params: &BatchParams) -> Result<Batches> {
        let &BatchParams { rows, row, fill, split, part, pad, .. } = params;
        if rows == 0 || row == 0 || u32::try_from(rows.saturating_mul(row)).is_err() {
            fail!(
                InvalidArgument,
                "a batch of {rows} rows of {row} tokens: give at least 1 of each, below 2^32 in all"
            );
        }
        if pad >= ids.vocab() {
            fail!(InvalidArgument, "the token {pad} for padding is outside the vocabulary of {}", ids.vocab());
        }
        let share = match split {
            Split::None => 0.0,
            Split::Hash { share, .. } | Split::Tail { share } => share,
        };
        if !(0.0..=1.0).contains(&share) {
            fail!(InvalidArgument, "the share for validation is {share}: give a number from 0 to 1");
        }
        let all = if fill == Fill::Windows { ids.tokens() } else { ids.samples() };
        let (from, to) = match (split, part) {
            (Split::Hash { .. }, _) | (Split::None, Part::Train) => (0, all),
            (Split::None, Part::Validation) => (all, all),
            (Split::Tail { .. }, part) => {
                let cut = all - ((all as f64 * share).round() as u64).min(all);
                if part == Part::Train { (0, cut) } else { (cut, all) }
            }
        };
        let order = Permutation::new(0, 0, 0);
        let position = Position::default();
        let mut batches = Batches { ids, params: *params, from, to, position, order, shift: 0, units: 0, tokens: 0 };
        batches.begin(0);
        for no in 0..batches.order.len() {
            if let Some(unit) = batches.unit(no) {
                batches.units += 1;
                batches.tokens += unit.len;
            }
        }
        if batches.units == 0 {
            fail!(
                Format,
                "{}: the {} part has nothing to learn from: the set has {} samples of {} tokens in all, and a share of {share} \
                 is kept for validation",
                batches.ids.name(),
                if part == Part::Train { "training" } else { "validation" },
                batches.ids.samples(),
                batches.ids.tokens(),
            );
        }
        Ok(batches)
    }

    /// Tokens of a row.
    pub fn row(&self) -> usize {
        self.params.row
    }

    /// Tells apart data and parameters that give other batches.
    pub fn fingerprint(&self) -> u32 {
        let key = self.ids.key();
        let mut crc = crc32fast::Hasher::new();
        [key.source, key.settings, key.tokenizer].iter().for_each(|part| crc.update(&part.to_le_bytes()));
        crc.update(format!("{:?}", self.params).as_bytes());
        crc.finalize()
    }

    /// The units of the first epoch (with windows, a later one may have one less).
    pub fn units(&self) -> u64 {
        self.units
    }

    /// The tokens of the first epoch that have a next one, whether it counts or not.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Where the next batch begins.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The epochs done so far, with the share of the one under way.
    pub fn epochs(&self) -> f64 {
        self.position.epoch as f64 + self.position.unit as f64 / self.order.len().max(1) as f64
    }

    /// Goes on from `position`: the batches from there are those that came after it when it was taken, if the data and the
    /// parameters are the same. Errors: `InvalidArgument` for a position that this data does not have.
    pub fn seek(&mut self, position: Position) -> Result<()> {
        let old = self.position;
        self.begin(position.epoch);
        let len = if position.offset == 0 { 1 } else { self.place(position.unit).map_or(0, |unit| unit.len) };
        if position.epoch >= 1 << 32 || position.unit > self.order.len() || position.offset >= len {
            let units = self.order.len();
            self.begin(old.epoch);
            self.position = old;
            fail!(
                InvalidArgument,
                "{}: has no position {position:?}: an epoch has {units} units; the position is of other data or parameters",
                self.ids.name()
            );
        }
        self.position = position;
        Ok(())
    }

    /// Fills the next batch, or says None when the last unit is done with and batches do not repeat.
    ///
    /// Errors: `InvalidArgument` for slices that are not rows x row long; `FileChanged` when the file of ids did; `Format`
    /// when it is damaged. The position is then what it was.
    pub fn next(&mut self, batch: &mut Batch) -> Result<Option<Filled>> {
        self.next_from(batch, &mut [])
    }

    /// The same, and to `origins`, where it has room, which token of the ids each row is; `u64::MAX` for padding.
    pub fn next_from(&mut self, batch: &mut Batch, origins: &mut [u64]) -> Result<Option<Filled>> {
        origins.fill(u64::MAX);
        let BatchParams { rows, row, .. } = self.params;
        let lens = [batch.tokens.len(), batch.targets.len(), batch.places.len()];
        if lens != [rows * row; 3] {
            fail!(
                InvalidArgument,
                "a batch of {rows} rows of {row} tokens needs slices of {}, they have {lens:?}",
                rows * row
            );
        }
        self.ids.check_unchanged()?;
        let (before, mut filled) = (self.position, Filled::default());
        for no in 0..rows {
            let part = no * row..(no + 1) * row;
            let mut row = Batch {
                tokens: &mut batch.tokens[part.clone()],
                targets: &mut batch.targets[part.clone()],
                places: &mut batch.places[part],
            };
            let origins = origins.get_mut(no * self.params.row..).unwrap_or_default();
            if let Err(e) = self.fill(&mut row, &mut filled, no, origins) {
                self.begin(before.epoch);
                self.position = before;
                return Err(e);
            }
        }
        Ok(Some(filled).filter(|f| f.rows > 0))
    }

    /// Fills one row, `no` of the batch.
    fn fill(&mut self, to: &mut Batch, filled: &mut Filled, no: usize, origins: &mut [u64]) -> Result<()> {
        let room = to.tokens.len();
        let mut at = 0;
        while at < room {
            let Some(unit) = self.current() else { break };
            let left = unit.len - self.position.offset;
            let fits = left <= (room - at) as u64;
            if at > 0 && !fits && self.params.fill == Fill::Whole {
                break;
            }
            let take = if fits { left as usize } else { room - at };
            let from = unit.start + self.position.offset;
            for i in 0..take {
                let next = self.ids.token(from + i as u64 + 1)?;
                to.tokens[at + i] = self.ids.token(from + i as u64)?.0;
                to.targets[at + i] = if next.1 { next.0 as i32 } else { IGNORED };
                to.places[at + i] = Place { seq: filled.segments + no as u32, pos: i as u32 };
                filled.counted += usize::from(next.1);
                if let Some(origin) = origins.get_mut(at + i) {
                    *origin = from + i as u64;
                }
            }
            at += take;
            filled.segments += 1;
            filled.tokens += take;
            filled.rows = no + 1;
            self.position.offset += take as u64;
            if fits {
                (self.position.unit, self.position.offset) = (self.position.unit + 1, 0);
            }
            if self.params.fill == Fill::Windows {
                break;
            }
        }
        // Padding is a segment of its own; its number is passed over in rows that have none.
        for i in at..room {
            to.tokens[i] = self.params.pad;
            to.targets[i] = IGNORED;
            to.places[i] = Place { seq: filled.segments + no as u32, pos: (i - at) as u32 };
        }
        Ok(())
    }

    /// The unit that the position is in, past those of the other side, or None behind the last.
    fn current(&mut self) -> Option<Unit> {
        loop {
            while self.position.unit < self.order.len() {
                if let Some(unit) = self.place(self.position.unit) {
                    return Some(unit);
                }
                self.position.unit += 1;
            }
            if !self.params.repeat {
                return None;
            }
            // Each epoch has a unit of this side: the first was counted, and the others have the same.
            self.begin(self.position.epoch + 1);
        }
    }

    /// Sets the position to the start of an epoch.
    fn begin(&mut self, epoch: u64) {
        let BatchParams { row, fill, split, shuffle, seed, .. } = self.params;
        self.position = Position { epoch, unit: 0, offset: 0 };
        let mut units = self.to - self.from;
        self.shift = 0;
        if fill == Fill::Windows {
            let pairs = units.saturating_sub(1);
            if shuffle && !matches!(split, Split::Hash { .. }) {
                self.shift = shuffle::shift(seed, epoch, pairs.min(row as u64));
            }
            units = (pairs - self.shift).div_ceil(row as u64);
        }
        self.order = Permutation::new(units, seed, epoch);
    }

    /// The unit at that place of the epoch's order, if it is on this side and has something to learn from.
    fn place(&self, place: u64) -> Option<Unit> {
        if place >= self.order.len() {
            return None;
        }
        self.unit(if self.params.shuffle { self.order.get(place)? } else { place })
    }

    fn unit(&self, no: u64) -> Option<Unit> {
        let BatchParams { row, fill, split, part, .. } = self.params;
        let (unit, key) = if fill == Fill::Windows {
            let start = self.from + self.shift + no * row as u64;
            (Unit { start, len: (self.to - 1).checked_sub(start)?.min(row as u64) }, no)
        } else {
            let sample = self.ids.sample(self.from + no)?;
            if sample.counted == 0 {
                return None;
            }
            (Unit { start: sample.start, len: sample.len - 1 }, u64::from(sample.crc))
        };
        let here = match split {
            Split::Hash { share, seed } => (shuffle::side(seed, key) < share) == (part == Part::Validation),
            _ => true,
        };
        Some(unit).filter(|unit| here && unit.len > 0)
    }
}
