//! Panels of unpacked weights, and the product of one with a tile of activations.

use super::act::{ActTile, STRETCH};
use super::{CHUNK, ChunkScales, Floats, RowBlock, RowLanes, Rows, Sink, TOKENS};
use crate::blocks::{Codes, GROUP, QuantBlock};
use core::marker::PhantomData;

/// Whether the codes lie in a panel as two planes: low nibbles and high nibbles of what is signed and has no better form.
const fn in_planes<V: RowLanes, B: QuantBlock>() -> bool {
    V::KEEPS_SIGN && matches!(B::CODES, Codes::Signed)
}

/// Vectors of one group in a panel: codes, scales, minimums.
pub const fn group_vectors<V: RowLanes, B: QuantBlock>() -> usize {
    let halves = if B::HALVES { 2 } else { 1 };
    (if in_planes::<V, B>() { 16 } else { 8 }) + halves + if B::HAS_MIN { halves } else { 0 }
}

/// The most that [`group_vectors`] can be.
pub const MAX_VECTORS: usize = 20;

/// Groups are laid into a panel, as many vectors each as [`group_vectors`] says.
struct Panel<'a, V: RowLanes, B> {
    scales: &'a mut ChunkScales<V>,
    /// The chunk's place in the panel.
    to: *mut V,
    block: PhantomData<B>,
}

impl<V: RowLanes, B: RowBlock> Sink<V> for Panel<'_, V, B> {
    #[inline(always)]
    unsafe fn group(&mut self, g: usize, codes: [V; 8]) {
        let halves = if B::HALVES { 2 } else { 1 };
        // SAFETY: promised by the caller; the group lies inside the panel, and vectors of integers and of floats have the
        // same size and alignment.
        unsafe {
            let group = self.to.add(g * group_vectors::<V, B>());
            let scales = if in_planes::<V, B>() {
                let (four, sign) = (V::splat(0x0f0f_0f0f), V::splat(0x8080_8080_u32 as i32));
                let codes = each8!(i => codes[i].xor(sign));
                group.cast::<[[V; 2]; 8]>().write(each8!(i => [codes[i].and(four), codes[i].shr(4).and(four)]));
                group.add(16)
            } else {
                group.cast::<[V; 8]>().write(each8!(i => codes[i].prepare(B::CODES)));
                group.add(8)
            };
            let scales = scales.cast::<V::Floats>();
            for i in 0..halves {
                scales.add(i).write(self.scales.s[g][i]);
                if B::HAS_MIN {
                    scales.add(halves + i).write(self.scales.m[g][i]);
                }
            }
        }
    }

    #[inline(always)]
    fn scale(&mut self, g: usize, s: V::Floats) {
        self.scales.s[g] = [s; 2];
    }
}

/// Unpacks the first `groups` groups at `rows`, at most [`CHUNK`], to a panel.
///
/// # Safety
/// The CPU has the instruction set of `V`; the blocks are there, and the panel has room for them.
#[inline(always)]
pub unsafe fn unpack<V: RowLanes, B: RowBlock>(rows: Rows, groups: usize, to: *mut V) {
    // SAFETY: promised by the caller.
    unsafe {
        let zero = V::Floats::splat(0.0);
        let mut scales = ChunkScales { s: [[zero; 2]; CHUNK], m: [[zero; 2]; CHUNK] };
        B::row_scales::<V>(rows, groups, &mut scales);
        B::row_codes(rows, groups, &mut Panel::<V, B> { scales: &mut scales, to, block: PhantomData });
    }
}

/// Multiplies `groups` groups of a panel with the `T` rows from `at` on of a tile, and adds to `y` (if `first`: to zero), a
/// vector for each row. `PAIRS` is as [`RowLanes::dots`] has it.
///
/// # Safety
/// The CPU has the instruction set of `V`; panel and tile have the groups, and a vector of floats is at each `y`.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // a row is a place in the activations too
pub unsafe fn tile<V: RowLanes, const PAIRS: usize, const HALVES: bool, const HAS_MIN: bool, const T: usize>(
    mut panel: *const V,
    act: &ActTile,
    at: usize,
    groups: usize,
    y: &[*mut f32; TOKENS],
    first: bool,
) {
    assert!(groups <= STRETCH && at + T <= TOKENS);
    let (halves, codes) = (if HALVES { 2 } else { 1 }, if PAIRS == 0 { 16 } else { 8 });
    // SAFETY: promised by the caller.
    unsafe {
        let mut sums = [V::Floats::splat(0.0); T];
        if !first {
            for i in 0..T {
                sums[i] = V::Floats::load(y[at + i]);
            }
        }
        let (d, start, sum) =
            (act.d.as_ptr().cast::<f32>(), act.start.as_ptr().cast::<i32>(), act.sum.as_ptr().cast::<f32>());
        for g in 0..groups {
            let scales = panel.add(codes).cast::<V::Floats>();
            let q = act.q.as_ptr().cast::<i8>().add((g * TOKENS + at) * GROUP);
            for h in 0..halves {
                let s = scales.add(h).read();
                let start = start.add((2 * at + h) * STRETCH + g);
                let dots = if HALVES {
                    V::dots::<PAIRS, 4, T>(panel.add(4 * h), q.add(16 * h), start)
                } else {
                    V::dots::<PAIRS, 8, T>(panel, q, start)
                };
                for i in 0..T {
                    let d = V::Floats::splat(*d.add((at + i) * STRETCH + g));
                    sums[i] = s.mul(d).mul_add(dots[i].float(), sums[i]);
                }
                V::Floats::keep(&mut sums);
            }
            if HAS_MIN {
                for h in 0..halves {
                    let m = scales.add(halves + h).read();
                    for i in 0..T {
                        let sum = V::Floats::splat(*sum.add((2 * (at + i) + h) * STRETCH + g));
                        sums[i] = m.mul_add(sum, sums[i]);
                    }
                }
            }
            panel = panel.add(codes + halves * if HAS_MIN { 2 } else { 1 });
        }
        for i in 0..T {
            sums[i].store(y[at + i]);
        }
    }
}
