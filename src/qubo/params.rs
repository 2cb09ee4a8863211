//! How a problem is to be solved: the words of dwave's samplers, a time limit, a target and a budget.

use crate::error::{Result, fail};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// A way of solving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Method {
    /// A portfolio chosen by size, density and structure, which goes on to the next method when one stops improving.
    #[default]
    Auto,
    /// Simulated annealing.
    Anneal,
    /// One-flip tabu search.
    Tabu,
    /// Steepest descent from many starts.
    Descent,
    /// Parallel tempering, with cluster moves where the couplings make a grid.
    Tempering,
    /// Population annealing.
    Population,
    /// Path-integral (simulated quantum) annealing.
    Quantum,
    /// Tabu search over the paths between the elite's members.
    Relink,
    /// Annealing of what good assignments disagree about, what they agree on being bound together.
    Contract,
    /// Every assignment, by Gray code: up to 30 variables.
    Enumerate,
    /// The quantum approximate optimization algorithm on a simulated state: up to 22 variables.
    Qaoa,
    /// A solver that the host registered.
    Host,
}

impl Method {
    /// All of them.
    pub const ALL: [Method; 12] = [
        Method::Auto,
        Method::Anneal,
        Method::Tabu,
        Method::Descent,
        Method::Tempering,
        Method::Population,
        Method::Quantum,
        Method::Relink,
        Method::Contract,
        Method::Enumerate,
        Method::Qaoa,
        Method::Host,
    ];

    /// The name used on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Method::Auto => "auto",
            Method::Anneal => "anneal",
            Method::Tabu => "tabu",
            Method::Descent => "descent",
            Method::Tempering => "tempering",
            Method::Population => "population",
            Method::Quantum => "quantum",
            Method::Relink => "relink",
            Method::Contract => "contract",
            Method::Enumerate => "enumerate",
            Method::Qaoa => "qaoa",
            Method::Host => "host",
        }
    }

    /// The method of that name.
    pub fn from_name(name: &str) -> Option<Method> {
        Method::ALL.into_iter().find(|method| method.name() == name)
    }
}

/// How the inverse temperature goes from its first value to its last.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Schedule {
    /// By equal factors.
    #[default]
    Geometric,
    /// By equal steps.
    Linear,
    /// These, each for an equal number of sweeps; positive, finite, at most a million of them.
    Custom(Vec<f64>),
}

/// What a solver is told. Numbers of reads and sweeps that are 0 are the solver's choice.
#[derive(Clone, Debug)]
pub struct SolveParams {
    /// The way.
    pub method: Method,
    /// Independent reads; 0: one, or as many as the time limit allows.
    pub num_reads: usize,
    /// Sweeps of a read (flips per variable of tabu search); 0: chosen, and with a time limit growing from read to read.
    pub num_sweeps: usize,
    /// First and last inverse temperature, in units of one over the objective; None: from the coefficients.
    pub beta_range: Option<(f64, f64)>,
    /// What lies between them.
    pub beta_schedule: Schedule,
    /// Reads of equal seed and number are equal, whatever the number of threads.
    pub seed: u64,
    /// Assignments that the first reads begin with, one after another, of the problem's length each.
    pub initial_states: Vec<u8>,
    /// Kept within 10 ms or 1 %; zero: no read at all but the evaluation of the initial state (or of all zeros).
    pub time_limit: Option<Duration>,
    /// A value in the problem's sense, offset included, at which to stop.
    pub target_energy: Option<f64>,
    /// As [`crate::threads::count`] has it: 0 is one for each core.
    pub threads: usize,
    /// Distinct samples that are kept, the best ones; at least 1.
    pub max_samples: usize,
    /// Bytes the plan may not exceed.
    pub budget: Option<usize>,
    /// Layers of a QAOA circuit.
    pub layers: usize,
    /// Replicas of tempering and slices of the path integral, or members of the population; 0: chosen.
    pub replicas: usize,
    /// The highest instruction set to use; None: what the CPU has, or the environment's QORUS_ISA.
    pub isa: Option<crate::Isa>,
    /// Set to true from anywhere, it ends the run.
    pub cancel: Arc<AtomicBool>,
}

impl Default for SolveParams {
    fn default() -> Self {
        SolveParams {
            method: Method::Auto,
            num_reads: 0,
            num_sweeps: 0,
            beta_range: None,
            beta_schedule: Schedule::Geometric,
            seed: 0,
            initial_states: Vec::new(),
            time_limit: None,
            target_energy: None,
            threads: 1,
            max_samples: 16,
            budget: None,
            layers: 3,
            replicas: 0,
            isa: None,
            cancel: Arc::new(AtomicBool::new(false)),
        }
    }
}

/// The most reads of a run: their number is a counter, their results are not all kept.
const MAX_READS: usize = 1 << 40;
/// The most sweeps of a read.
const MAX_SWEEPS: usize = 1 << 40;

impl SolveParams {
    /// `InvalidArgument` naming the parameter that is out of range, for a problem of `n` variables.
    pub fn check(&self, n: usize) -> Result<()> {
        if self.num_reads > MAX_READS || self.num_sweeps > MAX_SWEEPS {
            fail!(
                InvalidArgument,
                "{} reads of {} sweeps: give at most {MAX_READS} of each (a negative number becomes a great one)",
                self.num_reads,
                self.num_sweeps
            );
        }
        if let Some((first, last)) = self.beta_range
            && !(first > 0.0 && last >= first && last.is_finite())
        {
            fail!(InvalidArgument, "beta_range is ({first}, {last}): give 0 < first <= last, both finite");
        }
        if let Schedule::Custom(betas) = &self.beta_schedule {
            if betas.is_empty() || betas.len() > 1_000_000 {
                fail!(InvalidArgument, "a schedule of {} temperatures: give 1 to 1000000", betas.len());
            }
            if let Some(bad) = betas.iter().find(|b| !(b.is_finite() && **b >= 0.0)) {
                fail!(InvalidArgument, "a schedule contains beta {bad}: give finite numbers that are not negative");
            }
        }
        if self.target_energy.is_some_and(f64::is_nan) {
            fail!(InvalidArgument, "the target energy is NaN: give a number");
        }
        let state = self.initial_states.len();
        if state > 0 && (n == 0 || !state.is_multiple_of(n)) {
            fail!(InvalidArgument, "initial states have {state} elements: give whole assignments of {n}");
        }
        if self.initial_states.iter().any(|x| *x > 1) {
            fail!(InvalidArgument, "an initial state has an element that is neither 0 nor 1");
        }
        if !(1..=1 << 24).contains(&self.max_samples) {
            fail!(InvalidArgument, "max_samples is {}: give 1 to {}", self.max_samples, 1 << 24);
        }
        if self.layers > 1000 {
            fail!(InvalidArgument, "{} layers: give at most 1000", self.layers);
        }
        if self.replicas > 1 << 16 {
            fail!(InvalidArgument, "{} replicas: give at most {}", self.replicas, 1 << 16);
        }
        crate::threads::count(self.threads).map(drop)
    }
}
