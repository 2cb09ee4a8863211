//! Whole steps of training: forward, cross-entropy on slices of logits, backward, clipping and AdamW, on llamas of two sizes.
//!
//!     cargo bench --features train --bench train_step -- [T|S] [OPTION VALUE ...]
//!
//! Options: `--threads N` (2), `--isa LEVEL`, `--steps N` (8), `--micro N` sequences of a pass (8), `--slice N` rows of logits at once
//! (0: the trainer's choice). It prints what a step takes, how much of the arithmetic that the cores have it uses, and the process's peak memory.

use qorus::engine::{Model, Runtime};
use qorus::kernels::exercise::peak::{Unit, peak};
use qorus::layers::Store;
use qorus::models::Graph;
use qorus::models::hand::{AttentionValues, Hand, LinearValues, RopeValues, Values};
use qorus::ops::activation::Activation;
use qorus::ops::attend::Place;
use qorus::ops::rope::RopeStyle;
use qorus::train::clip::Clip;
use qorus::train::examples::Examples;
use qorus::train::optim::{Betas, Group, Method, Outcome};
use qorus::train::pass::Passed;
use qorus::train::trainer::{Trainer, TrainerParams};
use qorus::{Isa, Type};
use std::time::Instant;

/// A llama and the batch it is trained on.
struct Shape {
    name: &'static str,
    layers: usize,
    width: usize,
    heads: usize,
    kv: usize,
    hidden: usize,
    vocab: usize,
    seqs: usize,
    len: usize,
}

const SHAPES: [Shape; 2] = [
    Shape { name: "T", layers: 4, width: 256, heads: 8, kv: 4, hidden: 688, vocab: 4096, seqs: 8, len: 256 },
    Shape { name: "S", layers: 6, width: 288, heads: 6, kv: 6, hidden: 768, vocab: 32000, seqs: 8, len: 256 },
];

/// Numbers that look random, from -1 to 1.
fn noise(seed: u64, n: usize) -> impl Iterator<Item = f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n).map(move |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    })
}

impl Shape {
    fn model(&self, runtime: &Runtime) -> (Graph, Store) {
        let mut seed = 0;
        let mut matrix = |rows: usize, cols: usize| -> Vec<f32> {
            seed += 1;
            noise(seed, rows * cols).map(|x| 0.035 * x).collect()
        };
        fn values(data: &[f32], cols: usize) -> Values<'_> {
            Values { ty: Type::F32, rows: data.len() / cols, cols, bytes: bytemuck::cast_slice(data) }
        }
        fn linear(data: &[f32], cols: usize) -> LinearValues<'_> {
            LinearValues { w: values(data, cols), bias: None }
        }
        let (d, head_dim) = (self.width, self.width / self.heads);
        let (ones, kv) = (vec![1.0; d], self.kv * head_dim);
        let mut hand = Hand::new(&runtime.kernels);
        let mut build = || {
            hand.embedding(&values(&matrix(self.vocab, d), d))?;
            for _ in 0..self.layers {
                let [q, k, v, o] = [matrix(d, d), matrix(kv, d), matrix(kv, d), matrix(d, d)];
                hand.residual_begin()?;
                hand.rmsnorm(&ones, 1e-5)?;
                hand.attention(&AttentionValues {
                    n_head: self.heads,
                    n_kv: self.kv,
                    head_dim,
                    q: linear(&q, d),
                    k: linear(&k, d),
                    v: linear(&v, d),
                    o: linear(&o, d),
                    q_norm: None,
                    k_norm: None,
                    rope: Some(RopeValues { style: RopeStyle::Neox, dim: head_dim, base: 1e4, scale: 1.0 }),
                    window: 0,
                    scale: 0.0,
                    softcap: 0.0,
                })?;
                hand.residual_end()?;
                let [gate, up, down] = [matrix(self.hidden, d), matrix(self.hidden, d), matrix(d, self.hidden)];
                hand.residual_begin()?;
                hand.rmsnorm(&ones, 1e-5)?;
                let (gate, up) = (linear(&gate, d), linear(&up, d));
                hand.ffn(Activation::Silu, Some(&gate), &up, &linear(&down, self.hidden))?;
                hand.residual_end()?;
            }
            hand.rmsnorm(&ones, 1e-5)?;
            hand.linear(&linear(&matrix(self.vocab, d), d))?;
            hand.finish()
        };
        build().unwrap_or_else(|e| panic!("{e}"))
    }

    /// Multiplications and additions of a step: products forward and back, and attention as far as it looks.
    fn work(&self) -> f64 {
        let (d, rows) = (self.width as f64, (self.seqs * self.len) as f64);
        let kv = d * self.kv as f64 / self.heads as f64;
        let matrices =
            self.layers as f64 * (2.0 * d * d + 2.0 * d * kv + 3.0 * d * self.hidden as f64) + d * self.vocab as f64;
        // Scores and sums, half of the square, forward; twice that back.
        let attention = self.layers as f64 * rows * 2.0 * self.len as f64 * d;
        6.0 * matrices * rows + 3.0 * attention
    }
}

struct Options {
    threads: usize,
    isa: Isa,
    steps: usize,
    micro: usize,
    slice: usize,
}

impl Shape {
    fn trainer(&self, o: &Options) -> Trainer {
        let runtime = Runtime::new(o.threads, Some(o.isa)).unwrap_or_else(|e| panic!("{e}"));
        let (graph, store) = self.model(&runtime);
        let model = Model::from_parts(&runtime, graph, store);
        let (rows, longest) = (o.micro * self.len, self.len);
        let params = TrainerParams {
            rows,
            longest,
            passes: self.seqs / o.micro,
            slice: o.slice,
            method: Method::AdamW(Betas::default()),
            groups: Group::pair(0.1),
            ..TrainerParams::default()
        };
        Trainer::new(&model, &params, |_| true).unwrap_or_else(|e| panic!("{e}"))
    }

    /// The mean loss before the step.
    fn step(&self, trainer: &mut Trainer, micro: usize, tokens: &[u32], targets: &[i32]) -> f64 {
        let rows = micro * self.len;
        let lens = vec![self.len as u32; micro];
        let places: Vec<Place> =
            (0..micro as u32).flat_map(|seq| (0..self.len as u32).map(move |pos| Place { seq, pos })).collect();
        let mut loss = 0.0;
        for (i, (tokens, targets)) in tokens.chunks_exact(rows).zip(targets.chunks_exact(rows)).enumerate() {
            let examples = Examples { tokens, places: &places, lens: &lens, targets, ..Examples::default() };
            match trainer.learn(&examples, (self.seqs * self.len) as f64, i as u64) {
                Ok(Passed::Total(total)) => loss += total.loss,
                other => panic!("{other:?}"),
            }
        }
        let outcome = trainer.step(1e-3, Clip::Norm(1.0));
        assert!(matches!(outcome, Ok(Outcome::Taken { .. })), "{outcome:?}");
        loss / (self.seqs * self.len) as f64
    }
}

/// The greatest number of resident bytes so far, where the system says it.
fn peak_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).map_or(f64::NAN, |kb| kb * 1024.0)
}

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let mut shapes: Vec<&Shape> = SHAPES.iter().collect();
    let mut o = Options { threads: 2, isa: Isa::detect(), steps: 8, micro: 8, slice: 0 };
    while let Some(word) = words.next() {
        if !word.starts_with("--") {
            shapes.retain(|shape| shape.name == word);
            continue;
        }
        let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        let number = || value.parse().unwrap_or_else(|_| panic!("{word} {value}: give a number"));
        match word.as_str() {
            "--threads" => o.threads = number(),
            "--steps" => o.steps = number(),
            "--micro" => o.micro = number(),
            "--slice" => o.slice = number(),
            "--isa" => o.isa = Isa::from_name(&value).unwrap_or_else(|| panic!("no level is called {value}")),
            _ => panic!("no option is called {word}"),
        }
    }
    for shape in shapes {
        let mut trainer = shape.trainer(&o);
        let rows = shape.seqs * shape.len;
        let ids: Vec<u32> = noise(99, rows + 1).map(|x| ((x + 1.0) * 0.499 * shape.vocab as f32) as u32).collect();
        let targets: Vec<i32> = ids[1..].iter().map(|&id| id as i32).collect();
        let mut times = Vec::new();
        let (mut first, mut last) = (f64::NAN, f64::NAN);
        for step in 0..=o.steps {
            let start = Instant::now();
            last = shape.step(&mut trainer, o.micro, &ids[..rows], &targets);
            if step == 0 {
                first = last;
            } else {
                times.push(start.elapsed().as_secs_f64());
            }
        }
        times.sort_by(f64::total_cmp);
        let (median, best) = (times[times.len() / 2], times[0]);
        let limit = peak(o.isa, Unit::F32) * o.threads as f64;
        println!(
            "{{\"shape\": \"{}\", \"isa\": \"{}\", \"threads\": {}, \"step_ms\": {:.1}, \"best_ms\": {:.1}, \"tokens_per_s\": {:.0}, \
             \"gflops\": {:.1}, \"share_of_peak\": {:.3}, \"peak_bytes\": {:.0}, \"loss_first\": {first:.6}, \"loss_last\": {last:.6}}}",
            shape.name,
            o.isa.name(),
            o.threads,
            median * 1e3,
            best * 1e3,
            rows as f64 / median,
            shape.work() / median * 1e-9,
            shape.work() / median / limit,
            peak_memory(),
        );
    }
}
