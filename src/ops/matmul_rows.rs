//! Products with weights as training takes them: forward, back to the input, and back to the weights.
//!
//! Weights of any storage type meet activations as they are: a thread unpacks a panel of them at a time into its scratch, and multiplies it
//! with all rows. Threads share the work out in pieces, so that a core that has less time gets less to do. Each element of a result is one sum
//! in the order of the weights, so neither panels nor threads are seen in its bits.

use super::Exec;
use super::gemm::{self, UNITS, gemm, part_of};
use super::matmul::Matrix;
use crate::error::{Result, fail};
use crate::threads::part;
use qorus_kernels::{Mat, Products, TileMut, Type};
use std::ops::Range;

/// Elements of weights that a thread has unpacked: they stay in the second cache.
const PANEL: usize = 256 * 512;

/// The most results of a row that a piece has.
const WIDEST: usize = 256;

/// The fewest, where there are more: the rows that meet them are read for each piece, or of bf16 rounded and packed.
fn narrowest(products: Products) -> usize {
    match products {
        Products::F32 => 64,
        Products::Bf16 => 224,
    }
}

/// The most elements that a panel's sums take at once: what a block of the product has.
const DEEPEST: usize = 1024;

/// Pieces that each of several threads has at least, where there are enough: the last ones even out who was late.
const PIECES: usize = 6;

/// Bytes of scratch that each thread needs for weights of that type.
pub fn scratch(ty: Type) -> usize {
    gemm::scratch() + if ty == Type::F32 { 0 } else { PANEL * size_of::<f32>() + 64 }
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
    (own, bytemuck::cast_slice_mut(&mut panel[start..][..PANEL * size_of::<f32>()]))
}

/// How many pieces so many results of a row make, in whole `unit`s.
fn pieces(exec: &Exec, w: &Matrix, results: usize, unit: usize) -> usize {
    let threads = exec.pool.len();
    let even = if threads > 1 { PIECES * threads } else { 1 };
    results.div_ceil(WIDEST).max(even.min(results.div_ceil(narrowest(w.products(exec)).max(unit))))
}

/// How many elements of so many results' sums a panel holds, in whole blocks of every type.
fn depth(results: usize) -> usize {
    (PANEL / results.max(1)).min(DEEPEST) / 256 * 256
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
    let pieces = pieces(exec, w, w.rows, 32);
    exec.pool.share(pieces, |thread, piece| {
        // SAFETY: a thread has one piece at a time.
        let (scratch, panel) = halves(unsafe { exec.scratch_of(thread) });
        let out = part(w.rows, 32, piece, pieces);
        // SAFETY: the pieces' weight rows are disjoint.
        let mut y = unsafe { y.cols_shared(out.clone()) };
        let step = depth(out.len());
        for at in (0..w.cols).step_by(step) {
            let depth = at..w.cols.min(at + step);
            let panel = w.unpack(exec, out.clone(), depth.clone(), panel).t();
            let (x, more) = (x.part(0..rows, depth), at > 0 || bias.is_some());
            part_of(exec, w.products(exec), x, panel, more, &mut y, scratch);
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
    // Pieces are columns, and of few blocks rows too, for which the weights are unpacked again.
    let (unit, threads) = (w.ty.block_len().max(32), exec.pool.len());
    let across = pieces(exec, w, w.cols, unit);
    let down = if threads > 1 { (2 * threads).div_ceil(across.max(1)).min(rows.div_ceil(UNITS.0)) } else { 1 };
    let dx = TileMut::new(dx, rows, w.cols);
    exec.pool.share(across * down, |thread, piece| {
        // SAFETY: a thread has one piece at a time.
        let (scratch, panel) = halves(unsafe { exec.scratch_of(thread) });
        let cols = part(w.cols, unit, piece % across, across);
        let rows = part(rows, UNITS.0, piece / across, down);
        // SAFETY: the pieces' places are disjoint.
        let mut dx = unsafe { dx.part_shared(rows.clone(), cols.clone()) };
        let step = depth(cols.len());
        for from in (0..w.rows).step_by(step) {
            let depth = from..w.rows.min(from + step);
            let panel = w.unpack(exec, depth.clone(), cols.clone(), panel);
            let (dy, more) = (dy.part(rows.clone(), depth), accumulate || from > 0);
            part_of(exec, w.products(exec), dy, panel, more, &mut dx, scratch);
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
