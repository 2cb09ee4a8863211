//! `qorus finetune`: an adapter for a model of any storage type, from examples; the model stays mapped and as it is.

mod data;
mod method;
mod settings;

use crate::args::{self, Bf16, Threads};
use crate::bench::rss;
use crate::failure::{Result, run};
use crate::output::{self, mib};
use crate::train::folder::{Begin, Folder};
use crate::train::watch::Watcher;
use crate::train::{done, end_name, held};
use data::Feeds;
use qorus::adapter::{Adapter, Kind, base_hash};
use qorus::engine::{self, ContextParams};
use qorus::gguf::Gguf;
use qorus::train::control::Control;
use qorus::train::fit::{Fitted, Task};
use qorus::train::run::{EXTENSION, End, Run};
use qorus::train::{Trainer, TrainerParams, checkpoint};
use serde_json::json;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(clap::Args)]
pub struct Args {
    /// The base, a GGUF file; of a split model, its first part
    #[arg(short, long, value_name = "FILE")]
    model: PathBuf,
    /// JSON lines: {"messages": [...]}, {"prompt", "completion"} or {"text"}; for dpo {"prompt" or "messages", "chosen", "rejected"}, for
    /// kto answers with "label": true or false; can be given several times
    #[arg(long, value_name = "FILE", required = true)]
    data: Vec<PathBuf>,
    /// The adapter to write, a GGUF file; a name without .gguf is a folder as PEFT has it
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    method: method::What,
    /// The adapter's rank
    #[arg(long, value_name = "R", default_value_t = 16, value_parser = args::count())]
    rank: usize,
    /// The numerator of the adapter's scale [default: twice the rank]
    #[arg(long, value_name = "A")]
    alpha: Option<f32>,
    /// The adapter's kind: lora, rslora or dora
    #[arg(long, value_name = "KIND", default_value = "lora", value_parser = args::adapter_kind)]
    kind: Kind,
    /// What the adapter is on, as in q,v: q, k, v, o, gate, up, down, experts, shared, head [default: all but the head]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    targets: Vec<String>,
    /// The probability that an element of the adapter's inputs is dropped
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    dropout: f32,
    /// Begin with an adapter that is there, of the same rank, kind and targets
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    #[command(flatten)]
    data_args: data::Data,
    #[command(flatten)]
    settings: settings::Settings,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    bf16: Bf16,
    /// Go on with the run beside the output, if there is one
    #[arg(long, conflicts_with = "restart")]
    resume: bool,
    /// Begin anew, over a run that is there
    #[arg(long)]
    restart: bool,
    /// Print an object for each step, and one at the end
    #[arg(long)]
    json: bool,
}

pub fn main(args: Args) -> Result {
    let held = held::by_signals()?;
    let begin = match (args.resume, args.restart) {
        (true, _) => Begin::Resume,
        (_, true) => Begin::Restart,
        _ => Begin::New,
    };
    let program = rss::resident().unwrap_or(0) as usize;
    let runtime = args.threads.runtime(args.bf16.products())?;
    let gguf = Arc::new(Gguf::open(&args.model)?);
    let model = engine::Model::new(&runtime, Arc::clone(&gguf))?;
    let from = args.from.as_ref().map(|path| Adapter::open(path, &gguf)).transpose()?;
    let length = args.data_args.length(&model.graph)?;
    let folder = Folder::new(&run_folder(&args.output), &args.describe(length), begin)?;
    tune(&args, &model, &folder, (length, from.as_ref()), (&held, program)).inspect_err(|_| folder.discard_unbegun())
}

/// The run in its folder. `program` are the bytes that the program itself took before anything was opened.
fn tune(
    args: &Args,
    model: &Arc<engine::Model>,
    folder: &Folder,
    (length, from): (usize, Option<&Adapter>),
    (held, program): (&Control, usize),
) -> Result {
    let runtime = &model.runtime;
    let Some(gguf) = &model.gguf else { return run("the model has no file") };
    let ids = Arc::new(args.data_args.ids(
        args.method.kind(),
        &args.data,
        folder,
        gguf,
        model.tokenizer()?,
        length,
        args.json,
    )?);
    let fitted = args.fit(model, length, ids.counts_at_most(length))?;
    let mut trainer = Trainer::new(model, &fitted.params, |_| false)?;
    if let Some(from) = from {
        trainer.set_adapter(from)?;
    }
    let teacher = args.method.teacher(runtime, &ids, folder, length, args.json)?;
    let mut feeds =
        Feeds::new(&args.data_args, &ids, args.method.kind(), (fitted.micro, length), (args.settings.seed, teacher))?;
    let step = fitted.params.rows * fitted.params.passes;
    let rules =
        args.settings.run(fitted.params.passes, feeds.tokens as f64 / step as f64, folder.path(), feeds.validates())?;
    if !args.json {
        args.say(&trainer, &fitted, &ids, &feeds, &rules);
    }
    let (feed, kept) = feeds.both();
    let mut run = Run::new(&mut trainer, feed, kept, &rules)?;
    if let Some(path) = &folder.resume {
        run.resume(path)?;
        if !args.json {
            say(&format!("going on from {}, step {}", path.display(), run.step()));
        }
    }
    let mut watcher = Watcher::new(folder, (run.step(), rules.steps), args.json, None, None)?;
    let result = run.go(held, &mut watcher);
    let (train, validation, speed) = watcher.finish()?;
    let summary = result?;
    let best = folder.file(&format!("best.{EXTENSION}"));
    if rules.validate_every > 0 && best.exists() && summary.end != End::Stopped {
        checkpoint::load(&best, &mut trainer)?;
    }
    // The file of ids is mapped too.
    let data = std::fs::metadata(folder.file("data.ids")).map_or(0, |file| file.len() as usize);
    let planned = trainer.reserved().total() + data + program;
    let adapter = Adapter { base: Some(base_hash(gguf)), ..trainer.into_adapter()? };
    match args.output.extension().is_some_and(|e| e == "gguf") {
        true => adapter.write(&args.output)?,
        false => adapter.write_peft(&args.output, gguf)?,
    }
    let peak = rss::peak();
    if args.json {
        let mut done = done(runtime, &summary, &args.output, (&train, &validation), speed);
        done["adapter"] = json!(args.output);
        done["peak_rss_bytes"] = json!(peak);
        done["planned_bytes"] = json!(planned);
        return output::json(&done);
    }
    let best = summary.best.map_or(String::new(), |loss| format!(", best validation {loss:.4}"));
    say(&format!(
        "{} at step {}{best}; {speed:.0} tokens per second, {} MiB of memory at most, {} were planned",
        end_name(&summary),
        summary.step,
        peak.map_or("?".into(), |bytes| mib(bytes as usize)),
        mib(planned)
    ));
    output::line(&format!("{}", args.output.display()))
}

/// Where checkpoints, log and curve of a run lie: beside what it writes.
fn run_folder(output: &std::path::Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(".run");
    output.with_file_name(name)
}

impl Args {
    fn alpha(&self) -> f32 {
        self.alpha.unwrap_or(2.0 * self.rank as f32)
    }

    /// What fits the budget, of data that has so many targets in a row at most.
    fn fit(&self, model: &engine::Model, length: usize, counts: usize) -> Result<Fitted> {
        let gguf = model.gguf.as_deref().ok_or_else(|| crate::failure::Failure::Run("the model has no file".into()))?;
        let threads = model.runtime.pool.len();
        let base = engine::plan(gguf, &model.graph, &ContextParams { n_ctx: 1, ..ContextParams::default() }, threads)?;
        let adapter = qorus::train::AdapterParams {
            kind: self.kind,
            rank: self.rank,
            alpha: self.alpha(),
            dropout: self.dropout,
            targets: self.targets.clone(),
        };
        let params = self.settings.trainer(adapter, self.method.objective(), length);
        // Pairs are two sequences that stay together.
        let two = if self.method.kind().is_paired() { 2 } else { 1 };
        let params = TrainerParams { longest: two * length, ..params };
        let task = Task { gguf, graph: &model.graph, base, threads, batch: self.settings.batch, counts: two * counts };
        let mut fitted = task.fit(&params, |_| false)?;
        fitted.params.longest = length;
        Ok(fitted)
    }

    /// The settings as a file keeps them beside the run.
    fn describe(&self, length: usize) -> String {
        let files: Vec<String> = self.data.iter().map(|f| format!("{:?}", f.display().to_string())).collect();
        format!(
            "model = {:?}\ndata = [{}]\n{}kind = \"{}\"\nrank = {}\nalpha = {}\ntargets = {:?}\ndropout = {}\nlength = {length}\n{}{}",
            self.model.display().to_string(),
            files.join(", "),
            self.method.describe(),
            self.kind.name(),
            self.rank,
            self.alpha(),
            self.targets,
            self.dropout,
            self.data_args.describe(),
            self.settings.describe()
        )
    }

    /// The defaults that were taken and what was chosen, before it begins.
    fn say(
        &self,
        trainer: &Trainer,
        fitted: &Fitted,
        ids: &qorus::train::data::Ids,
        feeds: &Feeds,
        rules: &qorus::train::run::RunParams,
    ) {
        let sites: usize = trainer.trained().list().len() / if self.kind == Kind::Dora { 3 } else { 2 };
        let weights: usize = trainer.trained().list().iter().map(|t| t.len).sum();
        let targets =
            if self.targets.is_empty() { "all linear layers but the head".into() } else { self.targets.join(", ") };
        say(&format!(
            "{} of rank {}, alpha {}, on {targets}: {sites} matrices, {weights} numbers to train",
            self.kind.name(),
            self.rank,
            self.alpha()
        ));
        let sifted = ids.sifted();
        say(&format!(
            "{} samples, {} tokens ({} for validation); left out: {} equal, {} almost equal; cut: {} by {} tokens",
            ids.samples(),
            feeds.tokens,
            feeds.kept_tokens,
            sifted.equal,
            sifted.alike,
            sifted.cut,
            sifted.lost
        ));
        let (p, s) = (&fitted.params, &rules.schedule);
        say(&format!(
            "{} steps of {} passes of {} sequences of {} tokens; rate {:e} after {} steps of warm-up, falling as {}; gradients bounded by {}",
            rules.steps,
            p.passes,
            fitted.micro,
            p.longest,
            s.rate,
            s.warmup,
            self.settings.falls(),
            self.settings.clip
        ));
        let plan = trainer.reserved();
        say(&format!(
            "{} MiB of memory beside the file of {} MiB ({}); {} threads, {}",
            mib(plan.total_without_mapped()),
            mib(plan.weights_mapped),
            crate::plan::describe(fitted),
            trainer.model().runtime.pool.len(),
            trainer.model().runtime.kernels.isa().name()
        ));
    }
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
