//! What learns: writable copies of what is trained of a model, their gradients, the optimizer, and the memory of one pass.
//!
//! The model itself stays shared and as it was. All memory is reserved when the trainer is made, by a plan that can be had
//! before; passes and steps allocate nothing.

use super::adapter::{self, AdapterParams};
use super::clip::{self, Clip};
use super::compare::Compared;
use super::distill::Distill;
use super::gradients::GradientsMut;
use super::layout::{Layout, name_of, reserved, slots};
use super::optim::{Group, Method, Optimizer, Outcome};
use super::preference::Preference;
use crate::adapter::Adapter;
use crate::engine::Model;
use crate::engine::adapter as engine;
use crate::error::{Result, fail, try_vec};
use crate::layers::keep::Keep;
use crate::layers::sparse::SparseRows;
use crate::layers::trained::{Param, Snapshot, Trained};
use crate::memory::{Need, Plan, Region};
use crate::ops::Exec;
use crate::threads::Shards;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What is to be made small.
#[derive(Clone, Debug)]
pub enum Objective {
    /// The cross-entropy of classes, as of the next token.
    Classes {
        /// The share of the target that is spread over all classes, from 0 to 1.
        smoothing: f32,
        /// A weight for each class.
        weights: Option<Vec<f32>>,
    },
    /// The mean squared error of values.
    Values,
    /// Answers compared with each other, and with what the base says of them: pairs of sequences, and a trained adapter.
    Preference(Preference),
    /// The cross-entropy of the next token, and the distance from a teacher's favourites.
    Distill(Distill),
}

impl Objective {
    /// Elements of a row of gradients that cannot take the place of the predictions.
    pub(super) fn gradient_width(&self, out: usize) -> usize {
        let apart = match self {
            Objective::Values => true,
            Objective::Distill(distill) => distill.needs_place(),
            Objective::Classes { .. } | Objective::Preference(_) => false,
        };
        if apart { out } else { 0 }
    }
}

impl Objective {
    /// A teacher's logits of each row.
    pub(super) fn top(&self) -> usize {
        if let Objective::Distill(distill) = self { distill.top } else { 0 }
    }

    /// `InvalidArgument` for numbers out of range.
    fn check(&self) -> Result<()> {
        match self {
            Objective::Preference(preference) => preference.check(),
            Objective::Distill(distill) => distill.check(),
            Objective::Classes { .. } | Objective::Values => Ok(()),
        }
    }
}

impl Default for Objective {
    fn default() -> Self {
        Objective::Classes { smoothing: 0.0, weights: None }
    }
}

/// What a trainer is made for.
#[derive(Clone, Debug)]
pub struct TrainerParams {
    /// The most rows (tokens) of a pass.
    pub rows: usize,
    /// The most rows of a sequence.
    pub longest: usize,
    /// Passes of a step, whose rows a run holds at once.
    pub passes: usize,
    /// Rows whose logits are there at once; 0: as many as take 32 MB, and 128 at least of a head that is not stored as F32.
    pub slice: usize,
    /// Rows of a pass that have a target at most, as far as is known: no more logits are there at once. 0: all may.
    pub counts: usize,
    /// What of a forward pass is kept for the way back.
    pub keep: Keep,
    /// What is to be made small.
    pub objective: Objective,
    /// How weights follow their gradients.
    pub method: Method,
    /// Of matrices, and of norms and biases.
    pub groups: [Group; 2],
    /// An adapter to train beside what else is.
    pub adapter: Option<AdapterParams>,
    /// Whether the products of frozen blocks round what goes in to 8 bits on the way forward, as inference does. The way back is that of
    /// exact products.
    pub eight: bool,
    /// Whether the gradient of an embedding that no other layer shares is kept by rows, where a step reads less than half of them. A step
    /// then takes no more than [`TrainerParams::passes`] passes.
    pub sparse: bool,
    /// Decides dropout, and what an adapter begins with.
    pub seed: u64,
    /// Bytes the plan may come to beyond the mapped file; 0: no limit.
    pub budget: usize,
}

impl Default for TrainerParams {
    fn default() -> Self {
        TrainerParams {
            rows: 1024,
            longest: 1024,
            passes: 1,
            slice: 0,
            counts: 0,
            keep: Keep::F32,
            objective: Objective::default(),
            method: Method::AdamW(super::optim::Betas::default()),
            groups: Group::pair(0.01),
            adapter: None,
            eight: false,
            sparse: false,
            seed: 0,
            budget: 0,
        }
    }
}

/// See the module.
pub struct Trainer {
    pub(super) model: Arc<Model>,
    pub(super) params: TrainerParams,
    pub(super) layout: Layout,
    pub(super) trained: Arc<Trained>,
    optimizer: Optimizer,
    pub(super) values: Region,
    pub(super) grads: Region,
    /// Of those the ones that are kept by rows.
    pub(super) rows: Option<SparseRows>,
    /// Of the rows that an adapter brings to lengths, the ones they have with the values of now where `measured` says so.
    pub(super) lengths: Vec<f32>,
    measured: bool,
    /// Whether passes leave the adapter out.
    pub(super) plain: bool,
    pub(super) cache: Region,
    pub(super) work: Region,
    pub(super) scratch: Region,
    pub(super) cancel: Arc<AtomicBool>,
    /// The number of the pass whose forward half was taken alone, and of which all is still there.
    pub(super) kept: Option<u64>,
    /// Pairs of the pass under way.
    pub(super) compared: Compared,
}

impl Trainer {
    /// Copies what `wanted` names of the model's parameters, by the tensor's name, begins an adapter where the parameters have one, and
    /// reserves all memory.
    ///
    /// Errors: `Budget` says what was needed; `InvalidArgument` for sizes and numbers out of range, and when nothing is trained.
    pub fn new(model: &Arc<Model>, params: &TrainerParams, wanted: impl Fn(&str) -> bool) -> Result<Trainer> {
        params.objective.check()?;
        let (graph, store) = (&model.graph, &model.store);
        let name = |param: &Param| name_of(model, param);
        let trained = Trained::new(&graph.layers, store, |param| wanted(&name(param)))?;
        let trained = adapter::begin(trained, graph, model.gguf.as_deref(), engine::tensors(model), params)?;
        if trained.is_empty() {
            fail!(InvalidArgument, "no parameter of the model is to be trained: name some, or all");
        }
        let slots = slots(&trained, name)?;
        let layout = Layout::new(graph, &trained, &slots, params)?;
        let plan = reserved(model, layout.plan(&trained, &slots, &params.method, model.runtime.pool.len()));
        if params.budget > 0 {
            plan.check(params.budget)?;
        }
        let block = Need::new().take::<f32>(trained.len()).peak();
        let mut values = Region::large(block)?;
        trained.load(store, &model.runtime.kernels, floats(&mut values, trained.len()))?;
        // What was copied is read here no more: it need not stay in memory twice.
        if let Some(gguf) = &model.gguf {
            gguf.release();
        }
        let mut lengths = try_vec(trained.sites().rows(), "lengths of rows")?;
        lengths.resize(trained.sites().rows(), 0.0);
        Ok(Trainer {
            model: Arc::clone(model),
            optimizer: Optimizer::new(params.method, &params.groups, slots)?,
            values,
            lengths,
            measured: false,
            plain: false,
            grads: Region::large(layout.gradients(&trained))?,
            rows: layout.table.map(SparseRows::new).transpose()?,
            cache: Region::large(Need::new().take::<f32>(layout.cache).peak())?,
            work: Region::large(layout.work.peak())?,
            scratch: Region::large(layout.scratch.saturating_mul(model.runtime.pool.len()))?,
            trained: Arc::new(trained),
            params: params.clone(),
            layout,
            cancel: Arc::new(AtomicBool::new(false)),
            kept: None,
            compared: Compared::new(&params.objective, params.rows)?,
        })
    }

    /// The model, as it was before.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// What it was made for.
    pub fn params(&self) -> &TrainerParams {
        &self.params
    }

    /// What is trained.
    pub fn trained(&self) -> &Arc<Trained> {
        &self.trained
    }

    /// The optimizer; its list names the tensors.
    pub fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// The same, to restore or to change its numbers.
    pub fn optimizer_mut(&mut self) -> &mut Optimizer {
        &mut self.optimizer
    }

    /// The trained values, in the places of [`Trainer::trained`].
    pub fn values(&self) -> &[f32] {
        &bytemuck::cast_slice(self.values.bytes())[..self.trained.len()]
    }

    /// The same, to restore.
    pub fn values_mut(&mut self) -> &mut [f32] {
        self.measured = false;
        floats(&mut self.values, self.trained.len())
    }

    /// The trained values of this moment, for contexts of the model.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::new(&self.trained, self.values(), &self.lengths_now()?)
    }

    /// Brings a snapshot of this trainer up to date.
    pub fn update(&self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.update(self.values(), &self.lengths_now()?)
    }

    fn lengths_now(&self) -> Result<Vec<f32>> {
        let sites = self.trained.sites();
        engine::measure(&self.model, sites, self.trained.adapter(self.values()))
    }

    /// Whether passes leave the adapter out, so that they are those of the base; to begin with they do not. Such a pass is for its loss or
    /// its results: it has no gradients.
    pub fn set_plain(&mut self, plain: bool) {
        (self.plain, self.kept) = (plain, None);
    }

    /// The adapter as it is now, without a name and the base's hash. `State` when none is trained.
    pub fn adapter(&self) -> Result<Adapter> {
        adapter::export(self)
    }

    /// The same at the end: what else the trainer holds is given back first, so that it takes no more memory than training did.
    pub fn into_adapter(mut self) -> Result<Adapter> {
        for region in [&mut self.grads, &mut self.cache, &mut self.work] {
            *region = Region::new(0)?;
        }
        adapter::export(&self)
    }

    /// Goes on from an adapter. Errors: `Shape` when it is not one of just the tensors, ranks and scales that are trained.
    pub fn set_adapter(&mut self, from: &Adapter) -> Result<()> {
        adapter::import(self, from)
    }

    /// Measures the rows that the adapter brings to lengths, unless that was done.
    pub(super) fn measure(&mut self) -> Result<()> {
        let Trainer { model, layout, trained, values, lengths, scratch, cancel, measured, .. } = self;
        if !*measured && !lengths.is_empty() {
            let scratch = Shards::new(scratch.bytes_mut());
            let exec = exec(model, &scratch, layout.scratch, cancel);
            let values = &bytemuck::cast_slice(values.bytes())[..trained.len()];
            trained.sites().measure(&exec, &model.store, trained.adapter(values), lengths)?;
        }
        *measured = true;
        Ok(())
    }

    /// The gradients, likewise; where those of the first parameter are kept by rows, from the second on.
    pub fn grads(&self) -> &[f32] {
        &bytemuck::cast_slice(self.grads.bytes())[..self.layout.flat(&self.trained)]
    }

    /// The same, to change.
    pub fn grads_mut(&mut self) -> &mut [f32] {
        floats(&mut self.grads, self.layout.flat(&self.trained))
    }

    /// Setting it stops the running call at its next operation with `Cancelled`; gradients are then of no use.
    pub fn cancel_flag(&self) -> &Arc<AtomicBool> {
        &self.cancel
    }

    /// The bytes that model and trainer have reserved, by class.
    pub fn reserved(&self) -> Plan {
        let (slots, threads) = (self.optimizer.slots(), self.model.runtime.pool.len());
        reserved(&self.model, self.layout.plan(&self.trained, slots, &self.params.method, threads))
    }

    /// The greatest number of bytes in use so far, of those the plan calls activations.
    pub fn high_water(&self) -> usize {
        self.work.high_water()
    }

    /// One step with the gradients so far; they become zeros. Where one is NaN or infinite nothing is changed.
    pub fn step(&mut self, rate: f64, clip: Clip) -> Result<Outcome> {
        (self.kept, self.measured) = (None, false);
        let Trainer { model, layout, trained, optimizer, values, grads, rows, work, scratch, cancel, .. } = self;
        let scratch = Shards::new(scratch.bytes_mut());
        let exec = exec(model, &scratch, layout.scratch, cancel);
        let (values, flat) = (floats(values, trained.len()), floats(grads, layout.flat(trained)));
        let grads = GradientsMut::with_rows(flat, rows.as_mut());
        work.with_frame(|frame| optimizer.step(&exec, frame, (values, grads), (rate, 1.0, clip)))
    }

    /// Makes all gradients 0.
    pub fn zero_grad(&mut self) -> Result<()> {
        let Trainer { model, layout, trained, grads, rows, scratch, cancel, .. } = self;
        let scratch = Shards::new(scratch.bytes_mut());
        let exec = exec(model, &scratch, layout.scratch, cancel);
        if let Some(rows) = rows {
            rows.clear();
        }
        clip::zero_one(&exec, floats(grads, layout.flat(trained)))
    }
}

/// What runs operations on the model's threads.
pub(super) fn exec<'a>(
    model: &'a Model,
    scratch: &'a Shards<'a, u8>,
    bytes: usize,
    cancel: &'a AtomicBool,
) -> Exec<'a> {
    let runtime = &model.runtime;
    Exec { kernels: &runtime.kernels, pool: &runtime.pool, scratch, scratch_bytes: bytes, cancel }
}

/// The first `len` floats of a region.
pub(super) fn floats(region: &mut Region, len: usize) -> &mut [f32] {
    &mut bytemuck::cast_slice_mut(region.bytes_mut())[..len]
}
