//! Products of quantized weights with 8-bit activations, eight weight rows at a time.

use super::rows::V8;
use crate::TileMut;
use crate::act::ActQ8;
use crate::blocks::{Codes, block_entries};
use crate::rows::matmul_q8::{Format, Tile, format_functions};
use crate::rows::{RowBlock, TOKENS};
use crate::table::Entry;

/// The kernels of this file.
pub const ENTRIES: &[Entry] = block_entries!("matmul_q8", Avx2, MatmulQ8(matmul_q8));

/// The product of [`crate::scalar::matmul_q8`].
///
/// # Safety
/// The CPU has AVX2, FMA and F16C; lengths as `Kernels::matmul_q8` demands.
unsafe fn matmul_q8<B: RowBlock>(w: &[u8], x: &ActQ8, y: &mut TileMut, panel: &mut [u8]) {
    let format = const { &Format::<V8<false>>::new::<B>(stream::<B>, unpack::<B>, fill, [tiles::<B>(); 2]) };
    // SAFETY: promised by the caller.
    unsafe { format.matmul_q8(w, x, y, panel) };
}

format_functions!(V8<false>, "avx2,fma,f16c");

/// The product of panels of such weights.
const fn tiles<B: RowBlock>() -> Tile<V8<false>> {
    const HALF: usize = TOKENS / 2;
    // Fewer pairs than fit are right too; no more than four vectors are summed where halves are apart.
    match (B::CODES, B::CODES.pairs(), B::HALVES, B::HAS_MIN) {
        (Codes::Signed, _, false, false) => tile::<0, false, false, HALF>,
        (Codes::Unsigned { .. }, 8, false, false) => tile::<8, false, false, HALF>,
        (Codes::Unsigned { .. }, 4, false, false) => tile::<4, false, false, HALF>,
        (Codes::Unsigned { .. }, _, false, false) => tile::<1, false, false, HALF>,
        (Codes::Unsigned { .. }, 8, false, true) => tile::<8, false, true, HALF>,
        (Codes::Unsigned { .. }, 4, false, true) => tile::<4, false, true, HALF>,
        (Codes::Unsigned { .. }, 4 | 8, true, false) => tile::<4, true, false, HALF>,
        (Codes::Unsigned { .. }, 2, true, false) => tile::<2, true, false, HALF>,
        (Codes::Unsigned { .. }, _, true, false) => tile::<1, true, false, HALF>,
        (Codes::Unsigned { .. }, 4 | 8, true, true) => tile::<4, true, true, HALF>,
        _ => panic!("a form of codes without a kernel"),
    }
}
