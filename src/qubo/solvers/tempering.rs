//! Parallel tempering: replicas at a ladder of temperatures, which neighbours exchange, and on grids the moves of clusters.
//!
//! Two replicas stand on each rung. Where they differ is a set of clusters, and to exchange one of them between the two keeps the sum
//! of their energies (Houdayer, Eur. Phys. J. B 22, 2001); below the temperature at which clusters span the whole system, that is
//! where it helps on grids and other graphs of few neighbours (Zhu, Ochoa and Katzgraber, PRL 115, 2015).

use super::anneal::sweep;
use crate::error::Result;
use crate::memory::{Frame, Need};
use crate::qubo::search::flock::Flock;
use crate::qubo::search::heat::Heat;
use crate::qubo::search::landscape::Links;
use crate::qubo::search::random::Random;
use crate::qubo::search::run::Run;
use crate::qubo::search::state::{Best, Ground, State};

/// Rungs at most.
const RUNGS: usize = 64;

/// Rungs of the ladder: more variables fluctuate less, and need nearer neighbours.
pub(crate) fn rungs(n: usize, asked: usize) -> usize {
    match asked {
        0 => ((0.36 * (n as f64).sqrt()) as usize).clamp(8, 48),
        asked => asked.clamp(2, RUNGS),
    }
}

/// Replicas, and what cluster moves need.
pub(crate) struct Tempering<'a> {
    flock: Flock<'a>,
    /// The replica on each rung: two for each, hottest first.
    order: &'a mut [u32],
    cluster: &'a mut [u32],
    /// The number of the last cluster that a variable was in.
    marks: &'a mut [u32],
    mark: u32,
    rungs: usize,
}

impl<'a> Tempering<'a> {
    /// What [`take`](Tempering::take) takes.
    pub fn need(need: Need, n: usize, rungs: usize) -> Need {
        Flock::need(need, n, 2 * rungs).take::<u32>(2 * rungs).take::<u32>(n).take::<u32>(n)
    }

    pub fn take(frame: &mut Frame<'a>, n: usize, rungs: usize) -> Result<Tempering<'a>> {
        Ok(Tempering {
            flock: Flock::take(frame, n, 2 * rungs)?,
            order: frame.take(2 * rungs)?,
            cluster: frame.take(n)?,
            marks: frame.take(n)?,
            mark: 0,
            rungs,
        })
    }

    /// `steps` sweeps of all replicas, or fewer: ends early when `patience` steps, and four times as many as led to the best, have
    /// brought nothing new. Begins at the state given on the coldest rung and anywhere else on others. Whether to stop.
    pub fn read(
        &mut self,
        ground: &Ground,
        (heat, steps, patience): (&Heat, u64, u64),
        (first, best): (&State, &mut Best),
        random: &mut Random,
        run: &mut Run,
    ) -> bool {
        let rungs = self.rungs;
        let mut temperatures = [0.0f64; RUNGS];
        for (i, t) in temperatures.iter_mut().enumerate().take(rungs) {
            *t = heat.hot * (heat.cold / heat.hot).powf(i as f64 / (rungs - 1) as f64);
        }
        for k in 0..2 * rungs {
            self.order[k] = k as u32;
            self.flock.with(
                k,
                |state| {
                    if k + 1 == 2 * rungs { state.copy(first) } else { state.shuffle(ground, random) }
                },
            );
        }
        self.marks.fill(0);
        self.mark = 0;
        let clusters = matches!(ground.links, Links::Sparse { .. });
        let (mut local, mut at) = (i64::MAX, 0);
        for step in 0..steps {
            if step - at > patience.max(4 * at) {
                return false;
            }
            for slot in 0..2 * rungs {
                let t = temperatures[slot / 2] as f32;
                let k = self.order[slot] as usize;
                let stop = self.flock.with(k, |state| {
                    let stop = sweep(ground, state, random, t, run);
                    if state.energy < local {
                        (local, at) = (state.energy, step);
                    }
                    best.see(state) && run.see(state.energy) || stop
                });
                if stop {
                    return true;
                }
            }
            if clusters {
                for rung in 0..rungs {
                    let pair = (self.order[2 * rung] as usize, self.order[2 * rung + 1] as usize);
                    let size = self.exchange(ground, pair, random);
                    let stop = [pair.0, pair.1].into_iter().any(|k| {
                        self.flock.with(k, |state| {
                            if state.energy < local {
                                (local, at) = (state.energy, step);
                            }
                            best.see(state) && run.see(state.energy)
                        })
                    });
                    if run.did(0, 2 * size, 2 * size * ground.flip_cost) || stop {
                        return true;
                    }
                }
            }
            self.swap(&temperatures, random);
        }
        false
    }

    /// Exchanges one cluster of variables in which two replicas differ; its size.
    fn exchange(&mut self, ground: &Ground, (a, b): (usize, usize), random: &mut Random) -> u64 {
        let Links::Sparse { starts, cols, .. } = ground.links else { return 0 };
        let (x, y) = (self.flock.masks(a), self.flock.masks(b));
        let n = x.len();
        // Where they hardly differ there is little to exchange.
        let Some(seed) = (0..16).map(|_| random.below(n)).find(|&i| x[i] != y[i]) else { return 0 };
        self.mark += 1;
        let (mut len, mut next) = (1, 0);
        self.cluster[0] = seed as u32;
        self.marks[seed] = self.mark;
        while next < len {
            let i = self.cluster[next] as usize;
            next += 1;
            for &j in &cols[starts[i]..starts[i + 1]] {
                let j = j as usize;
                if x[j] != y[j] && self.marks[j] != self.mark {
                    self.marks[j] = self.mark;
                    self.cluster[len] = j as u32;
                    len += 1;
                }
            }
        }
        for k in [a, b] {
            let cluster = &self.cluster[..len];
            self.flock.with(k, |state| cluster.iter().for_each(|&i| state.flip(ground, i as usize)));
        }
        len as u64
    }

    /// Exchanges neighbours on the ladder, by Metropolis' rule.
    fn swap(&mut self, temperatures: &[f64], random: &mut Random) {
        for rung in 1..self.rungs {
            let gap = 1.0 / temperatures[rung] - 1.0 / temperatures[rung - 1];
            for copy in 0..2 {
                let (hot, cold) = (2 * (rung - 1) + copy, 2 * rung + copy);
                let [e, f] = [hot, cold].map(|slot| self.flock.energies[self.order[slot] as usize]);
                let gain = gap * (f - e) as f64;
                if gain >= 0.0 || random.unit() < gain.exp() {
                    self.order.swap(hot, cold);
                }
            }
        }
        // The two on a rung trade places, so that clusters are exchanged with others than before.
        for rung in 0..self.rungs {
            if random.bits() & 1 == 1 {
                self.order.swap(2 * rung, 2 * rung + 1);
            }
        }
    }
}
