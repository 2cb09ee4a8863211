//! `qorus train`: a run as a file describes it, with its log, curve, checkpoints, and the model at the end.

pub mod config;
pub mod curve;
pub mod folder;
pub mod held;
mod table;
mod text;
pub mod watch;

use crate::failure::Result;
use config::{Config, Kind};
use curve::Series;
use folder::Begin;
use qorus::engine::Runtime;
use qorus::train::run::{End, Summary};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// Go on with the run in the folder, if there is one
    #[arg(long, conflicts_with = "restart")]
    resume: bool,
    /// Begin anew, over a run that is in the folder
    #[arg(long)]
    restart: bool,
    /// Print an object for each step, and one at the end
    #[arg(long)]
    json: bool,
    /// Threads [default: as the file says, or one for each core]
    #[arg(short, long, value_name = "N", value_parser = crate::args::count())]
    threads: Option<usize>,
    /// The run's description; examples/configs has some with every key explained
    config: PathBuf,
}

pub fn main(args: Args) -> Result {
    let (config, source) = Config::read(&args.config)?;
    let begin = match (args.resume, args.restart) {
        (true, _) => Begin::Resume,
        (_, true) => Begin::Restart,
        _ => Begin::New,
    };
    let threads = args.threads.unwrap_or(config.train.threads);
    match config.kind {
        Kind::Text => text::main(&config, &source, begin, threads, args.json),
        Kind::Table => table::main(&config, &source, begin, threads, args.json),
    }
}

/// Why a run ended.
pub fn end_name(summary: &Summary) -> &'static str {
    match summary.end {
        End::Done => "done",
        End::Stopped => "stopped",
        End::NoImprovement => "no improvement",
    }
}

/// The last object of `--json`, to which each kind adds its own.
pub fn done(runtime: &Runtime, summary: &Summary, model: &Path, curves: (&Series, &Series), speed: f64) -> Value {
    json!({
        "done": true,
        "end": end_name(summary),
        "step": summary.step,
        "checkpoint": summary.checkpoint,
        "model": model,
        "loss": curves.0.last(),
        "val_loss": summary.best.or(curves.1.last()),
        "tokens_per_s": speed,
        "faults": summary.faults,
        "isa": runtime.kernels.isa().name(),
        "threads": runtime.pool.len(),
    })
}
