//! Whoever watches a run: a bar with the best value, the curve, and Ctrl-C.

use crate::interrupt::Interrupt;
use crate::train::curve::Series;
use indicatif::{ProgressBar, ProgressStyle};
use qorus::qubo::{Control, Outcome, Progress, SolveParams, Watch};
use std::time::{Duration, Instant};

/// See the module.
pub struct Watcher {
    interrupt: Interrupt,
    bar: ProgressBar,
    /// The best value by milliseconds.
    series: Series,
    best: Option<f64>,
    drawn: Instant,
}

/// The time between two changes of the bar.
const DRAW: Duration = Duration::from_millis(100);

impl Watcher {
    /// Begins a bar of the time limit, or without an end; none where stderr is no terminal or `json` is wanted.
    pub fn new(interrupt: Interrupt, params: &SolveParams, json: bool) -> Watcher {
        let (bar, template) = match params.time_limit {
            Some(limit) => (ProgressBar::new(limit.as_millis() as u64), "{bar:30} {elapsed}  {msg}"),
            None => (ProgressBar::new_spinner(), "{spinner} {elapsed}  {msg}"),
        };
        let bar = if json { ProgressBar::hidden() } else { bar };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        Watcher { interrupt, bar: bar.with_style(style), series: Series::default(), best: None, drawn: Instant::now() }
    }

    /// The whole curve, to the end of the run.
    pub fn finish(mut self, outcome: &Outcome) -> Series {
        self.bar.finish_and_clear();
        self.step(outcome.time_to_best, outcome.best);
        self.series.push(outcome.total.as_millis() as u64, Some(outcome.best));
        self.series
    }

    /// From the value before straight to this one.
    fn step(&mut self, at: Duration, value: f64) {
        if self.best != Some(value) {
            let at = at.as_millis() as u64;
            self.series.push(at, self.best);
            self.series.push(at, Some(value));
            self.best = Some(value);
        }
    }
}

impl Watch for Watcher {
    fn progress(&mut self, progress: &Progress) -> Control {
        if let Some(best) = progress.best {
            self.step(progress.elapsed, best);
        }
        if self.drawn.elapsed() >= DRAW {
            self.drawn = Instant::now();
            let best = self.best.map_or_else(|| "-".into(), |best| best.to_string());
            let speed = progress.proposals as f64 / progress.elapsed.as_secs_f64() / 1e6;
            self.bar.set_message(format!(
                "best {best}  {}  read {}  {speed:.0} M proposals/s",
                progress.solver,
                progress.reads + 1
            ));
            self.bar.set_position(progress.elapsed.as_millis() as u64);
        }
        if self.interrupt.happened() { Control::Stop } else { Control::Continue }
    }
}
