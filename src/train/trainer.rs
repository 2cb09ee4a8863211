//! What learns: writable copies of what is trained of a model, their gradients, the optimizer, and the memory of one pass.
//!
//! The model itself stays shared and as it was. All memory is reserved when the trainer is made, by a plan that can be had
//! before; passes and steps allocate nothing.

use super::clip::Clip;
use super::examples::{Examples, Slab};
use super::loss::{self, CrossEntropy, Logits, Targets, Total};
use super::optim::{Group, Method, Optimizer, Outcome};
use super::params::{Params as Slots, group_of};
use crate::engine::Model;
use crate::error::{Result, fail};
use crate::gguf::Gguf;
use crate::layers::Params;
use crate::layers::train::{
    PassSizes, sequence_backward, sequence_backward_need, sequence_cache_len, sequence_forward_train, sequence_results,
    sequence_train_need,
};
use crate::layers::trained::{Grads, Param, Snapshot, Trained, Values};
use crate::memory::{Need, Plan, Region};
use crate::models::Graph;
use crate::models::train::{Batch, Mode};
use crate::ops::Exec;
use crate::ops::dropout::Noise;
use crate::threads::{self, Shards};
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
}

impl Objective {
    /// Elements of a row of gradients that cannot take the place of the predictions.
    fn gradient_width(&self, out: usize) -> usize {
        if matches!(self, Objective::Values) { out } else { 0 }
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
    /// Rows whose logits are there at once; 0: as many as take 8 MB.
    pub slice: usize,
    /// Whether residual branches are computed again in the backward pass rather than kept.
    pub recompute: bool,
    /// What is to be made small.
    pub objective: Objective,
    /// How weights follow their gradients.
    pub method: Method,
    /// Of matrices, and of norms and biases.
    pub groups: [Group; 2],
    /// Decides dropout.
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
            recompute: false,
            objective: Objective::default(),
            method: Method::AdamW(super::optim::Betas::default()),
            groups: Group::pair(0.01),
            seed: 0,
            budget: 0,
        }
    }
}

/// Bytes of logits that a slice has unless the parameters say otherwise: few enough to stay near the cores, rows enough that
/// the head's gradient is seldom read and written.
const SLICE_BYTES: usize = 8 << 20;

/// The sizes of a pass, and of the memory it takes.
pub(super) struct Layout {
    /// Layers of the head begin here.
    pub(super) end: usize,
    /// Width of the rows that go into the head, and of its results.
    pub(super) width: usize,
    pub(super) out: usize,
    /// Rows of a slice.
    pub(super) slice: usize,
    /// Elements of the forward cache before the head, and of a slice's in it.
    cache: usize,
    pub(super) head: usize,
    work: Need,
    pub(super) scratch: usize,
    /// Bytes of a run's batches.
    batches: usize,
}

impl Layout {
    fn new(graph: &Graph, trained: &Trained, slots: &Slots, params: &TrainerParams) -> Result<Layout> {
        let &TrainerParams { rows, longest, slice, recompute, .. } = params;
        if rows == 0 || longest == 0 || longest > rows || u32::try_from(rows).is_err() {
            fail!(
                InvalidArgument,
                "a pass of {rows} rows, sequences of {longest} at most: give 1 to 2^32 - 1, the first not less"
            );
        }
        let values = matches!(params.objective, Objective::Values);
        let batches = Slab::bytes(graph, rows, values).saturating_mul(params.passes);
        let end = graph.embedding_end();
        let (width, out) = (graph.width_at(end), graph.out_width());
        let near = (SLICE_BYTES / 4 / out.max(1)).clamp(32, 1024);
        let slice = if slice == 0 { near } else { slice }.min(rows);
        let sizes = |rows| PassSizes { rows, longest, recompute, trained };
        let head = &graph.layers[end..];
        let cache = graph.train_cache_len(sizes(rows), end);
        let head_cache = sequence_cache_len(head, sizes(slice), width);
        let work = Need::new()
            .take::<f32>(rows.saturating_mul(width))
            .take::<f32>(rows.saturating_mul(width))
            .take::<f32>(slice.saturating_mul(out))
            .take::<f32>(slice.saturating_mul(params.objective.gradient_width(out)))
            .take::<f32>(head_cache);
        let pass = graph
            .train_need(sizes(rows), end, 0, false)
            .sub(sequence_train_need(head, sizes(slice), width))
            .sub(CrossEntropy::need(slice))
            .sub(loss::mse_need(slice.saturating_mul(out)))
            .sub(sequence_backward_need(head, sizes(slice), width, 0, true));
        let work = work.sub(pass).sub(Optimizer::step_need(slots));
        Ok(Layout {
            end,
            width,
            out,
            slice,
            cache,
            head: head_cache,
            work,
            scratch: graph.train_scratch(longest),
            batches,
        })
    }

    fn plan(&self, trained: &Trained, slots: &Slots, method: &Method, threads: usize) -> Plan {
        let block = Need::new().take::<f32>(trained.len()).peak();
        Plan {
            weights_resident: block,
            activations: self.work.peak(),
            forward_cache: Need::new().take::<f32>(self.cache).peak(),
            gradients: block,
            optimizer: Optimizer::need(method, slots).peak(),
            threads: (threads - 1) * threads::STACK_BYTES,
            scratch: self.scratch.saturating_mul(threads).saturating_add(self.batches),
            ..Plan::default()
        }
    }
}

/// The bytes by class of a model that is trained, and of its trainer. From metadata alone: of the graph, the number of tensors it
/// refers to, and the bytes of the model itself in `base`.
pub fn plan(
    graph: &Graph,
    tensors: usize,
    base: Plan,
    params: &TrainerParams,
    threads: usize,
    wanted: impl Fn(&Param) -> bool,
) -> Result<Plan> {
    let trained = Trained::of(&graph.layers, tensors, wanted)?;
    let slots = slots(&trained, |_| String::new())?;
    let plan = Layout::new(graph, &trained, &slots, params)?.plan(&trained, &slots, &params.method, threads);
    Ok(Plan {
        weights_mapped: base.weights_mapped,
        weights_resident: plan.weights_resident.saturating_add(base.weights_resident),
        tokenizer: base.tokenizer,
        ..plan
    })
}

/// The trained parameters as the optimizer's list, in the same places.
fn slots(trained: &Trained, name: impl Fn(&Param) -> String) -> Result<Slots> {
    let mut slots = Slots::with_capacity(trained.list().len())?;
    for t in trained.list() {
        let group = match t.param {
            Param::Matrix(w) => group_of(&[w.rows, w.cols]),
            Param::Vector(v) => group_of(&[v.len]),
        };
        let number = slots.add(&name(&t.param), t.len, group)?;
        if slots.list()[number].range != (t.at..t.at + t.len) {
            fail!(Internal, "the optimizer and the layers place parameter {number} apart");
        }
    }
    Ok(slots)
}

/// What a pass came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Passed {
    /// The losses of its rows.
    Total(Total),
    /// The loss is NaN or infinite. The sentence says where such a number was met first.
    Faulty(String),
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
    pub(super) cache: Region,
    pub(super) work: Region,
    pub(super) scratch: Region,
    pub(super) cancel: Arc<AtomicBool>,
    /// The number of the pass whose forward half was taken alone, and of which all is still there.
    pub(super) kept: Option<u64>,
}

impl Trainer {
    /// Copies what `wanted` names of the model's parameters, by the tensor's name, and reserves all memory.
    ///
    /// Errors: `Budget` says what was needed; `InvalidArgument` for sizes and numbers out of range, and when nothing is trained.
    pub fn new(model: &Arc<Model>, params: &TrainerParams, wanted: impl Fn(&str) -> bool) -> Result<Trainer> {
        let (graph, store) = (&model.graph, &model.store);
        let name = |param: &Param| name_of(model, param);
        let trained = Trained::new(&graph.layers, store, |param| wanted(&name(param)))?;
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
        let mut values = Region::new(block)?;
        trained.load(store, &model.runtime.kernels, floats(&mut values, trained.len()))?;
        Ok(Trainer {
            model: Arc::clone(model),
            optimizer: Optimizer::new(params.method, &params.groups, slots)?,
            values,
            grads: Region::new(block)?,
            cache: Region::new(Need::new().take::<f32>(layout.cache).peak())?,
            work: Region::new(layout.work.peak())?,
            scratch: Region::new(layout.scratch.saturating_mul(model.runtime.pool.len()))?,
            trained: Arc::new(trained),
            params: params.clone(),
            layout,
            cancel: Arc::new(AtomicBool::new(false)),
            kept: None,
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
        floats(&mut self.values, self.trained.len())
    }

    /// The trained values of this moment, for contexts of the model.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::new(&self.trained, self.values())
    }

    /// The gradients, likewise.
    pub fn grads(&self) -> &[f32] {
        &bytemuck::cast_slice(self.grads.bytes())[..self.trained.len()]
    }

    /// The same, to change.
    pub fn grads_mut(&mut self) -> &mut [f32] {
        floats(&mut self.grads, self.trained.len())
    }

    /// Setting it stops the running call at its next operation with `Cancelled`; gradients are then of no use.
    pub fn cancel_flag(&self) -> &Arc<AtomicBool> {
        &self.cancel
    }

    /// The bytes that model and trainer have reserved, by class.
    pub fn reserved(&self) -> Plan {
        let (slots, threads) = (self.optimizer.params(), self.model.runtime.pool.len());
        reserved(&self.model, self.layout.plan(&self.trained, slots, &self.params.method, threads))
    }

    /// The greatest number of bytes in use so far, of those the plan calls activations.
    pub fn high_water(&self) -> usize {
        self.work.high_water()
    }

    /// What examples weigh in a mean: their counted rows, each times its class's weight; for values, their number.
    /// `InvalidArgument` for a class that there is not.
    pub fn weight(&self, examples: &Examples) -> Result<f64> {
        match entropy(&self.params.objective, self.layout.out) {
            Some(entropy) => Ok(entropy.count(Targets::Classes(examples.targets))?.weight),
            None => Ok(examples.values.len() as f64),
        }
    }

    /// The loss of examples.
    pub fn judge(&mut self, examples: &Examples) -> Result<Passed> {
        self.pass(examples, None, 0)
    }

    /// The loss of examples, and their share of the gradients is added: that of the mean over a batch that weighs `weight` in all.
    /// `number` is the pass's own, below 2^48: it decides dropout.
    pub fn learn(&mut self, examples: &Examples, weight: f64, number: u64) -> Result<Passed> {
        self.pass(examples, Some(weight), number)
    }

    fn pass(&mut self, examples: &Examples, weight: Option<f64>, number: u64) -> Result<Passed> {
        self.check(examples)?;
        self.kept = None;
        let Trainer { model, params, layout, trained, values, grads, cache, work, scratch, cancel, .. } = self;
        let (graph, rows) = (&model.graph, examples.places.len());
        let scratch_shards = Shards::new(scratch.bytes_mut());
        let exec = exec(model, &scratch_shards, layout.scratch, cancel);
        let values = &bytemuck::cast_slice(values.bytes())[..trained.len()];
        let parameters = Params::with(&model.store, Values::new(trained, values)?);
        let mut grads = Grads::new(trained, floats(grads, trained.len()))?;
        let &mut Layout { end, width, out, slice, .. } = layout;
        let sizes = |rows, longest| PassSizes { rows, longest, recompute: params.recompute, trained };
        let longest = examples.lens.iter().max().map_or(0, |&len| len as usize);
        let whole = sizes(rows, longest);
        let cache = floats(cache, graph.train_cache_len(whole, end));
        let noise = Noise { seed: params.seed, pass: number };
        let mode = Mode { recompute: params.recompute, noise };
        let batch = Batch { tokens: examples.tokens, places: examples.places, lens: examples.lens };
        let (body, head) = graph.layers.split_at(end);
        work.with_frame(|frame| {
            let mid = frame.take::<f32>(rows * width)?;
            let dmid = frame.take::<f32>(rows * width)?;
            let logits = frame.take::<f32>(slice * out)?;
            let apart = frame.take::<f32>(slice * params.objective.gradient_width(out))?;
            let head_cache = frame.take::<f32>(layout.head)?;
            graph.with_pass(exec, parameters, trained, batch, mode, frame, |pass, frame| {
                sequence_forward_train(body, pass, frame, whole, examples.x, graph.in_width, mid, cache)?;
                let mut total = Total::default();
                for at in (0..rows).step_by(slice) {
                    let part = at..rows.min(at + slice);
                    let s = sizes(part.len(), longest.min(part.len()));
                    let (mid, dmid) =
                        (&mid[part.start * width..part.end * width], &mut dmid[part.start * width..part.end * width]);
                    let logits = &mut logits[..part.len() * out];
                    let head_cache = &mut head_cache[..sequence_cache_len(head, s, width)];
                    sequence_forward_train(head, pass, frame, s, mid, width, logits, head_cache)?;
                    let (before, exec) = (total.loss, &pass.run.exec);
                    let gradient: &[f32] = match entropy(&params.objective, out) {
                        Some(entropy) => {
                            let targets = Targets::Classes(&examples.targets[part.clone()]);
                            let to = if weight.is_some() { Logits::InPlace(logits) } else { Logits::Read(logits) };
                            entropy.rows(exec, frame, to, targets, weight.map_or(1.0, |w| 1.0 / w), &mut total)?;
                            logits
                        }
                        None => {
                            let values = &examples.values[part.start * out..part.end * out];
                            total.loss += loss::mse(exec, frame, logits, values, loss::Reduction::Sum)?;
                            total.rows += part.len();
                            total.weight += values.len() as f64;
                            let apart = &mut apart[..values.len()];
                            if let Some(weight) = weight {
                                loss::mse_grad_by(exec, logits, values, 2.0 / weight, apart)?;
                            }
                            apart
                        }
                    };
                    if !total.loss.is_finite() {
                        let row =
                            format!("the loss of rows {} to {} is {}", part.start, part.end - 1, total.loss - before);
                        return Ok(Passed::Faulty(
                            origin(model, (trained, values), (whole, &mut *cache), mid).unwrap_or(row),
                        ));
                    }
                    if weight.is_some() {
                        let dx = Some(&mut dmid[..]);
                        sequence_backward(head, pass, frame, s, mid, width, gradient, dx, head_cache, &mut grads, 0)?;
                    }
                }
                if weight.is_some() {
                    sequence_backward(
                        body,
                        pass,
                        frame,
                        whole,
                        examples.x,
                        graph.in_width,
                        dmid,
                        None,
                        cache,
                        &mut grads,
                        0,
                    )?;
                }
                Ok(Passed::Total(total))
            })
        })
    }

    /// One step with the gradients so far; they become zeros. Where one is NaN or infinite nothing is changed.
    pub fn step(&mut self, rate: f64, clip: Clip) -> Result<Outcome> {
        self.kept = None;
        let Trainer { model, layout, trained, optimizer, values, grads, work, scratch, cancel, .. } = self;
        let scratch = Shards::new(scratch.bytes_mut());
        let exec = exec(model, &scratch, layout.scratch, cancel);
        let (values, grads) = (floats(values, trained.len()), floats(grads, trained.len()));
        work.with_frame(|frame| optimizer.step(&exec, frame, (values, grads), (rate, 1.0, clip)))
    }

    /// Makes all gradients 0.
    pub fn zero_grad(&mut self) -> Result<()> {
        let Trainer { model, layout, trained, optimizer, grads, scratch, cancel, .. } = self;
        let scratch = Shards::new(scratch.bytes_mut());
        let exec = exec(model, &scratch, layout.scratch, cancel);
        super::clip::zero(&exec, optimizer.params(), floats(grads, trained.len()))
    }

    fn check(&self, e: &Examples) -> Result<()> {
        self.check_rows(e)?;
        let rows = e.places.len();
        let (given, expected) = match self.params.objective {
            Objective::Classes { .. } => (e.targets.len(), rows),
            Objective::Values => (e.values.len(), rows * self.layout.out),
        };
        if given != expected {
            fail!(Shape, "{given} targets for {rows} rows, expected {expected}");
        }
        Ok(())
    }

    /// What goes in, without what is wanted of it.
    pub(super) fn check_rows(&self, e: &Examples) -> Result<()> {
        let (rows, p, graph) = (e.places.len(), &self.params, &self.model.graph);
        let longest = e.lens.iter().max().map_or(0, |&len| len as usize);
        if rows == 0 || rows > p.rows || longest > p.longest {
            fail!(
                Shape,
                "a pass of {rows} rows in sequences of up to {longest}: the trainer was made for {} of {}",
                p.rows,
                p.longest
            );
        }
        let in_width = graph.in_width;
        let lens = [e.x.len(), if in_width == 0 { e.tokens.len() } else { rows }];
        if lens != [rows * in_width, rows] {
            fail!(
                Shape,
                "{rows} rows have {} elements and {} tokens, expected {} and {}",
                lens[0],
                e.tokens.len(),
                rows * in_width,
                if in_width == 0 { rows } else { 0 }
            );
        }
        let vocab = graph.vocab();
        if let Some(i) = e.tokens.iter().position(|&t| vocab > 0 && t as usize >= vocab) {
            fail!(InvalidArgument, "token {} of row {i} is outside the vocabulary of {vocab}", e.tokens[i]);
        }
        if let Some(gguf) = &self.model.gguf {
            gguf.check_unchanged()?;
        }
        Ok(())
    }
}

/// The cross-entropy of an objective, or None for values.
fn entropy(objective: &Objective, classes: usize) -> Option<CrossEntropy<'_>> {
    match objective {
        Objective::Classes { smoothing, weights } => {
            Some(CrossEntropy { smoothing: *smoothing, weights: weights.as_deref(), ..CrossEntropy::new(classes) })
        }
        Objective::Values => None,
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

/// A trainer's plan with the bytes of its model.
fn reserved(model: &Model, plan: Plan) -> Plan {
    Plan {
        weights_mapped: model.gguf.as_ref().map_or(0, |g| g.file_bytes() as usize),
        weights_resident: plan.weights_resident.saturating_add(model.store.reserved()),
        tokenizer: model.tokenizer.as_ref().map_or(0, |t| t.reserved()),
        ..plan
    }
}

/// The name of a parameter: its tensor's in the file, or a number.
pub fn name_of(model: &Model, param: &Param) -> String {
    name_in(&model.graph, model.gguf.as_deref(), param)
}

/// The same of a graph and its file.
pub fn name_in(graph: &Graph, gguf: Option<&Gguf>, param: &Param) -> String {
    let tensor = match param {
        Param::Matrix(w) => Some(w.tensor()),
        Param::Vector(v) => {
            let load = graph.loads.iter().find(|load| (load.at..load.at + load.len.max(1)).contains(&v.start()));
            load.map(|load| load.tensor)
        }
    };
    let named = gguf.zip(tensor).and_then(|(gguf, i)| Some(gguf.tensor_name(gguf.tensors().get(i)?)));
    match (named, param) {
        (Some(name), _) => name.to_owned(),
        (None, Param::Matrix(w)) => format!("matrix {}", w.tensor()),
        (None, Param::Vector(v)) => format!("vector {}", v.start()),
    }
}

/// Where a number that is none came from first: a weight, or the result of a layer.
fn origin(
    model: &Model,
    (trained, values): (&Trained, &[f32]),
    (sizes, cache): (PassSizes, &mut [f32]),
    mid: &[f32],
) -> Option<String> {
    let graph = &model.graph;
    let bad = |values: &[f32]| values.iter().position(|x| !x.is_finite());
    for t in trained.list() {
        if let Some(i) = bad(&values[t.at..t.at + t.len]) {
            return Some(format!("the weight {} is {} at element {i}", name_of(model, &t.param), values[t.at + i]));
        }
    }
    let end = graph.embedding_end();
    let mut found = None;
    sequence_results(&graph.layers[..end], sizes, graph.in_width, cache, |layer, result| {
        found = bad(result).map(|i| (layer, i / (result.len() / sizes.rows).max(1), result[i]));
        found.is_none()
    });
    let last = || bad(mid).map(|i| (end.saturating_sub(1), i / graph.width_at(end).max(1), mid[i]));
    let (layer, row, value) = found.or_else(last)?;
    Some(format!("layer {layer} ({}) gave {value} for row {row}", graph.layers[layer].kind()))
}
