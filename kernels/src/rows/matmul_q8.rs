//! The quantized product, for any instruction set and format.
//!
//! One row of activations: weights are streamed, unpacked in registers and multiplied at once. More: the weights of
//! a few vectors of rows are unpacked into panels that stay in the cache, [`STRETCH`] groups at a time, and all rows of
//! activations are multiplied with them, [`TOKENS`] at a time. Both do for each result what
//! [`crate::scalar::matmul_q8`] says.
//!
//! The loops here are plain code; what is compiled for the instruction set are the functions of a [`Format`].

use super::act::{ActTile, GroupAct, STRETCH, Wants};
use super::{CHUNK, RowLanes, Rows, TOKENS};
use crate::TileMut;
use crate::act::ActQ8;
use crate::blocks::{Codes, GROUP, QuantBlock};
use crate::scalar;

/// Bytes of the panels of weights.
const WEIGHT_BYTES: usize = 96 << 10;
/// The greatest alignment of what lies in the scratch.
const ALIGN: usize = 64;

/// Bytes of scratch for rows of `k`.
pub(crate) const fn panel_bytes(k: usize) -> usize {
    let one = k / GROUP * size_of::<GroupAct>();
    let many = size_of::<ActTile>() + WEIGHT_BYTES;
    ALIGN + if one > many { one } else { many }
}

/// As [`super::panel::tile`].
pub(crate) type Tile<V> = unsafe fn(*const V, &ActTile, usize, usize, &[*mut f32; TOKENS], bool);

/// How an instruction set multiplies rows of one type.
pub(crate) struct Format<V> {
    /// Groups of a block.
    pub groups: usize,
    /// Bytes of a block.
    pub bytes: usize,
    /// Vectors of a group in a panel.
    pub vectors: usize,
    /// What is asked of the activations.
    pub wants: Wants,
    /// The definition.
    pub scalar: fn(&[u8], &ActQ8, &mut TileMut, &mut [u8]),
    /// As [`super::stream::stream`].
    pub stream: unsafe fn(Rows, *const i8, &[GroupAct], *mut f32),
    /// As [`super::panel::unpack`].
    pub unpack: unsafe fn(Rows, usize, *mut V),
    /// As [`ActTile::fill`].
    pub fill: unsafe fn(&mut ActTile, &ActQ8, usize, usize, usize, Wants),
    /// For half of [`TOKENS`] rows, and for as many as [`RowLanes::TILE`] says.
    pub tiles: [Tile<V>; 2],
}

impl<V: RowLanes> Format<V> {
    /// The numbers of `B`, with the functions given.
    pub const fn new<B: QuantBlock>(
        stream: unsafe fn(Rows, *const i8, &[GroupAct], *mut f32),
        unpack: unsafe fn(Rows, usize, *mut V),
        fill: unsafe fn(&mut ActTile, &ActQ8, usize, usize, usize, Wants),
        tiles: [Tile<V>; 2],
    ) -> Self {
        Format {
            groups: B::GROUPS,
            bytes: size_of::<B>(),
            vectors: super::panel::group_vectors::<B>(),
            wants: Wants {
                halves: B::HALVES,
                offset: match B::CODES {
                    Codes::Signed if V::KEEPS_SIGN => 0,
                    codes => codes.offset() as i32,
                },
            },
            scalar: scalar::matmul_q8::matmul_q8::<B>,
            stream,
            unpack,
            fill,
            tiles,
        }
    }

    /// `y[t][r] = sum over k of x[t][k] * w[r][k]`.
    ///
    /// # Safety
    /// The CPU has the instruction set of `V`; `w` holds a row of `x.k` weights for each column of `y`, `y` has a row for each of
    /// `x`, and `scratch` has [`panel_bytes`].
    pub unsafe fn matmul_q8(&self, w: &[u8], x: &ActQ8, y: &mut TileMut, scratch: &mut [u8]) {
        let (n, row_bytes) = (y.cols(), x.k / (self.groups * GROUP) * self.bytes);
        debug_assert_eq!(w.len(), n * row_bytes);
        if n < V::N || row_bytes > i32::MAX as usize / 16 {
            return (self.scalar)(w, x, y, scratch);
        }
        let scratch = &mut scratch[..panel_bytes(x.k)];
        let scratch = scratch.as_mut_ptr().wrapping_add(scratch.as_ptr().align_offset(ALIGN));
        let rows = |r: usize| Rows { ptr: w[r * row_bytes..].as_ptr(), stride: row_bytes };
        // The last vector of rows overlaps the one before rather than being shorter: what is computed twice has the same bits.
        let last = n - V::N;
        // SAFETY: as promised by the caller; the scratch has room for what each part lays there, and the rows of each vector exist.
        unsafe {
            if x.rows == 1 {
                let act = self.prepare(x, scratch.cast());
                for r in (0..n).step_by(V::N).map(|r| r.min(last)) {
                    (self.stream)(rows(r), x.q.as_ptr(), act, y.row_mut(0)[r..r + V::N].as_mut_ptr());
                }
                return;
            }
            let at_once = WEIGHT_BYTES / (STRETCH * self.vectors * size_of::<V>());
            let whole = n / V::N;
            for v in (0..whole).step_by(at_once) {
                self.panels(rows(v * V::N), at_once.min(whole - v), x, y, v * V::N, scratch);
            }
            if whole * V::N < n {
                self.panels(rows(last), 1, x, y, last, scratch);
            }
        }
    }

    /// What the groups of the one row of `x` bring besides the integers, laid to `to`.
    ///
    /// # Safety
    /// There is room for all groups.
    unsafe fn prepare<'a>(&self, x: &ActQ8, to: *mut GroupAct) -> &'a [GroupAct] {
        let groups = x.d.iter().zip(x.sums.as_chunks::<2>().0);
        for (i, (&d, &sums)) in groups.enumerate() {
            // SAFETY: promised by the caller.
            unsafe { to.add(i).write(GroupAct::new(d, sums, self.wants)) };
        }
        // SAFETY: all have been written.
        unsafe { core::slice::from_raw_parts(to, x.d.len()) }
    }

    /// `count` vectors of weight rows times all rows of activations, to the columns from `r` on.
    ///
    /// # Safety
    /// The CPU has the instruction set; the rows of weights are there, and the scratch has room for their panels.
    unsafe fn panels(&self, rows: Rows, count: usize, x: &ActQ8, y: &mut TileMut, r: usize, scratch: *mut u8) {
        let groups = x.k / GROUP;
        let mut beyond = [[0.0f32; 16]; TOKENS];
        // SAFETY: promised by the caller; stretches, chunks and tiles never exceed the rows. The tile is written before
        // it is read: any bytes are one.
        unsafe {
            let act = &mut *scratch.cast::<ActTile>();
            let panel = scratch.add(size_of::<ActTile>()).cast::<V>();
            for first in (0..groups).step_by(STRETCH) {
                let stretch = STRETCH.min(groups - first);
                for p in 0..count {
                    let rows = rows.at(p * V::N * rows.stride + first / self.groups * self.bytes);
                    for chunk in (0..stretch).step_by(CHUNK) {
                        let to = panel.add((p * STRETCH + chunk) * self.vectors);
                        (self.unpack)(rows.at(chunk / self.groups * self.bytes), CHUNK.min(stretch - chunk), to);
                    }
                }
                for t in (0..x.rows).step_by(TOKENS) {
                    (self.fill)(act, x, t, first, stretch, self.wants);
                    let here = TOKENS.min(x.rows - t);
                    let half = TOKENS / 2;
                    let (tile, step) = if here <= half { (self.tiles[0], half) } else { (self.tiles[1], V::TILE) };
                    for p in 0..count {
                        let r = r + p * V::N;
                        let mut to = beyond.each_mut().map(|row| row.as_mut_ptr());
                        for (i, to) in to.iter_mut().enumerate().take(here) {
                            *to = y.row_mut(t + i)[r..r + V::N].as_mut_ptr();
                        }
                        let panel = panel.add(p * STRETCH * self.vectors);
                        for at in (0..here).step_by(step) {
                            tile(panel, act, at, stretch, &to, first == 0);
                        }
                    }
                }
            }
        }
    }
}

/// The functions of a [`Format`] compiled for the lanes `$lanes` with `$features`, each once per what it depends on.
macro_rules! format_functions {
    ($lanes:ty, $features:literal) => {
        /// As [`crate::rows::stream::stream`].
        #[target_feature(enable = $features)]
        unsafe fn stream<B: RowBlock>(
            rows: crate::rows::Rows,
            x: *const i8,
            act: &[crate::rows::GroupAct],
            y: *mut f32,
        ) {
            // SAFETY: promised by the caller.
            unsafe { crate::rows::stream::stream::<$lanes, B>(rows, x, act, y) };
        }

        /// As [`crate::rows::panel::unpack`].
        #[target_feature(enable = $features)]
        unsafe fn unpack<B: RowBlock>(rows: crate::rows::Rows, groups: usize, to: *mut $lanes) {
            // SAFETY: promised by the caller.
            unsafe { crate::rows::panel::unpack::<$lanes, B>(rows, groups, to) };
        }

        /// As [`crate::rows::ActTile::fill`].
        #[target_feature(enable = $features)]
        unsafe fn fill(
            act: &mut crate::rows::ActTile,
            x: &ActQ8,
            t: usize,
            first: usize,
            groups: usize,
            wants: crate::rows::Wants,
        ) {
            act.fill(x, t, first, groups, wants);
        }

        /// As [`crate::rows::panel::tile`].
        #[target_feature(enable = $features)]
        unsafe fn tile<const PAIRS: usize, const HALVES: bool, const HAS_MIN: bool, const T: usize>(
            panel: *const $lanes,
            act: &crate::rows::ActTile,
            at: usize,
            groups: usize,
            y: &[*mut f32; TOKENS],
            first: bool,
        ) {
            // SAFETY: promised by the caller.
            unsafe { crate::rows::panel::tile::<$lanes, PAIRS, HALVES, HAS_MIN, T>(panel, act, at, groups, y, first) };
        }
    };
}
pub(crate) use format_functions;
