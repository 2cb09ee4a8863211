//! What a trainer will need, from shapes alone: the sizes of a pass, and the bytes by class.

use super::adapter;
use super::compare::Compared;
use super::distill::Top;
use super::examples::Slab;
use super::loss::{self, CrossEntropy};
use super::optim::{Method, Optimizer};
use super::slots::{Slots, group_of};
use super::trainer::{Objective, TrainerParams};
use crate::engine::Model;
use crate::error::{Result, fail};
use crate::gguf::Gguf;
use crate::layers::Layer;
use crate::layers::adapters::Factor;
use crate::layers::sequence;
use crate::layers::sparse::Table;
use crate::layers::train::PassSizes;
use crate::layers::trained::{Param, Trained};
use crate::memory::{Need, Plan};
use crate::models::Graph;
use crate::threads;
use qorus_kernels::Type;

/// Bytes of logits that a slice has unless the parameters say otherwise: few enough to stay near the cores, rows enough that
/// the head's gradient is seldom read and written.
const SLICE_BYTES: usize = 32 << 20;

/// Rows that a slice has at least where the head is unpacked for each: fewer, and unpacking takes longer than multiplying.
const UNPACKED_ROWS: usize = 128;

/// The sizes of a pass, and of the memory it takes.
pub(super) struct Layout {
    /// Layers of the head begin here.
    pub end: usize,
    /// The first layer of which anything is trained: the way back ends there.
    pub stop: usize,
    /// Width of the rows that go into the head, and of its results.
    pub width: usize,
    pub out: usize,
    /// Rows of a slice.
    pub slice: usize,
    /// Elements of the forward cache before the head, and of a slice's in it.
    pub cache: usize,
    pub head: usize,
    /// What a pass, or a step, takes of the work memory.
    pub work: Need,
    /// Each thread's scratch.
    pub scratch: usize,
    /// The embedding whose gradient is kept by rows.
    pub table: Option<Table>,
    /// Bytes of a run's batches.
    batches: usize,
}

impl Layout {
    pub fn new(graph: &Graph, trained: &Trained, slots: &Slots, params: &TrainerParams) -> Result<Layout> {
        let &TrainerParams { rows, longest, slice, counts, keep, eight, .. } = params;
        if rows == 0 || longest == 0 || longest > rows || u32::try_from(rows).is_err() {
            fail!(
                InvalidArgument,
                "a pass of {rows} rows, sequences of {longest} at most: give 1 to 2^32 - 1, the first not less"
            );
        }
        let values = matches!(params.objective, Objective::Values);
        let batches = Slab::bytes(graph, rows, values).saturating_mul(params.passes);
        let top = size_of::<Top>().saturating_mul(rows).saturating_mul(params.objective.top());
        let batches = batches.saturating_add(top.saturating_mul(params.passes));
        let batches = batches.saturating_add(Compared::bytes(&params.objective, rows));
        let end = graph.embedding_end();
        let (width, out) = (graph.width_at(end), graph.out_width());
        let mut least = 32;
        for layer in &graph.layers[end..] {
            layer.products(&mut |w, _| least = if w.ty == Type::F32 { least } else { UNPACKED_ROWS });
        }
        let near = (SLICE_BYTES / 4 / out.max(1)).clamp(least, 1024);
        let slice = if slice == 0 { near } else { slice }.min(rows);
        let slice = if counts == 0 { slice } else { slice.min(counts) };
        let sizes = |rows| PassSizes { rows, longest, keep, eight, trained };
        let head = &graph.layers[end..];
        let stop = trained.first(&graph.layers);
        let cache = graph.train_cache_len(sizes(rows), end);
        let head_cache = sequence::cache_len(head, sizes(slice), width);
        let work = Need::new()
            .take::<f32>(rows.saturating_mul(width))
            .take::<f32>(rows.saturating_mul(width))
            .take::<f32>(slice.saturating_mul(out))
            .take::<f32>(slice.saturating_mul(params.objective.gradient_width(out)))
            .take::<f32>(head_cache)
            .take::<i32>(rows)
            .take::<u32>(rows);
        let pass = graph
            .train_need(sizes(rows), end, stop.min(end), false)
            .sub(sequence::train_need(head, sizes(slice), width))
            .sub(CrossEntropy::need(slice))
            .sub(loss::mse_need(slice.saturating_mul(out)))
            .sub(sequence::backward_need(head, sizes(slice), width, stop.saturating_sub(end), stop < end));
        let work = work.sub(pass).sub(Optimizer::step_need(slots));
        Ok(Layout {
            end,
            stop,
            width,
            out,
            slice,
            cache,
            head: head_cache,
            work,
            scratch: graph.train_scratch(longest),
            table: table(graph, trained, params),
            batches,
        })
    }

    /// Bytes of the gradients that are not kept by rows.
    pub fn gradients(&self, trained: &Trained) -> usize {
        Need::new().take::<f32>(self.flat(trained)).peak()
    }

    /// Their number.
    pub fn flat(&self, trained: &Trained) -> usize {
        trained.len() - self.table.map_or(0, |table| table.elements)
    }

    pub fn plan(&self, trained: &Trained, slots: &Slots, method: &Method, threads: usize) -> Plan {
        let block = Need::new().take::<f32>(trained.len()).peak();
        let adapted = Need::new().take::<f32>(trained.sites().len()).peak().min(block);
        Plan {
            weights_resident: block - adapted,
            adapters: adapted.saturating_add(trained.sites().rows() * size_of::<f32>()),
            activations: self.work.peak(),
            forward_cache: Need::new().take::<f32>(self.cache).peak(),
            gradients: self.gradients(trained).saturating_add(self.table.map_or(0, |table| table.bytes())),
            optimizer: Optimizer::need(method, slots).peak(),
            threads: (threads - 1) * threads::STACK_BYTES,
            scratch: self.scratch.saturating_mul(threads).saturating_add(self.batches),
            ..Plan::default()
        }
    }
}

/// The embedding, where it is the first that is trained, no other layer shares it, and a step reads less than half of its rows.
fn table(graph: &Graph, trained: &Trained, params: &TrainerParams) -> Option<Table> {
    let (true, [Layer::Embedding(embedding), others @ ..]) = (params.sparse, &graph.layers[..]) else { return None };
    let w = embedding.table;
    let same = |param: &Param| matches!(param, Param::Matrix(other) if other.tensor() == w.tensor());
    let mut shared = false;
    others.iter().for_each(|layer| layer.params(&mut |param| shared |= same(&param)));
    let first = trained.list().first().is_some_and(|first| same(&first.param));
    let most = params.rows.saturating_mul(params.passes);
    let table = Table { rows: w.rows, width: w.cols, elements: trained.second(), most, tokens: params.rows };
    (first && !shared && most.saturating_mul(2) < w.rows).then_some(table)
}

/// The bytes by class of a model that is trained, and of its trainer. From metadata alone: of the graph, its file, and the bytes of the
/// model itself in `base`.
pub fn plan(
    graph: &Graph,
    gguf: &Gguf,
    base: Plan,
    params: &TrainerParams,
    threads: usize,
    wanted: impl Fn(&Param) -> bool,
) -> Result<Plan> {
    let tensors = gguf.tensors().len();
    let trained = Trained::of(&graph.layers, tensors, wanted)?;
    let trained = adapter::begin(trained, graph, Some(gguf), tensors, params)?;
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
pub(super) fn slots(trained: &Trained, name: impl Fn(&Param) -> String) -> Result<Slots> {
    let mut slots = Slots::with_capacity(trained.list().len())?;
    for t in trained.list() {
        let group = match t.param {
            Param::Matrix(w) => group_of(&[w.rows, w.cols]),
            Param::Vector(v) => group_of(&[v.len]),
            Param::Factor(site, factor) => group_of(&site.shape(factor)),
        };
        let number = slots.add(&name(&t.param), t.len, group)?;
        if slots.list()[number].range != (t.at..t.at + t.len) {
            fail!(Internal, "the optimizer and the layers place parameter {number} apart");
        }
    }
    Ok(slots)
}

/// A trainer's plan with the bytes of its model.
pub(super) fn reserved(model: &Model, plan: Plan) -> Plan {
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
        Param::Factor(site, _) => Some(site.w.tensor()),
        Param::Vector(v) => {
            let load = graph.loads.iter().find(|load| (load.at..load.at + load.len.max(1)).contains(&v.start()));
            load.map(|load| load.tensor)
        }
    };
    let named = gguf.zip(tensor).and_then(|(gguf, i)| Some(gguf.tensor_name(gguf.tensors().get(i)?)));
    let name = match (named, param) {
        (Some(name), _) => name.to_owned(),
        (None, Param::Matrix(_) | Param::Factor(..)) => format!("matrix {}", tensor.unwrap_or(0)),
        (None, Param::Vector(v)) => format!("vector {}", v.start()),
    };
    match param {
        Param::Factor(_, Factor::A) => name + ".lora_a",
        Param::Factor(_, Factor::B) => name + ".lora_b",
        Param::Factor(_, Factor::Magnitude) => name + ".lora_magnitude",
        Param::Matrix(_) | Param::Vector(_) => name,
    }
}
