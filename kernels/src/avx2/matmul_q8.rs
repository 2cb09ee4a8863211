//! Products of quantized weights with 8-bit activations, eight weight rows at a time.

use super::rows::V8;
use crate::TileMut;
use crate::act::ActQ8;
use crate::blocks::block_entries;
use crate::rows::{RowBlock, matmul_q8 as rows};
use crate::table::Entry;

/// The kernels of this file.
pub const ENTRIES: &[Entry] = block_entries!("matmul_q8", Avx2, MatmulQ8(matmul_q8));

/// The product of [`crate::scalar::matmul_q8`].
///
/// # Safety
/// The CPU has AVX2, FMA and F16C; lengths as `Kernels::matmul_q8` demands.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn matmul_q8<B: RowBlock>(w: &[u8], x: &ActQ8, y: &mut TileMut, panel: &mut [u8]) {
    // SAFETY: promised by the caller.
    unsafe { rows::matmul_q8::<V8, B>(w, x, y, panel) };
}
