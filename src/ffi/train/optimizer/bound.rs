//! The tensors of a host that an optimizer knows, by their addresses.

use super::params::{self, q_optimizer_params};
use super::q_optimizer;
use crate::error::{Result, fail, try_vec};
use crate::ffi::handle::Opaque;
use crate::ffi::runtime::{Charge, Shared};
use crate::ffi::tensor::{view, view_mut};
use crate::ffi::train::budget::{Budget, Part};
use crate::tensor::{Q_TENSOR_READONLY, Tensor};
use crate::train;
use crate::train::optim::{Group, Method, Optimizer};
use std::sync::Arc;

/// Tensors that were bound together.
pub struct Set {
    optimizer: Optimizer,
    bytes: usize,
    _charge: Charge,
    _part: Part,
}

/// A tensor that is bound.
#[derive(Clone, Copy)]
pub struct Bound {
    /// The address of its elements, and their number.
    pub start: usize,
    pub len: usize,
    /// Where its moments are.
    set: usize,
    index: usize,
    /// The address of the gradients it was last given, if these may be written.
    pub gradients: Option<usize>,
}

impl Bound {
    pub fn end(&self) -> usize {
        self.start + self.len * size_of::<f32>()
    }
}

/// What a `q_optimizer` holds.
pub(in crate::ffi) struct Held {
    pub runtime: Arc<Shared>,
    pub budget: Arc<Budget>,
    pub params: q_optimizer_params,
    pub method: Method,
    pub sets: Vec<Set>,
    /// In the order of their addresses.
    pub bound: Vec<Bound>,
}

impl Opaque for q_optimizer {
    type Value = Held;
    type Side = ();
    const NAME: &'static str = "q_optimizer";
}

/// Weights of the host and their gradients, as addresses.
pub struct Pair {
    pub start: usize,
    pub len: usize,
    pub gradients: Option<usize>,
}

/// The two tensors of a weight, checked. Without gradients there is nothing to check them against.
pub unsafe fn pair(weights: *const Tensor, gradients: *const Tensor) -> Result<Pair> {
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
    pub fn groups(&self) -> [Group; 2] {
        let (decay, l1) = (self.params.weight_decay, self.params.l1_regularization);
        [Group { decay, l1, ..Group::default() }, Group::default()]
    }

    /// Where the tensor stands among the bound, or would. `InvalidArgument` when it shares memory with another.
    pub fn find(&self, start: usize, len: usize) -> Result<std::result::Result<usize, usize>> {
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
    pub fn list(&self, pairs: &[Pair], group: usize) -> Result<train::Slots> {
        let mut list = train::Slots::with_capacity(pairs.len())?;
        for (i, pair) in pairs.iter().enumerate() {
            if self.find(pair.start, pair.len)?.is_err() {
                list.add(&format!("weights {i}"), pair.len, group)?;
            }
        }
        Ok(list)
    }

    /// Reserves the moments of those that have none, and remembers the gradients of all.
    pub fn bind(&mut self, pairs: &[Pair], group: usize) -> Result<()> {
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

    pub fn bytes(&self) -> usize {
        self.sets.iter().map(|set| set.bytes).sum()
    }

    /// The set and the number in it of a bound tensor.
    pub fn of(&mut self, pair: &Pair) -> Result<(&mut Optimizer, usize)> {
        let Ok(at) = self.find(pair.start, pair.len)? else {
            fail!(NotFound, "weights: the tensor was never bound to this optimizer");
        };
        let Bound { set, index, .. } = self.bound[at];
        Ok((&mut self.sets[set].optimizer, index))
    }

    /// Takes other numbers for all tensors, or none.
    pub fn set(&mut self, params: q_optimizer_params) -> Result<()> {
        let method = params::method(&params)?;
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
