//! Llama 1 to 3, Mistral, SmolLM, TinyLlama, Mixtral (Touvron et al., arXiv 2302.13971 and 2307.09288).

use super::Builder;
use super::decoder::stack;
use crate::error::Result;
use crate::ops::rope::RopeStyle;

/// Appends the layers of a llama, or of a Mixtral, whose chosen experts' weights sum to 1.
pub fn llama(b: &mut Builder) -> Result<()> {
    stack(b, RopeStyle::Norm, 0, true)
}
