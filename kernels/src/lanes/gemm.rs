//! Products of two matrices.
//!
//! A tile of `ROWS` rows and `16 * GROUPS` columns stays in registers while panels of both operands, packed for it, are streamed once:
//! each step broadcasts an element of every row. Blocks of the depth keep those panels in cache; the tile of
//! the next one goes on from what the last one left in `c`, so that no block changes the order of a sum.

use super::Simd;
use super::factors::{Adds, Factors, Flushed, Fused};
pub use super::factors::{Bare, Rounded};
use super::pack::pack;
use crate::gemm::{self, COLS, PANELS, Stage};
use crate::{Mat, TileMut};
use core::ops::Range;

/// Panels of columns up to which rows are read where they lie.
const FEW: usize = 2;

/// Elements of a row that is read where it lies, by which it is asked for ahead.
const AHEAD: usize = 64;

/// `c = a b`, or `c += a b`: all of it, or a stage.
#[inline(always)]
pub fn gemm<S: Simd, F: Factors<S>, const ROWS: usize, const GROUPS: usize>(
    s: S,
    a: &Mat,
    b: &Mat,
    accumulate: bool,
    c: &mut TileMut,
    stage: Stage,
) {
    let (rows, cols, width) = (c.rows(), b.cols(), 16 * GROUPS);
    // The columns are the rows of what is packed.
    let turned = b.t();
    let (mut own, (shared, first), depth, a_packed) = match stage {
        Stage::Pack(panels) => return pack_columns::<S, F, GROUPS>(s, &turned, 0..cols, 0..b.rows(), panels),
        Stage::Whole(scratch) => {
            let (b_packed, a_packed) = scratch.split_at_mut(PANELS);
            (Some(b_packed), (&[][..], 0), b.rows(), a_packed)
        }
        Stage::Multiply(panels, first, a_packed) => (None, (panels, first), a.cols(), a_packed),
    };
    // Of each panel that was packed apart.
    let lines = b.rows().next_multiple_of(F::TURN);
    // Blocks of one size, as far as that goes.
    let deepest = gemm::gemm_block(cols.min(COLS));
    let part = depth.div_ceil(depth.div_ceil(deepest).max(1)).next_multiple_of(8);
    let block = gemm::rows(part.next_multiple_of(F::TURN)) / ROWS * ROWS;
    for col0 in (0..cols).step_by(COLS) {
        let col1 = cols.min(col0 + COLS);
        // A product over nothing is zero.
        for k0 in (0..depth.max(1)).step_by(part.max(1)) {
            let (k1, load) = (depth.min(k0 + part), accumulate || k0 > 0);
            let steps = (k1 - k0).next_multiple_of(F::TURN);
            let (b_packed, panel): (&[f32], usize) = match &mut own {
                Some(own) => {
                    pack_columns::<S, F, GROUPS>(s, &turned, col0..col1, k0..k1, own);
                    (own, width * steps)
                }
                None => (&shared[col0 * lines + (first + k0) * width..], width * lines),
            };
            let panels = (col1 - col0).div_ceil(width);
            let b_panel = |j: usize| &b_packed[j * panel..][..width * steps];
            let b_least = (0..panels).map(|j| F::least(b_panel(j))).min().unwrap_or(0);
            let direct = |rows: usize| {
                if F::BARE && reads_direct::<ROWS>(a, panels, steps) { rows / ROWS } else { 0 }
            };
            for row0 in (0..rows).step_by(block) {
                let row1 = rows.min(row0 + block);
                let direct = direct(row1 - row0);
                let packed = row0 + direct * ROWS..row1;
                pack::<S, F, ROWS>(s, a, packed.clone(), k0..k1, a_packed);
                let a_words = &a_packed[..packed.len().div_ceil(ROWS) * ROWS * steps];
                let normal = F::stay_normal(F::least(a_words), b_least);
                for (j, col) in (col0..col1).step_by(width).enumerate() {
                    let b = b_panel(j);
                    // The tile after the last of a panel of columns is the first of the next.
                    let after = |row: usize| if row + ROWS < row1 { (row + ROWS, col) } else { (row0, col + width) };
                    for row in (row0..row0 + direct * ROWS).step_by(ROWS) {
                        let (from, by, lines) = a.from(row, k0);
                        let at = [(row, col), after(row)];
                        if lines {
                            place::<S, F, ROWS, GROUPS, true>(s, (from, by), b, (load, normal), at, c);
                        } else {
                            place::<S, F, ROWS, GROUPS, false>(s, (from, by), b, (load, normal), at, c);
                        }
                    }
                    for (i, row) in (row0 + direct * ROWS..row1).step_by(ROWS).enumerate() {
                        let panel = &a_packed[i * ROWS * steps..][..ROWS * steps];
                        let at = [(row, col), after(row)];
                        place::<S, F, ROWS, GROUPS, true>(s, (panel, ROWS), b, (load, normal), at, c);
                    }
                }
            }
        }
    }
}

/// Whether rows are read where they lie, for so many panels of columns: packing pays when many tiles read what it made. Tall tiles have
/// time to read contiguous rows, unless these lie on the same few lines of the first cache.
#[inline(always)]
fn reads_direct<const ROWS: usize>(a: &Mat, panels: usize, steps: usize) -> bool {
    let tall = ROWS > 8 && !a.is_transposed() && !a.stride().is_multiple_of(1024);
    steps > 0 && (tall || panels <= FEW)
}

/// Panels of some columns, which are the rows of `b`.
#[inline(always)]
fn pack_columns<S: Simd, F: Factors<S>, const GROUPS: usize>(
    s: S,
    b: &Mat,
    cols: Range<usize>,
    depth: Range<usize>,
    panels: &mut [f32],
) {
    match GROUPS {
        1 => pack::<S, F, 16>(s, b, cols, depth, panels),
        2 => pack::<S, F, 32>(s, b, cols, depth, panels),
        _ => unreachable!("tiles have one or two groups of columns"),
    }
}

/// The tile of the rows that `a` begins, whose lines lie `by` elements apart, and of a panel of columns, at a row and column of `c`, of
/// which only a part may lie there; then comes the one at `next`. A line is what the rows have at one depth where `LINES` says so, else a row.
/// `load`: whether sums go on from `c`; `normal`: whether those from 0 on stay zero or normal, if that matters.
#[inline(always)]
fn place<S: Simd, F: Factors<S>, const ROWS: usize, const GROUPS: usize, const LINES: bool>(
    s: S,
    a: (&[f32], usize),
    b: &[f32],
    (load, normal): (bool, bool),
    at: [(usize, usize); 2],
    c: &mut TileMut,
) {
    let (row, col) = at[0];
    let end = (c.rows().min(row + ROWS), c.cols().min(col + 16 * GROUPS));
    if normal && (!load || (row..end.0).all(|i| F::go_on_normal(&c.row_mut(i)[col..end.1]))) {
        placed::<S, Fused, ROWS, GROUPS, LINES>(s, a, b, load, at, c);
    } else {
        placed::<S, Flushed, ROWS, GROUPS, LINES>(s, a, b, load, at, c);
    }
}

/// The same with products added in one way.
#[inline(always)]
fn placed<S: Simd, A: Adds<S>, const ROWS: usize, const GROUPS: usize, const LINES: bool>(
    s: S,
    (a, by): (&[f32], usize),
    b: &[f32],
    load: bool,
    [(row, col), next]: [(usize, usize); 2],
    c: &mut TileMut,
) {
    let (rows, cols) = (ROWS.min(c.rows() - row), (16 * GROUPS).min(c.cols() - col));
    let steps = b.len() / (16 * GROUPS);
    let last = if LINES { steps.saturating_sub(1) * by + ROWS } else { (ROWS - 1) * by + steps };
    assert!(steps == 0 || last <= a.len());
    if (rows, cols) == (ROWS, 16 * GROUPS) {
        let (c, stride) = c.place_mut(row..row + ROWS, col..col + 16 * GROUPS);
        let next = c.wrapping_add(next.0 * stride + next.1).wrapping_sub(row * stride + col);
        // SAFETY: `a` was looked at above, `b` has that many steps, and `c` has the place.
        unsafe {
            tile::<S, A, ROWS, GROUPS, GROUPS, LINES>(s, a.as_ptr(), by, b.as_ptr(), steps, c, stride, next, load)
        };
        return;
    }
    if (rows, cols) == (ROWS, 16) {
        let (c, stride) = c.place_mut(row..row + ROWS, col..col + 16);
        let next = c.wrapping_add(ROWS * stride);
        // SAFETY: as above, of the first sixteen columns of the panel.
        unsafe { tile::<S, A, ROWS, 1, GROUPS, LINES>(s, a.as_ptr(), by, b.as_ptr(), steps, c, stride, next, load) };
        return;
    }
    let mut whole = [[[0.0; 16]; GROUPS]; ROWS];
    let whole = whole.as_flattened_mut().as_flattened_mut();
    if load {
        for (i, edge) in whole.chunks_exact_mut(16 * GROUPS).take(rows).enumerate() {
            edge[..cols].copy_from_slice(&c.row_mut(row + i)[col..][..cols]);
        }
    }
    let (to, stride) = (whole.as_mut_ptr(), 16 * GROUPS);
    let (a, b) = (a.as_ptr(), b.as_ptr());
    // SAFETY: as above, and a whole tile lies on the stack.
    unsafe {
        match cols {
            ..=16 => tile::<S, A, ROWS, 1, GROUPS, LINES>(s, a, by, b, steps, to, stride, to, load),
            _ => tile::<S, A, ROWS, GROUPS, GROUPS, LINES>(s, a, by, b, steps, to, stride, to, load),
        }
    }
    for (i, edge) in whole.chunks_exact(16 * GROUPS).take(rows).enumerate() {
        c.row_mut(row + i)[col..][..cols].copy_from_slice(&edge[..cols]);
    }
}

/// A whole tile: machine code once for a level. Its arguments are plain numbers: pairs of them, read back as one, would wait until the last
/// tile's stores are done. What the tile at `next` begins with is asked for meanwhile, a row of its place with each step; it may lie anywhere.
///
/// # Safety
/// `steps` lines of `ROWS` elements (`LINES`), or `ROWS` of `steps` elements, begin at `a`, `by` apart; `steps * 16 * PANEL` elements at
/// `b`, of which the first `16 * GROUPS` of each step are wanted; and at `c` nobody else has `ROWS` rows of `16 * GROUPS` elements, `stride`
/// apart.
#[inline(never)]
#[allow(clippy::too_many_arguments)] // see above
unsafe fn tile<S: Simd, A: Adds<S>, const ROWS: usize, const GROUPS: usize, const PANEL: usize, const LINES: bool>(
    s: S,
    a: *const f32,
    by: usize,
    b: *const f32,
    steps: usize,
    c: *mut f32,
    stride: usize,
    next: *const f32,
    load: bool,
) {
    s.apart(
        #[inline(always)]
        move || {
            for i in 0..ROWS {
                for g in 0..GROUPS {
                    s.prefetch(c.wrapping_add(i * stride + 16 * g));
                }
            }
            let mut sums = [[[s.splat(0.0); 2]; GROUPS]; ROWS];
            if load {
                for i in 0..ROWS {
                    for g in 0..GROUPS {
                        for part in 0..S::PARTS {
                            // SAFETY: sixteen elements inside the place.
                            sums[i][g][part] = s.load(unsafe { &*c.add(i * stride + 16 * g).cast() }, part);
                        }
                    }
                }
            }
            for k in 0..steps {
                if k < ROWS {
                    for g in 0..GROUPS {
                        s.prefetch(next.wrapping_add(k * stride + 16 * g));
                    }
                }
                if !LINES && k % 16 == 0 {
                    for i in 0..ROWS {
                        s.prefetch(a.wrapping_add(i * by + k + AHEAD));
                    }
                }
                let mut columns = [[s.splat(0.0); 2]; GROUPS];
                for g in 0..GROUPS {
                    for part in 0..S::PARTS {
                        // SAFETY: sixteen elements of step k.
                        columns[g][part] = s.load(unsafe { &*b.add((k * PANEL + g) * 16).cast() }, part);
                    }
                }
                for i in 0..ROWS {
                    let at = if LINES { k * by + i } else { i * by + k };
                    // SAFETY: an element of the caller's lines.
                    let a = s.splat(unsafe { *a.add(at) });
                    for g in 0..GROUPS {
                        for part in 0..S::PARTS {
                            sums[i][g][part] = A::mul_add(s, a, columns[g][part], sums[i][g][part]);
                        }
                    }
                }
            }
            for i in 0..ROWS {
                for g in 0..GROUPS {
                    for part in 0..S::PARTS {
                        // SAFETY: as above, and nobody else has them.
                        s.store(unsafe { &mut *c.add(i * stride + 16 * g).cast() }, part, sums[i][g][part]);
                    }
                }
            }
        },
    )
}
