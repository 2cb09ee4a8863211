//! CONFIG.toml: what a training run is made of. Unknown keys are errors, so that a misspelt one is not passed over.

use crate::failure::{Result, run};
use clap::ValueEnum;
use qorus::engine::Runtime;
use qorus::layers::keep::Keep;
use qorus::train::clip::Clip;
use qorus::train::optim::{Betas, Group, Method};
use qorus::train::run::{OnFault, RunParams};
use qorus::train::schedule::{EarlyStop, Fall, Plateau, Schedule};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What is learned: `text`, or `table`.
    pub kind: Kind,
    /// The run's folder.
    pub out: PathBuf,
    pub model: Option<Model>,
    pub vocabulary: Option<Vocabulary>,
    pub table: Option<super::table::Table>,
    pub network: Option<super::table::Layers>,
    pub data: Data,
    pub train: Train,
    #[serde(default)]
    pub sample: Sample,
    #[serde(default)]
    pub export: Export,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Text,
    Table,
}

/// A model to go on with, or the sizes of one that begins from nothing.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub base: Option<PathBuf>,
    #[serde(default)]
    pub freeze: Vec<String>,
    pub layers: Option<usize>,
    pub width: Option<usize>,
    pub heads: Option<usize>,
    pub kv_heads: Option<usize>,
    pub ffn: Option<usize>,
    pub context: Option<usize>,
    #[serde(default = "yes")]
    pub tied: bool,
    #[serde(default)]
    pub dropout: f32,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vocabulary {
    pub kind: Tokens,
    #[serde(default)]
    pub size: usize,
    #[serde(default)]
    pub special: Vec<String>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Tokens {
    Characters,
    Bpe,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    pub files: Vec<PathBuf>,
    #[serde(default)]
    pub format: Format,
    #[serde(default)]
    pub validation: f64,
    pub fill: Option<Fill>,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Text,
    Jsonl,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    Windows,
    Cut,
    Whole,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    pub steps: Option<u64>,
    pub epochs: Option<f64>,
    pub batch: usize,
    pub length: Option<usize>,
    pub micro_batch: Option<usize>,
    pub rate: f64,
    #[serde(default)]
    pub floor: f64,
    #[serde(default)]
    pub warmup: u64,
    #[serde(default)]
    pub schedule: Falls,
    #[serde(default)]
    pub optimizer: Optimizer,
    #[serde(default = "beta1")]
    pub beta1: f64,
    #[serde(default = "beta2")]
    pub beta2: f64,
    #[serde(default = "epsilon")]
    pub epsilon: f64,
    #[serde(default)]
    pub momentum: f64,
    #[serde(default)]
    pub nesterov: bool,
    #[serde(default = "decay")]
    pub decay: f64,
    #[serde(default)]
    pub l1: f64,
    pub clip_norm: Option<f64>,
    pub clip_value: Option<f64>,
    #[serde(default)]
    pub smoothing: f32,
    #[serde(default)]
    pub seed: u64,
    #[serde(default)]
    pub activations: Activations,
    #[serde(default)]
    pub products: Products,
    #[serde(default)]
    pub on_nan: OnNan,
    #[serde(default)]
    pub validate_every: u64,
    #[serde(default)]
    pub validate_batches: u64,
    pub patience: Option<u32>,
    pub plateau: Option<PlateauRule>,
    #[serde(default)]
    pub save_every: u64,
    #[serde(default = "keep")]
    pub keep: usize,
    #[serde(default)]
    pub threads: usize,
    pub budget: Option<String>,
}

fn beta1() -> f64 {
    Betas::default().beta1
}

fn beta2() -> f64 {
    Betas::default().beta2
}

fn epsilon() -> f64 {
    Betas::default().eps
}

fn decay() -> f64 {
    0.01
}

fn keep() -> usize {
    2
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Falls {
    #[default]
    Cosine,
    Linear,
    Constant,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    #[default]
    Adamw,
    Adamw8,
    Adam,
    Sgd,
}

/// What is kept of a forward pass for the way back.
#[derive(Clone, Copy, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Activations {
    /// Everything, in f32
    #[default]
    F32,
    /// Rounded to bf16 inside layers: about two thirds of the bytes
    Bf16,
    /// The inputs of layers only, the rest is computed again: the same bits, a fifth more time
    Recompute,
}

impl Activations {
    /// The same, as the library says it.
    pub fn keep(self) -> Keep {
        match self {
            Activations::F32 => Keep::F32,
            Activations::Bf16 => Keep::Bf16,
            Activations::Recompute => Keep::Inputs,
        }
    }
}

/// How the factors of matrix products are rounded; weights, sums and moments are f32 either way.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Products {
    #[default]
    F32,
    Bf16,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnNan {
    #[default]
    Stop,
    Skip,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlateauRule {
    pub factor: f64,
    #[serde(default)]
    pub least: f64,
    #[serde(default)]
    pub patience: u32,
    #[serde(default)]
    pub threshold: f64,
}

/// Texts that the model writes on its way.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    #[serde(default)]
    pub every: u64,
    #[serde(default)]
    pub prompt: String,
    #[serde(default)]
    pub tokens: usize,
    #[serde(default)]
    pub temperature: f32,
}

/// How the model is written at the end.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    #[serde(rename = "type")]
    pub ty: Option<String>,
}

impl Config {
    /// Reads and checks the file. Returns its text too.
    pub fn read(path: &Path) -> Result<(Config, String)> {
        let name = path.display();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) => return run(format_args!("{name}: cannot be read: {e}")),
        };
        match toml::from_str(&text) {
            Ok(config) => Ok((config, text)),
            Err(e) => {
                let line = e.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count().max(1));
                run(format_args!("{name}:{line}: {}", e.message()))
            }
        }
    }
}

impl Train {
    /// How weights follow their gradients.
    pub fn method(&self) -> Method {
        let betas = Betas { beta1: self.beta1, beta2: self.beta2, eps: self.epsilon };
        match self.optimizer {
            Optimizer::Adamw => Method::AdamW(betas),
            Optimizer::Adamw8 => Method::AdamW8(betas),
            Optimizer::Adam => Method::Adam(betas),
            Optimizer::Sgd => Method::Sgd { momentum: self.momentum, nesterov: self.nesterov },
        }
    }

    /// The threads and kernels of the run.
    pub fn runtime(&self, threads: usize) -> Result<Arc<Runtime>> {
        let products = match self.products {
            Products::F32 => qorus::Products::F32,
            Products::Bf16 => qorus::Products::Bf16,
        };
        Ok(Runtime::with_products(threads, None, products)?)
    }

    /// Matrices decay, norms and biases do not.
    pub fn groups(&self) -> [Group; 2] {
        [Group { decay: self.decay, l1: self.l1, ..Group::default() }, Group::default()]
    }

    /// Sequences of a pass, and passes of a step.
    pub fn passes(&self) -> Result<(usize, usize)> {
        let micro = self.micro_batch.unwrap_or(self.batch);
        if self.batch == 0 || micro == 0 || self.batch % micro != 0 {
            return run(format_args!(
                "train.batch = {} and train.micro_batch = {micro}: give at least 1 of each, the second dividing the first",
                self.batch
            ));
        }
        Ok((micro, self.batch / micro))
    }

    /// Bytes that may be taken beyond the mapped file; 0: no limit.
    pub fn budget(&self) -> Result<usize> {
        let Some(text) = &self.budget else { return Ok(0) };
        crate::args::bytes(text).or_else(|e| run(format_args!("train.budget = {text:?}: {e}")))
    }

    /// The loop, for data of which an epoch has so many steps.
    pub fn run(&self, accumulate: usize, epoch: f64, folder: &Path) -> Result<RunParams> {
        let steps = match (self.steps, self.epochs) {
            (Some(steps), None) => steps,
            (None, Some(epochs)) if epochs > 0.0 && epochs.is_finite() => (epochs * epoch).ceil().max(1.0) as u64,
            _ => return run("give either train.steps or train.epochs, a number above 0"),
        };
        if steps == 0 {
            return run("train.steps = 0: give at least 1");
        }
        let fall = match self.schedule {
            Falls::Cosine => Fall::Cosine,
            Falls::Linear => Fall::Linear,
            Falls::Constant => Fall::Constant,
        };
        let (rate, floor, warmup) = (self.rate, self.floor, self.warmup);
        let clip = match (self.clip_norm, self.clip_value) {
            (Some(_), Some(_)) => return run("train.clip_norm and train.clip_value: give one of them"),
            (Some(limit), None) => Clip::Norm(limit),
            (None, Some(limit)) => Clip::Value(limit),
            (None, None) => Clip::None,
        };
        let rule = |p: PlateauRule| Plateau::new(p.factor, p.least, p.patience, p.threshold);
        Ok(RunParams {
            steps,
            accumulate,
            schedule: Schedule { rate, floor, warmup, total: steps, fall, from_zero: false },
            clip,
            plateau: self.plateau.map(rule).transpose()?,
            early: self.patience.map(|patience| EarlyStop::new(patience, 0.0)).transpose()?,
            validate_every: self.validate_every,
            validate_passes: self.validate_batches,
            on_fault: match self.on_nan {
                OnNan::Stop => OnFault::Stop,
                OnNan::Skip => OnFault::Skip,
            },
            folder: Some(folder.to_owned()),
            save_every: self.save_every,
            keep: self.keep,
        })
    }
}
