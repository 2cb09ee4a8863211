//! Products of f32 matrices, for training: forward, backward to the input and backward to the weights.
//!
//! With rows of activations `x [rows][in]` and weights `w [out][in]` these are `y = x w^T`, `dx = dy w` and `dw += dy^T x`; the transposes are
//! views. Factors may be rounded to bf16. An element's sum runs in one order, whatever part of the result a thread has.

use super::Exec;
use crate::error::{Result, fail};
use crate::threads::part;
use qorus_kernels::{GEMM_PANEL, Mat, Products, TileMut, gemm_block, gemm_cols, gemm_packed, gemm_parts};
use std::ops::Range;

/// Rows and columns at which parts begin: whole tiles of most kernels.
pub(super) const UNITS: (usize, usize) = (14, GEMM_PANEL);

/// Multiplications below which a product is not worth a fork.
const WORTH: usize = 64 * 1024;

/// Rows, of few columns of a much wider result, up to which a thread packs what it multiplies: forks would be many.
const FEW: usize = 512;

/// Columns that a thread packs at a time: some lines of the cache in a row.
const PACKED: usize = 4 * GEMM_PANEL;

/// The most rows that a thread multiplies at a time: what the kernel has in the second cache.
const CHUNK: usize = 12 * UNITS.0;

/// Pieces that a thread has at least of rows that are packed, where there are enough: the last ones even out who was late.
const PIECES: usize = 8;

/// Multiplications of a piece whose rows are read where they lie, so that nothing speaks for long ones: about 20 microseconds.
const PIECE: usize = 2 << 20;

/// Bytes of scratch that each thread needs: see [`Exec::scratch_bytes`].
pub const fn scratch() -> usize {
    qorus_kernels::gemm_bytes()
}

/// `c = a b`, or `c += a b` to `accumulate`; `c` is `[a.rows()][b.cols()]`. `products`: how the factors are rounded. `Shape` when the
/// sizes do not fit each other.
pub fn gemm(exec: &Exec, products: Products, a: Mat, b: Mat, accumulate: bool, c: &mut [f32]) -> Result<()> {
    let (rows, cols, depth) = (a.rows(), b.cols(), a.cols());
    if b.rows() != depth || rows.checked_mul(cols) != Some(c.len()) {
        fail!(Shape, "a product of [{rows}][{depth}] and [{}][{cols}] into {} elements", b.rows(), c.len());
    }
    gemm_to(exec, products, a, b, accumulate, &TileMut::new(c, rows, cols))
}

/// The same into a window of a matrix.
pub fn gemm_to(exec: &Exec, products: Products, a: Mat, b: Mat, accumulate: bool, c: &TileMut) -> Result<()> {
    let (rows, cols, depth) = (a.rows(), b.cols(), a.cols());
    if b.rows() != depth || (rows, cols) != (c.rows(), c.cols()) {
        fail!(Shape, "a product of [{rows}][{depth}] and [{}][{cols}] into [{}][{}]", b.rows(), c.rows(), c.cols());
    }
    let few = rows.saturating_mul(cols).saturating_mul(depth) < WORTH;
    let job = Product { exec, products, a, b, accumulate, c };
    if few || exec.pool.is_empty() {
        // SAFETY: nothing else runs.
        unsafe { job.whole(0, 0..cols) };
        return Ok(());
    }
    let widest = gemm_cols();
    if rows <= FEW && cols >= 8 * widest {
        let pieces = cols.div_ceil(widest / 2);
        // SAFETY: the columns of pieces are disjoint, and a thread has one at a time.
        return exec.pool.share(pieces, |thread, i| unsafe { job.whole(thread, part(cols, UNITS.1, i, pieces)) });
    }
    job.shared()
}

/// One thread's product.
pub(super) fn part_of(
    exec: &Exec,
    products: Products,
    a: Mat,
    b: Mat,
    accumulate: bool,
    c: &mut TileMut,
    scratch: &mut [u8],
) {
    match products {
        Products::F32 => exec.kernels.gemm(a, b, accumulate, c, scratch),
        Products::Bf16 => exec.kernels.gemm_bf16(a, b, accumulate, c, scratch),
    }
}

struct Product<'a> {
    exec: &'a Exec<'a>,
    products: Products,
    a: Mat<'a>,
    b: Mat<'a>,
    accumulate: bool,
    c: &'a TileMut<'a>,
}

/// A part of the columns and of the depth: of the second operand, what is packed at once.
#[derive(Clone)]
struct Block {
    cols: Range<usize>,
    depth: Range<usize>,
}

impl Product<'_> {
    /// Some columns, as one call of the kernel.
    ///
    /// # Safety
    /// No two threads may have a number or columns in common at the same time.
    unsafe fn whole(&self, thread: usize, cols: Range<usize>) {
        // SAFETY: the caller's promise.
        let (scratch, mut c) = unsafe { (self.exec.scratch_of(thread), self.c.cols_shared(cols.clone())) };
        let b = self.b.part(0..self.b.rows(), cols);
        part_of(self.exec, self.products, self.a, b, self.accumulate, &mut c, scratch);
    }

    /// All of it by all threads, block by block: together they pack the next one and multiply with this one, piece by piece.
    fn shared(&self) -> Result<()> {
        let (rows, blocks, threads) = (self.a.rows(), self.blocks(), self.exec.pool.len());
        let work = rows * self.b.cols().div_ceil(blocks.0.max(1)) * self.b.rows().div_ceil(blocks.1);
        let pieces = if self.a.is_transposed() { PIECES * threads } else { work / PIECE };
        let chunks = rows.div_ceil(CHUNK).max(rows.div_ceil(UNITS.0).min(pieces));
        for i in 0..=blocks.0 * blocks.1 {
            let (next, this) = (self.block(blocks, i), i.checked_sub(1).and_then(|i| self.block(blocks, i)));
            let packs = next.as_ref().map_or(0, |block| block.cols.len().div_ceil(PACKED));
            let pieces = packs + if this.is_some() { chunks } else { 0 };
            self.exec.pool.share(pieces, |thread, piece| {
                match (&next, &this) {
                    // SAFETY: a piece is one thread's, and nobody reads this place before the next fork.
                    (Some(next), _) if piece < packs => unsafe { self.pack(i % 2, next, piece) },
                    // SAFETY: a piece is one thread's, and a thread has one at a time.
                    (_, Some(this)) => unsafe {
                        self.multiply(thread, (i + 1) % 2, this, part(rows, UNITS.0, piece - packs, chunks));
                    },
                    _ => {}
                }
            })?;
        }
        Ok(())
    }

    /// How many blocks the columns and the depth are cut into: of one size, as far as that goes.
    fn blocks(&self) -> (usize, usize) {
        let cols = self.b.cols();
        let across = cols.div_ceil(gemm_cols());
        let widest = cols.div_ceil(UNITS.1).div_ceil(across.max(1)) * UNITS.1;
        (across, self.b.rows().div_ceil(gemm_block(widest)).max(1))
    }

    /// The blocks of the same columns one after another, in the order of their depths.
    fn block(&self, (across, down): (usize, usize), i: usize) -> Option<Block> {
        let (cols, depth) = (self.b.cols(), self.b.rows());
        let block = || Block { cols: part(cols, UNITS.1, i / down, across), depth: part(depth, 8, i % down, down) };
        (i < across * down).then(block)
    }

    /// Bytes of all scratch: the place that a thread has for a packed block, and that for what it packs of the first operand.
    fn places(&self, thread: usize) -> [Range<usize>; 2] {
        let from = thread * self.exec.scratch_bytes;
        // SAFETY: no bytes.
        let start = from + unsafe { self.exec.scratch.part(from..from) }.as_ptr().align_offset(64);
        let [second, first] = gemm_parts();
        [start..start + second, start + second..start + second + first]
    }

    /// The place of the columns from `col` on of a packed block, up to those from `end` on: the first two threads have one in turn.
    fn packed(&self, place: usize, block: &Block, cols: Range<usize>) -> Range<usize> {
        let at = |col| gemm_packed(self.products, block.depth.len(), col) * size_of::<f32>();
        let start = self.places(place)[0].start;
        start + at(cols.start)..start + at(cols.end)
    }

    /// Packs a piece of a block.
    ///
    /// # Safety
    /// No two threads may have a piece in common, and nobody may read the place.
    unsafe fn pack(&self, place: usize, block: &Block, piece: usize) {
        let cols = piece * PACKED..block.cols.len().min((piece + 1) * PACKED);
        let to = self.packed(place, block, cols.clone());
        // SAFETY: the caller's promise; pieces begin at whole panels.
        let panels = bytemuck::cast_slice_mut(unsafe { self.exec.scratch.part(to) });
        let b = self.b.part(block.depth.clone(), block.cols.start + cols.start..block.cols.start + cols.end);
        self.exec.kernels.gemm_pack(self.products, b, panels);
    }

    /// Multiplies some rows with a block.
    ///
    /// # Safety
    /// No two threads may have a number or rows in common at the same time, and nobody may write the place.
    unsafe fn multiply(&self, thread: usize, place: usize, block: &Block, rows: Range<usize>) {
        let Block { cols, depth } = block;
        let from = self.packed(place, block, 0..cols.len());
        let own = self.places(thread)[1].clone();
        // SAFETY: the caller's promise: many read the one, this thread has the others.
        let (panels, scratch, mut c) = unsafe {
            let (panels, scratch) = (self.exec.scratch.shared(from), self.exec.scratch.part(own));
            (panels, scratch, self.c.part_shared(rows.clone(), cols.clone()))
        };
        let (a, b) = (self.a.part(rows, depth.clone()), self.b.part(depth.clone(), cols.clone()));
        let (panels, scratch) = (bytemuck::cast_slice(panels), bytemuck::cast_slice_mut(scratch));
        let accumulate = self.accumulate || depth.start > 0;
        self.exec.kernels.gemm_packed(self.products, (a, b, panels, 0), accumulate, &mut c, scratch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::{Pool, Shards};
    use qorus_kernels::{Isa, Kernels};
    use std::sync::atomic::AtomicBool;

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let (m, n, k) = (131, 210, 67);
        let numbers = |len: usize, a: f32| -> Vec<f32> { (0..len).map(|i| (i as f32 * a).sin()).collect() };
        let (a, b, start) = (numbers(m * k, 0.7), numbers(k * n, 1.3), numbers(m * n, 2.1));
        let kernels = Kernels::new(Isa::detect()).unwrap();
        let run = |threads: usize, accumulate: bool| {
            let pool = Pool::new(threads).unwrap();
            let mut bytes = vec![0; threads * scratch()];
            let (shards, cancel) = (Shards::new(&mut bytes), AtomicBool::new(false));
            let exec =
                Exec { kernels: &kernels, pool: &pool, scratch: &shards, scratch_bytes: scratch(), cancel: &cancel };
            let mut c = start.clone();
            gemm(&exec, Products::F32, Mat::new(&a, k, m, m).t(), Mat::new(&b, k, n, n), accumulate, &mut c).unwrap();
            let unfit = (Mat::new(&a, m, k, k), Mat::new(&b, n, k, k));
            assert!(gemm(&exec, Products::F32, unfit.0, unfit.1, accumulate, &mut c).is_err());
            c
        };
        for accumulate in [false, true] {
            let expected = run(1, accumulate);
            assert_ne!(expected, start);
            for threads in [2, 3, 4, 7] {
                assert_eq!(run(threads, accumulate), expected, "{threads} threads");
            }
        }
    }
}
