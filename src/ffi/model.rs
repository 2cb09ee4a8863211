//! `q_model`: weights and layers, and the plan of what running them takes.

use super::context::q_context_params;
use super::error::q_error_code;
use super::handle::{self, Opaque};
use super::params::{self, Params, Report};
use super::runtime::{Charge, Shared, q_log_level, q_runtime};
use super::{args, context};
use crate::engine::{self, Model};
use crate::error::{Code, Error, Result, fail};
use crate::gguf::{Gguf, Value};
use crate::memory::Plan;
use crate::models::Graph;
use std::ffi::{c_char, c_void};
use std::sync::Arc;

/// A model: immutable, shared by any number of contexts and threads.
pub struct q_model {
    _opaque: [u8; 0],
}

/// How a model is loaded. Fill it with q_model_params_init first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_model_params {
    /// sizeof(q_model_params), set by q_model_params_init.
    pub size: u32,
    /// 0: weights stay where they are, in the mapped file or in the host's memory. 1: they are copied first; the file or
    /// the memory may then change or vanish.
    pub copy: u32,
}

// SAFETY: as the trait demands.
unsafe impl Params for q_model_params {
    const NAME: &'static str = "q_model_params";

    fn defaults() -> Self {
        q_model_params { size: size_of::<Self>() as u32, copy: 0 }
    }
}

/// Facts of a model.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_model_info {
    /// Bytes of this struct that were filled.
    pub size: u32,
    /// Tokens of the vocabulary; 0 if the model takes rows of numbers instead of tokens.
    pub vocab: u32,
    /// Width of the rows that go in; 0 if tokens do.
    pub in_width: u32,
    /// Width of the rows that come out: logits, for a language model.
    pub out_width: u32,
    /// Width of pooled embeddings.
    pub embedding_width: u32,
    /// The longest context of the training; 0 if that is not known.
    pub train_ctx: u32,
    /// 1 if the model has a tokenizer.
    pub has_tokenizer: u32,
    /// 0.
    pub reserved: u32,
    /// Bytes of the mapped file, or of the memory the model was loaded from.
    pub mapped_bytes: u64,
}

// SAFETY: as the trait demands.
unsafe impl Report for q_model_info {
    const NAME: &'static str = "q_model_info";
}

/// Bytes that a model and one context of it take, by class. Every number is exact: it is what set-up reserves.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_plan {
    /// Bytes of this struct that were filled.
    pub size: u32,
    /// 0.
    pub reserved: u32,
    /// Tensor data in the mapped file, read-only and shared between processes.
    pub weights_mapped: u64,
    /// Small weights kept as f32: norms and biases.
    pub weights_resident: u64,
    /// Index and working memory of the tokenizer.
    pub tokenizer: u64,
    /// Keys and values of all sequences.
    pub kv_cache: u64,
    /// Activations of one batch, logits, and the state of the context.
    pub activations: u64,
    /// What the backward pass needs of the forward pass.
    pub forward_cache: u64,
    /// Gradients.
    pub gradients: u64,
    /// Moments of the optimizer.
    pub optimizer: u64,
    /// Adapters.
    pub adapters: u64,
    /// Stacks of the worker threads.
    pub threads: u64,
    /// Panels and partial results of the threads, and what one generator reserves (its stop strings apart).
    pub scratch: u64,
    /// The sum of all classes.
    pub total: u64,
    /// The sum of all classes but `weights_mapped`: what a budget must cover.
    pub total_without_mapped: u64,
}

// SAFETY: as the trait demands.
unsafe impl Report for q_plan {
    const NAME: &'static str = "q_plan";
}

impl From<Plan> for q_plan {
    fn from(p: Plan) -> q_plan {
        q_plan {
            size: size_of::<q_plan>() as u32,
            reserved: 0,
            weights_mapped: p.weights_mapped as u64,
            weights_resident: p.weights_resident as u64,
            tokenizer: p.tokenizer as u64,
            kv_cache: p.kv_cache as u64,
            activations: p.activations as u64,
            forward_cache: p.forward_cache as u64,
            gradients: p.gradients as u64,
            optimizer: p.optimizer as u64,
            adapters: p.adapters as u64,
            threads: p.threads as u64,
            scratch: p.scratch as u64,
            total: p.total() as u64,
            total_without_mapped: p.total_without_mapped() as u64,
        }
    }
}

/// What a `q_model` holds; its contexts hold it too.
pub(super) struct Loaded {
    pub runtime: Arc<Shared>,
    pub engine: Arc<Model>,
    /// Bytes of the model under the runtime's limit.
    pub charge: Charge,
}

impl Opaque for q_model {
    type Value = Arc<Loaded>;
    type Side = ();
    const NAME: &'static str = "q_model";
}

impl Loaded {
    /// The model of a file.
    fn from_gguf(runtime: &Arc<Shared>, gguf: Gguf) -> Result<Arc<Loaded>> {
        let engine = Model::new(&runtime.engine, Arc::new(gguf))?;
        let loaded = Loaded::new(runtime, engine)?;
        let model = &loaded.engine;
        if let (Some(gguf), Some(tokenizer)) = (&model.gguf, &model.tokenizer) {
            for (key, id) in tokenizer.ignored() {
                runtime.log(q_log_level::Q_LOG_WARN, || {
                    format!("{}: {key} is {id}, which is no token: ignored", gguf.name())
                });
            }
            runtime.log(q_log_level::Q_LOG_INFO, || {
                let (arch, tensors, bytes) = (&model.graph.arch, gguf.tensors().len(), gguf.file_bytes());
                format!("{}: {arch}, {tensors} tensors, {bytes} bytes", gguf.name())
            });
        }
        Ok(loaded)
    }

    /// A model that is ready, its bytes charged to the runtime.
    pub fn new(runtime: &Arc<Shared>, engine: Arc<Model>) -> Result<Arc<Loaded>> {
        let tokenizer = engine.tokenizer.as_ref().map_or(0, |t| t.reserved());
        let charge = runtime.charge(engine.store.reserved() + tokenizer, "the model")?;
        Ok(Arc::new(Loaded { runtime: Arc::clone(runtime), engine, charge }))
    }
}

/// Fills `params` with defaults. `size` is sizeof(q_model_params).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_model_params_init(params: *mut q_model_params, size: usize) -> q_error_code {
    ffi!({ params::init(params, size) })
}

/// Loads the GGUF file at `path` (`path_len` bytes); a split set by its first part. `params` may be NULL.
///
/// The file is mapped and read as the model runs; see "Files" above for what may happen to it meanwhile.
/// Free the model with q_model_free; contexts keep it alive beyond that. The runtime may be freed before it.
/// Errors: Q_ERR_NOT_FOUND, Q_ERR_IO, Q_ERR_FORMAT for a damaged file, Q_ERR_UNSUPPORTED for an architecture, a storage type
/// or a tokenizer that is not known, Q_ERR_OUT_OF_MEMORY, Q_ERR_BUDGET.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_model_load(
    runtime: *const q_runtime,
    path: *const c_char,
    path_len: usize,
    params: *const q_model_params,
    out: *mut *mut q_model,
) -> q_error_code {
    ffi!({
        let runtime = handle::shared(runtime)?;
        handle::check_out(out)?;
        let path = args::path(path, path_len, "path")?;
        let gguf = if copies(params)? { Gguf::open_copy(path) } else { Gguf::open(path) };
        handle::create(Loaded::from_gguf(&runtime, gguf?)?, (), out)
    })
}

/// Loads a GGUF file whose `len` bytes are in memory at `data`. `params` may be NULL.
///
/// Unless `params->copy` is 1 the bytes must stay as they are until the model and all its contexts are freed; they are
/// used in place if `data` is a multiple of 16, and copied otherwise. Errors: as q_model_load.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_model_load_memory(
    runtime: *const q_runtime,
    data: *const c_void,
    len: usize,
    params: *const q_model_params,
    out: *mut *mut q_model,
) -> q_error_code {
    ffi!({
        let runtime = handle::shared(runtime)?;
        handle::check_out(out)?;
        args::pointer(data.cast::<u8>(), "data")?;
        // For the rest of the program as far as Rust can say; in truth as long as the header asks.
        let bytes: &'static [u8] = args::slice(data.cast::<u8>(), len, "data")?;
        let gguf = if copies(params)? {
            let mut own = crate::error::try_vec(len, "bytes of a model")?;
            own.extend_from_slice(bytes);
            Gguf::from_bytes(own)
        } else {
            Gguf::from_bytes(bytes)
        };
        handle::create(Loaded::from_gguf(&runtime, gguf?)?, (), out)
    })
}

unsafe fn copies(params: *const q_model_params) -> Result<bool> {
    // SAFETY: the caller's pointer.
    match unsafe { params::read(params) }?.copy {
        0 => Ok(false),
        1 => Ok(true),
        copy => fail!(InvalidArgument, "copy is {copy}: give 0 or 1"),
    }
}

/// Facts of a model. `size` is sizeof(q_model_info).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_model_get_info(model: *const q_model, info: *mut q_model_info, size: usize) -> q_error_code {
    ffi!({
        let model = handle::shared(model)?;
        let graph = &model.engine.graph;
        let found = q_model_info {
            size: 0,
            vocab: graph.vocab() as u32,
            in_width: graph.in_width as u32,
            out_width: graph.out_width() as u32,
            embedding_width: graph.width_at(graph.embedding_end()) as u32,
            train_ctx: u32::try_from(graph.ctx_train).unwrap_or(u32::MAX),
            has_tokenizer: model.engine.tokenizer.is_some().into(),
            reserved: 0,
            mapped_bytes: model.engine.gguf.as_ref().map_or(0, |g| g.file_bytes()),
        };
        params::report(found, info, size)
    })
}

/// The metadata entry `key` (`key_len` bytes) as text of at most `cap` bytes at `buf`, without a NUL: strings as they
/// are, numbers in decimal, booleans as "true" and "false". `needed` (may be NULL) receives its bytes.
///
/// Errors: Q_ERR_NOT_FOUND; Q_ERR_UNSUPPORTED for an array; Q_ERR_STATE for a model without file; Q_ERR_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_model_metadata(
    model: *const q_model,
    key: *const c_char,
    key_len: usize,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> q_error_code {
    ffi!({
        let model = handle::shared(model)?;
        let key = args::text(key, key_len, "key")?;
        let Some(gguf) = &model.engine.gguf else { fail!(State, "the model was built by hand and has no metadata") };
        let value = gguf.get(key);
        let value = value.ok_or_else(|| Error::new(Code::NotFound, format!("{}: no key {key}", gguf.name())))?;
        let other;
        let text = match value {
            Value::Str(text) => text,
            Value::Array(array) => {
                fail!(Unsupported, "{}: {key} is an array of {} elements", gguf.name(), array.len())
            }
            value => {
                other = match (value, value.int()) {
                    (Value::Bool(yes), _) => yes.to_string(),
                    (_, Some(n)) => n.to_string(),
                    (_, None) => value.float().unwrap_or(f64::NAN).to_string(),
                };
                other.as_bytes()
            }
        };
        args::give(text, buf.cast(), cap, needed, "bytes")
    })
}

/// What the model at `path` and one context of it would take, from the file's metadata alone: no weight is read, nothing is
/// reserved. `params` may be NULL; `threads` as in q_runtime_params; `size` is sizeof(q_plan).
///
/// Errors: those of q_model_load and q_context_create. A budget in `params` is checked: Q_ERR_BUDGET leaves the plan filled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_model_plan(
    path: *const c_char,
    path_len: usize,
    params: *const q_context_params,
    threads: u32,
    plan: *mut q_plan,
    size: usize,
) -> q_error_code {
    ffi!({
        let path = args::path(path, path_len, "path")?;
        let params = context::engine_params(&params::read(params)?)?;
        let threads = crate::threads::count(threads as usize)?;
        let gguf = Gguf::open(path)?;
        let found = engine::plan(&gguf, &Graph::from_gguf(&gguf)?, &params, threads)?;
        params::report(q_plan::from(found), plan, size)?;
        if params.budget > 0 { found.check(params.budget) } else { Ok(()) }
    })
}

/// Frees a model; NULL is nothing. What it holds goes when its last context is freed too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_model_free(model: *mut q_model) {
    // SAFETY: the caller's handle.
    unsafe { handle::free(model) }
}
