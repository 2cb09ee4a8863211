//! What a context will need, from a model's metadata alone.

use super::generate::Generate;
use super::model::has_tokenizer;
use super::sampler::SamplerParams;
use crate::error::{Result, fail};
use crate::gguf::Gguf;
use crate::layers::{CacheSlot, Sizes, sequence};
use crate::memory::{Need, Plan};
use crate::models::Graph;
use crate::ops::attend::Place;
use crate::threads;
use crate::tokenizer::Tokenizer;
use qorus_kernels::Type;

/// How the rows of a sequence become its embedding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooling {
    /// No embeddings are kept.
    #[default]
    None,
    /// The mean of all rows.
    Mean,
    /// The last row.
    Last,
}

/// What a context is made for.
#[derive(Clone, Copy, Debug)]
pub struct ContextParams {
    /// Positions of each sequence; 0: as many as the model was trained for, at most 4096.
    pub n_ctx: usize,
    /// Rows that go through the layers together; longer batches are taken in parts.
    pub n_batch: usize,
    /// Sequences.
    pub n_seqs: usize,
    /// The most rows of a call whose logits are wanted; at least `n_seqs` is useful.
    pub n_outputs: usize,
    /// Storage type of keys and values: F32, F16 or Q8_0.
    pub kv: Type,
    /// Which embeddings are kept.
    pub pooling: Pooling,
    /// Bytes the plan may come to beyond the mapped file; 0: no limit.
    pub budget: usize,
    /// The most adapters that are attached at once.
    pub adapters: usize,
    /// The greatest rank of an adapter that will be attached, or of one that is being trained, for its snapshots.
    pub rank: usize,
}

impl Default for ContextParams {
    fn default() -> Self {
        ContextParams {
            n_ctx: 0,
            n_batch: 256,
            n_seqs: 1,
            n_outputs: 1,
            kv: Type::F16,
            pooling: Pooling::None,
            budget: 0,
            adapters: 0,
            rank: 0,
        }
    }
}

/// Sizes of everything a context reserves.
pub(super) struct Layout {
    pub params: ContextParams,
    pub slots: Vec<CacheSlot>,
    pub cache_bytes: usize,
    /// Logits, embeddings, lengths and tokens, which stay between calls.
    pub results: Need,
    /// Where the tokens of the sequences begin there: `[n_seqs][n_ctx]`.
    pub tokens_at: usize,
    /// One batch.
    pub work: Need,
    /// Each thread's scratch.
    pub scratch_bytes: usize,
}

/// The largest context and batch: keeps products of sizes far from overflow.
const MAX_ROWS: usize = 1 << 30;

impl Layout {
    pub fn new(graph: &Graph, params: &ContextParams) -> Result<Layout> {
        let mut p = *params;
        if p.n_ctx == 0 {
            p.n_ctx = graph.ctx_train.clamp(1, 4096);
        }
        for (name, value) in
            [("n_ctx", p.n_ctx), ("n_batch", p.n_batch), ("n_seqs", p.n_seqs), ("n_outputs", p.n_outputs)]
        {
            if value == 0 || value > MAX_ROWS {
                fail!(InvalidArgument, "{name} is {value}: give 1 to {MAX_ROWS}");
            }
        }
        if !matches!(p.kv, Type::F32 | Type::F16 | Type::Q8_0 | Type::Q4_0) {
            fail!(InvalidArgument, "keys and values as {}: give F32, F16, Q8_0 or Q4_0", p.kv.name());
        }
        p.n_batch = p.n_batch.min(p.n_ctx.saturating_mul(p.n_seqs));
        let (slots, cache_bytes) = graph.cache_slots(p.kv, p.n_seqs, p.n_ctx)?;
        let (head, end) = (graph.head(), graph.embedding_end());
        let (mid_width, end_width) = (graph.width_at(head), graph.width_at(end));
        let pooled = if p.pooling == Pooling::None { 0 } else { end_width };
        let results = Need::new()
            .take::<f32>(p.n_outputs.saturating_mul(graph.out_width()))
            .take::<f32>(p.n_seqs.saturating_mul(pooled))
            .take::<u32>(p.n_seqs);
        let tokens_at = results.peak();
        let results = results.take::<u32>(p.n_seqs.saturating_mul(p.n_ctx));
        let rows = p.n_batch;
        let outs = p.n_outputs.min(rows);
        let sizes = |rows| Sizes { rows, rank: p.rank, slots: &slots };
        let part =
            |from: usize, to: usize, rows| sequence::need(&graph.layers[from..to], sizes(rows), graph.width_at(from));
        let mut work = Need::new().take::<u32>(rows).take::<Place>(rows);
        for rope in &graph.ropes {
            work = work.take::<f32>(rows.saturating_mul(rope.half())).take::<f32>(rows.saturating_mul(rope.half()));
        }
        work = work.take::<f32>(rows.saturating_mul(mid_width)).sub(part(0, head, rows));
        work = if pooled > 0 {
            let all = work.take::<f32>(rows.saturating_mul(end_width)).sub(part(head, end, rows));
            all.sub(Need::new().take::<f32>(outs.saturating_mul(end_width)).sub(part(end, graph.layers.len(), outs)))
        } else {
            work.sub(Need::new().take::<f32>(outs.saturating_mul(mid_width)).sub(part(head, graph.layers.len(), outs)))
        };
        let scratch = graph.layers.iter().map(|layer| layer.scratch(&slots)).max().unwrap_or(0);
        let scratch_bytes = Need::new().take::<u8>(scratch).peak();
        Ok(Layout { params: p, slots, cache_bytes, results, tokens_at, work, scratch_bytes })
    }

    /// The bytes by class, without those of the model; with one generation where there is a tokenizer for it.
    pub fn context_plan(&self, threads: usize, tokenizer: bool) -> Plan {
        let generate = if tokenizer { Generate::bytes(&SamplerParams::default(), &[]) } else { 0 };
        Plan {
            kv_cache: self.cache_bytes,
            activations: self.results.peak().saturating_add(self.work.peak()),
            scratch: self.scratch_bytes.saturating_mul(threads).saturating_add(generate),
            ..Plan::default()
        }
    }
}

/// The bytes that a model and one context of it will take, by class, on `threads` threads.
pub fn plan(gguf: &Gguf, graph: &Graph, params: &ContextParams, threads: usize) -> Result<Plan> {
    let layout = Layout::new(graph, params)?;
    let tokenizer = has_tokenizer(gguf);
    Ok(Plan {
        weights_mapped: gguf.file_bytes() as usize,
        weights_resident: graph.resident * size_of::<f32>(),
        tokenizer: if tokenizer { Tokenizer::plan(gguf)? } else { 0 },
        threads: (threads - 1) * threads::STACK_BYTES,
        ..layout.context_plan(threads, tokenizer)
    })
}
