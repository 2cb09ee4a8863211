//! `qorus bench`: speed of prefill and decode, and how near to the machine's limit they come.
//!
//! A pass reads every weight once, and it multiplies each with every token: it takes at least the time of reading at the
//! bandwidth, or that of computing at the arithmetic peak, whichever is longer. Both are measured beside it, in the same run
//! and on the same threads. Weights that fit in a cache have a cache's bandwidth.

mod limits;
pub mod rss;

use crate::allocations;
use crate::args::{self, Bf16, Kv, Model};
use crate::failure::Result;
use crate::output;
use limits::{Peaks, Work, bandwidth};
use qorus::Isa;
use qorus::engine::{self, Context, ContextParams, Runtime, Token};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: Model,
    /// Tokens of the prefill; 0: none
    #[arg(short, value_name = "N", default_value_t = 512)]
    p: usize,
    /// Tokens to decode; 0: none
    #[arg(short, value_name = "N", default_value_t = 128)]
    n: usize,
    /// Numbers of threads [default: one for each core]
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', value_parser = args::count())]
    threads: Vec<usize>,
    /// Highest level of instruction sets: scalar, avx2, avxvnni, avx512 or avx512bf16 [default: QORUS_ISA, or what the CPU has]
    #[arg(long, value_name = "LEVEL", value_parser = args::isa)]
    isa: Option<Isa>,
    /// Tokens that are computed together in prefill
    #[arg(short, long, value_name = "N", default_value_t = ContextParams::default().n_batch, value_parser = args::count())]
    batch: usize,
    /// Sequences that are decoded together
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = args::count())]
    seqs: usize,
    #[command(flatten)]
    kv: Kv,
    #[command(flatten)]
    bf16: Bf16,
    /// Measurements of each, of which the median is told
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = args::count())]
    repeat: usize,
    /// Keep each thread but the first on a core of its own
    #[arg(long)]
    pin: bool,
    /// Print an array of objects
    #[arg(long)]
    json: bool,
}

/// What is measured, with the numbers that stay the same.
struct Bench {
    ctx: Context,
    ids: Vec<u32>,
    repeat: usize,
    startup_ms: f64,
    work: Work,
    peaks: Peaks,
}

/// One measurement.
struct Test {
    name: &'static str,
    /// Tokens in all, of how many sequences, in how many passes, and how many of them have logits.
    tokens: usize,
    seqs: usize,
    passes: usize,
    wanted: usize,
}

pub fn main(args: Args) -> Result {
    let gguf = args.model.open()?;
    let threads = if args.threads.is_empty() { vec![0] } else { args.threads };
    let mut rows = Vec::new();
    for threads in threads {
        let start = Instant::now();
        let runtime = Runtime::with_products(threads, args.isa, args.bf16.products())?;
        if args.pin {
            runtime.pool.pin()?;
        }
        let model = engine::Model::new(&runtime, Arc::clone(&gguf))?;
        let n_ctx = args.p.max(args.n + 1);
        let params = ContextParams {
            n_ctx,
            n_batch: args.batch.max(args.seqs),
            n_seqs: args.seqs,
            n_outputs: args.seqs,
            kv: args.kv.ty,
            ..ContextParams::default()
        };
        let ctx = Context::new(&model, &params)?;
        let startup_ms = start.elapsed().as_secs_f64() * 1e3;
        let vocab = model.graph.vocab().max(1) as u64;
        let ids = (0..n_ctx as u64).map(|i| (i * 7919 % vocab) as u32).collect();
        let (work, peaks) = (Work::of(&gguf)?, Peaks::measure(&runtime)?);
        let mut bench = Bench { ctx, ids, repeat: args.repeat, startup_ms, work, peaks };
        if args.p > 0 {
            rows.push(bench.prefill(args.p, args.batch)?);
        }
        if args.n > 0 {
            rows.push(bench.decode(args.n, args.seqs)?);
        }
    }
    if args.json { output::json(&rows.into()) } else { print(&rows) }
}

impl Bench {
    fn prefill(&mut self, tokens: usize, batch: usize) -> Result<Value> {
        let test = Test { name: "prefill", tokens, seqs: 1, passes: tokens.div_ceil(batch), wanted: 1 };
        self.measure(test, |ctx, ids| {
            ctx.truncate(0, 0)?;
            ctx.append(0, &ids[..tokens])
        })
    }

    fn decode(&mut self, steps: usize, seqs: usize) -> Result<Value> {
        let tokens = steps * seqs;
        let mut batch = vec![Token { id: 0, seq: 0, pos: 0, logits: true }; seqs];
        self.measure(Test { name: "decode", tokens, seqs, passes: steps, wanted: tokens }, move |ctx, ids| {
            (0..seqs).try_for_each(|seq| ctx.truncate(seq, 0))?;
            (0..steps).try_for_each(|step| {
                for (seq, token) in batch.iter_mut().enumerate() {
                    let id = ids[(step + seq) % ids.len()];
                    *token = Token { id, seq: seq as u32, pos: step as u32, logits: true };
                }
                ctx.decode(&batch)
            })
        })
    }

    /// The median of the times that `run` takes, as a row of the report.
    fn measure(&mut self, test: Test, mut run: impl FnMut(&mut Context, &[u32]) -> qorus::Result<()>) -> Result<Value> {
        rss::reset();
        let mut times = Vec::with_capacity(self.repeat);
        let before = allocations::count();
        run(&mut self.ctx, &self.ids)?; // pages come in, the clock goes up
        let (mut allocations, mut limit) = (allocations::count() - before, 0.0f64);
        for _ in 0..self.repeat {
            let (before, start) = (allocations::count(), Instant::now());
            run(&mut self.ctx, &self.ids)?;
            times.push(start.elapsed().as_secs_f64());
            allocations += allocations::count() - before;
            // In turn with what is measured: on a shared machine the bandwidth of another minute says nothing.
            let model = self.ctx.model();
            if let Some(gguf) = &model.gguf {
                limit = limit.max(bandwidth(&model.runtime, gguf)?);
            }
        }
        times.sort_unstable_by(f64::total_cmp);
        let (median, best) = (times[times.len() / 2], times[0]);
        let (runtime, params) = (&self.ctx.model().runtime, self.ctx.params());
        let (tokens, work, peaks) = (test.tokens as f64, &self.work, &self.peaks);
        // A sequence's tokens look at half of its length each, on average.
        let looked_at = tokens * (tokens / test.seqs as f64 + 1.0) / 2.0;
        let cached = self.ctx.reserved().kv_cache as f64 / (params.n_ctx * params.n_seqs) as f64;
        let bytes = work.bytes * test.passes as f64 + if test.name == "decode" { cached * looked_at } else { 0.0 };
        let products = work.layers * tokens + work.head * test.wanted as f64;
        let attention = work.position * looked_at;
        let least = (bytes / limit).max(products / peaks.int8 + attention / peaks.f32);
        Ok(json!({
            "test": test.name,
            "threads": runtime.pool.len(),
            "seqs": test.seqs,
            "isa": runtime.kernels.isa().name(),
            "tokens": test.tokens,
            "tokens_per_s": tokens / median,
            "best_tokens_per_s": tokens / best,
            "bytes_per_token": (bytes / tokens).round(),
            "gb_per_s": bytes / median / 1e9,
            "gop_per_s": (products + attention) / median / 1e9,
            "share_of_limit": least / median,
            "limit_gb_per_s": limit / 1e9,
            "limit_int8_gop_per_s": peaks.int8 / 1e9,
            "limit_f32_gop_per_s": peaks.f32 / 1e9,
            "allocations_after_setup": allocations,
            "peak_rss_bytes": rss::peak(),
            "private_bytes": rss::private(),
            "startup_ms": self.startup_ms,
        }))
    }
}

fn print(rows: &[Value]) -> Result {
    let number = |row: &Value, name: &str, digits: usize| match row[name].as_f64() {
        Some(x) => format!("{x:.digits$}"),
        None => "-".into(),
    };
    let cells = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        vec![
            text("test"),
            number(row, "threads", 0),
            number(row, "seqs", 0),
            text("isa"),
            number(row, "tokens", 0),
            number(row, "tokens_per_s", 1),
            number(row, "best_tokens_per_s", 1),
            number(row, "gb_per_s", 2),
            number(row, "gop_per_s", 0),
            row["share_of_limit"].as_f64().map_or("-".into(), |x| format!("{:.0} %", x * 100.0)),
            number(row, "allocations_after_setup", 0),
            row["peak_rss_bytes"].as_u64().map_or("-".into(), |b| output::mib(b as usize)),
        ]
    };
    let heads = [
        "test",
        ">threads",
        ">seqs",
        "isa",
        ">tokens",
        ">tokens/s",
        ">best",
        ">GB/s",
        ">Gop/s",
        ">of limit",
        ">allocations",
        ">peak MiB",
    ];
    output::table(&heads, &rows.iter().map(cells).collect::<Vec<_>>())?;
    rows.iter().try_for_each(|row| {
        let names = ["threads", "limit_gb_per_s", "limit_int8_gop_per_s", "limit_f32_gop_per_s"];
        let [threads, bytes, int8, f32] = names.map(|name| number(row, name, 0));
        let test = row["test"].as_str().unwrap_or_default();
        output::line(&format!(
            "limits beside {test} on threads {threads}: {bytes} GB/s, {int8} Gop/s with 8-bit integers, {f32} with f32"
        ))
    })
}
