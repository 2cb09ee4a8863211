//! A context: sequences of one model, their keys and values, and the memory of one batch.

use super::adapter::LoadedAdapter;
use super::batch::Token;
use super::model::Model;
use super::plan::{ContextParams, Layout, Pooling};
use crate::error::{Code, Result, fail};
use crate::layers::adapters::Attached;
#[cfg(feature = "train")]
use crate::layers::trained::Snapshot;
use crate::layers::{Params, Run, sequence};
use crate::memory::{Plan, Region};
use crate::models::rope::{self, MAX_ROPES};
use crate::ops::Exec;
use crate::ops::attend::Place;
use crate::threads::{self, Shards};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sequences being computed on one model. Everything is reserved when it is made; nothing is allocated afterwards.
pub struct Context {
    pub(super) model: Arc<Model>,
    pub(super) layout: Layout,
    pub(super) cache: Region,
    pub(super) lens: Vec<u32>,
    results: Region,
    work: Region,
    scratch: Region,
    outputs: usize,
    cancel: Arc<AtomicBool>,
    poisoned: bool,
    /// Room for as many as the parameters say.
    adapters: Vec<Attached>,
    #[cfg(feature = "train")]
    snapshot: Option<Arc<Snapshot>>,
}

/// What goes into the first layer.
#[derive(Clone, Copy)]
enum Input<'a> {
    Tokens(&'a [Token]),
    /// Tokens that continue sequence `seq` at `pos`; wanted are the logits after all of them, or after the last if that
    /// is the last of the whole text.
    Text {
        ids: &'a [u32],
        seq: u32,
        pos: u32,
        all: bool,
        last: bool,
    },
    /// Rows of `width` that continue sequence 0 at `pos`; all results are wanted.
    Rows {
        x: &'a [f32],
        width: usize,
        pos: u32,
    },
}

impl<'a> Input<'a> {
    fn len(&self) -> usize {
        match self {
            Input::Tokens(batch) => batch.len(),
            Input::Text { ids, .. } => ids.len(),
            Input::Rows { x, width, .. } => x.len() / width,
        }
    }

    fn part(&self, range: Range<usize>) -> Input<'a> {
        let on = range.start as u32;
        match *self {
            Input::Tokens(batch) => Input::Tokens(&batch[range]),
            Input::Text { ids, seq, pos, all, last } => {
                Input::Text { seq, pos: pos + on, all, last: last && range.end == ids.len(), ids: &ids[range] }
            }
            Input::Rows { x, width, pos } => {
                Input::Rows { x: &x[range.start * width..range.end * width], width, pos: pos + on }
            }
        }
    }

    /// The `i`-th row as a token; rows have none and stand for token 0.
    fn token(&self, i: usize) -> Token {
        match *self {
            Input::Tokens(batch) => batch[i],
            Input::Text { ids, seq, pos, all, last } => {
                Token { id: ids[i], seq, pos: pos + i as u32, logits: all || last && i + 1 == ids.len() }
            }
            Input::Rows { pos, .. } => Token { id: 0, seq: 0, pos: pos + i as u32, logits: true },
        }
    }
}

impl Context {
    /// Reserves a context of `model`. `Budget` says what was needed when `params.budget` is too small.
    pub fn new(model: &Arc<Model>, params: &ContextParams) -> Result<Context> {
        let layout = Layout::new(&model.graph, params)?;
        if model.graph.ropes.len() > MAX_ROPES {
            fail!(Unsupported, "{} rotary embeddings: at most {MAX_ROPES}", model.graph.ropes.len());
        }
        let (kv, kernels) = (layout.params.kv, &model.runtime.kernels);
        let lacks = !kernels.has("attend", kv) || !kernels.has("quantize", kv);
        if lacks && !layout.slots.is_empty() {
            fail!(Unsupported, "keys and values as {}: there is no kernel for that", kv.name());
        }
        let mut lens = crate::error::try_vec(layout.params.n_seqs, "sequences")?;
        lens.resize(layout.params.n_seqs, 0);
        let adapters = crate::error::try_vec(layout.params.adapters, "adapters")?;
        let plan = Context::plan_of(model, &layout);
        if params.budget > 0 {
            plan.check(params.budget)?;
        }
        Ok(Context {
            cache: Region::new(layout.cache_bytes)?,
            results: Region::new(layout.results.peak())?,
            work: Region::new(layout.work.peak())?,
            scratch: Region::new(layout.scratch_bytes.saturating_mul(model.runtime.pool.len()))?,
            model: Arc::clone(model),
            layout,
            lens,
            outputs: 0,
            cancel: Arc::new(AtomicBool::new(false)),
            poisoned: false,
            adapters,
            #[cfg(feature = "train")]
            snapshot: None,
        })
    }

    /// Runs on trained values from now on, or with None on the model's own again; gives what it ran on before. All sequences
    /// become empty. `State` for an adapter of a greater rank than the context was made for.
    #[cfg(feature = "train")]
    pub fn set_snapshot(&mut self, snapshot: Option<Arc<Snapshot>>) -> Result<Option<Arc<Snapshot>>> {
        if let Some(snapshot) = &snapshot {
            self.check_rank(snapshot.values()?.rank())?;
        }
        self.forget();
        Ok(std::mem::replace(&mut self.snapshot, snapshot))
    }

    /// Runs with these adapters from now on, each with its weight: 1 for all of it, 0 for nothing. All sequences become empty; nothing is
    /// loaded or reserved.
    ///
    /// Errors: `State` for more adapters, or a greater rank, than the context was made for; `InvalidArgument` for an adapter of another
    /// model and for a weight that is not finite. What ran before then runs on.
    pub fn set_adapters(&mut self, set: &[(&LoadedAdapter, f32)]) -> Result<()> {
        self.check_count(set.len())?;
        set.iter().try_for_each(|(adapter, weight)| self.check_adapter(adapter, *weight))?;
        self.forget();
        self.adapters.clear();
        self.adapters.extend(set.iter().map(|(adapter, weight)| adapter.attached(*weight)));
        Ok(())
    }

    /// Runs with an adapter beside the others, or gives it another weight. As [`Context::set_adapters`].
    pub fn attach(&mut self, adapter: &LoadedAdapter, weight: f32) -> Result<()> {
        self.check_adapter(adapter, weight)?;
        match self.adapters.iter_mut().find(|a| Arc::ptr_eq(&a.adapter, &adapter.placed)) {
            Some(there) => there.weight = weight,
            None => {
                self.check_count(self.adapters.len() + 1)?;
                self.adapters.push(adapter.attached(weight));
            }
        }
        self.forget();
        Ok(())
    }

    /// Runs without an adapter again; all sequences become empty. `InvalidArgument` when it is not attached.
    pub fn detach(&mut self, adapter: &LoadedAdapter) -> Result<()> {
        let Some(at) = self.adapters.iter().position(|a| Arc::ptr_eq(&a.adapter, &adapter.placed)) else {
            fail!(InvalidArgument, "the adapter is not on this context")
        };
        self.adapters.remove(at);
        self.forget();
        Ok(())
    }

    /// What was computed otherwise is of no use.
    fn forget(&mut self) {
        self.lens.fill(0);
        self.outputs = 0;
    }

    fn check_count(&self, count: usize) -> Result<()> {
        let most = self.layout.params.adapters;
        if count > most {
            fail!(State, "{count} adapters: the context was made for {most}");
        }
        Ok(())
    }

    fn check_adapter(&self, adapter: &LoadedAdapter, weight: f32) -> Result<()> {
        if !Arc::ptr_eq(&adapter.model, &self.model) {
            fail!(InvalidArgument, "the adapter was loaded for another model: load it for the context's");
        }
        if !weight.is_finite() {
            fail!(InvalidArgument, "an adapter's weight is {weight}: give a finite number");
        }
        self.check_rank(adapter.rank())
    }

    /// Adapters that it runs with.
    pub fn adapters(&self) -> &[Attached] {
        &self.adapters
    }

    /// Trained values that it runs on.
    #[cfg(feature = "train")]
    pub(super) fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_deref()
    }

    fn check_rank(&self, rank: usize) -> Result<()> {
        let most = self.layout.params.rank;
        if rank > most {
            fail!(State, "an adapter of rank {rank}: the context was made for ranks up to {most}");
        }
        Ok(())
    }

    fn plan_of(model: &Model, layout: &Layout) -> Plan {
        let threads = model.runtime.pool.len();
        Plan {
            weights_mapped: model.gguf.as_ref().map_or(0, |g| g.file_bytes() as usize),
            weights_resident: model.store.reserved(),
            tokenizer: model.tokenizer.as_ref().map_or(0, |t| t.reserved()),
            threads: (threads - 1) * threads::STACK_BYTES,
            ..layout.context_plan(threads, model.tokenizer.is_some())
        }
    }

    /// The bytes this context and its model have reserved, by class.
    pub fn reserved(&self) -> Plan {
        Context::plan_of(&self.model, &self.layout)
    }

    /// The greatest number of bytes in use so far, of those the plan calls activations.
    pub fn high_water(&self) -> usize {
        self.layout.results.peak() + self.work.high_water()
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The parameters, with defaults filled in.
    pub fn params(&self) -> &ContextParams {
        &self.layout.params
    }

    /// Setting it stops the running call, or else the next one, at its next operation, with `Cancelled` and the sequences
    /// as they were before. The call that is stopped clears it.
    pub fn cancel_flag(&self) -> &Arc<AtomicBool> {
        &self.cancel
    }

    /// Tokens in sequence `seq`; 0 for one that does not exist.
    pub fn len(&self, seq: usize) -> usize {
        self.lens.get(seq).map_or(0, |&len| len as usize)
    }

    /// Whether no sequence has a token.
    pub fn is_empty(&self) -> bool {
        self.lens.iter().all(|&len| len == 0)
    }

    /// Computes a batch: appends its tokens to their sequences, and keeps the logits that are wanted, in order.
    ///
    /// Each token's position must be its sequence's length. On any error the sequences are as before the call.
    pub fn decode(&mut self, batch: &[Token]) -> Result<()> {
        self.check(batch)?;
        self.compute(Input::Tokens(batch))
    }

    /// Appends tokens to sequence `seq` and keeps the logits after the last one. Errors as [`Context::decode`].
    pub fn append(&mut self, seq: usize, ids: &[u32]) -> Result<()> {
        self.append_text(seq, ids, false)
    }

    /// As [`Context::append`], keeping the logits after each of the tokens: at most `n_outputs` of them.
    pub fn append_all(&mut self, seq: usize, ids: &[u32]) -> Result<()> {
        let most = self.layout.params.n_outputs;
        if ids.len() > most {
            fail!(InvalidArgument, "{} tokens want logits, the context keeps those of {most}", ids.len());
        }
        self.append_text(seq, ids, true)
    }

    fn append_text(&mut self, seq: usize, ids: &[u32], all: bool) -> Result<()> {
        let vocab = self.vocab()?;
        let p = &self.layout.params;
        if seq >= p.n_seqs {
            fail!(InvalidArgument, "sequence {seq}: the context has {}", p.n_seqs);
        }
        if let Some(i) = ids.iter().position(|&id| id as usize >= vocab) {
            fail!(InvalidArgument, "token {} at index {i} is outside the vocabulary of {vocab}", ids[i]);
        }
        let pos = self.lens[seq];
        if ids.len() > p.n_ctx - pos as usize {
            fail!(
                ContextFull,
                "{} tokens after {pos} do not fit the context of {}: shorten the text or make a longer context",
                ids.len(),
                p.n_ctx
            );
        }
        self.compute(Input::Text { ids, seq: seq as u32, pos, all, last: true })
    }

    /// Computes rows `[n][in_width]` of a model whose first layer is not an embedding, as the continuation of
    /// sequence 0, and keeps the results of all: `n` is at most `n_outputs`.
    pub fn forward_rows(&mut self, x: &[f32]) -> Result<()> {
        let width = self.model.graph.in_width;
        if width == 0 || !x.len().is_multiple_of(width) {
            fail!(Shape, "{} elements do not make rows of {width}", x.len());
        }
        let (rows, p) = (x.len() / width, &self.layout.params);
        if rows > p.n_outputs || self.len(0) + rows > p.n_ctx {
            fail!(
                ContextFull,
                "{rows} rows: the context has room for {} results and {} positions",
                p.n_outputs,
                p.n_ctx
            );
        }
        self.compute(Input::Rows { x, width, pos: self.lens[0] })
    }

    fn vocab(&self) -> Result<usize> {
        match self.model.graph.vocab() {
            0 => fail!(State, "the model's first layer is not an embedding: it takes rows, not tokens"),
            n => Ok(n),
        }
    }

    fn check(&self, batch: &[Token]) -> Result<()> {
        let p = &self.layout.params;
        let vocab = self.vocab()?;
        let wanted = batch.iter().filter(|t| t.logits).count();
        if wanted > p.n_outputs {
            fail!(InvalidArgument, "{wanted} tokens want logits, the context keeps those of {}", p.n_outputs);
        }
        for (i, t) in batch.iter().enumerate() {
            if t.id as usize >= vocab {
                fail!(InvalidArgument, "token {} at index {i} is outside the vocabulary of {vocab}", t.id);
            }
            if t.seq as usize >= p.n_seqs {
                fail!(InvalidArgument, "sequence {} at index {i}: the context has {}", t.seq, p.n_seqs);
            }
            if t.pos as usize >= p.n_ctx {
                fail!(
                    ContextFull,
                    "position {} at index {i} is past the context of {}: truncate the sequence or make a longer context",
                    t.pos,
                    p.n_ctx
                );
            }
            // The nearest earlier token of the sequence, or what the cache holds, says where this one belongs.
            let before = batch[..i].iter().rev().find(|b| b.seq == t.seq);
            let expected = before.map_or(self.lens[t.seq as usize], |b| b.pos + 1);
            if t.pos != expected {
                fail!(InvalidArgument, "token {i} has position {}, sequence {} continues at {expected}", t.pos, t.seq);
            }
        }
        Ok(())
    }

    fn compute(&mut self, input: Input) -> Result<()> {
        if self.poisoned {
            fail!(State, "an earlier defect poisoned this context; it can only be freed");
        }
        if let Some(gguf) = &self.model.gguf {
            gguf.check_unchanged()?;
        }
        self.outputs = 0;
        let (n, step) = (input.len(), self.layout.params.n_batch);
        let mut result = Ok(());
        for from in (0..n).step_by(step) {
            result = self.part(input.part(from..n.min(from + step)));
            if result.is_err() {
                break;
            }
        }
        if let Err(e) = &result {
            self.poisoned = e.code() == Code::Internal;
            if e.code() == Code::Cancelled {
                self.cancel.store(false, Ordering::Relaxed);
            }
            self.outputs = 0;
            // The rows written past the old lengths are never read again.
            for i in 0..n {
                let Token { seq, pos, .. } = input.token(i);
                self.lens[seq as usize] = self.lens[seq as usize].min(pos);
            }
        }
        result
    }

    /// One part of a batch, at most `n_batch` rows.
    fn part(&mut self, input: Input) -> Result<()> {
        let Context { model, layout, cache, lens, results, work, scratch, outputs, cancel, adapters, .. } = self;
        #[cfg(feature = "train")]
        let snapshot = &self.snapshot;
        let (graph, runtime) = (&model.graph, &model.runtime);
        let threads = runtime.pool.len();
        let scratch = Shards::new(&mut scratch.bytes_mut()[..layout.scratch_bytes * threads]);
        let p = &layout.params;
        let params = Params::of(&model.store);
        #[cfg(feature = "train")]
        let params = match snapshot {
            Some(snapshot) => Params::with(&model.store, snapshot.values()?),
            None => params,
        };
        let params = params.adapted(adapters);
        results.with_frame(|results| {
            let logits = results.take::<f32>(p.n_outputs * graph.out_width())?;
            let (head, end) = (graph.head(), graph.embedding_end());
            let (mid_width, end_width) = (graph.width_at(head), graph.width_at(end));
            let pooled = if p.pooling == Pooling::None { 0 } else { end_width };
            let pools = results.take::<f32>(p.n_seqs * pooled)?;
            results.take::<u32>(p.n_seqs)?; // stands for the lengths
            let texts = results.take::<u32>(p.n_seqs * p.n_ctx)?;
            work.with_frame(|frame| {
                let rows = input.len();
                let tokens = frame.take::<u32>(rows)?;
                let places = frame.take::<Place>(rows)?;
                for (i, (token, place)) in tokens.iter_mut().zip(places.iter_mut()).enumerate() {
                    let Token { id, seq, pos, .. } = input.token(i);
                    (*token, *place) = (id, Place { seq, pos });
                }
                let ropes = rope::rows(&graph.ropes, p.n_ctx, places, frame)?;
                let exec = Exec {
                    kernels: &runtime.kernels,
                    pool: &runtime.pool,
                    scratch: &scratch,
                    scratch_bytes: layout.scratch_bytes,
                    cancel,
                };
                let mut run = Run {
                    exec,
                    params,
                    tokens,
                    places,
                    ropes: &ropes[..graph.ropes.len()],
                    slots: &layout.slots,
                    cache: cache.bytes_mut(),
                };
                let x: &[f32] = match input {
                    Input::Rows { x, .. } => x,
                    _ => &[],
                };
                let mid = frame.take::<f32>(rows * mid_width)?;
                sequence::forward(&graph.layers[..head], &mut run, frame, x, graph.in_width, rows, mid)?;
                let (from, width, source): (usize, usize, &[f32]) = if pooled > 0 {
                    let all = frame.take::<f32>(rows * end_width)?;
                    sequence::forward(&graph.layers[head..end], &mut run, frame, mid, mid_width, rows, all)?;
                    pool(p.pooling, places, all, end_width, pools);
                    (end, end_width, all)
                } else {
                    (head, mid_width, mid)
                };
                let wanted = |i: &usize| input.token(*i).logits;
                let count = (0..rows).filter(wanted).count();
                if count > 0 {
                    let picked = frame.take::<f32>(count * width)?;
                    for (picked, i) in picked.chunks_exact_mut(width.max(1)).zip((0..rows).filter(wanted)) {
                        picked.copy_from_slice(&source[i * width..(i + 1) * width]);
                    }
                    let out = &mut logits[*outputs * graph.out_width()..][..count * graph.out_width()];
                    sequence::forward(&graph.layers[from..], &mut run, frame, picked, width, count, out)?;
                }
                *outputs += count;
                for (place, token) in places.iter().zip(tokens.iter()) {
                    lens[place.seq as usize] = place.pos + 1;
                    texts[place.seq as usize * p.n_ctx + place.pos as usize] = *token;
                }
                Ok(())
            })
        })
    }

    /// The logits of the `index`-th token of the last call that wanted them.
    pub fn logits(&self, index: usize) -> Result<&[f32]> {
        let width = self.model.graph.out_width();
        if index >= self.outputs {
            fail!(InvalidArgument, "logits {index}: the last call kept those of {} tokens", self.outputs);
        }
        Ok(&self.results_f32()[index * width..(index + 1) * width])
    }

    /// As [`Context::logits`], to change them before sampling.
    pub fn logits_mut(&mut self, index: usize) -> Result<&mut [f32]> {
        let width = self.logits(index)?.len();
        let all: &mut [f32] = bytemuck::cast_slice_mut(self.results.bytes_mut());
        Ok(&mut all[index * width..(index + 1) * width])
    }

    /// The number of tokens whose logits the last call kept.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The embedding of sequence `seq`: mean or last row of all its tokens, not normalized.
    pub fn embedding(&self, seq: usize) -> Result<&[f32]> {
        let p = &self.layout.params;
        if p.pooling == Pooling::None {
            fail!(State, "the context was made without pooling, so it keeps no embeddings");
        }
        if seq >= p.n_seqs || self.lens[seq] == 0 {
            fail!(InvalidArgument, "sequence {seq} has no tokens");
        }
        let width = self.model.graph.width_at(self.model.graph.embedding_end());
        let logits = crate::memory::Need::new().take::<f32>(p.n_outputs * self.model.graph.out_width()).peak();
        Ok(&self.results_f32()[logits / size_of::<f32>() + seq * width..][..width])
    }

    /// The tokens of sequence `seq`, of those that were computed; none for a sequence that does not exist.
    pub fn tokens(&self, seq: usize) -> &[u32] {
        let texts: &[u32] = bytemuck::cast_slice(&self.results.bytes()[self.layout.tokens_at..]);
        let from = seq.min(self.lens.len()) * self.layout.params.n_ctx;
        &texts[from..][..self.len(seq)]
    }

    /// Takes the tokens of all sequences away, `[n_seqs][n_ctx]`.
    pub(super) fn texts_mut(&mut self) -> &mut [u32] {
        bytemuck::cast_slice_mut(&mut self.results.bytes_mut()[self.layout.tokens_at..])
    }

    fn results_f32(&self) -> &[f32] {
        bytemuck::cast_slice(self.results.bytes())
    }

    /// Forgets the tokens of sequence `seq` from position `pos` on. Its embedding then starts again with the next call.
    pub fn truncate(&mut self, seq: usize, pos: usize) -> Result<()> {
        match self.lens.get_mut(seq) {
            Some(len) if pos <= *len as usize => *len = pos as u32,
            Some(len) => fail!(InvalidArgument, "position {pos}: sequence {seq} has {len} tokens"),
            None => fail!(InvalidArgument, "sequence {seq}: the context has {}", self.layout.params.n_seqs),
        }
        self.outputs = 0;
        Ok(())
    }

    /// Forgets what sequence `seq` holds beyond its longest common beginning with the text `ids`, and says how many tokens
    /// that is: the rest of `ids` is to be appended, which is at least the last one, for its logits. A context that
    /// keeps embeddings has to compute all rows, so there it is 0.
    pub fn reuse(&mut self, seq: usize, ids: &[u32]) -> Result<usize> {
        let same = self.tokens(seq).iter().zip(ids).take_while(|(held, id)| held == id).count();
        let pooled = self.layout.params.pooling != Pooling::None;
        let n = if pooled { 0 } else { same.min(ids.len().saturating_sub(1)) };
        self.truncate(seq, n)?;
        Ok(n)
    }

    /// Forgets the tokens of sequence `seq` from position `pos` on, and of the logits all but those of `index`.
    pub(super) fn settle(&mut self, seq: usize, pos: usize, index: usize) -> Result<()> {
        self.logits(index)?;
        self.truncate(seq, pos)?;
        let width = self.model.graph.out_width();
        let all: &mut [f32] = bytemuck::cast_slice_mut(self.results.bytes_mut());
        all.copy_within(index * width..(index + 1) * width, 0);
        self.outputs = 1;
        Ok(())
    }

    /// `Cancelled` when the caller asked for it, as a call that computes would say.
    pub(super) fn check_cancel(&self) -> Result<()> {
        if self.cancel.swap(false, Ordering::Relaxed) {
            fail!(Cancelled, "the call was cancelled");
        }
        Ok(())
    }

    /// Makes sequence `to` a copy of the tokens of sequence `from`.
    pub fn copy_seq(&mut self, from: usize, to: usize) -> Result<()> {
        let n = self.layout.params.n_seqs;
        if from >= n || to >= n {
            fail!(InvalidArgument, "sequences {from} and {to}: the context has {n}");
        }
        let len = self.lens[from] as usize;
        for slot in &self.layout.slots {
            let (keys, values) = slot.split(self.cache.bytes_mut());
            for part in [keys, values] {
                for head in 0..slot.shape.n_kv {
                    let blocks = |seq| slot.shape.blocks(seq, head, len);
                    part.copy_within(blocks(from), blocks(to).start);
                }
            }
        }
        self.lens[to] = self.lens[from];
        let n_ctx = self.layout.params.n_ctx;
        self.texts_mut().copy_within(from * n_ctx..from * n_ctx + len, to * n_ctx);
        Ok(())
    }
}

/// Takes rows into the embeddings of their sequences, one row after another.
fn pool(pooling: Pooling, places: &[Place], rows: &[f32], width: usize, pools: &mut [f32]) {
    for (place, row) in places.iter().zip(rows.chunks_exact(width.max(1))) {
        let pool = &mut pools[place.seq as usize * width..][..width];
        match pooling {
            Pooling::Mean if place.pos > 0 => {
                let n = place.pos as f32;
                pool.iter_mut().zip(row).for_each(|(p, r)| *p += (r - *p) / (n + 1.0));
            }
            _ => pool.copy_from_slice(row),
        }
    }
}
