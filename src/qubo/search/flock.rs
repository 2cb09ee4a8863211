//! Many states of one problem in two flat buffers: replicas of tempering, a population, slices of a path integral.

use super::state::State;
use crate::error::Result;
use crate::memory::{Frame, Need};

/// `len` states of `n` variables.
pub(crate) struct Flock<'a> {
    fields: &'a mut [i32],
    masks: &'a mut [i32],
    pub energies: &'a mut [i64],
    n: usize,
}

impl<'a> Flock<'a> {
    /// What [`take`](Flock::take) takes.
    pub fn need(need: Need, n: usize, len: usize) -> Need {
        let cells = n.saturating_mul(len);
        need.take::<i32>(cells).take::<i32>(cells).take::<i64>(len)
    }

    /// Room for them; contents are undefined.
    pub fn take(frame: &mut Frame<'a>, n: usize, len: usize) -> Result<Flock<'a>> {
        let cells = n.saturating_mul(len);
        Ok(Flock { fields: frame.take(cells)?, masks: frame.take(cells)?, energies: frame.take(len)?, n })
    }

    pub fn len(&self) -> usize {
        self.energies.len()
    }

    /// Does something with state `k`.
    #[inline]
    pub fn with<R>(&mut self, k: usize, f: impl FnOnce(&mut State) -> R) -> R {
        let cells = k * self.n..(k + 1) * self.n;
        let mut state =
            State { fields: &mut self.fields[cells.clone()], masks: &mut self.masks[cells], energy: self.energies[k] };
        let result = f(&mut state);
        self.energies[k] = state.energy;
        result
    }

    /// Masks of state `k`.
    pub fn masks(&self, k: usize) -> &[i32] {
        &self.masks[k * self.n..][..self.n]
    }

    /// Makes state `to` the same as state `from`.
    pub fn copy(&mut self, from: usize, to: usize) {
        let cells = from * self.n..(from + 1) * self.n;
        self.fields.copy_within(cells.clone(), to * self.n);
        self.masks.copy_within(cells, to * self.n);
        self.energies[to] = self.energies[from];
    }
}
