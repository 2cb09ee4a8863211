//! How an adapter is trained: steps, rate, optimizer, memory. Every number has a default that is printed before it begins.

use crate::args;
use crate::failure::{Result, run};
use qorus::train::clip::Clip;
use qorus::train::optim::{Betas, Group, Method};
use qorus::train::run::{OnFault, RunParams};
use qorus::train::schedule::{EarlyStop, Fall, Schedule};
use qorus::train::{AdapterParams, Objective, TrainerParams};
use std::path::Path;

#[derive(clap::Args)]
pub struct Settings {
    /// Steps [default: three times through the data]
    #[arg(long, value_name = "N", value_parser = args::count(), conflicts_with = "epochs")]
    steps: Option<usize>,
    /// Times through the data
    #[arg(long, value_name = "E")]
    epochs: Option<f64>,
    /// Rows of --ctx tokens, or pairs of answers, that make a step; how many go through the layers together, the budget decides
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = args::count())]
    pub batch: usize,
    /// The learning rate, after the warm-up
    #[arg(long, value_name = "X", default_value_t = 2e-4)]
    lr: f64,
    /// Steps in which the rate rises [default: a twentieth of all, at most 100]
    #[arg(long, value_name = "N")]
    warmup: Option<u64>,
    /// How the rate falls after them
    #[arg(long, value_enum, default_value_t = Falls::Cosine)]
    schedule: Falls,
    /// The optimizer
    #[arg(long, value_enum, default_value_t = Optimizer::Adamw)]
    optimizer: Optimizer,
    /// The decay of the adapter's matrices
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    decay: f64,
    /// The norm of all gradients at most; 0: any
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub clip: f64,
    /// Bytes beside the mapped file at most: fewer rows of a pass, recomputation and fewer logits at once are chosen until it
    /// fits; k, M and G stand for powers of 1024
    #[arg(long, value_name = "BYTES", value_parser = args::bytes)]
    budget: Option<usize>,
    /// Let the frozen products round what goes in to 8 bits on the way forward, as inference does: faster, and another loss curve
    #[arg(long)]
    eight: bool,
    /// Steps between validations [default: a tenth of all]
    #[arg(long, value_name = "N", value_parser = args::count())]
    validate_every: Option<usize>,
    /// Validations without improvement after which it ends [default: it goes on]
    #[arg(long, value_name = "N")]
    patience: Option<u32>,
    /// Steps between checkpoints [default: a tenth of all]
    #[arg(long, value_name = "N", value_parser = args::count())]
    save_every: Option<usize>,
    /// Leave a step out that meets NaN or infinity, rather than end
    #[arg(long)]
    skip_nan: bool,
    /// Decides the order of the data, dropout and what the adapter begins with
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Falls {
    /// By half a cosine to 0
    Cosine,
    /// In a straight line to 0
    Linear,
    /// Not at all
    Constant,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Optimizer {
    /// AdamW with moments in f32
    Adamw,
    /// AdamW with moments of 8 bits
    Adamw8,
}

impl Settings {
    /// What a trainer of an adapter is made for, before the budget decides.
    pub fn trainer(&self, adapter: AdapterParams, objective: Objective, length: usize) -> TrainerParams {
        let betas = Betas::default();
        TrainerParams {
            longest: length,
            objective,
            method: match self.optimizer {
                Optimizer::Adamw => Method::AdamW(betas),
                Optimizer::Adamw8 => Method::AdamW8(betas),
            },
            groups: [Group { decay: self.decay, ..Group::default() }, Group::default()],
            adapter: Some(adapter),
            eight: self.eight,
            seed: self.seed,
            budget: self.budget.unwrap_or(0),
            ..TrainerParams::default()
        }
    }

    /// The loop, over data of which an epoch has so many steps.
    pub fn run(&self, accumulate: usize, epoch: f64, folder: &Path, validates: bool) -> Result<RunParams> {
        let epochs = self.epochs.unwrap_or(3.0);
        if !(epochs > 0.0 && epochs.is_finite()) {
            return run(format_args!("--epochs {epochs}: give a number above 0"));
        }
        let steps = self.steps.map_or((epochs * epoch).ceil().max(1.0) as u64, |n| n as u64);
        let tenth = (steps / 10).max(1);
        let fall = match self.schedule {
            Falls::Cosine => Fall::Cosine,
            Falls::Linear => Fall::Linear,
            Falls::Constant => Fall::Constant,
        };
        let warmup = self.warmup.unwrap_or((steps / 20).min(100));
        let early = self.patience.filter(|_| validates).map(|patience| EarlyStop::new(patience, 0.0)).transpose()?;
        Ok(RunParams {
            accumulate,
            schedule: Schedule { warmup, total: steps, fall, ..Schedule::constant(self.lr) },
            clip: if self.clip > 0.0 { Clip::Norm(self.clip) } else { Clip::None },
            early,
            validate_every: if validates { self.validate_every.map_or(tenth, |n| n as u64) } else { 0 },
            on_fault: if self.skip_nan { OnFault::Skip } else { OnFault::Stop },
            folder: Some(folder.to_owned()),
            save_every: self.save_every.map_or(tenth, |n| n as u64),
            ..RunParams::new(steps, self.lr)
        })
    }

    /// How the rate falls, in a word.
    pub fn falls(&self) -> &'static str {
        match self.schedule {
            Falls::Cosine => "half a cosine",
            Falls::Linear => "a straight line",
            Falls::Constant => "nothing does",
        }
    }

    /// The settings as a file keeps them.
    pub fn describe(&self) -> String {
        format!(
            "steps = {}\nepochs = {}\nbatch = {}\nlr = {}\nwarmup = {}\nschedule = \"{:?}\"\noptimizer = \"{:?}\"\ndecay = {}\nclip = {}\neight = {}\nseed = {}\n",
            self.steps.unwrap_or(0),
            self.epochs.unwrap_or(0.0),
            self.batch,
            self.lr,
            self.warmup.map_or(-1, |n| n as i64),
            self.schedule,
            self.optimizer,
            self.decay,
            self.clip,
            self.eight,
            self.seed
        )
    }
}
