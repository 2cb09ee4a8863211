//! Language models: from nothing, with a vocabulary of the text's own, or going on with a model.

use super::config::{Config, Fill, Format, Model, Tokens};
use super::folder::{Begin, Folder};
use super::watch::{Watcher, Writes};
use super::{config, done, end_name, held};
use crate::failure::{Failure, Result, run};
use crate::output::{self, mib};
use qorus::Type;
use qorus::engine::{self, Context, ContextParams, Generate, Hooks, Piece, Runtime, SamplerParams};
use qorus::gguf::Gguf;
use qorus::layers::trained::Snapshot;
use qorus::models::Graph;
use qorus::tokenizer::Tokenizer;
use qorus::train::data::vocab::{BpeParams, characters, train_bpe};
use qorus::train::data::{self, BatchParams, Batches, Ids, Part, Source, Split, prepare};
use qorus::train::init::{self, Shape};
use qorus::train::run::{EXTENSION, End, Run};
use qorus::train::{Feed, Objective, Trainer, TrainerParams, checkpoint, export};
use serde_json::json;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

/// Runs a description of kind `text`.
pub fn main(config: &Config, source: &str, begin: Begin, threads: usize, json: bool) -> Result {
    let held = held::by_signals()?;
    let folder = Folder::new(&config.out, source, begin)?;
    let runtime = config.train.runtime(threads)?;
    let start = start(config, &folder, json)?;
    let gguf = Arc::new(Gguf::open(&start)?);
    let model = model(&runtime, &gguf, config)?;
    let tokenizer = model.tokenizer()?;
    let ids = Arc::new(ids(config, &folder, &gguf, tokenizer, json)?);
    let length = length(config, &model.graph)?;
    let (micro, accumulate) = config.train.passes()?;
    let params = TrainerParams {
        rows: micro.saturating_mul(length),
        longest: length,
        passes: accumulate,
        keep: config.train.activations.keep(),
        objective: Objective::Classes { smoothing: config.train.smoothing, weights: None },
        method: config.train.method(),
        groups: config.train.groups(),
        sparse: true,
        seed: config.train.seed,
        budget: config.train.budget()?,
        ..TrainerParams::default()
    };
    let freeze = config.model.as_ref().map_or(&[][..], |m| &m.freeze);
    let mut trainer = Trainer::new(&model, &params, |name| !freeze.iter().any(|f| matches(f, name)))?;
    let (mut feed, mut kept) = feeds(config, &ids, micro, length)?;
    let epoch = feed.tokens() as f64 / (params.rows * accumulate) as f64;
    let rules = config.train.run(accumulate, epoch, folder.path())?;
    let validates = rules.validate_every > 0;
    if !json {
        let plan = trainer.reserved();
        let weights: usize = trainer.trained().list().iter().map(|t| t.len).sum();
        say(&format!(
            "{weights} weights to train on {} tokens ({} for validation), {} steps of {} tokens; {} MiB of memory beside the file, \
             {} threads, {}",
            feed.tokens(),
            kept.as_ref().map_or(0, Batches::tokens),
            rules.steps,
            params.rows * accumulate,
            mib(plan.total_without_mapped()),
            runtime.pool.len(),
            runtime.kernels.isa().name()
        ));
    }
    let bytes = ids.key().bytes as f64 / ids.tokens().max(1) as f64;
    let sampler = sampler(config, &model)?;
    let validation = kept.as_mut().filter(|_| validates).map(|v| v as &mut dyn Feed);
    let mut run = Run::new(&mut trainer, &mut feed, validation, &rules)?;
    if let Some(path) = &folder.resume {
        run.resume(path)?;
        if !json {
            say(&format!("going on from {}, step {}", path.display(), run.step()));
        }
    }
    let mut watcher = Watcher::new(&folder, (run.step(), rules.steps), json, Some(bytes), sampler)?;
    let result = run.go(&held, &mut watcher);
    let (train, validation, speed) = watcher.finish()?;
    let summary = result?;
    let best = folder.file(&format!("best.{EXTENSION}"));
    if validates && best.exists() && summary.end != End::Stopped {
        checkpoint::load(&best, &mut trainer)?;
    }
    let path = folder.file("model.gguf");
    export::export(&trainer, &path, export_type(config)?)?;
    let end = end_name(&summary);
    if json {
        let mut done = done(&runtime, &summary, &path, (&train, &validation), speed);
        done["val_bits_per_byte"] = json!(summary.best.map(|loss| loss / std::f64::consts::LN_2 / bytes));
        return output::json(&done);
    }
    let best = summary.best.map_or(String::new(), |loss| {
        format!(", best validation {loss:.4} ({:.3} bits per byte)", loss / std::f64::consts::LN_2 / bytes)
    });
    say(&format!("{end} at step {}{best}; {speed:.0} tokens per second", summary.step));
    output::line(&format!("{}", path.display()))
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether a name is meant: the pattern itself, or where that ends in `*`, what begins so.
fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |head| name.starts_with(head))
}

/// The file that the run begins with: the base, or one of random values that is made in the folder.
fn start(config: &Config, folder: &Folder, json: bool) -> Result<PathBuf> {
    let Some(model) = &config.model else {
        return run("the section [model] is missing: give base = \"FILE.gguf\", or the sizes of a new model");
    };
    if let Some(base) = &model.base {
        return Ok(base.clone());
    }
    let path = folder.file("start.gguf");
    if folder.resume.is_some() && path.exists() {
        return Ok(path);
    }
    let shape = shape(model)?;
    let Some(wanted) = &config.vocabulary else {
        return run("the section [vocabulary] is missing: a new model needs kind = \"characters\" or \"bpe\"");
    };
    let vocabulary = match wanted.kind {
        Tokens::Characters => characters(&config.data.files)?,
        Tokens::Bpe => {
            let params = BpeParams { specials: wanted.special.clone(), ..BpeParams::new(wanted.size) };
            let bar = if json { indicatif::ProgressBar::hidden() } else { output::progress(0) };
            bar.set_message("vocabulary");
            let made = train_bpe(&config.data.files, &params, &mut |done, of| {
                bar.set_length(of);
                bar.set_position(done);
                true
            })?;
            bar.finish_and_clear();
            made
        }
    };
    let file = folder.file("vocabulary.gguf");
    vocabulary.save(&file)?;
    init::llama(&shape, &Gguf::open(&file)?, config.train.seed, &path)?;
    Ok(path)
}

fn shape(model: &Model) -> Result<Shape> {
    let need = |name: &str, value: Option<usize>| match value {
        Some(n) => Ok(n),
        None => run(format_args!("model.{name} is missing: a new model needs layers, width, heads and context")),
    };
    let (width, heads) = (need("width", model.width)?, need("heads", model.heads)?);
    if heads == 0 || width % heads != 0 {
        return run(format_args!("model.width = {width} is no multiple of model.heads = {heads}"));
    }
    Ok(Shape {
        layers: need("layers", model.layers)?,
        width,
        heads,
        kv_heads: model.kv_heads.unwrap_or(heads),
        head_dim: width / heads,
        // Two thirds of four times the width, as llama has it (arXiv 2302.13971), in whole vectors.
        ffn: model.ffn.unwrap_or((width * 8 / 3).next_multiple_of(32)),
        ctx: need("context", model.context)?,
        rope_base: 10_000.0,
        eps: 1e-5,
        tied: model.tied,
    })
}

/// The model, with layers that drop elements where that is wanted.
fn model(runtime: &Arc<Runtime>, gguf: &Arc<Gguf>, config: &Config) -> Result<Arc<engine::Model>> {
    let model = engine::Model::new(runtime, Arc::clone(gguf))?;
    let rate = config.model.as_ref().map_or(0.0, |m| m.dropout);
    if rate == 0.0 {
        return Ok(model);
    }
    let mut model = Arc::into_inner(model).ok_or_else(|| Failure::Run("the model is in use".into()))?;
    model.graph.add_dropout(rate)?;
    Ok(Arc::new(model))
}

/// Tokens of a sequence.
fn length(config: &Config, graph: &Graph) -> Result<usize> {
    let most = graph.ctx_train;
    let length = config.train.length.unwrap_or(most);
    if length == 0 || (most > 0 && length > most) {
        return run(format_args!(
            "train.length = {length}: the model's context has {most} positions, give 1 to {most}"
        ));
    }
    Ok(length)
}

/// The text as ids, made once.
fn ids(config: &Config, folder: &Folder, gguf: &Gguf, tokenizer: &Tokenizer, json: bool) -> Result<Ids> {
    let files = &config.data.files;
    let source = match config.data.format {
        Format::Text => Source::text(files),
        Format::Jsonl => Source::jsonl(files),
    };
    let bar = if json { indicatif::ProgressBar::hidden() } else { output::progress_bytes() };
    bar.set_message("reading");
    let ids = prepare(&source, gguf, tokenizer, &folder.file("data.ids"), &mut |done, of| {
        bar.set_length(of);
        bar.set_position(done);
        true
    })?;
    bar.finish_and_clear();
    Ok(ids)
}

/// What is learned from, and what is kept.
fn feeds(config: &Config, ids: &Arc<Ids>, micro: usize, length: usize) -> Result<(Batches, Option<Batches>)> {
    let fill = match (config.data.fill, config.data.format) {
        (Some(Fill::Windows), _) | (None, Format::Text) => data::Fill::Windows,
        (Some(Fill::Cut), _) => data::Fill::Cut,
        (Some(Fill::Whole), _) | (None, Format::Jsonl) => data::Fill::Whole,
    };
    let share = config.data.validation;
    let split = match (share > 0.0, config.data.format) {
        (false, _) => Split::None,
        (true, Format::Text) => Split::Tail { share },
        (true, Format::Jsonl) => Split::Hash { share, seed: config.train.seed },
    };
    let params = BatchParams { split, seed: config.train.seed, ..BatchParams::train(micro, length, fill) };
    let feed = Batches::new(Arc::clone(ids), &params)?;
    let kept = BatchParams { part: Part::Validation, ..params }.validation();
    let kept = if share > 0.0 { Some(Batches::new(Arc::clone(ids), &kept)?) } else { None };
    Ok((feed, kept))
}

fn export_type(config: &config::Config) -> Result<Option<Type>> {
    let Some(name) = &config.export.ty else { return Ok(None) };
    match Type::from_name(name) {
        Some(ty) => Ok(Some(ty)),
        None => run(format_args!("export.type = {name:?}: no such type; F32, F16, BF16 and Q8_0 are some")),
    }
}

/// Texts of the weights as they are.
struct Sampler {
    every: u64,
    tokens: usize,
    start: String,
    prompt: Vec<u32>,
    ctx: Context,
    generate: Generate,
    snapshot: Option<Arc<Snapshot>>,
}

struct Text(String);

impl Hooks for Text {
    fn piece(&mut self, piece: Piece<'_>) -> bool {
        self.0.push_str(piece.text);
        true
    }

    fn rest(&mut self, text: &str) {
        self.0.push_str(text);
    }
}

impl Writes for Sampler {
    fn sample(&mut self, step: u64, trainer: &Trainer) -> qorus::Result<Option<String>> {
        if !step.is_multiple_of(self.every) {
            return Ok(None);
        }
        let mut snapshot = match self.snapshot.take() {
            Some(snapshot) => snapshot,
            None => Arc::new(trainer.snapshot()?),
        };
        if let Some(snapshot) = Arc::get_mut(&mut snapshot) {
            trainer.update(snapshot)?;
        }
        self.ctx.set_snapshot(Some(snapshot))?;
        let mut text = Text(String::new());
        let result = self.generate.run(&mut self.ctx, 0, &self.prompt, self.tokens, &mut text);
        self.snapshot = self.ctx.set_snapshot(None)?;
        result.map(|_| Some(format!("{}{}", self.start, text.0)))
    }
}

fn sampler(config: &Config, model: &Arc<engine::Model>) -> Result<Option<Box<dyn Writes>>> {
    let sample = &config.sample;
    if sample.every == 0 {
        return Ok(None);
    }
    let tokens = if sample.tokens == 0 { 200 } else { sample.tokens };
    let text = if sample.prompt.is_empty() { "\n" } else { &sample.prompt };
    let prompt = crate::run::prompt(model.tokenizer()?, text, true)?;
    let n_ctx = model.graph.ctx_train.max(prompt.len() + 1);
    let ctx = Context::new(model, &ContextParams { n_ctx, ..ContextParams::default() })?;
    let temperature = if sample.temperature == 0.0 { 0.8 } else { sample.temperature };
    let params = SamplerParams { temperature, seed: config.train.seed, ..SamplerParams::default() };
    let generate = Generate::new(model, params, &[])?;
    Ok(Some(Box::new(Sampler {
        every: sample.every,
        tokens,
        start: text.to_owned(),
        prompt,
        ctx,
        generate,
        snapshot: None,
    })))
}
