//! Sums, products and scalings of whole activations.

use super::{Exec, by_rows};
use crate::error::Result;

/// y += x, rows of `width` elements.
pub fn add(exec: &Exec, y: &mut [f32], x: &[f32], width: usize) -> Result<()> {
    by_rows(exec, x, y, x.len() / width.max(1), |_, x, y| exec.kernels.add(y, x))
}

/// y = cap * tanh(y / cap) (Gemma 2's soft-capping), rows of `width` elements.
pub fn softcap(exec: &Exec, y: &mut [f32], cap: f32, width: usize) -> Result<()> {
    let rows = y.len() / width.max(1);
    let shards = crate::threads::Shards::new(y);
    exec.pool.split(rows * width, 4096, |part| {
        // SAFETY: `split` gives every thread its own part.
        exec.kernels.softcap(unsafe { shards.part(part) }, cap)
    })
}

/// Of y = cap * tanh(x / cap): the gradient `d` of y becomes that of x; rows of `width` elements.
#[cfg(feature = "train")]
pub fn softcap_backward(exec: &Exec, x: &[f32], cap: f32, width: usize, d: &mut [f32]) -> Result<()> {
    by_rows(exec, x, d, x.len() / width.max(1), |_, x, d| exec.kernels.softcap_backward(d, cap, x))
}

/// sum += the rows of `x`, of `sum.len()` elements each, one after another: threads share the columns.
#[cfg(feature = "train")]
pub fn add_rows(exec: &Exec, x: &[f32], sum: &mut [f32]) -> Result<()> {
    let width = sum.len();
    let sum = crate::threads::Shards::new(sum);
    exec.pool.split(width, 16, |columns| {
        // SAFETY: `split` gives every thread its own columns.
        let sum = unsafe { sum.part(columns.clone()) };
        for row in x.chunks_exact(width) {
            exec.kernels.add(sum, &row[columns.clone()]);
        }
    })
}
