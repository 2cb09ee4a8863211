//! The gradients of what is trained, as backward passes add to them.

use super::adapters::Found;
use super::sparse::SparseRows;
use super::trained::{Param, Trained};
use super::{Vector, Weight};
use crate::error::{Result, fail};

/// The gradients of trained parameters, which backward passes add to.
pub struct Grads<'a> {
    trained: &'a Trained,
    /// Of all but the first where that is kept by rows.
    values: &'a mut [f32],
    rows: Option<&'a mut SparseRows>,
}

/// The gradient of an embedding.
pub enum TableGrad<'a> {
    /// As a whole.
    Dense(&'a mut [f32]),
    /// By rows.
    Rows(&'a mut SparseRows),
}

impl<'a> Grads<'a> {
    /// Gradients in the places of `trained`; to begin with, `values` are zeros.
    pub fn new(trained: &'a Trained, values: &'a mut [f32]) -> Result<Grads<'a>> {
        Grads::with_rows(trained, values, None)
    }

    /// The same where the first parameter is a table whose gradient is kept by rows: `values` begin with the second.
    pub fn with_rows(
        trained: &'a Trained,
        values: &'a mut [f32],
        rows: Option<&'a mut SparseRows>,
    ) -> Result<Grads<'a>> {
        let expected = trained.len() - rows.as_ref().map_or(0, |rows| rows.elements());
        if values.len() != expected {
            fail!(Shape, "{} gradients for trained parameters of {expected}", values.len());
        }
        Ok(Grads { trained, values, rows })
    }

    /// The gradient of a matrix; None when that is frozen.
    pub fn matrix(&mut self, w: &Weight) -> Option<&mut [f32]> {
        let (at, len) = self.trained.matrix(w)?;
        self.part(at, len)
    }

    /// The gradient of a vector; None when that is frozen.
    pub fn vector(&mut self, v: &Vector) -> Option<&mut [f32]> {
        let (at, len) = self.trained.vector(v)?;
        self.part(at, len)
    }

    /// The gradient of an embedding; None when that is frozen.
    pub fn table(&mut self, w: &Weight) -> Option<TableGrad<'_>> {
        let (at, len) = self.trained.matrix(w)?;
        match self.rows {
            Some(ref mut rows) => Some(TableGrad::Rows(rows)),
            None => self.part(at, len).map(TableGrad::Dense),
        }
    }

    fn part(&mut self, at: usize, len: usize) -> Option<&mut [f32]> {
        let at = at.checked_sub(self.skipped())?;
        self.values.get_mut(at..at + len)
    }

    /// Elements of the parameter that is not among the values.
    fn skipped(&self) -> usize {
        self.rows.as_ref().map_or(0, |rows| rows.elements())
    }

    /// The gradients of what is added to a matrix: of `a` `[rank][cols]`, of `b` `[rank][site.rows()]`, and of the magnitudes of the
    /// weight's rows.
    pub fn low_rank(&mut self, found: &Found) -> [&mut [f32]; 3] {
        let from = self.trained.sites_at() - self.skipped();
        let values = &mut self.values[from..];
        let (a, b) = (found.a(), found.b());
        let magnitudes = found.magnitudes().unwrap_or(b.end..b.end);
        let (before, after) = values.split_at_mut(b.start);
        let (own, after) = after.split_at_mut(b.len());
        [&mut before[a], own, &mut after[magnitudes.start - b.end..magnitudes.end - b.end]]
    }

    /// Whether a parameter is trained.
    pub fn has(&self, param: &Param) -> bool {
        self.trained.has(param)
    }
}
