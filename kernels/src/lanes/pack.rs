//! Lines of a matrix packed side by side, as the tiles of a product read them.

use super::{Pairs, Simd};
use crate::Mat;
use crate::scalar::pairs::pair;
use core::arch::x86_64::__m256;
use core::ops::Range;

/// Lines of a transposed matrix by which they are asked for ahead: they lie too far apart for the CPU to guess.
const AHEAD: usize = 8;

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
        if k + AHEAD < end {
            let ahead = line.as_ptr().wrapping_add(AHEAD * m.stride());
            for i in (0..line.len()).step_by(16) {
                s.prefetch(ahead.wrapping_add(i));
            }
        }
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

/// A panel of rows that are contiguous. Those of the next one are asked for meanwhile.
#[inline(always)]
fn transpose<S: Simd, const P: usize>(s: S, m: &Mat, first: usize, depth: Range<usize>, panel: &mut [f32]) {
    let count = P.min(m.rows() - first);
    let after = P.min(m.rows() - first - count);
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
                    if k % 16 == 0 && row + i < after {
                        s.prefetch(line.as_ptr().wrapping_add(P * m.stride()));
                    }
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

/// The same, rounded to pairs of bf16: elements k and k + 1 of all rows, then k + 2 and k + 3; behind an odd end comes a zero. The depth
/// begins at an even element.
#[inline(always)]
pub fn pack_pairs<S: Pairs, const P: usize>(s: S, m: &Mat, first: usize, depth: Range<usize>, panel: &mut [f32]) {
    let count = P.min(m.rows() - first);
    if m.is_transposed() {
        for (i, k) in depth.clone().step_by(2).enumerate() {
            let second = if k + 1 < depth.end { &m.line(k + 1)[first..] } else { &[] };
            let line = &m.line(k)[first..];
            // What the last eight have, or write, beyond the panel's width is overwritten by the next pair.
            for row in (0..P).step_by(8) {
                let a = eight(s, line, row, count, P);
                let b = eight(s, second, row, count, P);
                if let Some(out) = panel[i * P + row..].first_chunk_mut() {
                    s.store_eight(out, s.join_pairs(a, b));
                }
            }
        }
        return;
    }
    let whole = depth.len() / 8 * 8;
    for k in (0..whole).step_by(8) {
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
            let out = &mut panel[k / 2 * P + row..][..3 * P + 8];
            for i in 0..4 {
                if let Some(out) = out[i * P..].first_chunk_mut() {
                    s.store_eight(out, s.join_pairs(columns[2 * i], columns[2 * i + 1]));
                }
            }
        }
    }
    for k in (whole..depth.len()).step_by(2) {
        for (i, out) in panel[k / 2 * P..][..P].iter_mut().enumerate() {
            let line = if i < count { &m.line(first + i)[..depth.end] } else { &[] };
            let at = |k| line.get(depth.start + k).copied().unwrap_or_default();
            *out = pair(at(k), at(k + 1));
        }
    }
}

/// Eight elements of a line from `at` on, of which the first `count` belong to a panel of `width`; zeros where it has them.
#[inline(always)]
fn eight<S: Pairs>(s: S, line: &[f32], at: usize, count: usize, width: usize) -> __m256 {
    if count == width && line.len() >= at + 8 {
        // SAFETY: the elements lie inside the line.
        return s.load_eight(unsafe { &*line.as_ptr().add(at).cast() });
    }
    let mut x = [0.0; 8];
    for (x, line) in x.iter_mut().zip(line.iter().take(count).skip(at)) {
        *x = *line;
    }
    s.load_eight(&x)
}
