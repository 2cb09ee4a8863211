//! Products of quantized weights with 8-bit activations, eight weight rows at a time.

use super::lanes::V8;
use crate::act::ActQ8;
use crate::blocks::with_block;
use crate::lanes::{LaneBlock, matmul_q8};
use crate::{TileMut, Type};

/// The product of [`crate::scalar::matmul_q8`].
///
/// # Safety
/// The CPU has AVX2, FMA and F16C; lengths as `Kernels::matmul_q8` demands.
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn blocks<B: LaneBlock>(w: &[u8], x: &ActQ8, y: &mut TileMut, panel: &mut [u8]) {
    // SAFETY: promised by the caller.
    unsafe { matmul_q8::matmul_q8::<V8, B>(w, x, y, panel) };
}

/// The function for storage type `ty`, if that is a quantized one.
pub fn for_type(ty: Type) -> Option<unsafe fn(&[u8], &ActQ8, &mut TileMut, &mut [u8])> {
    with_block!(ty, B => Some(blocks::<B>), None)
}
