//! Products of quantized weights with 8-bit activations, sixteen weight rows at a time, by VNNI.

use super::rows::V16;
use crate::TileMut;
use crate::act::ActQ8;
use crate::blocks::block_entries;
use crate::rows::matmul_q8::{Format, dot_tiles, format_functions};
use crate::rows::{RowBlock, TOKENS};
use crate::table::Entry;

/// The kernels of this file.
pub const ENTRIES: &[Entry] = block_entries!("matmul_q8", Avx512, MatmulQ8(matmul_q8));

/// The product of [`crate::scalar::matmul_q8`].
///
/// # Safety
/// The CPU has the features of [`crate::Isa::Avx512`]; lengths as `Kernels::matmul_q8` demands.
unsafe fn matmul_q8<B: RowBlock>(w: &[u8], x: &ActQ8, y: &mut TileMut, panel: &mut [u8]) {
    let format = const { &Format::<V16>::new::<B>(stream::<B>, unpack::<B>, fill, dot_tiles!(B, V16)) };
    // SAFETY: promised by the caller.
    unsafe { format.matmul_q8(w, x, y, panel) };
}

format_functions!(V16, "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni");
