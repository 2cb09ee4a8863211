//! The quantized product, for any instruction set and format.
//!
//! One row of activations: weights are streamed, unpacked in registers and multiplied at once. More: a stretch of one vector
//! of weight rows is unpacked into a panel in L1 and multiplied with all rows of activations, [`TOKENS`] at a time. These
//! were laid out as tiles before, as many as stay in L2: for a few rows all of them, so that weights are read in order and
//! once; for many, those of one stretch, which all vectors of a block of weight rows meet. Both ways do for each result
//! what [`crate::scalar::matmul_q8`] says.
//!
//! Measured on one CPU (a Xeon of family 6, model 207) and left: scales fetched by sixteen loads instead of a gather cost 8 %
//! of Q4_0's speed in the cache. Without VNNI, signed codes as two planes of nibbles gave 105 Gop/s where magnitudes and
//! signs gave 102: they take fewer of the slots that multiply, but more that add.

use super::act::{ActTile, GroupAct, STRETCH, Wants};
use super::panel::{MAX_VECTORS, group_vectors};
use super::{CHUNK, RowLanes, Rows, TOKENS};
use crate::TileMut;
use crate::act::ActQ8;
use crate::blocks::{Codes, GROUP, QuantBlock};
use crate::scalar;

/// Tiles of activations that are laid out at once: 300 KB.
const ACT_TILES: usize = 32;
/// Vectors of weight rows that meet one layout of activations before their results leave L2.
const BLOCK: usize = 32;
/// Bytes of the greatest panel.
const PANEL_BYTES: usize = STRETCH * MAX_VECTORS * ALIGN;
/// The greatest alignment of what lies in the scratch.
const ALIGN: usize = 64;

/// Bytes of scratch for rows of `k`.
pub(crate) const fn panel_bytes(k: usize) -> usize {
    let one = k / GROUP * size_of::<GroupAct>();
    let many = ACT_TILES * size_of::<ActTile>() + PANEL_BYTES;
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
    /// What is asked of one row of activations, and of many.
    pub wants: [Wants; 2],
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
            vectors: group_vectors::<V, B>(),
            wants: [
                Wants {
                    halves: B::HALVES,
                    offset: match B::CODES {
                        Codes::Signed if V::KEEPS_SIGN => 0,
                        codes => codes.offset() as i32,
                    },
                },
                Wants { halves: B::HALVES, offset: B::CODES.offset() as i32 },
            ],
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
        if n < V::N || x.k == 0 || row_bytes > i32::MAX as usize / 16 {
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
            // The last vector comes after the others: a stretch of it adds to results that are still its own.
            let whole = n / V::N;
            self.panels(w, row_bytes, 0, whole, x, y, scratch);
            if whole * V::N < n {
                self.panels(&w[last * row_bytes..], row_bytes, last, 1, x, y, scratch);
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
            unsafe { to.add(i).write(GroupAct::new(d, sums, self.wants[0])) };
        }
        // SAFETY: all have been written.
        unsafe { core::slice::from_raw_parts(to, x.d.len()) }
    }

    /// The first `count` vectors of weight rows in `w` times all rows of activations, to the columns from `r` on.
    ///
    /// # Safety
    /// The CPU has the instruction set; the rows of weights are there, and the scratch is aligned and has room.
    #[allow(clippy::too_many_arguments)]
    unsafe fn panels(
        &self,
        w: &[u8],
        row_bytes: usize,
        r: usize,
        count: usize,
        x: &ActQ8,
        y: &mut TileMut,
        scratch: *mut u8,
    ) {
        let groups = x.k / GROUP;
        // Stretches of one length, but for the last.
        let stretch = groups.div_ceil(groups.div_ceil(STRETCH).max(1)).next_multiple_of(self.groups).max(1);
        let (stretches, tiles) = (groups.div_ceil(stretch), x.rows.div_ceil(TOKENS));
        // All that is laid out for a few rows serves all weights.
        let (laid, block) = if stretches * tiles <= ACT_TILES { (stretches, count) } else { (1, BLOCK) };
        let at_once = ACT_TILES / laid.max(1);
        let vector = |v: usize| Rows { ptr: w[v * V::N * row_bytes..].as_ptr(), stride: row_bytes };
        let part = |rows: Rows, s: usize| rows.at(s * stretch / self.groups * self.bytes);
        for (t0, v0) in product(tiles, at_once, count, block) {
            let (t1, v1) = (tiles.min(t0 + at_once), count.min(v0 + block));
            for s0 in (0..stretches).step_by(laid) {
                let s1 = stretches.min(s0 + laid);
                // SAFETY: promised by the caller. Tiles lie in the scratch one behind the other, those of one row of
                // activations together, and behind all of them the panel; a tile is written before it is read: any bytes
                // are one. Stretches, chunks and tiles never exceed the rows; what is asked of the cache need not exist.
                unsafe {
                    let acts = scratch.cast::<ActTile>();
                    let panel = acts.add(ACT_TILES).cast::<V>();
                    for t in t0..t1 {
                        for s in s0..s1 {
                            let act = &mut *acts.add((t - t0) * laid + s - s0);
                            let here = stretch.min(groups - s * stretch);
                            (self.fill)(act, x, t * TOKENS, s * stretch, here, self.wants[1]);
                        }
                    }
                    for v in v0..v1 {
                        for s in s0..s1 {
                            let here = stretch.min(groups - s * stretch);
                            let rows = part(vector(v), s);
                            let mut ahead = Ahead {
                                // Behind the last stretch of a block it is the next vector, whatever comes.
                                rows: if s + 1 < s1 { part(rows, 1) } else { part(rows, 0).at(V::N * row_bytes) },
                                bytes: here / self.groups * self.bytes,
                                row: 0,
                                left: here.div_ceil(CHUNK) + t1 - t0,
                            };
                            for chunk in (0..here).step_by(CHUNK) {
                                ahead.step::<V>();
                                let to = panel.add(chunk * self.vectors);
                                (self.unpack)(rows.at(chunk / self.groups * self.bytes), CHUNK.min(here - chunk), to);
                            }
                            for t in t0..t1 {
                                ahead.step::<V>();
                                let act = &*acts.add((t - t0) * laid + s - s0);
                                self.tiles(panel, act, t * TOKENS, here, y, r + v * V::N, s == 0);
                            }
                        }
                    }
                }
            }
        }
    }

    /// A panel of `groups` groups times a tile of activations, the row `t` and those after it; results are added to the
    /// columns of `y` from `r` on, or if `first` begin there.
    ///
    /// # Safety
    /// The CPU has the instruction set; panel and tile have the groups.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    unsafe fn tiles(
        &self,
        panel: *const V,
        act: &ActTile,
        t: usize,
        groups: usize,
        y: &mut TileMut,
        r: usize,
        first: bool,
    ) {
        let mut beyond = [[0.0f32; 16]; TOKENS];
        let mut to = beyond.each_mut().map(|row| row.as_mut_ptr());
        let here = TOKENS.min(y.rows() - t);
        for (i, to) in to.iter_mut().enumerate().take(here) {
            *to = y.row_mut(t + i)[r..r + V::N].as_mut_ptr();
        }
        let half = TOKENS / 2;
        let (tile, step) = if here <= half { (self.tiles[0], half) } else { (self.tiles[1], V::TILE) };
        for at in (0..here).step_by(step) {
            // SAFETY: promised by the caller; a vector of results is at each place of `to`.
            unsafe { tile(panel, act, at, groups, &to, first) };
        }
    }
}

/// The beginnings of blocks of `a` by blocks of `b`, the second running faster.
fn product(a: usize, a_step: usize, b: usize, b_step: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..a).step_by(a_step.max(1)).flat_map(move |i| (0..b).step_by(b_step.max(1)).map(move |j| (i, j)))
}

/// Weights that come next, fetched in steps between the work on those before.
struct Ahead {
    rows: Rows,
    /// Of each row.
    bytes: usize,
    /// The row that is next.
    row: usize,
    /// Steps left.
    left: usize,
}

impl Ahead {
    /// Fetches the rows of this step.
    #[inline(always)]
    fn step<V: RowLanes>(&mut self) {
        let to = self.row + (V::N - self.row).div_ceil(self.left.max(1));
        for row in self.row..to {
            let from = self.rows.ptr.wrapping_add(row * self.rows.stride);
            for line in (0..self.bytes + 63).step_by(64) {
                // SAFETY: a hint, which may name any address.
                unsafe { V::prefetch(from.wrapping_add(line)) };
            }
        }
        (self.row, self.left) = (to, self.left.saturating_sub(1));
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

/// The products of panels of `$block` by dot products of bytes into 32 bits, which take any codes, from the functions that
/// [`format_functions`] made for `$lanes`.
macro_rules! dot_tiles {
    ($block:ident, $lanes:ty) => {{
        const HALF: usize = TOKENS / 2;
        const ALL: usize = <$lanes as crate::rows::RowLanes>::TILE;
        match ($block::HALVES, $block::HAS_MIN) {
            (false, false) => [tile::<1, false, false, HALF>, tile::<1, false, false, ALL>],
            (false, true) => [tile::<1, false, true, HALF>, tile::<1, false, true, ALL>],
            (true, false) => [tile::<1, true, false, HALF>, tile::<1, true, false, ALL>],
            (true, true) => [tile::<1, true, true, HALF>, tile::<1, true, true, ALL>],
        }
    }};
}
pub(crate) use dot_tiles;
