//! The operations on `q_tensor`s.

use super::args;
use super::error::{choice, q_error_code};
use super::handle;
use super::runtime::{Shared, q_runtime};
use super::tensor::{view, view_mut, view_opt};
use crate::error::Result;
use crate::memory::{self, Frame, Need};
use crate::ops::Exec;
use crate::ops::activation::Activation;
use crate::ops::attend::AttendParams;
use crate::ops::rope::RopeStyle;
use crate::ops::tensors::{self, Attention, Binary, Unary};
use crate::tensor::Tensor;
use crate::threads::Shards;
use std::ffi::c_void;
use std::sync::atomic::AtomicBool;

/// Activation functions.
#[repr(u32)]
pub enum q_activation {
    /// max(x, 0)
    Q_ACTIVATION_RELU = 0,
    /// x / (1 + exp(-x))
    Q_ACTIVATION_SILU = 1,
    /// GELU in its tanh form.
    Q_ACTIVATION_GELU = 2,
    /// GELU by the normal distribution's integral.
    Q_ACTIVATION_GELU_ERF = 3,
}

/// Which elements of a head a rotary embedding pairs.
#[repr(u32)]
pub enum q_rope_style {
    /// No rotary embedding.
    Q_ROPE_NONE = 0,
    /// Elements 2i and 2i + 1 (llama).
    Q_ROPE_NORM = 1,
    /// Elements i and i + half (GPT-NeoX).
    Q_ROPE_NEOX = 2,
}

/// The activation of that number.
pub(super) fn activation(id: u32) -> Result<Activation> {
    choice(
        "the activation",
        id,
        &[
            (q_activation::Q_ACTIVATION_RELU as u32, Activation::Relu),
            (q_activation::Q_ACTIVATION_SILU as u32, Activation::Silu),
            (q_activation::Q_ACTIVATION_GELU as u32, Activation::Gelu),
            (q_activation::Q_ACTIVATION_GELU_ERF as u32, Activation::GeluErf),
        ],
    )
}

/// The style of that number; None for no rotary embedding.
pub(super) fn rope_style(id: u32) -> Result<Option<RopeStyle>> {
    choice(
        "the style of the rotary embedding",
        id,
        &[
            (q_rope_style::Q_ROPE_NONE as u32, None),
            (q_rope_style::Q_ROPE_NORM as u32, Some(RopeStyle::Norm)),
            (q_rope_style::Q_ROPE_NEOX as u32, Some(RopeStyle::Neox)),
        ],
    )
}

/// Calls `f` with the runtime's kernels and threads, without scratch.
pub(super) fn exec<R>(runtime: &Shared, f: impl FnOnce(&Exec) -> R) -> R {
    with_scratch(runtime, &mut [], 0, f)
}

fn with_scratch<R>(runtime: &Shared, scratch: &mut [u8], each: usize, f: impl FnOnce(&Exec) -> R) -> R {
    let engine = &runtime.engine;
    let (scratch, cancel) = (Shards::new(scratch), AtomicBool::new(false));
    f(&Exec { kernels: &engine.kernels, pool: &engine.pool, scratch: &scratch, scratch_bytes: each, cancel: &cancel })
}

/// Checks the host's work memory and calls `f` with it: scratch of `each` bytes for every thread, and a frame.
unsafe fn with_work(
    runtime: &Shared,
    (each, need): (usize, Need),
    (work, bytes, needed): (*mut c_void, usize, *mut usize),
    f: impl FnOnce(&Exec, &mut Frame) -> Result<()>,
) -> Result<()> {
    // Wherever the host's memory begins, there is room to start at a multiple.
    let need = need.peak().saturating_add(memory::ALIGN - 1);
    // SAFETY: the host's pointers.
    let work = unsafe {
        args::room(need, bytes, needed, "bytes of work")?;
        args::slice_mut(work.cast::<u8>(), need, "work")?
    };
    memory::with_bytes(work, |frame| {
        let scratch = frame.take::<u8>(each.saturating_mul(runtime.engine.pool.len()))?;
        with_scratch(runtime, scratch, each, |exec| f(exec, frame))
    })
}

unsafe fn unary(runtime: *const q_runtime, op: Unary, x: *const Tensor, y: *mut Tensor) -> Result<()> {
    // SAFETY: the host's pointers.
    unsafe {
        let runtime = handle::shared(runtime)?;
        let (x, y) = (view(x, "x")?, view_mut(y, "y")?);
        exec(&runtime, |exec| tensors::unary(exec, op, &x, &y))
    }
}

unsafe fn binary(
    runtime: *const q_runtime,
    op: Binary,
    a: *const Tensor,
    b: *const Tensor,
    y: *mut Tensor,
) -> Result<()> {
    // SAFETY: the host's pointers.
    unsafe {
        let runtime = handle::shared(runtime)?;
        let (a, b, y) = (view(a, "a")?, view(b, "b")?, view_mut(y, "y")?);
        exec(&runtime, |exec| tensors::binary(exec, op, &a, &b, &y))
    }
}

/// y = activation(x), a q_activation; y may be x.
///
/// Of this and all operations below: tensors are F32 where nothing else is said, of any dimensions and strides as long as
/// the elements of a row (of the last dimension) lie one after another; y is written where it lies, may share memory
/// with no other tensor of the call but where that is said, and nothing is allocated.
/// Errors: Q_ERR_SHAPE, and Q_ERR_INVALID_ARGUMENT for memory that is shared, not aligned or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_activation(
    runtime: *const q_runtime,
    activation: u32,
    x: *const Tensor,
    y: *mut Tensor,
) -> q_error_code {
    ffi!({ unary(runtime, Unary::Activation(self::activation(activation)?), x, y) })
}

/// y = softmax of each row of x; y may be x.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_softmax(runtime: *const q_runtime, x: *const Tensor, y: *mut Tensor) -> q_error_code {
    ffi!({ unary(runtime, Unary::Softmax, x, y) })
}

/// y = factor * x; y may be x.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_scale(
    runtime: *const q_runtime,
    x: *const Tensor,
    factor: f32,
    y: *mut Tensor,
) -> q_error_code {
    ffi!({ unary(runtime, Unary::Scale(factor), x, y) })
}

/// y = cap * tanh(x / cap); y may be x.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_softcap(
    runtime: *const q_runtime,
    x: *const Tensor,
    cap: f32,
    y: *mut Tensor,
) -> q_error_code {
    ffi!({ unary(runtime, Unary::Softcap(cap), x, y) })
}

/// y = a + b; y may be a or b. b may be one row, which is added to each row of a, and is then not y.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_add(
    runtime: *const q_runtime,
    a: *const Tensor,
    b: *const Tensor,
    y: *mut Tensor,
) -> q_error_code {
    ffi!({ binary(runtime, Binary::Add, a, b, y) })
}

/// y = a * b, element by element; otherwise as q_tensor_add.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_mul(
    runtime: *const q_runtime,
    a: *const Tensor,
    b: *const Tensor,
    y: *mut Tensor,
) -> q_error_code {
    ffi!({ binary(runtime, Binary::Mul, a, b, y) })
}

/// y = silu(gate) * up; y may be gate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_silu_mul(
    runtime: *const q_runtime,
    gate: *const Tensor,
    up: *const Tensor,
    y: *mut Tensor,
) -> q_error_code {
    ffi!({ binary(runtime, Binary::SiluMul, gate, up, y) })
}

/// y = gelu(gate) * up, in the tanh form; y may be gate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_gelu_mul(
    runtime: *const q_runtime,
    gate: *const Tensor,
    up: *const Tensor,
    y: *mut Tensor,
) -> q_error_code {
    ffi!({ binary(runtime, Binary::GeluMul, gate, up, y) })
}

/// y = y + factor * x
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_axpy(
    runtime: *const q_runtime,
    factor: f32,
    x: *const Tensor,
    y: *mut Tensor,
) -> q_error_code {
    ffi!({
        let runtime = handle::shared(runtime)?;
        let (x, y) = (view(x, "x")?, view_mut(y, "y")?);
        exec(&runtime, |exec| tensors::axpy(exec, factor, &x, &y))
    })
}

/// The sum of a * b over all elements, to `sum`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_dot(
    runtime: *const q_runtime,
    a: *const Tensor,
    b: *const Tensor,
    sum: *mut f32,
) -> q_error_code {
    ffi!({
        let runtime = handle::shared(runtime)?;
        let (a, b) = (view(a, "a")?, view(b, "b")?);
        args::put(sum, exec(&runtime, |exec| tensors::dot(exec, &a, &b))?, "sum")
    })
}

/// y = x / sqrt(mean(x^2) + eps) * weight, each row alone; `weight` is one row.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_rmsnorm(
    runtime: *const q_runtime,
    x: *const Tensor,
    weight: *const Tensor,
    eps: f32,
    y: *mut Tensor,
) -> q_error_code {
    ffi!({
        let runtime = handle::shared(runtime)?;
        let (x, weight, y) = (view(x, "x")?, view(weight, "weight")?, view_mut(y, "y")?);
        exec(&runtime, |exec| tensors::rmsnorm(exec, &x, &weight, eps, &y))
    })
}

/// y = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias, each row alone; `bias` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_layernorm(
    runtime: *const q_runtime,
    x: *const Tensor,
    weight: *const Tensor,
    bias: *const Tensor,
    eps: f32,
    y: *mut Tensor,
) -> q_error_code {
    ffi!({
        let runtime = handle::shared(runtime)?;
        let (x, weight, y) = (view(x, "x")?, view(weight, "weight")?, view_mut(y, "y")?);
        let bias = view_opt(bias, "bias")?;
        exec(&runtime, |exec| tensors::layernorm(exec, &x, &weight, bias.as_ref(), eps, &y))
    })
}

/// Turns heads [rows][heads][head_dim] of dense x by the angles of their rows, whose cosines and sines are dense
/// [rows][half]: the first 2 * half elements of each head, paired as the q_rope_style says. y may be x.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_rope(
    runtime: *const q_runtime,
    style: u32,
    x: *const Tensor,
    cos: *const Tensor,
    sin: *const Tensor,
    y: *mut Tensor,
) -> q_error_code {
    ffi!({
        let runtime = handle::shared(runtime)?;
        let Some(style) = rope_style(style)? else {
            crate::error::fail!(InvalidArgument, "no style: give Q_ROPE_NORM or Q_ROPE_NEOX")
        };
        let (x, cos, sin, mut y) = (view(x, "x")?, view(cos, "cos")?, view(sin, "sin")?, view_mut(y, "y")?);
        exec(&runtime, |exec| tensors::rope(exec, style, &x, &cos, &sin, &mut y))
    })
}

/// y = x w^T + bias: dense x [..][in], dense weights [out][in] of F32, F16, BF16 or a block type, `bias` [out] or NULL,
/// dense y [..][out]. Against block types x is rounded to 8 bits in blocks of 32, as in every model.
///
/// `work` is memory of the host for the call; when `work_bytes` are too few the call is Q_ERR_BUFFER_TOO_SMALL, and
/// `needed` (may be NULL) says how many it takes. Errors: Q_ERR_SHAPE; Q_ERR_UNSUPPORTED for integer weights.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_matmul(
    runtime: *const q_runtime,
    x: *const Tensor,
    w: *const Tensor,
    bias: *const Tensor,
    y: *mut Tensor,
    work: *mut c_void,
    work_bytes: usize,
    needed: *mut usize,
) -> q_error_code {
    ffi!({
        let runtime = handle::shared(runtime)?;
        let (x, w, mut y) = (view(x, "x")?, view(w, "w")?, view_mut(y, "y")?);
        let bias = view_opt(bias, "bias")?;
        let need = tensors::matmul_need(runtime.engine.pool.len(), &w, x.rows());
        with_work(&runtime, need, (work, work_bytes, needed), |exec, frame| {
            tensors::matmul(exec, frame, &x, &w, bias.as_ref(), &mut y)
        })
    })
}

/// y = softmax(scale q k^T) v: dense queries [rows][heads][head_dim] of the positions `first` and following, dense keys and
/// values [kv heads][positions][head_dim] of F32, F16, Q8_0 or Q4_0, dense y as q. A row sees the positions up to its own,
/// or the last `window` of them if that is not 0. `scale` 0 is 1 / sqrt(head_dim); `softcap` 0 is none.
/// `work` as in q_tensor_matmul.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_attention(
    runtime: *const q_runtime,
    q: *const Tensor,
    k: *const Tensor,
    v: *const Tensor,
    first: u32,
    window: u32,
    scale: f32,
    softcap: f32,
    y: *mut Tensor,
    work: *mut c_void,
    work_bytes: usize,
    needed: *mut usize,
) -> q_error_code {
    ffi!({
        let runtime = handle::shared(runtime)?;
        let (q, k, v, mut y) = (view(q, "q")?, view(k, "k")?, view(v, "v")?, view_mut(y, "y")?);
        let scale = if scale == 0.0 { 1.0 / (q.width() as f32).sqrt() } else { scale };
        let params = AttendParams { n_head: 0, scale, softcap, window: window as usize };
        let job = Attention::new(&q, &k, &v, first, params)?;
        let need = job.need(runtime.engine.pool.len());
        with_work(&runtime, need, (work, work_bytes, needed), |exec, frame| {
            tensors::attention(exec, frame, &job, &q, &k, &v, &mut y)
        })
    })
}
