//! The grid formats with rows in the lanes: points are gathered, signs spread to the bytes.
//!
//! Scales are small odd numbers times `d` times a power of two. All these products are exact, so any order of them
//! has the bits of the definition.

use super::points::{self, eights, even, four_bytes, fours, pick4, signs_of_word};
use super::{ChunkScales, Floats, RowBlock, RowLanes, Rows, Sink};
use crate::blocks::{IQ1_M, IQ1_S, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS};
use core::mem::offset_of;

/// `d` at the beginning of a block, times `unit`.
///
/// # Safety
/// The CPU has the instruction set of `V`, and each row has four bytes there.
#[inline(always)]
unsafe fn factor<V: RowLanes>(rows: Rows, unit: f32) -> V::Floats {
    // SAFETY: promised by the caller.
    unsafe { V::load4(rows).half_float().mul(V::Floats::splat(unit)) }
}

/// `2 n + 1`, where bits `at..at + BITS` of each lane are `n`.
///
/// # Safety
/// The CPU has the instruction set of `V`, and `at` is not 0.
#[inline(always)]
unsafe fn odd<V: RowLanes, const BITS: u32>(v: V, at: usize) -> V::Floats {
    // SAFETY: promised by the caller.
    unsafe { v.shr(at as i32 - 1).and(V::splat((2 << BITS) - 2)).or(V::splat(1)).float() }
}

/// Scales of eight groups, from nibbles for each half in the eight bytes of `bytes`.
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
unsafe fn nibble_scales<V: RowLanes>(bytes: [V; 2], d: V::Floats, out: &mut ChunkScales<V>) {
    for g in 0..8 {
        for h in 0..2 {
            // SAFETY: promised by the caller; the shift by one lets the lowest nibble lie at bit 1.
            out.s[g][h] = unsafe {
                match 8 * (g % 4) + 4 * h {
                    0 => d.mul(odd::<V, 4>(bytes[g / 4].shl(1), 1)),
                    at => d.mul(odd::<V, 4>(bytes[g / 4], at)),
                }
            };
        }
    }
}

impl RowBlock for IQ2_XXS {
    #[inline(always)]
    unsafe fn row_scales<V: RowLanes>(_: Rows, _: usize, _: &mut ChunkScales<V>) {}

    #[inline(always)]
    unsafe fn row_codes<V: RowLanes>(rows: Rows, _: usize, sink: &mut impl Sink<V>) {
        // SAFETY: the reads stay inside the block.
        unsafe {
            let d = factor::<V>(rows, 0.125);
            for pair in 0..4 {
                let words = V::load16(rows.at(offset_of!(IQ2_XXS, qs) + 16 * pair));
                for g in 0..2 {
                    let (index, word) = (words[2 * g], words[2 * g + 1]);
                    sink.scale(2 * pair + g, d.mul(odd::<V, 4>(word, 28)));
                    let points = pick4(four_bytes(index), &points::IQ2_XXS);
                    sink.group(2 * pair + g, eights(points, signs_of_word(word), &points::IQ2_CODES));
                }
            }
        }
    }
}

impl RowBlock for IQ2_XS {
    #[inline(always)]
    unsafe fn row_scales<V: RowLanes>(rows: Rows, _: usize, out: &mut ChunkScales<V>) {
        // SAFETY: the reads stay inside the block, of which the scales are the last eight bytes.
        unsafe {
            let [_, _, a, b] = V::load16(rows.at(offset_of!(IQ2_XS, scales) - 8));
            nibble_scales([a, b], factor::<V>(rows, 0.125), out);
        }
    }

    #[inline(always)]
    unsafe fn row_codes<V: RowLanes>(rows: Rows, _: usize, sink: &mut impl Sink<V>) {
        // SAFETY: the reads stay inside `qs`.
        unsafe {
            for pair in 0..4 {
                let words = V::load16(rows.at(offset_of!(IQ2_XS, qs) + 16 * pair));
                for g in 0..2 {
                    let (a, b) = (words[2 * g], words[2 * g + 1]);
                    let points = pick4([a, a.shr(16), b, b.shr(16)], &points::IQ2_XS);
                    // Seven bits end each half of the words.
                    let low = a.shr(9).and(V::splat(0x7f)).or(a.shr(17).and(V::splat(0x7f00)));
                    let high = b.shl(7).and(V::splat(0x7f_0000)).or(b.shr(1).and(V::splat(0x7f00_0000)));
                    sink.group(2 * pair + g, eights(points, even(low.or(high)), &points::IQ2_CODES));
                }
            }
        }
    }
}

impl RowBlock for IQ2_S {
    #[inline(always)]
    unsafe fn row_scales<V: RowLanes>(rows: Rows, _: usize, out: &mut ChunkScales<V>) {
        // SAFETY: the reads stay inside the block, of which the scales are the last eight bytes.
        unsafe {
            let [_, _, a, b] = V::load16(rows.at(offset_of!(IQ2_S, scales) - 8));
            nibble_scales([a, b], factor::<V>(rows, 0.125), out);
        }
    }

    #[inline(always)]
    unsafe fn row_codes<V: RowLanes>(rows: Rows, _: usize, sink: &mut impl Sink<V>) {
        // SAFETY: the reads stay inside the block; `qh` is read with the scales.
        unsafe {
            let (byte, two) = (V::splat(0xff), V::splat(0x300));
            let [qh0, qh1, _, _] = V::load16(rows.at(offset_of!(IQ2_S, qh)));
            for half in 0..2 {
                let qs = V::load16(rows.at(offset_of!(IQ2_S, qs) + 16 * half));
                let signs = V::load16(rows.at(offset_of!(IQ2_S, signs) + 16 * half));
                // Bits 8 to 15 are those of the group.
                let qh = if half == 0 { qh0 } else { qh1 };
                for g in 0..4 {
                    let high = if g == 0 { qh.shl(8) } else { qh.shr(8 * g as i32 - 8) };
                    let [a, b, c, d] = four_bytes(qs[g]);
                    let index = [
                        a.and(byte).or(high.and(two)),
                        b.and(byte).or(high.shr(2).and(two)),
                        c.and(byte).or(high.shr(4).and(two)),
                        d.and(byte).or(high.shr(6).and(two)),
                    ];
                    sink.group(4 * half + g, eights(pick4(index, &points::IQ2_S), signs[g], &points::IQ2_CODES));
                }
            }
        }
    }
}

impl RowBlock for IQ3_XXS {
    #[inline(always)]
    unsafe fn row_scales<V: RowLanes>(_: Rows, _: usize, _: &mut ChunkScales<V>) {}

    #[inline(always)]
    unsafe fn row_codes<V: RowLanes>(rows: Rows, _: usize, sink: &mut impl Sink<V>) {
        // SAFETY: the reads stay inside the block.
        unsafe {
            let d = factor::<V>(rows, 0.25);
            for half in 0..2 {
                let words = V::load16(rows.at(offset_of!(IQ3_XXS, words) + 16 * half));
                for pair in 0..2 {
                    let qs = V::load16(rows.at(offset_of!(IQ3_XXS, qs) + 32 * half + 16 * pair));
                    for i in 0..2 {
                        let (g, word) = (4 * half + 2 * pair + i, words[2 * pair + i]);
                        sink.scale(g, d.mul(odd::<V, 4>(word, 28)));
                        let low = pick4(four_bytes(qs[2 * i]), &points::IQ3_XXS);
                        let high = pick4(four_bytes(qs[2 * i + 1]), &points::IQ3_XXS);
                        sink.group(g, fours(low, high, signs_of_word(word), &points::IQ3_XXS_CODES));
                    }
                }
            }
        }
    }
}

impl RowBlock for IQ3_S {
    #[inline(always)]
    unsafe fn row_scales<V: RowLanes>(rows: Rows, _: usize, out: &mut ChunkScales<V>) {
        // SAFETY: the reads stay inside the block.
        unsafe {
            let (d, scales) = (factor::<V>(rows, 1.0), V::load4(rows.at(offset_of!(IQ3_S, scales))));
            out.s[0] = [d.mul(odd::<V, 4>(scales.shl(1), 1)); 2];
            for g in 1..8 {
                out.s[g] = [d.mul(odd::<V, 4>(scales, 4 * g)); 2];
            }
        }
    }

    #[inline(always)]
    unsafe fn row_codes<V: RowLanes>(rows: Rows, _: usize, sink: &mut impl Sink<V>) {
        // SAFETY: the reads stay inside the block; `qh` is read with the first signs.
        unsafe {
            let (byte, bit) = (V::splat(0xff), V::splat(0x100));
            let [qh0, qh1, _, _] = V::load16(rows.at(offset_of!(IQ3_S, qh)));
            for half in 0..2 {
                let signs = V::load16(rows.at(offset_of!(IQ3_S, signs) + 16 * half));
                let qh = if half == 0 { qh0 } else { qh1 };
                for pair in 0..2 {
                    let qs = V::load16(rows.at(offset_of!(IQ3_S, qs) + 32 * half + 16 * pair));
                    for i in 0..2 {
                        let g = 2 * pair + i;
                        let high = qh.shr(8 * g as i32);
                        let ([a, b, c, d], [e, f, g_, h]) = (four_bytes(qs[2 * i]), four_bytes(qs[2 * i + 1]));
                        let low4 = [
                            a.and(byte).or(high.shl(8).and(bit)),
                            b.and(byte).or(high.shl(7).and(bit)),
                            c.and(byte).or(high.shl(6).and(bit)),
                            d.and(byte).or(high.shl(5).and(bit)),
                        ];
                        let high4 = [
                            e.and(byte).or(high.shl(4).and(bit)),
                            f.and(byte).or(high.shl(3).and(bit)),
                            g_.and(byte).or(high.shl(2).and(bit)),
                            h.and(byte).or(high.shl(1).and(bit)),
                        ];
                        let (low, high) = (pick4(low4, &points::IQ3_S), pick4(high4, &points::IQ3_S));
                        sink.group(4 * half + g, fours(low, high, signs[g], &points::IQ3_S_CODES));
                    }
                }
            }
        }
    }
}

/// Codes of four points of IQ1: `8 n`, and 2 more unless the point is shifted down, which bit 31 of its `shift` says.
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
unsafe fn shifted<V: RowLanes>(points: [V; 4], shift: [V; 4]) -> [V; 8] {
    // SAFETY: promised by the caller.
    let (point, two) = unsafe { (V::splat(0x1818_1818), V::splat(0x0202_0202)) };
    each8!(i => {
        let n = if i.is_multiple_of(2) { points[i / 2].shl(3) } else { points[i / 2].shr(1) };
        n.and(point).or(two.sub8(shift[i / 2].sar(31).and(two)))
    })
}

impl RowBlock for IQ1_S {
    #[inline(always)]
    unsafe fn row_scales<V: RowLanes>(rows: Rows, _: usize, out: &mut ChunkScales<V>) {
        // SAFETY: the reads stay inside the block.
        unsafe {
            let (d, qh) = (factor::<V>(rows, 0.125), V::load16(rows.at(offset_of!(IQ1_S, qh))));
            for g in 0..8 {
                out.s[g] = [d.mul(odd::<V, 3>(qh[g / 2], 16 * (g % 2) + 12)); 2];
            }
        }
    }

    #[inline(always)]
    unsafe fn row_codes<V: RowLanes>(rows: Rows, _: usize, sink: &mut impl Sink<V>) {
        // SAFETY: the reads stay inside the block.
        unsafe {
            let (byte, three) = (V::splat(0xff), V::splat(0x700));
            let qh = V::load16(rows.at(offset_of!(IQ1_S, qh)));
            for half in 0..2 {
                let qs = V::load16(rows.at(offset_of!(IQ1_S, qs) + 16 * half));
                for g in 0..4 {
                    // The word of the group comes to lie in the upper half.
                    let word = qh[2 * half + g / 2];
                    let word = if g % 2 == 0 { word.shl(16) } else { word };
                    let [a, b, c, d] = four_bytes(qs[g]);
                    let index = [
                        a.and(byte).or(word.shr(8).and(three)),
                        b.and(byte).or(word.shr(11).and(three)),
                        c.and(byte).or(word.shr(14).and(three)),
                        d.and(byte).or(word.shr(17).and(three)),
                    ];
                    sink.group(4 * half + g, shifted(pick4(index, &points::IQ1), [word; 4]));
                }
            }
        }
    }
}

impl RowBlock for IQ1_M {
    #[inline(always)]
    unsafe fn row_scales<V: RowLanes>(rows: Rows, _: usize, out: &mut ChunkScales<V>) {
        // SAFETY: the reads stay inside the block, of which the scales are the last eight bytes.
        unsafe {
            let [_, _, a, b] = V::load16(rows.at(offset_of!(IQ1_M, scales) - 8));
            let low = a.shr(12).and(V::splat(0xf)).or(a.shr(24).and(V::splat(0xf0)));
            let high = b.shr(4).and(V::splat(0xf00)).or(b.shr(16).and(V::splat(0xf000)));
            let d = low.or(high).half_float().mul(V::Floats::splat(0.125));
            let words = [a, b];
            for g in 0..8 {
                for h in 0..2 {
                    out.s[g][h] = match g % 4 / 2 * 16 + g % 2 * 6 + 3 * h {
                        0 => d.mul(odd::<V, 3>(words[g / 4].shl(1), 1)),
                        at => d.mul(odd::<V, 3>(words[g / 4], at)),
                    };
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn row_codes<V: RowLanes>(rows: Rows, _: usize, sink: &mut impl Sink<V>) {
        // SAFETY: the reads stay inside the block.
        unsafe {
            let (byte, three) = (V::splat(0xff), V::splat(0x700));
            let qh = V::load16(rows.at(offset_of!(IQ1_M, qh)));
            for half in 0..2 {
                let qs = V::load16(rows.at(offset_of!(IQ1_M, qs) + 16 * half));
                for g in 0..4 {
                    // The nibbles of the group come to lie in the upper half.
                    let word = qh[2 * half + g / 2];
                    let word = if g % 2 == 0 { word.shl(16) } else { word };
                    let [a, b, c, d] = four_bytes(qs[g]);
                    let index = [
                        a.and(byte).or(word.shr(8).and(three)),
                        b.and(byte).or(word.shr(12).and(three)),
                        c.and(byte).or(word.shr(16).and(three)),
                        d.and(byte).or(word.shr(20).and(three)),
                    ];
                    let shift = [word.shl(12), word.shl(8), word.shl(4), word];
                    sink.group(4 * half + g, shifted(pick4(index, &points::IQ1), shift));
                }
            }
        }
    }
}
