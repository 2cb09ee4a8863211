//! Layers one after another.

#[cfg(feature = "train")]
mod train;

#[cfg(feature = "train")]
pub use train::{backward, backward_need, cache_len, forward_train, results, train_need};

use super::{Layer, Run, Sizes};
use crate::error::Result;
use crate::memory::{Frame, Need};

/// Bytes [`forward`] takes for rows of `width`.
pub fn need(layers: &[Layer], s: Sizes, width: usize) -> Need {
    let (spare, third) = turns(layers, width);
    let mut need = Need::new().take::<f32>(s.rows.saturating_mul(spare)).take::<f32>(s.rows.saturating_mul(third));
    let mut at = width;
    for layer in layers {
        need = need.sub(layer.need(s, at));
        at = layer.out_width(at);
    }
    need
}

/// Widths of the buffers that results between layers take. Every other one has the first; those between have the place of the last
/// result where they fit there, and else the second buffer.
fn turns(layers: &[Layer], width: usize) -> (usize, usize) {
    let (mut spare, mut third, mut at) = (0, 0, width);
    for (i, layer) in layers.iter().enumerate() {
        at = layer.out_width(at);
        match layers.len() - 1 - i {
            0 => {}
            after if after % 2 == 0 => third = third.max(at),
            _ => spare = spare.max(at),
        }
    }
    (spare, if third > at { third } else { 0 })
}

/// Runs `layers` one after another on rows of `width`; the last one writes `y`. Without layers, y = x.
pub fn forward(
    layers: &[Layer],
    run: &mut Run,
    frame: &mut Frame<'_>,
    x: &[f32],
    width: usize,
    rows: usize,
    y: &mut [f32],
) -> Result<()> {
    if layers.is_empty() {
        y.copy_from_slice(x);
        return Ok(());
    }
    let mut frame = frame.sub();
    let (spare, third) = turns(layers, width);
    let (spare, third) = (frame.take::<f32>(rows * spare)?, frame.take::<f32>(rows * third)?);
    let mut at = width;
    for (i, layer) in layers.iter().enumerate() {
        let (out, after) = (layer.out_width(at), layers.len() - 1 - i);
        let other = if after == 0 || third.is_empty() { &mut *y } else { &mut *third };
        let (from, to) = if after % 2 == 0 { (&*spare, other) } else { (&*other, &mut *spare) };
        let from = if i == 0 { x } else { &from[..rows * at] };
        layer.forward(run, &mut frame, from, at, &mut to[..rows * out])?;
        at = out;
    }
    Ok(())
}
