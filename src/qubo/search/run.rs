//! A run in progress: the clock, the target, who watches, and what all threads have found.

use super::landscape::Landscape;
use crate::qubo::params::SolveParams;
use crate::qubo::problem::{Inner, Sense};
use crate::qubo::watch::{Control, Progress, Stopped, Watch};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Nanoseconds of work, by estimate, between two looks at the clock.
const LOOK: u64 = 15_000;
/// The time between two calls of the watcher when nothing happens.
const CALL: Duration = Duration::from_millis(10);

/// The best of a run: its energy in the landscape's units, when it was found, and by what.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub energy: i64,
    pub at: Duration,
    pub solver: &'static str,
}

/// What the threads of a run share.
pub(crate) struct Shared<'a> {
    pub params: &'a SolveParams,
    pub start: Instant,
    /// When to stop: the limit, less what the end takes.
    limit: Option<Duration>,
    /// The energy at which to stop, in the landscape's units; of rounded ones, that at which a read ends so that its exact value can be
    /// looked at.
    target: AtomicI64,
    faithful: bool,
    sense: Sense,
    offset: f64,
    scale: f64,
    stop: AtomicBool,
    why: AtomicU8,
    best: AtomicI64,
    found: Mutex<Found>,
    proposals: AtomicU64,
    flips: AtomicU64,
    sweeps: AtomicU64,
    reads: AtomicU64,
    done: AtomicU64,
}

const REASONS: [Stopped; 5] = [Stopped::Sweeps, Stopped::Time, Stopped::Target, Stopped::Cancelled, Stopped::Proven];

impl<'a> Shared<'a> {
    pub fn new(params: &'a SolveParams, inner: &Inner, landscape: &Landscape, start: Instant) -> Shared<'a> {
        let scale = landscape.survey.scale;
        let target = params.target_energy.map_or(i64::MIN, |target| {
            let cost = inner.sense.sign() * (target - inner.offset) * scale;
            // Roundings of coefficients add up as random steps do.
            let slack = 4.0 * ((inner.n + inner.pairs) as f64).sqrt();
            if landscape.survey.faithful { (cost + 1e-6).floor() as i64 } else { (cost + slack).ceil() as i64 }
        });
        let found = Found { energy: i64::MAX, at: Duration::ZERO, solver: "" };
        Shared {
            params,
            start,
            limit: params.time_limit.map(|limit| limit.saturating_sub(landscape.end_cost().min(limit / 2))),
            target: AtomicI64::new(target),
            faithful: landscape.survey.faithful,
            sense: inner.sense,
            offset: inner.offset,
            scale,
            stop: AtomicBool::new(false),
            why: AtomicU8::new(0),
            best: AtomicI64::new(i64::MAX),
            found: Mutex::new(found),
            proposals: AtomicU64::new(0),
            flips: AtomicU64::new(0),
            sweeps: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            done: AtomicU64::new(0),
        }
    }

    /// Ends the run; the first reason counts.
    pub fn stop(&self, why: Stopped) {
        let number = REASONS.iter().position(|r| *r == why).unwrap_or(0) as u8;
        let _ = self.why.compare_exchange(0, number, Ordering::AcqRel, Ordering::Relaxed);
        self.stop.store(true, Ordering::Release);
    }

    /// Ends the run if an exact value reaches the target.
    pub fn reached(&self, value: f64) {
        let near = |target: f64| target + self.sense.sign() * 1e-12 * target.abs();
        if self.params.target_energy.is_some_and(|target| !self.sense.better(near(target), value)) {
            self.stop(Stopped::Target);
        }
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub fn why(&self) -> Stopped {
        REASONS[usize::from(self.why.load(Ordering::Acquire))]
    }

    /// The number of a read that nobody has begun.
    pub fn next_read(&self) -> u64 {
        self.reads.fetch_add(1, Ordering::Relaxed)
    }

    pub fn count_read(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    pub fn found(&self) -> Found {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Proposals, flips, sweeps and reads so far.
    pub fn counts(&self) -> [u64; 4] {
        [&self.proposals, &self.flips, &self.sweeps, &self.done].map(|c| c.load(Ordering::Relaxed))
    }

    /// An energy of the landscape as the problem's value.
    pub fn value(&self, energy: i64) -> f64 {
        self.offset + self.sense.sign() * (energy as f64 / self.scale)
    }
}

/// One thread's part of a run.
pub(crate) struct Run<'a> {
    pub shared: &'a Shared<'a>,
    watch: Option<&'a mut dyn Watch>,
    /// Since the last look.
    work: u64,
    proposals: u64,
    flips: u64,
    sweeps: u64,
    /// The last look.
    pub now: Duration,
    called: Duration,
    told: i64,
    paused: bool,
    pub solver: &'static str,
}

impl<'a> Run<'a> {
    pub fn new(shared: &'a Shared<'a>, watch: Option<&'a mut dyn Watch>, solver: &'static str) -> Run<'a> {
        let now = shared.start.elapsed();
        Run {
            shared,
            watch,
            work: 0,
            proposals: 0,
            flips: 0,
            sweeps: 0,
            now,
            called: now,
            told: i64::MAX,
            paused: false,
            solver,
        }
    }

    /// Counts what was done, in proposals, flips and nanoseconds, and looks up when it was enough; whether to stop.
    #[inline]
    pub fn did(&mut self, proposals: u64, flips: u64, ns: u64) -> bool {
        self.proposals += proposals;
        self.flips += flips;
        self.work += ns;
        self.work > LOOK && self.look()
    }

    /// Counts a pass over all variables.
    pub fn swept(&mut self) {
        self.sweeps += 1;
    }

    /// An energy was seen; whether to stop.
    #[inline]
    pub fn see(&mut self, energy: i64) -> bool {
        energy < self.shared.best.load(Ordering::Relaxed) && self.tell(energy)
    }

    #[cold]
    fn tell(&mut self, energy: i64) -> bool {
        let shared = self.shared;
        {
            let mut found = shared.found.lock().unwrap_or_else(PoisonError::into_inner);
            if energy < found.energy {
                *found = Found { energy, at: shared.start.elapsed(), solver: self.solver };
                shared.best.store(energy, Ordering::Relaxed);
            }
        }
        if energy <= shared.target.load(Ordering::Relaxed) {
            if shared.faithful {
                shared.stop(Stopped::Target);
            } else {
                shared.target.fetch_min(energy - 1, Ordering::Relaxed);
                self.paused = true;
                return true;
            }
        }
        shared.stopped()
    }

    /// Whether the read ended only for its exact value to be looked at, and others may follow.
    pub fn resume(&mut self) -> bool {
        std::mem::take(&mut self.paused) && !self.shared.stopped()
    }

    /// Looks at the clock, the flags and the watcher; whether to stop.
    pub fn look(&mut self) -> bool {
        let shared = self.shared;
        self.work = 0;
        self.now = shared.start.elapsed();
        self.flush();
        if shared.limit.is_some_and(|limit| self.now >= limit) {
            shared.stop(Stopped::Time);
        }
        if shared.params.cancel.load(Ordering::Relaxed) {
            shared.stop(Stopped::Cancelled);
        }
        let best = shared.best.load(Ordering::Relaxed);
        if let Some(watch) = &mut self.watch
            && (best < self.told || self.now - self.called >= CALL)
        {
            (self.told, self.called) = (best, self.now);
            let [proposals, _, sweeps, reads] = shared.counts();
            let best = (best < i64::MAX).then(|| shared.value(best));
            let progress = Progress { elapsed: self.now, best, proposals, sweeps, reads, solver: self.solver };
            if watch.progress(&progress) == Control::Stop {
                shared.stop(Stopped::Cancelled);
            }
        }
        shared.stopped()
    }

    /// Looks up; whether there is time for work of as many nanoseconds that looks at nothing. If not, the run ends.
    pub fn has(&mut self, ns: u64) -> bool {
        let stop = self.look();
        if self.shared.limit.is_some_and(|limit| limit.saturating_sub(self.now) < Duration::from_nanos(ns)) {
            self.shared.stop(Stopped::Time);
            return false;
        }
        !stop
    }

    /// Adds this thread's counts to those of all.
    pub fn flush(&mut self) {
        let shared = self.shared;
        for (all, own) in [
            (&shared.proposals, &mut self.proposals),
            (&shared.flips, &mut self.flips),
            (&shared.sweeps, &mut self.sweeps),
        ] {
            all.fetch_add(std::mem::take(own), Ordering::Relaxed);
        }
    }

    /// The part of the time from `since` to the limit that has gone; 0 where there is no limit.
    pub fn part(&self, since: Duration) -> f64 {
        let Some(limit) = self.shared.limit else { return 0.0 };
        // The clock was looked at a moment ago, and the end takes a moment too.
        let left = limit.saturating_sub(since).as_secs_f64() * 0.99;
        if left <= 0.0 { 1.0 } else { ((self.now.saturating_sub(since)).as_secs_f64() / left).min(1.0) }
    }
}
