//! What a training pass over a whole graph needs, and how one is begun.

use super::Graph;
use super::rope::{self, MAX_ROPES};
use crate::error::{Result, fail};
use crate::layers::keep::Keep;
use crate::layers::sequence;
use crate::layers::train::{Pass, PassSizes};
use crate::layers::trained::Trained;
use crate::layers::{Dropout, Layer, Params, Run};
use crate::memory::{Frame, Need};
use crate::ops::Exec;
use crate::ops::attend::Place;
use crate::ops::dropout::Noise;

/// The rows of a training pass.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    /// Token of each row; none when rows go in.
    pub tokens: &'a [u32],
    /// Place of each row: of its position the rotary embeddings are made.
    pub places: &'a [Place],
    /// Rows of each sequence, one after another; together all rows. No sequence sees another.
    pub lens: &'a [u32],
}

/// How a training pass is run.
#[derive(Clone, Copy)]
pub struct Mode {
    /// What is kept for the way back.
    pub keep: Keep,
    /// Whether products with frozen blocks round what goes in to 8 bits, as inference does.
    pub eight: bool,
    /// Random numbers of dropout.
    pub noise: Noise,
}

/// Layers that drop elements.
fn dropouts(layers: &[Layer]) -> u16 {
    let count = |layer: &Layer| match layer {
        Layer::Dropout(_) => 1,
        Layer::Residual(branch) => dropouts(&branch.body),
        _ => 0,
    };
    layers.iter().map(count).sum()
}

impl Graph {
    /// Drops elements at random, with that probability, of the embedding and of what each residual branch adds (Radford et al.,
    /// 2019). In inference nothing is dropped.
    pub fn add_dropout(&mut self, rate: f32) -> Result<()> {
        if !(0.0..1.0).contains(&rate) {
            fail!(InvalidArgument, "elements are dropped with probability {rate}, expected 0 to less than 1");
        }
        let mut streams = dropouts(&self.layers)..;
        let mut next = || Layer::Dropout(Dropout { rate, stream: streams.next().unwrap_or(0) });
        for layer in &mut self.layers {
            if let Layer::Residual(branch) = layer {
                branch.body.push(next());
            }
        }
        if self.vocab() > 0 {
            self.layers.insert(1, next());
        }
        Ok(())
    }

    /// f32 elements of the forward cache of the layers before `end`.
    pub fn train_cache_len(&self, s: PassSizes, end: usize) -> usize {
        sequence::cache_len(&self.layers[..end], s, self.in_width)
    }

    /// Bytes that [`Graph::with_pass`] takes, and within it the passes forward and back over the layers before `end`, the latter
    /// down to layer `stop`. `dx`: whether the gradient of the rows that go in is wanted.
    pub fn train_need(&self, s: PassSizes, end: usize, stop: usize, dx: bool) -> Need {
        let layers = &self.layers[..end];
        let forward = sequence::train_need(layers, s, self.in_width);
        let backward = sequence::backward_need(layers, s, self.in_width, stop, dx);
        rope::train_need(&self.ropes, s.rows).sub(forward).sub(backward)
    }

    /// Bytes of scratch each thread needs in training, when the longest sequence has `longest` rows.
    pub fn train_scratch(&self, longest: usize) -> usize {
        let most = self.layers.iter().map(|layer| layer.train_scratch(longest)).max().unwrap_or(0);
        Need::new().take::<u8>(most).peak()
    }

    /// Calls `f` with a pass over `batch`, and with what is left of the frame.
    #[allow(clippy::too_many_arguments)] // what a pass is made of
    pub fn with_pass<R>(
        &self,
        exec: Exec,
        params: Params,
        trained: &Trained,
        batch: Batch,
        mode: Mode,
        frame: &mut Frame,
        f: impl FnOnce(&Pass, &mut Frame) -> Result<R>,
    ) -> Result<R> {
        let (rows, listed) = (batch.places.len(), batch.lens.iter().map(|&len| len as usize).sum::<usize>());
        if listed != rows || (self.vocab() > 0 && batch.tokens.len() != rows) {
            fail!(Shape, "{rows} places for {} tokens in sequences of {listed}", batch.tokens.len());
        }
        if self.ropes.len() > MAX_ROPES {
            fail!(Unsupported, "{} rotary embeddings: at most {MAX_ROPES}", self.ropes.len());
        }
        let mut frame = frame.sub();
        let longest = batch.lens.iter().max().map_or(0, |&len| len as usize);
        let ropes = rope::rows(&self.ropes, longest, batch.places, &mut frame)?;
        let back = rope::back(&ropes, self.ropes.len(), &mut frame)?;
        let run = Run {
            exec,
            params,
            tokens: batch.tokens,
            places: batch.places,
            ropes: &ropes[..self.ropes.len()],
            slots: &[],
            cache: &mut [],
        };
        let back = &back[..self.ropes.len()];
        let Mode { keep, eight, noise } = mode;
        let pass = Pass { run, lens: batch.lens, back, keep, eight, noise, trained };
        f(&pass, &mut frame)
    }
}
