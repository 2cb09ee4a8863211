//! RMSNorm and LayerNorm over the last dimension.

use super::{Exec, by_rows};
use crate::error::Result;

/// y = x / sqrt(mean(x^2) + eps) * weight, for `rows` rows of `weight.len()` elements.
pub fn rmsnorm(exec: &Exec, x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) -> Result<()> {
    let rows = x.len() / weight.len().max(1);
    by_rows(exec, x, y, rows, |_, x, y| exec.kernels.rmsnorm(x, weight, eps, y))
}

/// y = (x - mean) / sqrt(variance + eps) * weight + bias, for `rows` rows of `weight.len()` elements.
pub fn layernorm(exec: &Exec, x: &[f32], weight: &[f32], bias: Option<&[f32]>, eps: f32, y: &mut [f32]) -> Result<()> {
    let rows = x.len() / weight.len().max(1);
    by_rows(exec, x, y, rows, |_, x, y| exec.kernels.layernorm(x, weight, bias, eps, y))
}
