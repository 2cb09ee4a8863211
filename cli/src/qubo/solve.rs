//! `qorus qubo solve`: the best assignment of a problem's variables.

use super::input::Input;
use super::solving::Solving;
use crate::failure::{Result, usage};
use crate::output;
use qorus::memory::save::SaveFile;
use qorus::qubo::{Method, Outcome, Sense, SolveParams, write_qasm};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    input: Input,
    /// Stop at a value as good as this, in the file's own sense
    #[arg(long, value_name = "E", allow_negative_numbers = true)]
    target: Option<f64>,
    /// Begin with the assignments of this file: zeros and ones, or what `solve --json` printed; one for each of the first reads
    #[arg(long, value_name = "FILE")]
    initial: Option<PathBuf>,
    /// Write the QAOA circuit with the angles found as OpenQASM 3; with --solver qaoa
    #[arg(long, value_name = "FILE.qasm")]
    qasm: Option<PathBuf>,
    #[command(flatten)]
    solving: Solving,
}

pub fn main(args: Args) -> Result {
    if args.qasm.is_some() && args.solving.solver != Method::Qaoa {
        return usage("--qasm writes the circuit of --solver qaoa: add that");
    }
    let instance = args.input.read()?;
    let problem = instance.problem()?;
    if let Some(note) = problem.note() {
        super::input::remark(&[note.into()]);
    }
    let initial_states = match &args.initial {
        Some(path) => super::initial::read(path, problem.len())?,
        None => instance.start.clone().unwrap_or_default(),
    };
    let params = SolveParams { target_energy: args.target, initial_states, ..args.solving.params() };
    let (mut solver, outcome) = args.solving.run(&problem, &params)?;
    if let Some(path) = &args.qasm {
        let (gammas, betas) = solver.angles();
        let mut file = SaveFile::create(path)?;
        write_qasm(&problem, gammas, betas, &mut file)?;
        file.commit()?;
    }
    let Some(best) = solver.sample(0) else {
        return crate::failure::run("the run ended without a sample");
    };
    let (assignment, objective) = (best.x.to_vec(), best.energy);
    if args.solving.json {
        let mut object = found(&outcome, objective, args.solving.seed);
        object["assignment"] = json!(assignment);
        if let Some(labels) = &instance.labels {
            object["variables"] = json!(labels);
        }
        let samples = solver.samples().iter().map(|s| json!({"objective": number(s.energy), "count": s.count}));
        object["samples"] = samples.collect();
        return output::json(&object);
    }
    let sense = if instance.sense == Sense::Minimize { "minimised" } else { "maximised" };
    output::line(&format!("objective   {objective} ({sense})"))?;
    report(&outcome)?;
    let bits: String = assignment.iter().map(|&x| if x == 0 { '0' } else { '1' }).collect();
    output::line(&format!("assignment  {bits}"))
}

/// What every object of a run says.
pub fn found(outcome: &Outcome, objective: f64, seed: u64) -> Value {
    json!({
        "objective": number(objective),
        "assignment": null,
        "time_to_best_s": outcome.time_to_best.as_secs_f64(),
        "total_s": outcome.total.as_secs_f64(),
        "proposals": outcome.proposals,
        "solver": outcome.solver,
        "seed": seed,
        "stopped": outcome.stopped.name(),
        "flips": outcome.flips,
        "sweeps": outcome.sweeps,
        "reads": outcome.reads,
    })
}

/// How a run went, for people.
pub fn report(outcome: &Outcome) -> Result {
    let seconds = outcome.total.as_secs_f64();
    let speed = if seconds > 0.0 { outcome.proposals as f64 / seconds / 1e6 } else { 0.0 };
    output::line(&format!("found by    {}, ended by {}", outcome.solver, outcome.stopped.name()))?;
    output::line(&format!(
        "time        {:.3} s to the best of {seconds:.3} s; {} reads, {} sweeps, {speed:.1} M proposals/s",
        outcome.time_to_best.as_secs_f64(),
        outcome.reads,
        outcome.sweeps
    ))
}

/// A value as JSON: whole ones without a point.
pub fn number(x: f64) -> Value {
    if x.fract() == 0.0 && x.abs() < 9e15 { json!(x as i64) } else { json!(x) }
}
