//! `q_model_train`: the whole loop, over batches that the host gives.

use super::trainer::{Learner, Published, of_context};
use crate::error::{Result, fail, try_vec};
use crate::ffi::args;
use crate::ffi::boundary::outside;
use crate::ffi::context::q_context;
use crate::ffi::error::{choice, q_error_code, unused};
use crate::ffi::handle;
use crate::ffi::model::q_model;
use crate::ffi::params::{self, Params, Report};
use crate::ops::attend::Place;
use crate::train::clip::Clip;
use crate::train::control::{Control, Wish};
use crate::train::examples::{HostFeed, Slab};
use crate::train::run::{self, End, OnFault, Run, RunParams, Watch};
use crate::train::schedule::{EarlyStop, Fall, Plateau, Schedule};
use crate::train::{Feed, Trainer};
use std::ffi::{c_char, c_void};

/// How the learning rate falls after the warm-up.
#[repr(u32)]
pub enum q_schedule {
    /// It stays.
    Q_SCHEDULE_CONSTANT = 0,
    /// In a straight line to the floor.
    Q_SCHEDULE_LINEAR = 1,
    /// By half a cosine to the floor.
    Q_SCHEDULE_COSINE = 2,
}

/// Why q_model_train ended.
#[repr(u32)]
pub enum q_train_end {
    /// All steps are done.
    Q_TRAIN_DONE = 0,
    /// q_trainer_stop, or `on_step`, said so.
    Q_TRAIN_STOPPED = 1,
    /// Validations did not improve for as long as `patience` lasts.
    Q_TRAIN_NO_IMPROVEMENT = 2,
}

/// A batch for the host to fill: `n_seqs` sequences, whose rows lie one after another. No sequence sees another.
#[repr(C)]
pub struct q_train_batch {
    /// Bytes of this struct.
    pub size: u32,
    /// Room for so many rows in all.
    pub max_rows: u32,
    /// The most rows of a sequence.
    pub max_len: u32,
    /// Elements of a row that goes in; 0 when tokens do.
    pub in_width: u32,
    /// Elements of a row that comes out: classes, or values.
    pub out_width: u32,
    /// The host writes the number of sequences here.
    pub n_seqs: u32,
    /// The rows of each: room for `max_rows` sequences.
    pub lens: *mut u32,
    /// The token of each row, or NULL.
    pub tokens: *mut u32,
    /// [rows][in_width], or NULL.
    pub rows: *mut f32,
    /// The class of each row, with Q_LOSS_CROSSENTROPY; -100, which all are before: the row does not count. For a language model
    /// that is the token that follows.
    pub targets: *mut i32,
    /// [rows][out_width], with Q_LOSS_MSE; else NULL.
    pub values: *mut f32,
}

/// Fills a batch, the `number`-th from 0: the same one whenever it is asked for the same number, so that a run that goes on
/// from a checkpoint is the run that was not stopped. Returns 1 when it did, 0 when there is no more data, a negative number
/// to end the run with Q_ERR_CANCELLED. Must not unwind.
pub type q_train_data_fn =
    Option<unsafe extern "C" fn(number: u64, batch: *mut q_train_batch, user: *mut c_void) -> i32>;

/// What a step came to.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_train_report {
    /// Bytes of this struct that were filled.
    pub size: u32,
    /// 1 if a validation was made after the step.
    pub validated: u32,
    /// Steps done, this one included.
    pub step: u64,
    /// The mean loss of the step's batches.
    pub loss: f64,
    /// Share of the counted rows whose target had the greatest logit; 0 for values.
    pub accuracy: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// The norm of all gradients before clipping.
    pub grad_norm: f64,
    /// Rows that went through the layers.
    pub rows: u64,
    /// Seconds the step took.
    pub seconds: f64,
    /// The loss and the accuracy of the validation; NaN without one.
    pub validation_loss: f64,
    /// As above.
    pub validation_accuracy: f64,
}

/// Called after each step, on the thread that called q_model_train; other than 0 stops, as q_trainer_stop does. `trainer` may be paused
/// and stopped, but is in use otherwise; the context is free (see `publish_every`). Must not unwind.
pub type q_train_step_fn = Option<unsafe extern "C" fn(report: *const q_train_report, user: *mut c_void) -> i32>;

/// What q_model_train does. Fill it with q_train_params_init first, then set `steps` and `data`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_train_params {
    /// sizeof(q_train_params), set by q_train_params_init.
    pub size: u32,
    /// Batches whose gradients make one step; 0 (the default): as many as the trainer was made for.
    pub accumulate: u32,
    /// Steps in all.
    pub steps: u64,
    /// The greatest learning rate (0.001).
    pub learning_rate: f64,
    /// The rate at the end (0), where `schedule` falls.
    pub floor: f64,
    /// Steps in which the rate rises in a straight line (0).
    pub warmup: u64,
    /// A q_schedule (Q_SCHEDULE_CONSTANT).
    pub schedule: u32,
    /// 1: a step that meets NaN or infinity is left out; 0 (the default): it ends the run with Q_ERR_STATE. Weights are untouched.
    pub skip_faults: u32,
    /// The bound of the norm of all gradients together (1); 0: none.
    pub clip_norm: f64,
    /// The bound of each gradient, instead of the norm's; 0 (the default): none.
    pub clip_value: f64,
    /// Gives the batches.
    pub data: q_train_data_fn,
    /// Gives the batches of a validation, from number 0 each time until it has no more; NULL: none.
    pub validation: q_train_data_fn,
    /// Is told of each step, or NULL.
    pub on_step: q_train_step_fn,
    /// Handed to all three.
    pub user: *mut c_void,
    /// Steps between validations (0: none).
    pub validate_every: u64,
    /// Batches of a validation at most (0: all).
    pub validate_batches: u64,
    /// Validations without improvement after which the run ends (0: it does not).
    pub patience: u32,
    /// Validations without improvement after which the rate is multiplied by `plateau_factor`.
    pub plateau_patience: u32,
    /// From 0 to below 1; 0 (the default): the rate does not depend on validations.
    pub plateau_factor: f64,
    /// The folder for checkpoints, which must be there, and its bytes; NULL: none are written.
    pub folder: *const c_char,
    /// As above.
    pub folder_len: usize,
    /// Steps between checkpoints (0: only at the end).
    pub save_every: u64,
    /// The checkpoint to go on from, and the bytes of its path; NULL: the run begins at step 0.
    pub resume: *const c_char,
    /// As above.
    pub resume_len: usize,
    /// Steps after which the context takes the trained weights, before `on_step` is called, so that it can be used there to try them
    /// (0: never). See q_trainer_publish.
    pub publish_every: u64,
    /// Checkpoints that are kept beside the best (2).
    pub keep: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: as the trait demands.
unsafe impl Params for q_train_params {
    const NAME: &'static str = "q_train_params";

    fn defaults() -> Self {
        q_train_params {
            size: size_of::<Self>() as u32,
            accumulate: 0,
            steps: 0,
            learning_rate: 1e-3,
            floor: 0.0,
            warmup: 0,
            schedule: q_schedule::Q_SCHEDULE_CONSTANT as u32,
            skip_faults: 0,
            clip_norm: 1.0,
            clip_value: 0.0,
            data: None,
            validation: None,
            on_step: None,
            user: std::ptr::null_mut(),
            validate_every: 0,
            validate_batches: 0,
            patience: 0,
            plateau_patience: 0,
            plateau_factor: 0.0,
            folder: std::ptr::null(),
            folder_len: 0,
            save_every: 0,
            resume: std::ptr::null(),
            resume_len: 0,
            publish_every: 0,
            keep: 2,
            reserved: 0,
        }
    }
}

/// What a run came to.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_train_result {
    /// Bytes of this struct that were filled.
    pub size: u32,
    /// A q_train_end.
    pub end: u32,
    /// Steps done.
    pub step: u64,
    /// Steps that were left out.
    pub faults: u64,
    /// The least loss of a validation; NaN without one.
    pub best_validation: f64,
}

// SAFETY: as the trait demands.
unsafe impl Report for q_train_result {
    const NAME: &'static str = "q_train_result";
}

/// The loop's parameters of those of the host.
unsafe fn run_params(p: &q_train_params, trainer: &Trainer) -> Result<RunParams> {
    unused("reserved", p.reserved)?;
    // One pass of the trainer's is not for batches: see q_trainer_create.
    let most = trainer.params().passes - 1;
    let accumulate = if p.accumulate == 0 { most } else { p.accumulate as usize };
    if accumulate > most {
        fail!(InvalidArgument, "accumulate is {accumulate}: the trainer was made for {most} batches of a step at most");
    }
    if p.steps == 0 {
        fail!(InvalidArgument, "steps is 0: say how many steps there are");
    }
    let [constant, linear, cosine] =
        [q_schedule::Q_SCHEDULE_CONSTANT, q_schedule::Q_SCHEDULE_LINEAR, q_schedule::Q_SCHEDULE_COSINE]
            .map(|s| s as u32);
    let falls = [(constant, Fall::Constant), (linear, Fall::Linear), (cosine, Fall::Cosine)];
    let fall = choice("schedule", p.schedule, &falls)?;
    let skip = choice("skip_faults", p.skip_faults, &[(0, OnFault::Stop), (1, OnFault::Skip)])?;
    let (rate, floor, warmup, total) = (p.learning_rate, p.floor, p.warmup, p.steps);
    let clip = match (p.clip_norm, p.clip_value) {
        (0.0, 0.0) => Clip::None,
        (norm, 0.0) => Clip::Norm(norm),
        (_, value) => Clip::Value(value),
    };
    let plateau = match p.plateau_factor {
        0.0 => None,
        factor => Some(Plateau::new(factor, 0.0, p.plateau_patience, 0.0)?),
    };
    // SAFETY: the host's pointer.
    let folder = if p.folder.is_null() { None } else { Some(unsafe { args::path(p.folder, p.folder_len, "folder") }?) };
    Ok(RunParams {
        accumulate,
        schedule: Schedule { rate, floor, warmup, total, fall, from_zero: false },
        clip,
        plateau,
        early: if p.patience == 0 { None } else { Some(EarlyStop::new(p.patience - 1, 0.0)?) },
        validate_every: p.validate_every,
        validate_passes: p.validate_batches,
        on_fault: skip,
        folder: folder.map(|path| path.to_owned()),
        save_every: p.save_every,
        keep: p.keep as usize,
        ..RunParams::new(p.steps, rate)
    })
}

/// A host's source of batches for a trainer.
fn feed(trainer: &Trainer, data: q_train_data_fn, user: *mut c_void) -> Result<impl Feed + use<>> {
    let Some(data) = data else { fail!(InvalidArgument, "data is NULL: give a function that fills batches") };
    let graph = &trainer.model().graph;
    let (in_width, out_width) = (graph.in_width as u32, graph.out_width() as u32);
    let (rows, longest) = (trainer.params().rows, trainer.params().longest);
    let mut lens: Vec<u32> = try_vec(rows, "lengths of sequences")?;
    lens.resize(rows, 0);
    let give = move |number: u64, slab: &mut Slab| {
        fn of<T>(v: &mut [T]) -> *mut T {
            if v.is_empty() { std::ptr::null_mut() } else { v.as_mut_ptr() }
        }
        let mut batch = q_train_batch {
            size: size_of::<q_train_batch>() as u32,
            max_rows: rows as u32,
            max_len: longest as u32,
            in_width,
            out_width,
            n_seqs: 0,
            lens: of(&mut lens),
            tokens: of(&mut slab.tokens),
            rows: of(&mut slab.x),
            targets: of(&mut slab.targets),
            values: of(&mut slab.values),
        };
        // SAFETY: the host's function, called as the header says.
        let said = outside(|| unsafe { data(number, &mut batch, user) });
        if said < 0 {
            fail!(Cancelled, "the source of batches ended the run at batch {number}");
        }
        if said == 0 {
            return Ok(false);
        }
        let (mut at, n) = (0, batch.n_seqs as usize);
        for (seq, &len) in lens.get(..n).unwrap_or_default().iter().enumerate() {
            let len = len as usize;
            if len == 0 || len > longest || len > rows - at {
                fail!(
                    InvalidArgument,
                    "batch {number}: sequence {seq} has {len} rows: give 1 to {longest}, of all sequences at most {rows}"
                );
            }
            for (pos, place) in slab.places[at..at + len].iter_mut().enumerate() {
                *place = Place { seq: seq as u32, pos: pos as u32 };
            }
            at += len;
        }
        if at == 0 || n > rows {
            fail!(
                InvalidArgument,
                "batch {number}: n_seqs is {n}: give 1 to {rows}, or return 0 at the end of the data"
            );
        }
        slab.rows = at;
        Ok(true)
    };
    Ok(HostFeed::new(give, 0))
}

/// Tells the host of each step, and lets its context see the weights.
struct Told<'a> {
    params: &'a q_train_params,
    control: &'a Control,
    publish: &'a mut dyn FnMut(&Trainer) -> Result<()>,
}

impl Watch for Told<'_> {
    fn step(&mut self, r: &run::Report, trainer: &Trainer) -> Result<()> {
        let every = self.params.publish_every;
        if every > 0 && r.step.is_multiple_of(every) {
            (self.publish)(trainer)?;
        }
        let Some(on_step) = self.params.on_step else { return Ok(()) };
        let report = q_train_report {
            size: size_of::<q_train_report>() as u32,
            validated: r.validation.is_some().into(),
            step: r.step,
            loss: r.loss,
            accuracy: r.accuracy,
            learning_rate: r.rate,
            grad_norm: r.norm,
            rows: r.rows as u64,
            seconds: r.seconds,
            validation_loss: r.validation.map_or(f64::NAN, |v| v.loss),
            validation_accuracy: r.validation.map_or(f64::NAN, |v| v.accuracy),
        };
        // SAFETY: the host's function, called as the header says.
        if outside(|| unsafe { on_step(&report, self.params.user) }) != 0 {
            self.control.set(Wish::Stop);
        }
        Ok(())
    }
}

/// Fills `params` with defaults. `size` is sizeof(q_train_params).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_train_params_init(params: *mut q_train_params, size: usize) -> q_error_code {
    ffi!({ params::init(params, size) })
}

/// Trains the model, through the trainer of the context, on batches that the host gives: steps, validations, checkpoints, until all
/// steps are done, or it is stopped, or nothing improves. `result` may be NULL, with `size` 0; else sizeof(q_train_result).
///
/// Batches are reserved first; then no step allocates but for checkpoints, which write files. The bits do not depend on the threads,
/// and a run that goes on from a checkpoint of its own ends with the bits of one that was never stopped.
/// Errors: Q_ERR_STATE without a trainer, when the data ends too early, or when a loss or gradient is NaN or infinite: the message
/// says where it came from first, and weights and checkpoints are those of the step before; Q_ERR_INVALID_ARGUMENT; Q_ERR_IO;
/// Q_ERR_CANCELLED; those of q_trainer_load.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_model_train(
    model: *const q_model,
    context: *mut q_context,
    params: *const q_train_params,
    result: *mut q_train_result,
    size: usize,
) -> q_error_code {
    ffi!({
        let held = of_context(model, context)?;
        args::pointer(params, "params")?;
        let p = params::read(params)?;
        if !result.is_null() {
            params::check_report(result, size)?;
        }
        let mut learner = held.lock()?;
        let Learner { trainer, state, snapshot, .. } = &mut *learner;
        let rules = run_params(&p, trainer)?;
        let mut data = feed(trainer, p.data, p.user)?;
        let mut kept = if p.validation.is_some() { Some(feed(trainer, p.validation, p.user)?) } else { None };
        let mut publish = |trainer: &Trainer| {
            let mut context = handle::exclusive(context)?;
            Published { trainer, snapshot: &mut *snapshot }.to(&mut context.engine, &held)
        };
        let control = held.control();
        let mut told = Told { params: &p, control: &control, publish: &mut publish };
        let validation = kept.as_mut().map(|feed| feed as &mut dyn Feed);
        let mut run = Run::new(trainer, &mut data, validation.filter(|_| p.validate_every > 0), &rules)?;
        if !p.resume.is_null() {
            run.resume(args::path(p.resume, p.resume_len, "resume")?)?;
        }
        let done = run.go(&control, &mut told);
        state.step = run.step();
        held.renew();
        let summary = done?;
        state.position = data.position();
        if result.is_null() {
            return Ok(());
        }
        let end = match summary.end {
            End::Done => q_train_end::Q_TRAIN_DONE,
            End::Stopped => q_train_end::Q_TRAIN_STOPPED,
            End::NoImprovement => q_train_end::Q_TRAIN_NO_IMPROVEMENT,
        };
        let best_validation = summary.best.unwrap_or(f64::NAN);
        let found =
            q_train_result { size: 0, end: end as u32, step: summary.step, faults: summary.faults, best_validation };
        params::report(found, result, size)
    })
}
