//! The one interface of all methods: plan, reserve, solve, samples.

use super::job::{Job, need, noise_need};
use super::params::{Method, SolveParams};
use super::problem::{Problem, Structure};
use super::sample::{Sample, Samples};
use super::search::heat::Heat;
use super::search::landscape::{Landscape, Survey};
use super::search::run::Shared;
use super::search::state::{Ground, SPAN, fill_noise};
use super::solvers::host::{self, Asker, Host};
use super::solvers::{enumerate, qaoa};
use super::watch::{Control, Outcome, Progress, Stopped, Watch};
use crate::Isa;
use crate::error::{Code, Error, Result, fail, try_vec};
use crate::memory::{Plan, Region};
use crate::threads::{self, Pool, STACK_BYTES, Shards};
use qorus_kernels::Kernels;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A problem with everything that solving it needs, reserved.
pub struct Solver {
    problem: Problem,
    structure: Structure,
    params: SolveParams,
    landscape: Landscape,
    heat: Heat,
    kernels: Kernels,
    noise: Region,
    regions: Vec<Region>,
    pool: Pool,
    samples: Mutex<Samples>,
    /// The angles of the last circuit.
    angles: Mutex<Vec<f64>>,
    host: Option<Asker>,
    /// What the host says.
    answer: Vec<u8>,
    refused: Option<Error>,
    plan: Plan,
}

impl Solver {
    /// The bytes that [`new`](Solver::new) reserves, by class: couplings and samples that are kept (`weights_resident`,
    /// `activations`), what threads search in (`scratch`), and their stacks. The problem itself is not counted.
    pub fn plan(problem: &Problem, params: &SolveParams) -> Result<Plan> {
        params.check(problem.len())?;
        planned(problem, Structure::of(problem)?, params, &Survey::of(problem))
    }

    /// Reserves everything. Errors: `InvalidArgument` of parameters, `Unsupported` of a method that cannot solve the problem, `Budget`,
    /// `OutOfMemory`, `Isa`.
    pub fn new(problem: &Problem, params: &SolveParams) -> Result<Solver> {
        params.check(problem.len())?;
        let (survey, structure, n) = (Survey::of(problem), Structure::of(problem)?, problem.len());
        let most = match params.method {
            Method::Enumerate => enumerate::MOST,
            Method::Qaoa => qaoa::MOST,
            _ => usize::MAX,
        };
        if n > most {
            fail!(
                Unsupported,
                "{} solves problems of at most {most} variables, this one has {n}",
                params.method.name()
            );
        }
        let plan = planned(problem, structure, params, &survey)?;
        if let Some(budget) = params.budget
            && plan.total() > budget
        {
            fail!(
                Budget,
                "solving needs {} bytes, the budget is {budget}: give more, or fewer threads, samples or replicas",
                plan.total()
            );
        }
        let kernels = kernels(params)?;
        let landscape = Landscape::new(problem, survey)?;
        let heat = Heat::of(&landscape, params);
        let mut noise = Region::new(noise_need(n).peak())?;
        noise.with_frame(|frame| frame.take::<f32>(2 * n + SPAN).map(|noise| fill_noise(noise, n)))?;
        let threads = threads::count(params.threads)?;
        let need = need(problem, structure, params).peak();
        let mut answer = try_vec(n, "variables")?;
        answer.resize(n, 0);
        let mut regions = try_vec(threads, "threads")?;
        for _ in 0..threads {
            regions.push(Region::new(need)?);
        }
        Ok(Solver {
            problem: problem.clone(),
            structure,
            params: params.clone(),
            landscape,
            heat,
            kernels,
            noise,
            regions,
            pool: Pool::new(threads)?,
            samples: Mutex::new(Samples::new(n, params.max_samples, problem.sense())?),
            angles: Mutex::new(try_vec(2 * params.layers, "angles")?),
            host: None,
            answer,
            refused: None,
            plan,
        })
    }

    /// What was reserved.
    pub fn reserved(&self) -> &Plan {
        &self.plan
    }

    /// The greatest number of bytes of `scratch` that were in use at once.
    pub fn high_water(&self) -> usize {
        self.regions.iter().map(Region::high_water).sum::<usize>() + self.noise.high_water()
    }

    /// The problem.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Solves, from the beginning each time: samples of an earlier run are forgotten. `watch` is called on this thread. Allocates
    /// nothing. `Internal` when a thread panicked.
    pub fn solve(&mut self, watch: &mut dyn Watch) -> Result<Outcome> {
        let start = Instant::now();
        self.samples.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        if let Some(outcome) = self.without_search(start, watch) {
            return Ok(outcome);
        }
        let shared = Shared::new(&self.params, &self.problem.inner, &self.landscape, start);
        let job = Job {
            problem: &self.problem,
            structure: self.structure,
            params: &self.params,
            heat: &self.heat,
            ground: Ground {
                base: 0,
                linear: &self.landscape.linear,
                scale: self.landscape.survey.scale,
                faithful: self.landscape.survey.faithful,
                links: self.landscape.links(),
                kernels: &self.kernels,
                noise: &bytemuck::cast_slice(self.noise.bytes())[..2 * self.problem.len() + SPAN],
                flip_cost: self.landscape.flip_cost(),
            },
            shared: &shared,
            samples: &self.samples,
            angles: &self.angles,
        };
        let regions = Shards::new(&mut self.regions);
        let (watch, failed) = (Mutex::new(Some(watch)), Mutex::new(None));
        self.pool.run(&|i| {
            let mut watch = if i == 0 { watch.lock().unwrap_or_else(PoisonError::into_inner).take() } else { None };
            // SAFETY: each thread has the region of its number.
            let region = unsafe { regions.part(i..i + 1) };
            let done =
                region[0].with_frame(|frame| job.work(frame, watch.as_mut().map(|w| &mut **w as &mut dyn Watch)));
            if let Err(e) = done {
                shared.stop(Stopped::Cancelled);
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
            }
        })?;
        if let Some(e) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(e);
        }
        let (found, [proposals, flips, sweeps, reads]) = (shared.found(), shared.counts());
        let best = self.samples.get_mut().unwrap_or_else(PoisonError::into_inner).get(0).map(|s| s.energy);
        Ok(Outcome {
            best: best.unwrap_or(f64::NAN),
            time_to_best: found.at,
            total: start.elapsed(),
            proposals,
            flips,
            sweeps,
            reads,
            // Where nothing was better than the beginning, nobody found it.
            solver: match (found.solver, self.params.method) {
                ("", Method::Host) => Method::Auto.name(),
                ("", method) => method.name(),
                (solver, _) => solver,
            },
            stopped: shared.why(),
        })
    }

    /// What needs no search: a problem without variables, and what the host's solver says.
    fn without_search(&mut self, start: Instant, watch: &mut dyn Watch) -> Option<Outcome> {
        let mut stopped_by_watch = false;
        let (name, stopped) = if self.problem.is_empty() {
            ("enumerate", Stopped::Proven)
        } else if self.params.method == Method::Host {
            self.refused = match &self.host {
                Some(host) => {
                    let mut stop = || {
                        let elapsed = start.elapsed();
                        let (best, solver) = (None, Method::Host.name());
                        let progress = Progress { elapsed, best, proposals: 0, sweeps: 0, reads: 0, solver };
                        if watch.progress(&progress) == Control::Stop {
                            stopped_by_watch = true;
                        }
                        stopped_by_watch || self.params.cancel.load(Ordering::Relaxed)
                    };
                    host.ask(self.params.time_limit, &mut self.answer, &mut stop).err()
                }
                None => Some(Error::new(Code::State, "no solver of the host is registered")),
            };
            if self.refused.is_some() {
                return None;
            }
            ("host", Stopped::Sweeps)
        } else {
            return None;
        };
        let best = self.problem.energy(&self.answer);
        self.samples.get_mut().unwrap_or_else(PoisonError::into_inner).add(&self.answer, best);
        let total = start.elapsed();
        let counts = Outcome {
            best,
            time_to_best: total,
            total,
            proposals: 0,
            flips: 0,
            sweeps: 0,
            reads: 1,
            solver: name,
            stopped,
        };
        Some(counts)
    }

    /// Registers the solver that [`Method::Host`] asks, in the place of any before it, and starts its thread. Other methods ask nobody.
    /// `OutOfMemory` where no thread can be had.
    pub fn register(&mut self, host: Box<dyn Host>) -> Result<()> {
        self.host = None;
        if self.params.method == Method::Host {
            self.host = Some(Asker::new(host, &self.problem)?);
        }
        Ok(())
    }

    /// Why the host's solver was not believed in the last run, if it was not.
    pub fn refused(&self) -> Option<&Error> {
        self.refused.as_ref()
    }

    /// The angles of the last QAOA circuit: gammas, in units of one over the objective, and betas, in radians; see
    /// [`write_qasm`](super::write_qasm).
    pub fn angles(&mut self) -> (&[f64], &[f64]) {
        let angles = self.angles.get_mut().unwrap_or_else(PoisonError::into_inner);
        angles.split_at(angles.len() / 2)
    }

    /// Sample `i` of the last run, 0 being the best.
    pub fn sample(&mut self, i: usize) -> Option<Sample<'_>> {
        self.samples.get_mut().unwrap_or_else(PoisonError::into_inner).get(i)
    }

    /// The samples of the last run, best first.
    pub fn samples(&mut self) -> &Samples {
        self.samples.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The kernels of the level that was asked for, or that the environment names, or of the best there is.
fn kernels(params: &SolveParams) -> Result<Kernels> {
    let named = std::env::var_os("QORUS_ISA").filter(|v| !v.is_empty());
    let isa = match (params.isa, &named) {
        (Some(isa), _) => isa,
        (None, None) => Isa::detect(),
        (None, Some(value)) => match value.to_str().and_then(Isa::from_name) {
            Some(isa) => isa,
            None => fail!(InvalidArgument, "QORUS_ISA is {value:?}: give {}", Isa::names()),
        },
    };
    match Kernels::new(isa) {
        Some(kernels) => Ok(kernels),
        None => fail!(Isa, "this CPU has no {}: leave the level out", isa.name()),
    }
}

fn planned(problem: &Problem, structure: Structure, params: &SolveParams, survey: &Survey) -> Result<Plan> {
    let (n, threads) = (problem.len(), threads::count(params.threads)?);
    let scratch = need(problem, structure, params).peak().saturating_mul(threads);
    let (stack, answer) = if params.method == Method::Host { host::bytes(n) } else { (0, 0) };
    Ok(Plan {
        weights_resident: survey.bytes(problem),
        activations: Samples::bytes(n, params.max_samples).saturating_add(n + answer),
        threads: (threads - 1).saturating_mul(STACK_BYTES).saturating_add(stack),
        scratch: scratch.saturating_add(noise_need(n).peak()),
        ..Plan::default()
    })
}
