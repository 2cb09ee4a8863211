//! The gradients of all tensors: flat, but for those of an embedding that are kept by rows.

use super::slots::{Chunk, Slots};
use crate::error::Result;
use crate::layers::sparse::SparseRows;
use crate::ops::Exec;
use crate::threads::Shards;

/// Gradients to read.
#[derive(Clone, Copy)]
pub struct Gradients<'a> {
    flat: &'a [f32],
    rows: Option<&'a SparseRows>,
}

/// Gradients to use up.
pub struct GradientsMut<'a> {
    flat: &'a mut [f32],
    rows: Option<&'a mut SparseRows>,
}

impl<'a, T: AsRef<[f32]> + ?Sized> From<&'a T> for Gradients<'a> {
    fn from(flat: &'a T) -> Self {
        Gradients { flat: flat.as_ref(), rows: None }
    }
}

impl<'a, T: AsMut<[f32]> + ?Sized> From<&'a mut T> for GradientsMut<'a> {
    fn from(flat: &'a mut T) -> Self {
        GradientsMut { flat: flat.as_mut(), rows: None }
    }
}

impl<'a> GradientsMut<'a> {
    /// Flat gradients of all tensors, but for the first where that is kept by rows.
    pub fn with_rows(flat: &'a mut [f32], rows: Option<&'a mut SparseRows>) -> Self {
        GradientsMut { flat, rows }
    }

    /// The same, to read.
    pub fn view(&self) -> Gradients<'_> {
        Gradients { flat: self.flat, rows: self.rows.as_deref() }
    }

    /// Calls `f` with each chunk and its gradients, by all threads. Those kept by rows are 0 then.
    pub(super) fn use_up(self, exec: &Exec, slots: &Slots, f: impl Fn(Chunk, &mut [f32]) + Sync) -> Result<()> {
        let rows = self.rows.as_deref();
        let skipped = rows.map_or(0, SparseRows::elements);
        let flat = Shards::new(self.flat);
        exec.pool.share(slots.chunks(), |thread, i| {
            let chunk = slots.chunk(i);
            // SAFETY: each chunk is one thread's, and a thread has one at a time.
            let g = unsafe {
                match rows {
                    Some(rows) if chunk.param == 0 => put_together(exec, thread, rows, &chunk),
                    _ => flat.part(chunk.range.start - skipped..chunk.range.end - skipped),
                }
            };
            f(chunk, g);
        })?;
        if let Some(rows) = self.rows {
            rows.clear();
        }
        Ok(())
    }
}

impl Gradients<'_> {
    /// `Shape` unless they are those of the tensors.
    pub fn check(&self, slots: &Slots) -> Result<()> {
        slots.check("the buffer of gradients", self.flat.len() + self.skipped())
    }

    /// Elements of a flat buffer that are not in this one.
    fn skipped(&self) -> usize {
        self.rows.map_or(0, SparseRows::elements)
    }

    /// Those of a chunk: where they lie, or put together in the thread's scratch.
    ///
    /// # Safety
    /// Nothing else may use that scratch meanwhile.
    pub(super) unsafe fn chunk<'b>(&'b self, exec: &'b Exec, thread: usize, chunk: &Chunk) -> &'b [f32] {
        match self.rows {
            // SAFETY: the caller's promise.
            Some(rows) if chunk.param == 0 => unsafe { put_together(exec, thread, rows, chunk) },
            _ => &self.flat[chunk.range.start - self.skipped()..chunk.range.end - self.skipped()],
        }
    }
}

/// A chunk of a gradient that is kept by rows, in the thread's scratch.
///
/// # Safety
/// Nothing else may use that scratch meanwhile.
#[allow(clippy::mut_from_ref)] // exclusive by the caller's promise
unsafe fn put_together<'a>(exec: &'a Exec, thread: usize, rows: &SparseRows, chunk: &Chunk) -> &'a mut [f32] {
    // SAFETY: the caller's promise.
    let scratch = unsafe { exec.scratch_of(thread) };
    let skip = scratch.as_ptr().align_offset(align_of::<f32>());
    let g = bytemuck::cast_slice_mut(&mut scratch[skip..][..chunk.range.len() * size_of::<f32>()]);
    rows.dense(chunk.range.clone(), g);
    g
}
