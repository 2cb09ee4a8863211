//! What an optimizer may be asked for and told between steps: its numbers, a tensor's steps and moments.

use super::bound::pair;
use super::params::q_optimizer_params;
use super::q_optimizer;
use crate::ffi::args;
use crate::ffi::error::q_error_code;
use crate::ffi::handle;
use crate::ffi::params;
use crate::ffi::tensor::{view, view_mut};
use crate::tensor::Tensor;

/// The learning rate, to `learning_rate`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_learning_rate(
    optimizer: *mut q_optimizer,
    learning_rate: *mut f32,
) -> q_error_code {
    ffi!({ args::put(learning_rate, handle::exclusive(optimizer)?.params.learning_rate as f32, "learning_rate") })
}

/// Another learning rate from the next step on. Errors: Q_ERR_INVALID_ARGUMENT when it is negative or not finite.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_set_learning_rate(
    optimizer: *mut q_optimizer,
    learning_rate: f32,
) -> q_error_code {
    ffi!({
        let mut held = handle::exclusive(optimizer)?;
        let params = q_optimizer_params { learning_rate: learning_rate.into(), ..held.params };
        held.set(params)
    })
}

/// All numbers of the optimizer. `size` is sizeof(q_optimizer_params).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_get_params(
    optimizer: *mut q_optimizer,
    params: *mut q_optimizer_params,
    size: usize,
) -> q_error_code {
    ffi!({ params::report(handle::exclusive(optimizer)?.params, params, size) })
}

/// Other numbers from the next step on, for all tensors; moments and steps stay.
/// Errors: Q_ERR_INVALID_ARGUMENT; Q_ERR_STATE when tensors are bound whose moments are not those of the new numbers: another
/// type, another `moment_bits`, or a momentum where there was none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_set_params(
    optimizer: *mut q_optimizer,
    params: *const q_optimizer_params,
) -> q_error_code {
    ffi!({
        let mut held = handle::exclusive(optimizer)?;
        args::pointer(params, "params")?;
        held.set(params::read(params)?)
    })
}

/// The steps that a bound tensor has taken, to `step`. Errors: Q_ERR_NOT_FOUND for one that is not bound.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_get_step(
    optimizer: *mut q_optimizer,
    weights: *const Tensor,
    step: *mut u64,
) -> q_error_code {
    ffi!({
        let mut held = handle::exclusive(optimizer)?;
        let (optimizer, index) = held.of(&pair(weights, std::ptr::null())?)?;
        args::put(step, optimizer.taken()[index], "step")
    })
}

/// Says how many steps a bound tensor has taken, as Adam's correction of its moments needs it. Errors: Q_ERR_NOT_FOUND.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_set_step(
    optimizer: *mut q_optimizer,
    weights: *const Tensor,
    step: u64,
) -> q_error_code {
    ffi!({
        let mut held = handle::exclusive(optimizer)?;
        let (optimizer, index) = held.of(&pair(weights, std::ptr::null())?)?;
        optimizer.taken_mut()[index] = step;
        Ok(())
    })
}

/// Copies the moments of a bound tensor to tensors of its dimensions, dense F32: `first` and `second`, either of which may be NULL.
/// The first is SGD's momentum or Adam's mean of gradients, the second Adam's mean of their squares.
/// Errors: Q_ERR_NOT_FOUND for a tensor that is not bound; Q_ERR_STATE for a moment that there is not; Q_ERR_SHAPE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_get_moments(
    optimizer: *mut q_optimizer,
    weights: *const Tensor,
    first: *mut Tensor,
    second: *mut Tensor,
) -> q_error_code {
    ffi!({
        let mut held = handle::exclusive(optimizer)?;
        let (optimizer, index) = held.of(&pair(weights, std::ptr::null())?)?;
        for (number, (to, name)) in [(first, "first"), (second, "second")].into_iter().enumerate() {
            if !to.is_null() {
                let mut to = view_mut(to, name)?;
                to.view().same_dims(&view(weights, "weights")?, "weights and moments")?;
                optimizer.moments(index, number, to.f32s(name)?)?;
            }
        }
        Ok(())
    })
}

/// Replaces the moments of a bound tensor, likewise; those of 8 bits are rounded. Errors: as q_optimizer_get_moments;
/// Q_ERR_INVALID_ARGUMENT for a number that is not finite, or a second moment below 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_set_moments(
    optimizer: *mut q_optimizer,
    weights: *const Tensor,
    first: *const Tensor,
    second: *const Tensor,
) -> q_error_code {
    ffi!({
        let mut held = handle::exclusive(optimizer)?;
        let (optimizer, index) = held.of(&pair(weights, std::ptr::null())?)?;
        for (number, (from, name)) in [(first, "first"), (second, "second")].into_iter().enumerate() {
            if !from.is_null() {
                let from = view(from, name)?;
                from.same_dims(&view(weights, "weights")?, "weights and moments")?;
                optimizer.set_moments(index, number, from.f32s(name)?)?;
            }
        }
        Ok(())
    })
}
