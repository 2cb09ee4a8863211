//! RMSNorm and LayerNorm over the last dimension.

use super::{Exec, by_rows};
use crate::error::Result;
#[cfg(feature = "train")]
use crate::memory::{Frame, Need};
#[cfg(feature = "train")]
use crate::threads::Shards;

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

/// Rows whose parts of a weight's gradient are added one after another; their sums are added in order.
#[cfg(feature = "train")]
fn chunk(rows: usize) -> usize {
    const CHUNKS: usize = 32;
    rows.div_ceil(CHUNKS).max(16)
}

/// What the backward passes take for `rows` rows of `width`.
#[cfg(feature = "train")]
pub fn backward_need(rows: usize, width: usize) -> Need {
    let partial = rows.div_ceil(chunk(rows)).saturating_mul(width);
    Need::new().take::<f32>(partial).take::<f32>(partial)
}

/// A parameter of a norm.
#[cfg(feature = "train")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The factors.
    Weight,
    /// What is added.
    Bias,
}

/// Of [`rmsnorm`], or of [`layernorm`] where `layer` says so: writes `dx`, and calls `add` with what is to be
/// added to the gradients of weight and bias, several times each.
#[cfg(feature = "train")]
pub fn norm_backward(
    exec: &Exec,
    frame: &mut Frame<'_>,
    layer: bool,
    (x, weight, eps): (&[f32], &[f32], f32),
    dy: &[f32],
    dx: &mut [f32],
    mut add: impl FnMut(Part, &[f32]),
) -> Result<()> {
    let (width, mut frame) = (weight.len(), frame.sub());
    let rows = x.len() / width.max(1);
    let step = chunk(rows);
    let chunks = rows.div_ceil(step);
    let dw = frame.take::<f32>(chunks * width)?;
    let db = frame.take::<f32>(chunks * width)?;
    {
        let (dx, dw, db) = (Shards::new(dx), Shards::new(&mut *dw), Shards::new(&mut *db));
        exec.pool.split(chunks, 1, |part| {
            for chunk in part {
                let sums = chunk * width..(chunk + 1) * width;
                // SAFETY: a chunk belongs to one thread.
                let (dw, db) = unsafe { (dw.part(sums.clone()), db.part(sums)) };
                dw.fill(0.0);
                db.fill(0.0);
                for row in chunk * step..rows.min((chunk + 1) * step) {
                    let at = row * width..(row + 1) * width;
                    // SAFETY: as above.
                    let (x, dy, dx) = (&x[at.clone()], &dy[at.clone()], unsafe { dx.part(at) });
                    match layer {
                        true => exec.kernels.layernorm_backward((x, weight, eps), dy, dx, (&mut *dw, &mut *db)),
                        false => exec.kernels.rmsnorm_backward(x, weight, eps, dy, dx, dw),
                    }
                }
            }
        })?;
    }
    for (part, sums) in [(Part::Weight, &*dw), (Part::Bias, &*db)] {
        sums.chunks_exact(width.max(1)).for_each(|sums| add(part, sums));
    }
    Ok(())
}
