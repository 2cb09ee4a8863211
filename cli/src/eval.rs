//! `qorus eval`: perplexity, as it is commonly reported for GGUF files.
//!
//! The whole text is encoded at once, with BOS before it where the model adds one; special text counts as text. It is cut
//! into chunks of `ctx` tokens, an incomplete last one is dropped. Each chunk is run alone, its first token replaced by
//! BOS where the model adds one. Counted are the predictions of its tokens `ctx/2 + 1` to `ctx - 1`: the first half is
//! there to be looked back at. A text shorter than one chunk is taken whole, and all tokens but its first are counted.

use crate::args::{self, Bf16, Kv, Model, Threads};
use crate::failure::{Result, run};
use crate::lora::Lora;
use crate::output;
use qorus::engine::{self, Context, ContextParams, Token, sampler};
use qorus::tokenizer::Encode;
use serde_json::json;
use std::io::Write;
use std::panic::resume_unwind;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    lora: Lora,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    bf16: Bf16,
    /// The text; `-` is stdin
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Tokens of a chunk
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = args::count())]
    ctx: usize,
    #[command(flatten)]
    kv: Kv,
    /// Print one object
    #[arg(long)]
    json: bool,
}

/// Rows whose logits are kept at once: bounds the memory at vocabularies of 200 000 tokens to 50 MB.
const SLICE: usize = 64;

pub fn main(args: Args) -> Result {
    let text = args::text(None, Some(&args.file))?;
    let runtime = args.threads.runtime(args.bf16.products())?;
    let model = engine::Model::new(&runtime, args.model.open()?)?;
    let tokenizer = model.tokenizer()?;
    let mut ids = Vec::new();
    tokenizer.encode_each(&text, Encode { bos: true, special: false }, |id| {
        ids.push(id);
        Ok(())
    })?;
    if ids.len() < 2 || args.ctx < 4 && ids.len() >= args.ctx {
        return run(format_args!(
            "{} tokens in chunks of {}: nothing is left to predict; give a longer text, or --ctx 4 or more",
            ids.len(),
            args.ctx
        ));
    }
    let short = ids.len() < args.ctx;
    let (n_ctx, first) = if short { (ids.len(), 0) } else { (args.ctx, args.ctx / 2) };
    let params = ContextParams { n_ctx, n_outputs: SLICE.min(n_ctx), kv: args.kv.ty, ..ContextParams::default() };
    let adapters = args.lora.load(&model)?;
    let mut ctx = Context::new(&model, &adapters.room(params))?;
    adapters.attach(&mut ctx)?;
    let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
    let (mut nll, mut count, chunks) = (0.0, 0, ids.len() / n_ctx);
    let bar = output::progress(chunks);
    for chunk in ids.chunks_exact_mut(n_ctx) {
        chunk[0] = bos.unwrap_or(chunk[0]);
        ctx.truncate(0, 0)?;
        nll += chunk_nll(&mut ctx, chunk, first, runtime.pool.len())?;
        count += n_ctx - 1 - first;
        bar.set_message(format!("perplexity {:.4}", (nll / count as f64).exp()));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let per_token = nll / count as f64;
    if short {
        let (n, ctx) = (ids.len(), args.ctx);
        let _ = writeln!(std::io::stderr(), "The text has {n} tokens, fewer than one chunk of {ctx}: all are counted.");
    }
    if args.json {
        return output::json(&json!({
            "perplexity": per_token.exp(),
            "nll_per_token": per_token,
            "tokens": count,
            "chunks": chunks,
            "ctx": n_ctx,
            "isa": runtime.kernels.isa().name(),
        }));
    }
    let rows = [
        ("perplexity", format!("{:.4}", per_token.exp())),
        ("nll_per_token", format!("{per_token:.6}")),
        ("tokens", count.to_string()),
        ("chunks", chunks.to_string()),
    ];
    let mut out = std::io::stdout().lock();
    rows.iter().try_for_each(|(name, value)| writeln!(out, "{name:14} {value}"))?;
    Ok(())
}

/// The sum of the negative log-likelihoods of the tokens behind index `first`.
fn chunk_nll(ctx: &mut Context, chunk: &[u32], first: usize, threads: usize) -> Result<f64> {
    let token = |i: usize, logits| Token { id: chunk[i], seq: 0, pos: i as u32, logits };
    let head: Vec<Token> = (0..first).map(|i| token(i, false)).collect();
    if first > 0 {
        ctx.decode(&head)?;
    }
    let (last, slice) = (chunk.len() - 1, ctx.params().n_outputs);
    let mut sum = 0.0;
    for from in (first..last).step_by(slice) {
        let to = last.min(from + slice);
        let part: Vec<Token> = (from..to).map(|i| token(i, true)).collect();
        ctx.decode(&part)?;
        sum += rows_nll(ctx, &chunk[from + 1..=to], threads)?;
    }
    Ok(sum)
}

/// The same for the rows of logits that `ctx` keeps, whose next tokens are `targets`. They are added in order whatever the
/// number of threads.
fn rows_nll(ctx: &Context, targets: &[u32], threads: usize) -> Result<f64> {
    let rows = (0..targets.len()).map(|i| ctx.logits(i)).collect::<qorus::Result<Vec<_>>>()?;
    let mut nlls = vec![0.0; rows.len()];
    let share = rows.len().div_ceil(threads);
    let fill = |nlls: &mut [f64], rows: &[&[f32]], targets: &[u32]| -> qorus::Result<()> {
        for ((nll, row), &target) in nlls.iter_mut().zip(rows).zip(targets) {
            *nll = -f64::from(sampler::log_prob(row, target)?);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let parts = nlls.chunks_mut(share).zip(rows.chunks(share)).zip(targets.chunks(share));
        let workers: Vec<_> =
            parts.map(|((nlls, rows), targets)| scope.spawn(move || fill(nlls, rows, targets))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })?;
    Ok(nlls.iter().sum())
}
