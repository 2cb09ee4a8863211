//! Phi-3 and Phi-4 (arXiv 2404.14219, 2412.08905): a llama with fused projections, LongRoPE and perhaps a window.

use super::Builder;
use super::decoder::stack;
use crate::error::Result;
use crate::ops::rope::RopeStyle;

/// Appends the layers of a Phi-3.
pub fn phi3(b: &mut Builder) -> Result<()> {
    let window = b.count_opt("attention.sliding_window")?.unwrap_or(0);
    stack(b, RopeStyle::Neox, window, true)
}
