//! What the grid formats share: their points packed for gathers, and the signs of a group.
//!
//! A coordinate is kept as the number of its magnitude: bit 3 takes the sign, and a table of sixteen bytes turns the
//! two into a code. Eight coordinates are nibbles of one word, so that one gather brings a point.

use super::RowLanes;
use crate::blocks::grids;

/// Magnitudes of the IQ2 formats.
const IQ2_MAGNITUDES: [u8; 3] = [8, 25, 43];
/// Magnitudes of IQ3_XXS.
const IQ3_XXS_MAGNITUDES: [u8; 8] = [4, 12, 20, 28, 36, 44, 52, 62];
/// Magnitudes of IQ3_S.
const IQ3_S_MAGNITUDES: [u8; 8] = [1, 3, 5, 7, 9, 11, 13, 15];

/// Codes of the IQ2 formats by coordinate.
pub static IQ2_CODES: [i8; 16] = codes(IQ2_MAGNITUDES);
/// Codes of IQ3_XXS by coordinate.
pub static IQ3_XXS_CODES: [i8; 16] = codes(IQ3_XXS_MAGNITUDES);
/// Codes of IQ3_S by coordinate.
pub static IQ3_S_CODES: [i8; 16] = codes(IQ3_S_MAGNITUDES);

/// Points of eight coordinates; see [`nibbles`].
pub static IQ2_XXS: [u32; 256] = nibbles(&grids::IQ2_XXS, IQ2_MAGNITUDES);
pub static IQ2_XS: [u32; 512] = nibbles(&grids::IQ2_XS, IQ2_MAGNITUDES);
pub static IQ2_S: [u32; 1024] = nibbles(&grids::IQ2_S, IQ2_MAGNITUDES);
/// Here the numbers -1, 0 and 1 are the magnitudes.
pub static IQ1: [u32; 2048] = nibbles(&grids::IQ1, [255, 0, 1]);

/// Points of four coordinates, one in each byte.
pub static IQ3_XXS: [u32; 256] = bytes(&grids::IQ3_XXS, IQ3_XXS_MAGNITUDES);
pub static IQ3_S: [u32; 512] = bytes(&grids::IQ3_S, IQ3_S_MAGNITUDES);

/// Codes of each magnitude and of its negative; the greatest is the offset.
const fn codes<const N: usize>(magnitudes: [u8; N]) -> [i8; 16] {
    let (mut codes, offset) = ([0; 16], magnitudes[N - 1]);
    let mut i = 0;
    while i < N {
        codes[i] = (offset + magnitudes[i]) as i8;
        codes[i + 8] = (offset - magnitudes[i]) as i8;
        i += 1;
    }
    codes
}

/// The place of `magnitude` among all.
const fn coordinate<const N: usize>(magnitude: u8, all: &[u8; N]) -> u32 {
    let mut i = 0;
    while all[i] != magnitude {
        i += 1;
    }
    i as u32
}

/// Coordinates `j` and `4 + j` in the low and the high nibble of byte `j`.
const fn nibbles<const N: usize, const M: usize>(grid: &[u64; N], magnitudes: [u8; M]) -> [u32; N] {
    let (mut packed, mut i) = ([0; N], 0);
    while i < N {
        let (point, mut j) = (grid[i].to_le_bytes(), 0);
        while j < 8 {
            packed[i] |= coordinate(point[j], &magnitudes) << (8 * (j % 4) + j / 4 * 4);
            j += 1;
        }
        i += 1;
    }
    packed
}

const fn bytes<const N: usize, const M: usize>(grid: &[u32; N], magnitudes: [u8; M]) -> [u32; N] {
    let (mut packed, mut i) = ([0; N], 0);
    while i < N {
        let (point, mut j) = (grid[i].to_le_bytes(), 0);
        while j < 4 {
            packed[i] |= coordinate(point[j], &magnitudes) << (8 * j);
            j += 1;
        }
        i += 1;
    }
    packed
}

/// The bytes of each lane as four numbers; what is above each is for the taker to cut off.
#[inline(always)]
pub fn four_bytes<V: RowLanes>(v: V) -> [V; 4] {
    [v, v.shr(8), v.shr(16), v.shr(24)]
}

/// The points of four indices.
#[inline(always)]
pub fn pick4<V: RowLanes, const N: usize>(index: [V; 4], points: &[u32; N]) -> [V; 4] {
    let [a, b, c, d] = index;
    [a.pick(points), b.pick(points), c.pick(points), d.pick(points)]
}

/// Bit `k` of byte `j` at the top of the low nibble of byte `k` of the lane, or if `k` exceeds 3 of the high one of
/// byte `k - 4`; other bits are of no meaning.
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
unsafe fn spread<V: RowLanes>(signs: V, j: usize) -> V {
    // In each half a product by two powers of two puts the bits of two bytes where they belong: bits 0, 1, 4 and 5 in
    // the lower, the others in the upper half. The sums have no carries.
    // SAFETY: promised by the caller.
    unsafe { signs.twice(j).and(V::splat(0x00cc_0033)).mul16(V::splat(0x0102_0408)) }
}

/// Codes of a group of four points of eight coordinates, with a sign bit for each.
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub unsafe fn eights<V: RowLanes>(points: [V; 4], signs: V, codes: &[i8; 16]) -> [V; 8] {
    // SAFETY: promised by the caller.
    unsafe {
        let (nibble, top, codes) = (V::splat(0x0f0f_0f0f), V::splat(0x8888_8888_u32 as i32), V::table(codes));
        each8!(i => {
            let point = points[i / 2].or(spread(signs, i / 2).and(top));
            let point = if i.is_multiple_of(2) { point } else { point.shr(4) };
            point.and(nibble).look_up(codes)
        })
    }
}

/// Codes of a group of eight points of four coordinates, with a sign bit for each.
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub unsafe fn fours<V: RowLanes>(low: [V; 4], high: [V; 4], signs: V, codes: &[i8; 16]) -> [V; 8] {
    // SAFETY: promised by the caller.
    unsafe {
        let (top, codes) = (V::splat(0x0808_0808), V::table(codes));
        each8!(i => {
            let signs = spread(signs, i / 2);
            let signs = if i.is_multiple_of(2) { signs } else { signs.shr(4) };
            (if i < 4 { low[i] } else { high[i - 4] }).or(signs.and(top)).look_up(codes)
        })
    }
}

/// The sign bits of a group whose word has four times seven of them, from bit 0 on.
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub unsafe fn signs_of_word<V: RowLanes>(word: V) -> V {
    // SAFETY: promised by the caller.
    unsafe {
        let (a, b) = (word.and(V::splat(0x7f)), word.shl(1).and(V::splat(0x7f00)));
        let (c, d) = (word.shl(2).and(V::splat(0x7f_0000)), word.shl(3).and(V::splat(0x7f00_0000)));
        even(a.or(b).or(c).or(d))
    }
}

/// Bytes of seven bits with an eighth that makes the number of set bits even.
///
/// # Safety
/// The CPU has the instruction set of `V`.
#[inline(always)]
pub unsafe fn even<V: RowLanes>(signs: V) -> V {
    const ODD: i8 = -128;
    static PARITY: [i8; 16] = [0, ODD, ODD, 0, ODD, 0, 0, ODD, ODD, 0, 0, ODD, 0, ODD, ODD, 0];
    // SAFETY: promised by the caller.
    let (nibble, parity) = unsafe { (V::splat(0x0f0f_0f0f), V::table(&PARITY)) };
    signs.or(signs.xor(signs.shr(4)).and(nibble).look_up(parity))
}
