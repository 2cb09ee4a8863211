//! Products of rows of float weights with rows of f32.
//!
//! One activation row: weights are streamed, `ALONE` rows at once. More: blocks of `T` activation rows are laid out side by side, a stretch
//! of k at a time, so that they stay in L1 while a strip of weight rows passes, `R` at once, out of L2. The sums of a tile stay in
//! registers for a stretch and lie in memory between two; nothing of this changes the order of a sum.

use super::map::padded;
use super::stored::{Stored, tail};
use super::{Lanes, Simd};
use crate::TileMut;

/// Bytes of weights that one strip may have, so that it stays in L2.
const STRIP_BYTES: usize = 768 << 10;
/// Sixteens of activations that are laid out: 16 KB.
const LAID_OUT: usize = 256;
/// The most sixteens of a stretch: two tiles of weight rows and the activations share L1.
const STRETCH: usize = 48;
/// Sixteens of sums of a strip: 32 KB.
const SUMS: usize = 512;

/// `y[t][r] = w[r] . x[t]`: tiles of `R` weight rows and `T` activation rows, or `FEW` where there are no more, or of `ALONE` weight
/// rows and one.
#[inline(always)]
pub fn matmul_f32<S: Simd, W: Stored, const R: usize, const T: usize, const FEW: usize, const ALONE: usize>(
    s: S,
    w: &[u8],
    x: &[f32],
    k: usize,
    y: &mut TileMut,
) {
    let (rows, tokens) = (y.cols(), y.rows());
    let Some(row_bytes) = w.len().checked_div(rows) else { return };
    let p = Product { s, w, x, k, row_bytes };
    let mut t = 0;
    if rows >= R && tokens > 1 {
        let (mut laid_out, mut sums) = ([[0.0; 16]; LAID_OUT], [[0.0; 16]; SUMS]);
        let strip = (STRIP_BYTES / row_bytes.max(1) / R).clamp(1, SUMS / (R * T)) * R;
        for r0 in (0..rows).step_by(strip) {
            // What would be less than a tile begins earlier: to compute a row twice does no harm.
            let r0 = r0.min(rows - R);
            let r1 = rows.min(r0 + strip);
            t = 0;
            while tokens - t > FEW {
                p.strip::<W, R, T>(r0..r1, t, y, &mut laid_out, &mut sums);
                t = tokens.min(t + T);
            }
            if t < tokens {
                p.strip::<W, R, FEW>(r0..r1, t, y, &mut laid_out, &mut sums);
                t = tokens;
            }
        }
    }
    for t in t..tokens {
        let mut r = 0;
        while rows - r >= ALONE {
            p.alone::<W, ALONE>(r, t, y);
            r += ALONE;
        }
        for r in r..rows {
            p.alone::<W, 1>(r, t, y);
        }
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
    /// The weight rows of `rows` with up to `T` activation rows from `t0` on.
    #[inline(always)]
    fn strip<W: Stored, const R: usize, const T: usize>(
        &self,
        rows: core::ops::Range<usize>,
        t0: usize,
        y: &mut TileMut,
        laid_out: &mut [[f32; 16]; LAID_OUT],
        sums: &mut [[f32; 16]; SUMS],
    ) {
        let (s, chunks) = (self.s, self.k.div_ceil(16));
        let tokens = T.min(y.rows() - t0);
        let stretch = chunks.div_ceil(chunks.div_ceil(STRETCH.min(LAID_OUT / T)).max(1));
        let firsts = || rows.clone().step_by(R).map(|r| r.min(rows.end - R));
        for c0 in (0..chunks.max(1)).step_by(stretch.max(1)) {
            let c1 = chunks.min(c0 + stretch);
            for t in 0..T {
                for (c, out) in (c0..c1).zip(laid_out[t..].iter_mut().step_by(T)) {
                    let row = if t < tokens { &self.x[(t0 + t) * self.k..][..self.k] } else { &[] };
                    let from = row.len().min(16 * c);
                    *out = row[from..].first_chunk().copied().unwrap_or_else(|| padded(&row[from..]));
                }
            }
            for (r, sums) in firsts().zip(sums.as_chunks_mut::<T>().0.as_chunks_mut::<R>().0) {
                self.tile::<W, R, T>(r, c0..c1.min(self.k / 16), laid_out, sums);
                if 16 * c1 > self.k {
                    self.rest::<W, R, T>(r, &laid_out[(c1 - 1 - c0) * T..], sums);
                }
            }
        }
        for (r, sums) in firsts().zip(sums.as_chunks::<T>().0.as_chunks::<R>().0) {
            let mut totals = [[0.0; T]; R];
            for r in 0..R {
                let mut lanes = [[[s.splat(0.0); 2]; 1]; T];
                for t in 0..T {
                    for part in 0..S::PARTS {
                        lanes[t][0][part] = s.load(&sums[r][t], part);
                    }
                }
                store_sums::<S, T, 1>(s, &lanes, 0, &mut totals[r]);
            }
            for t in 0..tokens {
                let y = &mut y.row_mut(t0 + t)[r..][..R];
                for r in 0..R {
                    y[r] = totals[r][t];
                }
            }
        }
    }

    /// `R` weight rows from `r0` on with `T` activation rows, over the sixteens of `chunks`, all of them whole.
    #[inline(always)]
    fn tile<W: Stored, const R: usize, const T: usize>(
        &self,
        r0: usize,
        chunks: core::ops::Range<usize>,
        laid_out: &[[f32; 16]; LAID_OUT],
        sums: &mut [[[f32; 16]; T]; R],
    ) {
        let Product { s, row_bytes, .. } = *self;
        let w = &self.w[r0 * row_bytes..][..R * row_bytes];
        let mut lanes = [[[s.splat(0.0); 2]; T]; R];
        if chunks.start > 0 {
            for r in 0..R {
                for t in 0..T {
                    for part in 0..S::PARTS {
                        lanes[r][t][part] = s.load(&sums[r][t], part);
                    }
                }
            }
        }
        for (c, x) in chunks.zip(laid_out.as_chunks::<T>().0) {
            for part in 0..S::PARTS {
                let mut wv = [s.splat(0.0); R];
                for r in 0..R {
                    // SAFETY: row r lies inside `w`, and holds k elements.
                    wv[r] = unsafe { W::load(s, w.as_ptr().add(r * row_bytes), c, part) };
                    if part == 0 {
                        // The same place of the next tile's rows.
                        s.prefetch(w.as_ptr().wrapping_add((R + r) * row_bytes + c * W::BYTES).cast());
                    }
                }
                for t in 0..T {
                    let xv = s.load(&x[t], part);
                    for r in 0..R {
                        lanes[r][t][part] = s.mul_add(wv[r], xv, lanes[r][t][part]);
                    }
                }
            }
        }
        for r in 0..R {
            for t in 0..T {
                for part in 0..S::PARTS {
                    s.store(&mut sums[r][t], part, lanes[r][t][part]);
                }
            }
        }
    }

    /// The elements behind the last whole sixteen, with the activations that are laid out for them.
    #[inline(always)]
    fn rest<W: Stored, const R: usize, const T: usize>(
        &self,
        r0: usize,
        x: &[[f32; 16]],
        sums: &mut [[[f32; 16]; T]; R],
    ) {
        let s = self.s;
        for r in 0..R {
            let w = tail::<W>(&self.w[(r0 + r) * self.row_bytes..][..self.row_bytes], self.k);
            for (sum, x) in sums[r].iter_mut().zip(x) {
                for part in 0..S::PARTS {
                    let v = s.mul_add(s.load(&w, part), s.load(x, part), s.load(sum, part));
                    s.store(sum, part, v);
                }
            }
        }
    }

    /// `R` weight rows from `r0` on with one activation row.
    #[inline(always)]
    fn alone<W: Stored, const R: usize>(&self, r0: usize, t: usize, y: &mut TileMut) {
        let Product { s, k, row_bytes, .. } = *self;
        let w = &self.w[r0 * row_bytes..][..R * row_bytes];
        let x = &self.x[t * k..][..k];
        let mut lanes = [[[s.splat(0.0); 2]; 1]; R];
        for (chunk, x) in x.as_chunks().0.iter().enumerate() {
            for part in 0..S::PARTS {
                let x = s.load(x, part);
                for r in 0..R {
                    // SAFETY: row r lies inside `w`, and holds k elements.
                    let w = unsafe { W::load(s, w.as_ptr().add(r * row_bytes), chunk, part) };
                    lanes[r][0][part] = s.mul_add(w, x, lanes[r][0][part]);
                }
            }
        }
        if !k.is_multiple_of(16) {
            let x = padded(&x[k / 16 * 16..]);
            for r in 0..R {
                let w = tail::<W>(&w[r * row_bytes..][..row_bytes], k);
                for part in 0..S::PARTS {
                    lanes[r][0][part] = s.mul_add(s.load(&w, part), s.load(&x, part), lanes[r][0][part]);
                }
            }
        }
        store_sums::<S, R, 1>(s, &lanes, 0, &mut y.row_mut(t)[r0..][..R]);
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
