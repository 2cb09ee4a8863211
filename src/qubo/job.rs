//! One thread's work in a run: reads of the method that was asked for, and samples of what they find.

use super::params::{Method, SolveParams};
use super::problem::{Problem, Structure};
use super::sample::Samples;
use super::search::heat::Heat;
use super::search::polish::polish;
use super::search::random::Random;
use super::search::run::{Run, Shared};
use super::search::state::{Best, Ground, SPAN, State};
use super::solvers::auto::{self, Portfolio};
use super::solvers::population::{Population, members};
use super::solvers::qaoa::Circuit;
use super::solvers::quantum::{Path, slices};
use super::solvers::tempering::{Tempering, rungs};
use super::solvers::{anneal, enumerate, tabu};
use super::watch::{Stopped, Watch};
use crate::error::Result;
use crate::memory::{Frame, Need};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Sweeps of a read where nobody says how many and no time limit ends it.
const SWEEPS: u64 = 1000;
/// Sweeps of the first read of those that grow.
const FIRST_SWEEPS: u64 = 300;

/// The noise that all threads read.
pub(crate) fn noise_need(n: usize) -> Need {
    Need::new().take::<f32>(2 * n + SPAN)
}

/// What a thread takes: the best assignment and the sample made of it, and what its method works with.
pub(crate) fn need(problem: &Problem, structure: Structure, params: &SolveParams) -> Need {
    let n = problem.len();
    let need = Best::need(Need::new(), n).take::<u8>(n).take::<f64>(n);
    match params.method {
        Method::Anneal => State::need(need, n),
        Method::Tabu | Method::Descent => State::need(need, n).take::<i32>(n),
        Method::Tempering => Tempering::need(State::need(need, n), n, rungs(n, params.replicas)),
        Method::Population => Population::need(State::need(need, n), n, members(params.replicas)),
        Method::Quantum => Path::need(State::need(need, n), n, slices(params.replicas)),
        Method::Enumerate => State::need(need, n).take::<u8>(n),
        Method::Qaoa => Circuit::need(State::need(need, n), n, params.layers).take::<f64>(2 * params.layers),
        method => {
            let methods = auto::methods(method, structure, n);
            if methods.contains(&Method::Enumerate) {
                return State::need(need, n).take::<u8>(n);
            }
            let need = Portfolio::need(need, (n, 2 * problem.couplings()), methods);
            if methods.contains(&Method::Tempering) {
                Tempering::need(need, n, rungs(n, params.replicas))
            } else {
                need
            }
        }
    }
}

/// What every thread of a run is given.
pub(crate) struct Job<'a> {
    pub problem: &'a Problem,
    pub structure: Structure,
    pub params: &'a SolveParams,
    pub heat: &'a Heat,
    pub ground: Ground<'a>,
    pub shared: &'a Shared<'a>,
    pub samples: &'a Mutex<Samples>,
    /// Where a circuit's angles go.
    pub angles: &'a Mutex<Vec<f64>>,
}

impl Job<'_> {
    pub fn work<'w>(&'w self, frame: &mut Frame, watch: Option<&'w mut (dyn Watch + 'w)>) -> Result<()> {
        let n = self.ground.len();
        let mut best = Best::take(frame, n)?;
        let (x, exact): (&mut [u8], &mut [f64]) = (frame.take(n)?, frame.take(n)?);
        let mut run = Run::new(self.shared, watch, self.params.method.name());
        let mut end = |best: &Best| self.sample(best, x, exact);
        let ground = &self.ground;
        if self.params.time_limit == Some(Duration::ZERO) {
            if self.shared.next_read() == 0 {
                let mut state = State::take(frame, n)?;
                self.begin(0, &mut state, &mut best, &mut Random::new(self.params.seed, 0));
                run.see(best.energy);
                end(&best);
                self.shared.count_read();
            }
            self.shared.stop(Stopped::Time);
            return Ok(());
        }
        match self.params.method {
            Method::Anneal => {
                let mut state = State::take(frame, n)?;
                self.reads(&mut best, &mut run, &mut end, |read, best, random, run| {
                    self.begin(read, &mut state, best, random);
                    anneal::anneal(ground, &mut state, best, random, (self.heat, self.sweeps(read)), run)
                })
            }
            Method::Tabu => {
                let (mut state, free) = (State::take(frame, n)?, frame.take(n)?);
                self.reads(&mut best, &mut run, &mut end, |read, best, random, run| {
                    self.begin(read, &mut state, best, random);
                    let patience = self.sweeps(read).saturating_mul(n as u64 / 10 + 1);
                    tabu::tabu(ground, &mut state, best, free, random, patience, run)
                })
            }
            Method::Descent => {
                let (mut state, free) = (State::take(frame, n)?, frame.take(n)?);
                self.reads(&mut best, &mut run, &mut end, |read, best, random, run| {
                    self.begin(read, &mut state, best, random);
                    let stop = tabu::descend(ground, &mut state, free, random, run);
                    best.see(&state) && run.see(state.energy) || stop
                })
            }
            Method::Tempering => {
                let rungs = rungs(n, self.params.replicas);
                let (mut state, mut ladder) = (State::take(frame, n)?, Tempering::take(frame, n, rungs)?);
                self.reads(&mut best, &mut run, &mut end, |read, best, random, run| {
                    self.begin(read, &mut state, best, random);
                    ladder.read(ground, (self.heat, self.steps(), u64::MAX), (&state, best), random, run)
                })
            }
            Method::Population => {
                let members = members(self.params.replicas);
                let (mut state, mut all) = (State::take(frame, n)?, Population::take(frame, n, members)?);
                self.reads(&mut best, &mut run, &mut end, |read, best, random, run| {
                    self.begin(read, &mut state, best, random);
                    all.read(ground, (self.heat, self.sweeps(read)), (&state, best), random, run)
                })
            }
            Method::Quantum => {
                let slices = slices(self.params.replicas);
                let (mut state, mut path) = (State::take(frame, n)?, Path::take(frame, n, slices)?);
                self.reads(&mut best, &mut run, &mut end, |read, best, random, run| {
                    self.begin(read, &mut state, best, random);
                    path.read(ground, (self.heat, self.sweeps(read)), (&state, best), random, run)
                })
            }
            Method::Qaoa => {
                let (mut state, mut circuit) = (State::take(frame, n)?, Circuit::take(frame, n, self.params.layers)?);
                let found: &mut [f64] = frame.take(2 * self.params.layers)?;
                loop {
                    let number = self.shared.next_read();
                    if number >= self.params.num_reads.max(1) as u64 || number > 0 && run.look() {
                        break;
                    }
                    let mut random = Random::new(self.params.seed, number);
                    let parts = (&mut state, &mut best);
                    let stop = circuit.read(ground, parts, &mut random, &mut run, (&mut end, found));
                    let mut angles = self.angles.lock().unwrap_or_else(PoisonError::into_inner);
                    angles.clear();
                    angles.extend_from_slice(found);
                    drop(angles);
                    self.shared.count_read();
                    if stop && !run.resume() {
                        break;
                    }
                }
                run.flush();
            }
            Method::Enumerate => self.enumerate(frame, &mut best, &mut run, &mut end)?,
            method => {
                let methods = auto::methods(method, self.structure, n);
                if methods.contains(&Method::Enumerate) {
                    run.solver = "enumerate";
                    self.enumerate(frame, &mut best, &mut run, &mut end)?;
                } else {
                    self.portfolio(methods, frame, &mut best, &mut run, &mut end)?;
                }
            }
        }
        Ok(())
    }

    /// Every assignment.
    fn enumerate(&self, frame: &mut Frame, best: &mut Best, run: &mut Run, end: &mut dyn FnMut(&Best)) -> Result<()> {
        let n = self.ground.len();
        let (mut state, bits) = (State::take(frame, n)?, frame.take(n)?);
        self.reads(best, run, end, |_, best, _, run| {
            if !enumerate::enumerate(&self.ground, &self.problem.inner, &mut state, best, bits, run) {
                run.shared.stop(Stopped::Proven);
            }
            true
        });
        Ok(())
    }

    /// Several methods in turn.
    fn portfolio(
        &self,
        methods: &[Method],
        frame: &mut Frame,
        best: &mut Best,
        run: &mut Run,
        end: &mut dyn FnMut(&Best),
    ) -> Result<()> {
        let (ground, n) = (&self.ground, self.ground.len());
        let mut portfolio = Portfolio::take(frame, (n, 2 * self.problem.couplings()), methods)?;
        let mut ladder = match methods.contains(&Method::Tempering) {
            true => Some(Tempering::take(frame, n, rungs(n, self.params.replicas))?),
            false => None,
        };
        let rounds = match (self.params.num_sweeps, self.params.time_limit) {
            (0, None) => 3,
            (0, Some(_)) => u64::MAX,
            (rounds, _) => rounds as u64,
        };
        let plan = auto::Plan::of(ground, methods);
        self.reads(best, run, end, |read, best, random, run| {
            self.begin(read, &mut portfolio.state, best, random);
            let given = self.given(read).is_some();
            let Some(ladder) = &mut ladder else {
                return portfolio.read(ground, (self.heat, plan, rounds, given), best, random, run);
            };
            // A short annealing first: a ladder takes a while to come down.
            run.solver = "anneal";
            let (state, work) = (&mut portfolio.state, (self.heat, FIRST_SWEEPS));
            if !given && anneal::anneal(ground, state, best, random, work, run) {
                return true;
            }
            run.solver = "tempering";
            ladder.read(ground, (self.heat, self.steps(), 2000), (&portfolio.state, best), random, run)
        });
        Ok(())
    }

    /// Reads until there are none left or the run is to stop.
    fn reads(
        &self,
        best: &mut Best,
        run: &mut Run,
        end: &mut dyn FnMut(&Best),
        mut read: impl FnMut(u64, &mut Best, &mut Random, &mut Run) -> bool,
    ) {
        let most = match (self.params.num_reads, self.params.time_limit) {
            (0, None) => 1,
            (0, Some(_)) => u64::MAX,
            (reads, _) => reads as u64,
        };
        loop {
            let number = self.shared.next_read();
            // The first read is always begun: a run has an answer.
            if number >= most || number > 0 && run.look() {
                break;
            }
            best.clear();
            let mut random = Random::new(self.params.seed, number);
            let stop = read(number, best, &mut random, run);
            end(best);
            self.shared.count_read();
            if stop && !run.resume() {
                break;
            }
        }
        run.flush();
    }

    /// Puts the state where a read begins: at an initial state that was given, or anywhere.
    fn begin(&self, read: u64, state: &mut State, best: &mut Best, random: &mut Random) {
        match self.given(read) {
            Some(x) => state.set(&self.ground, x),
            _ if self.params.time_limit == Some(Duration::ZERO) => state.clear(&self.ground),
            _ => state.shuffle(&self.ground, random),
        }
        best.see(state);
    }

    /// The initial state that was given for a read.
    fn given(&self, read: u64) -> Option<&[u8]> {
        let n = self.ground.len();
        let at = usize::try_from(read).ok()?.checked_mul(n)?;
        self.params.initial_states.get(at..at.checked_add(n)?)
    }

    /// Sweeps of a read.
    fn sweeps(&self, read: u64) -> u64 {
        match (self.params.num_sweeps, self.params.time_limit) {
            (0, None) => SWEEPS,
            (0, Some(_)) => (FIRST_SWEEPS as f64 * 1.25f64.powf(read.min(100) as f64)) as u64,
            (sweeps, _) => sweeps as u64,
        }
    }

    /// Steps of tempering.
    fn steps(&self) -> u64 {
        match (self.params.num_sweeps, self.params.time_limit) {
            (0, None) => SWEEPS,
            (0, Some(_)) => u64::MAX,
            (sweeps, _) => sweeps as u64,
        }
    }

    /// Makes a sample of the best: in the problem's own numbers.
    fn sample(&self, best: &Best, x: &mut [u8], exact: &mut [f64]) {
        for (x, mask) in x.iter_mut().zip(best.masks.iter()) {
            *x = u8::from(*mask != 0);
        }
        if !self.ground.faithful {
            polish(&self.problem.inner, x, exact);
        }
        let energy = self.problem.energy(x);
        if !self.ground.faithful {
            self.shared.reached(energy);
        }
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).add(x, energy);
    }
}
