//! The portfolio: reads of annealing, tabu search from what they find, and the paths between the best, in turn; when a method
//! stops improving the next one goes on, and reads grow longer.

use super::anneal::anneal;
use super::elite::{Elite, MEMBERS, walk};
use super::heat::Heat;
use super::params::Method;
use super::random::Random;
use super::run::Run;
use super::state::{Best, Ground, State};
use super::tabu::tabu;
use crate::error::Result;
use crate::memory::{Frame, Need};

/// What the portfolio works with.
pub(crate) struct Portfolio<'a> {
    pub state: State<'a>,
    local: Best<'a>,
    middle: Best<'a>,
    free: &'a mut [i32],
    elite: Elite<'a>,
}

/// How the portfolio goes about a landscape, from its size and density.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Sweeps of the first reads.
    pub sweeps: u64,
    /// Reads without progress before relinking begins, and reads grow.
    pub reads: u32,
    /// Flips without progress that tabu search is allowed; 0: none.
    pub patience: u64,
    /// How many times as long reads become.
    pub growth: u64,
}

impl Plan {
    pub fn of(ground: &Ground, method: Method) -> Plan {
        let n = ground.len() as u64;
        let dense = matches!(ground.links, super::landscape::Links::Dense { .. });
        // A step of tabu search looks at all variables, whatever their degree.
        let patience = if dense {
            (4 * n).clamp(500, 20_000)
        } else if n <= 3000 {
            2 * n
        } else {
            0
        };
        let patience = if method == Method::Relink { patience.max(2 * n) } else { patience };
        // Without tabu search and relinking there is nothing that short reads could serve.
        let (reads, growth) = if patience > 0 { (4, 2) } else { (1, 4) };
        Plan { sweeps: if dense { 200 } else { 300 }, reads, patience, growth }
    }
}

impl<'a> Portfolio<'a> {
    /// What [`take`](Portfolio::take) takes.
    pub fn need(need: Need, n: usize) -> Need {
        let need = Best::need(Best::need(State::need(need, n), n), n);
        Elite::need(need.take::<i32>(n), n)
    }

    pub fn take(frame: &mut Frame<'a>, n: usize) -> Result<Portfolio<'a>> {
        Ok(Portfolio {
            state: State::take(frame, n)?,
            local: Best::take(frame, n)?,
            middle: Best::take(frame, n)?,
            free: frame.take(n)?,
            elite: Elite::take(frame, n)?,
        })
    }

    /// Searches for `rounds` rounds; the best is kept. A `warm` state is searched from, others are only where annealing begins.
    pub fn read(
        &mut self,
        ground: &Ground,
        (heat, plan, rounds, warm): (&Heat, Plan, u64, bool),
        best: &mut Best,
        random: &mut Random,
        run: &mut Run,
    ) -> bool {
        self.elite.clear();
        let (mut sweeps, mut fresh) = (plan.sweeps, true);
        if warm {
            self.local.clear();
            self.local.see(&self.state);
            if self.improve(ground, Plan { patience: plan.patience.max(1000), ..plan }, best, random, run) {
                return true;
            }
            self.elite.add(self.local.masks, self.local.energy);
        }
        for _ in 0..rounds {
            let (mut stale, mut reads) = (0, 0);
            // Where reads are short, as many as bring something; where only length helps, one of each.
            while stale < plan.reads && (reads == 0 || plan.reads > 1) {
                reads += 1;
                if !std::mem::take(&mut fresh) {
                    self.state.shuffle(ground, random);
                }
                self.local.clear();
                run.solver = "anneal";
                let stop = anneal(ground, &mut self.state, &mut self.local, random, (heat, sweeps), run);
                stale = if keep(best, &self.local) { 0 } else { stale + 1 };
                if stop {
                    return true;
                }
                if self.improve(ground, plan, best, random, run) {
                    return true;
                }
                self.elite.add(self.local.masks, self.local.energy);
            }
            if plan.patience > 0 && self.relink(ground, plan, best, random, run) {
                return true;
            }
            sweeps = sweeps.saturating_mul(plan.growth).min(1 << 40);
        }
        false
    }

    /// Tabu search from the local best on.
    fn improve(&mut self, ground: &Ground, plan: Plan, best: &mut Best, random: &mut Random, run: &mut Run) -> bool {
        if plan.patience == 0 {
            return false;
        }
        run.solver = "tabu";
        self.state.go(ground, self.local.masks);
        let stop = tabu(ground, &mut self.state, &mut self.local, self.free, random, plan.patience, run);
        keep(best, &self.local);
        stop
    }

    /// Paths between the elite's members until as many as there are have brought nothing.
    fn relink(&mut self, ground: &Ground, plan: Plan, best: &mut Best, random: &mut Random, run: &mut Run) -> bool {
        let mut stale = 0;
        while self.elite.len() > 1 && stale < MEMBERS {
            stale += 1;
            let from = random.below(self.elite.len());
            let to = (from + 1 + random.below(self.elite.len() - 1)) % self.elite.len();
            run.solver = "relink";
            let parts = (&mut self.state, &mut self.middle);
            if !walk(ground, &self.elite, (from, to), parts, self.free, random, run) {
                continue;
            }
            self.local.clear();
            let stop = tabu(ground, &mut self.state, &mut self.local, self.free, random, plan.patience, run);
            if keep(best, &self.local) {
                stale = 0;
            }
            if stop {
                return true;
            }
            self.elite.add(self.local.masks, self.local.energy);
        }
        false
    }
}

/// Keeps the local best if it is better; whether it is.
fn keep(best: &mut Best, local: &Best) -> bool {
    let better = local.energy < best.energy;
    if better {
        best.masks.copy_from_slice(local.masks);
        best.energy = local.energy;
    }
    better
}
