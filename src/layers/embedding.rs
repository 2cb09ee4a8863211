//! Token embedding: a row of the table for each token.

#[cfg(feature = "train")]
use super::train::Pass;
#[cfg(feature = "train")]
use super::trained::Grads;
use super::{Run, Weight};
use crate::error::{Result, fail};
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
        let table = run.params.matrix(&self.table)?;
        let row_bytes = table.bytes.len() / table.rows.max(1);
        if y.len() != run.tokens.len() * self.width() {
            fail!(Shape, "{} tokens for {} elements of width {}", run.tokens.len(), y.len(), self.width());
        }
        for (&token, row) in run.tokens.iter().zip(y.chunks_exact_mut(self.width().max(1))) {
            let token = token as usize;
            if token >= table.rows {
                fail!(InvalidArgument, "token {token} is outside the vocabulary of {}", table.rows);
            }
            run.exec.kernels.dequantize(table.ty, &table.bytes[token * row_bytes..][..row_bytes], row);
        }
        Ok(())
    }
}

#[cfg(feature = "train")]
impl Embedding {
    /// The table's gradient: `dw[token i] += dy[i]`.
    pub fn backward(&self, pass: &Pass, dy: &[f32], grads: &mut Grads) -> Result<()> {
        match grads.matrix(&self.table) {
            Some(dw) => embedding_backward(&pass.run.exec, pass.run.tokens, dy, self.width(), dw),
            None => Ok(()),
        }
    }
}
