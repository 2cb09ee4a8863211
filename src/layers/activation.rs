//! Layers without parameters: scaling and soft-capping. (Activation functions need no layer of their own.)

use super::Run;
use crate::error::Result;
use crate::ops::elementwise;

/// y = factor * x, as Gemma scales its embeddings.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// The factor.
    pub factor: f32,
}

impl Scale {
    /// y = factor * x
    pub fn forward(&self, run: &Run, x: &[f32], y: &mut [f32]) -> Result<()> {
        y.copy_from_slice(x);
        run.exec.kernels.scale(y, self.factor);
        Ok(())
    }
}

/// y = cap * tanh(x / cap), as Gemma 2 bounds its logits.
#[derive(Clone, Copy, Debug)]
pub struct Softcap {
    /// The bound.
    pub cap: f32,
}

impl Softcap {
    /// y = cap * tanh(x / cap), rows of `width`.
    pub fn forward(&self, run: &Run, x: &[f32], width: usize, y: &mut [f32]) -> Result<()> {
        y.copy_from_slice(x);
        elementwise::softcap(&run.exec, y, self.cap, width)
    }
}

#[cfg(feature = "train")]
impl Softcap {
    /// The gradient `d` of y becomes that of `x`, rows of `width`.
    pub fn backward(&self, pass: &super::train::Pass, x: &[f32], width: usize, d: &mut [f32]) -> Result<()> {
        elementwise::softcap_backward(&pass.run.exec, x, self.cap, width, d)
    }
}
