//! Operations: check shapes, choose the kernel, split the work over the threads.
//!
//! One file per operation, named as its kernel. Every split follows rows or weight rows, whose results do
//! not depend on each other, so the bits are the same for any number of threads.

pub mod activation;
pub mod attend;
#[cfg(feature = "train")]
pub mod attend_rows;
#[cfg(feature = "train")]
pub mod dropout;
pub mod elementwise;
pub mod embedding;
#[cfg(feature = "train")]
pub mod gemm;
pub mod low_rank;
pub mod matmul;
#[cfg(feature = "train")]
pub mod matmul_rows;
pub mod norm;
pub mod rope;
pub mod tensors;

use crate::error::{Result, fail};
use crate::threads::{Pool, Shards};
use qorus_kernels::Kernels;
use std::sync::atomic::{AtomicBool, Ordering};

/// What an operation runs on: kernels of one level, threads, and each thread's scratch.
pub struct Exec<'a> {
    /// The kernels.
    pub kernels: &'a Kernels,
    /// The threads.
    pub pool: &'a Pool,
    /// `pool.len()` times [`Exec::scratch_bytes`] bytes, a part for each thread.
    pub scratch: &'a Shards<'a, u8>,
    /// Scratch of one thread.
    pub scratch_bytes: usize,
    /// Set from another thread to stop at the next operation.
    pub cancel: &'a AtomicBool,
}

impl Exec<'_> {
    /// `Cancelled` when the caller asked for it.
    pub fn check_cancel(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            fail!(Cancelled, "the call was cancelled");
        }
        Ok(())
    }

    /// The scratch of part `index`.
    ///
    /// # Safety
    /// Only part `index` of a running job may call this, and not before it is done with what the last call gave.
    #[allow(clippy::mut_from_ref)] // exclusive by the caller's promise
    pub(crate) unsafe fn scratch_of(&self, index: usize) -> &mut [u8] {
        // SAFETY: parts of different threads are disjoint; the caller is the only user of its own.
        unsafe { self.scratch.part(index * self.scratch_bytes..(index + 1) * self.scratch_bytes) }
    }
}

/// Calls `f(row, input row, output row)` for each row, split over the threads when that is worth a fork.
fn by_rows(
    exec: &Exec,
    x: &[f32],
    y: &mut [f32],
    rows: usize,
    f: impl Fn(usize, &[f32], &mut [f32]) + Sync,
) -> Result<()> {
    // A fork and a join cost about as much as a pass over this many elements.
    const WORTH: usize = 16 * 1024;
    if rows == 0 {
        return Ok(());
    }
    let (w_in, w_out) = (x.len() / rows, y.len() / rows);
    if x.len() < WORTH || exec.pool.is_empty() {
        for row in 0..rows {
            f(row, &x[row * w_in..][..w_in], &mut y[row * w_out..][..w_out]);
        }
        return Ok(());
    }
    let y = Shards::new(y);
    exec.pool.split(rows, 1, |part| {
        for row in part {
            // SAFETY: each row belongs to one thread.
            let out = unsafe { y.part(row * w_out..(row + 1) * w_out) };
            f(row, &x[row * w_in..][..w_in], out);
        }
    })
}
