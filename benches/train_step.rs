//! Whole steps of training: forward, cross-entropy on slices of logits, backward, clipping and AdamW, on llamas of two sizes.
//!
//!     cargo bench --features train --bench train_step -- [T|S] [OPTION VALUE ...]
//!
//! Options: `--threads N` (2), `--isa LEVEL`, `--steps N` (8), `--micro N` sequences of a pass (8), `--slice N` rows of logits at once
//! (0: the trainer's choice), `--keep f32|bf16|inputs` of a forward pass, `--dump FILE` the ids (u32, a batch and the last target) and the values before the first step, one parameter after
//! another. It prints what a step takes, how much of the arithmetic that the cores have it uses, and the process's peak memory.

use qorus::engine::{Model, Runtime};
use qorus::gguf::Writer;
use qorus::kernels::exercise::peak::{Unit, peak};
use qorus::layers::keep::Keep;
use qorus::ops::attend::Place;
use qorus::train::clip::Clip;
use qorus::train::examples::Examples;
use qorus::train::optim::{Betas, Group, Method, Outcome};
use qorus::train::pass::Passed;
use qorus::train::trainer::{Trainer, TrainerParams};
use qorus::{Isa, Type};
use std::io::Write as _;
use std::path::{Path, PathBuf};
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
    /// A file of random values; what was drawn is in the order in which trained parameters lie, too.
    fn write(&self, path: &Path) -> Result<(), qorus::Error> {
        let Shape { layers, width, heads, kv, hidden, vocab, len, .. } = *self;
        let (d, kv_width, h, v) = (width as u64, (kv * width / heads) as u64, hidden as u64, vocab as u64);
        let mut list: Vec<(String, Vec<u64>)> = vec![("token_embd.weight".into(), vec![d, v])];
        for i in 0..layers {
            let block = |(name, dims): (&str, &[u64])| (format!("blk.{i}.{name}.weight"), dims.to_vec());
            let (norms, square) = ([d], [d, d]);
            list.extend([("attn_norm", &norms[..]), ("attn_q", &square), ("attn_k", &[d, kv_width])].map(block));
            list.extend([("attn_v", &[d, kv_width][..]), ("attn_output", &square), ("ffn_norm", &norms)].map(block));
            list.extend(
                [("ffn_gate", &[d, h]), ("ffn_up", &[d, h]), ("ffn_down", &[h, d])].map(|(n, l)| block((n, l))),
            );
        }
        list.extend([("output_norm.weight".into(), vec![d]), ("output.weight".into(), vec![d, v])]);
        let mut w = Writer::new();
        w.put("general.architecture", "llama")?.put("llama.vocab_size", vocab as u32)?;
        w.put("llama.context_length", len as u32)?.put("llama.embedding_length", width as u32)?;
        w.put("llama.block_count", layers as u32)?.put("llama.feed_forward_length", hidden as u32)?;
        w.put("llama.attention.head_count", heads as u32)?.put("llama.attention.head_count_kv", kv as u32)?;
        w.put("llama.rope.dimension_count", (width / heads) as u32)?.put("llama.rope.freq_base", 1e4f32)?;
        w.put("llama.attention.layer_norm_rms_epsilon", 1e-5f32)?;
        for (name, dims) in &list {
            w.tensor(name, Type::F32, dims)?;
        }
        let mut out = w.create(path)?;
        for (seed, (_, dims)) in (1..).zip(&list) {
            let matrix = dims.len() > 1;
            let mut values = noise(seed, dims.iter().product::<u64>() as usize);
            loop {
                let part: Vec<f32> =
                    values.by_ref().take(1 << 16).map(|x| if matrix { 0.035 * x } else { 1.0 }).collect();
                if part.is_empty() {
                    break;
                }
                out.write(bytemuck::cast_slice(&part))?;
            }
        }
        out.save()
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
    keep: Keep,
    dump: Option<PathBuf>,
}

/// What the other side begins with too.
fn dump(path: &Path, ids: &[u32], trainer: &Trainer) -> std::io::Result<()> {
    let mut to = std::io::BufWriter::new(std::fs::File::create(path)?);
    to.write_all(bytemuck::cast_slice(ids))?;
    for t in trainer.trained().list() {
        to.write_all(bytemuck::cast_slice(&trainer.values()[t.at..t.at + t.len]))?;
    }
    to.flush()
}

impl Shape {
    fn trainer(&self, o: &Options) -> Trainer {
        let runtime = Runtime::new(o.threads, Some(o.isa)).unwrap_or_else(|e| panic!("{e}"));
        let path = std::env::temp_dir().join(format!("qorus-train-step-{}.gguf", std::process::id()));
        self.write(&path).unwrap_or_else(|e| panic!("{e}"));
        let model = Model::open(&runtime, &path).unwrap_or_else(|e| panic!("{e}"));
        // It stays mapped.
        let _ = std::fs::remove_file(&path);
        let (rows, longest) = (o.micro * self.len, self.len);
        let params = TrainerParams {
            rows,
            longest,
            passes: self.seqs / o.micro,
            slice: o.slice,
            keep: o.keep,
            sparse: true,
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
    let mut o = Options { threads: 2, isa: Isa::detect(), steps: 8, micro: 8, slice: 0, keep: Keep::F32, dump: None };
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
            "--keep" => {
                let forms = [("f32", Keep::F32), ("bf16", Keep::Bf16), ("inputs", Keep::Inputs)];
                let found = forms.iter().find(|(name, _)| *name == value);
                o.keep = found.unwrap_or_else(|| panic!("--keep {value}: give f32, bf16 or inputs")).1;
            }
            "--dump" => o.dump = Some(value.into()),
            "--isa" => o.isa = Isa::from_name(&value).unwrap_or_else(|| panic!("no level is called {value}")),
            _ => panic!("no option is called {word}"),
        }
    }
    for shape in shapes {
        let mut trainer = shape.trainer(&o);
        let rows = shape.seqs * shape.len;
        let ids: Vec<u32> = noise(99, rows + 1).map(|x| ((x + 1.0) * 0.499 * shape.vocab as f32) as u32).collect();
        let targets: Vec<i32> = ids[1..].iter().map(|&id| id as i32).collect();
        if let Some(path) = &o.dump {
            dump(path, &ids, &trainer).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
        let mut times = Vec::new();
        let (mut first, mut second, mut last) = (f64::NAN, f64::NAN, f64::NAN);
        for step in 0..=o.steps {
            let start = Instant::now();
            last = shape.step(&mut trainer, o.micro, &ids[..rows], &targets);
            if step == 1 {
                second = last;
            }
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
             \"gflops\": {:.1}, \"share_of_peak\": {:.3}, \"peak_bytes\": {:.0}, \"loss_first\": {first:.6}, \"loss_second\": {second:.6}, \"loss_last\": {last:.6}}}",
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
