//! Llama 1 to 3, Mistral, SmolLM, TinyLlama, Mixtral (Touvron et al., arXiv 2302.13971 and 2307.09288).

use super::decoder::{Hyper, attention, block, embedding, ffn, head, moe, pre_norm};
use super::rope::Rope;
use super::Builder;
use crate::error::Result;
use crate::ops::activation::Activation;
use crate::ops::rope::RopeStyle;

/// Appends the layers of a llama.
pub fn llama(b: &mut Builder) -> Result<()> {
    let h = Hyper::read(b)?;
    let rope = Rope::from_metadata(b, RopeStyle::Norm, h.head_dim, 10000.0)?;
    let rope = b.rope(rope);
    let experts = b.count_opt("expert_count")?.unwrap_or(0) > 0;
    embedding(b, &h)?;
    for i in 0..h.n_layer {
        let norm = b.rmsnorm(&block(i, "attn_norm"), h.n_embd, h.eps)?;
        let f = attention(b, &h, i, h.attend(), rope)?;
        b.push(pre_norm(norm, f));
        let norm = b.rmsnorm(&block(i, "ffn_norm"), h.n_embd, h.eps)?;
        let f = if experts { moe(b, &h, i, true)? } else { ffn(b, &h, i, Activation::Silu)? };
        b.push(pre_norm(norm, f));
    }
    head(b, &h)
}
