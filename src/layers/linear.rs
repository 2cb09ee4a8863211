//! A linear layer: y = x w^T + b.

use super::{Run, Vector, Weight};
use crate::error::Result;
use crate::memory::{Frame, Need};
use crate::ops::matmul::{Input, Product, matmul};
use qorus_kernels::panel_bytes;

/// Weights `[out][in]` in any storage type, and a bias.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// The weights.
    pub w: Weight,
    /// Added to each row.
    pub bias: Option<Vector>,
}

impl Linear {
    /// Width of the result.
    pub fn out_width(&self) -> usize {
        self.w.rows
    }

    /// Bytes the forward pass takes for `rows` rows.
    pub fn need(&self, rows: usize) -> Need {
        Input::need(Need::new(), rows, self.w.cols, self.w.ty.is_quantized())
    }

    /// Bytes of scratch each thread needs.
    pub fn scratch(&self) -> usize {
        panel_bytes(self.w.cols)
    }

    /// y = x w^T + b
    pub fn forward(&self, run: &Run, frame: &mut Frame<'_>, x: &[f32], y: &mut [f32]) -> Result<()> {
        let mut frame = frame.sub();
        let input = Input::new(&run.exec, &mut frame, x, self.w.cols, self.w.ty.is_quantized())?;
        matmul(&run.exec, &input, [self.product(run, y)?])
    }

    /// This layer as one product of a call of [`matmul`], writing `y`.
    pub fn product<'a>(&self, run: &Run<'a>, y: &'a mut [f32]) -> Result<Product<'a>> {
        Ok(Product { w: run.store.matrix(&self.w)?, bias: run.store.vector_opt(self.bias.as_ref())?, y })
    }
}
