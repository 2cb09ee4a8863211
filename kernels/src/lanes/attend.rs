//! Attention of query vectors over one block of positions.
//!
//! Both halves are small matrix products: queries times keys with positions in the lanes, weights times values with
//! elements in the lanes. Up to `TILE` queries go together, their sums in registers. For more than `DIRECT` queries the
//! block's keys and values are made f32 once. A query's own sums never depend on its company.

use super::map::{map, padded, zip};
use super::stored::{Cached, tail};
use super::{Lanes, Simd, math, reduce};
use crate::attend::{ATTEND_BLOCK, AttendBlock};
use crate::order;
use core::marker::PhantomData;
use core::ops::Range;

/// Queries whose sums are in registers together.
const TILE: usize = 6;

/// As many queries read keys and values as they are stored, in one pass.
const DIRECT: usize = 4;

/// The right side of a product: rows, of which sixteen columns can be read at once.
trait Right: Copy {
    /// A part of the columns `16 * chunk ..` of a row.
    ///
    /// # Safety
    /// The row must be there, with `16 * (chunk + 1)` columns.
    unsafe fn load<S: Simd>(self, s: S, row: usize, chunk: usize, part: usize) -> S::V;
}

/// The keys of a block as stored: rows are their elements, columns positions.
#[derive(Clone, Copy)]
struct Keys<T>(*const u8, PhantomData<T>);

/// Values as stored: rows, of so many bytes, are positions, columns their elements.
#[derive(Clone, Copy)]
struct Values<T>(*const u8, usize, PhantomData<T>);

/// Keys or values as f32, in rows of so many.
#[derive(Clone, Copy)]
struct Floats(*const f32, usize);

impl<T: Cached> Right for Keys<T> {
    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, row: usize, chunk: usize, part: usize) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { T::load_key(s, self.0, row, chunk, part) }
    }
}

impl<T: Cached> Right for Values<T> {
    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, row: usize, chunk: usize, part: usize) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { T::load(s, self.0.add(self.1 * row), chunk, part) }
    }
}

impl Right for Floats {
    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, row: usize, chunk: usize, part: usize) -> S::V {
        // SAFETY: the caller's promise.
        s.load(unsafe { &*self.0.add(self.1 * row + 16 * chunk).cast() }, part)
    }
}

/// The block's own greatest score, sum and weighted values for each query, merged into the running ones.
#[inline(always)]
pub fn attend<S: Simd, T: Cached>(s: S, b: &mut AttendBlock) {
    let (dim, width) = (b.head_dim, b.head_dim.next_multiple_of(16));
    let row_bytes = b.keys.len() / ATTEND_BLOCK;
    let keys = Keys::<T>(b.keys.as_ptr(), PhantomData);
    let values = Values::<T>(b.values.as_ptr(), row_bytes, PhantomData);
    if b.max.len() <= DIRECT && dim == width {
        return match b.max.len() {
            0 => {}
            1 => tile::<S, _, _, 1>(s, b, 0, keys, values),
            2 => tile::<S, _, _, 2>(s, b, 0, keys, values),
            3 => tile::<S, _, _, 3>(s, b, 0, keys, values),
            _ => tile::<S, _, _, DIRECT>(s, b, 0, keys, values),
        };
    }
    let (from, to) = b
        .seen
        .iter()
        .filter(|[from, to]| from < to)
        .fold((ATTEND_BLOCK, 0), |(from, to), seen| (from.min(usize::from(seen[0])), to.max(usize::from(seen[1]))));
    let (f32_keys, f32_values) = b.scratch.split_at_mut(ATTEND_BLOCK * dim);
    for (d, row) in f32_keys.as_chunks_mut::<ATTEND_BLOCK>().0.iter_mut().enumerate() {
        for (chunk, to) in row.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            store(
                s,
                to,
                #[inline(always)]
                // SAFETY: `AttendBlock::check` found the block whole, with `dim` elements.
                |part| unsafe { keys.load(s, d, chunk, part) },
            );
        }
    }
    for j in from..to {
        let row = &mut f32_values[width * j..][..width];
        for (chunk, to) in row[..dim / 16 * 16].as_chunks_mut::<16>().0.iter_mut().enumerate() {
            store(
                s,
                to,
                #[inline(always)]
                // SAFETY: `AttendBlock::check` found all values that are seen, of `dim` elements.
                |part| unsafe { values.load(s, j, chunk, part) },
            );
        }
        if dim < width {
            row[width - 16..].copy_from_slice(&tail::<T>(&b.values[row_bytes * j..], dim));
        }
    }
    let (keys, values) = (Floats(f32_keys.as_ptr(), ATTEND_BLOCK), Floats(f32_values.as_ptr(), width));
    tiles(s, b, keys, values);
}

/// Sixteen elements, by their parts.
#[inline(always)]
fn store<S: Simd>(s: S, to: &mut [f32; 16], load: impl Fn(usize) -> S::V) {
    for part in 0..S::PARTS {
        s.store(to, part, load(part));
    }
}

/// All queries, a tile at a time. One function for a level, whatever the keys and values are stored as: it is most of what
/// the kernel is as machine code.
#[inline(always)]
fn tiles<S: Simd>(s: S, b: &mut AttendBlock, keys: Floats, values: Floats) {
    s.apart(
        #[inline(always)]
        || {
            for first in (0..b.max.len()).step_by(TILE) {
                match b.max.len() - first {
                    1 => tile::<S, _, _, 1>(s, b, first, keys, values),
                    2 => tile::<S, _, _, 2>(s, b, first, keys, values),
                    3 => tile::<S, _, _, 3>(s, b, first, keys, values),
                    4 => tile::<S, _, _, 4>(s, b, first, keys, values),
                    5 => tile::<S, _, _, 5>(s, b, first, keys, values),
                    _ => tile::<S, _, _, TILE>(s, b, first, keys, values),
                }
            }
        },
    );
}

/// Calls a function of `Q` queries for all chunks of a range, as many at a time as there are registers for.
macro_rules! strips {
    ($chunks:expr, |$chunk:ident, $n:ident| $call:expr) => {{
        let Range { start: mut $chunk, end } = $chunks;
        macro_rules! strip {
            ($width:literal) => {
                while end - $chunk >= $width {
                    const $n: usize = $width;
                    $call;
                    $chunk += $width;
                }
            };
        }
        match (S::PARTS, Q) {
            (1, _) | (_, 1) => strip!(4),
            (_, 2..=3) => strip!(2),
            _ => {}
        }
        strip!(1);
    }};
}

/// `Q` queries from `first` on.
#[inline(always)]
fn tile<S: Simd, K: Right, V: Right, const Q: usize>(s: S, b: &mut AttendBlock, first: usize, keys: K, values: V) {
    let (dim, heads) = (b.head_dim, b.heads());
    let mut seen = [[0; 2]; Q];
    // Positions that some of the queries see.
    let mut some = [ATTEND_BLOCK, 0];
    for h in 0..Q {
        let [from, to] = b.seen[(first + h) / heads].map(usize::from);
        seen[h] = [from, to];
        if from < to {
            some = [some[0].min(from), some[1].max(to)];
        }
    }
    if some[0] >= some[1] {
        return;
    }
    let mut scores = [[0.0; ATTEND_BLOCK]; Q];
    let q = &b.q[first * dim..][..Q * dim];
    strips!(some[0] / 16..some[1].div_ceil(16), |chunk, N| {
        scores_strip::<S, K, Q, N>(s, q, dim, keys, chunk, b.scale, &mut scores)
    });
    let (mut max, mut sum) = ([0.0; Q], [0.0; Q]);
    for h in 0..Q {
        (max[h], sum[h]) = weights(s, &mut scores[h], seen[h], b.softcap);
    }
    let (running_max, running_sum) = (&mut b.max[first..][..Q], &mut b.sum[first..][..Q]);
    let joins = merge_sums(s, running_max, running_sum, &max, &sum, |h| seen[h][0] < seen[h][1]);
    // A query's weights are zeros where it does not see, so they may meet any value there is.
    let weights: [&[f32]; Q] = core::array::from_fn(
        #[inline(always)]
        |h| &scores[h][..],
    );
    let out = &mut b.out[first * dim..][..Q * dim];
    strips!(0..dim.div_ceil(16), |chunk, N| {
        let mut sums = [[[s.splat(0.0); 2]; N]; Q];
        add_products(s, &weights, values, some[0]..some[1], chunk, &mut sums);
        for h in 0..Q {
            join_columns(s, &mut out[h * dim..][..dim], 16 * chunk, &sums[h], joins[h]);
        }
    });
}

/// The scores of `Q` queries at the positions of `N` chunks from `chunk` on.
#[inline(always)]
fn scores_strip<S: Simd, K: Right, const Q: usize, const N: usize>(
    s: S,
    q: &[f32],
    dim: usize,
    keys: K,
    chunk: usize,
    scale: f32,
    scores: &mut [[f32; ATTEND_BLOCK]; Q],
) {
    let q: [&[f32]; Q] = core::array::from_fn(
        #[inline(always)]
        |h| &q[h * dim..][..dim],
    );
    let mut sums = [[[s.splat(0.0); 2]; N]; Q];
    add_products(s, &q, keys, 0..dim, chunk, &mut sums);
    for h in 0..Q {
        for n in 0..N {
            for part in 0..S::PARTS {
                let score = s.mul(sums[h][n][part], s.splat(scale));
                s.store(&mut scores[h].as_chunks_mut::<16>().0[chunk + n], part, score);
            }
        }
    }
}

/// `sums[h] += left[h][row] * right[row]` over the rows, one after another, for the columns of `N` chunks from `chunk` on.
#[inline(always)]
fn add_products<S: Simd, R: Right, const Q: usize, const N: usize>(
    s: S,
    left: &[&[f32]; Q],
    right: R,
    rows: Range<usize>,
    chunk: usize,
    sums: &mut [[Lanes<S>; N]; Q],
) {
    left.iter().for_each(|left| assert!(rows.end <= left.len()));
    for row in rows {
        let mut lanes = [[s.splat(0.0); 2]; N];
        for n in 0..N {
            for part in 0..S::PARTS {
                // SAFETY: the callers' rows and chunks are those of the block, which `AttendBlock::check` found whole.
                lanes[n][part] = unsafe { right.load(s, row, chunk + n, part) };
            }
        }
        for h in 0..Q {
            // SAFETY: asserted above.
            let x = s.splat(unsafe { *left[h].get_unchecked(row) });
            for n in 0..N {
                for part in 0..S::PARTS {
                    sums[h][n][part] = s.mul_add(x, lanes[n][part], sums[h][n][part]);
                }
            }
        }
    }
}

/// Makes the scores of what is seen weights, and zeros of the others; gives the greatest score and the sum.
#[inline(always)]
fn weights<S: Simd>(s: S, scores: &mut [f32; ATTEND_BLOCK], [from, to]: [usize; 2], softcap: f32) -> (f32, f32) {
    if softcap != 0.0 {
        let cap = s.splat(softcap);
        map(
            s,
            scores,
            #[inline(always)]
            |x| s.mul(cap, math::tanh(s, s.div(x, cap))),
        );
    }
    let whole = from == 0 && to == ATTEND_BLOCK;
    if !whole {
        scores[..from].fill(f32::NEG_INFINITY);
        scores[to..].fill(f32::NEG_INFINITY);
    }
    let max = reduce::max(s, scores);
    let max_v = s.splat(max);
    map(
        s,
        scores,
        #[inline(always)]
        |x| math::decay(s, s.sub(x, max_v)),
    );
    if !whole {
        scores[..from].fill(0.0);
        scores[to..].fill(0.0);
    }
    (max, reduce::sum(s, scores))
}

/// How a query's block joins what came before it.
#[derive(Clone, Copy)]
enum Join {
    /// The query sees nothing of the block.
    Unseen,
    /// Nothing came before.
    First,
    /// The factors of the older sum and of the block's.
    Weighted(f32, f32),
}

/// Merges the sums of consecutive chunks into a query's values from `column` on.
#[inline(always)]
fn join_columns<S: Simd>(s: S, out: &mut [f32], column: usize, sums: &[Lanes<S>], join: Join) {
    for (sums, column) in sums.iter().zip((column..).step_by(16)) {
        match out[column..].first_chunk_mut::<16>() {
            Some(out) => join_chunk(s, out, *sums, join),
            None => {
                let mut whole = padded(&out[column..]);
                join_chunk(s, &mut whole, *sums, join);
                let rest = out.len() - column;
                out[column..].copy_from_slice(&whole[..rest]);
            }
        }
    }
}

#[inline(always)]
fn join_chunk<S: Simd>(s: S, out: &mut [f32; 16], sums: Lanes<S>, join: Join) {
    for part in 0..S::PARTS {
        let sum = match join {
            Join::Unseen => return,
            Join::First => sums[part],
            Join::Weighted(old, new) => s.mul_add(s.load(out, part), s.splat(old), s.mul(sums[part], s.splat(new))),
        };
        s.store(out, part, sum);
    }
}

/// Merges later greatest scores and sums of up to eight queries into the running ones, where `seen` says so.
#[inline(always)]
fn merge_sums<S: Simd>(
    s: S,
    max: &mut [f32],
    sum: &mut [f32],
    max2: &[f32],
    sum2: &[f32],
    seen: impl Fn(usize) -> bool,
) -> [Join; 8] {
    // The exponents of the older sums, then those of the later ones.
    let mut factors = [0.0; 16];
    for h in 0..max.len() {
        let top = order::greater(max[h], max2[h]);
        (factors[h], factors[8 + h]) = (max[h] - top, max2[h] - top);
    }
    for part in 0..S::PARTS {
        let x = math::decay(s, s.load(&factors, part));
        s.store(&mut factors, part, x);
    }
    let mut joins = [Join::Unseen; 8];
    for h in (0..max.len()).filter(|h| seen(*h)) {
        if max[h] == f32::NEG_INFINITY {
            (max[h], sum[h], joins[h]) = (max2[h], sum2[h], Join::First);
            continue;
        }
        let (old, new) = (factors[h], factors[8 + h]);
        max[h] = order::greater(max[h], max2[h]);
        sum[h] = sum[h].mul_add(old, sum2[h] * new);
        joins[h] = Join::Weighted(old, new);
    }
    joins
}

/// Merges a later state into an earlier one, query by query.
#[inline(always)]
pub fn attend_merge<S: Simd>(
    s: S,
    max: &mut [f32],
    sum: &mut [f32],
    out: &mut [f32],
    max2: &[f32],
    sum2: &[f32],
    out2: &[f32],
) {
    let dim = out.len() / max.len().max(1);
    for first in (0..max.len()).step_by(8) {
        let some = first..max.len().min(first + 8);
        let joins = merge_sums(
            s,
            &mut max[some.clone()],
            &mut sum[some.clone()],
            &max2[some.clone()],
            &sum2[some.clone()],
            |_| true,
        );
        for (query, join) in some.zip(joins) {
            let (out, out2) = (&mut out[query * dim..][..dim], &out2[query * dim..][..dim]);
            match join {
                Join::Unseen => {}
                Join::First => out.copy_from_slice(out2),
                Join::Weighted(old, new) => {
                    let (old, new) = (s.splat(old), s.splat(new));
                    zip(
                        s,
                        out,
                        out2,
                        #[inline(always)]
                        |a, b| s.mul_add(a, old, s.mul(b, new)),
                    );
                }
            }
        }
    }
}
