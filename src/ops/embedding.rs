//! Gradient of a table of which tokens took rows.

use super::Exec;
use crate::error::{Result, fail};
use crate::threads::Shards;

/// `dw[tokens[i]] += dy[i]`, rows of `width`. The rows of one token are added in their order: threads share the columns.
pub fn embedding_backward(exec: &Exec, tokens: &[u32], dy: &[f32], width: usize, dw: &mut [f32]) -> Result<()> {
    let rows = dw.len().checked_div(width).unwrap_or(0);
    if dy.len() != tokens.len() * width || dw.len() != rows * width {
        fail!(Shape, "{} tokens for {} elements of width {width}", tokens.len(), dy.len());
    }
    if let Some(token) = tokens.iter().find(|&&t| t as usize >= rows) {
        fail!(InvalidArgument, "token {token} is outside the vocabulary of {rows}");
    }
    let dw = Shards::new(dw);
    exec.pool.split(width, 16, |columns| {
        for (&token, dy) in tokens.iter().zip(dy.chunks_exact(width)) {
            let at = token as usize * width;
            // SAFETY: these columns are one thread's.
            let dw = unsafe { dw.part(at + columns.start..at + columns.end) };
            exec.kernels.add(dw, &dy[columns.clone()]);
        }
    })
}
