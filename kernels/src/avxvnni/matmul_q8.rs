//! Products of quantized weights with 8-bit activations, eight weight rows at a time, by AVX-VNNI.

use crate::TileMut;
use crate::act::ActQ8;
use crate::avx2::rows::V8;
use crate::blocks::block_entries;
use crate::rows::matmul_q8::{Format, dot_tiles, format_functions};
use crate::rows::{RowBlock, TOKENS};
use crate::table::Entry;

/// The kernels of this file.
pub const ENTRIES: &[Entry] = block_entries!("matmul_q8", AvxVnni, MatmulQ8(matmul_q8));

/// The product of [`crate::scalar::matmul_q8`].
///
/// # Safety
/// The CPU has the features of [`crate::Isa::AvxVnni`]; lengths as `Kernels::matmul_q8` demands.
unsafe fn matmul_q8<B: RowBlock>(w: &[u8], x: &ActQ8, y: &mut TileMut, panel: &mut [u8]) {
    let format = const { &Format::<V8<true>>::new::<B>(stream::<B>, unpack::<B>, fill, dot_tiles!(B, V8<true>)) };
    // SAFETY: promised by the caller.
    unsafe { format.matmul_q8(w, x, y, panel) };
}

format_functions!(V8<true>, "avx2,fma,f16c,avxvnni");
