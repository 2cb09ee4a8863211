//! Feed-forward networks: plain (MLP) and gated (SwiGLU, GeGLU).

use super::{Linear, Run};
use crate::error::Result;
use crate::memory::{Frame, Need};
use crate::ops::activation::{self, Activation};
use crate::ops::matmul::{Input, matmul};

/// A feed-forward network of one hidden layer.
#[derive(Clone, Copy, Debug)]
pub struct Ffn {
    /// Plain or gated.
    pub kind: FfnKind,
    /// Between the layers.
    pub act: Activation,
    /// Input to hidden.
    pub up: Linear,
    /// Hidden to output.
    pub down: Linear,
}

/// How the hidden layer is made.
#[derive(Clone, Copy, Debug)]
pub enum FfnKind {
    /// down(act(up x))
    Plain,
    /// down(act(gate x) * up x) (Shazeer, arXiv 2002.05202)
    Gated(Linear),
}

impl Ffn {
    /// Width of the result.
    pub fn out_width(&self) -> usize {
        self.down.out_width()
    }

    fn quantized(&self) -> bool {
        let gate = matches!(&self.kind, FfnKind::Gated(gate) if gate.w.ty.is_quantized());
        gate || self.up.w.ty.is_quantized()
    }

    /// Bytes the forward pass takes for `rows` rows.
    pub fn need(&self, rows: usize) -> Need {
        let hidden = rows.saturating_mul(self.up.out_width());
        let need = Need::new().take::<f32>(hidden).take::<f32>(hidden);
        need.sub(Input::need(Need::new(), rows, self.up.w.cols, self.quantized())).sub(self.down.need(rows))
    }

    /// Bytes of scratch each thread needs.
    pub fn scratch(&self) -> usize {
        self.up.scratch().max(self.down.scratch())
    }

    /// y = ffn(x)
    pub fn forward(&self, run: &Run, frame: &mut Frame<'_>, x: &[f32], y: &mut [f32]) -> Result<()> {
        let mut frame = frame.sub();
        let width = self.up.out_width();
        let rows = x.len() / self.up.w.cols.max(1);
        let hidden = frame.take::<f32>(rows * width)?;
        let other = frame.take::<f32>(rows * width)?;
        {
            let mut frame = frame.sub();
            let input = Input::new(&run.exec, &mut frame, x, self.up.w.cols, self.quantized())?;
            match &self.kind {
                FfnKind::Gated(gate) => {
                    let gate = gate.product(run, hidden)?;
                    matmul(&run.exec, &input, [gate, self.up.product(run, other)?])?;
                }
                FfnKind::Plain => matmul(&run.exec, &input, [self.up.product(run, other)?])?,
            }
        }
        match &self.kind {
            FfnKind::Gated(_) => activation::gated(&run.exec, self.act, hidden, other, width)?,
            FfnKind::Plain => activation::activation(&run.exec, self.act, other, width, hidden)?,
        }
        self.down.forward(run, &mut frame, hidden, y)
    }
}
