//! `q_optimizer`: one rule for any number of the host's tensors, with moments that are reserved when a tensor is bound.
//!
//! A set of tensors that were bound together is one `Optimizer` of the library, which steps them one at a time.

mod bound;
pub mod params;
pub mod state;

use self::bound::{Held, Pair, pair};
use self::params::{Q_OPTIM_NO_DECAY, q_optimizer_params, q_optimizer_type};
use crate::error::{Result, fail, try_vec};
use crate::ffi::args::{self, OptimizerType};
use crate::ffi::boundary;
use crate::ffi::context::q_context;
use crate::ffi::error::{q_error_code, unused};
use crate::ffi::handle;
use crate::ffi::ops;
use crate::ffi::params::{self as numbers, Params};
use crate::ffi::tensor::{view, view_mut};
use crate::tensor::Tensor;
use crate::train::clip;
use crate::train::optim::{Method, Optimizer, Outcome};
use std::sync::Arc;

/// Changes weights by their gradients. One call at a time.
///
/// One optimizer serves many tensors. A weight tensor is known by the address of its elements, which must stay as long as it is
/// trained; its moments, and the number of steps it has taken, are its own. q_optimizer_bind reserves the moments at set-up; a
/// tensor that was not bound is bound by its first q_optimizer_step. Steps of bound tensors allocate nothing.
pub struct q_optimizer {
    _opaque: [u8; 0],
}

/// An optimizer for tensors of a host.
unsafe fn create(context: *mut q_context, params: q_optimizer_params, out: *mut *mut q_optimizer) -> Result<()> {
    // SAFETY: the caller's handle.
    let context = unsafe { handle::exclusive(context) }?;
    let (runtime, budget) = (Arc::clone(&context.model.runtime), Arc::clone(&context.budget));
    let method = Method::Sgd { momentum: 0.0, nesterov: false };
    let mut held = Held { runtime, budget, params, method, sets: Vec::new(), bound: Vec::new() };
    held.set(params)?;
    // SAFETY: the caller's pointer.
    unsafe { handle::create(held, (), out) }
}

/// The promised functions return the handle.
unsafe fn created(context: *mut q_context, params: q_optimizer_params) -> *mut q_optimizer {
    let mut out = std::ptr::null_mut();
    // SAFETY: the caller's handle, and a place of this function's own.
    boundary::call(|| unsafe { create(context, params, &mut out) });
    out
}

/// An optimizer of q_optimizer_type `type`, with the defaults of q_optimizer_params but for the learning rate, and a weight decay of
/// 0.01 for Q_OPTIM_ADAMW. NULL on failure: q_last_error has the reason. Free it with q_optimizer_free.
///
/// It computes with the threads of the context's runtime, which it keeps alive; the context may be freed before it. The moments
/// count to the context's budget and the runtime's limit, as they are bound. Errors: Q_ERR_INVALID_ARGUMENT for a learning rate
/// that is negative or not finite, or a type that is none; Q_ERR_STATE while another call uses the context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_create(
    r#type: OptimizerType,
    learning_rate: f32,
    ctx: *mut q_context,
) -> *mut q_optimizer {
    let weight_decay = if r#type == q_optimizer_type::Q_OPTIM_ADAMW as u32 { 0.01 } else { 0.0 };
    let learning_rate = learning_rate.into();
    let params = q_optimizer_params { r#type, learning_rate, weight_decay, ..Params::defaults() };
    // SAFETY: the caller's handle.
    unsafe { created(ctx, params) }
}

/// Adam with these numbers. The decay bypasses the moments, so that it is AdamW when `weight_decay` is above 0. Otherwise as
/// q_optimizer_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_adam_create(
    learning_rate: f32,
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    weight_decay: f32,
    l1_regularization: f32,
    ctx: *mut q_context,
) -> *mut q_optimizer {
    let [learning_rate, beta1, beta2, epsilon, weight_decay, l1_regularization] =
        [learning_rate, beta1, beta2, epsilon, weight_decay, l1_regularization].map(f64::from);
    let numbers = q_optimizer_params {
        learning_rate,
        beta1,
        beta2,
        epsilon,
        weight_decay,
        l1_regularization,
        ..Params::defaults()
    };
    // SAFETY: the caller's handle.
    unsafe { created(ctx, numbers) }
}

/// Fills `params` with defaults. `size` is sizeof(q_optimizer_params).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_params_init(params: *mut q_optimizer_params, size: usize) -> q_error_code {
    ffi!({ numbers::init(params, size) })
}

/// An optimizer with all that can be chosen; `params` may be NULL. Otherwise as q_optimizer_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_create_with(
    context: *mut q_context,
    params: *const q_optimizer_params,
    out: *mut *mut q_optimizer,
) -> q_error_code {
    ffi!({
        handle::check_out(out)?;
        create(context, numbers::read(params)?, out)
    })
}

unsafe fn pairs(weights: *const Tensor, gradients: *const Tensor, n: usize) -> Result<Vec<Pair>> {
    // SAFETY: the host's pointers.
    let weights = unsafe { args::slice(weights, n, "weights") }?;
    // SAFETY: as above.
    let gradients = if gradients.is_null() { &[] } else { unsafe { args::slice(gradients, n, "gradients") }? };
    let mut pairs = try_vec(n, "tensors to bind")?;
    for (i, w) in weights.iter().enumerate() {
        let g = gradients.get(i).map_or(std::ptr::null(), |g| g as *const Tensor);
        // SAFETY: as above.
        pairs.push(unsafe { pair(w, g) }.map_err(|e| e.context(format!("tensor {i}")))?);
    }
    Ok(pairs)
}

/// Reserves the moments of `n` weight tensors, one after another at `weights`, and remembers the gradients that go with them, at
/// `gradients` (may be NULL), for q_optimizer_zero_grad. Dense F32 tensors that share no memory; one that is bound already keeps its
/// moments. `flags` is 0 or Q_OPTIM_NO_DECAY.
///
/// Errors: Q_ERR_BUDGET when the moments do not fit `memory_limit`, the context's budget or the runtime's limit; Q_ERR_SHAPE;
/// Q_ERR_INVALID_ARGUMENT; Q_ERR_OUT_OF_MEMORY. None is bound then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_bind(
    optimizer: *mut q_optimizer,
    weights: *const Tensor,
    gradients: *const Tensor,
    n: usize,
    flags: u32,
) -> q_error_code {
    ffi!({
        let mut optimizer = handle::exclusive(optimizer)?;
        unused("flags", flags & !Q_OPTIM_NO_DECAY)?;
        optimizer.bind(&pairs(weights, gradients, n)?, usize::from(flags & Q_OPTIM_NO_DECAY != 0))
    })
}

/// The bytes that q_optimizer_bind of these tensors would reserve, to `bytes`: 0 for those that are bound.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_plan(
    optimizer: *mut q_optimizer,
    weights: *const Tensor,
    n: usize,
    bytes: *mut u64,
) -> q_error_code {
    ffi!({
        let optimizer = handle::exclusive(optimizer)?;
        let list = optimizer.list(&pairs(weights, std::ptr::null(), n)?, 0)?;
        args::put(bytes, Optimizer::need(&optimizer.method, &list).peak() as u64, "bytes")
    })
}

/// One step of `weights` by `gradients`, dense F32 tensors of the same dimensions. The gradients are left as they are (see
/// q_optimizer_zero_grad).
///
/// A tensor that was not bound is bound first, as by q_optimizer_bind with flags 0.
/// Errors: Q_ERR_NOT_FINITE when a gradient is NaN or infinite: the message says which one, and no weight or moment is changed;
/// Q_ERR_BUDGET for a tensor that was not bound and no longer fits; Q_ERR_SHAPE; Q_ERR_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_step(
    optimizer: *mut q_optimizer,
    weights: *mut Tensor,
    gradients: *const Tensor,
) -> q_error_code {
    ffi!({
        let mut held = handle::exclusive(optimizer)?;
        args::pointer(gradients, "gradients")?;
        let pair = pair(weights, gradients)?;
        if held.find(pair.start, pair.len)?.is_err() {
            held.bind(std::slice::from_ref(&pair), 0)?;
        }
        let Ok(at) = held.find(pair.start, pair.len)? else { fail!(Internal, "a tensor was bound and is not there") };
        held.bound[at].gradients = pair.gradients;
        let (runtime, rate) = (Arc::clone(&held.runtime), held.params.learning_rate);
        let (w, g) = (view_mut(weights, "weights")?.f32s("weights")?, view(gradients, "gradients")?.f32s("gradients")?);
        let (optimizer, index) = held.of(&pair)?;
        match ops::exec(&runtime, |exec| optimizer.step_one(exec, index, (w, g), rate))? {
            Outcome::Taken { .. } => Ok(()),
            Outcome::Faulty(fault) => {
                fail!(NotFinite, "element {} of the gradients is {}: no step was taken", fault.element, fault.value)
            }
        }
    })
}

/// Makes zeros of the gradients of all tensors: of each the ones it was last bound or stepped with, but for read-only ones. Their
/// memory must still be there. For hosts that add the gradients of several batches up; NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_zero_grad(optimizer: *mut q_optimizer) {
    if optimizer.is_null() {
        return;
    }
    boundary::call(|| {
        // SAFETY: the caller's handle.
        let held = unsafe { handle::exclusive(optimizer) }?;
        for bound in &held.bound {
            if let Some(start) = bound.gradients {
                // SAFETY: a dense F32 tensor that could be written when it was given, and is still there by the caller's word.
                let g = unsafe { args::slice_mut(start as *mut f32, bound.len, "gradients") }?;
                ops::exec(&held.runtime, |exec| clip::zero_one(exec, g))?;
            }
        }
        Ok(())
    });
}

/// The bytes that the moments of all bound tensors take, to `bytes`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_memory(optimizer: *mut q_optimizer, bytes: *mut u64) -> q_error_code {
    ffi!({ args::put(bytes, handle::exclusive(optimizer)?.bytes() as u64, "bytes") })
}

/// Frees an optimizer, its moments with it; NULL is nothing. Tensors are the host's, and stay.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_free(optimizer: *mut q_optimizer) {
    // SAFETY: the caller's handle.
    unsafe { handle::free(optimizer) }
}
