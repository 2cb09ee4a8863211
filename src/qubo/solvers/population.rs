//! Population annealing: many states cooled together; at each step those of low energy are copied in the place of others.

use super::anneal::{descend, sweep};
use crate::error::Result;
use crate::memory::{Frame, Need};
use crate::qubo::search::flock::Flock;
use crate::qubo::search::heat::Heat;
use crate::qubo::search::random::Random;
use crate::qubo::search::run::Run;
use crate::qubo::search::state::{Best, Ground, State};

/// Members where nobody says how many.
pub(crate) fn members(asked: usize) -> usize {
    if asked == 0 { 64 } else { asked.max(2) }
}

/// A population, and how many copies of each member come next.
pub(crate) struct Population<'a> {
    flock: Flock<'a>,
    copies: &'a mut [u32],
}

impl<'a> Population<'a> {
    /// What [`take`](Population::take) takes.
    pub fn need(need: Need, n: usize, members: usize) -> Need {
        Flock::need(need, n, members).take::<u32>(members)
    }

    pub fn take(frame: &mut Frame<'a>, n: usize, members: usize) -> Result<Population<'a>> {
        Ok(Population { flock: Flock::take(frame, n, members)?, copies: frame.take(members)? })
    }

    /// A read of `sweeps` sweeps of every member, one at each temperature; one member begins at the state given. Whether to stop.
    pub fn read(
        &mut self,
        ground: &Ground,
        (heat, sweeps): (&Heat, u64),
        (first, best): (&State, &mut Best),
        random: &mut Random,
        run: &mut Run,
    ) -> bool {
        let members = self.flock.len();
        for k in 0..members {
            self.flock.with(k, |state| if k == 0 { state.copy(first) } else { state.shuffle(ground, random) });
        }
        let (schedule, scale, since) = (&run.shared.params.beta_schedule, ground.scale, run.now);
        let (last, mut before) = ((sweeps.max(2) - 1) as f64, f64::INFINITY);
        for step in 0..=sweeps {
            let part = (step as f64 / last).min(1.0).max(run.part(since));
            let t = heat.at(schedule, scale, part);
            self.resample(1.0 / t - 1.0 / before, random);
            before = t;
            for k in 0..members {
                let stop = self.flock.with(k, |state| {
                    let stop = if step == sweeps {
                        descend(ground, state, random, run)
                    } else {
                        sweep(ground, state, random, t as f32, run)
                    };
                    best.see(state) && run.see(state.energy) || stop
                });
                if stop {
                    return true;
                }
            }
        }
        false
    }

    /// Members in proportion to `exp(-gap * energy)`, their number kept: systematic resampling, in place.
    fn resample(&mut self, gap: f64, random: &mut Random) {
        let energies = &*self.flock.energies;
        let least = energies.iter().copied().min().unwrap_or(0);
        let weight = |e: i64| (-gap * (e - least) as f64).exp();
        let total: f64 = energies.iter().map(|e| weight(*e)).sum();
        let step = total / energies.len() as f64;
        let (mut next, mut sum) = (random.unit() * step, 0.0);
        for (copies, e) in self.copies.iter_mut().zip(energies) {
            sum += weight(*e);
            *copies = 0;
            while next < sum {
                *copies += 1;
                next += step;
            }
        }
        let mut from = 0;
        for to in 0..self.copies.len() {
            if self.copies[to] > 0 {
                continue;
            }
            // Roundings may leave one copy too few: then a member stays that was to go.
            let Some(more) = (from..self.copies.len()).find(|&k| self.copies[k] > 1) else { break };
            from = more;
            self.copies[from] -= 1;
            self.copies[to] = 1;
            self.flock.copy(from, to);
        }
    }
}
