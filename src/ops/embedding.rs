//! Rows of a table by token, and the gradient of that table.

use super::Exec;
use super::matmul::Matrix;
use crate::error::{Result, fail};
use crate::threads::Shards;

/// `y[i] = table[tokens[i]]`
pub fn embedding(exec: &Exec, table: &Matrix, tokens: &[u32], y: &mut [f32]) -> Result<()> {
    /// Rows that are not worth a fork.
    const FEW: usize = 64;
    let (width, row_bytes) = (table.cols, table.bytes.len() / table.rows.max(1));
    if y.len() != tokens.len() * width {
        fail!(Shape, "{} tokens for {} elements of width {width}", tokens.len(), y.len());
    }
    if let Some(token) = tokens.iter().find(|&&t| t as usize >= table.rows) {
        fail!(InvalidArgument, "token {token} is outside the vocabulary of {}", table.rows);
    }
    let y = Shards::new(y);
    exec.pool.split(tokens.len(), FEW, |part| {
        for (i, &token) in part.clone().zip(&tokens[part]) {
            // SAFETY: each row belongs to one thread.
            let row = unsafe { y.part(i * width..(i + 1) * width) };
            exec.kernels.dequantize(table.ty, &table.bytes[token as usize * row_bytes..][..row_bytes], row);
        }
    })
}

/// `dw[tokens[i]] += dy[i]`, rows of `width`. The rows of one token are added in their order: threads share the columns.
#[cfg(feature = "train")]
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
