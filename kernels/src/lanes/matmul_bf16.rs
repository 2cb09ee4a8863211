//! Products of rows of bf16 weights with rows of f32 that are rounded to bf16.
//!
//! As in `matmul_f32.rs` the sums of `R` weight rows with `T` activation rows stay in registers while both are streamed once along
//! k, and weight rows pass in strips that stay in L2. Weights are multiplied as they lie; activations are rounded on the way, which
//! more weight rows than activation rows make cheap.

use super::Pairs;
use super::map::padded;
use super::matmul_f32::store_sums;
use crate::TileMut;

/// Bytes of weights that one strip may have, so that it stays in L2.
const STRIP_BYTES: usize = 256 << 10;

/// `y[t][r] = w[r] . x[t]`: tiles of `R` weight rows and `T` activation rows.
#[inline(always)]
pub fn matmul_bf16<S: Pairs, const R: usize, const T: usize>(s: S, w: &[u8], x: &[f32], k: usize, y: &mut TileMut) {
    let (rows, tokens) = (y.cols(), y.rows());
    let strip = (STRIP_BYTES / (2 * k).max(1) / R * R).max(R);
    for r0 in (0..rows).step_by(strip) {
        let r1 = rows.min(r0 + strip);
        let whole = tokens / T * T;
        for t in (0..whole).step_by(T) {
            rows_of::<S, R, T>(s, w, x, k, (r0, r1, t), y);
        }
        for t in whole..tokens {
            rows_of::<S, R, 1>(s, w, x, k, (r0, r1, t), y);
        }
    }
}

/// The weight rows `from..to` with `T` activation rows from `t` on.
#[inline(always)]
fn rows_of<S: Pairs, const R: usize, const T: usize>(
    s: S,
    w: &[u8],
    x: &[f32],
    k: usize,
    (from, to, t): (usize, usize, usize),
    y: &mut TileMut,
) {
    let mut r = from;
    while to - r >= R {
        tile::<S, R, T>(s, w, x, k, (r, t), y);
        r += R;
    }
    for r in r..to {
        tile::<S, 1, T>(s, w, x, k, (r, t), y);
    }
}

/// `R` weight rows from `r0` on with `T` activation rows from `t0` on.
#[inline(always)]
fn tile<S: Pairs, const R: usize, const T: usize>(
    s: S,
    w: &[u8],
    x: &[f32],
    k: usize,
    (r0, t0): (usize, usize),
    y: &mut TileMut,
) {
    let w = &w[2 * r0 * k..][..2 * R * k];
    let x = &x[t0 * k..][..T * k];
    let mut lanes = [[[s.splat(0.0); 2]; T]; R];
    for at in (0..k / 32 * 32).step_by(32) {
        for part in 0..S::PARTS {
            let mut xv = [s.splat(0.0); T];
            for t in 0..T {
                // SAFETY: row t lies inside `x`, and holds k elements.
                xv[t] = s.round_pairs(unsafe { &*x.as_ptr().add(t * k + at).cast() }, part);
            }
            for r in 0..R {
                // SAFETY: row r lies inside `w`, and holds k elements.
                let wv = s.load_pairs(unsafe { &*w.as_ptr().add(2 * (r * k + at)).cast() }, part);
                for t in 0..T {
                    lanes[r][t][part] = s.add_pairs(wv, xv[t], lanes[r][t][part]);
                }
            }
        }
    }
    if !k.is_multiple_of(32) {
        let mut rests = [[0.0; 32]; T];
        for t in 0..T {
            rests[t] = padded(&x[t * k..][k / 32 * 32..k]);
        }
        for r in 0..R {
            let w = padded(&w[2 * r * k..][k / 32 * 64..2 * k]);
            for t in 0..T {
                for part in 0..S::PARTS {
                    let (w, x) = (s.load_pairs(&w, part), s.round_pairs(&rests[t], part));
                    lanes[r][t][part] = s.add_pairs(w, x, lanes[r][t][part]);
                }
            }
        }
    }
    for t in 0..T {
        store_sums::<S, R, T>(s, &lanes, t, &mut y.row_mut(t0 + t)[r0..][..R]);
    }
}
