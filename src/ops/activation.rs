//! Activation functions, plain and gated.

use super::{Exec, by_rows};
use crate::error::Result;

/// An activation function, applied to each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// max(x, 0)
    Relu,
    /// x * sigmoid(x)
    Silu,
    /// GELU by its tanh approximation (Hendrycks and Gimpel, arXiv 1606.08415).
    Gelu,
    /// x * Phi(x)
    GeluErf,
}

/// y = act(x), rows of `width` elements.
pub fn activation(exec: &Exec, act: Activation, x: &[f32], width: usize, y: &mut [f32]) -> Result<()> {
    let k = exec.kernels;
    by_rows(exec, x, y, x.len() / width.max(1), |_, x, y| {
        y.copy_from_slice(x);
        match act {
            Activation::Relu => k.relu(y),
            Activation::Silu => k.silu(y),
            Activation::Gelu => k.gelu(y),
            Activation::GeluErf => k.gelu_erf(y),
        }
    })
}

/// gate = act(gate) * up, rows of `width` elements.
pub fn gated(exec: &Exec, act: Activation, gate: &mut [f32], up: &[f32], width: usize) -> Result<()> {
    let k = exec.kernels;
    by_rows(exec, up, gate, up.len() / width.max(1), |_, up, gate| match act {
        Activation::Silu => k.silu_mul(gate, up),
        Activation::Gelu => k.gelu_mul(gate, up),
        Activation::Relu => {
            k.relu(gate);
            k.mul(gate, up);
        }
        Activation::GeluErf => {
            k.gelu_erf(gate);
            k.mul(gate, up);
        }
    })
}
