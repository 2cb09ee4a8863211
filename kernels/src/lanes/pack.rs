//! Lines of a matrix packed side by side, as the tiles of a product read them.

use super::Simd;
use crate::Mat;
use core::ops::Range;

/// Packs the elements `depth` of `P` rows of `m` from `first` on: element k of all of them, then element k + 1. Rows that the matrix has
/// not are zeros. May write up to eight elements behind the `P * depth.len()` of the panel.
#[inline(always)]
pub fn pack<S: Simd, const P: usize>(s: S, m: &Mat, first: usize, depth: Range<usize>, panel: &mut [f32]) {
    let count = P.min(m.rows() - first);
    if m.is_transposed() {
        for (k, out) in depth.zip(panel.as_chunks_mut::<P>().0) {
            let line = &m.line(k)[first..];
            match line.first_chunk::<P>() {
                Some(line) => *out = *line,
                None => {
                    out[..count].copy_from_slice(&line[..count]);
                    out[count..].fill(0.0);
                }
            }
        }
        return;
    }
    let whole = depth.len() / 8 * 8;
    for k in (0..whole).step_by(8) {
        // The last eight rows first: what they write beyond the panel's width belongs to the first ones.
        for row in (0..P).step_by(8).rev() {
            let mut rows = [const { &[0.0; 8] }; 8];
            for i in 0..8 {
                if row + i < count
                    && let Some(line) = m.line(first + row + i)[depth.start + k..].first_chunk()
                {
                    rows[i] = line;
                }
            }
            let columns = s.transpose(rows);
            let out = &mut panel[k * P + row..][..7 * P + 8];
            for i in 0..8 {
                if let Some(out) = out[i * P..].first_chunk_mut() {
                    s.store_eight(out, columns[i]);
                }
            }
        }
    }
    for k in whole..depth.len() {
        for (i, out) in panel[k * P..][..P].iter_mut().enumerate() {
            *out = if i < count { m.line(first + i)[depth.start + k] } else { 0.0 };
        }
    }
}
