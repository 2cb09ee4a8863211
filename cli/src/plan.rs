//! `qorus plan`: how much memory a model will take, from its metadata alone.

use crate::args;
use crate::failure::Result;
use crate::output::{self, mib};
use crate::train::config::Activations;
use qorus::engine::generate::DEFAULT_LOOKUP;
use qorus::engine::{ContextParams, plan};
use qorus::gguf::Gguf;
use qorus::memory::Plan;
use qorus::models::Graph;
use qorus::train::optim::{Betas, Method};
use qorus::train::{TrainerParams, layout};
use serde_json::{Map, Value};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// Positions of each sequence [default: as many as the model was trained for, at most 4096]
    #[arg(long, value_name = "N", value_parser = args::count())]
    ctx: Option<usize>,
    /// Tokens that are computed together [default: 256]; with --train, sequences of a pass [default: 1]
    #[arg(long, value_name = "N", value_parser = args::count())]
    batch: Option<usize>,
    /// Sequences
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = args::count())]
    seqs: usize,
    /// Tokens that are guessed at once, whose logits are kept; 0: none
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LOOKUP, value_parser = args::ahead())]
    lookup: usize,
    /// Plan for training: full trains every weight
    #[arg(long, value_name = "WHAT", value_parser = ["full"])]
    train: Option<String>,
    /// The optimizer: adamw, adamw8 (moments of 8 bits), adam or sgd
    #[arg(long, value_name = "NAME", requires = "train", default_value = "adamw", value_parser = ["adamw", "adamw8", "adam", "sgd"])]
    optimizer: String,
    /// What is kept of a forward pass for the way back
    #[arg(long, requires = "train", value_name = "HOW", default_value = "f32")]
    activations: Activations,
    #[command(flatten)]
    kv: args::Kv,
    #[command(flatten)]
    threads: args::Threads,
    /// Fail when more is needed, mapped weights not counted; k, M and G stand for powers of 1024
    #[arg(long, value_name = "BYTES", value_parser = args::bytes)]
    budget: Option<usize>,
    /// Print one object, in bytes
    #[arg(long)]
    json: bool,
    /// A GGUF file; of a split model, its first part
    model: PathBuf,
}

/// The plan of a trainer and the model it trains.
fn training(args: &Args, gguf: &Gguf, graph: &Graph, base: Plan, threads: usize) -> Result<Plan> {
    let longest = args.ctx.unwrap_or(if graph.ctx_train == 0 { 1024 } else { graph.ctx_train.min(4096) });
    let betas = Betas::default();
    let params = TrainerParams {
        rows: longest.saturating_mul(args.batch.unwrap_or(1)),
        longest,
        keep: args.activations.keep(),
        method: match args.optimizer.as_str() {
            "adamw8" => Method::AdamW8(betas),
            "adam" => Method::Adam(betas),
            "sgd" => Method::Sgd { momentum: 0.0, nesterov: false },
            _ => Method::AdamW(betas),
        },
        ..TrainerParams::default()
    };
    Ok(layout::plan(graph, gguf.tensors().len(), base, &params, threads, |_| true)?)
}

pub fn main(args: Args) -> Result {
    let gguf = Gguf::open(&args.model)?;
    let graph = Graph::from_gguf(&gguf)?;
    let params = ContextParams {
        n_ctx: args.ctx.unwrap_or(0),
        n_batch: args.batch.unwrap_or(ContextParams::default().n_batch),
        n_seqs: args.seqs,
        n_outputs: args.seqs.max(args.lookup + 1),
        kv: args.kv.ty,
        ..ContextParams::default()
    };
    let threads = match args.threads.get() {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
        n => n,
    };
    let plan = plan(&gguf, &graph, &params, threads)?;
    let plan = if args.train.is_some() { training(&args, &gguf, &graph, plan, threads)? } else { plan };
    let totals = [("total", plan.total()), ("total_without_mapped", plan.total_without_mapped())];
    let all = plan.classes().into_iter().chain(totals);
    if args.json {
        output::json(&all.map(|(name, bytes)| (name.to_owned(), Value::from(bytes))).collect::<Map<_, _>>().into())?;
    } else {
        let rows: Vec<_> = all.map(|(name, bytes)| vec![name.to_owned(), bytes.to_string(), mib(bytes)]).collect();
        output::table(&["class", ">bytes", ">MiB"], &rows)?;
    }
    Ok(args.budget.map_or(Ok(()), |budget| plan.check(budget))?)
}
