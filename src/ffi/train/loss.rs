//! `q_loss_*`: mean squared error and cross-entropy of tensors, and their gradients.

use crate::error::{Result, fail};
use crate::ffi::error::{choice, q_error_code, unused};
use crate::ffi::params::{self, Params, Report};
use crate::ffi::runtime::q_runtime;
use crate::ffi::tensor::{view, view_mut, view_opt};
use crate::ffi::{args, handle, ops};
use crate::memory::{self, ALIGN};
use crate::ops::Exec;
use crate::tensor::{Tensor, View, ViewMut};
use crate::threads::{Pool, Shards};
use crate::train::loss::{self, CrossEntropy, IGNORED, Logits, Reduction, Targets, Total};
use crate::{Isa, Type};
use qorus_kernels::Kernels;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

/// Losses.
#[repr(u32)]
pub enum q_loss_type {
    /// The squares of the differences.
    Q_LOSS_MSE = 0,
    /// The cross-entropy of logits: -log(softmax(logits)[target]).
    Q_LOSS_CROSSENTROPY = 1,
}

/// How the losses of a batch become one.
#[repr(u32)]
pub enum q_reduction {
    /// Their mean: of squares over all elements, of cross-entropy over the rows that count, by their classes' weights.
    Q_REDUCTION_MEAN = 0,
    /// Their sum.
    Q_REDUCTION_SUM = 1,
}

/// What q_loss_compute computes. Fill it with q_loss_params_init first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_loss_params {
    /// sizeof(q_loss_params), set by q_loss_params_init.
    pub size: u32,
    /// A q_loss_type (Q_LOSS_CROSSENTROPY).
    pub r#type: u32,
    /// A q_reduction (Q_REDUCTION_MEAN).
    pub reduction: u32,
    /// The class of rows that do not count (-100).
    pub ignored: i32,
    /// The share of the target that is spread evenly over all classes, from 0 (the default) to 1.
    pub label_smoothing: f32,
    /// 0.
    pub reserved: u32,
    /// A weight for each class, by which the losses of its rows are multiplied: F32 [classes], or NULL. Not with targets that
    /// are distributions.
    pub class_weights: *const Tensor,
    /// Whose threads and kernels compute; NULL: the calling thread alone. The result is the same to the bit.
    pub runtime: *const q_runtime,
}

// SAFETY: as the trait demands.
unsafe impl Params for q_loss_params {
    const NAME: &'static str = "q_loss_params";

    fn defaults() -> Self {
        q_loss_params {
            size: size_of::<Self>() as u32,
            r#type: q_loss_type::Q_LOSS_CROSSENTROPY as u32,
            reduction: q_reduction::Q_REDUCTION_MEAN as u32,
            ignored: IGNORED,
            label_smoothing: 0.0,
            reserved: 0,
            class_weights: std::ptr::null(),
            runtime: std::ptr::null(),
        }
    }
}

/// What q_loss_compute found.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_loss_result {
    /// Bytes of this struct that were filled.
    pub size: u32,
    /// 0.
    pub reserved: u32,
    /// The loss; 0 when nothing counts.
    pub loss: f64,
    /// Rows that counted; for squares, elements.
    pub counted: u64,
    /// What the sum of losses is divided by for a mean: `counted`, unless classes have weights.
    pub weight: f64,
    /// Rows whose target had the greatest logit; 0 for squares.
    pub correct: u64,
}

// SAFETY: as the trait demands.
unsafe impl Report for q_loss_result {
    const NAME: &'static str = "q_loss_result";
}

/// What is asked for, checked but for shapes.
struct Question<'a> {
    squares: bool,
    reduction: Reduction,
    ignored: i32,
    smoothing: f32,
    weights: Option<&'a [f32]>,
}

impl Question<'_> {
    /// The mean of that loss, and nothing else.
    fn mean(loss: q_loss_type) -> Self {
        let squares = matches!(loss, q_loss_type::Q_LOSS_MSE);
        Question { squares, reduction: Reduction::Mean, ignored: IGNORED, smoothing: 0.0, weights: None }
    }
}

/// Calls `f` with kernels of that level, or of the CPU's highest, on the calling thread alone.
pub(super) fn alone<R>(level: Option<Isa>, f: impl FnOnce(&Exec) -> Result<R>) -> Result<R> {
    // Which function serves which operation: it follows from the CPU alone, and never changes.
    static HIGHEST: OnceLock<Option<Kernels>> = OnceLock::new();
    static AVX2: OnceLock<Option<Kernels>> = OnceLock::new();
    let kernels = match level {
        None => HIGHEST.get_or_init(|| Kernels::new(Isa::detect())),
        Some(level) => AVX2.get_or_init(|| Kernels::new(level)),
    };
    let Some(kernels) = kernels else {
        fail!(Isa, "this CPU has no {}; its highest level is {}", Isa::Avx2.name(), Isa::detect().name())
    };
    let (pool, scratch, cancel) = (Pool::alone(), Shards::new(&mut []), AtomicBool::new(false));
    f(&Exec { kernels, pool: &pool, scratch: &scratch, scratch_bytes: 0, cancel: &cancel })
}

fn mse(exec: &Exec, p: &View, t: &View, reduction: Reduction, g: Option<&mut ViewMut>) -> Result<q_loss_result> {
    p.same_dims(t, "predictions and targets")?;
    let (p, t) = (p.f32s("predictions")?, t.f32s("targets")?);
    if let Some(g) = g {
        // SAFETY: the caller checked that it is apart.
        loss::mse_grad(exec, p, t, reduction, unsafe { g.f32s("gradients") }?)?;
    }
    let loss = loss::mse_sliced(exec, p, t, reduction)?;
    Ok(q_loss_result { size: 0, reserved: 0, loss, counted: p.len() as u64, weight: p.len() as f64, correct: 0 })
}

/// The targets of logits of those dimensions.
fn targets<'a>(t: &View<'a>, dims: &[u64], rows: usize) -> Result<Targets<'a>> {
    match t.ty() {
        Type::I32 => {
            let leading = &dims[..dims.len() - 1];
            let fits = t.dims() == leading
                || t.dims().split_last() == Some((&1, leading))
                || (t.dims().len() == 1 && t.dims()[0] == rows as u64);
            if !fits {
                fail!(
                    Shape,
                    "targets {:?} for predictions {dims:?}: expected a class for each row, {leading:?}",
                    t.dims()
                );
            }
            Ok(Targets::Classes(t.i32s("targets")?))
        }
        Type::F32 if t.dims() == dims => Ok(Targets::Distributions(t.f32s("targets")?)),
        Type::F32 => fail!(Shape, "targets {:?} for predictions {dims:?}: distributions have the same", t.dims()),
        other => fail!(Shape, "targets are {}, expected I32 classes or F32 distributions", other.name()),
    }
}

fn cross_entropy(
    exec: &Exec,
    (p, t): (&View, &View),
    question: &Question,
    g: Option<&mut ViewMut>,
) -> Result<q_loss_result> {
    /// Rows that are computed together.
    const SLICE: usize = 1024;
    let (rows, classes) = (p.rows(), p.width());
    let t = targets(t, p.dims(), rows)?;
    let ce =
        CrossEntropy { classes, smoothing: question.smoothing, ignored: question.ignored, weights: question.weights };
    let weight = ce.count(t)?.weight;
    let scale = match question.reduction {
        Reduction::Mean if weight > 0.0 => 1.0 / weight,
        Reduction::Mean | Reduction::Sum => 1.0,
    };
    let in_place = g.as_deref().is_some_and(|g| g.same_row(p));
    let x = if in_place { &[] } else { p.f32s("predictions")? };
    // SAFETY: it is apart from the predictions, or it is the predictions, of which there is then no other slice.
    let mut g = g.map(|g| unsafe { g.f32s("gradients") }).transpose()?;
    let mut total = Total::default();
    let mut memory = [0u8; 5 * SLICE + 4 * ALIGN];
    for from in (0..rows).step_by(SLICE) {
        let to = rows.min(from + SLICE);
        let at = from * classes..to * classes;
        let t = match t {
            Targets::Classes(t) => Targets::Classes(&t[from..to]),
            Targets::Distributions(t) => Targets::Distributions(&t[at.clone()]),
        };
        let logits = match &mut g {
            None => Logits::Read(&x[at]),
            Some(g) if in_place => Logits::InPlace(&mut g[at]),
            Some(g) => Logits::To(&x[at.clone()], &mut g[at]),
        };
        memory::with_bytes(&mut memory, |frame| ce.rows(exec, frame, logits, t, scale, &mut total))?;
    }
    let loss = match question.reduction {
        Reduction::Mean => total.mean().unwrap_or(0.0),
        Reduction::Sum => total.loss,
    };
    let (counted, correct) = (total.rows as u64, total.hits as u64);
    Ok(q_loss_result { size: 0, reserved: 0, loss, counted, weight: total.weight, correct })
}

/// Checks the tensors and computes.
unsafe fn compute(
    exec: &Exec,
    question: &Question,
    (predictions, targets): (*const Tensor, *const Tensor),
    gradients: Option<*mut Tensor>,
) -> Result<q_loss_result> {
    // SAFETY: the host's pointers.
    let (p, t) = unsafe { (view(predictions, "predictions")?, view(targets, "targets")?) };
    let mut g = match gradients {
        None => None,
        // SAFETY: the host's pointer.
        Some(g) => Some(unsafe { view_mut(g, "gradients") }?),
    };
    if let Some(g) = &g {
        g.view().same_dims(&p, "predictions and gradients")?;
        g.apart(&t, "targets and gradients")?;
        match question.squares {
            true => g.apart(&p, "predictions and gradients")?,
            false => g.same_or_apart(&p, "predictions and gradients")?,
        }
    }
    match question.squares {
        true => mse(exec, &p, &t, question.reduction, g.as_mut()),
        false => cross_entropy(exec, (&p, &t), question, g.as_mut()),
    }
}

/// The mean loss, to `loss_value`.
unsafe fn value(
    level: Option<Isa>,
    loss: q_loss_type,
    tensors: (*const Tensor, *const Tensor),
    loss_value: *mut f32,
) -> Result<()> {
    args::pointer(loss_value, "loss_value")?;
    // SAFETY: the host's pointers.
    let result = alone(level, |exec| unsafe { compute(exec, &Question::mean(loss), tensors, None) })?;
    // SAFETY: as above.
    unsafe { args::put(loss_value, result.loss as f32, "loss_value") }
}

/// The gradient of the mean loss, to `gradients`.
unsafe fn gradient(
    level: Option<Isa>,
    loss: q_loss_type,
    tensors: (*const Tensor, *const Tensor),
    gradients: *mut Tensor,
) -> Result<()> {
    // SAFETY: the host's pointers.
    alone(level, |exec| unsafe { compute(exec, &Question::mean(loss), tensors, Some(gradients)) }).map(drop)
}

/// The mean of (p - t)^2 over all N elements, to `loss_value`.
///
/// Of all losses: tensors are dense F32 of any dimensions, the same for predictions, targets and gradients where nothing else is
/// said. They are computed by the calling thread alone, with the CPU's best kernels; q_loss_compute takes a runtime's threads.
/// Nothing is allocated. A NaN or an infinity among the predictions is found in the result; it is no error.
/// Errors: Q_ERR_SHAPE; Q_ERR_INVALID_ARGUMENT. On an error nothing is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_loss_mse(
    predictions: *const Tensor,
    targets: *const Tensor,
    loss_value: *mut f32,
) -> q_error_code {
    ffi!({ value(None, q_loss_type::Q_LOSS_MSE, (predictions, targets), loss_value) })
}

/// The gradient of q_loss_mse by the predictions: 2 (p - t) / N.
///
/// Of all gradients: they are those of the mean losses, as finite differences and PyTorch have them; to multiply them by a
/// factor is to multiply the loss by it. Here they replace what `gradients` held; they are not added to it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_loss_mse_grad(
    predictions: *const Tensor,
    targets: *const Tensor,
    gradients: *mut Tensor,
) -> q_error_code {
    ffi!({ gradient(None, q_loss_type::Q_LOSS_MSE, (predictions, targets), gradients) })
}

/// The mean of -log(softmax(p)[t]) over the rows that count, in nats, to `loss_value`; 0 when none does.
///
/// Predictions are logits, [...][classes]: any number of rows. Targets are I32, a class for each row ([...], [...][1], or [rows]),
/// of which -100 says that the row does not count; or F32 [...][classes], a distribution for each row, all of which count.
/// Errors: Q_ERR_INVALID_ARGUMENT for any other number that is no class; Q_ERR_SHAPE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_loss_crossentropy(
    predictions: *const Tensor,
    targets: *const Tensor,
    loss_value: *mut f32,
) -> q_error_code {
    ffi!({ value(None, q_loss_type::Q_LOSS_CROSSENTROPY, (predictions, targets), loss_value) })
}

/// The gradient of q_loss_crossentropy by the predictions: (softmax(p) - onehot(t)) / count, and 0 in rows that do not count.
/// `gradients` may be the predictions themselves, which they then replace.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_loss_crossentropy_grad(
    predictions: *const Tensor,
    targets: *const Tensor,
    gradients: *mut Tensor,
) -> q_error_code {
    ffi!({ gradient(None, q_loss_type::Q_LOSS_CROSSENTROPY, (predictions, targets), gradients) })
}

/// As q_loss_mse with the kernels of Q_ISA_AVX2 and no other. Errors: Q_ERR_ISA when the CPU lacks it, of this and the three below.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_loss_mse_avx2(
    predictions: *const Tensor,
    targets: *const Tensor,
    loss_value: *mut f32,
) -> q_error_code {
    ffi!({ value(Some(Isa::Avx2), q_loss_type::Q_LOSS_MSE, (predictions, targets), loss_value) })
}

/// As q_loss_mse_grad, likewise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_loss_mse_grad_avx2(
    predictions: *const Tensor,
    targets: *const Tensor,
    gradients: *mut Tensor,
) -> q_error_code {
    ffi!({ gradient(Some(Isa::Avx2), q_loss_type::Q_LOSS_MSE, (predictions, targets), gradients) })
}

/// As q_loss_crossentropy, likewise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_loss_crossentropy_avx2(
    predictions: *const Tensor,
    targets: *const Tensor,
    loss_value: *mut f32,
) -> q_error_code {
    ffi!({ value(Some(Isa::Avx2), q_loss_type::Q_LOSS_CROSSENTROPY, (predictions, targets), loss_value) })
}

/// As q_loss_crossentropy_grad, likewise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_loss_crossentropy_grad_avx2(
    predictions: *const Tensor,
    targets: *const Tensor,
    gradients: *mut Tensor,
) -> q_error_code {
    ffi!({ gradient(Some(Isa::Avx2), q_loss_type::Q_LOSS_CROSSENTROPY, (predictions, targets), gradients) })
}

/// Fills `params` with defaults. `size` is sizeof(q_loss_params).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_loss_params_init(params: *mut q_loss_params, size: usize) -> q_error_code {
    ffi!({ params::init(params, size) })
}

/// A loss and its gradient in one call, with all that can be chosen: `params` may be NULL, which is q_loss_crossentropy. The gradient
/// goes to `gradients`, which may be NULL; `result` may be NULL too, and `size` is then 0, otherwise sizeof(q_loss_result).
/// Errors: as those of the loss; Q_ERR_INVALID_ARGUMENT for numbers out of range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_loss_compute(
    params: *const q_loss_params,
    predictions: *const Tensor,
    targets: *const Tensor,
    gradients: *mut Tensor,
    result: *mut q_loss_result,
    size: usize,
) -> q_error_code {
    ffi!({
        let p = params::read(params)?;
        unused("reserved", p.reserved)?;
        let (mse, classes) = (q_loss_type::Q_LOSS_MSE as u32, q_loss_type::Q_LOSS_CROSSENTROPY as u32);
        let (mean, sum) = (q_reduction::Q_REDUCTION_MEAN as u32, q_reduction::Q_REDUCTION_SUM as u32);
        let weights = match view_opt(p.class_weights, "class_weights")? {
            None => None,
            Some(w) if w.dims().len() == 1 => Some(w.f32s("class_weights")?),
            Some(w) => fail!(Shape, "class_weights {:?}: expected [classes]", w.dims()),
        };
        let question = Question {
            squares: choice("the type of the loss", p.r#type, &[(mse, true), (classes, false)])?,
            reduction: choice("reduction", p.reduction, &[(mean, Reduction::Mean), (sum, Reduction::Sum)])?,
            ignored: p.ignored,
            smoothing: p.label_smoothing,
            weights,
        };
        let tensors = (predictions, targets);
        let gradients = (!gradients.is_null()).then_some(gradients);
        if !result.is_null() {
            params::check_report(result, size)?;
        }
        let found = if p.runtime.is_null() {
            alone(None, |exec| compute(exec, &question, tensors, gradients))?
        } else {
            let runtime = handle::shared(p.runtime)?;
            ops::exec(&runtime, |exec| compute(exec, &question, tensors, gradients))?
        };
        if result.is_null() { Ok(()) } else { params::report(found, result, size) }
    })
}
