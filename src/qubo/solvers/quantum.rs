//! Simulated quantum annealing: the path integral of a transverse field, whose slices are copies of the problem that hold
//! together ever more closely (Martonak, Santoro and Tosatti, PRB 66, 2002).

use super::anneal::descend;
use crate::error::Result;
use crate::memory::{Frame, Need};
use crate::qubo::search::flock::Flock;
use crate::qubo::search::heat::Heat;
use crate::qubo::search::random::Random;
use crate::qubo::search::run::Run;
use crate::qubo::search::state::{Best, Ground, SPAN, State};

/// Slices where nobody says how many.
pub(crate) fn slices(asked: usize) -> usize {
    if asked == 0 { 16 } else { asked.max(2) }
}

/// The slices of a path.
pub(crate) struct Path<'a> {
    flock: Flock<'a>,
}

impl<'a> Path<'a> {
    /// What [`take`](Path::take) takes.
    pub fn need(need: Need, n: usize, slices: usize) -> Need {
        Flock::need(need, n, slices)
    }

    pub fn take(frame: &mut Frame<'a>, n: usize, slices: usize) -> Result<Path<'a>> {
        Ok(Path { flock: Flock::take(frame, n, slices)? })
    }

    /// A read of `sweeps` sweeps of every slice while the transverse field falls to nearly nothing; all slices begin at the state given,
    /// and each ends with a descent. Whether to stop.
    pub fn read(
        &mut self,
        ground: &Ground,
        (heat, sweeps): (&Heat, u64),
        (first, best): (&State, &mut Best),
        random: &mut Random,
        run: &mut Run,
    ) -> bool {
        let (slices, n, since) = (self.flock.len(), ground.len(), run.now);
        for k in 0..slices {
            self.flock.with(k, |state| state.copy(first));
        }
        // A slice by itself is at this temperature: one at which neighbours of a glass are still moved.
        let t = (heat.hot * heat.cold).sqrt();
        let last = (sweeps.max(2) - 1) as f64;
        for step in 0..sweeps {
            let part = (step as f64 / last).max(run.part(since));
            // The field in units of the temperature of a slice, and what it costs two neighbouring slices to differ.
            let field = 3.0 * (1.0 - part) + 1e-4;
            let bond = -0.5 * t * field.tanh().ln();
            for k in 0..slices {
                let before = (k + slices - 1) % slices;
                let after = (k + 1) % slices;
                let stop = self.slice(ground, (before, k, after), (t, bond), random, run);
                let stop = self.flock.with(k, |state| best.see(state) && run.see(state.energy)) || stop;
                if stop {
                    return true;
                }
            }
            // All slices at once, every few sweeps: what a single slice cannot do once they hold together.
            if step % 4 == 3 && self.whole(ground, t, random, run) {
                return true;
            }
        }
        (0..slices).any(|k| {
            self.flock.with(k, |state| {
                let stop = descend(ground, state, random, run);
                best.see(state) && run.see(state.energy) || stop
            })
        }) || n == 0
    }

    /// Proposes each variable of a slice once.
    fn slice(
        &mut self,
        ground: &Ground,
        (before, k, after): (usize, usize, usize),
        (t, bond): (f64, f64),
        random: &mut Random,
        run: &mut Run,
    ) -> bool {
        let n = ground.len();
        let noise = &ground.noise[random.below(SPAN)..][..n];
        run.swept();
        let (mut flips, mut stop) = (0, false);
        for (i, noise) in noise.iter().enumerate() {
            let own = self.flock.masks(k)[i];
            // Of two neighbours those that agree: to leave them costs two bonds each, as it gains that with others.
            let agree = [before, after].into_iter().filter(|&s| self.flock.masks(s)[i] == own).count() as f64;
            let extra = 4.0 * bond * (agree - 1.0);
            let limit = t * f64::from(*noise);
            self.flock.with(k, |state| {
                if f64::from(state.delta(i)) + extra <= limit {
                    state.flip(ground, i);
                    flips += 1;
                }
            });
            if i % 4096 == 4095 {
                stop |= run.did(4096, 0, 4096 * 4);
            }
            if stop {
                break;
            }
        }
        run.did(n as u64 % 4096, flips, 20 + 4 * (n as u64 % 4096) + flips * ground.flip_cost) || stop
    }

    /// Proposes to flip each variable in all slices together.
    fn whole(&mut self, ground: &Ground, t: f64, random: &mut Random, run: &mut Run) -> bool {
        let (slices, n) = (self.flock.len(), ground.len());
        let noise = &ground.noise[random.below(SPAN)..][..n];
        for (i, noise) in noise.iter().enumerate() {
            let sum: f64 = (0..slices).map(|k| f64::from(self.flock.with(k, |state| state.delta(i)))).sum();
            let mut flips = 0;
            if sum <= t * f64::from(*noise) {
                flips = slices as u64;
                (0..slices).for_each(|k| self.flock.with(k, |state| state.flip(ground, i)));
            }
            if run.did(1, flips, slices as u64 + flips * ground.flip_cost) {
                return true;
            }
        }
        false
    }
}
