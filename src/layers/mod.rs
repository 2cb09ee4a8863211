//! Layers: what a model is a list of.
//!
//! Every layer maps rows of one width to rows of another, `y = f(x)`, each row of `x` to the same row of `y`. Only
//! attention looks at other rows: those before it in its sequence. A layer says what it needs
//! ([`Layer::need`]) in the order in which its forward pass takes it, and the plan is the sum.

pub mod activation;
#[cfg(feature = "train")]
mod adapted;
pub mod adapters;
pub mod attention;
pub mod dropout;
pub mod embedding;
pub mod features;
pub mod ffn;
#[cfg(feature = "train")]
pub mod grads;
#[cfg(feature = "train")]
pub mod keep;
pub mod linear;
pub mod moe;
pub mod norm;
pub mod param;
pub mod residual;
pub mod sequence;
#[cfg(feature = "train")]
pub mod sparse;
#[cfg(feature = "train")]
pub mod train;
#[cfg(feature = "train")]
pub mod trained;

pub use activation::{Scale, Softcap};
pub use attention::Attention;
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use features::Features;
pub use ffn::{Ffn, FfnKind};
pub use linear::Linear;
pub use moe::Moe;
pub use norm::Norm;
pub use param::{Params, Store, Vector, Weight};
pub use residual::Residual;

use crate::error::Result;
use crate::memory::{Frame, Need};
use crate::ops::Exec;
use crate::ops::activation::Activation;
use crate::ops::attend::{CacheShape, Place};
use crate::ops::rope::RopeStyle;

/// One layer of a model.
#[derive(Debug)]
pub enum Layer {
    /// Token ids to rows; only as the first layer.
    Embedding(Embedding),
    /// Numbers and category indices to rows of numbers and embeddings.
    Features(Features),
    /// RMSNorm or LayerNorm.
    Norm(Norm),
    /// A matrix product.
    Linear(Linear),
    /// An activation function.
    Activation(Activation),
    /// Multiplication by a number.
    Scale(Scale),
    /// cap * tanh(x / cap)
    Softcap(Softcap),
    /// Elements dropped at random, in training alone.
    Dropout(Dropout),
    /// Causal self-attention with its projections.
    Attention(Attention),
    /// A feed-forward network, plain or gated.
    Ffn(Ffn),
    /// A mixture of feed-forward networks.
    Moe(Moe),
    /// x + f(x)
    Residual(Residual),
}

/// Where one attention layer's keys and values lie in the cache of a context.
#[derive(Clone, Debug)]
pub struct CacheSlot {
    /// Shape of the keys, and of the values.
    pub shape: CacheShape,
    /// First byte of the keys; the values follow them.
    pub at: usize,
}

impl CacheSlot {
    /// Keys and values.
    pub fn split<'a>(&self, cache: &'a mut [u8]) -> (&'a mut [u8], &'a mut [u8]) {
        let bytes = self.shape.bytes().unwrap_or(0);
        cache[self.at..self.at + 2 * bytes].split_at_mut(bytes)
    }
}

/// Cosines and sines of one rotary embedding for the rows of a batch: each `[rows][half]`.
#[derive(Clone, Copy)]
pub struct RopeRows<'a> {
    /// Which elements pair.
    pub style: RopeStyle,
    /// Pairs that turn.
    pub half: usize,
    /// Cosines.
    pub cos: &'a [f32],
    /// Sines.
    pub sin: &'a [f32],
}

/// What a forward pass reads and writes beside its rows.
pub struct Run<'a> {
    /// Kernels and threads.
    pub exec: Exec<'a>,
    /// The parameters.
    pub params: Params<'a>,
    /// Token of each row, when the first layer is an embedding.
    pub tokens: &'a [u32],
    /// Place of each row.
    pub places: &'a [Place],
    /// The rotary embeddings of the model, for these rows.
    pub ropes: &'a [RopeRows<'a>],
    /// Where each attention layer's part of `cache` is.
    pub slots: &'a [CacheSlot],
    /// Keys and values of all attention layers.
    pub cache: &'a mut [u8],
}

/// What [`Layer::need`] depends on.
#[derive(Clone, Copy)]
pub struct Sizes<'a> {
    /// Rows of a batch.
    pub rows: usize,
    /// The greatest rank of an adapter; 0: there are none.
    pub rank: usize,
    /// Each attention layer's part of the cache.
    pub slots: &'a [CacheSlot],
}

impl Layer {
    /// Width of the layer's rows, given that of its input's.
    pub fn out_width(&self, width: usize) -> usize {
        match self {
            Layer::Embedding(l) => l.width(),
            Layer::Features(l) => l.out_width(),
            Layer::Linear(l) => l.out_width(),
            Layer::Attention(l) => l.out_width(),
            Layer::Ffn(l) => l.out_width(),
            Layer::Norm(_)
            | Layer::Activation(_)
            | Layer::Scale(_)
            | Layer::Softcap(_)
            | Layer::Dropout(_)
            | Layer::Moe(_)
            | Layer::Residual(_) => width,
        }
    }

    /// Bytes the forward pass takes from its frame for rows of `width`.
    pub fn need(&self, s: Sizes, width: usize) -> Need {
        match self {
            Layer::Linear(l) => l.need(s),
            Layer::Attention(l) => l.need(s),
            Layer::Ffn(l) => l.need(s),
            Layer::Moe(l) => l.need(s, width),
            Layer::Residual(l) => sequence::need(&l.body, s, width),
            _ => Need::new(),
        }
    }

    /// Bytes of scratch each thread needs.
    pub fn scratch(&self, slots: &[CacheSlot]) -> usize {
        match self {
            Layer::Linear(l) => l.scratch(),
            Layer::Attention(l) => l.scratch(slots),
            Layer::Ffn(l) => l.scratch(),
            Layer::Moe(l) => l.scratch(),
            Layer::Residual(l) => l.body.iter().map(|l| l.scratch(slots)).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// Calls `f` with each matrix that a product is taken with, and the number of experts whose matrices lie one after another in it. A
    /// router chooses and is none of them.
    pub fn products(&self, f: &mut dyn FnMut(&Weight, usize)) {
        match self {
            Layer::Linear(l) => f(&l.w, 1),
            Layer::Attention(l) => [&l.q, &l.k, &l.v, &l.o].into_iter().for_each(|l| f(&l.w, 1)),
            Layer::Ffn(l) => l.products(f),
            Layer::Moe(l) => l.products(f),
            Layer::Residual(l) => l.body.iter().for_each(|l| l.products(f)),
            _ => {}
        }
    }

    /// Whether a row of the result depends on other rows.
    pub fn looks_back(&self) -> bool {
        match self {
            Layer::Attention(_) => true,
            Layer::Residual(l) => l.body.iter().any(Layer::looks_back),
            _ => false,
        }
    }

    /// y = f(x), for rows of `width` elements.
    pub fn forward(&self, run: &mut Run, frame: &mut Frame<'_>, x: &[f32], width: usize, y: &mut [f32]) -> Result<()> {
        run.exec.check_cancel()?;
        match self {
            Layer::Embedding(l) => l.forward(run, y),
            Layer::Features(l) => l.forward(run, x, y),
            Layer::Norm(l) => l.forward(run, x, y),
            Layer::Linear(l) => l.forward(run, frame, x, y),
            Layer::Activation(act) => crate::ops::activation::activation(&run.exec, *act, x, width, y),
            Layer::Scale(l) => l.forward(run, x, y),
            Layer::Softcap(l) => l.forward(run, x, width, y),
            Layer::Dropout(_) => {
                y.copy_from_slice(x);
                Ok(())
            }
            Layer::Attention(l) => l.forward(run, frame, x, y),
            Layer::Ffn(l) => l.forward(run, frame, x, y),
            Layer::Moe(l) => l.forward(run, frame, x, width, y),
            Layer::Residual(l) => l.forward(run, frame, x, width, y),
        }
    }
}
