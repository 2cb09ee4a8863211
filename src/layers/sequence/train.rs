//! The same in training.
//!
//! Of each layer's result it is kept what the way back needs, between the caches of the layers. A layer that costs next to nothing, such as a
//! norm, goes together with the one that reads it: its result is there for that one alone, and computed again on the way back.

use crate::error::Result;
use crate::layers::Layer;
use crate::layers::grads::Grads;
use crate::layers::keep::{Kept, kept};
use crate::layers::train::{Pass, PassSizes};
use crate::memory::{Frame, Need};

impl Layer {
    /// Whether computing it again costs next to nothing. It has no cache of its own then.
    fn is_slight(&self) -> bool {
        matches!(self, Layer::Norm(_) | Layer::Activation(_) | Layer::Scale(_) | Layer::Softcap(_) | Layer::Dropout(_))
    }
}

/// The layers in groups: a slight one and the one that reads it, or one alone; and the number of the first.
fn groups(layers: &[Layer]) -> impl Iterator<Item = (usize, &[Layer])> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let rest = layers.get(first..).filter(|rest| !rest.is_empty())?;
        let len = if rest[0].is_slight() { rest.len().min(2) } else { 1 };
        first += len;
        Some((first - len, &rest[..len]))
    })
}

/// Whether what layer `i` reads is not kept.
fn reads_again(layers: &[Layer], i: usize) -> bool {
    groups(layers).any(|(first, group)| group.len() == 2 && first + 1 == i)
}

/// The width of the rows after `layers`.
fn width_after(layers: &[Layer], width: usize) -> usize {
    layers.iter().fold(width, |width, layer| layer.out_width(width))
}

/// The widest of the results that are not kept; 0 where all are.
fn widest_passing(layers: &[Layer], width: usize) -> usize {
    let passing = groups(layers).filter(|(_, group)| group.len() == 2);
    passing.map(|(first, _)| width_after(&layers[..=first], width)).max().unwrap_or(0)
}

/// f32 elements of the forward cache of `layers` on rows of `width`.
pub fn cache_len(layers: &[Layer], s: PassSizes, width: usize) -> usize {
    let (mut sum, mut at) = (0usize, width);
    for (first, group) in groups(layers) {
        for layer in group {
            sum = sum.saturating_add(layer.cache_len(s, at));
            at = layer.out_width(at);
        }
        if first + group.len() < layers.len() {
            sum = sum.saturating_add(kept(s.rows.saturating_mul(at)));
        }
    }
    sum
}

/// Bytes that [`forward_train`] takes.
pub fn train_need(layers: &[Layer], s: PassSizes, width: usize) -> Need {
    let mut need = Need::new().take::<f32>(s.rows.saturating_mul(widest_passing(layers, width)));
    let mut at = width;
    for layer in layers {
        need = need.sub(layer.train_need(s, at));
        at = layer.out_width(at);
    }
    need
}

/// Bytes that [`backward`] takes.
pub fn backward_need(layers: &[Layer], s: PassSizes, width: usize, stop: usize, dx: bool) -> Need {
    let mut need = Need::new().take::<f32>(s.rows.saturating_mul(widest_passing(layers, width)));
    let (widest, between) = between(layers, width, stop);
    for _ in 0..between.min(2) {
        need = need.take::<f32>(s.rows.saturating_mul(widest));
    }
    let mut at = width;
    for (i, layer) in layers.iter().enumerate() {
        if i >= stop {
            need = need.sub(layer.backward_need(s, at, i > stop || (dx && stop == 0)));
        }
        at = layer.out_width(at);
    }
    need
}

/// The widest input of the layers after `stop`, and their number.
fn between(layers: &[Layer], width: usize, stop: usize) -> (usize, usize) {
    let (mut widest, mut at) = (0, width);
    for (i, layer) in layers.iter().enumerate() {
        if i > stop {
            widest = widest.max(at);
        }
        at = layer.out_width(at);
    }
    (widest, layers.len().saturating_sub(stop + 1))
}

/// Runs `layers` one after another on rows of `width`; the last one writes `y`. `cache` has the length of
/// [`cache_len`] for these rows.
#[allow(clippy::too_many_arguments)] // as the layers' own
pub fn forward_train(
    layers: &[Layer],
    pass: &Pass,
    frame: &mut Frame<'_>,
    s: PassSizes,
    x: &[f32],
    width: usize,
    y: &mut [f32],
    cache: &mut [f32],
) -> Result<()> {
    if layers.is_empty() {
        y.copy_from_slice(x);
        return Ok(());
    }
    let mut frame = frame.sub();
    let passing = frame.take::<f32>(s.rows * widest_passing(layers, width))?;
    let (mut x, mut at, mut cache) = (x, width, Kept(cache));
    let mut y = Some(y);
    for (first, group) in groups(layers) {
        let (mut input, mut wide) = (x, at);
        if let [slight, _] = group {
            let result = &mut passing[..s.rows * slight.out_width(at)];
            slight.forward_train(pass, &mut frame, x, at, result, cache.take(slight.cache_len(s, at)))?;
            (input, wide) = (result, slight.out_width(at));
        }
        let Some(layer) = group.last() else { continue };
        let own = cache.take(layer.cache_len(s, wide));
        let out = layer.out_width(wide);
        let last = if first + group.len() == layers.len() { y.take() } else { None };
        let result = match last {
            Some(y) => y,
            None => cache.take(s.rows * out),
        };
        layer.forward_train(pass, &mut frame, input, wide, result, own)?;
        (x, at) = (result, out);
    }
    Ok(())
}

/// Calls `f` with each layer but the last whose result [`forward_train`] left in `cache`, and with that, until it says false.
pub fn results(
    layers: &[Layer],
    s: PassSizes,
    width: usize,
    cache: &mut [f32],
    mut f: impl FnMut(usize, &[f32]) -> bool,
) {
    let (mut at, mut cache) = (width, Kept(cache));
    for (first, group) in groups(layers) {
        for layer in group {
            cache.take(layer.cache_len(s, at));
            at = layer.out_width(at);
        }
        let next = first + group.len();
        if next == layers.len() || !f(next - 1, cache.take(s.rows * at)) {
            return;
        }
    }
}

/// The way back through the layers from `stop` on: from `dy`, the gradient of the last one's result, to `dx`, that of `x`, which
/// is written only when no layer was left out. `x` and `cache` are those of [`forward_train`].
#[allow(clippy::too_many_arguments)] // as the layers' own
pub fn backward(
    layers: &[Layer],
    pass: &Pass,
    frame: &mut Frame<'_>,
    s: PassSizes,
    x: &[f32],
    width: usize,
    dy: &[f32],
    mut dx: Option<&mut [f32]>,
    cache: &mut [f32],
    grads: &mut Grads,
    stop: usize,
) -> Result<()> {
    if layers.is_empty() {
        if let Some(dx) = dx {
            dx.copy_from_slice(dy);
        }
        return Ok(());
    }
    let mut frame = frame.sub();
    let passing = frame.take::<f32>(s.rows * widest_passing(layers, width))?;
    let (widest, between) = between(layers, width, stop);
    let mut source: &mut [f32] = if between > 0 { frame.take(s.rows * widest)? } else { &mut [] };
    let mut target: &mut [f32] = if between > 1 { frame.take(s.rows * widest)? } else { &mut [] };
    let mut end = cache_len(layers, s, width);
    for (i, layer) in layers.iter().enumerate().skip(stop).rev() {
        let (at, again) = (width_after(&layers[..i], width), reads_again(layers, i));
        let first = end - layer.cache_len(s, at);
        let (before, own) = cache[..end].split_at_mut(first);
        // What was kept last lies in front of this layer's cache: the result of the layer before, or what that one read.
        let from = if again { i - 1 } else { i };
        let read = s.rows * width_after(&layers[..from], width);
        let kept = if from == 0 { 0 } else { kept(read) };
        let mut x = if from == 0 { x } else { &before[first - kept..][..read] };
        if again {
            let result = &mut passing[..s.rows * at];
            layers[from].forward_train(pass, &mut frame, x, read / s.rows.max(1), result, &mut [])?;
            x = result;
        }
        let last = i + 1 == layers.len();
        if i == stop {
            let dy = if last { dy } else { &source[..s.rows * layer.out_width(at)] };
            let dx = if stop == 0 { dx.take() } else { None };
            layer.backward(pass, &mut frame, x, at, dy, dx, own, grads)?;
        } else if last {
            layer.backward(pass, &mut frame, x, at, dy, Some(&mut source[..s.rows * at]), own, grads)?;
        } else {
            let dy = &source[..s.rows * layer.out_width(at)];
            layer.backward(pass, &mut frame, x, at, dy, Some(&mut target[..s.rows * at]), own, grads)?;
            std::mem::swap(&mut source, &mut target);
        }
        end = if again { first } else { first - kept };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Dropout, Residual, Scale};

    #[test]
    fn what_is_slight_goes_with_what_reads_it() {
        let slight = |n: usize| (0..n).map(|_| Layer::Scale(Scale { factor: 2.0 }));
        let heavy = || Layer::Residual(Residual { body: Vec::new() });
        let dropout = Layer::Dropout(Dropout { rate: 0.1, stream: 0 });
        // One, read by what is kept; three in a row; one at the end.
        let layers: Vec<Layer> =
            slight(1).chain([heavy(), heavy()]).chain(slight(3)).chain([heavy(), heavy(), dropout]).collect();
        let lens: Vec<(usize, usize)> = groups(&layers).map(|(first, group)| (first, group.len())).collect();
        assert_eq!(lens, [(0, 2), (2, 1), (3, 2), (5, 2), (7, 1), (8, 1)]);
        let again: Vec<usize> = (0..layers.len()).filter(|i| reads_again(&layers, *i)).collect();
        assert_eq!(again, [1, 4, 6]);
    }
}
