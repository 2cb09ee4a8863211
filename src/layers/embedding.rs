//! Token embedding: a row of the table for each token.

#[cfg(feature = "train")]
use super::grads::{Grads, TableGrad};
#[cfg(feature = "train")]
use super::train::Pass;
use super::{Run, Weight};
use crate::error::Result;
use crate::ops::embedding::embedding;
#[cfg(feature = "train")]
use crate::ops::embedding::embedding_backward;

/// `[vocab][width]` rows, stored in any type.
#[derive(Clone, Copy, Debug)]
pub struct Embedding {
    /// The table.
    pub table: Weight,
}

impl Embedding {
    /// Width of a row.
    pub fn width(&self) -> usize {
        self.table.cols
    }

    /// `y[i] = table[token i]`
    pub fn forward(&self, run: &Run, y: &mut [f32]) -> Result<()> {
        embedding(&run.exec, &run.params.matrix(&self.table)?, run.tokens, y)
    }
}

#[cfg(feature = "train")]
impl Embedding {
    /// The table's gradient: `dw[token i] += dy[i]`.
    pub fn backward(&self, pass: &Pass, dy: &[f32], grads: &mut Grads) -> Result<()> {
        let (exec, tokens) = (&pass.run.exec, pass.run.tokens);
        match grads.table(&self.table) {
            Some(TableGrad::Dense(dw)) => embedding_backward(exec, tokens, dy, self.width(), dw),
            Some(TableGrad::Rows(rows)) => rows.add(exec, tokens, dy),
            None => Ok(()),
        }
    }
}
