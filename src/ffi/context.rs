//! `q_context`: sequences of one model, with their keys and values.

use super::args;
use super::batch::q_batch;
use super::error::{choice, q_error_code, unused};
use super::handle::{self, Opaque};
use super::model::{Loaded, q_model, q_plan};
use super::params::{self, Params};
use super::runtime::{Charge, q_log_level};
use super::types::{q_type, type_of};
use crate::engine::{Context, ContextParams, Pooling, sampler};
use crate::error::{Result, fail};
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sequences that are being computed. One call at a time; q_context_cancel from any thread.
pub struct q_context {
    _opaque: [u8; 0],
}

/// Which embeddings a context keeps.
#[repr(u32)]
pub enum q_pooling {
    /// None.
    Q_POOLING_NONE = 0,
    /// The mean of a sequence's rows.
    Q_POOLING_MEAN = 1,
    /// A sequence's last row.
    Q_POOLING_LAST = 2,
}

/// What a context is made for. Fill it with q_context_params_init first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_context_params {
    /// sizeof(q_context_params), set by q_context_params_init.
    pub size: u32,
    /// Positions of each sequence; 0: as many as the model was trained for, at most 4096.
    pub n_ctx: u32,
    /// Tokens that go through the layers together (256); longer batches are taken in parts, with the same results.
    pub n_batch: u32,
    /// Sequences (1).
    pub n_seqs: u32,
    /// The most tokens of a call whose logits can be wanted (1).
    pub n_outputs: u32,
    /// Storage of keys and values: Q_TYPE_F32, Q_TYPE_F16 (the default), Q_TYPE_Q8_0 or Q_TYPE_Q4_0.
    pub kv_type: u32,
    /// A q_pooling (Q_POOLING_NONE).
    pub pooling: u32,
    /// 0.
    pub reserved: u32,
    /// Bytes the plan may come to, mapped weights not counted; 0: no limit.
    pub budget: u64,
    /// The most adapters that are on it at once (0).
    pub adapters: u32,
    /// The greatest rank of an adapter that is put on it, or of one that its trainer publishes (0): see q_adapter_get_info.
    pub adapter_rank: u32,
}

// SAFETY: as the trait demands.
unsafe impl Params for q_context_params {
    const NAME: &'static str = "q_context_params";

    fn defaults() -> Self {
        let p = ContextParams::default();
        q_context_params {
            size: size_of::<Self>() as u32,
            n_ctx: p.n_ctx as u32,
            n_batch: p.n_batch as u32,
            n_seqs: p.n_seqs as u32,
            n_outputs: p.n_outputs as u32,
            kv_type: q_type::Q_TYPE_F16 as u32,
            pooling: q_pooling::Q_POOLING_NONE as u32,
            reserved: 0,
            budget: 0,
            adapters: 0,
            adapter_rank: 0,
        }
    }
}

/// The engine's parameters of those of the host.
pub fn engine_params(p: &q_context_params) -> Result<ContextParams> {
    unused("reserved", p.reserved)?;
    Ok(ContextParams {
        n_ctx: p.n_ctx as usize,
        n_batch: p.n_batch as usize,
        n_seqs: p.n_seqs as usize,
        n_outputs: p.n_outputs as usize,
        kv: type_of("kv_type", p.kv_type)?,
        pooling: choice(
            "pooling",
            p.pooling,
            &[
                (q_pooling::Q_POOLING_NONE as u32, Pooling::None),
                (q_pooling::Q_POOLING_MEAN as u32, Pooling::Mean),
                (q_pooling::Q_POOLING_LAST as u32, Pooling::Last),
            ],
        )?,
        budget: usize::try_from(p.budget).unwrap_or(usize::MAX),
        adapters: p.adapters as usize,
        rank: p.adapter_rank as usize,
    })
}

/// What a `q_context` holds.
pub(super) struct Held {
    pub engine: Context,
    pub model: Arc<Loaded>,
    /// What optimizers of the context may take.
    #[cfg(feature = "train")]
    pub budget: Arc<super::train::Budget>,
    /// The trainer that belongs to the context, as long as it lives.
    #[cfg(feature = "train")]
    pub trainer: std::sync::Weak<super::train::trainer::Held>,
    _charge: Charge,
}

impl Opaque for q_context {
    type Value = Held;
    type Side = Arc<AtomicBool>;
    const NAME: &'static str = "q_context";
}

/// Fills `params` with defaults. `size` is sizeof(q_context_params).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_context_params_init(params: *mut q_context_params, size: usize) -> q_error_code {
    ffi!({ params::init(params, size) })
}

/// Reserves a context of `model`; nothing is allocated afterwards. `params` may be NULL.
///
/// Free it with q_context_free. It keeps the model alive: the model may be freed before it.
/// Errors: Q_ERR_BUDGET, whose message says what was needed; Q_ERR_INVALID_ARGUMENT; Q_ERR_SHAPE when the heads do not fit
/// the blocks of `kv_type`; Q_ERR_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_context_create(
    model: *const q_model,
    params: *const q_context_params,
    out: *mut *mut q_context,
) -> q_error_code {
    ffi!({
        let model = handle::shared(model)?;
        handle::check_out(out)?;
        let mut p = engine_params(&params::read(params)?)?;
        #[cfg(feature = "train")]
        let budget = p.budget;
        // What the plan counts of the model and the threads is charged already.
        let runtime = &model.runtime;
        let stacks = (runtime.engine.pool.len() - 1) * crate::threads::STACK_BYTES;
        let charged = model.charge.bytes + stacks;
        if runtime.is_limited() {
            let left = runtime.left().saturating_add(charged);
            p.budget = if p.budget == 0 { left } else { p.budget.min(left) };
        }
        let engine = Context::new(&model.engine, &p)?;
        let plan = engine.reserved();
        let charge = runtime.charge(plan.total_without_mapped() - charged, "the context")?;
        runtime.log(q_log_level::Q_LOG_INFO, || {
            let p = engine.params();
            format!("context of {} x {} positions: {} bytes", p.n_seqs, p.n_ctx, charge.bytes)
        });
        let cancel = Arc::clone(engine.cancel_flag());
        let held = Held {
            #[cfg(feature = "train")]
            budget: super::train::Budget::new(budget, plan.total_without_mapped()),
            #[cfg(feature = "train")]
            trainer: std::sync::Weak::new(),
            engine,
            model: Arc::clone(&model),
            _charge: charge,
        };
        handle::create(held, cancel, out)
    })
}

/// Computes a batch: appends its tokens to their sequences, and keeps the logits that are wanted, in the batch's order.
///
/// Each token's position must be its sequence's length at that point. On any error the sequences are as before.
/// Errors: Q_ERR_INVALID_ARGUMENT; Q_ERR_CONTEXT_FULL; Q_ERR_CANCELLED; Q_ERR_FILE_CHANGED; Q_ERR_STATE for a model that
/// takes rows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_context_decode(context: *mut q_context, batch: *const q_batch) -> q_error_code {
    ffi!({
        let mut context = handle::exclusive(context)?;
        let batch = handle::exclusive(batch)?;
        context.engine.decode(&batch)
    })
}

/// Appends `n` tokens to sequence `seq` and keeps the logits after the last one, as index 0. Any number of tokens that
/// fits the context. Errors: as q_context_decode.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_context_append(
    context: *mut q_context,
    seq: u32,
    tokens: *const u32,
    n: usize,
) -> q_error_code {
    ffi!({
        let mut context = handle::exclusive(context)?;
        context.engine.append(seq as usize, args::slice(tokens, n, "tokens")?)
    })
}

/// Appends `n` rows of q_model_info.in_width floats to sequence 0 of a model that takes rows, and keeps the results of
/// all: at most `n_outputs` rows. Errors: as q_context_decode, and Q_ERR_STATE for a model that takes tokens.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_context_append_rows(context: *mut q_context, rows: *const f32, n: usize) -> q_error_code {
    ffi!({
        let mut context = handle::exclusive(context)?;
        let width = context.model.engine.graph.in_width;
        if width == 0 {
            fail!(State, "the model's first layer is an embedding: it takes tokens, not rows");
        }
        let Some(len) = n.checked_mul(width) else { fail!(InvalidArgument, "{n} rows of {width} elements") };
        context.engine.forward_rows(args::slice(rows, len, "rows")?)
    })
}

/// Copies the logits (or rows) of the `index`-th token of the last call that wanted them: `cap` floats at `out`.
/// `needed` (may be NULL) receives their number. Errors: Q_ERR_BUFFER_TOO_SMALL; Q_ERR_INVALID_ARGUMENT when there is no such.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_context_logits(
    context: *mut q_context,
    index: u32,
    out: *mut f32,
    cap: usize,
    needed: *mut usize,
) -> q_error_code {
    ffi!({
        let context = handle::exclusive(context)?;
        args::give(context.engine.logits(index as usize)?, out, cap, needed, "floats")
    })
}

/// As q_context_logits without a copy: `logits` receives a pointer to them and `n` their number. They are valid, and may be
/// changed before sampling, until the next call on the context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_context_logits_data(
    context: *mut q_context,
    index: u32,
    logits: *mut *mut f32,
    n: *mut usize,
) -> q_error_code {
    ffi!({
        let mut context = handle::exclusive(context)?;
        args::pointer(n, "n")?;
        let found = context.engine.logits_mut(index as usize)?;
        args::put(logits, found.as_mut_ptr(), "logits")?;
        args::put(n, found.len(), "n")
    })
}

/// The natural logarithm of the probability that `token` comes next, by the logits of `index`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_context_log_prob(
    context: *mut q_context,
    index: u32,
    token: u32,
    log_prob: *mut f32,
) -> q_error_code {
    ffi!({
        let context = handle::exclusive(context)?;
        args::put(log_prob, sampler::log_prob(context.engine.logits(index as usize)?, token)?, "log_prob")
    })
}

/// Copies the pooled embedding of sequence `seq`, not normalized: `cap` floats at `out`. `needed` (may be NULL) receives
/// their number. Errors: Q_ERR_STATE for a context without pooling; Q_ERR_INVALID_ARGUMENT for a sequence without tokens.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_context_embedding(
    context: *mut q_context,
    seq: u32,
    out: *mut f32,
    cap: usize,
    needed: *mut usize,
) -> q_error_code {
    ffi!({
        let context = handle::exclusive(context)?;
        args::give(context.engine.embedding(seq as usize)?, out, cap, needed, "floats")
    })
}

/// The number of tokens in sequence `seq`, to `len`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_context_len(context: *mut q_context, seq: u32, len: *mut u32) -> q_error_code {
    ffi!({
        let context = handle::exclusive(context)?;
        let n = context.engine.params().n_seqs;
        if seq as usize >= n {
            fail!(InvalidArgument, "sequence {seq}: the context has {n}");
        }
        args::put(len, context.engine.len(seq as usize) as u32, "len")
    })
}

/// Forgets the tokens of sequence `seq` from position `pos` on. Logits of earlier calls are gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_context_truncate(context: *mut q_context, seq: u32, pos: u32) -> q_error_code {
    ffi!({ handle::exclusive(context)?.engine.truncate(seq as usize, pos as usize) })
}

/// Forgets what sequence `seq` holds beyond its longest common beginning with the `n` tokens of a text, and writes to `held`
/// how many tokens that is: the rest of the text is to be appended, which is at least its last token, for the logits.
/// Logits of earlier calls are gone. In a context with pooling `held` is 0: embeddings are made of all rows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_context_reuse(
    context: *mut q_context,
    seq: u32,
    tokens: *const u32,
    n: usize,
    held: *mut usize,
) -> q_error_code {
    ffi!({
        let mut context = handle::exclusive(context)?;
        args::pointer(held, "held")?;
        args::put(held, context.engine.reuse(seq as usize, args::slice(tokens, n, "tokens")?)?, "held")
    })
}

/// Copies the tokens of sequence `seq`: `cap` of them at `out`. `needed` (may be NULL) receives their number.
/// Errors: Q_ERR_BUFFER_TOO_SMALL; Q_ERR_INVALID_ARGUMENT when there is no such sequence.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_context_tokens(
    context: *mut q_context,
    seq: u32,
    out: *mut u32,
    cap: usize,
    needed: *mut usize,
) -> q_error_code {
    ffi!({
        let context = handle::exclusive(context)?;
        let n = context.engine.params().n_seqs;
        if seq as usize >= n {
            fail!(InvalidArgument, "sequence {seq}: the context has {n}");
        }
        args::give(context.engine.tokens(seq as usize), out, cap, needed, "tokens")
    })
}

/// Makes sequence `to` a copy of sequence `from`, whose tokens are not computed again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_context_copy_seq(context: *mut q_context, from: u32, to: u32) -> q_error_code {
    ffi!({ handle::exclusive(context)?.engine.copy_seq(from as usize, to as usize) })
}

/// Stops the call that is running on the context, or the next one, at its next operation: it returns Q_ERR_CANCELLED, its
/// sequences as before. From any thread and from a signal handler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_context_cancel(context: *const q_context) -> q_error_code {
    // SAFETY: the caller's handle.
    match unsafe { handle::side(context) } {
        Ok(flag) => {
            flag.store(true, Ordering::Relaxed);
            q_error_code::Q_OK
        }
        Err(e) => super::boundary::call(|| Err(e)),
    }
}

/// Takes back a q_context_cancel that no call has seen. To be called before work that an earlier one is not meant for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_context_cancel_reset(context: *const q_context) -> q_error_code {
    ffi!({
        handle::side(context)?.store(false, Ordering::Relaxed);
        Ok(())
    })
}

/// Saves the sequences as bytes with a checksum: `cap` bytes at `buf`. `needed` (may be NULL) receives their number.
/// Errors: Q_ERR_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_context_save(
    context: *mut q_context,
    buf: *mut c_void,
    cap: usize,
    needed: *mut usize,
) -> q_error_code {
    ffi!({
        let mut context = handle::exclusive(context)?;
        let need = context.engine.state_bytes();
        args::room(need, cap, needed, "bytes")?;
        context.engine.save(args::slice_mut(buf.cast(), need, "buf")?).map(drop)
    })
}

/// Replaces the sequences by saved ones, of the same model and a context of the same kind; its `n_ctx` may differ.
/// Errors: Q_ERR_FORMAT; Q_ERR_STATE when other adapters, other weights of them or other trained values were on it;
/// Q_ERR_CONTEXT_FULL; the sequences are then as before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_context_restore(context: *mut q_context, data: *const c_void, len: usize) -> q_error_code {
    ffi!({
        let mut context = handle::exclusive(context)?;
        args::pointer(data.cast::<u8>(), "data")?;
        context.engine.restore(args::slice(data.cast(), len, "data")?)
    })
}

/// The bytes that the context and its model have reserved, by class. `size` is sizeof(q_plan).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_context_memory(context: *mut q_context, memory: *mut q_plan, size: usize) -> q_error_code {
    ffi!({
        let context = handle::exclusive(context)?;
        params::report(q_plan::from(context.engine.reserved()), memory, size)
    })
}

/// The greatest number of bytes that were in use so far, of those that q_plan calls activations.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_context_high_water(context: *mut q_context, bytes: *mut u64) -> q_error_code {
    ffi!({ args::put(bytes, handle::exclusive(context)?.engine.high_water() as u64, "bytes") })
}

/// Frees a context; NULL is nothing. Not from a callback of a call on it: it then stays.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_context_free(context: *mut q_context) {
    // SAFETY: the caller's handle.
    unsafe { handle::free(context) }
}
