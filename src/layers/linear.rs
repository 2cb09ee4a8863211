//! A linear layer: y = x w^T + b.

#[cfg(feature = "train")]
use super::train::{Pass, PassSizes};
#[cfg(feature = "train")]
use super::trained::{Grads, Param};
use super::{Run, Vector, Weight};
use crate::error::Result;
use crate::memory::{Frame, Need};
#[cfg(feature = "train")]
use crate::ops::elementwise;
#[cfg(feature = "train")]
use crate::ops::matmul::{self as back};
use crate::ops::matmul::{Input, Product, matmul};
use qorus_kernels::panel_bytes;
#[cfg(feature = "train")]
use qorus_kernels::{Type, gemm_bytes};

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
        Ok(Product { w: run.params.matrix(&self.w)?, bias: run.params.vector_opt(self.bias.as_ref())?, y })
    }
}

#[cfg(feature = "train")]
impl Linear {
    /// Calls `f` with each parameter.
    pub fn params(&self, f: &mut dyn FnMut(Param)) {
        f(Param::Matrix(self.w));
        self.bias.iter().for_each(|bias| f(Param::Vector(*bias)));
    }

    /// The type in which training finds the weights.
    fn train_type(&self, s: PassSizes) -> Type {
        if s.trained.has(&Param::Matrix(self.w)) { Type::F32 } else { self.w.ty }
    }

    /// Bytes that [`Linear::forward_train`] takes.
    pub fn train_need(&self, s: PassSizes) -> Need {
        if self.train_type(s) == Type::F32 { Need::new() } else { self.need(s.rows) }
    }

    /// Bytes that the way back takes. `dx`: as in [`Layer::backward_need`](super::Layer::backward_need).
    pub fn backward_need(&self, s: PassSizes, dx: bool) -> Need {
        let need = back::backward_need(self.train_type(s), self.w.rows, self.w.cols);
        if dx { need } else { Need::new() }
    }

    /// Bytes of scratch each thread needs in training.
    pub fn train_scratch(&self) -> usize {
        self.scratch().max(gemm_bytes())
    }

    /// y = x w^T + b. Nothing is kept: the way back needs `x`.
    pub fn forward_train(&self, pass: &Pass, frame: &mut Frame<'_>, x: &[f32], y: &mut [f32]) -> Result<()> {
        let run = &pass.run;
        let w = run.params.matrix(&self.w)?;
        match w.ty {
            Type::F32 => back::matmul_rows(&run.exec, x, &w, run.params.vector_opt(self.bias.as_ref())?, y),
            _ => self.forward(run, frame, x, y),
        }
    }

    /// dx = dy w, and the gradients of weights and bias.
    pub fn backward(
        &self,
        pass: &Pass,
        frame: &mut Frame<'_>,
        x: &[f32],
        dy: &[f32],
        dx: Option<&mut [f32]>,
        grads: &mut Grads,
    ) -> Result<()> {
        if let Some(dx) = dx {
            self.backward_input(pass, frame, dy, false, dx)?;
        }
        self.backward_params(pass, x, dy, grads)
    }

    /// dx = dy w, or dx += dy w to `accumulate`.
    pub fn backward_input(
        &self,
        pass: &Pass,
        frame: &mut Frame<'_>,
        dy: &[f32],
        accumulate: bool,
        dx: &mut [f32],
    ) -> Result<()> {
        let w = pass.run.params.matrix(&self.w)?;
        back::matmul_backward(&pass.run.exec, frame, dy, &w, accumulate, dx)
    }

    /// dw += dy^T x, db += the sum of the rows of dy.
    pub fn backward_params(&self, pass: &Pass, x: &[f32], dy: &[f32], grads: &mut Grads) -> Result<()> {
        let exec = &pass.run.exec;
        if let Some(dw) = grads.matrix(&self.w) {
            back::matmul_backward_weight(exec, x, &pass.run.params.matrix(&self.w)?, dy, dw)?;
        }
        if let Some(db) = self.bias.and_then(|bias| grads.vector(&bias)) {
            elementwise::add_rows(exec, dy, db)?;
        }
        Ok(())
    }
}
