//! Gemma 2 and Gemma 3 (arXiv 2408.00118, 2503.19786): norms before and after each part, local attention between
//! global ones, soft-capping in the second, norms of query and key heads in the third.

use super::Builder;
use super::decoder::{Hyper, attention, block, embedding, ffn, head};
use super::rope::Rope;
use crate::error::{Result, fail};
use crate::layers::{Layer, Residual, Scale, Softcap};
use crate::ops::activation::Activation;
use crate::ops::attend::AttendParams;
use crate::ops::rope::RopeStyle;

/// Appends the layers of a Gemma 2: every other layer is local.
pub fn gemma2(b: &mut Builder) -> Result<()> {
    let h = Hyper::read(b)?;
    let softcap = positive(b, "attn_logit_softcapping", 50.0)?;
    let rope = Rope::from_metadata(b, RopeStyle::Neox, h.head_dim, 10000.0)?;
    let rope = b.rope(rope);
    let window = b.count_opt("attention.sliding_window")?.unwrap_or(4096);
    // The 27B model scales by the width per head rather than the head's length.
    let scale = if h.n_layer == 46 { per_head(&h) } else { h.scale() };
    let attend = AttendParams { scale, softcap, ..h.attend() };
    gemma(b, &h, |i| if i % 2 == 0 { (AttendParams { window, ..attend }, rope) } else { (attend, rope) })?;
    let cap = positive(b, "final_logit_softcapping", 30.0)?;
    b.push(Layer::Softcap(Softcap { cap }));
    Ok(())
}

/// Appends the layers of a Gemma 3: of six layers the last is global, the others local with a rotary base of their own.
pub fn gemma3(b: &mut Builder) -> Result<()> {
    let h = Hyper::read(b)?;
    let global = Rope::from_metadata(b, RopeStyle::Neox, h.head_dim, 1e6)?;
    let local_base = positive(b, "rope.freq_base_swa", 10000.0)?;
    let local = Rope::plain(RopeStyle::Neox, 2 * global.half(), f64::from(local_base), 1.0);
    let (global, local) = (b.rope(global), b.rope(local));
    let window = b.count_opt("attention.sliding_window")?.unwrap_or(0);
    let pattern = b.count_opt("attention.sliding_window_pattern")?.unwrap_or(6).max(1);
    let scale = if h.n_layer == 62 { per_head(&h) } else { h.scale() };
    let attend = AttendParams { scale, ..h.attend() };
    gemma(b, &h, |i| {
        let is_global = i % pattern == pattern - 1;
        if is_global { (attend, global) } else { (AttendParams { window, ..attend }, local) }
    })?;
    if b.number_opt("final_logit_softcapping")?.is_some_and(|cap| cap != 0.0) {
        let cap = positive(b, "final_logit_softcapping", 30.0)?;
        b.push(Layer::Softcap(Softcap { cap }));
    }
    Ok(())
}

fn per_head(h: &Hyper) -> f32 {
    1.0 / (h.n_embd as f32 / h.n_head as f32).sqrt()
}

fn positive(b: &Builder, name: &str, default: f32) -> Result<f32> {
    match b.number_opt(name)?.unwrap_or(default) {
        v if v > 0.0 => Ok(v),
        v => fail!(Format, "{}: {} is {v}, expected more than 0", b.gguf.name(), b.key(name)),
    }
}

/// The layers up to the output matrix; `kind` says how block `i` attends.
fn gemma(b: &mut Builder, h: &Hyper, kind: impl Fn(usize) -> (AttendParams, usize)) -> Result<()> {
    embedding(b, h)?;
    b.push(Layer::Scale(Scale { factor: (h.n_embd as f32).sqrt() }));
    for i in 0..h.n_layer {
        let (params, rope) = kind(i);
        let f = attention(b, h, i, params, rope)?;
        let (before, after) = (block(i, "attn_norm"), block(i, "post_attention_norm"));
        branch(b, h, &before, f, &after)?;
        let f = ffn(b, h, i, Activation::Gelu)?;
        let (before, after) = (block(i, "ffn_norm"), block(i, "post_ffw_norm"));
        branch(b, h, &before, f, &after)?;
    }
    head(b, h)
}

/// x + norm(f(norm(x)))
fn branch(b: &mut Builder, h: &Hyper, before: &str, f: Layer, after: &str) -> Result<()> {
    let before = b.rmsnorm(before, h.n_embd, h.eps)?;
    let after = b.rmsnorm(after, h.n_embd, h.eps)?;
    b.push(Layer::Residual(Residual { body: vec![Layer::Norm(before), f, Layer::Norm(after)] }));
    Ok(())
}
