//! Token embedding: a row of the table for each token.

use super::{Run, Weight};
use crate::error::{Result, fail};

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
        let table = run.store.matrix(&self.table)?;
        let row_bytes = self.table.row_bytes();
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
