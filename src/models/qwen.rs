//! Qwen2 (with biases, arXiv 2407.10671) and Qwen3 (with norms of query and key heads, arXiv 2505.09388), plain and
//! with experts.

use super::decoder::{Hyper, attention, block, embedding, ffn, head, moe, pre_norm};
use super::rope::Rope;
use super::Builder;
use crate::error::Result;
use crate::ops::activation::Activation;
use crate::ops::rope::RopeStyle;

/// Appends the layers of a Qwen2 or Qwen2-MoE, whose chosen experts keep their probabilities.
pub fn qwen2(b: &mut Builder) -> Result<()> {
    qwen(b, false)
}

/// Appends the layers of a Qwen3 or Qwen3-MoE, whose chosen experts' weights sum to 1.
pub fn qwen3(b: &mut Builder) -> Result<()> {
    qwen(b, true)
}

fn qwen(b: &mut Builder, renormalize: bool) -> Result<()> {
    let h = Hyper::read(b)?;
    let rope = Rope::from_metadata(b, RopeStyle::Neox, h.head_dim, 10000.0)?;
    let rope = b.rope(rope);
    let experts = b.count_opt("expert_count")?.unwrap_or(0) > 0;
    embedding(b, &h)?;
    for i in 0..h.n_layer {
        let norm = b.rmsnorm(&block(i, "attn_norm"), h.n_embd, h.eps)?;
        let f = attention(b, &h, i, h.attend(), rope)?;
        b.push(pre_norm(norm, f));
        let norm = b.rmsnorm(&block(i, "ffn_norm"), h.n_embd, h.eps)?;
        let f = if experts { moe(b, &h, i, renormalize)? } else { ffn(b, &h, i, Activation::Silu)? };
        b.push(pre_norm(norm, f));
    }
    head(b, &h)
}
