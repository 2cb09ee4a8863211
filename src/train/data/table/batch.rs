//! Batches of rows of a table, in an order that is a function of the seed.

use std::sync::Arc;

use super::Bound;
use crate::error::{Result, fail};
use crate::train::data::batch::{IGNORED, Position};
use crate::train::data::shuffle::Permutation;

/// The caller's memory of a batch of `rows` rows.
pub struct TableBatch<'a> {
    /// `[rows][numbers]`
    pub numbers: &'a mut [f32],
    /// `[rows][columns of categories]`
    pub categories: &'a mut [u32],
    /// The class of each row, or [`IGNORED`] where there is none.
    pub classes: &'a mut [i32],
    /// The normalised target of each row, 0 where it is a class or missing.
    pub values: &'a mut [f32],
}

/// Some rows of a table, again and again or once. Nothing allocates once it is made.
pub struct TableBatches {
    table: Arc<Bound>,
    picked: Vec<u32>,
    size: usize,
    /// The seed of the order; None for the table's own, once.
    seed: Option<u64>,
    position: Position,
    order: Permutation,
}

impl TableBatches {
    /// Batches of `size` of the rows `picked`: with a seed shuffled, epoch after epoch, otherwise once and as they are picked.
    ///
    /// Errors: `InvalidArgument` for no rows, or one that the table does not have.
    pub fn new(table: Arc<Bound>, picked: Vec<u32>, size: usize, seed: Option<u64>) -> Result<TableBatches> {
        if size == 0 || picked.is_empty() {
            fail!(InvalidArgument, "batches of {size} of {} rows: give at least 1 of each", picked.len());
        }
        if let Some(row) = picked.iter().find(|row| **row as usize >= table.len()) {
            fail!(InvalidArgument, "row {row} was picked, the table has {}", table.len());
        }
        let order = Permutation::new(picked.len() as u64, seed.unwrap_or(0), 0);
        Ok(TableBatches { table, picked, size, seed, position: Position::default(), order })
    }

    /// Where the next batch begins.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The epochs done so far, with the share of the one under way.
    pub fn epochs(&self) -> f64 {
        self.position.epoch as f64 + self.position.unit as f64 / self.order.len().max(1) as f64
    }

    /// Goes on from `position`. Errors: `InvalidArgument` for one that these rows do not have.
    pub fn seek(&mut self, position: Position) -> Result<()> {
        if position.unit > self.order.len() || position.offset != 0 || position.epoch >= 1 << 32 {
            fail!(
                InvalidArgument,
                "there is no position {position:?} in {} rows: it is of other data",
                self.order.len()
            );
        }
        self.position = position;
        self.order = Permutation::new(self.order.len(), self.seed.unwrap_or(0), position.epoch);
        Ok(())
    }

    /// Fills the next batch and says how many rows it has: less than `size` only at the end, 0 behind it, when rows come once.
    ///
    /// Errors: `InvalidArgument` for slices of other lengths than `size` rows take.
    pub fn next(&mut self, batch: &mut TableBatch) -> Result<usize> {
        let description = self.table.description();
        let (numbers, categories) = (description.numbers(), description.categories().count());
        let need = [numbers * self.size, categories * self.size, self.size, self.size];
        let lens = [batch.numbers.len(), batch.categories.len(), batch.classes.len(), batch.values.len()];
        if lens != need {
            fail!(InvalidArgument, "a batch of {} rows needs slices of {need:?}, they have {lens:?}", self.size);
        }
        for no in 0..self.size {
            if self.position.unit >= self.order.len() {
                let Some(seed) = self.seed else { return Ok(no) };
                self.position = Position { epoch: self.position.epoch + 1, unit: 0, offset: 0 };
                self.order = Permutation::new(self.order.len(), seed, self.position.epoch);
            }
            let place = self.position.unit;
            let at = if self.seed.is_some() { self.order.get(place).unwrap_or(place) } else { place };
            let row = self.picked[at as usize] as usize;
            let (n, c) = (no * numbers..(no + 1) * numbers, no * categories..(no + 1) * categories);
            self.table.row(row, &mut batch.numbers[n], &mut batch.categories[c])?;
            batch.classes[no] = self.table.class(row).map_or(IGNORED, |class| class as i32);
            batch.values[no] = self.table.value(row).unwrap_or(0.0);
            self.position.unit += 1;
        }
        Ok(self.size)
    }
}
