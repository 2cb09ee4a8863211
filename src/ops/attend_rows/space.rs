//! What a thread has for attention of training: strips of scores, and keys and values packed for its products.

use super::{LINE, TILE};
use crate::ops::Exec;
use crate::ops::attend::AttendParams;
use qorus_kernels::{GEMM_PANEL, gemm_bytes, gemm_parts};

/// Elements of a strip when the longest sequence has `longest` rows: as many keys as it sees at most, from the beginning of a panel on.
fn strip(p: &AttendParams, longest: usize) -> usize {
    let seen = if p.window == 0 { longest } else { longest.min(p.window.saturating_add(TILE + GEMM_PANEL)) };
    seen.saturating_add(LINE - 1).saturating_mul(TILE)
}

/// Elements of the packed keys or values of a sequence, and of the same with their elements as the depth.
fn panels(head_dim: usize, longest: usize) -> [usize; 2] {
    let padded = |n: usize| n.saturating_add(GEMM_PANEL - 1);
    [longest.saturating_mul(padded(head_dim)), padded(longest).saturating_mul(head_dim)]
}

/// Bytes of scratch each thread needs when the longest sequence has `longest` rows and heads `head_dim` elements: strips of scores, their
/// gradients and, where they are capped, what they were before; keys or values in both ways, and keys again; products.
pub fn scratch(p: &AttendParams, head_dim: usize, longest: usize) -> usize {
    let (strip, [deep, wide]) = (strip(p, longest), panels(head_dim, longest));
    let strips = strip.saturating_mul(if p.softcap > 0.0 { 3 } else { 2 });
    let floats = strips.saturating_add(deep).saturating_add(wide.saturating_mul(2)).saturating_add(6 * LINE);
    floats.saturating_mul(size_of::<f32>()).saturating_add(gemm_bytes())
}

/// A thread's scratch.
pub struct Space<'a> {
    pub scores: &'a mut [f32],
    pub grads: &'a mut [f32],
    /// Scores before they are capped; nothing where they are not.
    pub raw: &'a mut [f32],
    /// Of an item: transposed keys, transposed values; keys, or on the way forward values.
    pub keys_turned: &'a mut [f32],
    pub values_turned: &'a mut [f32],
    pub rows: &'a mut [f32],
    pub gemm: &'a mut [u8],
}

impl<'a> Space<'a> {
    /// A thread's, for sequences of at most `longest` rows.
    ///
    /// # Safety
    /// As [`Exec::scratch_of`].
    pub unsafe fn new(exec: &'a Exec, thread: usize, p: &AttendParams, head_dim: usize, longest: usize) -> Self {
        let (strip, [deep, wide]) = (strip(p, longest), panels(head_dim, longest));
        // SAFETY: the caller's promise.
        let mut rest = unsafe { exec.scratch_of(thread) };
        let mut take = |n: usize| {
            let start = rest.as_ptr().align_offset(size_of::<f32>() * LINE);
            let (taken, after) = std::mem::take(&mut rest)[start..].split_at_mut(n * size_of::<f32>());
            rest = after;
            bytemuck::cast_slice_mut::<u8, f32>(taken)
        };
        let (scores, grads) = (take(strip), take(strip));
        let raw = take(if p.softcap > 0.0 { strip } else { 0 });
        let (keys_turned, values_turned, rows) = (take(wide), take(wide), take(deep));
        Space { scores, grads, raw, keys_turned, values_turned, rows, gemm: rest }
    }
}

/// The scratch of a product whose second operand is packed.
pub fn packed(gemm: &mut [u8]) -> &mut [f32] {
    let start = gemm.as_ptr().align_offset(size_of::<f32>() * LINE);
    bytemuck::cast_slice_mut(&mut gemm[start..][..gemm_parts()[1]])
}
