//! Rotary position embedding of query and key heads (Su et al., arXiv 2104.09864).

use super::{Exec, by_rows};
use crate::error::Result;

/// Which elements of a head form a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeStyle {
    /// 2i and 2i + 1 (llama).
    Norm,
    /// i and i + half (GPT-NeoX, and every Hugging Face layout).
    Neox,
}

/// Rotates heads in place: `x` holds rows of `heads * head_dim`, `cos` and `sin` rows of `half` elements;
/// the first 2 * `half` elements of each head turn, the rest stay.
pub fn rope(
    exec: &Exec,
    style: RopeStyle,
    x: &mut [f32],
    head_dim: usize,
    cos: &[f32],
    sin: &[f32],
    half: usize,
) -> Result<()> {
    let k = exec.kernels;
    by_rows(exec, cos, x, cos.len() / half.max(1), |row, cos, x| {
        let sin = &sin[row * half..][..half];
        for head in x.chunks_exact_mut(head_dim) {
            match style {
                RopeStyle::Norm => k.rope_norm(head, cos, sin),
                RopeStyle::Neox => k.rope_neox(head, cos, sin),
            }
        }
    })
}
