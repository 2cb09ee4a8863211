//! RMSNorm and LayerNorm.

use super::{Run, Vector};
use crate::error::Result;
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
        let weight = run.store.vector(&self.weight)?;
        match self.kind {
            NormKind::Rms => norm::rmsnorm(&run.exec, x, weight, self.eps, y),
            NormKind::Layer => {
                norm::layernorm(&run.exec, x, weight, run.store.vector_opt(self.bias.as_ref())?, self.eps, y)
            }
        }
    }
}
