//! An assignment with the fields of its variables: what every flip would add is known, and a flip keeps it so.

use super::landscape::Links;
use super::random::Random;
use crate::error::Result;
use crate::memory::{Frame, Need};
use qorus_kernels::Kernels;

/// What methods search in: a landscape, or what is left of one when variables are bound together, and the kernels they do it with.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    /// The energy of all zeros.
    pub base: i64,
    /// What each variable adds to it.
    pub linear: &'a [i32],
    pub links: Links<'a>,
    /// As in the landscape's survey.
    pub scale: f64,
    /// As in the landscape's survey.
    pub faithful: bool,
    pub kernels: &'a Kernels,
    /// Numbers from the logistic distribution, `n` and [`SPAN`] of them or more, and `n` ones at the end. A flip is done where it adds no more than the
    /// temperature times such a number, which has the probability `1 / (1 + exp(delta / t))` of a heat bath: a flip that
    /// changes nothing is done every other time, where Metropolis would do it always. A sweep reads `n` from a random place on.
    pub noise: &'a [f32],
    /// Nanoseconds of a flip, or nearly.
    pub flip_cost: u64,
}

/// Places that a sweep's noise may begin at.
pub(crate) const SPAN: usize = 1 << 14;

/// A temperature below 0 at which, with ones for noise, only flips are done that lower the energy.
pub(crate) const DOWNHILL: f32 = -0.5;

impl Ground<'_> {
    pub fn len(&self) -> usize {
        self.linear.len()
    }
}

/// Fills the noise, the same for every run: of `2n + SPAN` numbers the last `n` are ones, for sweeps without noise.
pub(crate) fn fill_noise(noise: &mut [f32], n: usize) {
    let (noise, ones) = noise.split_at_mut(n + SPAN);
    let mut random = Random::new(0x5eed, u64::MAX);
    noise.fill_with(|| {
        let u = ((random.bits() >> 11) as f64 + 0.5) * (1.0 / (1u64 << 53) as f64);
        ((1.0 - u) / u).ln() as f32
    });
    ones.fill(1.0);
}

/// An assignment: masks are -1 where a variable is 1.
pub(crate) struct State<'a> {
    pub fields: &'a mut [i32],
    pub masks: &'a mut [i32],
    pub energy: i64,
}

impl<'a> State<'a> {
    /// What [`take`](State::take) takes.
    pub fn need(need: Need, n: usize) -> Need {
        need.take::<i32>(n).take::<i32>(n)
    }

    /// Room for a state; contents are undefined.
    pub fn take(frame: &mut Frame<'a>, n: usize) -> Result<State<'a>> {
        Ok(State { fields: frame.take(n)?, masks: frame.take(n)?, energy: 0 })
    }

    /// All zeros.
    pub fn clear(&mut self, ground: &Ground) {
        self.fields.copy_from_slice(ground.linear);
        self.masks.fill(0);
        self.energy = ground.base;
    }

    /// An assignment given as bytes.
    pub fn set(&mut self, ground: &Ground, x: &[u8]) {
        self.clear(ground);
        for (i, _) in x.iter().enumerate().filter(|(_, x)| **x != 0) {
            self.flip(ground, i);
        }
    }

    /// Goes to an assignment given as masks, flip by flip.
    pub fn go(&mut self, ground: &Ground, masks: &[i32]) {
        for (i, mask) in masks.iter().enumerate() {
            if self.masks[i] != *mask {
                self.flip(ground, i);
            }
        }
    }

    /// A random one.
    pub fn shuffle(&mut self, ground: &Ground, random: &mut Random) {
        self.clear(ground);
        for start in (0..self.masks.len()).step_by(64) {
            let mut bits = random.bits();
            for i in start..self.masks.len().min(start + 64) {
                if bits & 1 == 1 {
                    self.flip(ground, i);
                }
                bits >>= 1;
            }
        }
    }

    /// The same as another.
    pub fn copy(&mut self, other: &State) {
        self.fields.copy_from_slice(other.fields);
        self.masks.copy_from_slice(other.masks);
        self.energy = other.energy;
    }

    /// What a flip would add.
    pub fn delta(&self, i: usize) -> i32 {
        (self.fields[i] ^ self.masks[i]).wrapping_sub(self.masks[i])
    }

    /// Flips a variable.
    #[inline]
    pub fn flip(&mut self, ground: &Ground, i: usize) {
        let mask = self.masks[i];
        self.energy += i64::from((self.fields[i] ^ mask).wrapping_sub(mask));
        self.masks[i] = !mask;
        ground.links.add(ground.kernels, self.fields, i, mask != 0);
    }

    /// Proposes each variable of `range` once, in order, at temperature `t`; the number of flips. Noise is that of the sweep.
    pub fn sweep(&mut self, ground: &Ground, noise: &[f32], t: f32, range: std::ops::Range<usize>) -> u64 {
        let (mut at, mut flips, end) = (range.start, 0, range.end);
        loop {
            at = ground.kernels.next_flip(&self.fields[..end], &self.masks[..end], &noise[..end], t, at);
            if at >= end {
                return flips;
            }
            self.flip(ground, at);
            (at, flips) = (at + 1, flips + 1);
        }
    }

    /// Writes zeros and ones.
    pub fn write(&self, x: &mut [u8]) {
        for (x, mask) in x.iter_mut().zip(self.masks.iter()) {
            *x = u8::from(*mask != 0);
        }
    }
}

/// The best assignment that was seen.
pub(crate) struct Best<'a> {
    pub masks: &'a mut [i32],
    pub energy: i64,
}

impl<'a> Best<'a> {
    /// What [`take`](Best::take) takes.
    pub fn need(need: Need, n: usize) -> Need {
        need.take::<i32>(n)
    }

    /// Nothing seen yet.
    pub fn take(frame: &mut Frame<'a>, n: usize) -> Result<Best<'a>> {
        Ok(Best { masks: frame.take(n)?, energy: i64::MAX })
    }

    /// Forgets.
    pub fn clear(&mut self) {
        self.energy = i64::MAX;
    }

    /// Keeps the state if it is better; whether it is.
    #[inline]
    pub fn see(&mut self, state: &State) -> bool {
        let better = state.energy < self.energy;
        if better {
            self.masks.copy_from_slice(state.masks);
            self.energy = state.energy;
        }
        better
    }
}
