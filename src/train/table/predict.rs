//! A trained network applied to rows of a table.

use super::super::data::table::{Bound, Description, Target};
use crate::engine::{Context, ContextParams, Model};
use crate::error::{Result, fail, try_vec};
use crate::layers::trained::Snapshot;
use std::sync::Arc;

/// Rows that go through the layers together.
const BATCH: usize = 256;

/// Tells classes or values of rows. Everything is reserved when it is made.
pub struct Predictor {
    ctx: Context,
    description: Description,
    /// Numbers and categories of a row.
    widths: (usize, usize),
    x: Vec<f32>,
    categories: Vec<u32>,
}

/// The predictor of a model that was opened from a file: with the description that the file has.
///
/// Errors: those of [`description`](super::description) and [`Predictor::new`].
pub fn of_model(model: &Arc<Model>) -> Result<Predictor> {
    let Some(gguf) = &model.gguf else {
        fail!(State, "the model was built by hand: it has no description of a table");
    };
    Predictor::new(model, super::description(gguf)?)
}

impl Predictor {
    /// For a model of rows as `description` sees them.
    ///
    /// Errors: `Format` for a model of other widths; `OutOfMemory`.
    pub fn new(model: &Arc<Model>, description: Description) -> Result<Predictor> {
        let widths = (description.numbers(), description.categories().count());
        let results = match &description.target {
            Target::Classes { classes, .. } => classes.len(),
            Target::Number { .. } => 1,
        };
        let (takes, gives) = (model.graph.in_width, model.graph.out_width());
        let width = widths.0 + widths.1;
        if (takes, gives) != (width, results) || results == 0 {
            fail!(
                Format,
                "the model takes {takes} elements and gives {gives}, its table has {width} and {results}: the file is damaged"
            );
        }
        let mut x = try_vec(BATCH * width, "rows")?;
        x.resize(BATCH * width, 0.0);
        let mut categories = try_vec(widths.1, "categories")?;
        categories.resize(widths.1, 0);
        let params = ContextParams { n_ctx: BATCH, n_batch: BATCH, n_outputs: BATCH, ..ContextParams::default() };
        Ok(Predictor { ctx: Context::new(model, &params)?, description, widths, x, categories })
    }

    /// What it knows of tables.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Uses the values of a trainer instead of the model's own.
    pub fn set_snapshot(&mut self, snapshot: Arc<Snapshot>) -> Result<()> {
        self.ctx.set_snapshot(Some(snapshot)).map(drop)
    }

    /// Numbers that a row's prediction has: one for each class, or one.
    pub fn results(&self) -> usize {
        match &self.description.target {
            Target::Classes { classes, .. } => classes.len(),
            Target::Number { .. } => 1,
        }
    }

    /// Calls `tell(number of the row in `rows`, prediction)` for each row: the probability of each class, which sum to 1, or the value
    /// in the table's own measure.
    ///
    /// Errors: `InvalidArgument` for a row that the table does not have, or a table of another description; those of `tell`.
    pub fn each(
        &mut self,
        table: &Bound,
        rows: &[u32],
        tell: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        if *table.description() != self.description {
            fail!(InvalidArgument, "the table is seen through another description than the model's");
        }
        let width = self.widths.0 + self.widths.1;
        for (batch, picked) in rows.chunks(BATCH).enumerate() {
            for (x, &row) in self.x.chunks_exact_mut(width.max(1)).zip(picked) {
                let (numbers, indices) = x.split_at_mut(self.widths.0);
                table.row(row as usize, numbers, &mut self.categories)?;
                indices.iter_mut().zip(&self.categories).for_each(|(x, id)| *x = *id as f32);
            }
            self.ctx.truncate(0, 0)?;
            self.ctx.forward_rows(&self.x[..picked.len() * width])?;
            for i in 0..picked.len() {
                let told = self.ctx.logits_mut(i)?;
                match &self.description.target {
                    Target::Classes { .. } => softmax(told),
                    Target::Number { mean, deviation, .. } => told.iter_mut().for_each(|y| *y = *y * deviation + mean),
                }
                tell(batch * BATCH + i, told)?;
            }
        }
        Ok(())
    }

    /// The predictions of all rows, `[rows][results]`.
    pub fn all(&mut self, table: &Bound, rows: &[u32]) -> Result<Vec<f32>> {
        let mut all = try_vec(rows.len().saturating_mul(self.results()), "predictions")?;
        self.each(table, rows, &mut |_, told| {
            all.extend_from_slice(told);
            Ok(())
        })?;
        Ok(all)
    }
}

/// Logits to probabilities.
fn softmax(x: &mut [f32]) {
    let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = x.iter().map(|&x| f64::from(x - most).exp()).sum();
    x.iter_mut().for_each(|x| *x = (f64::from(*x - most).exp() / sum) as f32);
}
