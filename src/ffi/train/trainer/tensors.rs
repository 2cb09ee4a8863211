//! What is trained, tensor by tensor, as the host sees it.

use super::{Learner, Published, q_trainer};
use crate::Type;
use crate::error::fail;
use crate::ffi::args;
use crate::ffi::context::q_context;
use crate::ffi::error::q_error_code;
use crate::ffi::handle;
use crate::layers::trained::Param;
use crate::tensor::Tensor;
use std::ffi::c_char;
use std::sync::Arc;

/// The number of tensors that are trained, to `n`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_trainer_tensors(trainer: *mut q_trainer, n: *mut u32) -> q_error_code {
    ffi!({ args::put(n, handle::shared(trainer)?.lock()?.trainer.trained().list().len() as u32, "n") })
}

/// Trained tensor `index`, counted from 0: its values to `weights` and its gradients to `gradients`, either of which may be NULL. They
/// are F32, views of the trainer's memory, valid until it is freed; the host may read and write them between calls, and
/// bind them to a q_optimizer. Errors: Q_ERR_INVALID_ARGUMENT when there is no such tensor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_trainer_tensor(
    trainer: *mut q_trainer,
    index: u32,
    weights: *mut Tensor,
    gradients: *mut Tensor,
) -> q_error_code {
    ffi!({
        let held = handle::shared(trainer)?;
        let mut learner = held.lock()?;
        let Some(found) = learner.trainer.trained().list().get(index as usize).copied() else {
            fail!(InvalidArgument, "tensor {index} of {}", learner.trainer.trained().list().len());
        };
        let dims = match found.param {
            Param::Matrix(w) => [w.rows as u64, w.cols as u64],
            Param::Vector(v) => [v.len as u64, 0],
            Param::Factor(site, factor) => site.shape(factor).map(|n| n as u64),
        };
        let dims = &dims[..if dims[1] == 0 { 1 } else { 2 }];
        let part = found.at..found.at + found.len;
        for (out, name) in [(weights, "weights"), (gradients, "gradients")] {
            if !out.is_null() {
                let all = match name {
                    "weights" => learner.trainer.values_mut(),
                    _ => learner.trainer.grads_mut(),
                };
                args::put(out, Tensor::dense(Type::F32, dims, all[part.clone()].as_mut_ptr().cast())?, name)?;
            }
        }
        Ok(())
    })
}

/// The name of trained tensor `index`: `cap` bytes at `buf`, without a NUL. `needed` (may be NULL) receives its bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_trainer_tensor_name(
    trainer: *mut q_trainer,
    index: u32,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> q_error_code {
    ffi!({
        let held = handle::shared(trainer)?;
        let learner = held.lock()?;
        let list = learner.trainer.optimizer().slots().list();
        match list.get(index as usize) {
            Some(param) => args::give(param.name.as_bytes(), buf.cast(), cap, needed, "bytes"),
            None => fail!(InvalidArgument, "tensor {index} of {}", list.len()),
        }
    })
}

/// Lets the trainer's context compute with the trained weights of this moment from now on; its sequences become empty. The first call
/// reserves a copy of them, later ones write over it. A context without such a call computes with the model's own weights.
/// Errors: Q_ERR_INVALID_ARGUMENT when the trainer is another context's; Q_ERR_BUDGET.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_trainer_publish(trainer: *mut q_trainer, context: *mut q_context) -> q_error_code {
    ffi!({
        let held = handle::shared(trainer)?;
        let mut context = handle::exclusive(context)?;
        if !context.trainer.upgrade().is_some_and(|own| Arc::ptr_eq(&own, &held)) {
            fail!(InvalidArgument, "the trainer does not belong to this context");
        }
        let mut learner = held.lock()?;
        let Learner { trainer, snapshot, .. } = &mut *learner;
        Published { trainer, snapshot }.to(&mut context.engine, &held)
    })
}
