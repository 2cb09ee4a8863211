//! The quantized product, generic over the instruction set and the format.
//!
//! Few rows of activations: weights are streamed, unpacked in registers and multiplied at once. Many: the weights of
//! one or two vectors of rows are unpacked into a panel that stays in the first cache, a stretch of [`STRETCH`] groups
//! at a time, and all rows of activations are multiplied with it, [`TILE`] at a time. Both do for each result
//! what [`crate::scalar::matmul_q8`] says.

use super::act::{ChunkAct, GroupAct, prepare};
use super::{CHUNK, ChunkScales, Floats, RowBlock, RowLanes, Rows, Sink};
use crate::TileMut;
use crate::act::ActQ8;
use crate::blocks::GROUP;
use crate::scalar;
use core::marker::PhantomData;

/// Up to so many rows of activations, weights are streamed.
const STREAMED: usize = 8;
/// Rows of activations that share the loads of a panel.
const TILE: usize = 16;
/// Groups of a panel.
const STRETCH: usize = 16;
/// Bytes of a panel: two times sixteen rows of codes, two scales and two minimums a group, and alignment.
pub(crate) const PANEL_BYTES: usize = 2 * STRETCH * 12 * 64 + 64;

/// `y[t][r] = sum over k of x[t][k] * w[r][k]`.
///
/// # Safety
/// The CPU has the instruction set of `V`; `w` holds a row of `x.k` weights for each column of `y`, `y` has a row for each of `x`,
/// and `panel` has [`PANEL_BYTES`].
#[inline(always)]
pub(crate) unsafe fn matmul_q8<V: RowLanes, B: RowBlock>(w: &[u8], x: &ActQ8, y: &mut TileMut, panel: &mut [u8]) {
    let (n, row_bytes) = (y.cols(), x.k / (B::GROUPS * GROUP) * size_of::<B>());
    debug_assert_eq!(w.len(), n * row_bytes);
    if n < V::N || row_bytes > i32::MAX as usize / 16 {
        return scalar::matmul_q8::matmul_q8::<B>(w, x, y, panel);
    }
    // The last vector of rows overlaps the one before rather than being shorter: what is computed twice has the same bits.
    let rows = |r: usize| Rows { ptr: w[r * row_bytes..].as_ptr(), stride: row_bytes };
    let last = n - V::N;
    if x.rows <= STREAMED {
        for r in (0..n).step_by(V::N).map(|r| r.min(last)) {
            let mut t = 0;
            while t < x.rows {
                // SAFETY: `V::N` rows begin at `r`, and so many rows of activations at `t`.
                t += unsafe {
                    match x.rows - t {
                        1 => stream::<V, B, 1>(rows(r), x, t, y, r),
                        2 | 3 => stream::<V, B, 2>(rows(r), x, t, y, r),
                        _ => stream::<V, B, 4>(rows(r), x, t, y, r),
                    }
                };
            }
        }
        return;
    }
    let panel = panel.as_mut_ptr().wrapping_add(panel.as_ptr().align_offset(align_of::<V>())).cast::<V>();
    for r in (0..n).step_by(2 * V::N) {
        // SAFETY: `V::N` rows begin at each of these, and the panel has room for two vectors of rows.
        unsafe {
            if r + V::N < n {
                let second = (r + V::N).min(last);
                panels::<V, B, 2>([rows(r), rows(second)], x, y, [r, second], panel);
            } else {
                let first = r.min(last);
                panels::<V, B, 1>([rows(first)], x, y, [first], panel);
            }
        }
    }
}

/// One group of one row of activations added to `y`.
///
/// # Safety
/// The CPU has the instruction set, and 32 activations can be read at `x`.
#[inline(always)]
unsafe fn step<V: RowLanes, B: RowBlock>(
    codes: &[V; 8],
    s: &[V::Floats; 2],
    m: &[V::Floats; 2],
    x: *const i8,
    act: &GroupAct,
    mut y: V::Floats,
) -> V::Floats {
    // SAFETY: promised by the caller.
    unsafe {
        let d = V::Floats::splat(act.d);
        if B::HALVES {
            let [a, b, c, e, f, g, h, i] = *codes;
            y = s[0].mul(d).mul_add(V::dot::<B, 4>(&[a, b, c, e], x, act.start[0]).float(), y);
            y = s[1].mul(d).mul_add(V::dot::<B, 4>(&[f, g, h, i], x.add(16), act.start[1]).float(), y);
        } else {
            y = s[0].mul(d).mul_add(V::dot::<B, 8>(codes, x, act.start[0]).float(), y);
        }
        if B::HAS_MIN {
            y = m[0].mul_add(V::Floats::splat(act.sum[0]), y);
            if B::HALVES {
                y = m[1].mul_add(V::Floats::splat(act.sum[1]), y);
            }
        }
    }
    y
}

/// Groups are multiplied with `T` rows of activations as they come.
struct Multiply<'a, V: RowLanes, B, const T: usize> {
    scales: &'a ChunkScales<V>,
    act: &'a [ChunkAct; T],
    /// The chunk's activations.
    x: [*const i8; T],
    y: [V::Floats; T],
    block: PhantomData<B>,
}

impl<V: RowLanes, B: RowBlock, const T: usize> Sink<V> for Multiply<'_, V, B, T> {
    #[inline(always)]
    unsafe fn group(&mut self, g: usize, codes: [V; 8]) {
        let codes = each8!(i => codes[i].prepare::<B>());
        for t in 0..T {
            // SAFETY: promised by the caller; the group lies inside the row of activations.
            self.y[t] = unsafe {
                let x = self.x[t].add(g * GROUP);
                step::<V, B>(&codes, &self.scales.s[g], &self.scales.m[g], x, &self.act[t][g], self.y[t])
            };
        }
    }
}

/// One vector of weight rows times the `T` rows of activations at `t`, to column `r`. Returns `T`.
///
/// # Safety
/// The CPU has the instruction set; the rows of weights and of activations are there.
#[inline(always)]
unsafe fn stream<V: RowLanes, B: RowBlock, const T: usize>(
    rows: Rows,
    x: &ActQ8,
    t: usize,
    y: &mut TileMut,
    r: usize,
) -> usize {
    // SAFETY: promised by the caller; a chunk never exceeds the row.
    unsafe {
        let zero = V::Floats::splat(0.0);
        let mut scales = ChunkScales { s: [[zero; 2]; CHUNK], m: [[zero; 2]; CHUNK] };
        let mut act = [[GroupAct::default(); CHUNK]; T];
        let mut sums = [zero; T];
        let groups = x.k / GROUP;
        for first in (0..groups).step_by(CHUNK) {
            let count = CHUNK.min(groups - first);
            let rows = rows.at(first / B::GROUPS * size_of::<B>());
            let mut starts = [core::ptr::null(); T];
            for i in 0..T {
                prepare::<B>(x, t + i, first, V::offset(B::CODES), &mut act[i][..count]);
                starts[i] = x.q.as_ptr().add((t + i) * x.k + first * GROUP);
            }
            B::row_scales::<V>(rows, count, &mut scales);
            let mut sink = Multiply::<V, B, T> { scales: &scales, act: &act, x: starts, y: sums, block: PhantomData };
            B::row_codes(rows, count, &mut sink);
            sums = sink.y;
        }
        for (i, sums) in sums.into_iter().enumerate() {
            sums.store(y.row_mut(t + i)[r..r + V::N].as_mut_ptr());
        }
    }
    T
}

/// Groups are laid into a panel: codes, scales, minimums, as many vectors as [`Panel::SIZE`] says.
struct Panel<'a, V: RowLanes, B> {
    scales: &'a ChunkScales<V>,
    /// The chunk's place in the panel.
    to: *mut V,
    block: PhantomData<B>,
}

impl<V: RowLanes, B: RowBlock> Panel<'_, V, B> {
    const SCALES: usize = if B::HALVES { 2 } else { 1 };
    const MINS: usize = if B::HAS_MIN { Self::SCALES } else { 0 };
    /// Vectors of a group.
    const SIZE: usize = 8 + Self::SCALES + Self::MINS;

    /// Codes, scales and minimums of a group.
    ///
    /// # Safety
    /// A group was laid there.
    #[inline(always)]
    unsafe fn read(group: *const V) -> ([V; 8], [V::Floats; 2], [V::Floats; 2]) {
        // SAFETY: promised by the caller; vectors of integers and of floats have the same size and alignment.
        unsafe {
            let scales = group.add(8).cast::<V::Floats>();
            let mins = scales.add(Self::SCALES);
            let mut numbers = [[V::Floats::splat(0.0); 2]; 2];
            for (numbers, (at, count)) in numbers.iter_mut().zip([(scales, Self::SCALES), (mins, Self::MINS)]) {
                for (i, number) in numbers.iter_mut().enumerate().take(count) {
                    *number = at.add(i).read();
                }
            }
            (group.cast::<[V; 8]>().read(), numbers[0], numbers[1])
        }
    }
}

impl<V: RowLanes, B: RowBlock> Sink<V> for Panel<'_, V, B> {
    #[inline(always)]
    unsafe fn group(&mut self, g: usize, codes: [V; 8]) {
        // SAFETY: promised by the caller; the group lies inside the panel.
        unsafe {
            let group = self.to.add(g * Self::SIZE);
            group.cast::<[V; 8]>().write(each8!(i => codes[i].prepare::<B>()));
            let scales = group.add(8).cast::<V::Floats>();
            for i in 0..Self::SCALES {
                scales.add(i).write(self.scales.s[g][i]);
            }
            for i in 0..Self::MINS {
                scales.add(Self::SCALES + i).write(self.scales.m[g][i]);
            }
        }
    }
}

/// `P` vectors of weight rows times all rows of activations, to columns `r`.
///
/// # Safety
/// The CPU has the instruction set; the rows of weights are there, and the panel has room for them.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // a group is a place in the panel and in the activations too
unsafe fn panels<V: RowLanes, B: RowBlock, const P: usize>(
    rows: [Rows; P],
    x: &ActQ8,
    y: &mut TileMut,
    r: [usize; P],
    panel: *mut V,
) {
    // SAFETY: promised by the caller; stretches, chunks and tiles never exceed the rows.
    unsafe {
        let zero = V::Floats::splat(0.0);
        let mut scales = ChunkScales { s: [[zero; 2]; CHUNK], m: [[zero; 2]; CHUNK] };
        let mut act = [[GroupAct::default(); STRETCH]; TILE];
        let groups = x.k / GROUP;
        let mut panels = [panel; P];
        for (p, panel) in panels.iter_mut().enumerate() {
            *panel = panel.add(p * STRETCH * Panel::<V, B>::SIZE);
        }
        for first in (0..groups).step_by(STRETCH) {
            let stretch = STRETCH.min(groups - first);
            for (rows, panel) in rows.iter().zip(panels) {
                for chunk in (0..stretch).step_by(CHUNK) {
                    let count = CHUNK.min(stretch - chunk);
                    let rows = rows.at((first + chunk) / B::GROUPS * size_of::<B>());
                    B::row_scales::<V>(rows, count, &mut scales);
                    let to = panel.add(chunk * Panel::<V, B>::SIZE);
                    B::row_codes(rows, count, &mut Panel::<V, B> { scales: &scales, to, block: PhantomData });
                }
            }
            for t in (0..x.rows).step_by(TILE) {
                let tile = TILE.min(x.rows - t);
                let mut sums = [[zero; P]; TILE];
                for i in 0..tile {
                    prepare::<B>(x, t + i, first, V::offset(B::CODES), &mut act[i][..stretch]);
                    if first > 0 {
                        for (sum, r) in sums[i].iter_mut().zip(r) {
                            *sum = V::Floats::load(y.row_mut(t + i)[r..r + V::N].as_ptr());
                        }
                    }
                }
                for g in 0..stretch {
                    let mut weights = [([V::splat(0); 8], [zero; 2], [zero; 2]); P];
                    for (weights, panel) in weights.iter_mut().zip(panels) {
                        *weights = Panel::<V, B>::read(panel.add(g * Panel::<V, B>::SIZE));
                    }
                    let start = x.q.as_ptr().add(t * x.k + (first + g) * GROUP);
                    for i in 0..tile {
                        for (sum, (codes, s, m)) in sums[i].iter_mut().zip(&weights) {
                            *sum = step::<V, B>(codes, s, m, start.add(i * x.k), &act[i][g], *sum);
                        }
                    }
                }
                for (i, sums) in sums.iter().enumerate().take(tile) {
                    for (sums, r) in sums.iter().zip(r) {
                        sums.store(y.row_mut(t + i)[r..r + V::N].as_mut_ptr());
                    }
                }
            }
        }
    }
}
