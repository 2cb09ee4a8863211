//! A linear layer: y = x w^T + b.

#[cfg(feature = "train")]
use super::adapted::Addition;
#[cfg(feature = "train")]
use super::grads::Grads;
#[cfg(feature = "train")]
use super::train::{Pass, PassSizes};
#[cfg(feature = "train")]
use super::trained::Param;
use super::{Run, Sizes, Vector, Weight};
use crate::error::Result;
use crate::memory::{Frame, Need};
#[cfg(feature = "train")]
use crate::ops::elementwise;
use crate::ops::low_rank;
use crate::ops::matmul::{Input, Product, matmul};
#[cfg(feature = "train")]
use crate::ops::matmul_rows;
#[cfg(feature = "train")]
use qorus_kernels::Type;
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

    /// Bytes the forward pass takes.
    pub fn need(&self, s: Sizes) -> Need {
        Need::new().sub(Input::need(Need::new(), s.rows, self.w.cols, self.w.ty.is_quantized())).sub(self.adapt_need(s))
    }

    /// Bytes that [`Linear::adapt`] takes.
    pub fn adapt_need(&self, s: Sizes) -> Need {
        low_rank::need(s.rows, self.w.rows, s.rank)
    }

    /// Bytes of scratch each thread needs.
    pub fn scratch(&self) -> usize {
        panel_bytes(self.w.cols)
    }

    /// y = x w^T + b
    pub fn forward(&self, run: &Run, frame: &mut Frame<'_>, x: &[f32], y: &mut [f32]) -> Result<()> {
        {
            let mut frame = frame.sub();
            let input = Input::new(&run.exec, &mut frame, x, self.w.cols, self.w.ty.is_quantized())?;
            matmul(&run.exec, &input, [self.product(run, y)?])?;
        }
        self.adapt(run, frame, x, y)
    }

    /// This layer as one product of a call of [`matmul`], writing `y`: [`Linear::adapt`] makes the layer's result of it.
    pub fn product<'a>(&self, run: &Run<'a>, y: &'a mut [f32]) -> Result<Product<'a>> {
        let bias = self.bias.filter(|_| !run.params.is_adapted(&self.w));
        Ok(Product { w: run.params.matrix(&self.w)?, bias: run.params.vector_opt(bias.as_ref())?, y })
    }

    /// Adds to `y = x w^T` what adapters do, and the bias then.
    pub fn adapt(&self, run: &Run, frame: &mut Frame<'_>, x: &[f32], y: &mut [f32]) -> Result<()> {
        if !run.params.is_adapted(&self.w) {
            return Ok(());
        }
        low_rank::low_rank(&run.exec, frame, x, self.w.cols, y, run.params.low_ranks(&self.w))?;
        if let Some(bias) = run.params.vector_opt(self.bias.as_ref())? {
            y.chunks_exact_mut(bias.len().max(1)).for_each(|y| run.exec.kernels.add(y, bias));
        }
        Ok(())
    }
}

#[cfg(feature = "train")]
impl Linear {
    /// Calls `f` with each parameter.
    pub fn params(&self, f: &mut dyn FnMut(Param)) {
        f(Param::Matrix(self.w));
        self.bias.iter().for_each(|bias| f(Param::Vector(*bias)));
    }

    /// Whether the product of the weights is the one that inference takes.
    fn rounds(&self, eight: bool, ty: Type) -> bool {
        eight && ty.is_quantized()
    }

    /// Bytes that the product of the weights takes.
    fn product_need(&self, s: PassSizes) -> Need {
        let frozen = !s.trained.has(&Param::Matrix(self.w));
        Input::need(Need::new(), s.rows, self.w.cols, frozen && self.rounds(s.eight, self.w.ty))
    }

    /// Bytes that [`Linear::forward_train`] takes.
    pub fn train_need(&self, s: PassSizes) -> Need {
        Need::new().sub(self.product_need(s)).sub(Addition::train_need(self, s))
    }

    /// Bytes that the way back takes. `dx`: as in [`Layer::backward_need`](super::Layer::backward_need).
    pub fn backward_need(&self, s: PassSizes, dx: bool) -> Need {
        let need = Need::new().sub(Addition::params_need(self, s, self.product_need(s)));
        if dx { need.sub(Addition::input_need(self, s)) } else { need }
    }

    /// Bytes of scratch each thread needs in training.
    pub fn train_scratch(&self) -> usize {
        self.scratch().max(matmul_rows::scratch(self.w.ty))
    }

    /// y = x w^T (+ bias)
    fn train_product(
        &self,
        pass: &Pass,
        frame: &mut Frame<'_>,
        x: &[f32],
        bias: Option<Vector>,
        y: &mut [f32],
    ) -> Result<()> {
        let (run, mut frame) = (&pass.run, frame.sub());
        let (w, bias) = (run.params.matrix(&self.w)?, run.params.vector_opt(bias.as_ref())?);
        if !self.rounds(pass.eight, w.ty) {
            return matmul_rows::matmul_rows(&run.exec, x, &w, bias, y);
        }
        let input = Input::new(&run.exec, &mut frame, x, self.w.cols, true)?;
        matmul(&run.exec, &input, [Product { w, bias, y }])
    }

    /// y = x w^T + b, and what is added. Nothing is kept: the way back needs `x`.
    pub fn forward_train(&self, pass: &Pass, frame: &mut Frame<'_>, x: &[f32], y: &mut [f32]) -> Result<()> {
        let Some(addition) = Addition::of(pass, self)? else {
            return self.train_product(pass, frame, x, self.bias, y);
        };
        self.train_product(pass, frame, x, None, y)?;
        addition.forward(pass, frame, x, y)?;
        if let Some(bias) = pass.run.params.vector_opt(self.bias.as_ref())? {
            y.chunks_exact_mut(bias.len().max(1)).for_each(|y| pass.run.exec.kernels.add(y, bias));
        }
        Ok(())
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
        self.backward_params(pass, frame, x, dy, grads)
    }

    /// dx = dy w, or dx += dy w to `accumulate`; through what is added too.
    pub fn backward_input(
        &self,
        pass: &Pass,
        frame: &mut Frame<'_>,
        dy: &[f32],
        accumulate: bool,
        dx: &mut [f32],
    ) -> Result<()> {
        let (exec, mut frame) = (&pass.run.exec, frame.sub());
        let w = pass.run.params.matrix(&self.w)?;
        let Some(addition) = Addition::of(pass, self)? else {
            return matmul_rows::matmul_backward(exec, dy, &w, accumulate, dx);
        };
        let g = addition.stretched(pass, &mut frame, dy)?;
        matmul_rows::matmul_backward(exec, g, &w, accumulate, dx)?;
        addition.backward_input(pass, &mut frame, g, dx)
    }

    /// dw += dy^T x, db += the sum of the rows of dy, and the gradients of what is added.
    pub fn backward_params(
        &self,
        pass: &Pass,
        frame: &mut Frame<'_>,
        x: &[f32],
        dy: &[f32],
        grads: &mut Grads,
    ) -> Result<()> {
        let exec = &pass.run.exec;
        if let Some(addition) = Addition::of(pass, self)? {
            let mut frame = frame.sub();
            let g = addition.stretched(pass, &mut frame, dy)?;
            let again = |frame: &mut Frame<'_>, y: &mut [f32]| self.train_product(pass, frame, x, None, y);
            addition.backward_params(pass, &mut frame, x, (dy, g), grads, again)?;
        }
        if let Some(dw) = grads.matrix(&self.w) {
            matmul_rows::matmul_backward_weight(exec, x, &pass.run.params.matrix(&self.w)?, dy, dw)?;
        }
        if let Some(db) = self.bias.and_then(|bias| grads.vector(&bias)) {
            elementwise::add_rows(exec, dy, db)?;
        }
        Ok(())
    }
}
