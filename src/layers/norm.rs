//! RMSNorm and LayerNorm.

#[cfg(feature = "train")]
use super::grads::Grads;
#[cfg(feature = "train")]
use super::train::{Pass, PassSizes};
#[cfg(feature = "train")]
use super::trained::Param;
use super::{Run, Vector};
use crate::error::Result;
#[cfg(feature = "train")]
use crate::memory::{Frame, Need};
use crate::ops::norm;

/// Normalization of each row (or of each head of a row) over its last dimension.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// How.
    pub kind: NormKind,
    /// Factors; their number is the width that is normalized over.
    pub weight: Vector,
    /// Added afterwards.
    pub bias: Option<Vector>,
    /// Added to the mean square or the variance.
    pub eps: f32,
}

/// Which normalization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// x / sqrt(mean(x^2) + eps) (Zhang and Sennrich, arXiv 1910.07467)
    Rms,
    /// (x - mean) / sqrt(variance + eps) (Ba et al., arXiv 1607.06450)
    Layer,
}

impl Norm {
    /// y = norm(x), rows of any multiple of the norm's width.
    pub fn forward(&self, run: &Run, x: &[f32], y: &mut [f32]) -> Result<()> {
        let weight = run.params.vector(&self.weight)?;
        match self.kind {
            NormKind::Rms => norm::rmsnorm(&run.exec, x, weight, self.eps, y),
            NormKind::Layer => {
                norm::layernorm(&run.exec, x, weight, run.params.vector_opt(self.bias.as_ref())?, self.eps, y)
            }
        }
    }
}

#[cfg(feature = "train")]
impl Norm {
    /// Calls `f` with each parameter.
    pub fn params(&self, f: &mut dyn FnMut(Param)) {
        f(Param::Vector(self.weight));
        self.bias.iter().for_each(|bias| f(Param::Vector(*bias)));
    }

    fn is_trained(&self, trained: impl Fn(&Param) -> bool) -> bool {
        let mut any = false;
        self.params(&mut |param| any |= trained(&param));
        any
    }

    /// Bytes that [`Norm::backward`] takes for rows of `width`, a multiple of the norm's. `dx`: whether that is wanted.
    pub fn backward_need(&self, s: PassSizes, width: usize, dx: bool) -> Need {
        if !dx && !self.is_trained(|p| s.trained.has(p)) {
            return Need::new();
        }
        let need = if dx { Need::new() } else { Need::new().take::<f32>(s.rows.saturating_mul(width)) };
        let rows = s.rows.saturating_mul(width / self.weight.len.max(1));
        need.sub(norm::backward_need(rows, self.weight.len))
    }

    /// The gradients of the input, of the weight and of the bias.
    pub fn backward(
        &self,
        pass: &Pass,
        frame: &mut Frame<'_>,
        x: &[f32],
        dy: &[f32],
        dx: Option<&mut [f32]>,
        grads: &mut Grads,
    ) -> Result<()> {
        if dx.is_none() && !self.is_trained(|p| grads.has(p)) {
            return Ok(());
        }
        let mut frame = frame.sub();
        let dx = match dx {
            Some(dx) => dx,
            None => frame.take(x.len())?,
        };
        let of = (x, pass.run.params.vector(&self.weight)?, self.eps);
        let layer = self.kind == NormKind::Layer;
        norm::norm_backward(&pass.run.exec, &mut frame, layer, of, dy, dx, |part, values| {
            let sum = match part {
                norm::Part::Weight => grads.vector(&self.weight),
                norm::Part::Bias => self.bias.and_then(|bias| grads.vector(&bias)),
            };
            if let Some(sum) = sum {
                pass.run.exec.kernels.add(sum, values);
            }
        })
    }
}
