//! Causal attention over keys and values as they are stored in the cache.
//!
//! No matrix of scores over the whole context exists. A query's row is reduced over blocks of [`ATTEND_BLOCK`]
//! positions, merged in order (the running softmax of Milakov and Gimelshein, arXiv 1805.02867). Blocks lie at fixed
//! absolute positions, so a row has the same bits alone or in a batch, on one thread or on many.

use super::Exec;
use crate::error::{Result, fail};
use crate::memory::{Frame, Need};
use crate::threads::{self, Shards};
use qorus_kernels::{ATTEND_BLOCK, AttendBlock, Kernels, Type};
use std::ops::Range;

/// Rows that share a pass over a block of keys and values while it is in the first-level cache.
const TILE: usize = 16;

/// With at most this many rows the blocks are spread over the threads, with more the rows are.
const FEW_ROWS: usize = 4;

/// Where a row of a batch stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
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
        self.n_kv > 0 && n_head > 0 && n_head.is_multiple_of(self.n_kv)
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

/// Bytes of scratch one thread needs: statistics of a tile of rows, scores of a block and a row of values.
pub fn scratch(n_head: usize, shape: &CacheShape) -> usize {
    let group = n_head / shape.n_kv.max(1);
    let elements = group.saturating_mul(2 * TILE + ATTEND_BLOCK).saturating_add(shape.head_dim);
    elements.saturating_mul(size_of::<f32>())
}

/// Bytes [`attend`] takes from its frame for `rows` rows.
pub fn need(n_head: usize, shape: &CacheShape, rows: usize) -> Need {
    Need::new().take::<f32>(partials(n_head, shape, rows))
}

/// Elements of the blocks' partial results: of as many rows as may be computed by blocks, over the whole context. They
/// are taken for longer batches too, so that a plan for many rows holds for few.
fn partials(n_head: usize, shape: &CacheShape, rows: usize) -> usize {
    let blocks = shape.ctx.div_ceil(ATTEND_BLOCK);
    let each = blocks.saturating_mul(n_head).saturating_mul(shape.head_dim.saturating_add(2));
    rows.min(FEW_ROWS).saturating_mul(each)
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
    let mut frame = frame.sub();
    let partial = frame.take::<f32>(partials(p.n_head, shape, places.len()))?;
    if places.len() <= FEW_ROWS { job.by_blocks(exec, partial, out) } else { job.by_rows(exec, out) }
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

    /// Adds the result of a later block; one that a row does not see adds nothing.
    fn merge(&mut self, k: &Kernels, later: &State<'_>) {
        if later.max[0] != f32::NEG_INFINITY {
            k.attend_merge((self.max, self.sum, self.out), (later.max, later.sum, later.out));
        }
    }

    fn finish(&mut self, k: &Kernels, head_dim: usize) {
        for (out, sum) in self.out.chunks_exact_mut(head_dim).zip(self.sum.iter()) {
            k.scale(out, 1.0 / sum);
        }
    }
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

    /// Blocks that some of the rows see.
    fn blocks(&self, rows: impl Iterator<Item = usize> + Clone) -> Range<usize> {
        let start = rows.clone().map(|row| self.seen(row).start).min().unwrap_or(0);
        let end = rows.map(|row| self.seen(row).end).max().unwrap_or(0);
        start / ATTEND_BLOCK..end.div_ceil(ATTEND_BLOCK)
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
        let out = Shards::new(out);
        exec.pool.run(&|thread| {
            // SAFETY: this is thread `thread` of the job, and it asks once.
            let scratch: &mut [f32] = bytemuck::cast_slice_mut(unsafe { exec.scratch_of(thread) });
            let (stats, work) = scratch.split_at_mut(TILE * 2 * group);
            let work = &mut work[..group * ATTEND_BLOCK + head_dim];
            let mine = self.places.len().saturating_sub(thread).div_ceil(threads);
            for first in (0..mine).step_by(TILE) {
                let rows = || (first..mine.min(first + TILE)).map(|i| thread + i * threads);
                let blocks = self.blocks(rows());
                for kv in 0..self.shape.n_kv {
                    let mut each = |f: &mut dyn FnMut(usize, State<'_>)| {
                        for (row, stats) in rows().zip(stats.chunks_exact_mut(2 * group)) {
                            // SAFETY: a row belongs to one thread.
                            f(row, State::new(unsafe { out.part(self.heads(row, kv)) }, stats));
                        }
                    };
                    each(&mut |_, mut state| state.clear());
                    for block in blocks.clone() {
                        each(&mut |row, mut state| self.block(k, row, kv, block, &mut state, work));
                    }
                    each(&mut |_, mut state| state.finish(k, head_dim));
                }
            }
        })
    }

    /// The threads share the blocks of all rows; the caller merges them in order.
    fn by_blocks(&self, exec: &Exec, partial: &mut [f32], out: &mut [f32]) -> Result<()> {
        let (k, group, head_dim, n_kv) = (exec.kernels, self.group, self.shape.head_dim, self.shape.n_kv);
        let width = group * head_dim;
        let Range { start, end } = self.blocks(0..self.places.len());
        let blocks = end - start;
        // [row][kv head][block] of ([group][head_dim] values, [2][group] statistics)
        let item = width + 2 * group;
        let items = self.places.len() * n_kv * blocks;
        let partial = &mut partial[..items * item];
        {
            let partial = Shards::new(&mut *partial);
            exec.pool.run(&|thread| {
                // SAFETY: this is thread `thread` of the job, and it asks once.
                let scratch: &mut [f32] = bytemuck::cast_slice_mut(unsafe { exec.scratch_of(thread) });
                let work = &mut scratch[..group * ATTEND_BLOCK + head_dim];
                for i in threads::part(items, 1, thread, exec.pool.len()) {
                    let (row, kv, block) = (i / blocks / n_kv, i / blocks % n_kv, start + i % blocks);
                    // SAFETY: items of different threads are disjoint.
                    let mut state = State::of(unsafe { partial.part(i * item..(i + 1) * item) }, width);
                    state.clear();
                    self.block(k, row, kv, block, &mut state, work);
                }
            })?;
        }
        for (i, of_row) in partial.chunks_exact_mut(blocks * item).enumerate() {
            let (first, later) = of_row.split_at_mut(item);
            let mut total = State::of(first, width);
            for part in later.chunks_exact_mut(item) {
                total.merge(k, &State::of(part, width));
            }
            total.finish(k, head_dim);
            out[self.heads(i / n_kv, i % n_kv)].copy_from_slice(total.out);
        }
        Ok(())
    }
}
