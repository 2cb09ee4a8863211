//! `qorus bench`: speed of prefill and decode, and how near to the machine's limit decode comes.
//!
//! Decode reads every weight once for each token, so its limit is the bandwidth at which this machine's threads can read
//! those same bytes; that is measured beside it, in the same run and on the same threads. Weights that fit in a cache
//! have a cache's limit.

use crate::allocations;
use crate::args::{self, Kv, Model};
use crate::failure::Result;
use crate::output;
use qorus::Isa;
use qorus::engine::{self, Context, ContextParams, Runtime};
use qorus::gguf::{Gguf, TensorInfo};
use serde_json::{Value, json};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// Highest level of instruction sets: scalar, avx2 or avx512 [default: QORUS_ISA, or what the CPU has]
    #[arg(long, value_name = "LEVEL", value_parser = args::isa)]
    isa: Option<Isa>,
    /// Tokens that are computed together in prefill
    #[arg(short, long, value_name = "N", default_value_t = ContextParams::default().n_batch, value_parser = args::count())]
    batch: usize,
    #[command(flatten)]
    kv: Kv,
    /// Measurements of each, of which the median is told
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = args::count())]
    repeat: usize,
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
    /// Bytes of weights that one pass through the layers reads.
    weights: f64,
    /// Bytes that reading weights comes to per second, at best.
    limit: f64,
}

pub fn main(args: Args) -> Result {
    let gguf = args.model.open()?;
    let threads = if args.threads.is_empty() { vec![0] } else { args.threads };
    let mut rows = Vec::new();
    for threads in threads {
        let start = Instant::now();
        let runtime = Runtime::new(threads, args.isa)?;
        let model = engine::Model::new(&runtime, Arc::clone(&gguf))?;
        let n_ctx = args.p.max(args.n + 1);
        let params = ContextParams { n_ctx, n_batch: args.batch, kv: args.kv.ty, ..ContextParams::default() };
        let ctx = Context::new(&model, &params)?;
        let startup_ms = start.elapsed().as_secs_f64() * 1e3;
        let vocab = model.graph.vocab().max(1) as u64;
        let ids = (0..n_ctx as u64).map(|i| (i * 7919 % vocab) as u32).collect();
        let (weights, limit) = (read_per_pass(&gguf)?, bandwidth(&runtime, &gguf)?);
        let mut bench = Bench { ctx, ids, repeat: args.repeat, startup_ms, weights, limit };
        if args.p > 0 {
            rows.push(bench.prefill(args.p, args.batch)?);
        }
        if args.n > 0 {
            rows.push(bench.decode(args.n)?);
        }
    }
    if args.json { output::json(&rows.into()) } else { print(&rows) }
}

impl Bench {
    fn prefill(&mut self, tokens: usize, batch: usize) -> Result<Value> {
        let passes = tokens.div_ceil(batch) as f64;
        self.measure("prefill", tokens, passes, |ctx, ids| {
            ctx.truncate(0, 0)?;
            ctx.append(0, &ids[..tokens])
        })
    }

    fn decode(&mut self, tokens: usize) -> Result<Value> {
        self.measure("decode", tokens, tokens as f64, |ctx, ids| {
            ctx.truncate(0, 0)?;
            ids[..tokens].iter().try_for_each(|&id| ctx.append(0, &[id]))
        })
    }

    /// The median of the times that `run` takes for `tokens` tokens in `passes` passes, as a row of the report.
    fn measure(
        &mut self,
        test: &str,
        tokens: usize,
        passes: f64,
        run: impl Fn(&mut Context, &[u32]) -> qorus::Result<()>,
    ) -> Result<Value> {
        rss::reset();
        let mut times = Vec::with_capacity(self.repeat);
        let before = allocations::count();
        run(&mut self.ctx, &self.ids)?; // pages come in, the clock goes up
        for _ in 0..self.repeat {
            let start = Instant::now();
            run(&mut self.ctx, &self.ids)?;
            times.push(start.elapsed().as_secs_f64());
        }
        let allocations = allocations::count() - before;
        times.sort_unstable_by(f64::total_cmp);
        let (median, best) = (times[times.len() / 2], times[0]);
        let runtime = &self.ctx.model().runtime;
        // Keys and values that one token after another reads come to half the cache of that length.
        let kv = self.ctx.reserved().kv_cache as f64 * tokens as f64 / self.ctx.params().n_ctx as f64 / 2.0;
        let bytes = self.weights * passes / tokens as f64 + if test == "decode" { kv } else { 0.0 };
        let rate = bytes * tokens as f64 / median;
        Ok(json!({
            "test": test,
            "threads": runtime.pool.len(),
            "isa": runtime.kernels.isa().name(),
            "tokens": tokens,
            "tokens_per_s": tokens as f64 / median,
            "bytes_per_token": bytes.round(),
            "gb_per_s": rate / 1e9,
            "share_of_limit": if test == "decode" { Value::from(rate / self.limit) } else { Value::Null },
            "allocations_after_setup": allocations,
            "peak_rss_bytes": rss::peak(),
            "best_tokens_per_s": tokens as f64 / best,
            "limit_gb_per_s": self.limit / 1e9,
            "startup_ms": self.startup_ms,
        }))
    }
}

/// Bytes of weights that one token reads: all but an embedding that is no head too, and of experts only those used.
fn read_per_pass(gguf: &Gguf) -> Result<f64> {
    let arch = gguf.str("general.architecture")?.unwrap_or_default();
    let experts =
        |what: &str| Ok::<_, qorus::Error>(gguf.u32(&format!("{arch}.expert_{what}"))?.map_or(1.0, f64::from));
    let used = experts("used_count")? / experts("count")?.max(1.0);
    let own_head = gguf.tensor("output.weight").is_some();
    let read = |t: &TensorInfo| match gguf.tensor_name(t) {
        "token_embd.weight" if own_head => t.bytes as f64 / t.rows() as f64,
        name if name.contains("_exps.") => t.bytes as f64 * used,
        _ => t.bytes as f64,
    };
    Ok(gguf.tensors().iter().map(read).sum())
}

/// Bytes per second at which the runtime's threads read the file's tensors, the best of several times.
fn bandwidth(runtime: &Runtime, gguf: &Gguf) -> Result<f64> {
    const ROUNDS: usize = 5;
    const LEAST: usize = 64 << 20;
    let (threads, all) = (runtime.pool.len(), gguf.tensors());
    let bytes: usize = all.iter().map(|t| t.bytes as usize).sum();
    let times = LEAST.div_ceil(bytes.max(1));
    let sum = AtomicU64::new(0);
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        runtime.pool.run(&|thread| {
            for _ in 0..times {
                for t in all {
                    let data = gguf.data(t);
                    let part = &data[data.len() * thread / threads..data.len() * (thread + 1) / threads];
                    sum.fetch_add(add(part), Ordering::Relaxed);
                }
            }
        })?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    black_box(sum.into_inner());
    Ok((bytes * times) as f64 / best)
}

/// A sum over the bytes as integers, in lanes, so that reading is all it waits for.
fn add(bytes: &[u8]) -> u64 {
    let mut lanes = [0u64; 16];
    for block in bytes.as_chunks::<128>().0 {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
            *lane = lane.wrapping_add(u64::from_le_bytes(*word));
        }
    }
    lanes.iter().fold(0, |sum, lane| sum.wrapping_add(*lane))
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
            text("isa"),
            number(row, "tokens", 0),
            number(row, "tokens_per_s", 1),
            number(row, "best_tokens_per_s", 1),
            number(row, "gb_per_s", 2),
            row["share_of_limit"].as_f64().map_or("-".into(), |x| format!("{:.0} %", x * 100.0)),
            number(row, "allocations_after_setup", 0),
            row["peak_rss_bytes"].as_u64().map_or("-".into(), |b| output::mib(b as usize)),
        ]
    };
    let heads =
        ["test", ">threads", "isa", ">tokens", ">tokens/s", ">best", ">GB/s", ">of limit", ">allocations", ">peak MiB"];
    output::table(&heads, &rows.iter().map(cells).collect::<Vec<_>>())
}

/// The greatest resident memory, where the system tells it (Linux).
mod rss {
    use std::fs;

    /// Forgets the greatest value so far, where that is allowed.
    pub fn reset() {
        let _ = fs::write("/proc/self/clear_refs", "5");
    }

    /// The greatest since then, in bytes.
    pub fn peak() -> Option<u64> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kb| kb << 10)
    }
}
