//! Optimizers: SGD, Adam and AdamW, in groups of tensors, with moments of 32 or 8 bits.
//!
//! A step is two passes over the gradients: the norm, which also finds what is no number before anything is changed, and one
//! fused pass that clips, decays, updates moments and weights and zeroes the gradients.

use super::clip::{self, Clip, Fault};
use super::gradients::GradientsMut;
use super::method::{Step, step_of};
use super::moments::{self, Moments};
use super::not_negative;
use super::slots::{Slot, Slots, UNIT};
use crate::error::{Result, fail, try_vec};
use crate::memory::{Frame, Need, Region};
use crate::ops::Exec;
use crate::threads::Shards;
use std::ops::Range;

pub use super::method::{Betas, Group, Method};

/// What [`Optimizer::step`] did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// The step was taken.
    Taken {
        /// The norm of all gradients, before clipping.
        norm: f64,
    },
    /// A gradient is NaN or infinite. Nothing was changed, gradients neither.
    Faulty(Fault),
}

/// Moments and rule for the tensors of a list.
pub struct Optimizer {
    method: Method,
    groups: Vec<Group>,
    slots: Slots,
    /// Steps taken, for each tensor.
    taken: Vec<u64>,
    /// The step under way, for each tensor.
    steps: Vec<Step>,
    state: Region,
}

impl Optimizer {
    /// Bytes of the state: exactly what [`Optimizer::new`] reserves for it.
    pub fn need(method: &Method, slots: &Slots) -> Need {
        moments::need(method, slots.elements())
    }

    /// What [`Optimizer::step`] takes from its frame.
    pub fn step_need(slots: &Slots) -> Need {
        clip::need(slots)
    }

    /// Reserves the state of all tensors. `InvalidArgument` for numbers out of range and for a group that there is not.
    pub fn new(method: Method, groups: &[Group], slots: Slots) -> Result<Optimizer> {
        method.check()?;
        groups.iter().try_for_each(Group::check)?;
        if let Some(param) = slots.list().iter().find(|p| p.group >= groups.len()) {
            fail!(InvalidArgument, "{} is in group {} of {}", param.name, param.group, groups.len());
        }
        let count = slots.list().len();
        let mut taken = try_vec(count, "steps of tensors")?;
        taken.resize(count, 0);
        let mut own = try_vec(groups.len(), "groups of tensors")?;
        own.extend_from_slice(groups);
        let state = Region::large(Optimizer::need(&method, &slots).peak())?;
        Ok(Optimizer { method, groups: own, slots, taken, steps: try_vec(count, "steps of tensors")?, state })
    }

    /// The tensors.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The method, with its numbers.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Other numbers for the method: `InvalidArgument` when they are out of range, `State` for another method, or a momentum
    /// for which nothing was reserved.
    pub fn set_method(&mut self, method: Method) -> Result<()> {
        self.check_method(&method)?;
        self.method = method;
        Ok(())
    }

    /// Whether [`Optimizer::set_method`] would take it.
    pub fn check_method(&self, method: &Method) -> Result<()> {
        method.check()?;
        if std::mem::discriminant(method) != std::mem::discriminant(&self.method)
            || Optimizer::need(method, &self.slots) != Optimizer::need(&self.method, &self.slots)
        {
            fail!(State, "this optimizer was made for {:?}: its state is none for {method:?}", self.method);
        }
        Ok(())
    }

    /// The groups.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Other numbers for a group.
    pub fn set_group(&mut self, index: usize, group: Group) -> Result<()> {
        group.check()?;
        let count = self.groups.len();
        let Some(place) = self.groups.get_mut(index) else {
            fail!(InvalidArgument, "group {index} of {count}: count from 0");
        };
        *place = group;
        Ok(())
    }

    /// Steps taken for each tensor.
    pub fn taken(&self) -> &[u64] {
        &self.taken
    }

    /// The same, to restore.
    pub fn taken_mut(&mut self) -> &mut [u64] {
        &mut self.taken
    }

    /// The moments as bytes, for checkpoints.
    pub fn state(&self) -> &[u8] {
        self.state.bytes()
    }

    /// The same, to restore. Any bytes are a state.
    pub fn state_mut(&mut self) -> &mut [u8] {
        self.state.bytes_mut()
    }

    /// The most bytes of the state that were in use.
    pub fn high_water(&self) -> usize {
        self.state.high_water()
    }

    /// One step of all tensors with the learning rate `rate`, over flat buffers laid out as [`Slots`] has it. `scale` is what
    /// gradients are multiplied by before all else, as one over the number of batches they are the sum of.
    ///
    /// Gradients become zeros. When one is NaN or infinite nothing is changed: see [`Outcome`].
    pub fn step<'a>(
        &mut self,
        exec: &Exec,
        frame: &mut Frame,
        (w, g): (&mut [f32], impl Into<GradientsMut<'a>>),
        (rate, scale, clip): (f64, f64, Clip),
    ) -> Result<Outcome> {
        not_negative("the factor of the gradients", scale)?;
        clip.check()?;
        not_negative("the learning rate", rate)?;
        self.slots.check("the buffer of weights", w.len())?;
        let g = g.into();
        let norm = match clip::norm(exec, frame, &self.slots, g.view())? {
            Ok(norm) => norm * scale,
            Err(fault) => return Ok(Outcome::Faulty(fault)),
        };
        let (factor, limit) = clip.bounds(norm);
        self.update(exec, w, g, rate, (factor * scale, limit))?;
        Ok(Outcome::Taken { norm })
    }

    /// The second pass of [`Optimizer::step`] alone: gradients are multiplied by a factor, then bounded by a limit. They must be
    /// numbers.
    pub fn update<'a>(
        &mut self,
        exec: &Exec,
        w: &mut [f32],
        g: impl Into<GradientsMut<'a>>,
        rate: f64,
        bounds: (f64, f64),
    ) -> Result<()> {
        let g = g.into();
        self.slots.check("the buffer of weights", w.len())?;
        g.view().check(&self.slots)?;
        not_negative("the learning rate", rate)?;
        self.steps.clear();
        for (param, taken) in self.slots.list().iter().zip(&self.taken) {
            self.steps.push(step_of(&self.method, &self.groups[param.group], *taken, rate, bounds));
        }
        let (slots, steps, method) = (&self.slots, &self.steps, self.method);
        self.state.with_frame(|frame| {
            let (state, w) = (Moments::take(frame, &method, slots.elements())?, Shards::new(w));
            g.use_up(exec, slots, |chunk, g| {
                // SAFETY: each chunk is one thread's.
                unsafe {
                    let w = w.part(chunk.range.clone());
                    state.apply(exec.kernels, &steps[chunk.param], w, g, chunk.range);
                }
            })
        })?;
        self.taken.iter_mut().for_each(|taken| *taken += 1);
        Ok(())
    }

    /// As [`Optimizer::step`] for one tensor alone, whose weights and gradients lie elsewhere; the gradients are only read.
    pub fn step_one(&mut self, exec: &Exec, index: usize, (w, g): (&mut [f32], &[f32]), rate: f64) -> Result<Outcome> {
        let mut squares = 0.0;
        if let Some((element, value)) = clip::add_squares(exec, g, &mut squares)? {
            return Ok(Outcome::Faulty(Fault { param: index, element, value }));
        }
        self.update_one(exec, index, (w, g), rate, (1.0, f64::INFINITY))?;
        Ok(Outcome::Taken { norm: squares.sqrt() })
    }

    /// The second pass of [`Optimizer::step_one`] alone: the gradients must be numbers.
    pub fn update_one(
        &mut self,
        exec: &Exec,
        index: usize,
        (w, g): (&mut [f32], &[f32]),
        rate: f64,
        bounds: (f64, f64),
    ) -> Result<()> {
        /// Elements copied at once: whole blocks.
        const PIECE: usize = 4 * UNIT;
        not_negative("the learning rate", rate)?;
        let param = self.param(index)?;
        let range = param.range.clone();
        if w.len() != range.len() || g.len() != range.len() {
            let (name, n) = (&param.name, range.len());
            fail!(Shape, "{name} has {n} elements, its weights here {} and its gradients {}", w.len(), g.len());
        }
        let step = step_of(&self.method, &self.groups[param.group], self.taken[index], rate, bounds);
        let (elements, method) = (self.slots.elements(), self.method);
        self.state.with_frame(|frame| {
            let (state, w) = (Moments::take(frame, &method, elements)?, Shards::new(w));
            exec.pool.split(range.len(), super::slots::CHUNK, |part| {
                for at in part.clone().step_by(PIECE) {
                    let piece = at..part.end.min(at + PIECE);
                    let mut copy = [0.0; PIECE];
                    let copy = &mut copy[..piece.len()];
                    copy.copy_from_slice(&g[piece.clone()]);
                    // SAFETY: parts are disjoint.
                    unsafe {
                        let w = w.part(piece.clone());
                        state.apply(exec.kernels, &step, w, copy, range.start + piece.start..range.start + piece.end);
                    }
                }
            })
        })?;
        self.taken[index] += 1;
        Ok(())
    }

    /// Copies the first (`number` 0) or second (1) moments of a tensor to `out`. `State` when the method has no such.
    pub fn moments(&mut self, index: usize, number: usize, out: &mut [f32]) -> Result<()> {
        let at = self.moments_at(index, out.len())?;
        let (method, n) = (self.method, self.slots.elements());
        self.state.with_frame(|frame| Moments::take(frame, &method, n)?.read(number, at, out))
    }

    /// Replaces the first or second moments of a tensor. `State` when the method has no such; `InvalidArgument` for a number that is
    /// not finite, and for a second moment below 0.
    pub fn set_moments(&mut self, index: usize, number: usize, from: &[f32]) -> Result<()> {
        let at = self.moments_at(index, from.len())?;
        let least = if number == 1 { 0.0 } else { f32::MIN };
        if let Some(i) = from.iter().position(|x| !(least..=f32::MAX).contains(x)) {
            fail!(
                InvalidArgument,
                "moment {} at element {i} cannot be: it is not finite, or a square below 0",
                from[i]
            );
        }
        let (method, n) = (self.method, self.slots.elements());
        self.state.with_frame(|frame| Moments::take(frame, &method, n)?.write(number, at, from))
    }

    fn moments_at(&self, index: usize, len: usize) -> Result<Range<usize>> {
        let param = self.param(index)?;
        if len != param.range.len() {
            fail!(Shape, "{} has {} elements, its moments here {len}", param.name, param.range.len());
        }
        Ok(param.range.clone())
    }

    fn param(&self, index: usize) -> Result<&Slot> {
        match self.slots.list().get(index) {
            Some(param) => Ok(param),
            None => fail!(InvalidArgument, "tensor {index} of {}: count from 0", self.slots.list().len()),
        }
    }
}
