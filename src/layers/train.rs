//! Training passes: a forward pass that keeps what the backward pass needs, and the backward pass.
//!
//! What is kept is one block of f32, the forward cache. Each layer has a part of it whose length it says ([`Layer::cache_len`]), the
//! same in both passes; how layers follow each other is in [`super::sequence`]. A backward pass consumes the cache: the next one
//! needs another forward pass. Gradients of parameters are added to [`Grads`]; the frozen have none, and cost nothing.

use super::grads::Grads;
use super::keep::{self, Keep};
use super::trained::{Param, Trained};
use super::{Layer, RopeRows, Run};
use crate::error::Result;
use crate::memory::{Frame, Need};
use crate::ops::activation::activation_backward;
use crate::ops::dropout::Noise;

/// What a training pass reads beside its rows.
pub struct Pass<'a> {
    /// As in inference, without caches.
    pub run: Run<'a>,
    /// Rows of each sequence, one after another; together all rows. No sequence sees another.
    pub lens: &'a [u32],
    /// The rotary embeddings of `run`, their sines negated.
    pub back: &'a [RopeRows<'a>],
    /// What is kept for the way back.
    pub keep: Keep,
    /// Whether products with frozen blocks round what goes in to 8 bits, as inference does; the way back is that of exact ones.
    pub eight: bool,
    /// Random numbers of dropout.
    pub noise: Noise,
    /// What is trained.
    pub trained: &'a Trained,
}

impl Pass<'_> {
    /// The sizes of this pass over `rows` rows.
    pub fn sizes(&self, rows: usize) -> PassSizes<'_> {
        let longest = self.lens.iter().max().map_or(0, |&len| len as usize);
        PassSizes { rows, longest, keep: self.keep, eight: self.eight, trained: self.trained }
    }
}

/// What the sizes of a training pass depend on.
#[derive(Clone, Copy)]
pub struct PassSizes<'a> {
    /// Rows of a batch.
    pub rows: usize,
    /// Rows of the longest sequence.
    pub longest: usize,
    /// As [`Pass::keep`].
    pub keep: Keep,
    /// As [`Pass::eight`].
    pub eight: bool,
    /// What is trained.
    pub trained: &'a Trained,
}

impl Layer {
    /// What kind of layer it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Layer::Embedding(_) => "embedding",
            Layer::Features(_) => "features",
            Layer::Norm(_) => "norm",
            Layer::Linear(_) => "linear",
            Layer::Activation(_) => "activation",
            Layer::Scale(_) => "scale",
            Layer::Softcap(_) => "softcap",
            Layer::Dropout(_) => "dropout",
            Layer::Attention(_) => "attention",
            Layer::Ffn(_) => "feed-forward",
            Layer::Moe(_) => "experts",
            Layer::Residual(l) => l.body.iter().map(Layer::kind).find(|k| *k != "norm").unwrap_or("residual"),
        }
    }

    /// Calls `f` with each parameter, those of layers inside too.
    pub fn params(&self, f: &mut dyn FnMut(Param)) {
        match self {
            Layer::Embedding(l) => f(Param::Matrix(l.table)),
            Layer::Features(l) => l.params(f),
            Layer::Norm(l) => l.params(f),
            Layer::Linear(l) => l.params(f),
            Layer::Attention(l) => l.params(f),
            Layer::Ffn(l) => l.params(f),
            Layer::Moe(l) => l.params(f),
            Layer::Residual(l) => l.body.iter().for_each(|l| l.params(f)),
            Layer::Activation(_) | Layer::Scale(_) | Layer::Softcap(_) | Layer::Dropout(_) => {}
        }
    }

    /// f32 elements of the forward cache for rows of `width`.
    pub fn cache_len(&self, s: PassSizes, width: usize) -> usize {
        match self {
            Layer::Residual(l) => l.cache_len(s, width),
            _ => s.keep.stored(self.whole_len(s, width)),
        }
    }

    /// f32 elements of the cache that the layer itself works with, those of layers inside it apart.
    fn whole_len(&self, s: PassSizes, width: usize) -> usize {
        match self {
            Layer::Attention(l) => l.cache_len(s),
            Layer::Ffn(l) => l.cache_len(s.rows),
            Layer::Moe(l) => l.cache_len(s.rows, width),
            _ => 0,
        }
    }

    /// The same, where it is not the cache that is kept.
    fn apart_len(&self, s: PassSizes, width: usize) -> usize {
        if s.keep == Keep::Bf16 { self.whole_len(s, width) } else { 0 }
    }

    fn apart_need(&self, s: PassSizes, width: usize) -> Need {
        Need::new().take::<f32>(self.apart_len(s, width))
    }

    /// Bytes that [`Layer::forward_train`] takes from its frame for rows of `width`.
    pub fn train_need(&self, s: PassSizes, width: usize) -> Need {
        self.apart_need(s, width).sub(match self {
            Layer::Linear(l) => l.train_need(s),
            Layer::Attention(l) => l.train_need(s),
            Layer::Ffn(l) => l.train_need(s),
            Layer::Moe(l) => l.train_need(s, width),
            Layer::Residual(l) => l.train_need(s, width),
            _ => Need::new(),
        })
    }

    /// Bytes that [`Layer::backward`] takes from its frame for rows of `width`. `dx`: whether the gradient of the input is wanted.
    pub fn backward_need(&self, s: PassSizes, width: usize, dx: bool) -> Need {
        self.apart_need(s, width).sub(match self {
            Layer::Norm(l) => l.backward_need(s, width, dx),
            Layer::Linear(l) => l.backward_need(s, dx),
            Layer::Attention(l) => l.backward_need(s, dx),
            Layer::Ffn(l) => l.backward_need(s, dx),
            Layer::Moe(l) => l.backward_need(s, width),
            Layer::Residual(l) => l.backward_need(s, width, dx),
            _ => Need::new(),
        })
    }

    /// Bytes of scratch each thread needs in training.
    pub fn train_scratch(&self, longest: usize) -> usize {
        match self {
            Layer::Linear(l) => l.train_scratch(),
            Layer::Attention(l) => l.train_scratch(longest),
            Layer::Ffn(l) => l.train_scratch(),
            Layer::Moe(l) => l.train_scratch(),
            Layer::Residual(l) => l.body.iter().map(|l| l.train_scratch(longest)).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// y = f(x), for rows of `width` elements; what [`Layer::backward`] needs goes into `cache`.
    pub fn forward_train(
        &self,
        pass: &Pass,
        frame: &mut Frame<'_>,
        x: &[f32],
        width: usize,
        y: &mut [f32],
        cache: &mut [f32],
    ) -> Result<()> {
        pass.run.exec.check_cancel()?;
        let apart = self.apart_len(pass.sizes(x.len().checked_div(width).unwrap_or(0)), width);
        if apart == 0 {
            return self.forward_whole(pass, frame, x, width, y, cache);
        }
        let mut frame = frame.sub();
        let whole = frame.take::<f32>(apart)?;
        self.forward_whole(pass, &mut frame, x, width, y, whole)?;
        keep::round(&pass.run.exec, whole, cache)
    }

    /// [`Layer::forward_train`] with a cache of f32.
    fn forward_whole(
        &self,
        pass: &Pass,
        frame: &mut Frame<'_>,
        x: &[f32],
        width: usize,
        y: &mut [f32],
        cache: &mut [f32],
    ) -> Result<()> {
        let run = &pass.run;
        match self {
            Layer::Embedding(l) => l.forward(run, y),
            Layer::Features(l) => l.forward(run, x, y),
            Layer::Norm(l) => l.forward(run, x, y),
            Layer::Linear(l) => l.forward_train(pass, frame, x, y),
            Layer::Activation(act) => crate::ops::activation::activation(&run.exec, *act, x, width, y),
            Layer::Scale(l) => l.forward(run, x, y),
            Layer::Softcap(l) => l.forward(run, x, width, y),
            Layer::Dropout(l) => l.forward_train(pass, x, width, y),
            Layer::Attention(l) => l.forward_train(pass, frame, x, y, cache),
            Layer::Ffn(l) => l.forward_train(pass, frame, x, y, cache),
            Layer::Moe(l) => l.forward_train(pass, frame, x, width, y, cache),
            Layer::Residual(l) => l.forward_train(pass, frame, x, width, y, cache),
        }
    }

    /// From `dy`, the gradient of the result, writes that of the input, `dx`, and adds to those of the parameters. `x` is the
    /// input of the forward pass that filled `cache`.
    #[allow(clippy::too_many_arguments)] // what a backward pass is
    pub fn backward(
        &self,
        pass: &Pass,
        frame: &mut Frame<'_>,
        x: &[f32],
        width: usize,
        dy: &[f32],
        dx: Option<&mut [f32]>,
        cache: &mut [f32],
        grads: &mut Grads,
    ) -> Result<()> {
        let exec = &pass.run.exec;
        exec.check_cancel()?;
        let apart = self.apart_len(pass.sizes(x.len().checked_div(width).unwrap_or(0)), width);
        let mut frame = frame.sub();
        let whole = frame.take::<f32>(apart)?;
        let (frame, cache) = match apart {
            0 => (&mut frame, cache),
            _ => {
                keep::widen(exec, cache, whole)?;
                (&mut frame, whole)
            }
        };
        match self {
            Layer::Embedding(l) => l.backward(pass, dy, grads),
            Layer::Features(l) => l.backward(pass, x, dy, dx, grads),
            Layer::Norm(l) => l.backward(pass, frame, x, dy, dx, grads),
            Layer::Linear(l) => l.backward(pass, frame, x, dy, dx, grads),
            Layer::Attention(l) => l.backward(pass, frame, x, dy, dx, cache, grads),
            Layer::Ffn(l) => l.backward(pass, frame, x, dy, dx, cache, grads),
            Layer::Moe(l) => l.backward(pass, frame, x, width, dy, dx, cache, grads),
            Layer::Residual(l) => l.backward(pass, frame, x, width, dy, dx, cache, grads),
            Layer::Activation(_) | Layer::Scale(_) | Layer::Softcap(_) | Layer::Dropout(_) => {
                let Some(dx) = dx else { return Ok(()) };
                if let Layer::Dropout(l) = self {
                    return l.forward_train(pass, dy, width, dx);
                }
                dx.copy_from_slice(dy);
                match self {
                    Layer::Activation(act) => activation_backward(exec, *act, x, width, dx),
                    Layer::Softcap(l) => l.backward(pass, x, width, dx),
                    Layer::Scale(l) => l.forward(&pass.run, dy, dx),
                    _ => Ok(()),
                }
            }
        }
    }
}
