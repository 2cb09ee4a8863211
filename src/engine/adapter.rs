//! Adapters in memory: in their places on a model, ready for any of its contexts.

use super::model::Model;
use crate::adapter::{Adapter, Pair};
use crate::error::{Result, fail, try_vec};
use crate::gguf::Gguf;
use crate::layers::adapters::{Attached, Factor, Placed, Site, Sites};
use crate::layers::param::Tensors;
use crate::memory::Region;
use crate::models::Graph;
use crate::ops::Exec;
use crate::ops::low_rank;
use crate::threads::Shards;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// An adapter on a model: immutable, shared by any number of contexts of that model, each with a weight of its own.
pub struct LoadedAdapter {
    pub(super) model: Arc<Model>,
    pub(super) placed: Arc<Placed>,
}

/// What an adapter will need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdapterNeed {
    /// Bytes of its numbers.
    pub bytes: usize,
    /// The greatest rank of its pairs, for [`ContextParams::rank`](super::ContextParams::rank).
    pub rank: usize,
}

impl LoadedAdapter {
    /// What [`LoadedAdapter::new`] will need, from metadata alone. Errors as there.
    pub fn need(gguf: &Gguf, graph: &Graph, adapter: &Adapter) -> Result<AdapterNeed> {
        let sites = sites(graph, Some(gguf), gguf.tensors().len(), adapter)?;
        Ok(AdapterNeed { bytes: Placed::bytes(&sites), rank: sites.rank() })
    }

    /// Puts an adapter's numbers into their places, and measures the rows of matrices that it brings to a length.
    ///
    /// Errors: those of [`Adapter::check_whole`]; `Shape` naming a tensor that the model has not, or in another shape; `OutOfMemory`.
    pub fn new(model: &Arc<Model>, adapter: &Adapter) -> Result<LoadedAdapter> {
        adapter.check_whole()?;
        let sites = sites(&model.graph, model.gguf.as_deref(), tensors(model), adapter)?;
        let mut values = try_vec(sites.len(), "an adapter's numbers")?;
        values.resize(sites.len(), 0.0);
        for (site, pair) in sites.list().iter().zip(&adapter.pairs) {
            place(site, pair, &mut values);
        }
        let lengths = measure(model, &sites, &values)?;
        let placed = Arc::new(Placed::new(sites, values, lengths)?);
        Ok(LoadedAdapter { model: Arc::clone(model), placed })
    }

    pub(super) fn attached(&self, weight: f32) -> Attached {
        Attached { adapter: Arc::clone(&self.placed), weight }
    }

    /// The model it is on.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The greatest rank of its pairs.
    pub fn rank(&self) -> usize {
        self.placed.sites().rank()
    }

    /// Bytes in memory.
    pub fn reserved(&self) -> usize {
        self.placed.reserved()
    }
}

/// The lengths that rows have with an adapter, where there are wanted ones.
pub(crate) fn measure(model: &Model, sites: &Sites, values: &[f32]) -> Result<Vec<f32>> {
    let (runtime, mut lengths) = (&model.runtime, try_vec(sites.rows(), "lengths of rows")?);
    lengths.resize(sites.rows(), 0.0);
    let each = sites.list().iter().map(|site| low_rank::lengths_scratch(site.w.cols)).max().unwrap_or(0);
    let each = if lengths.is_empty() { 0 } else { each.next_multiple_of(64) };
    let mut scratch = Region::new(each.saturating_mul(runtime.pool.len()))?;
    let scratch = Shards::new(scratch.bytes_mut());
    let (kernels, pool, never) = (&runtime.kernels, &runtime.pool, AtomicBool::new(false));
    let exec = Exec { kernels, pool, scratch: &scratch, scratch_bytes: each, cancel: &never };
    sites.measure(&exec, &model.store, values, &mut lengths)?;
    Ok(lengths)
}

/// Tensors of a model's store.
pub(crate) fn tensors(model: &Model) -> usize {
    match &model.store.tensors {
        Tensors::File(gguf) => gguf.tensors().len(),
        Tensors::Own(own) => own.len(),
    }
}

/// Where an adapter's pairs go, in their order.
fn sites(graph: &Graph, gguf: Option<&Gguf>, tensors: usize, adapter: &Adapter) -> Result<Sites> {
    let (all, mut sites) = (graph.adaptable(gguf)?, Sites::new(tensors)?);
    for pair in &adapter.pairs {
        let Some(found) = all.iter().find(|known| known.name == pair.tensor) else {
            fail!(
                Shape,
                "{}: changes the tensor {:?}, of which the model makes no product: it is an adapter of another model",
                adapter.name,
                pair.tensor
            );
        };
        let there = (found.w.rows / found.experts.max(1), found.w.cols, found.experts);
        if there != (pair.rows, pair.cols, pair.experts) {
            fail!(
                Shape,
                "{}: the pair of {:?} is for {} matrices of [{}][{}], the model has {} of [{}][{}]: it is an adapter of another model",
                adapter.name,
                pair.tensor,
                pair.experts,
                pair.rows,
                pair.cols,
                there.2,
                there.0,
                there.1
            );
        }
        sites.add(found.w, found.experts, pair.rank, adapter.scale(pair), pair.magnitude.is_some())?;
    }
    Ok(sites)
}

/// Copies a pair to its place among the numbers of all sites.
pub(crate) fn place(site: &Site, pair: &Pair, values: &mut [f32]) {
    let part = |factor: Factor| {
        let (at, len) = site.factor(factor);
        at..at + len
    };
    values[part(Factor::A)].copy_from_slice(&pair.a);
    let (rank, rows) = (site.rank, site.rows());
    let turned = values[part(Factor::B)].chunks_exact_mut((rank * rows).max(1));
    for (to, from) in turned.zip(pair.b.chunks_exact((rank * rows).max(1))) {
        transpose(from, rank, to);
    }
    if let Some(magnitude) = &pair.magnitude {
        values[part(Factor::Magnitude)].copy_from_slice(magnitude);
    }
}

/// Rows of `cols` to columns.
pub(crate) fn transpose(from: &[f32], cols: usize, to: &mut [f32]) {
    let rows = from.len() / cols.max(1);
    for (i, row) in from.chunks_exact(cols.max(1)).enumerate() {
        row.iter().enumerate().for_each(|(j, x)| to[j * rows + i] = *x);
    }
}
