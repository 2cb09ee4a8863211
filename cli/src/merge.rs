//! `qorus merge`: adapters made part of a model.

use crate::args::Threads;
use crate::convert::{report, watched};
use crate::failure::{Result, usage};
use crate::lora::Lora;
use crate::quantize::{help, recipe};
use qorus::Products;
use qorus::convert::{self, Recipe, Weighted};
use qorus::gguf::Gguf;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// The base, a GGUF file; of a split model, its first part
    #[arg(short, long, value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    lora: Lora,
    /// The GGUF file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[arg(long = "type", value_name = "TYPE", value_parser = recipe, help = help() + " [default: each tensor's own]")]
    recipe: Option<Recipe>,
    #[command(flatten)]
    threads: Threads,
    /// Print one object
    #[arg(long)]
    json: bool,
}

pub fn main(args: Args) -> Result {
    if args.lora.files.is_empty() {
        return usage("no adapter: give one with --lora FILE");
    }
    let base = Gguf::open(&args.model)?;
    let adapters = args.lora.open(&base)?;
    let weighted: Vec<Weighted> = adapters.iter().map(|(adapter, weight)| (adapter, *weight)).collect();
    let runtime = args.threads.runtime(Products::F32)?;
    watched(|progress| convert::merge(&base, &weighted, &args.output, args.recipe, &runtime, progress))?;
    report(&args.output, args.json)
}
