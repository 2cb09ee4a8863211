//! What a run tells while it goes, and at its end.

use std::time::Duration;

/// Where a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Since the beginning of the run.
    pub elapsed: Duration,
    /// The best value so far, in the problem's sense; None before the first.
    pub best: Option<f64>,
    /// Flips that were considered.
    pub proposals: u64,
    /// Passes over all variables.
    pub sweeps: u64,
    /// Reads that are finished.
    pub reads: u64,
    /// What is under way.
    pub solver: &'static str,
}

/// What is wanted of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// To go on.
    Continue,
    /// To end with what it has.
    Stop,
}

/// Who looks on. Called on the thread that solves, inside reads: when a better value was found, and every 10 ms or so.
pub trait Watch: Send {
    /// Where the run is; what is wanted.
    fn progress(&mut self, progress: &Progress) -> Control;
}

/// Nobody.
pub struct Silent;

impl Watch for Silent {
    fn progress(&mut self, _: &Progress) -> Control {
        Control::Continue
    }
}

impl<F: FnMut(&Progress) -> Control + Send> Watch for F {
    fn progress(&mut self, progress: &Progress) -> Control {
        self(progress)
    }
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// All reads and sweeps are done.
    Sweeps,
    /// The time limit.
    Time,
    /// The target was reached.
    Target,
    /// The watcher or the cancel flag.
    Cancelled,
    /// No assignment is better.
    Proven,
}

impl Stopped {
    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Stopped::Sweeps => "sweeps",
            Stopped::Time => "time",
            Stopped::Target => "target",
            Stopped::Cancelled => "cancelled",
            Stopped::Proven => "proven",
        }
    }
}

/// How a run went.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// The best value found, in the problem's sense, computed from the problem.
    pub best: f64,
    /// From the beginning of the run to the first sample of that value.
    pub time_to_best: Duration,
    /// The whole run.
    pub total: Duration,
    /// Flips that were considered.
    pub proposals: u64,
    /// Flips that were done.
    pub flips: u64,
    /// Passes over all variables.
    pub sweeps: u64,
    /// Reads that were begun.
    pub reads: u64,
    /// What found the best.
    pub solver: &'static str,
    /// Why it ended.
    pub stopped: Stopped,
}
