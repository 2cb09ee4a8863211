//! Low-rank additions to a product: `y = f (w x + scale b (a x))` (LoRA, Hu et al., arXiv 2106.09685), where f is 1 or, for DoRA
//! (Liu et al., arXiv 2402.09353), what brings each row of the changed matrix to a length of its own.
//!
//! An element's sum runs over the rank in one order and is then added to it, whatever rows share the batch and however many
//! threads share the work.

use super::Exec;
use super::matmul::Matrix;
use crate::error::{Result, fail};
use crate::memory::{Frame, Need};
use crate::threads::{Shards, part};
use qorus_kernels::{TileMut, Type};

/// An addition to a matrix of `[rows][cols]`, or to some rows of one.
#[derive(Clone, Copy)]
pub struct LowRank<'a> {
    /// Rows of `a` and of `b`.
    pub rank: usize,
    /// `[rank][cols]`
    pub a: &'a [f32],
    /// `[rank][width]`, of which the elements from `from` on belong to the rows here.
    pub b: &'a [f32],
    /// Elements of a row of `b`.
    pub width: usize,
    /// See `b`.
    pub from: usize,
    /// What `b (a x)` is multiplied by.
    pub scale: f32,
    /// How much of the addition is wanted: 1 for all of it.
    pub weight: f32,
    /// The length that each of the rows here is brought to, and the one that it has with the addition.
    pub lengths: Option<(&'a [f32], &'a [f32])>,
}

impl LowRank<'_> {
    /// The factor of row `row` of the changed matrix.
    pub fn stretch(&self, row: usize) -> f32 {
        self.lengths.map_or(1.0, |(wanted, there)| if there[row] > 0.0 { wanted[row] / there[row] } else { 1.0 })
    }
}

/// Columns of a result that are made at once.
const CHUNK: usize = 256;

/// Multiplications below which a part of the work is not worth a fork.
const WORTH: usize = 64 * 1024;

/// Bytes that [`low_rank`] takes for `rows` rows, with additions of up to that rank.
pub fn need(rows: usize, out: usize, rank: usize) -> Need {
    if rank == 0 { Need::new() } else { Need::new().take::<f32>(out).take::<f32>(rows.saturating_mul(rank)) }
}

/// Makes of `y`, which is `w x` for `x` of rows of `cols`, what the matrix would give with all the additions: each counts as far as its
/// weight says.
pub fn low_rank<'a>(
    exec: &Exec,
    frame: &mut Frame<'_>,
    x: &[f32],
    cols: usize,
    y: &mut [f32],
    all: impl Iterator<Item = LowRank<'a>> + Clone,
) -> Result<()> {
    let rows = x.len() / cols.max(1);
    let out = y.len() / rows.max(1);
    let mut frame = frame.sub();
    let stretch = frame.take::<f32>(out)?;
    if all.clone().any(|l| l.lengths.is_some()) {
        for (i, stretch) in stretch.iter_mut().enumerate() {
            *stretch = all.clone().fold(1.0, |sum, l| sum + l.weight * (l.stretch(i) - 1.0));
        }
        y.chunks_exact_mut(out.max(1)).for_each(|y| exec.kernels.mul(y, stretch));
    }
    for l in all {
        let mut frame = frame.sub();
        let inner = frame.take::<f32>(rows * l.rank)?;
        if l.a.len() != l.rank * cols || l.b.len() != l.rank * l.width || l.from + out > l.width {
            fail!(Internal, "an addition of rank {} does not fit its matrix [{out}][{cols}]", l.rank);
        }
        shrink(exec, x, cols, &l, inner)?;
        expand(exec, &l, inner, out, y)?;
    }
    Ok(())
}

/// Scratch that each thread needs for [`lengths`] of rows of `cols`.
pub fn lengths_scratch(cols: usize) -> usize {
    cols.saturating_mul(size_of::<f32>()).saturating_add(64)
}

/// The length of each row of a matrix with the addition, before any stretch.
pub fn lengths(exec: &Exec, w: &Matrix, l: &LowRank, to: &mut [f32]) -> Result<()> {
    let row_bytes = w.bytes.len() / w.rows.max(1);
    if to.len() != w.rows || l.from + w.rows > l.width || l.a.len() != l.rank * w.cols {
        fail!(Internal, "an addition of rank {} does not fit its matrix [{}][{}]", l.rank, w.rows, w.cols);
    }
    let to = Shards::new(to);
    exec.pool.run(&|thread| {
        // SAFETY: this is part `thread` of the job, and it asks once.
        let scratch = unsafe { exec.scratch_of(thread) };
        let start = scratch.as_ptr().align_offset(64);
        let row: &mut [f32] = bytemuck::cast_slice_mut(&mut scratch[start..][..w.cols * size_of::<f32>()]);
        for i in part(w.rows, 1, thread, exec.pool.len()) {
            exec.kernels.dequantize(w.ty, &w.bytes[i * row_bytes..][..row_bytes], row);
            for (j, a) in l.a.chunks_exact(w.cols).enumerate() {
                exec.kernels.axpy(row, l.scale * l.b[j * l.width + l.from + i], a);
            }
            // SAFETY: each row belongs to one thread.
            let to = unsafe { to.part(i..i + 1) };
            to[0] = exec.kernels.dot(row, row).sqrt();
        }
    })
}

/// inner = x a^T
fn shrink(exec: &Exec, x: &[f32], cols: usize, l: &LowRank, inner: &mut [f32]) -> Result<()> {
    let (rows, a) = (x.len() / cols.max(1), bytemuck::cast_slice(l.a));
    let shards = Shards::new(inner);
    let job = |rows: std::ops::Range<usize>| {
        // SAFETY: each row belongs to one thread.
        let inner = unsafe { shards.part(rows.start * l.rank..rows.end * l.rank) };
        let x = &x[rows.start * cols..rows.end * cols];
        exec.kernels.matmul_f32(Type::F32, a, x, cols, &mut TileMut::new(inner, rows.len(), l.rank));
    };
    if x.len() * l.rank < WORTH {
        job(0..rows);
        return Ok(());
    }
    exec.pool.split(rows, 4, job)
}

/// y += weight scale f (inner b)
fn expand(exec: &Exec, l: &LowRank, inner: &[f32], out: usize, y: &mut [f32]) -> Result<()> {
    let rows = inner.len() / l.rank.max(1);
    let (chunks, shards) = (out.div_ceil(CHUNK), Shards::new(y));
    let job = |part: std::ops::Range<usize>| {
        for (row, chunk) in part.map(|i| (i % rows, i / rows)) {
            let at = chunk * CHUNK..out.min((chunk + 1) * CHUNK);
            let mut sum = [0.0; CHUNK];
            let sum = &mut sum[..at.len()];
            for (j, inner) in inner[row * l.rank..][..l.rank].iter().enumerate() {
                let b = &l.b[j * l.width + l.from..][at.clone()];
                exec.kernels.axpy(sum, *inner, b);
            }
            if l.lengths.is_some() {
                sum.iter_mut().zip(at.clone()).for_each(|(sum, i)| *sum *= l.stretch(i));
            }
            // SAFETY: each chunk of a row belongs to one thread.
            let y = unsafe { shards.part(row * out + at.start..row * out + at.end) };
            exec.kernels.axpy(y, l.weight * l.scale, sum);
        }
    };
    if rows * out * l.rank < WORTH {
        job(0..rows * chunks);
        return Ok(());
    }
    exec.pool.split(rows * chunks, 1, job)
}
