//! Products of two matrices.
//!
//! A tile of `ROWS` rows and `16 * GROUPS` columns stays in registers while panels of both operands, packed for it, are streamed once:
//! each step broadcasts an element of every row. Blocks of the depth keep those panels in cache; the tile of the next one
//! goes on from what the last one left in `c`, so that no block changes the order of a sum.

use super::Simd;
use super::pack::pack;
use crate::gemm::{self, COLS, DEPTH, OVERHANG};
use crate::{Mat, TileMut};

/// `c = a b`, or `c += a b`.
#[inline(always)]
pub fn gemm<S: Simd, const ROWS: usize, const GROUPS: usize>(
    s: S,
    a: &Mat,
    b: &Mat,
    accumulate: bool,
    c: &mut TileMut,
    scratch: &mut [f32],
) {
    let (rows, cols, depth) = (c.rows(), c.cols(), a.cols());
    let width = 16 * GROUPS;
    // Blocks of one size, as far as that goes.
    let part = depth.div_ceil(depth.div_ceil(DEPTH).max(1)).next_multiple_of(8);
    let b = b.t();
    let (b_packed, a_packed) = scratch.split_at_mut(COLS * DEPTH);
    let a_packed = &mut a_packed[..gemm::ROWS * DEPTH + OVERHANG];
    for col0 in (0..cols).step_by(COLS) {
        let col1 = cols.min(col0 + COLS);
        // A product over nothing is zero.
        for k0 in (0..depth.max(1)).step_by(part.max(1)) {
            let (steps, load) = (part.min(depth - k0), accumulate || k0 > 0);
            for (col, panel) in (col0..col1).step_by(width).zip(b_packed.chunks_mut((width * steps).max(1))) {
                pack_columns::<S, GROUPS>(s, &b, col, k0..k0 + steps, panel);
            }
            for row0 in (0..rows).step_by(gemm::ROWS) {
                let row1 = rows.min(row0 + gemm::ROWS);
                for (i, row) in (row0..row1).step_by(ROWS).enumerate() {
                    pack::<S, ROWS>(s, a, row, k0..k0 + steps, &mut a_packed[i * ROWS * steps..]);
                }
                for (j, col) in (col0..col1).step_by(width).enumerate() {
                    let b = &b_packed[j * width * steps..][..width * steps];
                    for (i, row) in (row0..row1).step_by(ROWS).enumerate() {
                        let a = &a_packed[i * ROWS * steps..][..ROWS * steps];
                        place::<S, ROWS, GROUPS>(s, a, b, load, (row, col), c);
                    }
                }
            }
        }
    }
}

/// A panel of `16 * GROUPS` columns, which are the rows of `b`.
#[inline(always)]
fn pack_columns<S: Simd, const GROUPS: usize>(
    s: S,
    b: &Mat,
    first: usize,
    depth: core::ops::Range<usize>,
    panel: &mut [f32],
) {
    match GROUPS {
        1 => pack::<S, 16>(s, b, first, depth, panel),
        2 => pack::<S, 32>(s, b, first, depth, panel),
        _ => unreachable!("tiles have one or two groups of columns"),
    }
}

/// The tile of two panels at a row and column of `c`, of which only a part may lie there.
#[inline(always)]
fn place<S: Simd, const ROWS: usize, const GROUPS: usize>(
    s: S,
    a: &[f32],
    b: &[f32],
    load: bool,
    (row, col): (usize, usize),
    c: &mut TileMut,
) {
    let (rows, cols) = (ROWS.min(c.rows() - row), (16 * GROUPS).min(c.cols() - col));
    if (rows, cols) == (ROWS, 16 * GROUPS) {
        return tile::<S, ROWS, GROUPS>(s, a, b, load, row, col, c);
    }
    let mut whole = [[[0.0; 16]; GROUPS]; ROWS];
    let whole = whole.as_flattened_mut().as_flattened_mut();
    if load {
        for (i, edge) in whole.chunks_exact_mut(16 * GROUPS).take(rows).enumerate() {
            edge[..cols].copy_from_slice(&c.row_mut(row + i)[col..][..cols]);
        }
    }
    tile::<S, ROWS, GROUPS>(s, a, b, load, 0, 0, &mut TileMut::new(whole, ROWS, 16 * GROUPS));
    for (i, edge) in whole.chunks_exact(16 * GROUPS).take(rows).enumerate() {
        c.row_mut(row + i)[col..][..cols].copy_from_slice(&edge[..cols]);
    }
}

/// A whole tile: machine code once for a level. Its arguments stay in registers; pairs of them, read back as one, would wait until
/// the last tile's stores are done.
#[inline(never)]
fn tile<S: Simd, const ROWS: usize, const GROUPS: usize>(
    s: S,
    a: &[f32],
    b: &[f32],
    load: bool,
    row: usize,
    col: usize,
    c: &mut TileMut,
) {
    s.apart(
        #[inline(always)]
        move || {
            let (c, stride) = c.place_mut(row..row + ROWS, col..col + 16 * GROUPS);
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
            let steps = a.as_chunks::<ROWS>().0.iter().zip(b.as_chunks::<16>().0.as_chunks::<GROUPS>().0);
            for (a, b) in steps {
                let mut columns = [[s.splat(0.0); 2]; GROUPS];
                for g in 0..GROUPS {
                    for part in 0..S::PARTS {
                        columns[g][part] = s.load(&b[g], part);
                    }
                }
                for i in 0..ROWS {
                    let a = s.splat(a[i]);
                    for g in 0..GROUPS {
                        for part in 0..S::PARTS {
                            sums[i][g][part] = s.mul_add(a, columns[g][part], sums[i][g][part]);
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
