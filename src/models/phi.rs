//! Phi-3 and Phi-4 (arXiv 2404.14219, 2412.08905): a llama with fused projections, LongRoPE and perhaps a window.

use super::decoder::{Hyper, attention, block, embedding, ffn, head, pre_norm};
use super::rope::Rope;
use super::Builder;
use crate::error::Result;
use crate::ops::activation::Activation;
use crate::ops::attend::AttendParams;
use crate::ops::rope::RopeStyle;

/// Appends the layers of a Phi-3.
pub fn phi3(b: &mut Builder) -> Result<()> {
    let h = Hyper::read(b)?;
    let rope = Rope::from_metadata(b, RopeStyle::Neox, h.head_dim, 10000.0)?;
    let rope = b.rope(rope);
    let window = b.count_opt("attention.sliding_window")?.unwrap_or(0);
    embedding(b, &h)?;
    for i in 0..h.n_layer {
        let norm = b.rmsnorm(&block(i, "attn_norm"), h.n_embd, h.eps)?;
        let f = attention(b, &h, i, AttendParams { window, ..h.attend() }, rope)?;
        b.push(pre_norm(norm, f));
        let norm = b.rmsnorm(&block(i, "ffn_norm"), h.n_embd, h.eps)?;
        let f = ffn(b, &h, i, Activation::Silu)?;
        b.push(pre_norm(norm, f));
    }
    head(b, &h)
}
