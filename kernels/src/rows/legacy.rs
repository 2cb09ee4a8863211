//! Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and IQ4_NL with rows in the lanes.

use super::{ChunkScales, RowBlock, RowLanes, Rows, Sink};
use crate::blocks::{IQ4_NL, IQ4_VALUES, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
use core::mem::offset_of;

/// The low, then the high nibbles of sixteen bytes.
///
/// # Safety
/// The CPU has the instruction set of `V`, and each row has sixteen bytes there.
#[inline(always)]
pub(super) unsafe fn nibbles<V: RowLanes>(rows: Rows) -> [V; 8] {
    // SAFETY: promised by the caller.
    let (bytes, mask) = unsafe { (V::load16(rows), V::splat(0x0f0f_0f0f)) };
    each8!(i => if i < 4 { bytes[i].and(mask) } else { bytes[i - 4].shr(4).and(mask) })
}

/// Nibbles with the fifth bits of `qh`.
///
/// # Safety
/// As [`nibbles`], and each row has four bytes at `qh`.
#[inline(always)]
unsafe fn five_bits<V: RowLanes>(qs: Rows, qh: Rows) -> [V; 8] {
    // SAFETY: promised by the caller.
    let (codes, qh) = unsafe { (nibbles::<V>(qs), V::load4(qh)) };
    each8!(i => codes[i].fifth(qh, i))
}

/// Implements [`RowBlock`] for blocks of one group that begin with `d`, and `m` if they have it.
macro_rules! one_group {
    ($block:ident, |$rows:ident| $codes:expr) => {
        impl RowBlock for $block {
            #[inline(always)]
            unsafe fn row_scales<V: RowLanes>(rows: Rows, groups: usize, out: &mut ChunkScales<V>) {
                use crate::blocks::QuantBlock;
                for g in 0..groups {
                    // SAFETY: every block is longer than four bytes, and the caller promised its presence.
                    let head = unsafe { V::load4(rows.at(g * size_of::<$block>())) };
                    out.s[g] = [head.half_float(); 2];
                    if Self::HAS_MIN {
                        out.m[g] = [head.shr(16).half_float(); 2];
                    }
                }
            }

            #[inline(always)]
            unsafe fn row_codes<V: RowLanes>(rows: Rows, groups: usize, sink: &mut impl Sink<V>) {
                for g in 0..groups {
                    let $rows = rows.at(g * size_of::<$block>());
                    // SAFETY: the reads stay inside the block, which the caller promised.
                    unsafe { sink.group(g, $codes) };
                }
            }
        }
    };
}

one_group!(Q4_0, |rows| nibbles(rows.at(offset_of!(Q4_0, qs))));
one_group!(Q4_1, |rows| nibbles(rows.at(offset_of!(Q4_1, qs))));
one_group!(Q5_0, |rows| five_bits(rows.at(offset_of!(Q5_0, qs)), rows.at(offset_of!(Q5_0, qh))));
one_group!(Q5_1, |rows| five_bits(rows.at(offset_of!(Q5_1, qs)), rows.at(offset_of!(Q5_1, qh))));
one_group!(Q8_0, |rows| {
    let qs = rows.at(offset_of!(Q8_0, qs));
    let ([a, b, c, d], [e, f, g, h]) = (V::load16(qs), V::load16(qs.at(16)));
    [a, b, c, d, e, f, g, h]
});
one_group!(IQ4_NL, |rows| {
    let values = V::table(&IQ4_VALUES);
    let index = nibbles::<V>(rows.at(offset_of!(IQ4_NL, qs)));
    each8!(i => index[i].look_up(values))
});
