//! `qorus qubo info`: size, structure, and the memory that solving takes.

use super::input::{Input, remark};
use super::solve::number;
use crate::failure::Result;
use crate::{args, output};
use qorus::qubo::{Sense, SolveParams, Solver, Structure};
use serde_json::json;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    threads: args::Threads,
    /// Print a JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Least and greatest of some numbers; None of none.
fn range(numbers: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    numbers.fold(None, |range, x| Some(range.map_or((x, x), |(low, high): (f64, f64)| (low.min(x), high.max(x)))))
}

pub fn main(args: Args) -> Result {
    let instance = args.input.read()?;
    let problem = instance.problem()?;
    let n = problem.len();
    let note: Vec<String> = problem.note().map(String::from).into_iter().collect();
    remark(&note);
    let degrees = range((0..n).map(|i| problem.degree(i) as f64)).unwrap_or((0.0, 0.0));
    let mean = if n == 0 { 0.0 } else { 2.0 * problem.couplings() as f64 / n as f64 };
    let linear = range((0..n).map(|i| problem.linear(i)));
    let couplings = range((0..n).flat_map(|i| problem.neighbours(i).map(|c| c.1)));
    let structure = Structure::of(&problem)?;
    let params = SolveParams { threads: args.threads.get(), ..SolveParams::default() };
    let plan = Solver::plan(&problem, &params)?;
    let methods: Vec<&str> = structure.portfolio(n).iter().map(|method| method.name()).collect();
    let sense = if instance.sense == Sense::Minimize { "minimize" } else { "maximize" };
    if args.json {
        let pair = |range: Option<(f64, f64)>| range.map(|(low, high)| [number(low), number(high)]);
        let classes: serde_json::Map<_, _> =
            plan.classes().into_iter().map(|(name, bytes)| (name.to_owned(), json!(bytes))).collect();
        let mut object = json!({
            "variables": n,
            "couplings": problem.couplings(),
            "density": problem.density(),
            "degree": {"min": number(degrees.0), "mean": mean, "max": number(degrees.1)},
            "linear": pair(linear),
            "coupling": pair(couplings),
            "offset": number(problem.offset()),
            "sense": sense,
            "exact": problem.is_exact(),
            "structure": structure.name(),
            "auto": methods,
            "problem_bytes": problem.bytes(),
            "plan": classes,
            "total": plan.total(),
        });
        if let Some(note) = problem.note() {
            object["note"] = json!(note);
        }
        return output::json(&object);
    }
    let shown = |range: Option<(f64, f64)>| range.map_or("none".into(), |(low, high)| format!("{low} to {high}"));
    let kind = if problem.is_exact() { "whole numbers, exact" } else { "floats" };
    let rows = [
        ("variables", n.to_string()),
        ("couplings", format!("{} ({:.3} % of all pairs)", problem.couplings(), 100.0 * problem.density())),
        ("degree", format!("{} to {}, mean {mean:.2}", degrees.0, degrees.1)),
        ("linear", shown(linear)),
        ("coupling", shown(couplings)),
        ("offset", problem.offset().to_string()),
        ("sense", sense.to_owned()),
        ("numbers", kind.to_owned()),
        ("structure", structure.name().to_owned()),
        ("auto takes", methods.join(", then ")),
        (
            "memory",
            format!(
                "{} MiB for the problem, {} MiB to solve it",
                output::mib(problem.bytes()),
                output::mib(plan.total())
            ),
        ),
    ];
    for (name, value) in rows {
        output::line(&format!("{name:11} {value}"))?;
    }
    Ok(())
}
