//! `q_trainer`: what learns of a context's model, and passes through it by hand.

use super::budget::Part;
use super::loss::q_loss_type;
use super::optimizer::{self, q_optimizer_params};
use crate::adapter::{Kind, base_hash};
use crate::engine::{self, ContextParams};
use crate::error::{Result, fail, try_vec};
use crate::ffi::context::q_context;
use crate::ffi::error::{choice, q_error_code, unused};
use crate::ffi::handle::{self, Opaque};
use crate::ffi::model::{Loaded, q_model, q_plan};
use crate::ffi::params::{self, Params};
use crate::ffi::runtime::Charge;
use crate::ffi::tensor::{view, view_mut, view_opt};
use crate::ffi::types::type_of;
use crate::ffi::{args, boundary};
use crate::gguf::Gguf;
use crate::layers::keep::Keep;
use crate::layers::trained::{Param, Snapshot};
use crate::memory::Plan;
use crate::models::Graph;
use crate::ops::attend::Place;
use crate::tensor::{Tensor, View};
use crate::train::checkpoint::{self, State};
use crate::train::clip::Clip;
use crate::train::control::{Control, Wish};
use crate::train::examples::Slab;
use crate::train::layout::{self, name_in};
use crate::train::optim::{Group, Outcome};
use crate::train::trainer::{Trainer, TrainerParams};
use crate::train::{AdapterParams, Objective, export};
use crate::{Type, threads};
use std::ffi::{CStr, c_char, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// Writable copies of what is trained of a model, their gradients, the moments of an optimizer, and the memory of one pass.
///
/// It belongs to the context it was made for, which has one at most; the model stays as it is. One call at a time, but for
/// q_trainer_pause, q_trainer_resume and q_trainer_stop, which are for other threads and for callbacks.
pub struct q_trainer {
    _opaque: [u8; 0],
}

/// Says of the tensor `name` (`len` bytes, no NUL) whether it is trained: other than 0 if so.
pub type q_trained_fn = Option<unsafe extern "C" fn(name: *const c_char, len: usize, user: *mut c_void) -> i32>;

/// What a trainer is made for. Fill it with q_trainer_params_init first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_trainer_params {
    /// sizeof(q_trainer_params), set by q_trainer_params_init.
    pub size: u32,
    /// A q_loss_type: Q_LOSS_CROSSENTROPY (the default) with a class for each row, Q_LOSS_MSE with values. For q_model_train;
    /// between q_model_forward_train and q_model_backward any loss can stand.
    pub r#type: u32,
    /// The most rows (tokens) of a pass (512).
    pub max_rows: u32,
    /// The most rows of a sequence; 0: `max_rows`.
    pub max_len: u32,
    /// Rows whose results are computed together; 0: as many as take 32 MB.
    pub slice: u32,
    /// What is kept of a forward pass for the way back. 0: everything, in f32. 1: the inputs of residual branches, and the rest is
    /// computed again: less memory, more time, the same bits. 2: what lies inside layers rounded to bf16.
    pub activations: u32,
    /// The share of the target that is spread evenly over all classes, from 0 (the default) to 1.
    pub label_smoothing: f32,
    /// The most batches whose gradients make one step of q_model_train (1).
    pub accumulate: u32,
    /// A weight for each class: F32 [classes], or NULL. Copied.
    pub class_weights: *const Tensor,
    /// The optimizer's numbers, copied; NULL: AdamW with a weight decay of 0.01. The rate is given with each step; norms and
    /// biases have neither decay nor L1 penalty.
    pub optimizer: *const q_optimizer_params,
    /// Decides dropout.
    pub seed: u64,
    /// Bytes that model and trainer may come to, mapped weights not counted; 0: no limit but the context's and the runtime's.
    pub budget: u64,
    /// Which tensors are trained; NULL: all. Called while the trainer is made.
    pub trained: q_trained_fn,
    /// Handed to `trained`.
    pub user: *mut c_void,
    /// The rank of an adapter to train; 0 (the default): none. With one, tensors themselves are trained only where `trained` says so.
    pub adapter_rank: u32,
    /// A q_adapter_kind (Q_ADAPTER_LORA).
    pub adapter_kind: u32,
    /// The numerator of the adapter's scale; 0: twice the rank.
    pub adapter_alpha: f32,
    /// The probability that an element of the adapter's inputs is dropped, from 0 (the default) to below 1.
    pub adapter_dropout: f32,
    /// What the adapter is on, NUL-terminated words with commas between: q, k, v, o, gate, up, down, experts, shared, head; NULL: all but
    /// the head. Copied.
    pub adapter_targets: *const c_char,
    /// 1: the products of frozen blocks round what goes in to 8 bits on the way forward, as inference does; faster, and the way back is
    /// that of exact products (0).
    pub eight_bit: u32,
    /// 0.
    pub reserved: u32,
}

/// How an adapter changes its matrices.
#[repr(u32)]
pub enum q_adapter_kind {
    /// W + alpha / rank * B A
    Q_ADAPTER_LORA = 0,
    /// W + alpha / sqrt(rank) * B A
    Q_ADAPTER_RSLORA = 1,
    /// As Q_ADAPTER_LORA, each row brought to a length of its own.
    Q_ADAPTER_DORA = 2,
}

// SAFETY: as the trait demands.
unsafe impl Params for q_trainer_params {
    const NAME: &'static str = "q_trainer_params";

    fn defaults() -> Self {
        q_trainer_params {
            size: size_of::<Self>() as u32,
            r#type: q_loss_type::Q_LOSS_CROSSENTROPY as u32,
            max_rows: 512,
            max_len: 0,
            slice: 0,
            activations: 0,
            label_smoothing: 0.0,
            accumulate: 1,
            class_weights: std::ptr::null(),
            optimizer: std::ptr::null(),
            seed: 0,
            budget: 0,
            trained: None,
            user: std::ptr::null_mut(),
            adapter_rank: 0,
            adapter_kind: q_adapter_kind::Q_ADAPTER_LORA as u32,
            adapter_alpha: 0.0,
            adapter_dropout: 0.0,
            adapter_targets: std::ptr::null(),
            eight_bit: 0,
            reserved: 0,
        }
    }
}

/// The type of q_trainer_export that leaves each tensor in the type it had.
pub const Q_TYPE_AS_IS: u32 = u32::MAX;

/// Values that a context runs on, and what they are charged to.
type Shown = (Arc<Snapshot>, Charge, Part);

/// What is used by one call at a time.
pub(super) struct Learner {
    pub trainer: Trainer,
    /// The rows of the last q_model_forward_train.
    slab: Slab,
    /// Passes that were taken by hand.
    passes: u64,
    /// What a checkpoint says beside the trainer.
    pub state: State,
    /// What the context was given to run on, with the memory it takes.
    pub snapshot: Option<Shown>,
    _charge: Charge,
    _part: Part,
}

/// What a `q_trainer` holds; its context knows of it.
pub(in crate::ffi) struct Held {
    learner: Mutex<Learner>,
    /// By which a run is held; a new one after each.
    control: Mutex<Arc<Control>>,
    loaded: Arc<Loaded>,
    budget: Arc<super::Budget>,
}

impl Opaque for q_trainer {
    type Value = Arc<Held>;
    type Side = ();
    const NAME: &'static str = "q_trainer";
}

impl Held {
    /// The trainer, for this call alone.
    pub(super) fn lock(&self) -> Result<MutexGuard<'_, Learner>> {
        match self.learner.try_lock() {
            Ok(learner) => Ok(learner),
            Err(TryLockError::WouldBlock) => {
                fail!(State, "another call is using this q_trainer: one at a time, and none from its callbacks")
            }
            Err(TryLockError::Poisoned(_)) => {
                fail!(State, "a defect inside an earlier call poisoned this q_trainer: it can only be freed")
            }
        }
    }

    /// By which the run under way, or else the next one, is held.
    pub(super) fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// After a run: what was wished of it is no wish for the next one.
    pub(super) fn renew(&self) {
        *self.control.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(Control::new());
    }
}

/// A snapshot that is made at first use and then kept up.
pub(super) struct Published<'a> {
    pub trainer: &'a Trainer,
    pub snapshot: &'a mut Option<Shown>,
}

impl Published<'_> {
    /// Lets the context run on the values of this moment.
    pub fn to(self, context: &mut engine::Context, held: &Held) -> Result<()> {
        if self.snapshot.is_none() {
            let bytes = size_of_val(self.trainer.values());
            let part = held.budget.take(bytes, "the trained weights")?;
            let charge = held.loaded.runtime.charge(bytes, "the trained weights")?;
            *self.snapshot = Some((Arc::new(self.trainer.snapshot()?), charge, part));
        }
        let Some((snapshot, ..)) = self.snapshot else { return Ok(()) };
        // The context gives its own share back, so that this is the only one.
        context.set_snapshot(None)?;
        match Arc::get_mut(snapshot) {
            Some(own) => self.trainer.update(own)?,
            None => *snapshot = Arc::new(self.trainer.snapshot()?),
        }
        context.set_snapshot(Some(Arc::clone(snapshot)))?;
        Ok(())
    }
}

/// The library's parameters of those of the host.
unsafe fn engine_params(p: &q_trainer_params) -> Result<TrainerParams> {
    if p.accumulate == 0 || p.accumulate > 1 << 16 {
        fail!(InvalidArgument, "accumulate is {}: give 1 to 65536 batches of a step", p.accumulate);
    }
    // SAFETY: the host's pointer.
    let weights = match unsafe { view_opt(p.class_weights, "class_weights") }? {
        None => None,
        Some(w) if w.dims().len() != 1 => fail!(Shape, "class_weights {:?}: expected [classes]", w.dims()),
        Some(w) => {
            let mut own = try_vec(w.width(), "weights of classes")?;
            own.extend_from_slice(w.f32s("class_weights")?);
            Some(own)
        }
    };
    let (mse, classes) = (q_loss_type::Q_LOSS_MSE as u32, q_loss_type::Q_LOSS_CROSSENTROPY as u32);
    let objective = match choice("the type of the loss", p.r#type, &[(mse, true), (classes, false)])? {
        true if weights.is_some() => fail!(InvalidArgument, "class_weights do not go with Q_LOSS_MSE"),
        true => Objective::Values,
        false => Objective::Classes { smoothing: p.label_smoothing, weights },
    };
    // SAFETY: the host's pointer.
    let mut o = unsafe { params::read(p.optimizer) }?;
    if p.optimizer.is_null() {
        o.weight_decay = 0.01;
    }
    let group = Group { decay: o.weight_decay, l1: o.l1_regularization, ..Group::default() };
    Ok(TrainerParams {
        rows: p.max_rows as usize,
        longest: if p.max_len == 0 { p.max_rows } else { p.max_len } as usize,
        slice: p.slice as usize,
        keep: choice("activations", p.activations, &[(0, Keep::F32), (1, Keep::Inputs), (2, Keep::Bf16)])?,
        objective,
        method: optimizer::method(&o)?,
        groups: [group, Group::default()],
        // One more, for the rows of passes by hand.
        passes: p.accumulate as usize + 1,
        // SAFETY: the host's string.
        adapter: unsafe { adapter_params(p) }?,
        eight: choice("eight_bit", p.eight_bit, &[(0, false), (1, true)])?,
        seed: p.seed,
        budget: usize::try_from(p.budget).unwrap_or(usize::MAX),
    })
}

/// The adapter that the host wants trained.
unsafe fn adapter_params(p: &q_trainer_params) -> Result<Option<AdapterParams>> {
    unused("reserved", p.reserved)?;
    if p.adapter_rank == 0 {
        return Ok(None);
    }
    let kinds = [
        (q_adapter_kind::Q_ADAPTER_LORA as u32, Kind::Lora),
        (q_adapter_kind::Q_ADAPTER_RSLORA as u32, Kind::RsLora),
        (q_adapter_kind::Q_ADAPTER_DORA as u32, Kind::Dora),
    ];
    let mut targets = Vec::new();
    if !p.adapter_targets.is_null() {
        // SAFETY: the host's string, which ends in NUL as the header says.
        let Ok(words) = unsafe { CStr::from_ptr(p.adapter_targets) }.to_str() else {
            fail!(InvalidArgument, "adapter_targets is not UTF-8")
        };
        targets.extend(words.split(',').map(|word| word.trim().to_owned()));
    }
    Ok(Some(AdapterParams {
        kind: choice("adapter_kind", p.adapter_kind, &kinds)?,
        rank: p.adapter_rank as usize,
        alpha: if p.adapter_alpha == 0.0 { 2.0 * p.adapter_rank as f32 } else { p.adapter_alpha },
        dropout: p.adapter_dropout,
        targets,
    }))
}

/// Whether the host wants a tensor trained.
fn wanted(p: &q_trainer_params, name: &str) -> bool {
    match p.trained {
        // SAFETY: the host's function, called as the header says.
        Some(trained) => boundary::outside(|| unsafe { trained(name.as_ptr().cast(), name.len(), p.user) }) != 0,
        None => p.adapter_rank == 0,
    }
}

/// Fills `params` with defaults. `size` is sizeof(q_trainer_params).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_trainer_params_init(params: *mut q_trainer_params, size: usize) -> q_error_code {
    ffi!({ params::init(params, size) })
}

/// What training the model at `path` would take, the model included, from the file's metadata alone; the context comes on top, and
/// so does the copy of q_trainer_publish. `params` may be NULL; `threads` as in q_runtime_params; `size` is sizeof(q_plan).
/// Errors: those of q_model_plan and q_trainer_create. A budget in `params` is checked: Q_ERR_BUDGET leaves the plan filled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_trainer_plan(
    path: *const c_char,
    path_len: usize,
    params: *const q_trainer_params,
    threads: u32,
    plan: *mut q_plan,
    size: usize,
) -> q_error_code {
    ffi!({
        let path = args::path(path, path_len, "path")?;
        let p = params::read(params)?;
        let made = engine_params(&p)?;
        let threads = threads::count(threads as usize)?;
        let gguf = Gguf::open(path)?;
        let graph = Graph::from_gguf(&gguf)?;
        let base = engine::plan(&gguf, &graph, &ContextParams::default(), threads)?;
        let is_wanted = |param: &Param| wanted(&p, &name_in(&graph, Some(&gguf), param));
        let found = layout::plan(&graph, &gguf, base, &made, threads, is_wanted)?;
        params::report(q_plan::from(found), plan, size)?;
        if made.budget > 0 { found.check(made.budget) } else { Ok(()) }
    })
}

/// Makes a trainer of the context's model; nothing is allocated by its passes and steps. `params` may be NULL. Free it with
/// q_trainer_free; it keeps the model alive.
///
/// Errors: Q_ERR_STATE when the context has a trainer; Q_ERR_BUDGET, whose message says what was needed; Q_ERR_INVALID_ARGUMENT,
/// also when nothing is to be trained; Q_ERR_UNSUPPORTED for a layer without a way back; Q_ERR_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_trainer_create(
    context: *mut q_context,
    params: *const q_trainer_params,
    out: *mut *mut q_trainer,
) -> q_error_code {
    ffi!({
        let mut context = handle::exclusive(context)?;
        handle::check_out(out)?;
        let p = params::read(params)?;
        let mut made = engine_params(&p)?;
        if context.trainer.strong_count() > 0 {
            fail!(State, "the context has a trainer: free it first");
        }
        let loaded = Arc::clone(&context.model);
        let (runtime, model) = (&loaded.runtime, &loaded.engine);
        // What the plan counts of the model and the threads is charged already.
        let charged = loaded.charge.bytes + (runtime.engine.pool.len() - 1) * threads::STACK_BYTES;
        let left = runtime.left().min(context.budget.left()).saturating_add(charged);
        if left < usize::MAX {
            made.budget = if made.budget == 0 { left } else { made.budget.min(left) };
        }
        let trainer = Trainer::new(model, &made, |name| wanted(&p, name))?;
        let slab = Slab::new(&model.graph, made.rows, matches!(made.objective, Objective::Values))?;
        let bytes = trainer.reserved().total_without_mapped() - charged;
        let part = context.budget.take(bytes, "the trainer")?;
        let charge = runtime.charge(bytes, "the trainer")?;
        let (state, snapshot) = (State::default(), None);
        let learner = Mutex::new(Learner { trainer, slab, passes: 0, state, snapshot, _charge: charge, _part: part });
        let control = Mutex::new(Arc::new(Control::new()));
        let held =
            Arc::new(Held { learner, control, loaded: Arc::clone(&loaded), budget: Arc::clone(&context.budget) });
        context.trainer = Arc::downgrade(&held);
        handle::create(held, (), out)
    })
}

/// The trainer of a context of that model.
pub(super) unsafe fn of_context(model: *const q_model, context: *mut q_context) -> Result<Arc<Held>> {
    // SAFETY: the caller's handles.
    let (model, context) = unsafe { (handle::shared(model)?, handle::exclusive(context)?) };
    if !Arc::ptr_eq(&context.model, &model) {
        fail!(InvalidArgument, "the context is of another model");
    }
    match context.trainer.upgrade() {
        Some(held) => Ok(held),
        None => fail!(State, "the context has no trainer: make one with q_trainer_create"),
    }
}

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

/// The bytes that the trainer and its model have reserved, by class. `size` is sizeof(q_plan).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_trainer_memory(trainer: *mut q_trainer, memory: *mut q_plan, size: usize) -> q_error_code {
    ffi!({
        let held = handle::shared(trainer)?;
        let learner = held.lock()?;
        let plan: Plan = learner.trainer.reserved();
        params::report(q_plan::from(plan), memory, size)
    })
}

unsafe fn wish(trainer: *const q_trainer, wish: Wish) -> Result<()> {
    // SAFETY: the caller's handle.
    unsafe { handle::shared(trainer) }?.control().set(wish);
    Ok(())
}

/// Makes the q_model_train that is running, or the next one, wait after the step under way, until q_trainer_resume or
/// q_trainer_stop. From any thread and from callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_trainer_pause(trainer: *const q_trainer) -> q_error_code {
    ffi!({ wish(trainer, Wish::Pause) })
}

/// Lets it go on. From any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_trainer_resume(trainer: *const q_trainer) -> q_error_code {
    ffi!({ wish(trainer, Wish::Go) })
}

/// Makes it finish the step under way, save, and return Q_OK with Q_TRAIN_STOPPED. From any thread and from callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_trainer_stop(trainer: *const q_trainer) -> q_error_code {
    ffi!({ wish(trainer, Wish::Stop) })
}

/// Frees a trainer; NULL is nothing. Its context goes on with the weights it was last given by q_trainer_publish. Not while a call
/// uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_trainer_free(trainer: *mut q_trainer) {
    // SAFETY: the caller's handle.
    unsafe { handle::free(trainer) }
}
