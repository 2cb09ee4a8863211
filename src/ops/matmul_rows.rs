//! Products with weights as training takes them: forward, back to the input, and back to the weights.
//!
//! Weights of any storage type meet activations as they are: a thread unpacks a panel of them at a time into its scratch, and multiplies it
//! with all rows. Each element of a result is one sum in the order of the weights, so neither panels nor threads are seen in its bits.

use super::Exec;
use super::gemm::{self, gemm, part_of};
use super::matmul::Matrix;
use crate::error::{Result, fail};
use crate::threads::part;
use qorus_kernels::{Mat, TileMut, Type};
use std::ops::Range;

/// Weight rows, and elements of each, that a thread has unpacked: they stay in the second cache.
const PANEL: (usize, usize) = (256, 512);

/// Bytes of scratch that each thread needs for weights of that type.
pub fn scratch(ty: Type) -> usize {
    gemm::scratch() + if ty == Type::F32 { 0 } else { PANEL.0 * PANEL.1 * size_of::<f32>() + 64 }
}

impl<'a> Matrix<'a> {
    /// The elements of weights that are stored as f32.
    fn f32s(&self) -> Result<&'a [f32]> {
        match bytemuck::try_cast_slice(self.bytes) {
            Ok(values) if self.ty == Type::F32 => Ok(values),
            _ => fail!(Unsupported, "weights as {} that do not lie at multiples of 4 bytes", self.ty.name()),
        }
    }

    /// A part of the weights as f32, `cols` being whole blocks.
    fn unpack<'b>(&self, exec: &Exec, rows: Range<usize>, cols: Range<usize>, panel: &'b mut [f32]) -> Mat<'b> {
        let row_bytes = self.bytes.len() / self.rows.max(1);
        let bytes = |elements: usize| elements / self.ty.block_len() * self.ty.block_bytes();
        let (count, width) = (rows.len(), cols.len());
        for (row, panel) in rows.zip(panel.chunks_exact_mut(width)) {
            let stored = &self.bytes[row * row_bytes..][bytes(cols.start)..bytes(cols.end)];
            exec.kernels.dequantize(self.ty, stored, panel);
        }
        Mat::new(&panel[..count * width], count, width, width)
    }
}

/// The scratch of a product, and a panel.
fn halves(scratch: &mut [u8]) -> (&mut [u8], &mut [f32]) {
    let (own, panel) = scratch.split_at_mut(gemm::scratch());
    let start = panel.as_ptr().align_offset(64);
    (own, bytemuck::cast_slice_mut(&mut panel[start..][..PANEL.0 * PANEL.1 * size_of::<f32>()]))
}

/// y = x w^T (+ bias).
pub fn matmul_rows(exec: &Exec, x: &[f32], w: &Matrix, bias: Option<&[f32]>, y: &mut [f32]) -> Result<()> {
    let rows = x.len() / w.cols.max(1);
    if y.len() != rows * w.rows || x.len() != rows * w.cols {
        fail!(Shape, "{} elements times weights [{}][{}] into {}", x.len(), w.rows, w.cols, y.len());
    }
    let x = Mat::new(x, rows, w.cols, w.cols);
    if let Some(bias) = bias {
        y.chunks_exact_mut(w.rows.max(1)).for_each(|y| y.copy_from_slice(bias));
    }
    if w.ty == Type::F32 {
        return gemm(exec, w.products(exec), x, Mat::new(w.f32s()?, w.rows, w.cols, w.cols).t(), bias.is_some(), y);
    }
    let y = TileMut::new(y, rows, w.rows);
    exec.pool.run(&|thread| {
        // SAFETY: this is part `thread` of the job, and it asks once.
        let (scratch, panel) = halves(unsafe { exec.scratch_of(thread) });
        let mine = part(w.rows, 32, thread, exec.pool.len());
        for from in mine.clone().step_by(PANEL.0) {
            let out = from..mine.end.min(from + PANEL.0);
            // SAFETY: the threads' weight rows are disjoint.
            let mut y = unsafe { y.cols_shared(out.clone()) };
            for at in (0..w.cols).step_by(PANEL.1) {
                let depth = at..w.cols.min(at + PANEL.1);
                let panel = w.unpack(exec, out.clone(), depth.clone(), panel);
                part_of(
                    exec,
                    w.products(exec),
                    x.part(0..rows, depth),
                    panel.t(),
                    at > 0 || bias.is_some(),
                    &mut y,
                    scratch,
                );
            }
        }
    })
}

/// Of y = x w^T: dx = dy w, or dx += dy w to `accumulate`; `[rows][w.rows]` to `[rows][w.cols]`.
pub fn matmul_backward(exec: &Exec, dy: &[f32], w: &Matrix, accumulate: bool, dx: &mut [f32]) -> Result<()> {
    let rows = dy.len() / w.rows.max(1);
    if dx.len() != rows * w.cols {
        fail!(Shape, "{rows} rows of gradients into {} elements, {} each", dx.len(), w.cols);
    }
    let dy = Mat::new(dy, rows, w.rows, w.rows);
    if w.ty == Type::F32 {
        return gemm(exec, w.products(exec), dy, Mat::new(w.f32s()?, w.rows, w.cols, w.cols), accumulate, dx);
    }
    // Threads share columns where there are blocks enough, else rows.
    let (unit, threads) = (w.ty.block_len().max(32), exec.pool.len());
    let across = (1..=threads).rev().find(|n| threads.is_multiple_of(*n) && *n <= w.cols.div_ceil(unit)).unwrap_or(1);
    let dx = TileMut::new(dx, rows, w.cols);
    exec.pool.run(&|thread| {
        // SAFETY: this is part `thread` of the job, and it asks once.
        let (scratch, panel) = halves(unsafe { exec.scratch_of(thread) });
        let mine = part(w.cols, unit, thread % across, across);
        let rows = part(rows, 1, thread / across, threads / across);
        for at in mine.clone().step_by(PANEL.1) {
            let cols = at..mine.end.min(at + PANEL.1);
            // SAFETY: the threads' places are disjoint.
            let mut dx = unsafe { dx.part_shared(rows.clone(), cols.clone()) };
            for from in (0..w.rows).step_by(PANEL.0) {
                let depth = from..w.rows.min(from + PANEL.0);
                let panel = w.unpack(exec, depth.clone(), cols.clone(), panel);
                part_of(
                    exec,
                    w.products(exec),
                    dy.part(rows.clone(), depth),
                    panel,
                    accumulate || from > 0,
                    &mut dx,
                    scratch,
                );
            }
        }
    })
}

/// Of y = x w^T: dw += dy^T x, `[rows][w.rows]` and `[rows][w.cols]` to `[w.rows][w.cols]`.
pub fn matmul_backward_weight(exec: &Exec, x: &[f32], w: &Matrix, dy: &[f32], dw: &mut [f32]) -> Result<()> {
    let (out, cols) = (w.rows, w.cols);
    let rows = x.len() / cols.max(1);
    if dy.len() != rows * out || dw.len() != out * cols {
        fail!(Shape, "gradients of {} elements over {rows} rows for weights [{out}][{cols}]", dy.len());
    }
    gemm(exec, w.products(exec), Mat::new(dy, rows, out, out).t(), Mat::new(x, rows, cols, cols), true, dw)
}
