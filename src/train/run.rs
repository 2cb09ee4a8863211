//! The loop: batches, steps, validations, checkpoints, until it is done, stopped, or nothing improves any more.
//!
//! Every step is a function of the step's number, of the place in the data and of the trainer, so a run that goes on from a
//! checkpoint takes the steps that one which was never stopped would have taken, to the bit.

use super::checkpoint::{self, State};
use super::clip::Clip;
use super::control::Control;
use super::data::Position;
use super::examples::{Feed, Slab};
use super::loss::Total;
use super::optim::Outcome;
use super::pass::Passed;
use super::schedule::{EarlyStop, Plateau, Schedule, Verdict};
use super::trainer::{Objective, Trainer};
use crate::error::{Result, fail, try_vec};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What becomes of a step that meets NaN or infinity. Weights are untouched either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFault {
    /// The run ends with an error.
    #[default]
    Stop,
    /// The step is left out and the next batch taken.
    Skip,
}

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct RunParams {
    /// Steps in all.
    pub steps: u64,
    /// Passes whose gradients make one step.
    pub accumulate: usize,
    /// The learning rate of each step.
    pub schedule: Schedule,
    /// How gradients are bounded.
    pub clip: Clip,
    /// Lowers the rate when validations no longer improve.
    pub plateau: Option<Plateau>,
    /// Ends the run when validations no longer improve.
    pub early: Option<EarlyStop>,
    /// Steps between validations; 0: none.
    pub validate_every: u64,
    /// Passes of a validation at most; 0: all there are.
    pub validate_passes: u64,
    /// What becomes of bad steps.
    pub on_fault: OnFault,
    /// Where checkpoints go; None: nowhere.
    pub folder: Option<PathBuf>,
    /// Steps between checkpoints; 0: only at the end.
    pub save_every: u64,
    /// Checkpoints that are kept, beside the best; at least 1.
    pub keep: usize,
}

impl RunParams {
    /// So many steps at a constant rate, without validation and checkpoints.
    pub fn new(steps: u64, rate: f64) -> RunParams {
        RunParams {
            steps,
            accumulate: 1,
            schedule: Schedule::constant(rate),
            clip: Clip::Norm(1.0),
            plateau: None,
            early: None,
            validate_every: 0,
            validate_passes: 0,
            on_fault: OnFault::default(),
            folder: None,
            save_every: 0,
            keep: 2,
        }
    }
}

/// A step, for those who watch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Steps done, this one included.
    pub step: u64,
    /// The mean loss of the step's batch: nats for classes, a square for values.
    pub loss: f64,
    /// Share of the counted rows whose target was the greatest; 0 for values.
    pub accuracy: f64,
    /// By how much better answers are rewarded more, for pairs of answers.
    pub margin: Option<f64>,
    /// The learning rate.
    pub rate: f64,
    /// The norm of the gradients before clipping.
    pub norm: f64,
    /// Rows that went through the layers.
    pub rows: usize,
    /// Seconds the step took.
    pub seconds: f64,
    /// Epochs of the data done.
    pub epochs: f64,
    /// The validation after the step, where there was one.
    pub validation: Option<Validation>,
}

/// A validation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validation {
    /// The mean loss.
    pub loss: f64,
    /// As [`Report::accuracy`].
    pub accuracy: f64,
    /// As [`Report::margin`].
    pub margin: Option<f64>,
    /// Rows that counted.
    pub rows: usize,
    /// Whether it is the best so far.
    pub best: bool,
}

/// What a run tells on its way. Everything has a default that does nothing.
pub trait Watch {
    /// After each step. An error ends the run, after a checkpoint.
    fn step(&mut self, report: &Report, trainer: &Trainer) -> Result<()> {
        let _ = (report, trainer);
        Ok(())
    }

    /// After a checkpoint was written.
    fn saved(&mut self, path: &Path, step: u64) {
        let _ = (path, step);
    }

    /// When a step was left out.
    fn fault(&mut self, step: u64, what: &str) {
        let _ = (step, what);
    }
}

/// Watches nothing.
pub struct Unwatched;

impl Watch for Unwatched {}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All steps are done.
    Done,
    /// It was told to stop.
    Stopped,
    /// Validations did not improve for as long as patience lasts.
    NoImprovement,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Why it ended.
    pub end: End,
    /// Steps done.
    pub step: u64,
    /// The least loss of a validation.
    pub best: Option<f64>,
    /// The last checkpoint.
    pub checkpoint: Option<PathBuf>,
    /// Steps left out.
    pub faults: u64,
}

/// Batches in a row without a row that counts, after which there is nothing to learn.
const MAX_EMPTY: usize = 10_000;

/// A run under way.
pub struct Run<'a> {
    trainer: &'a mut Trainer,
    params: RunParams,
    feed: &'a mut dyn Feed,
    validation: Option<&'a mut dyn Feed>,
    slabs: Vec<Slab>,
    step: u64,
    faults: u64,
    checkpoint: Option<PathBuf>,
}

impl<'a> Run<'a> {
    /// Reserves the memory of batches. Errors: `InvalidArgument` for numbers out of range, and for rules about validations
    /// without any.
    pub fn new(
        trainer: &'a mut Trainer,
        feed: &'a mut dyn Feed,
        validation: Option<&'a mut dyn Feed>,
        params: &RunParams,
    ) -> Result<Run<'a>> {
        params.schedule.check()?;
        params.clip.check()?;
        let planned = trainer.params().passes;
        if params.accumulate == 0 || params.accumulate > planned {
            fail!(InvalidArgument, "{} passes for a step: the trainer was made for 1 to {planned}", params.accumulate);
        }
        if params.keep == 0 {
            fail!(InvalidArgument, "0 checkpoints are to be kept: give at least 1");
        }
        if params.steps.saturating_mul(params.accumulate as u64) >= 1 << 48 {
            fail!(
                InvalidArgument,
                "{} steps of {} passes: give less than 2^48 passes",
                params.steps,
                params.accumulate
            );
        }
        let rules = params.plateau.is_some() || params.early.is_some();
        if validation.is_none() && (rules || params.validate_every > 0) {
            fail!(InvalidArgument, "validations are asked for, and nothing is kept for them: keep a share of the data");
        }
        if rules && params.validate_every == 0 {
            fail!(InvalidArgument, "a plateau rule or early stopping needs validations: say every how many steps");
        }
        let (graph, values) = (&trainer.model().graph, matches!(trainer.params().objective, Objective::Values));
        let mut slabs = try_vec(params.accumulate, "batches")?;
        for _ in 0..params.accumulate {
            slabs.push(Slab::new(graph, trainer.params().rows, values)?.with_top(trainer.params().objective.top())?);
        }
        let mut params = params.clone();
        if params.validate_every > 0 && params.early.is_none() {
            // The best is kept, however long nothing improves.
            params.early = Some(EarlyStop::new(u32::MAX, 0.0)?);
        }
        Ok(Run { trainer, params, feed, validation, slabs, step: 0, faults: 0, checkpoint: None })
    }

    /// Goes on from a checkpoint. Errors as [`checkpoint::load`]; `State` when the data is other than that run's.
    pub fn resume(&mut self, path: &Path) -> Result<()> {
        let state = checkpoint::load(path, self.trainer)?;
        if state.data != self.feed.fingerprint() {
            fail!(
                State,
                "{}: the run it is of had other data, or went through it otherwise: bring back the files and the batch \
                 size, length, split and seed, or begin anew",
                path.display()
            );
        }
        self.feed.seek(state.position).map_err(|e| e.context(path.display()))?;
        self.step = state.step;
        if let (Some(rule), Some(seen)) = (&mut self.params.plateau, state.plateau) {
            rule.state = seen;
        }
        if let (Some(rule), Some((best, waited))) = (&mut self.params.early, state.best) {
            (rule.best, rule.waited) = (best, waited);
        }
        self.checkpoint = Some(path.to_owned());
        Ok(())
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The trainer.
    pub fn trainer(&mut self) -> &mut Trainer {
        self.trainer
    }

    /// Takes the steps that are left. Each is finished before a pause or a stop; a stop saves.
    ///
    /// Errors: those of the data, of validation and of saving, and `State` naming where a bad number came from first.
    pub fn go(&mut self, control: &Control, watch: &mut dyn Watch) -> Result<Summary> {
        // A run that ended for want of improvement has ended.
        let impatient = self.params.early.is_some_and(|rule| rule.waited > rule.patience);
        let mut end = if impatient { End::NoImprovement } else { End::Done };
        while self.step < self.params.steps && !impatient {
            if !control.wait() {
                end = End::Stopped;
                break;
            }
            let Some(mut report) = self.one(watch)? else { continue };
            let due = |every: u64| every > 0 && self.step.is_multiple_of(every);
            let last = self.step == self.params.steps;
            let (save, validate) = (due(self.params.save_every), due(self.params.validate_every));
            let mut verdict = Verdict::Wait;
            if validate || last && self.params.validate_every > 0 {
                let (validation, said) = self.validate()?;
                report.validation = Some(validation);
                verdict = said;
            }
            let watched = watch.step(&report, self.trainer);
            if report.validation.is_some_and(|v| v.best) {
                self.save(Some("best"), watch)?;
            }
            if verdict == Verdict::Stop {
                end = End::NoImprovement;
                break;
            }
            if save && !last || watched.is_err() {
                self.save(None, watch)?;
            }
            watched?;
        }
        self.save(None, watch)?;
        let best = self.params.early.map(|rule| rule.best).filter(|best| best.is_finite());
        Ok(Summary { end, step: self.step, best, checkpoint: self.checkpoint.clone(), faults: self.faults })
    }

    /// One step, or None for one that was left out.
    fn one(&mut self, watch: &mut dyn Watch) -> Result<Option<Report>> {
        let begun = Instant::now();
        let (mut weight, mut rows) = (0.0, 0);
        for _ in 0..MAX_EMPTY {
            for slab in &mut self.slabs {
                if !self.feed.next(slab)? {
                    fail!(State, "the data ended at step {}: give more, or let it come again", self.step);
                }
                weight += self.trainer.weight(&slab.examples())?;
                rows += slab.rows;
            }
            if weight > 0.0 {
                break;
            }
        }
        if weight <= 0.0 {
            fail!(State, "{MAX_EMPTY} batches had no row that counts: there is nothing to learn from");
        }
        let factor = self.params.plateau.map_or(1.0, |rule| rule.state.factor);
        let rate = self.params.schedule.at(self.step) * factor;
        let mut total = Total::default();
        let mut fault = None;
        for (i, slab) in self.slabs.iter_mut().enumerate() {
            let number = self.step * self.params.accumulate as u64 + i as u64;
            match self.trainer.learn(&slab.examples(), weight, number)? {
                Passed::Total(t) => total.add(&t),
                Passed::Faulty(what) => {
                    fault = Some(what);
                    break;
                }
            }
        }
        let norm = match fault {
            Some(_) => 0.0,
            None => match self.trainer.step(rate, self.params.clip)? {
                Outcome::Taken { norm } => norm,
                Outcome::Faulty(found) => {
                    fault = Some(found.describe(self.trainer.optimizer().slots()));
                    0.0
                }
            },
        };
        if let Some(what) = fault {
            self.trainer.zero_grad()?;
            if self.params.on_fault == OnFault::Stop {
                fail!(State, "step {}: {what}; the weights are those of the step before", self.step + 1);
            }
            self.faults += 1;
            self.step += 1;
            watch.fault(self.step, &what);
            return Ok(None);
        }
        self.step += 1;
        Ok(Some(Report {
            step: self.step,
            loss: total.loss / weight,
            accuracy: total.hits as f64 / total.rows.max(1) as f64,
            margin: total.rewards.margin(),
            rate,
            norm,
            rows,
            seconds: begun.elapsed().as_secs_f64(),
            epochs: self.feed.epochs(),
            validation: None,
        }))
    }

    /// The loss of what is kept for validation, and what the rules make of it.
    fn validate(&mut self) -> Result<(Validation, Verdict)> {
        let Some(feed) = &mut self.validation else {
            fail!(Internal, "a validation without data");
        };
        let total = judge(self.trainer, &mut **feed, &mut self.slabs[0], self.params.validate_passes)?;
        let loss = total.mean().unwrap_or(f64::NAN);
        if let Some(rule) = &mut self.params.plateau {
            rule.observe(loss);
        }
        let verdict = self.params.early.as_mut().map_or(Verdict::Wait, |rule| rule.observe(loss));
        let accuracy = total.hits as f64 / total.rows.max(1) as f64;
        let (margin, best) = (total.rewards.margin(), verdict == Verdict::Best);
        Ok((Validation { loss, accuracy, margin, rows: total.rows, best }, verdict))
    }

    /// Writes a checkpoint, and removes those that are too many.
    fn save(&mut self, name: Option<&str>, watch: &mut dyn Watch) -> Result<()> {
        let Some(folder) = &self.params.folder else { return Ok(()) };
        let path = match name {
            Some(name) => folder.join(format!("{name}.{EXTENSION}")),
            None => folder.join(format!("step-{:010}.{EXTENSION}", self.step)),
        };
        if name.is_none() && self.checkpoint.as_ref() == Some(&path) {
            return Ok(());
        }
        let state = State {
            step: self.step,
            position: self.feed.position(),
            data: self.feed.fingerprint(),
            plateau: self.params.plateau.map(|rule| rule.state),
            best: self.params.early.map(|rule| (rule.best, rule.waited)),
        };
        checkpoint::save(&path, self.trainer, &state)?;
        watch.saved(&path, self.step);
        if name.is_none() {
            self.checkpoint = Some(path);
            let mut all = checkpoints(folder)?;
            all.truncate(all.len().saturating_sub(self.params.keep));
            // One that cannot be removed is in nobody's way.
            all.iter().for_each(|old| drop(std::fs::remove_file(old)));
        }
        Ok(())
    }
}

/// What names of checkpoints end in.
pub const EXTENSION: &str = "qckpt";

/// The checkpoints of a folder but the best, oldest first. Errors: `Io`.
pub fn checkpoints(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) => fail!(Io, "{}: cannot be read: {e}", folder.display()),
    };
    let is_one = |path: &PathBuf| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        name.starts_with("step-") && path.extension().is_some_and(|e| e == EXTENSION)
    };
    let mut all: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).filter(is_one).collect();
    all.sort();
    Ok(all)
}

/// The losses of all that a feed has, from its beginning, in at most `passes` passes (0: all).
pub fn judge(trainer: &mut Trainer, feed: &mut dyn Feed, slab: &mut Slab, passes: u64) -> Result<Total> {
    feed.seek(Position::default())?;
    let mut total = Total::default();
    let mut done = 0;
    while (passes == 0 || done < passes) && feed.next(slab)? {
        match trainer.judge(&slab.examples())? {
            Passed::Total(t) => total.add(&t),
            Passed::Faulty(what) => fail!(State, "validation: {what}"),
        }
        done += 1;
    }
    Ok(total)
}
