//! Lines of a matrix packed side by side, as the tiles of a product read them.

use super::Simd;
use super::factors::Factors;
use crate::Mat;
use core::ops::Range;

/// Lines of a transposed matrix by which they are asked for ahead: they lie too far apart for the CPU to guess.
const AHEAD: usize = 8;

/// Elements of a row by which it is asked for ahead.
const NEAR: usize = 64;

/// Elements by which the place of what is packed is asked for ahead. It is in the second cache, and where it is not asked for each store
/// waits: packing takes twice as long.
const ROOM: usize = 128;

/// Elements of a line that are read one after another. The panels they go to may lie on the same lines of the first cache, which has room
/// for a few of them.
const TOGETHER: usize = 128;

/// Packs the elements `depth` of the rows `rows` of `m`, in panels of `P` of them: of each panel element k of all its rows, then element
/// k + 1, or in the order of [`Factors::TURN`], whose multiple a panel's lines are. Rows and elements that the matrix has not are zeros. May
/// write up to ten elements behind the last panel.
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
    // Some panels grow together: so lines of the cache are read once.
    let width = TOGETHER / P * P;
    for (i, first) in rows.clone().step_by(width).enumerate() {
        let rows = first..rows.end.min(first + width);
        copy::<S, F, P>(s, m, rows, depth.clone(), &mut panels[i * (width / P) * size..]);
    }
}

/// Panels of rows that are the columns of contiguous lines.
#[inline(always)]
fn copy<S: Simd, F: Factors<S>, const P: usize>(
    s: S,
    m: &Mat,
    rows: Range<usize>,
    depth: Range<usize>,
    panels: &mut [f32],
) {
    let lines = depth.len().next_multiple_of(F::TURN);
    let size = P * lines;
    for at in 0..lines {
        let k = depth.start + turned::<S, F>(at);
        if k >= depth.end {
            for i in 0..rows.len().div_ceil(P) {
                panels[i * size + at * P..][..P].fill(0.0);
            }
            continue;
        }
        let line = &m.line(k)[rows.start..];
        if k + AHEAD < depth.end {
            let ahead = line.as_ptr().wrapping_add(AHEAD * m.stride());
            for i in (0..rows.len()).step_by(16) {
                s.prefetch(ahead.wrapping_add(i));
            }
        }
        for (i, from) in (0..rows.len()).step_by(P).enumerate() {
            let out = &mut panels[i * size + at * P..];
            for line in (0..P).step_by(16) {
                s.prefetch(out.as_ptr().wrapping_add(ROOM + line));
            }
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

/// A panel of rows that are contiguous.
#[inline(always)]
fn transpose<S: Simd, F: Factors<S>, const P: usize>(
    s: S,
    m: &Mat,
    first: usize,
    depth: Range<usize>,
    panel: &mut [f32],
) {
    let lines = depth.len().next_multiple_of(F::TURN);
    // Sixteen are stored at once, behind the last line what is not the panel's.
    assert!(panel.len() >= (lines - 1) * P + P.next_multiple_of(16));
    // Rows that the matrix has not are as short as can be.
    let mut rows = [&[][..]; P];
    for (row, i) in rows.iter_mut().zip(first..m.rows()) {
        *row = &m.line(i)[depth.clone()];
    }
    let whole = depth.len() / 16 * 16;
    for at in (0..whole).step_by(16) {
        // What follows in a row, or begins that of the next panel.
        let ahead = if at + NEAR < whole { NEAR } else { P * m.stride() + whole.min(NEAR) - whole };
        for group in (0..P).step_by(16) {
            let mut block = [&[0.0; 16]; 16];
            for (block, row) in block.iter_mut().zip(&rows[group..]) {
                if let Some(row) = row.get(at..)
                    && let Some(row) = row.first_chunk()
                {
                    s.prefetch(row.as_ptr().wrapping_add(ahead));
                    *block = row;
                }
            }
            sixteen_lines::<S, F, P>(s, &block, group, 16, &mut panel[at * P + group..]);
        }
    }
    if whole < depth.len() {
        for group in (0..P).step_by(16) {
            let mut rest = [[0.0; 16]; 16];
            for (rest, row) in rest.iter_mut().zip(&rows[group..]) {
                let row = row.get(whole..).unwrap_or(&[]);
                rest[..row.len()].copy_from_slice(row);
            }
            sixteen_lines::<S, F, P>(s, &rest.each_ref(), group, lines - whole, &mut panel[whole * P + group..]);
        }
    }
}

/// Of the panel's rows from `group` on sixteen, or as many as it has, with up to sixteen elements each.
#[inline(always)]
fn sixteen_lines<S: Simd, F: Factors<S>, const P: usize>(
    s: S,
    rows: &[&[f32; 16]; 16],
    group: usize,
    lines: usize,
    out: &mut [f32],
) {
    for four in 0..4 {
        // At AVX2 of eight rows, of which a panel may have less.
        for part in (0..S::PARTS).take_while(|part| group + part * (16 / S::PARTS) < P) {
            let columns = s.columns(rows, four, part);
            for i in (0..4).take_while(|i| 4 * four + i < lines) {
                let out = &mut out[(4 * four + i) * P..];
                s.prefetch(out.as_ptr().wrapping_add(ROOM));
                if let Some(out) = out.first_chunk_mut() {
                    s.store(out, part, F::register(s, columns[turned::<S, F>(i)]));
                }
            }
        }
    }
}
