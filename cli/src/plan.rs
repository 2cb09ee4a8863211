//! `qorus plan`: how much memory a model will take, from its metadata alone.

use crate::args;
use crate::failure::Result;
use crate::lora::Lora;
use crate::output::{self, mib};
use crate::train::config::Activations;
use qorus::adapter::Kind;
use qorus::engine::generate::DEFAULT_LOOKUP;
use qorus::engine::{ContextParams, plan};
use qorus::gguf::Gguf;
use qorus::layers::keep::Keep;
use qorus::memory::Plan;
use qorus::models::Graph;
use qorus::train::fit::{Fitted, Task};
use qorus::train::optim::{Betas, Method};
use qorus::train::{AdapterParams, TrainerParams};
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
    /// Plan for training: full trains every weight, lora an adapter. With --budget, fewer sequences of a pass, recomputation and fewer logits
    /// at once are chosen until it fits
    #[arg(long, value_name = "WHAT", value_parser = ["full", "lora"])]
    train: Option<String>,
    /// The adapter's rank
    #[arg(long, value_name = "R", requires = "train", default_value_t = 16, value_parser = args::count())]
    rank: usize,
    /// The adapter's kind: lora, rslora or dora
    #[arg(long, value_name = "KIND", requires = "train", default_value = "lora", value_parser = args::adapter_kind)]
    kind: Kind,
    /// What the adapter is on, as in q,v: q, k, v, o, gate, up, down, experts, shared, head [default: all but the head]
    #[arg(long, value_name = "NAMES", requires = "train", value_delimiter = ',')]
    targets: Vec<String>,
    /// The optimizer: adamw, adamw8 (moments of 8 bits), adam or sgd
    #[arg(long, value_name = "NAME", requires = "train", default_value = "adamw", value_parser = ["adamw", "adamw8", "adam", "sgd"])]
    optimizer: String,
    /// What is kept of a forward pass for the way back
    #[arg(long, requires = "train", value_name = "HOW", default_value = "f32")]
    activations: Activations,
    #[command(flatten)]
    lora: Lora,
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

/// The plan of a trainer and the model it trains, and what was chosen to fit.
fn training(args: &Args, gguf: &Gguf, graph: &Graph, base: Plan, threads: usize) -> Result<Fitted> {
    let longest = args.ctx.unwrap_or(if graph.ctx_train == 0 { 1024 } else { graph.ctx_train.min(4096) });
    let betas = Betas::default();
    let lora = args.train.as_deref() == Some("lora");
    let adapter =
        AdapterParams { kind: args.kind, rank: args.rank, targets: args.targets.clone(), ..AdapterParams::default() };
    let params = TrainerParams {
        longest,
        keep: args.activations.keep(),
        method: match args.optimizer.as_str() {
            "adamw8" => Method::AdamW8(betas),
            "adam" => Method::Adam(betas),
            "sgd" => Method::Sgd { momentum: 0.0, nesterov: false },
            _ => Method::AdamW(betas),
        },
        adapter: lora.then_some(adapter),
        sparse: true,
        budget: args.budget.unwrap_or(0),
        ..TrainerParams::default()
    };
    let task = Task { gguf, graph, base, threads, batch: args.batch.unwrap_or(1), counts: 0 };
    Ok(task.fit(&params, |_| !lora)?)
}

/// What was chosen, in a sentence.
pub fn describe(f: &Fitted) -> String {
    let (micro, passes) = (f.micro, f.params.passes);
    let branches = match f.params.keep {
        Keep::F32 => "kept",
        Keep::Bf16 => "kept in bf16",
        Keep::Inputs => "computed again on the way back",
    };
    let logits = match f.params.slice {
        0 if f.params.counts > 0 => {
            format!(
                "logits of the {} rows with a target at most, or as many as take 32 MB (128 at least, of a head not stored as F32)",
                f.params.counts
            )
        }
        0 => "as many rows of logits at once as take 32 MB (128 at least, of a head not stored as F32)".to_owned(),
        n => format!("{n} rows of logits at once"),
    };
    let many = |n: usize, one: &str, more: &str| format!("{n} {}", if n == 1 { one } else { more });
    let (micro, passes) = (many(micro, "sequence", "sequences"), many(passes, "pass", "passes"));
    format!("{micro} in a pass, {passes} in a step; branches are {branches}; {logits}")
}

pub fn main(args: Args) -> Result {
    let gguf = Gguf::open(&args.model)?;
    let graph = Graph::from_gguf(&gguf)?;
    let adapters = args.lora.need(&gguf, &graph)?;
    let params = ContextParams {
        n_ctx: args.ctx.unwrap_or(0),
        n_batch: args.batch.unwrap_or(ContextParams::default().n_batch),
        n_seqs: args.seqs,
        n_outputs: args.seqs.max(args.lookup + 1),
        kv: args.kv.ty,
        adapters: args.lora.files.len(),
        rank: adapters.rank,
        ..ContextParams::default()
    };
    let threads = match args.threads.get() {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
        n => n,
    };
    let plan = Plan { adapters: adapters.bytes, ..plan(&gguf, &graph, &params, threads)? };
    let fitted = args.train.as_ref().map(|_| training(&args, &gguf, &graph, plan, threads)).transpose()?;
    let plan = fitted.as_ref().map_or(plan, |fitted| fitted.plan);
    let totals = [("total", plan.total()), ("total_without_mapped", plan.total_without_mapped())];
    let all = plan.classes().into_iter().chain(totals);
    if args.json {
        let mut object: Map<_, _> = all.map(|(name, bytes)| (name.to_owned(), Value::from(bytes))).collect();
        if let Some(f) = &fitted {
            object.insert("sequences_per_pass".into(), f.micro.into());
            object.insert("passes_per_step".into(), f.params.passes.into());
            object.insert("activations_as".into(), f.params.keep.name().into());
            object.insert("logits_rows".into(), f.params.slice.into());
        }
        output::json(&object.into())?;
    } else {
        let rows: Vec<_> = all.map(|(name, bytes)| vec![name.to_owned(), bytes.to_string(), mib(bytes)]).collect();
        output::table(&["class", ">bytes", ">MiB"], &rows)?;
        if let Some(f) = &fitted {
            println!("\n{}.", describe(f));
        }
    }
    Ok(args.budget.map_or(Ok(()), |budget| plan.check(budget))?)
}
