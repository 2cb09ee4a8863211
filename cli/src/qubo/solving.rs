//! How a problem is to be solved, in dwave's words, and one run with a bar, a curve and Ctrl-C.

use super::watch::Watcher;
use crate::args;
use crate::failure::{Result, usage};
use crate::interrupt::Interrupt;
use crate::train::curve::{self, Series};
use qorus::Isa;
use qorus::qubo::{Method, Outcome, Problem, Schedule, SolveParams, Solver};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(clap::Args)]
pub struct Solving {
    /// Seconds at most
    #[arg(long, value_name = "S", value_parser = seconds, allow_negative_numbers = true)]
    pub time_limit: Option<Duration>,
    /// Of the random draws: the same seed gives the same result when sweeps end the run, whatever the number of threads
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    threads: args::Threads,
    /// auto, anneal, tabu, descent, tempering, population, quantum, relink, enumerate or qaoa
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = method)]
    pub solver: Method,
    /// Independent reads [default: one, or as many as there is time for]
    #[arg(long, value_name = "N", value_parser = args::count(), allow_negative_numbers = true)]
    num_reads: Option<usize>,
    /// Sweeps of a read [default: the solver's choice]
    #[arg(long, value_name = "N", value_parser = args::count(), allow_negative_numbers = true)]
    num_sweeps: Option<usize>,
    /// First and last inverse temperature, as 0.1,10 [default: from the coefficients]
    #[arg(long, value_name = "FIRST,LAST", value_parser = range)]
    beta_range: Option<(f64, f64)>,
    /// geometric, linear, or the inverse temperatures themselves with commas between
    #[arg(long, value_name = "SCHEDULE", default_value = "geometric", value_parser = schedule)]
    beta_schedule: Schedule,
    /// Different samples to keep, the best ones
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = args::count())]
    max_samples: usize,
    /// Layers of a QAOA circuit
    #[arg(long, value_name = "P", default_value_t = SolveParams::default().layers)]
    layers: usize,
    /// Replicas of tempering, slices of quantum, members of population; 0: chosen
    #[arg(long, value_name = "N", default_value_t = 0)]
    replicas: usize,
    /// Bytes of memory at most, as 512k, 300M or 2G
    #[arg(long, value_name = "BYTES", value_parser = args::bytes)]
    memory: Option<usize>,
    /// The highest instruction set to use
    #[arg(long, value_name = "LEVEL", value_parser = args::isa)]
    isa: Option<Isa>,
    /// Draw the best value over time as an SVG picture
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Print a JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

impl Solving {
    /// The parameters; values are checked by the solver.
    pub fn params(&self) -> SolveParams {
        SolveParams {
            method: self.solver,
            num_reads: self.num_reads.unwrap_or(0),
            num_sweeps: self.num_sweeps.unwrap_or(0),
            beta_range: self.beta_range,
            beta_schedule: self.beta_schedule.clone(),
            seed: self.seed,
            time_limit: self.time_limit,
            threads: self.threads.get(),
            max_samples: self.max_samples,
            budget: self.memory,
            layers: self.layers,
            replicas: self.replicas,
            isa: self.isa,
            ..SolveParams::default()
        }
    }

    /// Whether something other than the solver's choice ends the run.
    pub fn is_bounded(&self) -> bool {
        self.time_limit.is_some() || self.num_reads.is_some() || self.num_sweeps.is_some()
    }

    /// Solves, with a bar, until the end or Ctrl-C; then draws the curve. The solver holds the samples.
    pub fn run(&self, problem: &Problem, params: &SolveParams) -> Result<(Solver, Outcome)> {
        params.check(problem.len()).or_else(usage)?;
        let interrupt = Interrupt::new()?;
        let mut solver = Solver::new(problem, params)?;
        let mut watcher = Watcher::new(interrupt, params, self.json);
        let outcome = solver.solve(&mut watcher)?;
        let series = watcher.finish(&outcome);
        if let Some(path) = &self.plot {
            draw(path, &series)?;
        }
        if !self.json && std::io::stderr().is_terminal() && series.len() > 1 {
            let text = curve::terminal_over(&[("best", &series)], 72, 12, "ms");
            let _ = write!(std::io::stderr(), "{text}");
        }
        Ok((solver, outcome))
    }
}

fn draw(path: &Path, series: &Series) -> Result {
    let picture = curve::svg_over(&[("best", series)], ("milliseconds", "best value"));
    match std::fs::write(path, picture) {
        Ok(()) => Ok(()),
        Err(e) => crate::failure::run(format_args!("{}: cannot be written: {e}", path.display())),
    }
}

/// A time of at least 0.
fn seconds(text: &str) -> std::result::Result<Duration, String> {
    let number = text.parse::<f64>().ok();
    number.and_then(|s| Duration::try_from_secs_f64(s).ok()).ok_or_else(|| "give seconds, as 10 or 0.5".into())
}

fn method(name: &str) -> std::result::Result<Method, String> {
    let own = |method: &Method| *method != Method::Host;
    Method::from_name(name).filter(own).ok_or_else(|| {
        let names: Vec<&str> = Method::ALL.into_iter().filter(own).map(Method::name).collect();
        format!("give {}", names.join(", "))
    })
}

fn numbers(text: &str) -> std::result::Result<Vec<f64>, String> {
    let number = |part: &str| part.trim().parse::<f64>().map_err(|_| format!("{part:?} is no number"));
    text.split(',').map(number).collect()
}

fn range(text: &str) -> std::result::Result<(f64, f64), String> {
    match numbers(text)?[..] {
        [first, last] => Ok((first, last)),
        _ => Err("give two numbers with a comma between".into()),
    }
}

fn schedule(text: &str) -> std::result::Result<Schedule, String> {
    match text {
        "geometric" => Ok(Schedule::Geometric),
        "linear" => Ok(Schedule::Linear),
        _ => Ok(Schedule::Custom(numbers(text)?)),
    }
}
