//! A model as data: its layers, and what they need beside them. Made without reading a weight.

use super::rope::Rope;
use crate::error::{Code, Error, Result, fail, try_vec};
use crate::gguf::Gguf;
use crate::layers::param::{Store, Tensors};
use crate::layers::{CacheSlot, Layer, Weight};
use crate::memory::align_up;
use crate::ops::attend::CacheShape;
use qorus_kernels::{Isa, Kernels, Type};
use std::sync::Arc;

/// A tensor to be kept as f32: the elements from `at` of the resident values.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Index of the tensor in the file.
    pub tensor: usize,
    /// First element.
    pub at: usize,
    /// Elements.
    pub len: usize,
}

/// Heads of keys and values of one attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvHeads {
    /// How many.
    pub n_kv: usize,
    /// Elements of each.
    pub head_dim: usize,
}

/// A matrix that an adapter may add to.
#[derive(Clone, Debug)]
pub struct Adaptable {
    /// The whole tensor.
    pub w: Weight,
    /// Matrices in it.
    pub experts: usize,
    /// Its name in the file; `output.weight` for the head, also where that is the embedding.
    pub name: String,
    /// Whether it makes the logits.
    pub head: bool,
}

/// A list of layers, and what a context must provide for them.
#[derive(Debug, Default)]
pub struct Graph {
    /// The architecture's name.
    pub arch: String,
    /// The layers, in order.
    pub layers: Vec<Layer>,
    /// Width of the rows that go in; 0 when tokens do.
    pub in_width: usize,
    /// Rotary embeddings that attention layers name by index.
    pub ropes: Vec<Rope>,
    /// Caches that attention layers name by index.
    pub caches: Vec<KvHeads>,
    /// Tensors to keep as f32.
    pub loads: Vec<Load>,
    /// Resident values in all.
    pub resident: usize,
    /// Longest context the model was trained for; 0 when it is not said.
    pub ctx_train: usize,
}

impl Graph {
    /// Width of the rows that come out: the vocabulary, for a language model.
    pub fn out_width(&self) -> usize {
        self.layers.iter().fold(self.in_width, |width, layer| layer.out_width(width))
    }

    /// Entries of the token embedding; 0 when rows go in instead of tokens.
    pub fn vocab(&self) -> usize {
        match self.layers.first() {
            Some(Layer::Embedding(e)) => e.table.rows,
            _ => 0,
        }
    }

    /// The layers from this index on treat each row alone, so only rows whose result is wanted go through them.
    pub fn head(&self) -> usize {
        self.layers.iter().rposition(Layer::looks_back).map_or(0, |i| i + 1).max(self.vocab().min(1))
    }

    /// The layers before this index make a row's embedding; those from it on, the logits.
    pub fn embedding_end(&self) -> usize {
        let tail = |l: &Layer| matches!(l, Layer::Linear(_) | Layer::Softcap(_) | Layer::Scale(_));
        let trailing = self.layers.iter().rev().take_while(|l| tail(l)).count();
        (self.layers.len() - trailing).max(self.head())
    }

    /// Width of the rows after the layers before `end`.
    pub fn width_at(&self, end: usize) -> usize {
        self.layers[..end].iter().fold(self.in_width, |width, layer| layer.out_width(width))
    }

    /// The matrices that an adapter may add to, each whole, in the order of the layers, with their names in the file.
    pub fn adaptable(&self, gguf: Option<&Gguf>) -> Result<Vec<Adaptable>> {
        let mut all: Vec<Adaptable> = Vec::new();
        let (end, mut failed) = (self.embedding_end(), false);
        for (i, layer) in self.layers.iter().enumerate() {
            layer.products(&mut |w, experts| {
                let rows = w.first_row() + w.rows;
                if let Some(known) = all.iter_mut().find(|known| known.w.tensor() == w.tensor()) {
                    known.w.rows = known.w.rows.max(rows);
                    return;
                }
                let (head, info) = (i >= end && self.vocab() > 0, gguf.and_then(|g| g.tensors().get(w.tensor())));
                let name = match gguf.zip(info) {
                    _ if head => "output.weight".to_owned(),
                    Some((gguf, info)) => gguf.tensor_name(info).to_owned(),
                    None => format!("matrix {}", w.tensor()),
                };
                failed |= all.try_reserve(1).is_err();
                if !failed {
                    all.push(Adaptable { w: Weight::new(w.ty, rows, w.cols, w.tensor(), 0), experts, name, head });
                }
            });
        }
        if failed {
            fail!(OutOfMemory, "no memory for a list of the matrices");
        }
        Ok(all)
    }

    /// Each attention layer's part of a cache of `seqs` sequences of `ctx` positions in storage type `ty`, and the
    /// bytes of the whole.
    pub fn cache_slots(&self, ty: Type, seqs: usize, ctx: usize) -> Result<(Vec<CacheSlot>, usize)> {
        let mut slots = try_vec(self.caches.len(), "cache slots")?;
        let mut at = 0usize;
        for (i, &KvHeads { n_kv, head_dim }) in self.caches.iter().enumerate() {
            let shape = CacheShape { ty, seqs, ctx, n_kv, head_dim };
            if shape.row_bytes().is_none() {
                fail!(
                    Shape,
                    "keys and values as {} need heads in multiples of {} elements, attention {i} has {head_dim}: use F16",
                    ty.name(),
                    ty.block_len()
                );
            }
            let end = shape.bytes().and_then(|b| at.checked_add(b.checked_mul(2)?)).and_then(align_up);
            let Some(end) = end else {
                fail!(Budget, "a cache of {seqs} sequences of {ctx} positions does not fit the address space")
            };
            slots.push(CacheSlot { shape, at });
            at = end;
        }
        Ok((slots, at))
    }

    /// The store of a file's weights: matrices stay where they are, vectors are read as f32.
    pub fn load(&self, gguf: &Arc<Gguf>) -> Result<Store> {
        let internal = || Error::new(Code::Internal, "a vector lies outside the store");
        let mut resident: Vec<f32> = try_vec(self.resident, "resident weights")?;
        resident.resize(self.resident, 0.0);
        let kernels = Kernels::new(Isa::Scalar).ok_or_else(internal)?;
        for load in &self.loads {
            let info = gguf.tensors().get(load.tensor).ok_or_else(internal)?;
            let out = resident.get_mut(load.at..load.at + load.len).ok_or_else(internal)?;
            kernels.dequantize(info.ty, gguf.data(info), out);
        }
        for rope in &self.ropes {
            rope.check().map_err(|e| e.context(gguf.name()))?;
        }
        Ok(Store { tensors: Tensors::File(Arc::clone(gguf)), resident })
    }
}
