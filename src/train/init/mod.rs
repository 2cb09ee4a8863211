//! Values to begin with: random ones that are a function of seed, tensor and place, and whole models made of them.
//!
//! Matrices of transformers are drawn as GPT-2's are (Radford et al., 2019): normal with a deviation of 0.02, and those that write to
//! the residual stream divided by sqrt(2 * blocks). Networks of linear layers take bounds from their widths (Glorot and Bengio,
//! 2010; He et al., arXiv 1502.01852). Biases are 0, factors of norms 1.

mod graph;

pub use graph::graph;

use std::path::Path;

use crate::Type;
use crate::error::{Result, fail, try_vec};
use crate::gguf::{Gguf, Writer};
use crate::rng::philox;

/// How the values of a tensor are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Draw {
    /// All alike: 0 for a bias, 1 for the factors of a norm.
    Constant(f32),
    /// Normal around 0 with this standard deviation.
    Normal(f32),
    /// From -bound to bound, each as likely.
    Uniform(f32),
}

/// Streams of random numbers from here on are those of this module: dropout's have other highest bits.
const STREAMS: u64 = 0xffff << 48;

impl Draw {
    /// For a matrix before ReLU and its kin: bound sqrt(6 / inputs) (He et al.).
    pub fn kaiming(inputs: usize) -> Draw {
        Draw::Uniform((6.0 / inputs.max(1) as f32).sqrt())
    }

    /// For a matrix before anything else: bound sqrt(6 / (inputs + outputs)) (Glorot and Bengio).
    pub fn xavier(inputs: usize, outputs: usize) -> Draw {
        Draw::Uniform((6.0 / (inputs.saturating_add(outputs)).max(1) as f32).sqrt())
    }

    /// Writes the values from number `from` on of tensor number `tensor`: the same ones however a tensor is cut.
    pub fn fill(self, seed: u64, tensor: u32, from: u64, out: &mut [f32]) {
        let mut four = [0.0; 4];
        for (n, x) in (from..).zip(out) {
            if n == from || n % 4 == 0 {
                four = self.four(philox(seed, STREAMS | u64::from(tensor), n / 4));
            }
            *x = four[(n % 4) as usize];
        }
    }

    fn four(self, bits: [u32; 4]) -> [f32; 4] {
        // In (0, 1), never an end of it.
        let unit = bits.map(|b| (f64::from(b) + 0.5) / (1u64 << 32) as f64);
        match self {
            Draw::Constant(x) => [x; 4],
            Draw::Uniform(bound) => unit.map(|u| ((2.0 * u - 1.0) * f64::from(bound)) as f32),
            // Box and Muller, 1958.
            Draw::Normal(deviation) => {
                let pair = |u: f64, v: f64| {
                    let r = (-2.0 * u.ln()).sqrt() * f64::from(deviation);
                    let (sin, cos) = (v * std::f64::consts::TAU).sin_cos();
                    [(r * cos) as f32, (r * sin) as f32]
                };
                let ([a, b], [c, d]) = (pair(unit[0], unit[1]), pair(unit[2], unit[3]));
                [a, b, c, d]
            }
        }
    }
}

/// The sizes of a llama.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Blocks.
    pub layers: usize,
    /// Width of a row.
    pub width: usize,
    /// Query heads.
    pub heads: usize,
    /// Heads of keys and values; they divide the query heads.
    pub kv_heads: usize,
    /// Elements of a head, an even number.
    pub head_dim: usize,
    /// Width of the feed-forward network's hidden layer.
    pub ffn: usize,
    /// Positions of a context.
    pub ctx: usize,
    /// Base of the rotary embedding: 10000 as a rule.
    pub rope_base: f32,
    /// Of the norms: 1e-5 as a rule.
    pub eps: f32,
    /// Whether the token embedding is the output matrix too.
    pub tied: bool,
}

/// The largest width, or number of heads or blocks.
const MAX: usize = 1 << 24;

/// Deviation of the matrices of a transformer.
const DEVIATION: f32 = 0.02;

/// A tensor of a model: name, sizes with the innermost first, and values.
type Planned = (String, Vec<u64>, Draw);

impl Shape {
    fn check(&self, vocab: usize) -> Result<()> {
        for (name, n, max) in [
            ("layers", self.layers, 1 << 16),
            ("width", self.width, MAX),
            ("heads", self.heads, MAX),
            ("kv_heads", self.kv_heads, self.heads),
            ("head_dim", self.head_dim, MAX),
            ("ffn", self.ffn, MAX),
            ("ctx", self.ctx, i32::MAX as usize),
            ("the vocabulary", vocab, i32::MAX as usize),
        ] {
            if !(1..=max).contains(&n) {
                fail!(InvalidArgument, "a model's {name} cannot be {n}: give 1 to {max}");
            }
        }
        let (heads, kv) = (self.heads, self.kv_heads);
        if heads % kv != 0 || self.head_dim % 2 != 0 || heads.saturating_mul(self.head_dim) > MAX {
            fail!(
                InvalidArgument,
                "{heads} query heads over {kv} heads of keys of {} elements: give heads that divide, and an even number of elements",
                self.head_dim
            );
        }
        if !(self.rope_base.is_finite() && self.rope_base > 0.0 && self.eps.is_finite() && self.eps >= 0.0) {
            fail!(
                InvalidArgument,
                "a rotary embedding of base {} and norms with an epsilon of {}: 10000 and 1e-5 are usual",
                self.rope_base,
                self.eps
            );
        }
        Ok(())
    }

    /// The number of weights of a model of this shape with that many tokens.
    ///
    /// Errors: `InvalidArgument` for a shape that no model has.
    pub fn parameters(&self, vocab: usize) -> Result<u64> {
        self.check(vocab)?;
        let of = |dims: &[u64]| dims.iter().fold(1u64, |n, d| n.saturating_mul(*d));
        Ok(self.tensors(vocab).iter().fold(0, |sum: u64, (_, dims, _)| sum.saturating_add(of(dims))))
    }

    fn tensors(&self, vocab: usize) -> Vec<Planned> {
        let [width, ffn, vocab] = [self.width, self.ffn, vocab].map(|n| n as u64);
        let [q, kv] = [self.heads, self.kv_heads].map(|n| (n * self.head_dim) as u64);
        let (ones, normal) = (Draw::Constant(1.0), Draw::Normal(DEVIATION));
        // Two matrices of each block add to the residual stream.
        let back = Draw::Normal(DEVIATION / (2.0 * self.layers as f32).sqrt());
        let mut list = vec![("token_embd.weight".to_owned(), vec![width, vocab], normal)];
        for i in 0..self.layers {
            let block =
                |(name, dims, draw): (&str, &[u64], Draw)| (format!("blk.{i}.{name}.weight"), dims.to_vec(), draw);
            list.extend(
                [
                    ("attn_norm", &[width][..], ones),
                    ("attn_q", &[width, q], normal),
                    ("attn_k", &[width, kv], normal),
                    ("attn_v", &[width, kv], normal),
                    ("attn_output", &[q, width], back),
                    ("ffn_norm", &[width], ones),
                    ("ffn_gate", &[width, ffn], normal),
                    ("ffn_up", &[width, ffn], normal),
                    ("ffn_down", &[ffn, width], back),
                ]
                .map(block),
            );
        }
        list.push(("output_norm.weight".to_owned(), vec![width], ones));
        if !self.tied {
            list.push(("output.weight".to_owned(), vec![width, vocab], normal));
        }
        list
    }

    fn put(&self, w: &mut Writer, vocab: usize) -> Result<()> {
        w.put("general.architecture", "llama")?.put("general.file_type", 0u32)?;
        w.put("llama.vocab_size", vocab as u32)?.put("llama.context_length", self.ctx as u32)?;
        w.put("llama.embedding_length", self.width as u32)?.put("llama.block_count", self.layers as u32)?;
        w.put("llama.feed_forward_length", self.ffn as u32)?;
        w.put("llama.attention.head_count", self.heads as u32)?;
        w.put("llama.attention.head_count_kv", self.kv_heads as u32)?;
        if self.heads * self.head_dim != self.width {
            w.put("llama.attention.key_length", self.head_dim as u32)?;
            w.put("llama.attention.value_length", self.head_dim as u32)?;
        }
        w.put("llama.rope.dimension_count", self.head_dim as u32)?.put("llama.rope.freq_base", self.rope_base)?;
        w.put("llama.attention.layer_norm_rms_epsilon", self.eps)?;
        Ok(())
    }
}

/// Elements that are drawn at once.
const CHUNK: usize = 1 << 16;

/// Writes a llama of random values, stored as F32, with the vocabulary of another file: every key `tokenizer.*` of it. The file at
/// `path` is there whole or not at all.
///
/// Errors: `InvalidArgument` for a shape that no model has; `Format` for a file without a vocabulary; `Io`.
pub fn llama(shape: &Shape, vocabulary: &Gguf, seed: u64, path: &Path) -> Result<()> {
    let Some(tokens) = vocabulary.array("tokenizer.ggml.tokens")? else {
        fail!(Format, "{}: has no vocabulary (the key tokenizer.ggml.tokens is missing)", vocabulary.name());
    };
    let vocab = tokens.len();
    shape.check(vocab)?;
    let mut w = Writer::new();
    shape.put(&mut w, vocab)?;
    for (key, value) in vocabulary.entries().filter(|(key, _)| key.starts_with("tokenizer.")) {
        w.put(key, value)?;
    }
    let tensors = shape.tensors(vocab);
    for (name, dims, _) in &tensors {
        w.tensor(name, Type::F32, dims)?;
    }
    let mut chunk: Vec<f32> = try_vec(CHUNK, "random values")?;
    chunk.resize(CHUNK, 0.0);
    let mut out = w.create(path)?;
    for (tensor, (_, dims, draw)) in (0u32..).zip(&tensors) {
        let (mut from, len) = (0, dims.iter().product::<u64>());
        while from < len {
            let now = (len - from).min(CHUNK as u64);
            let values = &mut chunk[..now as usize];
            draw.fill(seed, tensor, from, values);
            out.write(bytemuck::cast_slice(values))?;
            from += now;
        }
    }
    out.save()
}
