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
    by_rows(exec, up, gate, up.len() / width.max(1), |_, up, gate| act.gate(exec.kernels, gate, up))
}

impl Activation {
    /// gate = act(gate) * up
    fn gate(self, k: &qorus_kernels::Kernels, gate: &mut [f32], up: &[f32]) {
        match self {
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
        }
    }
}

/// y = act(gate) * up, rows of `width` elements.
#[cfg(feature = "train")]
pub fn gated_to(exec: &Exec, act: Activation, gate: &[f32], up: &[f32], width: usize, y: &mut [f32]) -> Result<()> {
    by_rows(exec, gate, y, gate.len() / width.max(1), |row, gate, y| {
        y.copy_from_slice(gate);
        act.gate(exec.kernels, y, &up[row * width..][..width]);
    })
}

#[cfg(feature = "train")]
impl Activation {
    /// d = d * act'(x)
    fn backward(self, k: &qorus_kernels::Kernels, d: &mut [f32], x: &[f32]) {
        match self {
            Activation::Relu => k.relu_backward(d, x),
            Activation::Silu => k.silu_backward(d, x),
            Activation::Gelu => k.gelu_backward(d, x),
            Activation::GeluErf => k.gelu_erf_backward(d, x),
        }
    }
}

/// d = d * act'(x): the gradient of [`activation`]'s result becomes that of `x`; rows of `width` elements.
#[cfg(feature = "train")]
pub fn activation_backward(exec: &Exec, act: Activation, x: &[f32], width: usize, d: &mut [f32]) -> Result<()> {
    by_rows(exec, x, d, x.len() / width.max(1), |_, x, d| act.backward(exec.kernels, d, x))
}

/// Of h = act(gate) * up and its gradient `d`: `gate` and `up` become their gradients and `d` becomes h; rows of `width`
/// elements.
#[cfg(feature = "train")]
pub fn gated_backward(
    exec: &Exec,
    act: Activation,
    gate: &mut [f32],
    up: &mut [f32],
    d: &mut [f32],
    width: usize,
) -> Result<()> {
    use crate::threads::Shards;
    let (k, rows) = (exec.kernels, d.len() / width.max(1));
    let (gate, up, d) = (Shards::new(gate), Shards::new(up), Shards::new(d));
    exec.pool.split(rows, 1, |part| {
        let part = part.start * width..part.end * width;
        // SAFETY: each row belongs to one thread.
        let (gate, up, d) = unsafe { (gate.part(part.clone()), up.part(part.clone()), d.part(part)) };
        match act {
            Activation::Silu => k.silu_mul_backward(gate, up, d),
            Activation::Gelu => k.gelu_mul_backward(gate, up, d),
            Activation::Relu | Activation::GeluErf => {
                let parts = gate.chunks_mut(64).zip(up.chunks_mut(64)).zip(d.chunks_mut(64));
                for ((gate, up), d) in parts {
                    let (mut act_of, mut d_gate) = ([0.0; 64], [0.0; 64]);
                    let (act_of, d_gate) = (&mut act_of[..d.len()], &mut d_gate[..d.len()]);
                    act_of.copy_from_slice(gate);
                    if act == Activation::Relu {
                        k.relu(act_of)
                    } else {
                        k.gelu_erf(act_of)
                    }
                    d_gate.copy_from_slice(d);
                    k.mul(d_gate, up);
                    act.backward(k, d_gate, gate);
                    gate.copy_from_slice(d_gate);
                    // d act(gate) for up, then act(gate) up for h.
                    k.mul(d, act_of);
                    k.mul(act_of, up);
                    up.copy_from_slice(d);
                    d.copy_from_slice(act_of);
                }
            }
        }
    })
}
