//! The portfolio: reads of annealing, tabu search from what they find, and the paths between the best, in turn; when a method
//! stops improving the next one goes on, and reads grow longer.

use super::anneal::anneal;
use super::contract::Contract;
use super::relink::{Elite, MEMBERS, walk};
use super::tabu::tabu;
use crate::error::Result;
use crate::memory::{Frame, Need};
use crate::qubo::params::Method;
use crate::qubo::problem::Structure;
use crate::qubo::search::heat::Heat;
use crate::qubo::search::landscape::Links;
use crate::qubo::search::random::Random;
use crate::qubo::search::run::Run;
use crate::qubo::search::state::{Best, Ground, State};

impl Structure {
    /// What [`Method::Auto`] begins with, and goes on with when that stops improving, for `n` variables.
    pub const fn portfolio(self, n: usize) -> &'static [Method] {
        match self {
            _ if n <= FEW => &[Method::Enumerate],
            Structure::Free => &[Method::Anneal],
            Structure::Grid => &[Method::Anneal, Method::Tempering],
            Structure::Dense => &[Method::Anneal, Method::Tabu, Method::Relink],
            // A step of tabu search looks at all variables, which long lists of few neighbours make dear.
            Structure::Sparse if n > 3000 => &[Method::Anneal, Method::Contract],
            Structure::Sparse => &[Method::Anneal, Method::Tabu, Method::Contract],
        }
    }
}

/// The most variables for which the portfolio tries every assignment.
const FEW: usize = 16;

/// The methods that a run goes through: the portfolio, or as much of it as was asked for.
pub(crate) fn methods(method: Method, structure: Structure, n: usize) -> &'static [Method] {
    match (method, structure) {
        (Method::Contract, Structure::Sparse | Structure::Grid) => &[Method::Anneal, Method::Contract],
        // A matrix leaves nothing apart that could be bound together.
        (Method::Relink | Method::Contract, _) => &[Method::Anneal, Method::Tabu, Method::Relink],
        _ => structure.portfolio(n),
    }
}

/// What the portfolio works with.
pub(crate) struct Portfolio<'a> {
    pub state: State<'a>,
    local: Best<'a>,
    middle: Best<'a>,
    free: &'a mut [i32],
    elite: Elite<'a>,
    contract: Option<Contract<'a>>,
}

/// How the portfolio goes about a landscape, from its size and methods.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Sweeps of the first reads.
    sweeps: u64,
    /// Reads without progress before paths are walked, and reads grow.
    reads: u32,
    /// Flips without progress that tabu search is allowed; 0: none.
    patience: u64,
    /// Whether paths between the elite's members are walked.
    relink: bool,
    /// How many times as long reads become.
    growth: u64,
}

/// Children of the elite before its worst member goes.
const CHILDREN: usize = 10;

impl Plan {
    pub fn of(ground: &Ground, methods: &[Method]) -> Plan {
        let n = ground.len() as u64;
        let dense = matches!(ground.links, Links::Dense { .. });
        let patience = match (methods.contains(&Method::Tabu), dense) {
            (false, _) => 0,
            (true, true) => (4 * n).clamp(500, 20_000),
            (true, false) => 2 * n,
        };
        let relink = methods.contains(&Method::Relink);
        // Without paths there is nothing that short reads could serve.
        let (reads, growth) = if relink { (4, 2) } else { (1, 4) };
        let sweeps = match (dense, patience) {
            (true, _) => 200,
            // Nothing but length makes up for tabu search.
            (false, 0) => 1200,
            (false, _) => 300,
        };
        Plan { sweeps, reads, patience, relink, growth }
    }
}

impl<'a> Portfolio<'a> {
    /// What [`take`](Portfolio::take) takes.
    pub fn need(need: Need, (n, halves): (usize, usize), methods: &[Method]) -> Need {
        let need = Best::need(Best::need(State::need(need, n), n), n);
        let need = Elite::need(need.take::<i32>(n), n);
        if methods.contains(&Method::Contract) { Contract::need(need, n, halves) } else { need }
    }

    /// Room for `n` variables whose couplings stand `halves` times in lists.
    pub fn take(frame: &mut Frame<'a>, (n, halves): (usize, usize), methods: &[Method]) -> Result<Portfolio<'a>> {
        Ok(Portfolio {
            state: State::take(frame, n)?,
            local: Best::take(frame, n)?,
            middle: Best::take(frame, n)?,
            free: frame.take(n)?,
            elite: Elite::take(frame, n)?,
            contract: match methods.contains(&Method::Contract) {
                true => Some(Contract::take(frame, n, halves)?),
                false => None,
            },
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
            loop {
                // Where reads are short, as many as bring something; where only length helps, one of each; and all parents of children.
                let brings = if plan.reads > 1 { stale < plan.reads } else { reads < plan.reads };
                let parents = self.contract.is_some() && (reads as usize) < MEMBERS;
                if !brings && !parents {
                    break;
                }
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
            if plan.relink && self.relink(ground, plan, best, random, run) {
                return true;
            }
            if self.contract(ground, (heat, sweeps), best, random, run) {
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

    /// Children of the elite, whose worst members go one after another until the best is left.
    fn contract(
        &mut self,
        ground: &Ground,
        (heat, sweeps): (&Heat, u64),
        best: &mut Best,
        random: &mut Random,
        run: &mut Run,
    ) -> bool {
        let Some(contract) = &mut self.contract else { return false };
        run.solver = "contract";
        while self.elite.len() > 1 {
            for _ in 0..CHILDREN {
                let work = (heat, (sweeps / 4).max(100));
                if contract.mate(ground, &mut self.elite, work, (&mut self.state, best), random, run) {
                    return true;
                }
            }
            self.elite.shrink(self.elite.len() - 1);
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
