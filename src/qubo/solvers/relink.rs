//! A few good assignments that differ, and the paths between them (Wang, Lu, Glover and Hao, "Path relinking for unconstrained
//! binary quadratic programming", EJOR 2012).

use super::tabu::best_flip;
use crate::error::Result;
use crate::memory::{Frame, Need};
use crate::qubo::search::random::Random;
use crate::qubo::search::run::Run;
use crate::qubo::search::state::{Best, Ground, State};

/// Members at most.
pub(crate) const MEMBERS: usize = 16;

/// The best distinct assignments so far, in no order.
pub(crate) struct Elite<'a> {
    masks: &'a mut [i32],
    energies: [i64; MEMBERS],
    len: usize,
    n: usize,
}

impl<'a> Elite<'a> {
    /// What [`take`](Elite::take) takes.
    pub fn need(need: Need, n: usize) -> Need {
        need.take::<i32>(n.saturating_mul(MEMBERS))
    }

    /// Nobody yet.
    pub fn take(frame: &mut Frame<'a>, n: usize) -> Result<Elite<'a>> {
        Ok(Elite { masks: frame.take(n * MEMBERS)?, energies: [0; MEMBERS], len: 0, n })
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }

    pub fn member(&self, i: usize) -> &[i32] {
        &self.masks[i * self.n..][..self.n]
    }

    pub fn energy(&self, i: usize) -> i64 {
        self.energies[i]
    }

    /// Puts an assignment in the place of member `i`.
    pub fn replace(&mut self, i: usize, masks: &[i32], energy: i64) {
        self.masks[i * self.n..][..self.n].copy_from_slice(masks);
        self.energies[i] = energy;
    }

    /// Lets the worst go, or all but the best.
    pub fn shrink(&mut self, to: usize) {
        while self.len > to.max(1) {
            let Some(worst) = (0..self.len).max_by_key(|&i| self.energies[i]) else { return };
            self.len -= 1;
            self.masks.copy_within(self.len * self.n..(self.len + 1) * self.n, worst * self.n);
            self.energies[worst] = self.energies[self.len];
        }
    }

    /// Takes an assignment in, in the place of the worst when all are taken; where, if it is new and good enough.
    pub fn add(&mut self, masks: &[i32], energy: i64) -> Option<usize> {
        if (0..self.len).any(|i| self.energies[i] == energy && self.member(i) == masks) {
            return None;
        }
        let at = if self.len < MEMBERS {
            self.len += 1;
            self.len - 1
        } else {
            let worst = (0..self.len).max_by_key(|&i| self.energies[i])?;
            if self.energies[worst] <= energy {
                return None;
            }
            worst
        };
        self.replace(at, masks, energy);
        Some(at)
    }
}

/// Walks from member `from` towards member `to` by the best flips that lead there, and leaves the state at the best assignment of
/// the way's middle third; false when the two are too near for that. `free` is scratch.
pub(crate) fn walk(
    ground: &Ground,
    elite: &Elite,
    (from, to): (usize, usize),
    (state, middle): (&mut State, &mut Best),
    free: &mut [i32],
    random: &mut Random,
    run: &mut Run,
) -> bool {
    let n = free.len();
    state.go(ground, elite.member(from));
    let mut distance = 0;
    for ((free, here), there) in free.iter_mut().zip(state.masks.iter()).zip(elite.member(to)) {
        let differs = here != there;
        *free = if differs { 0 } else { i32::MAX };
        distance += usize::from(differs);
    }
    if distance < 6 {
        return false;
    }
    middle.clear();
    for step in 1..=2 * distance / 3 {
        let (_, i) = best_flip(ground, state, free, (0, i32::MIN), random);
        if i >= n {
            break;
        }
        state.flip(ground, i);
        free[i] = i32::MAX;
        if step >= distance / 3 {
            middle.see(state);
        }
        if run.did(n as u64, 1, 20 + ground.flip_cost + n as u64 / 16) {
            break;
        }
    }
    if middle.energy < i64::MAX {
        state.go(ground, middle.masks);
    }
    true
}
