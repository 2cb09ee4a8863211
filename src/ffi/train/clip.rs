//! `q_grad_clip_*`: bounds for gradients.

use super::loss::alone;
use crate::error::{Result, fail};
use crate::ffi::error::q_error_code;
use crate::ffi::runtime::q_runtime;
use crate::ffi::tensor::view_mut;
use crate::ffi::{args, handle, ops};
use crate::ops::Exec;
use crate::tensor::Tensor;
use crate::train::clip::{self, Clip};

/// Calls `f` with the runtime's threads, or with the calling thread alone for NULL.
unsafe fn on(runtime: *const q_runtime, f: impl FnOnce(&Exec) -> Result<()>) -> Result<()> {
    if runtime.is_null() {
        return alone(None, f);
    }
    // SAFETY: the caller's handle.
    let runtime = unsafe { handle::shared(runtime) }?;
    ops::exec(&runtime, f)
}

/// Calls `f` with the number and the elements of each tensor.
unsafe fn each(gradients: *const Tensor, n: usize, mut f: impl FnMut(usize, &mut [f32]) -> Result<()>) -> Result<()> {
    // SAFETY: the host's pointer.
    let tensors = unsafe { args::slice(gradients, n, "gradients") }?;
    for (i, tensor) in tensors.iter().enumerate() {
        // SAFETY: the host's memory, of which one tensor at a time is used.
        unsafe { f(i, view_mut(tensor, "gradients")?.f32s("gradients")?) }?;
    }
    Ok(())
}

/// Multiplies all gradients by min(1, limit / (norm + 1e-6)), where the norm is the root of the sum of the squares of them all.
///
/// `gradients` are `n` tensors one after another, dense F32, that share no memory. `norm` (may be NULL) receives the norm before.
/// `runtime` lends its threads; NULL: the calling thread alone, with the same bits. Nothing is allocated.
/// Errors: Q_ERR_NOT_FINITE when a gradient is NaN or infinite: the message says which one, and nothing is written;
/// Q_ERR_INVALID_ARGUMENT for a limit that is not above 0; Q_ERR_SHAPE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_grad_clip_norm(
    runtime: *const q_runtime,
    gradients: *const Tensor,
    n: usize,
    limit: f32,
    norm: *mut f32,
) -> q_error_code {
    ffi!({
        Clip::Norm(limit.into()).check()?;
        if !norm.is_null() {
            args::pointer(norm, "norm")?;
        }
        on(runtime, |exec| {
            let mut squares = 0.0;
            each(gradients, n, |i, g| match clip::add_squares(exec, g, &mut squares)? {
                None => Ok(()),
                Some((at, bad)) => fail!(NotFinite, "element {at} of the gradients of tensor {i} is {bad}"),
            })?;
            let bounds = Clip::Norm(limit.into()).bounds(squares.sqrt());
            if bounds.0 < 1.0 {
                each(gradients, n, |_, g| clip::apply_one(exec, g, bounds))?;
            }
            if norm.is_null() { Ok(()) } else { args::put(norm, squares.sqrt() as f32, "norm") }
        })
    })
}

/// Brings each gradient to within `limit` of 0; a NaN stays one. Arguments and errors: as q_grad_clip_norm.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_grad_clip_value(
    runtime: *const q_runtime,
    gradients: *const Tensor,
    n: usize,
    limit: f32,
) -> q_error_code {
    ffi!({
        let clip = Clip::Value(limit.into());
        clip.check()?;
        on(runtime, |exec| {
            each(gradients, n, |_, _| Ok(()))?;
            each(gradients, n, |_, g| clip::apply_one(exec, g, clip.bounds(0.0)))
        })
    })
}
