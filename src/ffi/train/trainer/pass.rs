//! Passes by hand: forward, backward, a step.

use super::{Learner, of_context, q_trainer};
use crate::error::{Result, fail};
use crate::ffi::args;
use crate::ffi::context::q_context;
use crate::ffi::error::q_error_code;
use crate::ffi::handle;
use crate::ffi::model::q_model;
use crate::ffi::tensor::{view, view_mut};
use crate::models::Graph;
use crate::ops::attend::Place;
use crate::tensor::{Tensor, View};
use crate::train::clip::Clip;
use crate::train::examples::Slab;
use crate::train::optim::Outcome;

/// Takes a tensor of tokens or rows as the rows of a pass; their number.
fn fill(slab: &mut Slab, graph: &Graph, input: &View, longest: usize) -> Result<()> {
    let (in_width, dims) = (graph.in_width, input.dims());
    let leading = if in_width == 0 { dims } else { &dims[..dims.len() - 1] };
    if in_width > 0 && input.width() != in_width {
        fail!(Shape, "input {dims:?}: expected rows of {in_width}");
    }
    let rows = leading.iter().map(|&d| d as usize).product::<usize>();
    let len = match (leading, in_width) {
        // Rows of a model that looks at each alone.
        (_, 1..) if graph.caches.is_empty() => 1,
        ([n], _) | ([_, n], _) => *n as usize,
        _ => fail!(Shape, "input {dims:?}: expected one sequence, or [sequences][length]"),
    };
    let room = slab.places.len();
    if rows == 0 || rows > room || len > longest {
        fail!(Shape, "input {dims:?}: the trainer was made for 1 to {room} rows, in sequences of at most {longest}");
    }
    if in_width == 0 {
        let ids = input.i32s("input")?;
        if let Some(i) = ids.iter().position(|&id| id < 0) {
            fail!(InvalidArgument, "token {} at index {i} is negative", ids[i]);
        }
        slab.tokens[..rows].copy_from_slice(bytemuck::cast_slice(ids));
    } else {
        slab.x[..rows * in_width].copy_from_slice(input.f32s("input")?);
    }
    for (i, place) in slab.places[..rows].iter_mut().enumerate() {
        *place = Place { seq: (i / len) as u32, pos: (i % len) as u32 };
    }
    slab.rows = rows;
    Ok(())
}

/// As q_model_forward with the trained weights of the context's trainer, keeping what q_model_backward needs.
///
/// Input: I32 [n] tokens or [sequences][n]; F32 [n][in_width] rows or [sequences][n][in_width], dense. `output` is F32, dense, with
/// out_width elements for each row. Dropout is at work. The context's own sequences are not touched.
/// Errors: Q_ERR_STATE without a trainer; Q_ERR_SHAPE, also for more rows than `max_rows`; Q_ERR_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_model_forward_train(
    model: *const q_model,
    context: *mut q_context,
    input: *const Tensor,
    output: *mut Tensor,
) -> q_error_code {
    ffi!({
        let held = of_context(model, context)?;
        let mut learner = held.lock()?;
        let (input, mut output) = (view(input, "input")?, view_mut(output, "output")?);
        output.apart(&input, "input and output")?;
        let Learner { trainer, slab, passes, .. } = &mut *learner;
        let graph = &held.loaded.engine.graph;
        let out_width = graph.out_width();
        if output.view().width() != out_width {
            fail!(Shape, "output {:?}: expected rows of {out_width}", output.view().dims());
        }
        let y = output.f32s("output")?;
        fill(slab, graph, &input, trainer.params().longest)?;
        *passes += 1;
        trainer.forward(&slab.examples(), *passes, y)
    })
}

/// Goes back through the model from `loss_gradient`, the gradient of a loss by the output of the q_model_forward_train before, of
/// the same number of rows: adds to the gradients of the trainer's tensors. `layer_idx` 0: all the way; n: down to layer n, so that the
/// layers before it get no gradient. Layers are counted as in the file or the builder, a residual branch being one.
///
/// Each forward pass can be gone back through once. Gradients add up until q_trainer_step or q_trainer_zero_grad.
/// Errors: Q_ERR_STATE without a trainer or a forward pass; Q_ERR_SHAPE; Q_ERR_INVALID_ARGUMENT when there is no such layer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_model_backward(
    model: *mut q_model,
    context: *mut q_context,
    loss_gradient: *const Tensor,
    layer_idx: u32,
) -> q_error_code {
    ffi!({
        let held = of_context(model, context)?;
        let mut learner = held.lock()?;
        let dy = view(loss_gradient, "loss_gradient")?.f32s("loss_gradient")?;
        let Learner { trainer, slab, .. } = &mut *learner;
        if slab.rows == 0 {
            fail!(State, "there is no forward pass to go back through: call q_model_forward_train first");
        }
        trainer.backward(&slab.examples(), dy, layer_idx as usize)
    })
}

/// One step of all trained tensors with the trainer's optimizer. `clip_norm` bounds the norm of all gradients together, 0: nothing
/// does. `norm` (may be NULL) receives the norm before. The gradients become zeros.
/// Errors: Q_ERR_NOT_FINITE when a gradient is NaN or infinite: the message names it, and nothing is changed;
/// Q_ERR_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_trainer_step(
    trainer: *mut q_trainer,
    learning_rate: f32,
    clip_norm: f32,
    norm: *mut f32,
) -> q_error_code {
    ffi!({
        let held = handle::shared(trainer)?;
        let mut learner = held.lock()?;
        if !norm.is_null() {
            args::pointer(norm, "norm")?;
        }
        let clip = if clip_norm == 0.0 { Clip::None } else { Clip::Norm(clip_norm.into()) };
        let Learner { trainer, state, .. } = &mut *learner;
        match trainer.step(learning_rate.into(), clip)? {
            Outcome::Faulty(fault) => fail!(NotFinite, "{}", fault.describe(trainer.optimizer().slots())),
            Outcome::Taken { norm: found } => {
                state.step += 1;
                if norm.is_null() { Ok(()) } else { args::put(norm, found as f32, "norm") }
            }
        }
    })
}

/// Makes zeros of all gradients.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_trainer_zero_grad(trainer: *mut q_trainer) -> q_error_code {
    ffi!({ handle::shared(trainer)?.lock()?.trainer.zero_grad() })
}
