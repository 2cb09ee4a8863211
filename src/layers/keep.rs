//! How much of a forward pass is kept for the way back, and in what form: the memory of training.

use crate::error::{Result, fail};
use crate::ops::Exec;
use crate::threads::Shards;
use qorus_kernels::Type;

/// What residual branches keep of a forward pass, and layers with a cache of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Everything but what costs next to nothing to compute again ([`super::sequence`]), in f32.
    #[default]
    F32,
    /// What lies inside a layer (queries, keys, values; gates) rounded to bf16, half the bytes; the rows between layers in f32. The
    /// layer itself computes in f32, in memory that all layers share.
    Bf16,
    /// The inputs of residual branches; the rest is computed again on the way back (Chen et al., arXiv 1604.06174).
    Inputs,
}

impl Keep {
    /// The name used in settings and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Keep::F32 => "f32",
            Keep::Bf16 => "bf16",
            Keep::Inputs => "recompute",
        }
    }

    /// What is called so.
    pub fn from_name(name: &str) -> Option<Keep> {
        [Keep::F32, Keep::Bf16, Keep::Inputs].into_iter().find(|keep| keep.name() == name)
    }

    /// Elements of the cache that hold `len` of a layer's own.
    pub(super) fn stored(self, len: usize) -> usize {
        match self {
            Keep::Bf16 => kept(len.div_ceil(2)),
            Keep::F32 | Keep::Inputs => len,
        }
    }
}

/// Elements that a buffer of `len` takes of a cache: whole cache lines.
pub(super) fn kept(len: usize) -> usize {
    len.checked_next_multiple_of(16).unwrap_or(usize::MAX)
}

/// A layer's part of the cache, taken buffer by buffer.
pub(super) struct Kept<'a>(pub &'a mut [f32]);

impl<'a> Kept<'a> {
    pub fn take(&mut self, len: usize) -> &'a mut [f32] {
        let (taken, rest) = std::mem::take(&mut self.0).split_at_mut(kept(len));
        self.0 = rest;
        &mut taken[..len]
    }
}

/// Elements that a thread takes at a time.
const UNIT: usize = 1024;

/// Rounds `whole` to bf16, two to each element of `cache`.
pub(super) fn round(exec: &Exec, whole: &[f32], cache: &mut [f32]) -> Result<()> {
    let stored = stored(cache, whole.len())?;
    let stored = Shards::new(stored);
    exec.pool.split(whole.len(), UNIT, |part| {
        // SAFETY: each thread has its own elements.
        let to = unsafe { stored.part(2 * part.start..2 * part.end) };
        exec.kernels.quantize(Type::BF16, &whole[part], to);
    })
}

/// The way back of [`round`].
pub(super) fn widen(exec: &Exec, cache: &mut [f32], whole: &mut [f32]) -> Result<()> {
    let stored = &*stored(cache, whole.len())?;
    let len = whole.len();
    let whole = Shards::new(whole);
    exec.pool.split(len, UNIT, |part| {
        // SAFETY: each thread has its own elements.
        let to = unsafe { whole.part(part.clone()) };
        exec.kernels.dequantize(Type::BF16, &stored[2 * part.start..2 * part.end], to);
    })
}

/// The bytes of a cache that hold `len` elements.
fn stored(cache: &mut [f32], len: usize) -> Result<&mut [u8]> {
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(cache);
    match bytes.get_mut(..2 * len) {
        Some(bytes) => Ok(bytes),
        None => fail!(Internal, "a cache is too small for {len} elements of bf16"),
    }
}
