//! `qorus qubo convert`: a problem in another form.

use super::input::{Input, form, remark};
use crate::failure::Result;
use crate::output;
use qorus::qubo::format::{self, Format};
use serde_json::json;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    input: Input,
    /// The file to write
    out: PathBuf,
    /// The form to write: gset (Max-Cut alone), orlib, qbsolv, coo, bqm, bqpjson or qio
    #[arg(long, value_name = "FORM", value_parser = form)]
    to: Format,
    /// Print a JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub fn main(args: Args) -> Result {
    let instance = args.input.read()?;
    let problem = instance.problem()?;
    let notes = format::save(&args.out, args.to, &problem, instance.labels.as_deref())?;
    remark(&notes);
    if args.json {
        return output::json(&json!({
            "variables": problem.len(),
            "couplings": problem.couplings(),
            "format": args.to.name(),
            "notes": notes,
        }));
    }
    output::line(&format!(
        "{}: {} variables, {} couplings, {}",
        args.out.display(),
        problem.len(),
        problem.couplings(),
        args.to.name()
    ))
}
