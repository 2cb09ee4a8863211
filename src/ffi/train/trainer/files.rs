//! What a trainer writes and reads: checkpoints, the model, an adapter.

use super::q_trainer;
use crate::adapter::base_hash;
use crate::ffi::args;
use crate::ffi::error::q_error_code;
use crate::ffi::handle;
use crate::ffi::types::type_of;
use crate::train::{checkpoint, export};
use std::ffi::c_char;

/// The type of q_trainer_export that leaves each tensor in the type it had.
pub const Q_TYPE_AS_IS: u32 = u32::MAX;

/// Writes a checkpoint to `path` (`len` bytes): weights, moments, and how many steps were taken; whole or not at all, with a
/// checksum. Errors: Q_ERR_IO; Q_ERR_STATE when a weight is NaN or infinite. A file that was there is then as it was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_trainer_save(trainer: *mut q_trainer, path: *const c_char, len: usize) -> q_error_code {
    ffi!({
        let held = handle::shared(trainer)?;
        let learner = held.lock()?;
        checkpoint::save(args::path(path, len, "path")?, &learner.trainer, &learner.state)
    })
}

/// Puts a checkpoint into a trainer of the same model and the same kind of optimizer; `step` (may be NULL) receives how many steps it
/// had taken. Errors: Q_ERR_NOT_FOUND; Q_ERR_FORMAT when it is cut or damaged; Q_ERR_STATE when it is another model's or
/// optimizer's. The trainer is then as it was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_trainer_load(
    trainer: *mut q_trainer,
    path: *const c_char,
    len: usize,
    step: *mut u64,
) -> q_error_code {
    ffi!({
        let held = handle::shared(trainer)?;
        let mut learner = held.lock()?;
        if !step.is_null() {
            args::pointer(step, "step")?;
        }
        learner.state = checkpoint::load(args::path(path, len, "path")?, &mut learner.trainer)?;
        if step.is_null() { Ok(()) } else { args::put(step, learner.state.step, "step") }
    })
}

/// Writes the model with its trained weights to `path` (`len` bytes) as a GGUF file, which loads again: the metadata and tensors
/// of the file it came from with the trained ones in their place; a model made by a q_builder becomes one of architecture `qorus`.
/// `type` is a q_type for the trained matrices, or Q_TYPE_AS_IS.
/// Errors: Q_ERR_UNSUPPORTED for a type that cannot be written, or any but F32 for a model made by a q_builder; Q_ERR_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_trainer_export(
    trainer: *mut q_trainer,
    path: *const c_char,
    len: usize,
    r#type: u32,
) -> q_error_code {
    ffi!({
        let held = handle::shared(trainer)?;
        let learner = held.lock()?;
        let ty = if r#type == Q_TYPE_AS_IS { None } else { Some(type_of("type", r#type)?) };
        export::export(&learner.trainer, args::path(path, len, "path")?, ty)
    })
}

/// Writes the adapter that is trained to `path` (`len` bytes) as a GGUF file that q_adapter_load and other programs read, with the hash of
/// its base. Errors: Q_ERR_STATE when none is trained; Q_ERR_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_trainer_export_adapter(
    trainer: *mut q_trainer,
    path: *const c_char,
    len: usize,
) -> q_error_code {
    ffi!({
        let held = handle::shared(trainer)?;
        let learner = held.lock()?;
        let path = args::path(path, len, "path")?;
        let mut adapter = learner.trainer.adapter()?;
        adapter.base = learner.trainer.model().gguf.as_deref().map(base_hash);
        adapter.write(path)
    })
}
