//! Qwen2 (with biases, arXiv 2407.10671) and Qwen3 (with norms of query and key heads, arXiv 2505.09388), plain and
//! with experts.

use super::Builder;
use super::decoder::stack;
use crate::error::Result;
use crate::ops::rope::RopeStyle;

/// Appends the layers of a Qwen2 or Qwen2-MoE, whose chosen experts keep their probabilities.
pub fn qwen2(b: &mut Builder) -> Result<()> {
    stack(b, RopeStyle::Neox, 0, false)
}

/// Appends the layers of a Qwen3 or Qwen3-MoE, whose chosen experts' weights sum to 1.
pub fn qwen3(b: &mut Builder) -> Result<()> {
    stack(b, RopeStyle::Neox, 0, true)
}
