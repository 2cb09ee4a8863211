//! The IQ formats with grids: rows are unpacked one by one and then transposed.

use super::{ChunkScales, Floats, RowBlock, RowLanes, Rows, Sink};
use crate::blocks::{Codes, GROUP, QuantBlock};
use crate::blocks::{IQ1_M, IQ1_S, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS};

/// The greatest number of lanes.
const MAX_ROWS: usize = 16;

/// The block of one row.
///
/// # Safety
/// Each row has a block there.
#[inline(always)]
unsafe fn block<B: QuantBlock>(rows: Rows, r: usize) -> B {
    // SAFETY: promised by the caller; blocks have any bits and any alignment.
    unsafe { rows.ptr.add(r * rows.stride).cast::<B>().read_unaligned() }
}

/// # Safety
/// As [`RowBlock::row_scales`].
#[inline(always)]
unsafe fn scales<B: QuantBlock, V: RowLanes>(rows: Rows, out: &mut ChunkScales<V>) {
    let mut lanes = [[[0.0; MAX_ROWS]; 2]; 8];
    for r in 0..V::N {
        // SAFETY: promised by the caller.
        let block: B = unsafe { block(rows, r) };
        for (g, lanes) in lanes.iter_mut().enumerate() {
            let s = block.scales(g).s;
            (lanes[0][r], lanes[1][r]) = (s[0], s[1]);
        }
    }
    for (out, lanes) in out.s.iter_mut().zip(&lanes) {
        // SAFETY: the arrays have the greatest number of lanes.
        *out = unsafe { [V::Floats::load(lanes[0].as_ptr()), V::Floats::load(lanes[1].as_ptr())] };
    }
}

/// # Safety
/// As [`RowBlock::row_codes`].
#[inline(always)]
unsafe fn codes<B: QuantBlock, V: RowLanes>(rows: Rows, sink: &mut impl Sink<V>) {
    let offset = match B::CODES {
        Codes::Unsigned { offset, .. } => offset as i8,
        Codes::Signed => 0,
    };
    let mut lanes = [[0; GROUP]; MAX_ROWS];
    for g in 0..8 {
        for (r, lane) in lanes.iter_mut().enumerate().take(V::N) {
            // SAFETY: promised by the caller.
            unsafe { block::<B>(rows, r) }.unpack32(g, lane);
            *lane = lane.map(|q| q.wrapping_add(offset));
        }
        let unpacked = Rows { ptr: lanes.as_ptr().cast(), stride: GROUP };
        // SAFETY: the array has 32 bytes for each lane.
        unsafe {
            let ([a, b, c, d], [e, f, g_, h]) = (V::load16(unpacked), V::load16(unpacked.at(16)));
            sink.group(g, [a, b, c, d, e, f, g_, h]);
        }
    }
}

macro_rules! by_row {
    ($($block:ident)*) => {$(
        impl RowBlock for $block {
            #[inline(always)]
            unsafe fn row_scales<V: RowLanes>(rows: Rows, _: usize, out: &mut ChunkScales<V>) {
                // SAFETY: as promised by the caller.
                unsafe { scales::<Self, V>(rows, out) };
            }

            #[inline(always)]
            unsafe fn row_codes<V: RowLanes>(rows: Rows, _: usize, sink: &mut impl Sink<V>) {
                // SAFETY: as promised by the caller.
                unsafe { codes::<Self, V>(rows, sink) };
            }
        }
    )*};
}

by_row!(IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ1_S IQ1_M);
