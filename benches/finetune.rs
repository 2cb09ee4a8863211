//! Steps of fine-tuning: an adapter on all linear layers of a quantized model, forward, cross-entropy, back, clipping and AdamW.
//!
//!     cargo bench --features train --bench finetune -- MODEL [OPTION VALUE ...]
//!
//! Options: `--threads N` (2), `--isa LEVEL`, `--steps N` (6), `--rank N` (16), `--kind lora|rslora|dora`, `--len N` (256), `--batch N` (1), `--slice N` rows of
//! logits at once (0: the trainer's choice), `--bits 32|8` of the moments, `--products f32|bf16`, `--eight 0|1` (frozen products forward on 8-bit
//! inputs), `--activations f32|bf16|recompute`. It prints what a step takes, the plan, and the process's peak memory.

use qorus::adapter::Kind;
use qorus::engine::{Model, Runtime};
use qorus::gguf::Gguf;
use qorus::layers::keep::Keep;
use qorus::ops::attend::Place;
use qorus::train::clip::Clip;
use qorus::train::examples::Examples;
use qorus::train::optim::{Betas, Group, Method, Outcome};
use qorus::train::{AdapterParams, Passed, Trainer, TrainerParams};
use qorus::{Isa, Products};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

struct Options {
    model: PathBuf,
    threads: usize,
    isa: Isa,
    steps: usize,
    rank: usize,
    kind: Kind,
    len: usize,
    batch: usize,
    slice: usize,
    bits: usize,
    products: Products,
    eight: bool,
    keep: Keep,
}

impl Options {
    fn read() -> Options {
        let mut o = Options {
            model: PathBuf::new(),
            threads: 2,
            isa: Isa::detect(),
            steps: 6,
            rank: 16,
            kind: Kind::Lora,
            len: 256,
            batch: 1,
            slice: 0,
            bits: 32,
            products: Products::F32,
            eight: false,
            keep: Keep::F32,
        };
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            if !word.starts_with("--") {
                o.model = PathBuf::from(word);
                continue;
            }
            let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            let number = || value.parse().unwrap_or_else(|_| panic!("{word} {value}: give a number"));
            match word.as_str() {
                "--threads" => o.threads = number(),
                "--isa" => o.isa = Isa::from_name(&value).unwrap_or_else(|| panic!("no level is called {value}")),
                "--steps" => o.steps = number(),
                "--rank" => o.rank = number(),
                "--kind" => o.kind = Kind::from_name(&value).unwrap_or_else(|| panic!("no kind is called {value}")),
                "--len" => o.len = number(),
                "--batch" => o.batch = number(),
                "--slice" => o.slice = number(),
                "--bits" => o.bits = number(),
                "--products" => o.products = if value == "bf16" { Products::Bf16 } else { Products::F32 },
                "--eight" => o.eight = number() != 0,
                "--activations" => {
                    o.keep = Keep::from_name(&value).unwrap_or_else(|| panic!("nothing is kept as {value}"))
                }
                _ => panic!("no option is called {word}"),
            }
        }
        o
    }

    fn trainer(&self) -> Trainer {
        let runtime =
            Runtime::with_products(self.threads, Some(self.isa), self.products).unwrap_or_else(|e| panic!("{e}"));
        let gguf = Arc::new(Gguf::open(&self.model).unwrap_or_else(|e| panic!("{e}")));
        let model = Model::new(&runtime, gguf).unwrap_or_else(|e| panic!("{e}"));
        let betas = Betas::default();
        let params = TrainerParams {
            rows: self.len * self.batch,
            longest: self.len,
            slice: self.slice,
            keep: self.keep,
            method: if self.bits == 8 { Method::AdamW8(betas) } else { Method::AdamW(betas) },
            groups: Group::pair(0.0),
            adapter: Some(AdapterParams {
                kind: self.kind,
                rank: self.rank,
                alpha: 2.0 * self.rank as f32,
                ..AdapterParams::default()
            }),
            eight: self.eight,
            ..TrainerParams::default()
        };
        Trainer::new(&model, &params, |_| false).unwrap_or_else(|e| panic!("{e}"))
    }
}

/// A number of kilobytes that the system says of this process.
fn memory(key: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).map_or(f64::NAN, |kb| kb * 1024.0)
}

fn main() {
    let o = Options::read();
    if o.model.as_os_str().is_empty() {
        println!("give a model: see the head of benches/finetune.rs");
        return;
    }
    let mut trainer = o.trainer();
    let (rows, vocab) = (o.len * o.batch, trainer.model().graph.vocab() as u64);
    let mut state = 7u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % vocab) as u32
    };
    let ids: Vec<u32> = (0..=rows).map(|_| draw()).collect();
    let targets: Vec<i32> = ids[1..].iter().map(|&id| id as i32).collect();
    let places: Vec<Place> =
        (0..o.batch as u32).flat_map(|seq| (0..o.len as u32).map(move |pos| Place { seq, pos })).collect();
    let lens = vec![o.len as u32; o.batch];
    let examples =
        Examples { tokens: &ids[..rows], places: &places, lens: &lens, targets: &targets, ..Examples::default() };
    let mut times = Vec::new();
    let (mut first, mut last) = (f64::NAN, f64::NAN);
    for step in 0..=o.steps {
        let start = Instant::now();
        last = match trainer.learn(&examples, rows as f64, step as u64) {
            Ok(Passed::Total(total)) => total.loss / rows as f64,
            other => panic!("{other:?}"),
        };
        let outcome = trainer.step(1e-4, Clip::Norm(1.0));
        assert!(matches!(outcome, Ok(Outcome::Taken { .. })), "{outcome:?}");
        if step == 0 {
            first = last;
        } else {
            times.push(start.elapsed().as_secs_f64());
        }
    }
    times.sort_by(f64::total_cmp);
    let (median, best) = (times[times.len() / 2], times[0]);
    let plan = trainer.reserved();
    println!(
        "{{\"model\": \"{}\", \"isa\": \"{}\", \"threads\": {}, \"products\": \"{:?}\", \"eight\": {}, \"step_ms\": {:.1}, \"best_ms\": {:.1}, \
         \"tokens_per_s\": {:.1}, \"planned_bytes\": {}, \"planned_without_mapped\": {}, \"peak_bytes\": {:.0}, \"file_bytes\": {:.0}, \
         \"loss_first\": {first:.6}, \"loss_last\": {last:.6}}}",
        o.model.file_stem().and_then(|n| n.to_str()).unwrap_or_default(),
        o.isa.name(),
        o.threads,
        o.products,
        o.eight,
        median * 1e3,
        best * 1e3,
        rows as f64 / median,
        plan.total(),
        plan.total_without_mapped(),
        memory("VmHWM:"),
        memory("RssFile:"),
    );
}
