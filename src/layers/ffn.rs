//! Feed-forward networks: plain (MLP) and gated (SwiGLU, GeGLU).

#[cfg(feature = "train")]
use super::grads::Grads;
#[cfg(feature = "train")]
use super::keep::{Kept, kept};
#[cfg(feature = "train")]
use super::train::{Pass, PassSizes};
#[cfg(feature = "train")]
use super::trained::Param;
use super::{Linear, Run, Sizes, Weight};
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

    /// Bytes the forward pass takes.
    pub fn need(&self, s: Sizes) -> Need {
        let hidden = s.rows.saturating_mul(self.up.out_width());
        let input = Input::need(Need::new(), s.rows, self.up.w.cols, self.quantized());
        let other = Need::new().take::<f32>(hidden).sub(input).sub(self.up.adapt_need(s));
        Need::new().take::<f32>(hidden).sub(other).sub(self.down.need(s))
    }

    /// As [`Layer::products`](super::Layer::products).
    pub fn products(&self, f: &mut dyn FnMut(&Weight, usize)) {
        self.gate().into_iter().chain([&self.up, &self.down]).for_each(|l| f(&l.w, 1));
    }

    fn gate(&self) -> Option<&Linear> {
        match &self.kind {
            FfnKind::Gated(gate) => Some(gate),
            FfnKind::Plain => None,
        }
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
        self.hidden(run, &mut frame, x, hidden)?;
        self.down.forward(run, &mut frame, hidden, y)
    }

    /// What goes into the second product. What is taken for it is given back: that product has a place of its own.
    fn hidden(&self, run: &Run, frame: &mut Frame<'_>, x: &[f32], hidden: &mut [f32]) -> Result<()> {
        let mut frame = frame.sub();
        let width = self.up.out_width();
        let other = frame.take::<f32>(hidden.len())?;
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
        if let FfnKind::Gated(gate) = &self.kind {
            gate.adapt(run, &mut frame, x, hidden)?;
        }
        self.up.adapt(run, &mut frame, x, other)?;
        match &self.kind {
            FfnKind::Gated(_) => activation::gated(&run.exec, self.act, hidden, other, width),
            FfnKind::Plain => activation::activation(&run.exec, self.act, other, width, hidden),
        }
    }
}

#[cfg(feature = "train")]
impl Ffn {
    /// Calls `f` with each parameter.
    pub fn params(&self, f: &mut dyn FnMut(Param)) {
        self.gate().into_iter().chain([&self.up, &self.down]).for_each(|l| l.params(f));
    }

    /// f32 elements of the forward cache: the hidden layer before its activation, gate and up.
    pub fn cache_len(&self, rows: usize) -> usize {
        let hidden = kept(rows.saturating_mul(self.up.out_width()));
        hidden.saturating_mul(if self.gate().is_some() { 2 } else { 1 })
    }

    /// Bytes that [`Ffn::forward_train`] takes.
    pub fn train_need(&self, s: PassSizes) -> Need {
        let need = Need::new().take::<f32>(s.rows.saturating_mul(self.up.out_width()));
        let need = self.gate().map_or(need, |gate| need.sub(gate.train_need(s)));
        need.sub(self.up.train_need(s)).sub(self.down.train_need(s))
    }

    /// Bytes that [`Ffn::backward`] takes. `dx`: whether that is wanted.
    pub fn backward_need(&self, s: PassSizes, dx: bool) -> Need {
        let hidden = s.rows.saturating_mul(self.up.out_width());
        let need = Need::new().take::<f32>(hidden).sub(self.down.backward_need(s, true));
        match self.gate() {
            Some(gate) => need.sub(gate.backward_need(s, dx)).sub(self.up.backward_need(s, dx)),
            None => {
                let active = Need::new().take::<f32>(hidden).sub(self.down.backward_need(s, false));
                need.sub(active).sub(self.up.backward_need(s, dx))
            }
        }
    }

    /// Bytes of scratch each thread needs in training.
    pub fn train_scratch(&self) -> usize {
        self.up.train_scratch().max(self.down.train_scratch())
    }

    /// y = ffn(x)
    pub fn forward_train(
        &self,
        pass: &Pass,
        frame: &mut Frame<'_>,
        x: &[f32],
        y: &mut [f32],
        cache: &mut [f32],
    ) -> Result<()> {
        let (mut frame, mut cache) = (frame.sub(), Kept(cache));
        let (exec, width) = (&pass.run.exec, self.up.out_width());
        let len = x.len() / self.up.w.cols.max(1) * width;
        let hidden = frame.take::<f32>(len)?;
        match self.gate() {
            Some(gate) => {
                let (open, up) = (cache.take(len), cache.take(len));
                gate.forward_train(pass, &mut frame, x, open)?;
                self.up.forward_train(pass, &mut frame, x, up)?;
                activation::gated_to(exec, self.act, open, up, width, hidden)?;
            }
            None => {
                let up = cache.take(len);
                self.up.forward_train(pass, &mut frame, x, up)?;
                activation::activation(exec, self.act, up, width, hidden)?;
            }
        }
        self.down.forward_train(pass, &mut frame, hidden, y)
    }

    /// The gradients of the input and of the parameters. The hidden layer is activated again.
    #[allow(clippy::too_many_arguments)] // as any layer's
    pub fn backward(
        &self,
        pass: &Pass,
        frame: &mut Frame<'_>,
        x: &[f32],
        dy: &[f32],
        mut dx: Option<&mut [f32]>,
        cache: &mut [f32],
        grads: &mut Grads,
    ) -> Result<()> {
        let (mut frame, mut cache) = (frame.sub(), Kept(cache));
        let (exec, width) = (&pass.run.exec, self.up.out_width());
        let len = x.len() / self.up.w.cols.max(1) * width;
        let hidden = frame.take::<f32>(len)?;
        self.down.backward_input(pass, &mut frame, dy, false, hidden)?;
        let Some(gate) = self.gate() else {
            let up = cache.take(len);
            {
                let mut frame = frame.sub();
                let active = frame.take::<f32>(len)?;
                activation::activation(exec, self.act, up, width, active)?;
                self.down.backward_params(pass, &mut frame, active, dy, grads)?;
            }
            activation::activation_backward(exec, self.act, up, width, hidden)?;
            return self.up.backward(pass, &mut frame, x, hidden, dx, grads);
        };
        let (open, up) = (cache.take(len), cache.take(len));
        activation::gated_backward(exec, self.act, open, up, hidden, width)?;
        self.down.backward_params(pass, &mut frame, hidden, dy, grads)?;
        gate.backward(pass, &mut frame, x, open, dx.as_deref_mut(), grads)?;
        if let Some(dx) = dx {
            self.up.backward_input(pass, &mut frame, up, true, dx)?;
        }
        self.up.backward_params(pass, &mut frame, x, up, grads)
    }
}
