//! The best distinct assignments of a run, in order, with how often each was found.
//!
//! Which are kept, and their counts, do not depend on the order in which reads end: an assignment that is pushed out can
//! never come back, because those that pushed it out stay.

use super::problem::Sense;
use crate::error::{Result, try_vec};
use std::cmp::Ordering;

/// One assignment of a run.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Zeros and ones.
    pub x: &'a [u8],
    /// Its value in the problem's sense, computed from the problem.
    pub energy: f64,
    /// Reads that ended with it.
    pub count: u64,
}

/// Room for a fixed number of samples.
pub struct Samples {
    n: usize,
    sense: Sense,
    cap: usize,
    xs: Vec<u8>,
    energies: Vec<f64>,
    counts: Vec<u64>,
    /// Slots of the samples, best first.
    order: Vec<u32>,
}

impl Samples {
    /// Room for `cap` samples of `n` variables. `OutOfMemory`.
    pub fn new(n: usize, cap: usize, sense: Sense) -> Result<Samples> {
        let cells = n.saturating_mul(cap);
        Ok(Samples {
            n,
            sense,
            cap,
            xs: try_vec(cells, "samples")?,
            energies: try_vec(cap, "samples")?,
            counts: try_vec(cap, "samples")?,
            order: try_vec(cap, "samples")?,
        })
    }

    /// Bytes that [`new`](Samples::new) reserves.
    pub const fn bytes(n: usize, cap: usize) -> usize {
        cap.saturating_mul(n.saturating_add(8 + 8 + 4))
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Sample `i`, 0 being the best.
    pub fn get(&self, i: usize) -> Option<Sample<'_>> {
        let slot = *self.order.get(i)? as usize;
        let x = &self.xs[slot * self.n..][..self.n];
        Some(Sample { x, energy: self.energies[slot], count: self.counts[slot] })
    }

    /// All of them, best first; equal values in the order of their assignments.
    pub fn iter(&self) -> impl Iterator<Item = Sample<'_>> {
        (0..self.len()).filter_map(|i| self.get(i))
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.order.clear();
        self.xs.clear();
        self.energies.clear();
        self.counts.clear();
    }

    /// Adds what a read ended with. Allocates nothing.
    pub(crate) fn add(&mut self, x: &[u8], energy: f64) {
        let rank = |slot: u32| {
            let slot = slot as usize;
            let energies = (self.sense.sign() * self.energies[slot]).total_cmp(&(self.sense.sign() * energy));
            energies.then_with(|| self.xs[slot * self.n..][..self.n].cmp(x))
        };
        let at = self.order.partition_point(|&slot| rank(slot) == Ordering::Less);
        if let Some(&slot) = self.order.get(at)
            && rank(slot) == Ordering::Equal
        {
            self.counts[slot as usize] += 1;
            return;
        }
        let slot = if self.order.len() < self.cap {
            let slot = self.order.len();
            self.xs.extend_from_slice(x);
            self.energies.push(energy);
            self.counts.push(1);
            slot
        } else if at == self.cap {
            return;
        } else {
            let slot = self.order.pop().unwrap_or(0) as usize;
            self.xs[slot * self.n..][..self.n].copy_from_slice(x);
            self.energies[slot] = energy;
            self.counts[slot] = 1;
            slot
        };
        self.order.insert(at, slot as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_samples_do_not_depend_on_the_order() {
        let all: Vec<([u8; 2], f64)> =
            vec![([0, 1], 3.0), ([1, 0], 1.0), ([1, 1], 1.0), ([0, 0], 5.0), ([1, 1], 1.0), ([0, 1], 3.0)];
        for turn in 0..all.len() {
            let mut samples = Samples::new(2, 2, Sense::Maximize).unwrap();
            for i in 0..all.len() {
                let (x, energy) = &all[(i + turn) % all.len()];
                samples.add(x, *energy);
            }
            let kept: Vec<_> = samples.iter().map(|s| (s.x.to_vec(), s.energy, s.count)).collect();
            assert_eq!(kept, [(vec![0, 0], 5.0, 1), (vec![0, 1], 3.0, 2)]);
        }
    }
}
