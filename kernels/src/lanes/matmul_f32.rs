//! Products of rows of float weights with rows of f32.
//!
//! The sums of `R` weight rows with `T` activation rows stay in registers while both are streamed once
//! along k. Around that tile the loops keep what it reads in cache: a strip of weight rows in L2, which
//! passes through L1 against the same few activation rows. Nothing of this changes the order of a sum.

use super::map::padded;
use super::stored::{Stored, tail};
use super::{Lanes, Simd};
use crate::TileMut;

/// Bytes of weights that one strip may have, so that it stays in L2.
pub(super) const STRIP_BYTES: usize = 256 << 10;

/// `y[t][r] = w[r] . x[t]`: tiles of `R` weight rows and `T` activation rows, or of `ALONE` weight rows
/// when there are fewer activation rows.
#[inline(always)]
pub fn matmul_f32<S: Simd, W: Stored, const R: usize, const T: usize, const ALONE: usize>(
    s: S,
    w: &[u8],
    x: &[f32],
    k: usize,
    y: &mut TileMut,
) {
    let (rows, tokens) = (y.cols(), y.rows());
    let Some(row_bytes) = w.len().checked_div(rows) else { return };
    let strip = (STRIP_BYTES / row_bytes.max(1) / R * R).max(R);
    let whole = tokens / T * T;
    let p = Product { s, w, x, k, row_bytes };
    for r0 in (0..rows).step_by(strip) {
        for t in (0..whole).step_by(T) {
            p.rows::<W, R, T>(r0, rows.min(r0 + strip), t, y);
        }
    }
    for t in whole..tokens {
        p.rows::<W, ALONE, 1>(0, rows, t, y);
    }
}

/// The operands of one product.
struct Product<'a, S> {
    s: S,
    w: &'a [u8],
    x: &'a [f32],
    k: usize,
    row_bytes: usize,
}

impl<S: Simd> Product<'_, S> {
    /// The weight rows `from..to` with `T` activation rows from `t` on.
    #[inline(always)]
    fn rows<W: Stored, const R: usize, const T: usize>(&self, from: usize, to: usize, t: usize, y: &mut TileMut) {
        let mut r = from;
        while to - r >= R {
            self.tile::<W, R, T>(r, t, y);
            r += R;
        }
        for r in r..to {
            self.tile::<W, 1, T>(r, t, y);
        }
    }

    /// `R` weight rows from `r0` on with `T` activation rows from `t0` on.
    #[inline(always)]
    fn tile<W: Stored, const R: usize, const T: usize>(&self, r0: usize, t0: usize, y: &mut TileMut) {
        let Product { s, k, row_bytes, .. } = *self;
        let w = &self.w[r0 * row_bytes..][..R * row_bytes];
        let x = &self.x[t0 * k..][..T * k];
        let mut lanes = [[[s.splat(0.0); 2]; T]; R];
        for chunk in 0..k / 16 {
            for part in 0..S::PARTS {
                let mut wv = [s.splat(0.0); R];
                for r in 0..R {
                    // SAFETY: row r lies inside `w`, and holds k elements.
                    wv[r] = unsafe { W::load(s, w.as_ptr().add(r * row_bytes), chunk, part) };
                }
                for t in 0..T {
                    // SAFETY: row t lies inside `x`, and holds k elements.
                    let xv = s.load(unsafe { &*x.as_ptr().add(t * k + 16 * chunk).cast() }, part);
                    for r in 0..R {
                        lanes[r][t][part] = s.mul_add(wv[r], xv, lanes[r][t][part]);
                    }
                }
            }
        }
        if !k.is_multiple_of(16) {
            for r in 0..R {
                let w = tail::<W>(&w[r * row_bytes..][..row_bytes], k);
                for t in 0..T {
                    let x = padded(&x[t * k..][k / 16 * 16..k]);
                    for part in 0..S::PARTS {
                        lanes[r][t][part] = s.mul_add(s.load(&w, part), s.load(&x, part), lanes[r][t][part]);
                    }
                }
            }
        }
        for t in 0..T {
            let y = &mut y.row_mut(t0 + t)[r0..][..R];
            store_sums::<S, R, T>(s, &lanes, t, y);
        }
    }
}

/// The sums of the lanes `[..][t]`, four at a time.
#[inline(always)]
pub(super) fn store_sums<S: Simd, const R: usize, const T: usize>(
    s: S,
    lanes: &[[Lanes<S>; T]; R],
    t: usize,
    y: &mut [f32],
) {
    let mut r = 0;
    while R - r >= 4 {
        let sums = s.sum4(&[lanes[r][t], lanes[r + 1][t], lanes[r + 2][t], lanes[r + 3][t]]);
        y[r..r + 4].copy_from_slice(&sums);
        r += 4;
    }
    for r in r..R {
        y[r] = s.sum(lanes[r][t]);
    }
}
