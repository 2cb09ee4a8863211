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
