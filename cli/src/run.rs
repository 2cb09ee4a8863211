//! `qorus run`: a text continued, piece by piece.

use crate::allocations;
use crate::args::{self, Ahead, Bf16, Kv, Model, Sampling, Threads};
use crate::failure::{Result, run};
use crate::interrupt::{Also, Interrupt};
use crate::lora::Lora;
use crate::output;
use crate::sink::Sink;
use qorus::Code;
use qorus::engine::generate::Timing;
use qorus::engine::{self, Context, ContextParams, Generate, Outcome};
use qorus::tokenizer::{Encode, Tokenizer};
use serde_json::json;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    sampling: Sampling,
    #[command(flatten)]
    lora: Lora,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    bf16: Bf16,
    /// Tokens to generate at most
    #[arg(short, value_name = "N", default_value_t = 256)]
    n: usize,
    /// Positions of the context: prompt and text [default: as many as the model was trained for, at most 4096]
    #[arg(long, value_name = "N", value_parser = args::count())]
    ctx: Option<usize>,
    #[command(flatten)]
    kv: Kv,
    #[command(flatten)]
    ahead: Ahead,
    /// End before this text; can be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Read special text such as <|im_end|> in the prompt as its token
    #[arg(long)]
    special: bool,
    /// Read the prompt from a file, exactly as it is; `-` is stdin
    #[arg(short, long, value_name = "FILE", conflicts_with = "prompt", required_unless_present = "prompt")]
    file: Option<PathBuf>,
    /// Print one object at the end instead of the text as it comes
    #[arg(long)]
    json: bool,
    /// The text to continue; put `--` before one that begins with `-`
    prompt: Option<String>,
}

pub fn main(args: Args) -> Result {
    let params = args.sampling.params()?;
    let text = args::text(args.prompt, args.file.as_deref())?;
    let interrupt = Interrupt::new()?;
    let runtime = args.threads.runtime(args.bf16.products())?;
    let model = engine::Model::new(&runtime, args.model.open()?)?;
    let prompt = prompt(model.tokenizer()?, &text, args.special)?;
    let (n_ctx, n_outputs) = (args.ctx.unwrap_or(0), args.ahead.outputs());
    let params_ctx = ContextParams { n_ctx, n_outputs, kv: args.kv.ty, ..ContextParams::default() };
    let adapters = args.lora.load(&model)?;
    let mut ctx = Context::new(&model, &adapters.room(params_ctx))?;
    adapters.attach(&mut ctx)?;
    let n_ctx = ctx.params().n_ctx;
    if prompt.len() > n_ctx {
        return run(format_args!(
            "the prompt has {} tokens, the context {n_ctx}: shorten it or give --ctx {} or more",
            prompt.len(),
            prompt.len() + args.n
        ));
    }
    let stops: Vec<&str> = args.stop.iter().map(String::as_str).collect();
    let mut generate = Generate::new(&model, params, &stops)?;
    generate.lookup = args.ahead.lookup;
    let mut draft = args.ahead.draft(&ctx)?;
    let mut sink = Sink::new(&interrupt, Also::set(ctx.cancel_flag()));
    (sink.print, sink.keep) = (!args.json, args.json);
    let before = allocations::count();
    let result = generate.run_with(&mut ctx, draft.as_mut(), 0, &prompt, args.n, &mut sink);
    let allocations = allocations::count() - before - sink.allocations;
    if let Some(e) = sink.error {
        return Err(e.into());
    }
    let (outcome, timing) = match result {
        Err(e) if e.code() == Code::Cancelled => return run("interrupted before the first token"),
        other => other?,
    };
    if args.json {
        return output::json(&json!({
            "text": sink.text,
            "tokens": sink.tokens,
            "prompt_tokens": timing.prompt_tokens,
            "isa": runtime.kernels.isa().name(),
            "prefill_tokens_per_s": timing.prefill_rate(),
            "decode_tokens_per_s": timing.decode_rate(),
            "allocations_after_setup": allocations,
            "log_probs": sink.log_probs.iter().copied().map(output::float).collect::<Vec<_>>(),
            "proposed_tokens": timing.proposed,
            "accepted_tokens": timing.accepted,
            "end": end_name(outcome),
            "seed": params.seed,
            "threads": runtime.pool.len(),
        }));
    }
    if io::stdout().is_terminal() {
        writeln!(io::stdout())?;
    }
    summary(outcome, timing);
    Ok(())
}

/// The prompt's tokens. What goes behind a whole text is left out: the text goes on.
pub fn prompt(tokenizer: &Tokenizer, text: &str, special: bool) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    tokenizer.encode_each(text, Encode { bos: true, special }, |id| {
        ids.push(id);
        Ok(())
    })?;
    if tokenizer.adds_eos() {
        ids.pop();
    }
    if ids.is_empty() {
        return run("the prompt has no tokens, so there is nothing to continue: give a text");
    }
    Ok(ids)
}

/// Why a generation ended, in JSON.
fn end_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::End => "end",
        Outcome::Stop => "stop",
        Outcome::Length => "length",
        Outcome::ContextFull => "context_full",
        Outcome::Halted => "interrupted",
    }
}

/// One line for whoever watches.
fn summary(outcome: Outcome, timing: Timing) {
    let mut err = io::stderr();
    if err.is_terminal() {
        let hint = if outcome == Outcome::ContextFull { "; the context is full: --ctx makes it longer" } else { "" };
        let _ = writeln!(
            err,
            "prompt: {} tokens, {:.1} per second; generated: {} tokens, {:.1} per second{hint}",
            timing.prompt_tokens,
            timing.prefill_rate(),
            timing.tokens,
            timing.decode_rate(),
        );
    }
}
