//! What the decoder-only architectures have in common: their sizes, and the parts of a block.

use super::{Builder, graph::KvHeads, rope::Rope};
use crate::error::{Result, fail};
use crate::layers::{Attention, Embedding, Ffn, FfnKind, Layer, Linear, Moe, Norm, Residual};
use crate::ops::activation::Activation;
use crate::ops::attend::AttendParams;
use crate::ops::rope::RopeStyle;

/// Sizes of a decoder, read from the keys every architecture has and checked against each other.
#[derive(Clone, Copy, Debug)]
pub struct Hyper {
    /// Blocks.
    pub n_layer: usize,
    /// Width of a row.
    pub n_embd: usize,
    /// Width of the hidden layer of the feed-forward network; 0 when all of them are mixtures.
    pub n_ff: usize,
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads.
    pub n_kv: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Of the norms.
    pub eps: f32,
    /// Entries of the vocabulary.
    pub vocab: usize,
}

/// The largest width anything may have: keeps products of two widths far from overflow.
const MAX_WIDTH: usize = 1 << 24;

impl Hyper {
    /// Reads and checks the sizes.
    pub fn read(b: &mut Builder) -> Result<Hyper> {
        let name = b.gguf.name();
        let n_layer = b.count("block_count", b.gguf.tensors().len().max(1))?;
        let n_embd = b.count("embedding_length", MAX_WIDTH)?;
        let n_head = b.count("attention.head_count", MAX_WIDTH)?;
        let n_kv = match b.count_opt("attention.head_count_kv")? {
            Some(_) => b.count("attention.head_count_kv", n_head)?,
            None => n_head,
        };
        if n_head % n_kv != 0 {
            fail!(Format, "{name}: {n_head} query heads cannot share {n_kv} heads of keys and values evenly");
        }
        let head_dim = match b.count_opt("attention.key_length")? {
            Some(_) => b.count("attention.key_length", MAX_WIDTH)?,
            None if n_embd % n_head == 0 => n_embd / n_head,
            None => fail!(Format, "{name}: a width of {n_embd} does not divide into {n_head} heads"),
        };
        if b.count_opt("attention.value_length")?.is_some_and(|v| v != head_dim) {
            fail!(Unsupported, "{name}: heads of keys and values of different lengths");
        }
        let eps = b.number_opt("attention.layer_norm_rms_epsilon")?;
        let Some(eps) = eps.filter(|&e| e >= 0.0) else {
            let key = b.key("attention.layer_norm_rms_epsilon");
            fail!(Format, "{name}: {key} is {eps:?}, expected a number from 0 up")
        };
        let ctx = b.count("context_length", u32::MAX as usize)?;
        b.set_ctx_train(ctx);
        let n_ff = match b.count_opt("feed_forward_length")? {
            Some(0) | None => 0,
            Some(_) => b.count("feed_forward_length", MAX_WIDTH)?,
        };
        let vocab = b.rows("token_embd.weight", n_embd)?;
        let listed = b.gguf.array("tokenizer.ggml.tokens")?.map(|tokens| tokens.len());
        let stated = listed.or(b.count_opt("vocab_size")?).unwrap_or(vocab);
        if stated != vocab {
            fail!(Format, "{name}: {stated} tokens in the vocabulary, but token_embd.weight has {vocab} rows");
        }
        Ok(Hyper { n_layer, n_embd, n_ff, n_head, n_kv, head_dim, eps, vocab })
    }

    /// The scores' usual factor.
    pub fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// Attention parameters without soft-capping or window.
    pub fn attend(&self) -> AttendParams {
        AttendParams { n_head: self.n_head, scale: self.scale(), softcap: 0.0, window: 0 }
    }
}

/// `blk.{i}.{name}`
pub fn block(i: usize, name: &str) -> String {
    format!("blk.{i}.{name}")
}

/// The token embedding as a layer.
pub fn embedding(b: &mut Builder, h: &Hyper) -> Result<()> {
    let table = b.matrix("token_embd.weight", h.vocab, h.n_embd)?;
    b.push(Layer::Embedding(Embedding { table }));
    Ok(())
}

/// The last norm and the output matrix, which is the embedding's when the file has no other.
pub fn head(b: &mut Builder, h: &Hyper) -> Result<()> {
    let norm = b.rmsnorm("output_norm", h.n_embd, h.eps)?;
    b.push(Layer::Norm(norm));
    let w = match b.matrix_opt("output.weight", h.vocab, h.n_embd)? {
        Some(w) => w,
        None => b.matrix("token_embd.weight", h.vocab, h.n_embd)?,
    };
    let bias = b.vector_opt("output.bias", h.vocab)?;
    b.push(Layer::Linear(Linear { w, bias }));
    Ok(())
}

/// Block `i`'s attention. Norms of query and key heads are used where the file has them, and a fused projection
/// `attn_qkv` where it has that.
pub fn attention(b: &mut Builder, h: &Hyper, i: usize, params: AttendParams, rope: usize) -> Result<Layer> {
    let (q_width, kv_width) = (h.n_head * h.head_dim, h.n_kv * h.head_dim);
    let fused = block(i, "attn_qkv");
    let (q, k, v) = if b.gguf.tensor(&format!("{fused}.weight")).is_some() {
        let all = b.linear(&fused, q_width + 2 * kv_width, h.n_embd)?;
        let part = |from: usize, len: usize| -> Result<Linear> {
            let range = from..from + len;
            Ok(Linear { w: all.w.part(range.clone())?, bias: all.bias.map(|v| v.part(range)).transpose()? })
        };
        (part(0, q_width)?, part(q_width, kv_width)?, part(q_width + kv_width, kv_width)?)
    } else {
        (
            b.linear(&block(i, "attn_q"), q_width, h.n_embd)?,
            b.linear(&block(i, "attn_k"), kv_width, h.n_embd)?,
            b.linear(&block(i, "attn_v"), kv_width, h.n_embd)?,
        )
    };
    let mut norm = |name: &str| -> Result<Option<Norm>> {
        let prefix = block(i, name);
        let there = b.gguf.tensor(&format!("{prefix}.weight")).is_some();
        if there { b.rmsnorm(&prefix, h.head_dim, h.eps).map(Some) } else { Ok(None) }
    };
    let (q_norm, k_norm) = (norm("attn_q_norm")?, norm("attn_k_norm")?);
    let o = b.linear(&block(i, "attn_output"), h.n_embd, q_width)?;
    let slot = b.cache(KvHeads { n_kv: h.n_kv, head_dim: h.head_dim });
    let (n_kv, head_dim) = (h.n_kv, h.head_dim);
    Ok(Layer::Attention(Attention { q, k, v, o, q_norm, k_norm, rope: Some(rope), params, n_kv, head_dim, slot }))
}

/// Block `i`'s gated feed-forward network. Without `ffn_gate`, `ffn_up` holds gate and up one after another.
pub fn ffn(b: &mut Builder, h: &Hyper, i: usize, act: Activation) -> Result<Layer> {
    if h.n_ff == 0 {
        fail!(Format, "{}: {} is missing or 0", b.gguf.name(), b.key("feed_forward_length"));
    }
    let (gate, up) = if b.gguf.tensor(&block(i, "ffn_gate.weight")).is_some() {
        (b.linear(&block(i, "ffn_gate"), h.n_ff, h.n_embd)?, b.linear(&block(i, "ffn_up"), h.n_ff, h.n_embd)?)
    } else {
        let w = b.matrix(&block(i, "ffn_up.weight"), 2 * h.n_ff, h.n_embd)?;
        let part = |from: usize| Ok(Linear { w: w.part(from..from + h.n_ff)?, bias: None });
        (part(0)?, part(h.n_ff)?)
    };
    let down = b.linear(&block(i, "ffn_down"), h.n_embd, h.n_ff)?;
    Ok(Layer::Ffn(Ffn { kind: FfnKind::Gated(gate), act, up, down }))
}

/// Block `i`'s mixture of experts, with the shared one where the file has it.
pub fn moe(b: &mut Builder, h: &Hyper, i: usize, renormalize: bool) -> Result<Layer> {
    const MAX_EXPERTS: usize = 1024;
    let count = b.count("expert_count", MAX_EXPERTS)?;
    let used = b.count("expert_used_count", count)?;
    let hidden = match b.count_opt("expert_feed_forward_length")? {
        Some(_) => b.count("expert_feed_forward_length", MAX_WIDTH)?,
        None => h.n_ff,
    };
    let act = Activation::Silu;
    let shared = if b.gguf.tensor(&block(i, "ffn_up_shexp.weight")).is_some() {
        let width = b.rows(&block(i, "ffn_up_shexp.weight"), h.n_embd)?;
        let gate = b.linear(&block(i, "ffn_gate_shexp"), width, h.n_embd)?;
        let up = b.linear(&block(i, "ffn_up_shexp"), width, h.n_embd)?;
        let down = b.linear(&block(i, "ffn_down_shexp"), h.n_embd, width)?;
        let open = b.matrix_opt(&block(i, "ffn_gate_inp_shexp.weight"), 1, h.n_embd)?;
        let ffn = Ffn { kind: FfnKind::Gated(gate), act, up, down };
        Some((ffn, open.map(|w| Linear { w, bias: None })))
    } else {
        None
    };
    let router = b.linear(&block(i, "ffn_gate_inp"), count, h.n_embd)?;
    Ok(Layer::Moe(Moe {
        router: Linear { w: router.w.exactly(), ..router },
        count,
        used,
        renormalize,
        act,
        gate: b.matrices(&block(i, "ffn_gate_exps.weight"), count, hidden, h.n_embd)?,
        up: b.matrices(&block(i, "ffn_up_exps.weight"), count, hidden, h.n_embd)?,
        down: b.matrices(&block(i, "ffn_down_exps.weight"), count, h.n_embd, hidden)?,
        shared,
    }))
}

/// x + f(norm(x)), the block of most decoders.
fn pre_norm(norm: Norm, f: Layer) -> Layer {
    Layer::Residual(Residual { body: vec![Layer::Norm(norm), f] })
}

/// The layers of a llama-like decoder, each part behind its norm. `window`: as in [`AttendParams`].
pub fn stack(b: &mut Builder, style: RopeStyle, window: usize, renormalize: bool) -> Result<()> {
    let h = Hyper::read(b)?;
    let rope = Rope::from_metadata(b, style, h.head_dim, 10000.0)?;
    let rope = b.rope(rope);
    let experts = b.count_opt("expert_count")?.unwrap_or(0) > 0;
    embedding(b, &h)?;
    for i in 0..h.n_layer {
        let norm = b.rmsnorm(&block(i, "attn_norm"), h.n_embd, h.eps)?;
        let f = attention(b, &h, i, AttendParams { window, ..h.attend() }, rope)?;
        b.push(pre_norm(norm, f));
        let norm = b.rmsnorm(&block(i, "ffn_norm"), h.n_embd, h.eps)?;
        let f = if experts { moe(b, &h, i, renormalize)? } else { ffn(b, &h, i, Activation::Silu)? };
        b.push(pre_norm(norm, f));
    }
    head(b, &h)
}
