//! `q_model_forward`: a model of any architecture as a function of a tensor.

use super::context::q_context;
use super::error::q_error_code;
use super::handle;
use super::model::q_model;
use super::tensor::{view, view_mut};
use crate::engine::Context;
use crate::error::{Result, fail};
use crate::tensor::{Tensor, View, ViewMut};
use qorus_kernels::Type;
use std::sync::Arc;

/// Runs a model of any architecture on `input` alone: what sequence 0 held is forgotten first.
///
/// A model of tokens takes I32 [n], one of rows F32 [n][in_width] (or [in_width]). `output` is F32: [n][out_width] for the
/// results of all rows, or [out_width] for that of the last. Both are dense. `context` is one of `model`; sequence 0 holds
/// the input afterwards, so that q_context_append can continue it. Nothing is allocated.
/// Errors: Q_ERR_SHAPE; Q_ERR_INVALID_ARGUMENT for a token outside the vocabulary; Q_ERR_CONTEXT_FULL for more rows than the
/// context has positions, if the model has attention; Q_ERR_CANCELLED; Q_ERR_FILE_CHANGED. Sequence 0 is then empty.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_model_forward(
    model: *const q_model,
    context: *mut q_context,
    input: *const Tensor,
    output: *mut Tensor,
) -> q_error_code {
    ffi!({
        let model = handle::shared(model)?;
        let mut context = handle::exclusive(context)?;
        if !Arc::ptr_eq(&context.model, &model) {
            fail!(InvalidArgument, "the context is of another model");
        }
        let (input, mut output) = (view(input, "input")?, view_mut(output, "output")?);
        output.apart(&input, "input and output")?;
        let engine = &mut context.engine;
        engine.truncate(0, 0)?;
        let result = forward(engine, &input, &mut output);
        if result.is_err() {
            engine.truncate(0, 0)?;
        }
        result
    })
}

fn forward(engine: &mut Context, input: &View, output: &mut ViewMut) -> Result<()> {
    let graph = &engine.model().graph;
    let (in_width, out_width) = (graph.in_width, graph.out_width());
    let stateless = graph.caches.is_empty();
    let tokens = if in_width == 0 {
        let ids = input.i32s("input")?;
        if input.dims().len() != 1 {
            fail!(Shape, "input {:?}: expected [n] tokens", input.dims());
        }
        if let Some(i) = ids.iter().position(|&id| id < 0) {
            fail!(InvalidArgument, "token {} at index {i} is negative", ids[i]);
        }
        Some(bytemuck::cast_slice::<i32, u32>(ids))
    } else {
        if input.dims().len() > 2 || input.width() != in_width {
            fail!(Shape, "input {:?}: expected [n][{in_width}]", input.dims());
        }
        input.is(Type::F32, "input")?;
        None
    };
    let n = tokens.map_or(input.rows(), <[u32]>::len);
    let dims = output.view().dims();
    let last = dims.len() == 1;
    if n == 0 || dims.len() > 2 || output.view().width() != out_width || (!last && output.view().rows() != n) {
        fail!(Shape, "output {dims:?} for {n} rows: expected [{n}][{out_width}], or [{out_width}] for the last");
    }
    // SAFETY: the input is apart, and everything else that is read belongs to the library.
    let out = unsafe { output.f32s("output") }?;
    let step = engine.params().n_outputs;
    if last && let Some(ids) = tokens {
        engine.append(0, ids)?;
        out.copy_from_slice(engine.logits(0)?);
        return Ok(());
    }
    let rows = if tokens.is_none() { input.f32s("input")? } else { &[] };
    for from in (0..n).step_by(step) {
        let to = n.min(from + step);
        if stateless {
            engine.truncate(0, 0)?;
        }
        match tokens {
            Some(ids) => engine.append_all(0, &ids[from..to])?,
            None => engine.forward_rows(&rows[from * in_width..to * in_width])?,
        }
        if last {
            out.copy_from_slice(engine.logits(to - from - 1)?);
            continue;
        }
        for i in from..to {
            out[i * out_width..(i + 1) * out_width].copy_from_slice(engine.logits(i - from)?);
        }
    }
    Ok(())
}
