//! Lines of a matrix packed side by side, as the tiles of a product read them.

use super::Simd;
use super::factors::Factors;
use crate::Mat;
use core::ops::Range;

/// Lines of a transposed matrix by which they are asked for ahead: they lie too far apart for the CPU to guess.
const AHEAD: usize = 8;

/// Packs the elements `depth` of the rows `rows` of `m`, in panels of `P` of them: of each panel element k of all its rows, then element
/// k + 1, or in the order of [`Factors::TURN`], whose multiple a panel's lines are. Rows and elements that the matrix has not are zeros. May
/// write up to eight elements behind the last panel.
#[inline(always)]
pub fn pack<S: Simd, F: Factors<S>, const P: usize>(
    s: S,
    m: &Mat,
    rows: Range<usize>,
    depth: Range<usize>,
    panels: &mut [f32],
) {
    let lines = depth.len().next_multiple_of(F::TURN);
    let size = P * lines;
    if size == 0 {
        return;
    }
    if !m.is_transposed() {
        for (i, first) in rows.step_by(P).enumerate() {
            transpose::<S, F, P>(s, m, first, depth.clone(), &mut panels[i * size..]);
        }
        return;
    }
    // What is contiguous is read as a whole: all panels grow together.
    for at in 0..lines {
        let k = depth.start + turned::<S, F>(at);
        if k >= depth.end {
            for i in 0..rows.len().div_ceil(P) {
                panels[i * size + at * P..][..P].fill(0.0);
            }
            continue;
        }
        let line = &m.line(k)[rows.clone()];
        if k + AHEAD < depth.end {
            let ahead = line.as_ptr().wrapping_add(AHEAD * m.stride());
            for i in (0..line.len()).step_by(16) {
                s.prefetch(ahead.wrapping_add(i));
            }
        }
        for (i, from) in (0..line.len()).step_by(P).enumerate() {
            let out = &mut panels[i * size + at * P..];
            match (line[from..].first_chunk::<16>(), out.first_chunk_mut::<16>()) {
                // Sixteen at once: what is behind the panel's width is overwritten by the next steps.
                (Some(_), Some(_)) if P >= 16 && line.len() - from >= P => {
                    let (line, out) = (&line[from..][..P], &mut out[..P]);
                    for (line, out) in line.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
                        sixteen::<S, F>(s, line, out);
                    }
                }
                (Some(line), Some(out)) if P < 16 && (lines - at) * P >= 16 => sixteen::<S, F>(s, line, out),
                _ => {
                    let line = &line[from..];
                    for (i, out) in out[..P].iter_mut().enumerate() {
                        *out = line.get(i).map_or(0.0, |x| F::one(*x));
                    }
                }
            }
        }
    }
}

/// The element of the depth that a line holds.
#[inline(always)]
fn turned<S: Simd, F: Factors<S>>(line: usize) -> usize {
    line ^ (F::TURN - 1)
}

#[inline(always)]
fn sixteen<S: Simd, F: Factors<S>>(s: S, from: &[f32; 16], to: &mut [f32; 16]) {
    for part in 0..S::PARTS {
        s.store(to, part, F::register(s, s.load(from, part)));
    }
}

/// A panel of rows that are contiguous. Those of the next one are asked for meanwhile.
#[inline(always)]
fn transpose<S: Simd, F: Factors<S>, const P: usize>(
    s: S,
    m: &Mat,
    first: usize,
    depth: Range<usize>,
    panel: &mut [f32],
) {
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
                    s.store_eight(out, F::eight(s, columns[turned::<S, F>(i)]));
                }
            }
        }
    }
    for at in whole..depth.len().next_multiple_of(F::TURN) {
        let k = turned::<S, F>(at);
        for (i, out) in panel[at * P..][..P].iter_mut().enumerate() {
            *out = if i < count && k < depth.len() { F::one(m.line(first + i)[depth.start + k]) } else { 0.0 };
        }
    }
}
