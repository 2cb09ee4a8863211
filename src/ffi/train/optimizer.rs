//! `q_optimizer`: one rule for any number of the host's tensors, with moments that are reserved when a tensor is bound.
//!
//! A set of tensors that were bound together is one `Optimizer` of the library, which steps them one at a time.

use super::budget::{Budget, Part};
use crate::error::{Result, fail, try_vec};
use crate::ffi::args::{self, OptimizerType};
use crate::ffi::boundary;
use crate::ffi::context::q_context;
use crate::ffi::error::{choice, q_error_code, unused};
use crate::ffi::handle::{self, Opaque};
use crate::ffi::ops;
use crate::ffi::params::{self, Params, Report};
use crate::ffi::runtime::{Charge, Shared};
use crate::ffi::tensor::{view, view_mut};
use crate::tensor::{Q_TENSOR_READONLY, Tensor};
use crate::train::optim::{Betas, Group, Method, Optimizer, Outcome};
use crate::train::{self, clip};
use std::sync::Arc;

/// Changes weights by their gradients. One call at a time.
///
/// One optimizer serves many tensors. A weight tensor is known by the address of its elements, which must stay as long as it is
/// trained; its moments, and the number of steps it has taken, are its own. q_optimizer_bind reserves the moments at set-up; a
/// tensor that was not bound is bound by its first q_optimizer_step. Steps of bound tensors allocate nothing.
pub struct q_optimizer {
    _opaque: [u8; 0],
}

/// How weights follow their gradients g; w -= learning_rate * what is said.
#[repr(u32)]
pub enum q_optimizer_type {
    /// Gradient descent: g, or with a momentum b = momentum * b + g. Decay is added to the gradient.
    Q_OPTIM_SGD = 0,
    /// Adam: m / (sqrt(v) + epsilon), both moments corrected for their start at 0. Decay is added to the gradient.
    Q_OPTIM_ADAM = 1,
    /// Adam whose decay bypasses the moments: + weight_decay * w.
    Q_OPTIM_ADAMW = 2,
}

/// The numbers of an optimizer. Fill it with q_optimizer_params_init first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_optimizer_params {
    /// sizeof(q_optimizer_params), set by q_optimizer_params_init.
    pub size: u32,
    /// A q_optimizer_type (Q_OPTIM_ADAMW).
    pub r#type: u32,
    /// The learning rate (0.001).
    pub learning_rate: f64,
    /// Adam: decay of the first moment, from 0 to below 1 (0.9).
    pub beta1: f64,
    /// Adam: decay of the second moment, from 0 to below 1 (0.999).
    pub beta2: f64,
    /// Adam: what is added to the root of the second moment, above 0 (1e-8).
    pub epsilon: f64,
    /// The weight decay (0).
    pub weight_decay: f64,
    /// Factor of the L1 penalty, l1 * sum(|w|), whose gradient is added (0).
    pub l1_regularization: f64,
    /// SGD: the momentum, from 0 to below 1 (0). It keeps one moment of each weight unless it is 0.
    pub momentum: f64,
    /// SGD: 1 for Nesterov's momentum, which looks a step ahead (0).
    pub nesterov: u32,
    /// Q_OPTIM_ADAMW: 8 for moments of 8 bits, in blocks of 256, which take a quarter of the memory; else 32, the default.
    pub moment_bits: u32,
    /// Bytes that the moments of all bound tensors may take together; 0: no limit but the context's budget and the runtime's.
    pub memory_limit: u64,
}

// SAFETY: as the trait demands.
unsafe impl Params for q_optimizer_params {
    const NAME: &'static str = "q_optimizer_params";

    fn defaults() -> Self {
        let betas = Betas::default();
        q_optimizer_params {
            size: size_of::<Self>() as u32,
            r#type: q_optimizer_type::Q_OPTIM_ADAMW as u32,
            learning_rate: 1e-3,
            beta1: betas.beta1,
            beta2: betas.beta2,
            epsilon: betas.eps,
            weight_decay: 0.0,
            l1_regularization: 0.0,
            momentum: 0.0,
            nesterov: 0,
            moment_bits: 32,
            memory_limit: 0,
        }
    }
}

// SAFETY: as the trait demands.
unsafe impl Report for q_optimizer_params {
    const NAME: &'static str = "q_optimizer_params";
}

/// Flag of q_optimizer_bind: the tensors have neither weight decay nor L1 penalty, as norms and biases usually have none.
pub const Q_OPTIM_NO_DECAY: u32 = 1;

/// The method that parameters describe.
pub(super) fn method(p: &q_optimizer_params) -> Result<Method> {
    let betas = Betas { beta1: p.beta1, beta2: p.beta2, eps: p.epsilon };
    let nesterov = choice("nesterov", p.nesterov, &[(0, false), (1, true)])?;
    let eight = choice("moment_bits", p.moment_bits, &[(32, false), (8, true)])?;
    let types = [q_optimizer_type::Q_OPTIM_SGD, q_optimizer_type::Q_OPTIM_ADAM, q_optimizer_type::Q_OPTIM_ADAMW];
    let [sgd, adam, adamw] = types.map(|t| t as u32);
    let methods = [
        (sgd, Method::Sgd { momentum: p.momentum, nesterov }),
        (adam, Method::Adam(betas)),
        (adamw, if eight { Method::AdamW8(betas) } else { Method::AdamW(betas) }),
    ];
    let method = choice("the type of the optimizer", p.r#type, &methods)?;
    if eight && p.r#type != adamw {
        fail!(Unsupported, "moments of 8 bits go with Q_OPTIM_ADAMW only");
    }
    method.check()?;
    Ok(method)
}

/// Tensors that were bound together.
struct Set {
    optimizer: Optimizer,
    bytes: usize,
    _charge: Charge,
    _part: Part,
}

/// A tensor that is bound.
#[derive(Clone, Copy)]
struct Bound {
    /// The address of its elements, and their number.
    start: usize,
    len: usize,
    /// Where its moments are.
    set: usize,
    index: usize,
    /// The address of the gradients it was last given, if these may be written.
    gradients: Option<usize>,
}

impl Bound {
    fn end(&self) -> usize {
        self.start + self.len * size_of::<f32>()
    }
}

/// What a `q_optimizer` holds.
pub(in crate::ffi) struct Held {
    runtime: Arc<Shared>,
    budget: Arc<Budget>,
    params: q_optimizer_params,
    method: Method,
    sets: Vec<Set>,
    /// In the order of their addresses.
    bound: Vec<Bound>,
}

impl Opaque for q_optimizer {
    type Value = Held;
    type Side = ();
    const NAME: &'static str = "q_optimizer";
}

/// Weights of the host and their gradients, as addresses.
struct Pair {
    start: usize,
    len: usize,
    gradients: Option<usize>,
}

/// The two tensors of a weight, checked. Without gradients there is nothing to check them against.
unsafe fn pair(weights: *const Tensor, gradients: *const Tensor) -> Result<Pair> {
    // SAFETY: the host's pointers.
    let mut w = unsafe { view_mut(weights, "weights") }?;
    let mut found = None;
    if !gradients.is_null() {
        // SAFETY: as above.
        let g = unsafe { view(gradients, "gradients") }?;
        w.view().same_dims(&g, "weights and gradients")?;
        w.apart(&g, "weights and gradients")?;
        let elements = g.f32s("gradients")?;
        // SAFETY: the view was made of it.
        let writable = unsafe { (*gradients).flags } & Q_TENSOR_READONLY == 0;
        found = writable.then_some(elements.as_ptr() as usize);
    }
    // SAFETY: apart from the gradients; only the address is used.
    let w = unsafe { w.f32s("weights") }?;
    if w.is_empty() {
        fail!(Shape, "weights: the tensor has no elements");
    }
    Ok(Pair { start: w.as_ptr() as usize, len: w.len(), gradients: found })
}

impl Held {
    fn groups(&self) -> [Group; 2] {
        let (decay, l1) = (self.params.weight_decay, self.params.l1_regularization);
        [Group { decay, l1, ..Group::default() }, Group::default()]
    }

    /// Where the tensor stands among the bound, or would. `InvalidArgument` when it shares memory with another.
    fn find(&self, start: usize, len: usize) -> Result<std::result::Result<usize, usize>> {
        let at = self.bound.partition_point(|b| b.start < start);
        if let Some(found) = self.bound.get(at).filter(|b| b.start == start) {
            if found.len != len {
                fail!(Shape, "weights: the tensor has {len} elements, it was bound with {}", found.len);
            }
            return Ok(Ok(at));
        }
        let before = at.checked_sub(1).is_some_and(|i| self.bound[i].end() > start);
        let after = self.bound.get(at).is_some_and(|b| b.start < start + len * size_of::<f32>());
        if before || after {
            fail!(InvalidArgument, "weights: the tensor shares memory with another that is bound");
        }
        Ok(Err(at))
    }

    /// The list of the tensors that are not bound yet.
    fn list(&self, pairs: &[Pair], group: usize) -> Result<train::Slots> {
        let mut list = train::Slots::with_capacity(pairs.len())?;
        for (i, pair) in pairs.iter().enumerate() {
            if self.find(pair.start, pair.len)?.is_err() {
                list.add(&format!("weights {i}"), pair.len, group)?;
            }
        }
        Ok(list)
    }

    /// Reserves the moments of those that have none, and remembers the gradients of all.
    fn bind(&mut self, pairs: &[Pair], group: usize) -> Result<()> {
        let list = self.list(pairs, group)?;
        let new = list.list().len();
        let mut bound: Vec<Bound> = try_vec(self.bound.len() + new, "bound tensors")?;
        bound.extend_from_slice(&self.bound);
        let (set, mut index) = (self.sets.len(), 0);
        for pair in pairs {
            let (start, len, gradients) = (pair.start, pair.len, pair.gradients);
            match self.find(start, len)? {
                Ok(at) => {
                    let known = bound.iter_mut().find(|b| b.start == self.bound[at].start);
                    known.into_iter().for_each(|b| b.gradients = gradients.or(b.gradients));
                }
                Err(_) => {
                    bound.push(Bound { start, len, set, index, gradients });
                    index += 1;
                }
            }
        }
        bound.sort_unstable_by_key(|b| b.start);
        if let Some(i) = (1..bound.len()).find(|&i| bound[i - 1].end() > bound[i].start) {
            fail!(InvalidArgument, "weights: two of the tensors share memory, at {:#x}", bound[i].start);
        }
        if new > 0 {
            let bytes = Optimizer::need(&self.method, &list).peak();
            let (limit, used) = (self.params.memory_limit, self.bytes());
            if limit > 0 && used.saturating_add(bytes) as u64 > limit {
                fail!(
                    Budget,
                    "the moments of {new} tensors need {bytes} bytes; of the optimizer's limit of {limit} are {} left",
                    limit.saturating_sub(used as u64)
                );
            }
            if self.sets.try_reserve(1).is_err() {
                fail!(OutOfMemory, "no memory for another set of tensors");
            }
            let part = self.budget.take(bytes, "the optimizer")?;
            let charge = self.runtime.charge(bytes, "the optimizer")?;
            let optimizer = Optimizer::new(self.method, &self.groups(), list)?;
            self.sets.push(Set { optimizer, bytes, _charge: charge, _part: part });
        }
        self.bound = bound;
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.sets.iter().map(|set| set.bytes).sum()
    }

    /// The set and the number in it of a bound tensor.
    fn of(&mut self, pair: &Pair) -> Result<(&mut Optimizer, usize)> {
        let Ok(at) = self.find(pair.start, pair.len)? else {
            fail!(NotFound, "weights: the tensor was never bound to this optimizer");
        };
        let Bound { set, index, .. } = self.bound[at];
        Ok((&mut self.sets[set].optimizer, index))
    }

    /// Takes other numbers for all tensors, or none.
    fn set(&mut self, params: q_optimizer_params) -> Result<()> {
        let method = method(&params)?;
        let rate = params.learning_rate;
        if !(0.0..=f64::from(f32::MAX)).contains(&rate) {
            fail!(InvalidArgument, "the learning rate is {rate}: give a finite number that is not negative");
        }
        let before = std::mem::replace(&mut self.params, params);
        let groups = self.groups();
        let checked = groups.iter().try_for_each(Group::check);
        let checked = checked.and_then(|()| self.sets.iter().try_for_each(|set| set.optimizer.check_method(&method)));
        if let Err(e) = checked {
            self.params = before;
            return Err(e);
        }
        self.method = method;
        for set in &mut self.sets {
            set.optimizer.set_method(method)?;
            for (i, group) in groups.into_iter().enumerate() {
                set.optimizer.set_group(i, group)?;
            }
        }
        Ok(())
    }
}

/// An optimizer for tensors of a host.
unsafe fn create(context: *mut q_context, params: q_optimizer_params, out: *mut *mut q_optimizer) -> Result<()> {
    // SAFETY: the caller's handle.
    let context = unsafe { handle::exclusive(context) }?;
    let (runtime, budget) = (Arc::clone(&context.model.runtime), Arc::clone(&context.budget));
    let method = Method::Sgd { momentum: 0.0, nesterov: false };
    let mut held = Held { runtime, budget, params, method, sets: Vec::new(), bound: Vec::new() };
    held.set(params)?;
    // SAFETY: the caller's pointer.
    unsafe { handle::create(held, (), out) }
}

/// The promised functions return the handle.
unsafe fn created(context: *mut q_context, params: q_optimizer_params) -> *mut q_optimizer {
    let mut out = std::ptr::null_mut();
    // SAFETY: the caller's handle, and a place of this function's own.
    boundary::call(|| unsafe { create(context, params, &mut out) });
    out
}

/// An optimizer of q_optimizer_type `type`, with the defaults of q_optimizer_params but for the learning rate, and a weight decay of
/// 0.01 for Q_OPTIM_ADAMW. NULL on failure: q_last_error has the reason. Free it with q_optimizer_free.
///
/// It computes with the threads of the context's runtime, which it keeps alive; the context may be freed before it. The moments
/// count to the context's budget and the runtime's limit, as they are bound. Errors: Q_ERR_INVALID_ARGUMENT for a learning rate
/// that is negative or not finite, or a type that is none; Q_ERR_STATE while another call uses the context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_create(
    r#type: OptimizerType,
    learning_rate: f32,
    ctx: *mut q_context,
) -> *mut q_optimizer {
    let weight_decay = if r#type == q_optimizer_type::Q_OPTIM_ADAMW as u32 { 0.01 } else { 0.0 };
    let learning_rate = learning_rate.into();
    let params = q_optimizer_params { r#type, learning_rate, weight_decay, ..Params::defaults() };
    // SAFETY: the caller's handle.
    unsafe { created(ctx, params) }
}

/// Adam with these numbers. The decay bypasses the moments, so that it is AdamW when `weight_decay` is above 0. Otherwise as
/// q_optimizer_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_adam_create(
    learning_rate: f32,
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    weight_decay: f32,
    l1_regularization: f32,
    ctx: *mut q_context,
) -> *mut q_optimizer {
    let [learning_rate, beta1, beta2, epsilon, weight_decay, l1_regularization] =
        [learning_rate, beta1, beta2, epsilon, weight_decay, l1_regularization].map(f64::from);
    let numbers = q_optimizer_params {
        learning_rate,
        beta1,
        beta2,
        epsilon,
        weight_decay,
        l1_regularization,
        ..Params::defaults()
    };
    // SAFETY: the caller's handle.
    unsafe { created(ctx, numbers) }
}

/// Fills `params` with defaults. `size` is sizeof(q_optimizer_params).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_params_init(params: *mut q_optimizer_params, size: usize) -> q_error_code {
    ffi!({ params::init(params, size) })
}

/// An optimizer with all that can be chosen; `params` may be NULL. Otherwise as q_optimizer_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_create_with(
    context: *mut q_context,
    params: *const q_optimizer_params,
    out: *mut *mut q_optimizer,
) -> q_error_code {
    ffi!({
        handle::check_out(out)?;
        create(context, params::read(params)?, out)
    })
}

unsafe fn pairs(weights: *const Tensor, gradients: *const Tensor, n: usize) -> Result<Vec<Pair>> {
    // SAFETY: the host's pointers.
    let weights = unsafe { args::slice(weights, n, "weights") }?;
    // SAFETY: as above.
    let gradients = if gradients.is_null() { &[] } else { unsafe { args::slice(gradients, n, "gradients") }? };
    let mut pairs = try_vec(n, "tensors to bind")?;
    for (i, w) in weights.iter().enumerate() {
        let g = gradients.get(i).map_or(std::ptr::null(), |g| g as *const Tensor);
        // SAFETY: as above.
        pairs.push(unsafe { pair(w, g) }.map_err(|e| e.context(format!("tensor {i}")))?);
    }
    Ok(pairs)
}

/// Reserves the moments of `n` weight tensors, one after another at `weights`, and remembers the gradients that go with them, at
/// `gradients` (may be NULL), for q_optimizer_zero_grad. Dense F32 tensors that share no memory; one that is bound already keeps its
/// moments. `flags` is 0 or Q_OPTIM_NO_DECAY.
///
/// Errors: Q_ERR_BUDGET when the moments do not fit `memory_limit`, the context's budget or the runtime's limit; Q_ERR_SHAPE;
/// Q_ERR_INVALID_ARGUMENT; Q_ERR_OUT_OF_MEMORY. None is bound then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_bind(
    optimizer: *mut q_optimizer,
    weights: *const Tensor,
    gradients: *const Tensor,
    n: usize,
    flags: u32,
) -> q_error_code {
    ffi!({
        let mut optimizer = handle::exclusive(optimizer)?;
        unused("flags", flags & !Q_OPTIM_NO_DECAY)?;
        optimizer.bind(&pairs(weights, gradients, n)?, usize::from(flags & Q_OPTIM_NO_DECAY != 0))
    })
}

/// The bytes that q_optimizer_bind of these tensors would reserve, to `bytes`: 0 for those that are bound.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_plan(
    optimizer: *mut q_optimizer,
    weights: *const Tensor,
    n: usize,
    bytes: *mut u64,
) -> q_error_code {
    ffi!({
        let optimizer = handle::exclusive(optimizer)?;
        let list = optimizer.list(&pairs(weights, std::ptr::null(), n)?, 0)?;
        args::put(bytes, Optimizer::need(&optimizer.method, &list).peak() as u64, "bytes")
    })
}

/// One step of `weights` by `gradients`, dense F32 tensors of the same dimensions. The gradients are left as they are (see
/// q_optimizer_zero_grad).
///
/// A tensor that was not bound is bound first, as by q_optimizer_bind with flags 0.
/// Errors: Q_ERR_NOT_FINITE when a gradient is NaN or infinite: the message says which one, and no weight or moment is changed;
/// Q_ERR_BUDGET for a tensor that was not bound and no longer fits; Q_ERR_SHAPE; Q_ERR_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_step(
    optimizer: *mut q_optimizer,
    weights: *mut Tensor,
    gradients: *const Tensor,
) -> q_error_code {
    ffi!({
        let mut held = handle::exclusive(optimizer)?;
        args::pointer(gradients, "gradients")?;
        let pair = pair(weights, gradients)?;
        if held.find(pair.start, pair.len)?.is_err() {
            held.bind(std::slice::from_ref(&pair), 0)?;
        }
        let Ok(at) = held.find(pair.start, pair.len)? else { fail!(Internal, "a tensor was bound and is not there") };
        held.bound[at].gradients = pair.gradients;
        let (runtime, rate) = (Arc::clone(&held.runtime), held.params.learning_rate);
        let (w, g) = (view_mut(weights, "weights")?.f32s("weights")?, view(gradients, "gradients")?.f32s("gradients")?);
        let (optimizer, index) = held.of(&pair)?;
        match ops::exec(&runtime, |exec| optimizer.step_one(exec, index, (w, g), rate))? {
            Outcome::Taken { .. } => Ok(()),
            Outcome::Faulty(fault) => {
                fail!(NotFinite, "element {} of the gradients is {}: no step was taken", fault.element, fault.value)
            }
        }
    })
}

/// Makes zeros of the gradients of all tensors: of each the ones it was last bound or stepped with, but for read-only ones. Their
/// memory must still be there. For hosts that add the gradients of several batches up; NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_zero_grad(optimizer: *mut q_optimizer) {
    if optimizer.is_null() {
        return;
    }
    boundary::call(|| {
        // SAFETY: the caller's handle.
        let held = unsafe { handle::exclusive(optimizer) }?;
        for bound in &held.bound {
            if let Some(start) = bound.gradients {
                // SAFETY: a dense F32 tensor that could be written when it was given, and is still there by the caller's word.
                let g = unsafe { args::slice_mut(start as *mut f32, bound.len, "gradients") }?;
                ops::exec(&held.runtime, |exec| clip::zero_one(exec, g))?;
            }
        }
        Ok(())
    });
}

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

/// The bytes that the moments of all bound tensors take, to `bytes`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_memory(optimizer: *mut q_optimizer, bytes: *mut u64) -> q_error_code {
    ffi!({ args::put(bytes, handle::exclusive(optimizer)?.bytes() as u64, "bytes") })
}

/// Frees an optimizer, its moments with it; NULL is nothing. Tensors are the host's, and stay.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_optimizer_free(optimizer: *mut q_optimizer) {
    // SAFETY: the caller's handle.
    unsafe { handle::free(optimizer) }
}
