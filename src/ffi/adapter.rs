//! `q_adapter`: small changes of a model's matrices, loaded once, put on any number of contexts.

use super::args;
use super::context::q_context;
use super::error::q_error_code;
use super::handle::{self, Opaque};
use super::model::{Loaded, q_model};
use super::params::{self, Report};
use super::runtime::Charge;
use crate::adapter::Adapter;
use crate::engine::LoadedAdapter;
use crate::error::{Result, fail};
use crate::gguf::Gguf;
use std::ffi::c_char;
use std::sync::Arc;

/// An adapter (LoRA, rsLoRA or DoRA) in its places on a model: immutable, on any number of contexts of that model at once, each with its
/// own weight.
pub struct q_adapter {
    _opaque: [u8; 0],
}

/// Facts of an adapter.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_adapter_info {
    /// Bytes of this struct that were filled.
    pub size: u32,
    /// The greatest rank of its pairs: what q_context_params.adapter_rank must reach.
    pub rank: u32,
    /// Bytes that it takes in memory, or would.
    pub bytes: u64,
}

// SAFETY: as the trait demands.
unsafe impl Report for q_adapter_info {
    const NAME: &'static str = "q_adapter_info";
}

/// What a `q_adapter` holds.
pub(super) struct Held {
    engine: LoadedAdapter,
    model: Arc<Loaded>,
    _charge: Charge,
}

impl Opaque for q_adapter {
    type Value = Held;
    type Side = ();
    const NAME: &'static str = "q_adapter";
}

/// Reads an adapter for that base.
fn read(path: &std::path::Path, base: &Gguf, any_base: u32) -> Result<Adapter> {
    let adapter = Adapter::open(path, base)?;
    adapter.check(base, super::error::choice("any_base", any_base, &[(0, false), (1, true)])?)?;
    Ok(adapter)
}

/// Loads the adapter at `path` (`len` bytes), a GGUF file, or where the library was built with it a folder of PEFT, for `model`. Free it with
/// q_adapter_free; it keeps the model alive.
///
/// `any_base`: 0 refuses an adapter that says it was made for another base of the same shape, which takes reading all of the model
/// once; 1 takes it.
/// Errors: Q_ERR_NOT_FOUND; Q_ERR_FORMAT; Q_ERR_SHAPE when it is for another model; Q_ERR_STATE when it was made for another base;
/// Q_ERR_UNSUPPORTED; Q_ERR_BUDGET; Q_ERR_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_adapter_load(
    model: *const q_model,
    path: *const c_char,
    len: usize,
    any_base: u32,
    out: *mut *mut q_adapter,
) -> q_error_code {
    ffi!({
        let model = handle::shared(model)?;
        handle::check_out(out)?;
        let path = args::path(path, len, "path")?;
        let Some(gguf) = model.engine.gguf.as_deref() else {
            fail!(Unsupported, "the model was made by a q_builder: adapters are for models of files")
        };
        let adapter = read(path, gguf, any_base)?;
        let need = LoadedAdapter::need(gguf, &model.engine.graph, &adapter)?;
        let charge = model.runtime.charge(need.bytes, "the adapter")?;
        let engine = LoadedAdapter::new(&model.engine, &adapter)?;
        handle::create(Held { engine, model: Arc::clone(&model), _charge: charge }, (), out)
    })
}

/// Facts of an adapter, of which `size` bytes are filled: sizeof(q_adapter_info).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_adapter_get_info(
    adapter: *const q_adapter,
    info: *mut q_adapter_info,
    size: usize,
) -> q_error_code {
    ffi!({
        let adapter = handle::shared(adapter)?;
        let filled = size_of::<q_adapter_info>() as u32;
        let (rank, bytes) = (adapter.engine.rank() as u32, adapter.engine.reserved() as u64);
        params::report(q_adapter_info { size: filled, rank, bytes }, info, size)
    })
}

/// Puts an adapter on a context, or gives one that is on it another weight: 1 for all of it, 0 for nothing, anything between and
/// beyond. Nothing is loaded or allocated; the context's sequences become empty. The adapter may be freed before the context.
///
/// Errors: Q_ERR_STATE when the context was made for fewer adapters or a smaller rank; Q_ERR_INVALID_ARGUMENT for an adapter of another
/// model and for a weight that is not finite.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_adapter_attach(
    adapter: *const q_adapter,
    context: *mut q_context,
    weight: f32,
) -> q_error_code {
    ffi!({
        let adapter = handle::shared(adapter)?;
        let mut context = handle::exclusive(context)?;
        if !Arc::ptr_eq(&context.model, &adapter.model) {
            fail!(InvalidArgument, "the adapter was loaded for another model");
        }
        context.engine.attach(&adapter.engine, weight)
    })
}

/// Takes an adapter off a context, whose sequences become empty. Errors: Q_ERR_INVALID_ARGUMENT when it is not on it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_adapter_detach(adapter: *const q_adapter, context: *mut q_context) -> q_error_code {
    ffi!({
        let adapter = handle::shared(adapter)?;
        handle::exclusive(context)?.engine.detach(&adapter.engine)
    })
}

/// Frees an adapter; NULL is nothing. Contexts that it is on keep it until it is taken off them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_adapter_free(adapter: *mut q_adapter) {
    // SAFETY: the caller's handle.
    unsafe { handle::free(adapter) }
}
