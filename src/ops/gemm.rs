//! Products of f32 matrices, for training: forward, backward to the input and backward to the weights.
//!
//! With rows of activations `x [rows][in]` and weights `w [out][in]` these are `y = x w^T`, `dx = dy w` and `dw += dy^T x`; the transposes are
//! views. Factors may be rounded to bf16. An element's sum runs in one order, whatever part of the result a thread has.

use super::Exec;
use crate::error::{Result, fail};
use crate::threads::part;
use qorus_kernels::{Mat, Products, TileMut};
use std::ops::Range;

/// Rows and columns at which parts begin: whole tiles of most kernels.
const UNITS: (usize, usize) = (14, 32);

/// Multiplications below which a product is not worth a fork.
const WORTH: usize = 64 * 1024;

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
    let grid = if few { (1, 1) } else { grid(rows, cols, exec.pool.len()) };
    let job = |thread: usize| {
        let (rows, cols) = place(rows, cols, grid, thread);
        if !rows.is_empty() && !cols.is_empty() {
            // SAFETY: this is part `thread` of the job, and it asks once.
            let scratch = unsafe { exec.scratch_of(thread) };
            // SAFETY: the places of the threads are disjoint.
            let mut c = unsafe { c.part_shared(rows.clone(), cols.clone()) };
            part_of(exec, products, a.part(rows, 0..depth), b.part(0..depth, cols), accumulate, &mut c, scratch);
        }
    };
    if grid == (1, 1) {
        job(0);
        return Ok(());
    }
    exec.pool.run(&job)
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

/// How many parts the rows and the columns are cut into: as many as there are threads, and as little to pack for each as that allows.
fn grid(rows: usize, cols: usize, threads: usize) -> (usize, usize) {
    let cuts = (1..=threads).filter(|down| threads.is_multiple_of(*down)).map(|down| (down, threads / down));
    let lines = |(down, across): (usize, usize)| rows.div_ceil(down) + cols.div_ceil(across);
    cuts.min_by_key(|cut| lines(*cut)).unwrap_or((threads, 1))
}

/// The rows and columns of part `thread`.
fn place(rows: usize, cols: usize, (down, across): (usize, usize), thread: usize) -> (Range<usize>, Range<usize>) {
    (part(rows, UNITS.0, thread / across, down), part(cols, UNITS.1, thread % across, across))
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

    #[test]
    fn places_cover_everything_once() {
        for (rows, cols, threads) in [(131, 210, 6), (5, 1000, 4), (1000, 5, 3), (1, 1, 7), (0, 9, 2)] {
            let grid = grid(rows, cols, threads);
            assert_eq!(grid.0 * grid.1, threads);
            let mut seen = vec![0; rows * cols];
            for thread in 0..threads {
                let (down, across) = place(rows, cols, grid, thread);
                down.for_each(|row| across.clone().for_each(|col| seen[row * cols + col] += 1));
            }
            assert!(seen.iter().all(|n| *n == 1), "{rows} x {cols} on {threads}");
        }
    }
}
