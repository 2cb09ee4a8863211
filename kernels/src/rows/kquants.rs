//! The k-quants and IQ4_XS with rows in the lanes.

use super::legacy::nibbles;
use super::{ChunkScales, Floats, RowBlock, RowLanes, Rows, Sink};
use crate::blocks::{IQ4_VALUES, IQ4_XS, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K};
use core::mem::offset_of;

/// Byte `i` of each lane, unsigned.
#[inline(always)]
fn byte<V: RowLanes>(v: V, i: usize, mask: V) -> V {
    v.shr(8 * i as i32).and(mask)
}

/// Byte `i` of each lane, signed.
#[inline(always)]
fn signed_byte<V: RowLanes>(v: V, i: usize) -> V {
    v.shl(24 - 8 * i as i32).sar(24)
}

/// 32 bytes of each row.
///
/// # Safety
/// The CPU has the instruction set of `V`, and each row has the bytes.
#[inline(always)]
unsafe fn load32<V: RowLanes>(rows: Rows) -> [V; 8] {
    // SAFETY: promised by the caller.
    let ([a, b, c, d], [e, f, g, h]) = unsafe { (V::load16(rows), V::load16(rows.at(16))) };
    [a, b, c, d, e, f, g, h]
}

/// The 16 bytes that Q4_K and Q5_K begin with: `d`, `dmin` and eight pairs of 6 bits.
///
/// # Safety
/// The CPU has the instruction set of `V`, and each row has the bytes.
#[inline(always)]
unsafe fn scales_6bit<V: RowLanes>(rows: Rows, out: &mut ChunkScales<V>) {
    // SAFETY: promised by the caller.
    let ([head, sc, m, top], six, four, two, low, minus) = unsafe {
        let (six, four, two) = (V::splat(0x3f3f_3f3f), V::splat(0x0f0f_0f0f), V::splat(0x3030_3030));
        (V::load16(rows), six, four, two, V::splat(255), V::Floats::splat(-1.0))
    };
    let (d, dmin) = (head.half_float(), head.shr(16).half_float().mul(minus));
    let sc = [sc.and(six), top.and(four).or(sc.shr(2).and(two))];
    let m = [m.and(six), top.shr(4).and(four).or(m.shr(2).and(two))];
    for half in 0..2 {
        for i in 0..4 {
            out.s[4 * half + i] = [d.mul(byte(sc[half], i, low).float()); 2];
            out.m[4 * half + i] = [dmin.mul(byte(m[half], i, low).float()); 2];
        }
    }
}

impl RowBlock for Q4_K {
    #[inline(always)]
    unsafe fn row_scales<V: RowLanes>(rows: Rows, _: usize, out: &mut ChunkScales<V>) {
        // SAFETY: the block begins with these bytes.
        unsafe { scales_6bit(rows, out) };
    }

    #[inline(always)]
    unsafe fn row_codes<V: RowLanes>(rows: Rows, _: usize, sink: &mut impl Sink<V>) {
        for pair in 0..4 {
            // SAFETY: the reads stay inside `qs`.
            unsafe {
                let (qs, mask) = (load32::<V>(rows.at(offset_of!(Q4_K, qs) + 32 * pair)), V::splat(0x0f0f_0f0f));
                sink.group(2 * pair, each8!(i => qs[i].and(mask)));
                sink.group(2 * pair + 1, each8!(i => qs[i].shr(4).and(mask)));
            }
        }
    }
}

impl RowBlock for Q5_K {
    #[inline(always)]
    unsafe fn row_scales<V: RowLanes>(rows: Rows, _: usize, out: &mut ChunkScales<V>) {
        // SAFETY: the block begins with these bytes.
        unsafe { scales_6bit(rows, out) };
    }

    #[inline(always)]
    unsafe fn row_codes<V: RowLanes>(rows: Rows, _: usize, sink: &mut impl Sink<V>) {
        // SAFETY: the reads stay inside `qh` and `qs`.
        unsafe {
            let (four, one) = (V::splat(0x0f0f_0f0f), V::splat(0x0101_0101));
            let mut qh = load32::<V>(rows.at(offset_of!(Q5_K, qh)));
            for pair in 0..4 {
                let qs = load32::<V>(rows.at(offset_of!(Q5_K, qs) + 32 * pair));
                sink.group(2 * pair, each8!(i => qs[i].and(four).or(qh[i].and(one).shl(4))));
                sink.group(2 * pair + 1, each8!(i => qs[i].shr(4).and(four).or(qh[i].shr(1).and(one).shl(4))));
                qh = each8!(i => qh[i].shr(2));
            }
        }
    }
}

impl RowBlock for Q6_K {
    #[inline(always)]
    unsafe fn row_scales<V: RowLanes>(rows: Rows, _: usize, out: &mut ChunkScales<V>) {
        // SAFETY: the reads stay inside the block, whose last two bytes are `d`.
        unsafe {
            let d = V::load4(rows.at(offset_of!(Q6_K, d) - 2)).shr(16).half_float();
            let scales = V::load16(rows.at(offset_of!(Q6_K, scales)));
            for g in 0..8 {
                for h in 0..2 {
                    out.s[g][h] = d.mul(signed_byte(scales[g / 2], g % 2 * 2 + h).float());
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn row_codes<V: RowLanes>(rows: Rows, _: usize, sink: &mut impl Sink<V>) {
        for half in 0..2 {
            // SAFETY: the reads stay inside `ql` and `qh`.
            unsafe {
                let (four, two) = (V::splat(0x0f0f_0f0f), V::splat(0x3030_3030));
                let ql = rows.at(offset_of!(Q6_K, ql) + 64 * half);
                let (a, b) = (load32::<V>(ql), load32::<V>(ql.at(32)));
                let qh = load32::<V>(rows.at(offset_of!(Q6_K, qh) + 32 * half));
                sink.group(4 * half, each8!(i => a[i].and(four).or(qh[i].shl(4).and(two))));
                sink.group(4 * half + 1, each8!(i => b[i].and(four).or(qh[i].shl(2).and(two))));
                sink.group(4 * half + 2, each8!(i => a[i].shr(4).and(four).or(qh[i].and(two))));
                sink.group(4 * half + 3, each8!(i => b[i].shr(4).and(four).or(qh[i].shr(2).and(two))));
            }
        }
    }
}

impl RowBlock for Q2_K {
    #[inline(always)]
    unsafe fn row_scales<V: RowLanes>(rows: Rows, _: usize, out: &mut ChunkScales<V>) {
        // SAFETY: the reads stay inside the block.
        unsafe {
            let head = V::load4(rows.at(offset_of!(Q2_K, d)));
            let (d, dmin) = (head.half_float(), head.shr(16).half_float().mul(V::Floats::splat(-1.0)));
            let (scales, four) = (V::load16(rows.at(offset_of!(Q2_K, scales))), V::splat(15));
            for g in 0..8 {
                for h in 0..2 {
                    let sc = scales[g / 2].shr(8 * (g % 2 * 2 + h) as i32);
                    out.s[g][h] = d.mul(sc.and(four).float());
                    out.m[g][h] = dmin.mul(sc.shr(4).and(four).float());
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn row_codes<V: RowLanes>(rows: Rows, _: usize, sink: &mut impl Sink<V>) {
        for half in 0..2 {
            // SAFETY: the reads stay inside `qs`.
            unsafe {
                let (mut qs, two) = (load32::<V>(rows.at(offset_of!(Q2_K, qs) + 32 * half)), V::splat(0x0303_0303));
                for g in 0..4 {
                    sink.group(4 * half + g, each8!(i => qs[i].and(two)));
                    qs = each8!(i => qs[i].shr(2));
                }
            }
        }
    }
}

impl RowBlock for Q3_K {
    #[inline(always)]
    unsafe fn row_scales<V: RowLanes>(rows: Rows, _: usize, out: &mut ChunkScales<V>) {
        // SAFETY: the reads stay inside the block; the 12 bytes of scales are read with the four before them.
        unsafe {
            let d = V::load4(rows.at(offset_of!(Q3_K, d) - 2)).shr(16).half_float();
            let [_, a, b, top] = V::load16(rows.at(offset_of!(Q3_K, scales) - 4));
            let (four, two) = (V::splat(0x0f0f_0f0f), V::splat(0x3030_3030));
            let bias = V::splat(0x2020_2020);
            let scales = [
                a.and(four).or(top.shl(4).and(two)).sub8(bias),
                b.and(four).or(top.shl(2).and(two)).sub8(bias),
                a.shr(4).and(four).or(top.and(two)).sub8(bias),
                b.shr(4).and(four).or(top.shr(2).and(two)).sub8(bias),
            ];
            for g in 0..8 {
                for h in 0..2 {
                    out.s[g][h] = d.mul(signed_byte(scales[g / 2], g % 2 * 2 + h).float());
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn row_codes<V: RowLanes>(rows: Rows, _: usize, sink: &mut impl Sink<V>) {
        // SAFETY: the reads stay inside `hmask` and `qs`.
        unsafe {
            let (two, four) = (V::splat(0x0303_0303), V::splat(0x0404_0404));
            let high = load32::<V>(rows.at(offset_of!(Q3_K, hmask)));
            for half in 0..2 {
                let mut qs = load32::<V>(rows.at(offset_of!(Q3_K, qs) + 32 * half));
                // The high bit of the first group comes to lie at bit 2, whence each shift brings that of the next.
                let mut high = if half == 0 { each8!(i => high[i].shl(2)) } else { each8!(i => high[i].shr(2)) };
                for g in 0..4 {
                    sink.group(4 * half + g, each8!(i => qs[i].and(two).or(high[i].and(four))));
                    (qs, high) = (each8!(i => qs[i].shr(2)), each8!(i => high[i].shr(1)));
                }
            }
        }
    }
}

impl RowBlock for IQ4_XS {
    #[inline(always)]
    unsafe fn row_scales<V: RowLanes>(rows: Rows, _: usize, out: &mut ChunkScales<V>) {
        // SAFETY: the reads stay inside the block.
        unsafe {
            let (head, low) = (V::load4(rows), V::load4(rows.at(offset_of!(IQ4_XS, scales_l))));
            let (d, four, two, bias) = (head.half_float(), V::splat(15), V::splat(48), V::splat(-32));
            for g in 0..8 {
                // Bits 16 + 2g of the head are the upper two; they come to lie at bit 4.
                let high = head.shr(12 + 2 * g as i32).and(two);
                let sc = low.shr(4 * g as i32).and(four).or(high).add32(bias);
                out.s[g] = [d.mul(sc.float()); 2];
            }
        }
    }

    #[inline(always)]
    unsafe fn row_codes<V: RowLanes>(rows: Rows, _: usize, sink: &mut impl Sink<V>) {
        for g in 0..8 {
            // SAFETY: the reads stay inside `qs`.
            unsafe {
                let values = V::table(&IQ4_VALUES);
                let index = nibbles::<V>(rows.at(offset_of!(IQ4_XS, qs) + 16 * g));
                sink.group(g, each8!(i => index[i].look_up(values)));
            }
        }
    }
}
