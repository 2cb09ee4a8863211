//! `q_qubo_solver`: everything that solving a problem needs, reserved; and the samples it finds.

use super::host::Callback;
use super::params::{q_qubo_params, solve_params};
use super::problem::q_qubo;
use crate::error::fail;
use crate::ffi::args;
use crate::ffi::boundary::{call, outside};
use crate::ffi::error::q_error_code;
use crate::ffi::handle::{self, Opaque};
use crate::ffi::model::q_plan;
use crate::ffi::params::{self, Report};
use crate::qubo::{Control, Progress, Solver, Stopped, Watch};
use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A solver of one problem, with all its memory. One call at a time; q_qubo_solver_cancel from any thread.
pub struct q_qubo_solver {
    _opaque: [u8; 0],
}

impl Opaque for q_qubo_solver {
    type Value = Solver;
    type Side = Arc<AtomicBool>;
    const NAME: &'static str = "q_qubo_solver";
}

/// Why a run ended.
#[repr(u32)]
pub enum q_qubo_end {
    /// All reads and sweeps are done.
    Q_QUBO_SWEEPS = 0,
    /// The time limit.
    Q_QUBO_TIME = 1,
    /// The target was reached.
    Q_QUBO_TARGET = 2,
    /// The callback or q_qubo_solver_cancel.
    Q_QUBO_CANCELLED = 3,
    /// No assignment is better.
    Q_QUBO_PROVEN = 4,
}

/// Where a run is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_qubo_progress {
    /// Bytes of this struct.
    pub size: u32,
    /// 0.
    pub reserved: u32,
    /// Seconds since its beginning.
    pub seconds: f64,
    /// The best value so far, in the problem's sense; NaN before the first.
    pub best: f64,
    /// Flips that were considered.
    pub proposals: u64,
    /// Passes over all variables.
    pub sweeps: u64,
    /// Reads that are finished.
    pub reads: u64,
}

/// Is told where a run is, inside reads: when a better value was found, and every 10 ms or so. Returns 0 to go on, anything else to end
/// with the best so far. Must not unwind.
pub type q_qubo_progress_fn = Option<unsafe extern "C" fn(progress: *const q_qubo_progress, user: *mut c_void) -> i32>;

/// A solver of the host's: writes `n` bytes of 0 or 1 to `x` within `timeout` seconds and returns 0. Anything else that it
/// returns or leaves, or a later answer, counts as a failure. Must not unwind.
pub type q_qubo_solve_fn = Option<unsafe extern "C" fn(x: *mut u8, n: usize, timeout: f64, user: *mut c_void) -> i32>;

/// How a run went.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_qubo_result {
    /// Bytes of this struct that were filled.
    pub size: u32,
    /// A q_qubo_end.
    pub end: u32,
    /// The best value, in the problem's sense, computed from the problem.
    pub best: f64,
    /// Seconds to the first sample of that value.
    pub time_to_best: f64,
    /// Seconds of the whole run.
    pub seconds: f64,
    /// Flips that were considered.
    pub proposals: u64,
    /// Flips that were done.
    pub flips: u64,
    /// Passes over all variables.
    pub sweeps: u64,
    /// Reads that were begun.
    pub reads: u64,
    /// What found the best: static text that ends in a NUL.
    pub method: *const c_char,
}

// SAFETY: as the trait demands.
unsafe impl Report for q_qubo_result {
    const NAME: &'static str = "q_qubo_result";
}

/// Says how many bytes a solver will take, by class: couplings (`weights_resident`), samples (`activations`), what is searched in
/// (`scratch`), and stacks (`threads`). `params` may be NULL; `size` is sizeof(q_plan). The problem itself is q_qubo_info.bytes.
/// Errors: Q_ERR_INVALID_ARGUMENT; Q_ERR_UNSUPPORTED for a method that cannot solve it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_qubo_plan(
    qubo: *const q_qubo,
    params: *const q_qubo_params,
    plan: *mut q_plan,
    size: usize,
) -> q_error_code {
    ffi!({
        let problem = handle::shared(qubo)?;
        let found = Solver::plan(&problem, &solve_params(params, problem.len())?)?;
        params::report(q_plan::from(found), plan, size)
    })
}

/// Makes a solver: reserves everything and starts its threads. `params` may be NULL. The problem may be freed before the solver.
/// Errors: those of q_qubo_plan; Q_ERR_BUDGET, which says the need; Q_ERR_OUT_OF_MEMORY; Q_ERR_ISA.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_qubo_solver_create(
    qubo: *const q_qubo,
    params: *const q_qubo_params,
    solver: *mut *mut q_qubo_solver,
) -> q_error_code {
    ffi!({
        handle::check_out(solver)?;
        let problem = handle::shared(qubo)?;
        let params = solve_params(params, problem.len())?;
        handle::create(Solver::new(&problem, &params)?, Arc::clone(&params.cancel), solver)
    })
}

/// Lets the solver ask a solver of the host's where `method` is Q_QUBO_HOST: a cloud, or a device. `solve` is called on a thread of its
/// own with a buffer of its own, for half of the time limit; its answer is checked and valued from the problem, and where it fails or
/// does not come the local portfolio solves in the time that is left. A call that does not return is not waited for, by
/// q_qubo_solver_free neither: `user` and the code must stay until it has returned. NULL for `solve` takes it back.
/// Errors: Q_ERR_OUT_OF_MEMORY where no thread can be had.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_qubo_solver_register(
    solver: *mut q_qubo_solver,
    solve: q_qubo_solve_fn,
    user: *mut c_void,
) -> q_error_code {
    ffi!({ handle::exclusive(solver)?.register(Box::new(Callback { solve, user })) })
}

/// Tells the host where a run is.
struct Told {
    callback: q_qubo_progress_fn,
    user: *mut c_void,
}

// SAFETY: the solver calls the watcher on the thread that runs it, which is the host's.
unsafe impl Send for Told {}

impl Watch for Told {
    fn progress(&mut self, p: &Progress) -> Control {
        let Some(callback) = self.callback else { return Control::Continue };
        let progress = q_qubo_progress {
            size: size_of::<q_qubo_progress>() as u32,
            reserved: 0,
            seconds: p.elapsed.as_secs_f64(),
            best: p.best.unwrap_or(f64::NAN),
            proposals: p.proposals,
            sweeps: p.sweeps,
            reads: p.reads,
        };
        let user = self.user;
        // SAFETY: the host's function, called as the header says.
        match outside(|| unsafe { callback(&progress, user) }) {
            0 => Control::Continue,
            _ => Control::Stop,
        }
    }
}

/// The name of a method as C text.
fn c_name(name: &str) -> *const c_char {
    const NAMES: [&std::ffi::CStr; 12] = [
        c"anneal",
        c"tabu",
        c"descent",
        c"tempering",
        c"population",
        c"quantum",
        c"relink",
        c"contract",
        c"enumerate",
        c"qaoa",
        c"host",
        c"auto",
    ];
    NAMES.iter().find(|n| n.to_bytes() == name.as_bytes()).map_or(c"".as_ptr(), |n| n.as_ptr())
}

/// Solves, from the beginning each time: samples of an earlier run are forgotten. `progress` may be NULL. `result` may be NULL, with `size` 0; else sizeof(q_qubo_result). Allocates nothing. A run that is cancelled, or
/// ended by `progress`, is Q_OK with what it has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_qubo_solver_run(
    solver: *mut q_qubo_solver,
    progress: q_qubo_progress_fn,
    user: *mut c_void,
    result: *mut q_qubo_result,
    size: usize,
) -> q_error_code {
    ffi!({
        let mut held = handle::exclusive(solver)?;
        if !result.is_null() {
            params::check_report(result, size)?;
        }
        let done = held.solve(&mut Told { callback: progress, user });
        handle::side(solver)?.store(false, Ordering::Relaxed);
        let outcome = done?;
        if result.is_null() {
            return Ok(());
        }
        let end = match outcome.stopped {
            Stopped::Sweeps => q_qubo_end::Q_QUBO_SWEEPS,
            Stopped::Time => q_qubo_end::Q_QUBO_TIME,
            Stopped::Target => q_qubo_end::Q_QUBO_TARGET,
            Stopped::Cancelled => q_qubo_end::Q_QUBO_CANCELLED,
            Stopped::Proven => q_qubo_end::Q_QUBO_PROVEN,
        };
        let found = q_qubo_result {
            size: 0,
            end: end as u32,
            best: outcome.best,
            time_to_best: outcome.time_to_best.as_secs_f64(),
            seconds: outcome.total.as_secs_f64(),
            proposals: outcome.proposals,
            flips: outcome.flips,
            sweeps: outcome.sweeps,
            reads: outcome.reads,
            method: c_name(outcome.solver),
        };
        params::report(found, result, size)
    })
}

/// Ends the run under way, or the next one, with the best so far. From any thread and from a signal handler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_qubo_solver_cancel(solver: *const q_qubo_solver) -> q_error_code {
    // SAFETY: the caller's handle.
    match unsafe { handle::side(solver) } {
        Ok(flag) => {
            flag.store(true, Ordering::Relaxed);
            q_error_code::Q_OK
        }
        Err(e) => call(|| Err(e)),
    }
}

/// The number of samples of the last run, to `n`: different ones, the best first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_qubo_solver_samples(solver: *mut q_qubo_solver, n: *mut u32) -> q_error_code {
    ffi!({ args::put(n, handle::exclusive(solver)?.samples().len() as u32, "n") })
}

/// Sample `index`, 0 being the best: `cap` bytes at `x`, a 0 or 1 for each variable. `needed` (may be NULL) receives their number,
/// `energy` (may be NULL) its value computed from the problem, and `count` (may be NULL) how many reads ended with it. Allocates
/// nothing. Errors: Q_ERR_INVALID_ARGUMENT when there is no such sample; Q_ERR_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_qubo_solver_sample(
    solver: *mut q_qubo_solver,
    index: u32,
    x: *mut u8,
    cap: usize,
    needed: *mut usize,
    energy: *mut f64,
    count: *mut u64,
) -> q_error_code {
    ffi!({
        let mut held = handle::exclusive(solver)?;
        let samples = held.samples();
        let Some(sample) = samples.get(index as usize) else {
            fail!(InvalidArgument, "sample {index} of {}", samples.len());
        };
        if !energy.is_null() {
            args::pointer(energy, "energy")?;
        }
        if !count.is_null() {
            args::pointer(count, "count")?;
        }
        args::give(sample.x, x, cap, needed, "bytes")?;
        if !energy.is_null() {
            args::put(energy, sample.energy, "energy")?;
        }
        if !count.is_null() {
            args::put(count, sample.count, "count")?;
        }
        Ok(())
    })
}

/// The bytes that the solver reserved, by class. `size` is sizeof(q_plan).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_qubo_solver_memory(
    solver: *mut q_qubo_solver,
    memory: *mut q_plan,
    size: usize,
) -> q_error_code {
    ffi!({
        let held = handle::exclusive(solver)?;
        params::report(q_plan::from(*held.reserved()), memory, size)
    })
}

/// Frees a solver; NULL is nothing. Not while a call uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_qubo_solver_free(solver: *mut q_qubo_solver) {
    // SAFETY: the caller's handle.
    unsafe { handle::free(solver) }
}
