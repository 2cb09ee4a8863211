//! `q_trainer`: what learns of a context's model, and passes through it by hand.

pub mod files;
pub mod params;
pub mod pass;
pub mod tensors;

use self::params::{engine_params, q_trainer_params, wanted};
use super::budget::{Budget, Part};
use crate::engine::{self, ContextParams};
use crate::error::{Result, fail};
use crate::ffi::args;
use crate::ffi::context::q_context;
use crate::ffi::error::q_error_code;
use crate::ffi::handle::{self, Opaque};
use crate::ffi::model::{Loaded, q_model, q_plan};
use crate::ffi::params as numbers;
use crate::ffi::runtime::Charge;
use crate::gguf::Gguf;
use crate::layers::trained::{Param, Snapshot};
use crate::memory::Plan;
use crate::models::Graph;
use crate::threads;
use crate::train::Objective;
use crate::train::checkpoint::State;
use crate::train::control::{Control, Wish};
use crate::train::examples::Slab;
use crate::train::layout::{self, name_in};
use crate::train::trainer::Trainer;
use std::ffi::c_char;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// Writable copies of what is trained of a model, their gradients, the moments of an optimizer, and the memory of one pass.
///
/// It belongs to the context it was made for, which has one at most; the model stays as it is. One call at a time, but for
/// q_trainer_pause, q_trainer_resume and q_trainer_stop, which are for other threads and for callbacks.
pub struct q_trainer {
    _opaque: [u8; 0],
}

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
    budget: Arc<Budget>,
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

/// Fills `params` with defaults. `size` is sizeof(q_trainer_params).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_trainer_params_init(params: *mut q_trainer_params, size: usize) -> q_error_code {
    ffi!({ numbers::init(params, size) })
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
        let p = numbers::read(params)?;
        let made = engine_params(&p)?;
        let threads = threads::count(threads as usize)?;
        let gguf = Gguf::open(path)?;
        let graph = Graph::from_gguf(&gguf)?;
        let base = engine::plan(&gguf, &graph, &ContextParams::default(), threads)?;
        let is_wanted = |param: &Param| wanted(&p, &name_in(&graph, Some(&gguf), param));
        let found = layout::plan(&graph, &gguf, base, &made, threads, is_wanted)?;
        numbers::report(q_plan::from(found), plan, size)?;
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
        let p = numbers::read(params)?;
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

/// The bytes that the trainer and its model have reserved, by class. `size` is sizeof(q_plan).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_trainer_memory(trainer: *mut q_trainer, memory: *mut q_plan, size: usize) -> q_error_code {
    ffi!({
        let held = handle::shared(trainer)?;
        let learner = held.lock()?;
        let plan: Plan = learner.trainer.reserved();
        numbers::report(q_plan::from(plan), memory, size)
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
