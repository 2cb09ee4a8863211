//! `q_qubo_params`: how a problem is to be solved.

use crate::error::Result;
use crate::ffi::args;
use crate::ffi::error::{choice, q_error_code, unused};
use crate::ffi::params::{self, Params};
use crate::ffi::runtime::isa_of;
use crate::qubo::{Method, Schedule, SolveParams};
use std::time::Duration;

/// Ways of solving.
#[repr(u32)]
pub enum q_qubo_method {
    /// A portfolio chosen by size, density and structure, which goes on to the next method when one stops improving.
    Q_QUBO_AUTO = 0,
    /// Simulated annealing.
    Q_QUBO_ANNEAL = 1,
    /// One-flip tabu search.
    Q_QUBO_TABU = 2,
    /// Steepest descent from many starts.
    Q_QUBO_DESCENT = 3,
    /// Parallel tempering, with cluster moves on grids.
    Q_QUBO_TEMPERING = 4,
    /// Population annealing.
    Q_QUBO_POPULATION = 5,
    /// Path-integral (simulated quantum) annealing.
    Q_QUBO_QUANTUM = 6,
    /// Tabu search over the paths between the best.
    Q_QUBO_RELINK = 7,
    /// Every assignment: up to 30 variables.
    Q_QUBO_ENUMERATE = 8,
    /// QAOA on a simulated state: up to 22 variables.
    Q_QUBO_QAOA = 9,
    /// The solver that q_qubo_solver_register gave.
    Q_QUBO_HOST = 10,
    /// Annealing of what good assignments disagree about.
    Q_QUBO_CONTRACT = 11,
}

/// How the inverse temperature goes from its first value to its last.
#[repr(u32)]
pub enum q_qubo_schedule {
    /// By equal factors.
    Q_QUBO_GEOMETRIC = 0,
    /// By equal steps.
    Q_QUBO_LINEAR = 1,
    /// The host's own `betas`, each for an equal number of sweeps.
    Q_QUBO_CUSTOM = 2,
}

/// How a problem is to be solved, in the words of dwave's samplers. Fill it with q_qubo_params_init first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_qubo_params {
    /// sizeof(q_qubo_params), set by q_qubo_params_init.
    pub size: u32,
    /// A q_qubo_method (Q_QUBO_AUTO).
    pub method: u32,
    /// Independent reads; 0 (the default): one, or as many as there is time for.
    pub num_reads: u64,
    /// Sweeps of a read; 0 (the default): the solver's choice.
    pub num_sweeps: u64,
    /// First and last inverse temperature; 0 and 0 (the default): from the coefficients.
    pub beta_first: f64,
    /// As above.
    pub beta_last: f64,
    /// A q_qubo_schedule (Q_QUBO_GEOMETRIC).
    pub schedule: u32,
    /// Inverse temperatures at `betas`.
    pub n_betas: u32,
    /// Those of Q_QUBO_CUSTOM, read when the solver is created; else NULL.
    pub betas: *const f64,
    /// Reads of equal seed and number are equal, whatever the number of threads (0).
    pub seed: u64,
    /// Assignments that the first reads begin with, `n_states` times a byte of 0 or 1 for each variable, read when the solver is created;
    /// NULL: anywhere.
    pub states: *const u8,
    /// How many there are.
    pub n_states: u64,
    /// Seconds at most, kept within 10 ms or 1 %; 0: an evaluation alone; negative (the default): no limit.
    pub time_limit: f64,
    /// A value in the problem's sense at which to stop; NaN (the default): none.
    pub target_energy: f64,
    /// Threads (1); 0: one for each core this process may use.
    pub threads: u32,
    /// Different samples that are kept, the best ones (16).
    pub max_samples: u32,
    /// Bytes the plan may come to; 0: no limit.
    pub budget: u64,
    /// Layers of a QAOA circuit (3).
    pub layers: u32,
    /// Replicas, slices or members of methods that have them; 0: chosen.
    pub replicas: u32,
    /// The highest q_isa to use (Q_ISA_AUTO).
    pub isa: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: as the trait demands.
unsafe impl Params for q_qubo_params {
    const NAME: &'static str = "q_qubo_params";

    fn defaults() -> Self {
        let p = SolveParams::default();
        q_qubo_params {
            size: size_of::<Self>() as u32,
            method: q_qubo_method::Q_QUBO_AUTO as u32,
            num_reads: 0,
            num_sweeps: 0,
            beta_first: 0.0,
            beta_last: 0.0,
            schedule: q_qubo_schedule::Q_QUBO_GEOMETRIC as u32,
            n_betas: 0,
            betas: std::ptr::null(),
            seed: p.seed,
            states: std::ptr::null(),
            n_states: 0,
            time_limit: -1.0,
            target_energy: f64::NAN,
            threads: p.threads as u32,
            max_samples: p.max_samples as u32,
            budget: 0,
            layers: p.layers as u32,
            replicas: 0,
            isa: 0,
            reserved: 0,
        }
    }
}

/// The solver's parameters of those of the host, for a problem of `n` variables.
///
/// # Safety
/// `params` is NULL or as the header says.
pub(super) unsafe fn solve_params(params: *const q_qubo_params, n: usize) -> Result<SolveParams> {
    // SAFETY: the host's pointer.
    let p = unsafe { params::read(params) }?;
    unused("reserved", p.reserved)?;
    let methods: [(u32, Method); 12] = [
        (q_qubo_method::Q_QUBO_AUTO as u32, Method::Auto),
        (q_qubo_method::Q_QUBO_ANNEAL as u32, Method::Anneal),
        (q_qubo_method::Q_QUBO_TABU as u32, Method::Tabu),
        (q_qubo_method::Q_QUBO_DESCENT as u32, Method::Descent),
        (q_qubo_method::Q_QUBO_TEMPERING as u32, Method::Tempering),
        (q_qubo_method::Q_QUBO_POPULATION as u32, Method::Population),
        (q_qubo_method::Q_QUBO_QUANTUM as u32, Method::Quantum),
        (q_qubo_method::Q_QUBO_RELINK as u32, Method::Relink),
        (q_qubo_method::Q_QUBO_ENUMERATE as u32, Method::Enumerate),
        (q_qubo_method::Q_QUBO_QAOA as u32, Method::Qaoa),
        (q_qubo_method::Q_QUBO_HOST as u32, Method::Host),
        (q_qubo_method::Q_QUBO_CONTRACT as u32, Method::Contract),
    ];
    // SAFETY: the host's pointers.
    let (betas, states) = unsafe {
        let count = usize::try_from(p.n_states).unwrap_or(usize::MAX).saturating_mul(n);
        (args::slice(p.betas, p.n_betas as usize, "betas")?, args::slice(p.states, count, "states")?)
    };
    let schedules: [(u32, Schedule); 3] = [
        (q_qubo_schedule::Q_QUBO_GEOMETRIC as u32, Schedule::Geometric),
        (q_qubo_schedule::Q_QUBO_LINEAR as u32, Schedule::Linear),
        (q_qubo_schedule::Q_QUBO_CUSTOM as u32, Schedule::Custom(betas.to_vec())),
    ];
    let kinds = [0, 1, 2].map(|i| (schedules[i].0, i));
    let beta_schedule = schedules[choice("schedule", p.schedule, &kinds)?].1.clone();
    let automatic = p.beta_first == 0.0 && p.beta_last == 0.0;
    // What is too long for a Duration is no limit. NaN is none either.
    let time_limit = Duration::try_from_secs_f64(p.time_limit).ok();
    let solve = SolveParams {
        method: choice("method", p.method, &methods)?,
        num_reads: usize::try_from(p.num_reads).unwrap_or(usize::MAX),
        num_sweeps: usize::try_from(p.num_sweeps).unwrap_or(usize::MAX),
        beta_range: if automatic { None } else { Some((p.beta_first, p.beta_last)) },
        beta_schedule,
        seed: p.seed,
        initial_states: states.to_vec(),
        time_limit,
        target_energy: Some(p.target_energy).filter(|target| !target.is_nan()),
        threads: p.threads as usize,
        max_samples: p.max_samples as usize,
        budget: Some(usize::try_from(p.budget).unwrap_or(usize::MAX)).filter(|&bytes| bytes > 0),
        layers: p.layers as usize,
        replicas: p.replicas as usize,
        isa: isa_of(p.isa)?,
        ..SolveParams::default()
    };
    solve.check(n)?;
    Ok(solve)
}

/// Fills `params` with defaults. `size` is sizeof(q_qubo_params).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_qubo_params_init(params: *mut q_qubo_params, size: usize) -> q_error_code {
    ffi!({ params::init(params, size) })
}
