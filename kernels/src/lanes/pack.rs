//! Lines of a matrix packed side by side, as the tiles of a product read them.

use super::Simd;
use crate::Mat;
use core::ops::Range;

/// Packs the elements `depth` of the rows `rows` of `m`, in panels of `P` of them: of each panel element k of all its rows, then element
/// k + 1. Rows that the matrix has not are zeros. May write up to eight elements behind the last panel.
#[inline(always)]
pub fn pack<S: Simd, const P: usize>(s: S, m: &Mat, rows: Range<usize>, depth: Range<usize>, panels: &mut [f32]) {
    let size = P * depth.len();
    if size == 0 {
        return;
    }
    if !m.is_transposed() {
        for (i, first) in rows.step_by(P).enumerate() {
            transpose::<S, P>(s, m, first, depth.clone(), &mut panels[i * size..]);
        }
        return;
    }
    // What is contiguous is read as a whole: all panels grow together.
    let (first, end) = (depth.start, depth.end);
    for k in depth {
        let line = &m.line(k)[rows.clone()];
        for (i, from) in (0..line.len()).step_by(P).enumerate() {
            let out = &mut panels[i * size + (k - first) * P..];
            match (line[from..].first_chunk::<16>(), out.first_chunk_mut::<16>()) {
                // Sixteen at once: what is behind the panel's width is overwritten by the next steps.
                (Some(line), Some(out)) if P < 16 && (end - k) * P >= 16 => sixteen(s, line, out),
                _ => {
                    if let (Some(line), Some(out)) = (line[from..].first_chunk::<P>(), out.first_chunk_mut::<P>()) {
                        *out = *line;
                        continue;
                    }
                    let line = &line[from..];
                    out[..line.len()].copy_from_slice(line);
                    out[line.len()..P].fill(0.0);
                }
            }
        }
    }
}

#[inline(always)]
fn sixteen<S: Simd>(s: S, from: &[f32; 16], to: &mut [f32; 16]) {
    for part in 0..S::PARTS {
        s.store(to, part, s.load(from, part));
    }
}

/// A panel of rows that are contiguous.
#[inline(always)]
fn transpose<S: Simd, const P: usize>(s: S, m: &Mat, first: usize, depth: Range<usize>, panel: &mut [f32]) {
    let count = P.min(m.rows() - first);
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
