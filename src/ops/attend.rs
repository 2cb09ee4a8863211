//! Causal attention over keys and values as they are stored in the cache.
//!
//! No matrix of scores over the whole context exists. A query's row is reduced over blocks of
//! [`ATTEND_BLOCK`] positions inside spans of [`SPAN`], and the spans are merged in order (the running softmax of
//! Milakov and Gimelshein, arXiv 1805.02867). Blocks and spans lie at fixed absolute positions, so a row has the same
//! bits alone or in a batch, on one thread or on many.

use super::Exec;
use crate::error::{Result, fail};
use crate::memory::{Frame, Need};
use crate::threads::{self, Shards};
use qorus_kernels::{ATTEND_BLOCK, AttendBlock, Kernels, Type, math};
use std::ops::Range;

/// Positions whose partial result one thread computes alone: small enough that two threads share a context of a few
/// hundred tokens, large enough that merging costs little.
pub const SPAN: usize = 4 * ATTEND_BLOCK;

/// Rows that share a pass over a block of keys and values while it is in the first-level cache.
const TILE: usize = 16;

/// With at most this many rows the spans are spread over the threads, with more the rows are.
const FEW_ROWS: usize = 8;

/// The most query heads that may share one head of keys and values.
pub const MAX_GROUP: usize = 64;

/// Where a row of a batch stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Sequence.
    pub seq: u32,
    /// Position in it.
    pub pos: u32,
}

/// Keys and values of one layer: each `[seq][kv head][position][head_dim]` in storage type `ty`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheShape {
    /// Storage type of keys and values.
    pub ty: Type,
    /// Sequences.
    pub seqs: usize,
    /// Positions of a sequence.
    pub ctx: usize,
    /// Heads of keys and values.
    pub n_kv: usize,
    /// Elements of a head.
    pub head_dim: usize,
}

impl CacheShape {
    /// Whether `n_head` query heads can share these keys and values evenly.
    pub fn serves(&self, n_head: usize) -> bool {
        self.n_kv > 0 && n_head > 0 && n_head.is_multiple_of(self.n_kv) && n_head / self.n_kv <= MAX_GROUP
    }

    /// Bytes of one head at one position; None when `head_dim` does not fit the type's blocks.
    pub fn row_bytes(&self) -> Option<usize> {
        self.ty.row_bytes(self.head_dim)
    }

    /// Bytes of the keys, and as many of the values; None when they do not fit the address space.
    pub fn bytes(&self) -> Option<usize> {
        self.seqs.checked_mul(self.n_kv)?.checked_mul(self.ctx)?.checked_mul(self.row_bytes()?)
    }

    /// Where the row of a head at a place begins.
    pub fn offset(&self, seq: usize, head: usize, pos: usize) -> usize {
        ((seq * self.n_kv + head) * self.ctx + pos) * self.row_bytes().unwrap_or(0)
    }
}

/// What one attention needs beside its tensors.
#[derive(Clone, Copy, Debug)]
pub struct AttendParams {
    /// Query heads.
    pub n_head: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// Soft-capping of the scores; 0: none.
    pub softcap: f32,
    /// A row sees this many positions, its own included; 0: all.
    pub window: usize,
}

/// Stores rows of `[n_kv][head_dim]` in the cache at their places.
pub fn store(exec: &Exec, shape: &CacheShape, x: &[f32], places: &[Place], cache: &mut [u8]) -> Result<()> {
    let row_bytes = shape.row_bytes().unwrap_or(0);
    let cache = Shards::new(cache);
    exec.pool.split(places.len(), 8, |part| {
        for row in part {
            for head in 0..shape.n_kv {
                let at = shape.offset(places[row].seq as usize, head, places[row].pos as usize);
                // SAFETY: places of a batch are distinct, so each row of the cache belongs to one thread.
                let out = unsafe { cache.part(at..at + row_bytes) };
                let from = (row * shape.n_kv + head) * shape.head_dim;
                exec.kernels.quantize(shape.ty, &x[from..from + shape.head_dim], out);
            }
        }
    })
}

/// Bytes of scratch one thread needs.
pub fn scratch(n_head: usize, shape: &CacheShape) -> usize {
    let group = n_head / shape.n_kv.max(1);
    let state = group.saturating_mul(shape.head_dim.saturating_add(4)).saturating_mul(TILE);
    let block = group.saturating_mul(ATTEND_BLOCK).saturating_add(shape.head_dim);
    state.saturating_add(block).saturating_mul(size_of::<f32>())
}

/// Bytes [`attend`] takes from its frame for `rows` rows.
pub fn need(n_head: usize, shape: &CacheShape, rows: usize) -> Need {
    let spans = shape.ctx.div_ceil(SPAN);
    let each = spans.saturating_mul(n_head).saturating_mul(shape.head_dim.saturating_add(2));
    Need::new().take::<f32>(rows.min(FEW_ROWS).saturating_mul(each))
}

/// out = softmax(scale q k^T) v for rows `[n_head][head_dim]` of `q` at `places`, whose own keys and values are in
/// the cache already.
#[allow(clippy::too_many_arguments)] // the operands of attention
pub fn attend(
    exec: &Exec,
    frame: &mut Frame<'_>,
    p: &AttendParams,
    shape: &CacheShape,
    q: &[f32],
    places: &[Place],
    keys: &[u8],
    values: &[u8],
    out: &mut [f32],
) -> Result<()> {
    let width = p.n_head * shape.head_dim;
    if q.len() != places.len() * width || out.len() != q.len() || !shape.serves(p.n_head) {
        fail!(Shape, "attention of {} rows over {} heads: {} elements", places.len(), p.n_head, q.len());
    }
    let job = Job { p, shape, group: p.n_head / shape.n_kv, q, places, keys, values };
    if places.len() <= FEW_ROWS { job.by_spans(exec, frame, out) } else { job.by_rows(exec, out) }
}

/// Running or partial result of the query heads of one group: greatest score, sum of exponentials, weighted values.
struct State<'a> {
    max: &'a mut [f32],
    sum: &'a mut [f32],
    out: &'a mut [f32],
}

impl<'a> State<'a> {
    /// Over `[group][head_dim]` values and `[2][group]` statistics.
    fn new(out: &'a mut [f32], stats: &'a mut [f32]) -> Self {
        let (max, sum) = stats.split_at_mut(stats.len() / 2);
        State { max, sum, out }
    }

    /// Over one buffer whose first `width` elements are the values.
    fn of(buffer: &'a mut [f32], width: usize) -> Self {
        let (out, stats) = buffer.split_at_mut(width);
        State::new(out, stats)
    }

    fn clear(&mut self) {
        self.max.fill(f32::NEG_INFINITY);
        self.sum.fill(0.0);
        self.out.fill(0.0);
    }

    /// Adds the partial result of a later span.
    fn merge(&mut self, k: &Kernels, span: &State<'_>, head_dim: usize) {
        for (g, (out, span_out)) in
            self.out.chunks_exact_mut(head_dim).zip(span.out.chunks_exact(head_dim)).enumerate()
        {
            if span.max[g] == f32::NEG_INFINITY {
                continue;
            }
            let max = self.max[g].max(span.max[g]);
            let (old, new) = (math::exp(self.max[g] - max), math::exp(span.max[g] - max));
            self.max[g] = max;
            self.sum[g] = self.sum[g] * old + span.sum[g] * new;
            k.scale(out, old);
            k.axpy(out, new, span_out);
        }
    }

    fn finish(&mut self, k: &Kernels, head_dim: usize) {
        for (out, sum) in self.out.chunks_exact_mut(head_dim).zip(self.sum.iter()) {
            k.scale(out, 1.0 / sum);
        }
    }
}

/// The blocks of a span.
fn blocks(span: usize) -> Range<usize> {
    span * (SPAN / ATTEND_BLOCK)..(span + 1) * (SPAN / ATTEND_BLOCK)
}

struct Job<'a> {
    p: &'a AttendParams,
    shape: &'a CacheShape,
    group: usize,
    q: &'a [f32],
    places: &'a [Place],
    keys: &'a [u8],
    values: &'a [u8],
}

impl Job<'_> {
    /// Positions a row sees.
    fn seen(&self, row: usize) -> Range<usize> {
        let end = self.places[row].pos as usize + 1;
        let from = if self.p.window == 0 { 0 } else { end.saturating_sub(self.p.window) };
        from..end
    }

    /// Elements of `q` and `out` that belong to a row's group of heads.
    fn heads(&self, row: usize, kv: usize) -> Range<usize> {
        let width = self.group * self.shape.head_dim;
        let from = (row * self.shape.n_kv + kv) * width;
        from..from + width
    }

    /// Merges the part of block `block` that `row` sees into `state`.
    fn block(&self, k: &Kernels, row: usize, kv: usize, block: usize, state: &mut State<'_>, work: &mut [f32]) {
        let seen = self.seen(row);
        let from = (block * ATTEND_BLOCK).max(seen.start);
        let to = ((block + 1) * ATTEND_BLOCK).min(seen.end);
        if from >= to {
            return;
        }
        let row_bytes = self.shape.row_bytes().unwrap_or(0);
        let at = self.shape.offset(self.places[row].seq as usize, kv, from);
        let bytes = at..at + (to - from) * row_bytes;
        let (scores, part) = work.split_at_mut(self.group * ATTEND_BLOCK);
        let mut block = AttendBlock {
            q: &self.q[self.heads(row, kv)],
            k: &self.keys[bytes.clone()],
            v: &self.values[bytes],
            k_stride: row_bytes,
            v_stride: row_bytes,
            len: to - from,
            head_dim: self.shape.head_dim,
            scale: self.p.scale,
            softcap: self.p.softcap,
            scores,
            part,
            max: state.max,
            sum: state.sum,
            out: state.out,
        };
        k.attend(self.shape.ty, &mut block);
    }

    /// Each thread takes every n-th row, in tiles that share the blocks of keys and values.
    fn by_rows(&self, exec: &Exec, out: &mut [f32]) -> Result<()> {
        let (k, group, head_dim, threads) = (exec.kernels, self.group, self.shape.head_dim, exec.pool.len());
        let width = group * head_dim;
        let item = width + 2 * group;
        let out = Shards::new(out);
        exec.pool.run(&|thread| {
            // SAFETY: this is thread `thread` of the job, and it asks once.
            let scratch: &mut [f32] = bytemuck::cast_slice_mut(unsafe { exec.scratch_of(thread) });
            let (locals, rest) = scratch.split_at_mut(TILE * item);
            let (stats, work) = rest.split_at_mut(TILE * 2 * group);
            let mine = self.places.len().saturating_sub(thread).div_ceil(threads);
            for first in (0..mine).step_by(TILE) {
                let rows = || (first..mine.min(first + TILE)).map(|i| thread + i * threads);
                let end = rows().map(|row| self.seen(row).end).max().unwrap_or(0);
                let start = rows().map(|row| self.seen(row).start).min().unwrap_or(0);
                for kv in 0..self.shape.n_kv {
                    let mut each = |f: &mut dyn FnMut(usize, State<'_>, State<'_>)| {
                        for (slot, row) in rows().enumerate() {
                            // SAFETY: a row belongs to one thread.
                            let row_out = unsafe { out.part(self.heads(row, kv)) };
                            let stats = &mut stats[slot * 2 * group..][..2 * group];
                            let local = &mut locals[slot * item..][..item];
                            f(row, State::new(row_out, stats), State::of(local, width));
                        }
                    };
                    each(&mut |_, mut total, _| total.clear());
                    for span in start / SPAN..end.div_ceil(SPAN) {
                        each(&mut |_, _, mut local| local.clear());
                        for block in blocks(span).start..blocks(span).end.min(end.div_ceil(ATTEND_BLOCK)) {
                            each(&mut |row, _, mut local| self.block(k, row, kv, block, &mut local, work));
                        }
                        each(&mut |_, mut total, local| total.merge(k, &local, head_dim));
                    }
                    each(&mut |_, mut total, _| total.finish(k, head_dim));
                }
            }
        })
    }

    /// The threads share the spans of all rows; the caller merges them.
    fn by_spans(&self, exec: &Exec, frame: &mut Frame<'_>, out: &mut [f32]) -> Result<()> {
        let (group, head_dim, n_kv) = (self.group, self.shape.head_dim, self.shape.n_kv);
        let width = group * head_dim;
        let end = (0..self.places.len()).map(|row| self.seen(row).end).max().unwrap_or(0);
        let start = (0..self.places.len()).map(|row| self.seen(row).start).min().unwrap_or(0);
        let (first, spans) = (start / SPAN, end.div_ceil(SPAN) - start / SPAN);
        // [row][kv head][span] of ([group][head_dim], [group] max, [group] sum)
        let item = width + 2 * group;
        let items = self.places.len() * n_kv * spans;
        let partial = frame.take::<f32>(items * item)?;
        {
            let partial = Shards::new(partial);
            exec.pool.run(&|thread| {
                // SAFETY: this is thread `thread` of the job, and it asks once.
                let scratch: &mut [f32] = bytemuck::cast_slice_mut(unsafe { exec.scratch_of(thread) });
                let work = &mut scratch[..group * ATTEND_BLOCK + head_dim];
                for i in threads::part(items, 1, thread, exec.pool.len()) {
                    let (row, kv, span) = (i / spans / n_kv, i / spans % n_kv, first + i % spans);
                    // SAFETY: items of different threads are disjoint.
                    let mut state = State::of(unsafe { partial.part(i * item..(i + 1) * item) }, width);
                    state.clear();
                    for block in blocks(span) {
                        self.block(exec.kernels, row, kv, block, &mut state, work);
                    }
                }
            })?;
        }
        for (i, rest) in partial.chunks_exact_mut(spans * item).enumerate() {
            let mut stats = [0.0; 2 * MAX_GROUP];
            let mut total = State::new(&mut out[self.heads(i / n_kv, i % n_kv)], &mut stats[..2 * group]);
            total.clear();
            for part in rest.chunks_exact_mut(item) {
                total.merge(exec.kernels, &State::of(part, width), head_dim);
            }
            total.finish(exec.kernels, head_dim);
        }
        Ok(())
    }
}

