//! `qorus quantize`: a GGUF file again at another storage type.

use crate::args::Threads;
use crate::convert::{report, watched};
use crate::failure::Result;
use qorus::Products;
use qorus::convert::{self, Recipe};
use qorus::gguf::Gguf;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// A GGUF file; of a split model, its first part
    input: PathBuf,
    /// The GGUF file to write; it may be the one that is read
    output: PathBuf,
    #[arg(value_name = "TYPE", value_parser = recipe, help = help())]
    recipe: Recipe,
    #[command(flatten)]
    threads: Threads,
    /// Print one object
    #[arg(long)]
    json: bool,
}

fn names() -> String {
    Recipe::all().map(Recipe::name).collect::<Vec<_>>().join(", ")
}

/// What the argument of a recipe is.
pub fn help() -> String {
    format!("The storage type of the matrices: {}; the mixes _M give Q6_K to those that matter most", names())
}

/// The recipe of that name.
pub fn recipe(name: &str) -> std::result::Result<Recipe, String> {
    Recipe::from_name(name).ok_or_else(|| format!("give {}", names()))
}

pub fn main(args: Args) -> Result {
    let gguf = Gguf::open(&args.input)?;
    let runtime = args.threads.runtime(Products::F32)?;
    watched(|progress| convert::quantize(&gguf, &args.output, args.recipe, &runtime, progress))?;
    report(&args.output, args.json)
}
