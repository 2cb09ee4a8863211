//! Causal attention over keys and values as they are stored in the cache.
//!
//! No matrix of scores over the whole context exists. A query's row is reduced over blocks of [`ATTEND_BLOCK`]
//! positions, merged in order (the running softmax of Milakov and Gimelshein, arXiv 1805.02867). Blocks lie at fixed
//! absolute positions, so a row has the same bits alone or in a batch, on one thread or on many.

use super::Exec;
use crate::error::{Result, fail};
use crate::threads::Shards;
use qorus_kernels::{ATTEND_BLOCK, AttendBlock, Kernels, Type, store_key};
use std::ops::Range;

/// Rows that read a block of keys and values together.
const TILE: usize = 32;

/// Up to this many rows of a batch are few: their blocks are spread over the threads, in tiles of [`FEW_TILE`]. Of more, a
/// tile is computed by one thread.
const FEW_ROWS: usize = 16;

/// Rows of a tile when there are few; each thread has room for the results of all their blocks.
const FEW_TILE: usize = 4;

/// Where a row of a batch stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Place {
    /// Sequence.
    pub seq: u32,
    /// Position in it.
    pub pos: u32,
}

/// Keys and values of one layer: each `[seq][kv head][position][head_dim]` in storage type `ty`. Sequences have whole
/// blocks of positions, and the keys of a block are laid out by [`store_key`].
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
        let positions = self.ctx.checked_next_multiple_of(ATTEND_BLOCK)?;
        self.seqs.checked_mul(self.n_kv)?.checked_mul(positions)?.checked_mul(self.row_bytes()?)
    }

    /// Bytes of a block of one head.
    pub fn block_bytes(&self) -> usize {
        ATTEND_BLOCK * self.row_bytes().unwrap_or(0)
    }

    /// Where the blocks of a head with its first `positions` positions are.
    pub fn blocks(&self, seq: usize, head: usize, positions: usize) -> Range<usize> {
        let from = (seq * self.n_kv + head) * self.ctx.div_ceil(ATTEND_BLOCK) * self.block_bytes();
        from..from + positions.div_ceil(ATTEND_BLOCK) * self.block_bytes()
    }

    /// Where block `block` of a head is.
    fn block(&self, seq: usize, head: usize, block: usize) -> Range<usize> {
        let from = self.blocks(seq, head, block * ATTEND_BLOCK).end;
        from..from + self.block_bytes()
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

/// Stores rows of `[n_kv][head_dim]`, keys `k` and values `v`, in the cache at their places.
pub fn store(
    exec: &Exec,
    shape: &CacheShape,
    (k, v): (&[f32], &[f32]),
    places: &[Place],
    (keys, values): (&mut [u8], &mut [u8]),
) -> Result<()> {
    let row_bytes = shape.row_bytes().unwrap_or(0);
    let (keys, values) = (Shards::new(keys), Shards::new(values));
    // A block of a head belongs to one thread.
    let part = |thread: usize, threads: usize| {
        // SAFETY: this is thread `thread` of the job, or the caller alone, and it asks once.
        let stored = &mut unsafe { exec.scratch_of(thread) }[..row_bytes];
        for (row, place) in places.iter().enumerate() {
            let (seq, pos) = (place.seq as usize, place.pos as usize);
            for head in 0..shape.n_kv {
                if (pos / ATTEND_BLOCK + head) % threads != thread {
                    continue;
                }
                let (at, j) = (shape.block(seq, head, pos / ATTEND_BLOCK), pos % ATTEND_BLOCK);
                let x = (row * shape.n_kv + head) * shape.head_dim;
                exec.kernels.quantize(shape.ty, &k[x..x + shape.head_dim], stored);
                // SAFETY: the block is this thread's, and its last use is over.
                store_key(shape.ty, stored, unsafe { keys.part(at.clone()) }, j);
                // SAFETY: as above.
                let value = &mut unsafe { values.part(at) }[j * row_bytes..][..row_bytes];
                exec.kernels.quantize(shape.ty, &v[x..x + shape.head_dim], value);
            }
        }
    };
    if places.len() < 8 {
        part(0, 1);
        return Ok(());
    }
    exec.pool.run(&|thread| part(thread, exec.pool.len()))
}

/// Stores keys and values `[n_kv][ctx][head_dim]` of one sequence, of the cache's type already, in the cache.
pub fn load(shape: &CacheShape, (k, v): (&[u8], &[u8]), (keys, values): (&mut [u8], &mut [u8])) {
    let row_bytes = shape.row_bytes().unwrap_or(0);
    for (head, (k, v)) in k.chunks_exact(shape.ctx * row_bytes).zip(v.chunks_exact(shape.ctx * row_bytes)).enumerate() {
        let at = shape.blocks(0, head, shape.ctx);
        values[at.clone()][..v.len()].copy_from_slice(v);
        for (keys, k) in keys[at].chunks_exact_mut(shape.block_bytes()).zip(k.chunks(shape.block_bytes())) {
            k.chunks_exact(row_bytes).enumerate().for_each(|(j, row)| store_key(shape.ty, row, keys, j));
        }
    }
}

/// Bytes of scratch one thread needs: a tile's queries and its state, what the kernel needs, and for few rows the results
/// of the blocks of one head over the whole context.
pub fn scratch(n_head: usize, shape: &CacheShape) -> usize {
    let group = n_head / shape.n_kv.max(1);
    let results = |rows: usize| rows.saturating_mul(group).saturating_mul(shape.head_dim.saturating_add(2));
    let partials = results(FEW_TILE).saturating_mul(shape.ctx.div_ceil(ATTEND_BLOCK));
    let kernel = AttendBlock::scratch(shape.head_dim);
    let elements = results(2 * TILE).saturating_add(kernel).saturating_add(partials);
    elements.saturating_mul(size_of::<f32>()).max(shape.row_bytes().unwrap_or(0))
}

/// out = softmax(scale q k^T) v for rows `[n_head][head_dim]` of `q` at `places`, whose own keys and values are in
/// the cache already.
pub fn attend(
    exec: &Exec,
    p: &AttendParams,
    shape: &CacheShape,
    q: &[f32],
    places: &[Place],
    (keys, values): (&[u8], &[u8]),
    out: &mut [f32],
) -> Result<()> {
    let width = p.n_head * shape.head_dim;
    if q.len() != places.len() * width || out.len() != q.len() || !shape.serves(p.n_head) {
        fail!(Shape, "attention of {} rows over {} heads: {} elements", places.len(), p.n_head, q.len());
    }
    let (threads, few) = (exec.pool.len(), places.len() <= FEW_ROWS);
    // Enough tiles that the threads end together.
    let tile = if few { FEW_TILE } else { (places.len() * shape.n_kv / (4 * threads)).clamp(FEW_TILE, TILE) };
    let mut job = Job { p, shape, group: p.n_head / shape.n_kv, q, places, keys, values, threads, few, tile, cost: 0 };
    job.cost = job.each_piece(|_| ());
    let out = Shards::new(out);
    exec.pool.run(&|thread| {
        // SAFETY: this is thread `thread` of the job, and it asks once.
        job.work(exec.kernels, unsafe { job.space(exec, thread) }, thread, &out);
    })?;
    if few {
        job.join(exec, &out);
    }
    Ok(())
}

/// Running or partial result of some queries: greatest score, sum of exponentials, weighted values.
struct State<'a> {
    max: &'a mut [f32],
    sum: &'a mut [f32],
    out: &'a mut [f32],
}

impl<'a> State<'a> {
    /// Of `n` queries, at the beginning of a buffer.
    fn new(buffer: &'a mut [f32], n: usize, head_dim: usize) -> Self {
        let (max, rest) = buffer.split_at_mut(n);
        let (sum, rest) = rest.split_at_mut(n);
        State { max, sum, out: &mut rest[..n * head_dim] }
    }
}

/// One thread's scratch.
struct Space<'a> {
    /// Queries of a tile.
    q: &'a mut [f32],
    /// Their state.
    state: &'a mut [f32],
    kernel: &'a mut [f32],
    /// States of single blocks.
    partials: &'a mut [f32],
}

/// The queries of one group of heads, in consecutive rows of one sequence.
struct Piece {
    rows: Range<usize>,
    head: usize,
    /// The blocks that some of the rows see.
    blocks: Range<usize>,
    /// Cost of the pieces before; a block costs one for each row.
    before: usize,
}

struct Job<'a> {
    p: &'a AttendParams,
    shape: &'a CacheShape,
    group: usize,
    q: &'a [f32],
    places: &'a [Place],
    keys: &'a [u8],
    values: &'a [u8],
    threads: usize,
    few: bool,
    /// The most rows of a piece.
    tile: usize,
    /// Cost of all pieces.
    cost: usize,
}

impl Job<'_> {
    /// The scratch of a thread.
    ///
    /// # Safety
    /// As [`Exec::scratch_of`]; when no job runs, the caller may ask for each thread's once.
    unsafe fn space<'a>(&self, exec: &'a Exec, thread: usize) -> Space<'a> {
        let queries = TILE * self.group * self.shape.head_dim;
        // SAFETY: the caller's promise.
        let all: &mut [f32] = bytemuck::cast_slice_mut(unsafe { exec.scratch_of(thread) });
        let (q, rest) = all.split_at_mut(queries);
        let (state, rest) = rest.split_at_mut(queries + 2 * TILE * self.group);
        let (kernel, partials) = rest.split_at_mut(AttendBlock::scratch(self.shape.head_dim));
        Space { q, state, kernel, partials }
    }

    /// Positions a row sees.
    fn seen(&self, row: usize) -> Range<usize> {
        let end = self.places[row].pos as usize + 1;
        let from = if self.p.window == 0 { 0 } else { end.saturating_sub(self.p.window) };
        from..end
    }

    /// Those of block `block`, as [`AttendBlock`] has them.
    fn seen_of(&self, row: usize, block: usize) -> [u8; 2] {
        let (seen, first) = (self.seen(row), block * ATTEND_BLOCK);
        [seen.start, seen.end].map(|pos| pos.saturating_sub(first).min(ATTEND_BLOCK) as u8)
    }

    /// Elements of `q` and `out` that belong to a row's group of heads.
    fn heads(&self, row: usize, head: usize) -> Range<usize> {
        let width = self.group * self.shape.head_dim;
        let from = (row * self.shape.n_kv + head) * width;
        from..from + width
    }

    /// Calls `f` with the pieces in order; gives their cost.
    fn each_piece(&self, mut f: impl FnMut(Piece)) -> usize {
        let mut before = 0;
        for head in 0..self.shape.n_kv {
            let mut first = 0;
            while first < self.places.len() {
                let Place { seq, pos } = self.places[first];
                let follows = |&i: &usize| self.places[i] == Place { seq, pos: pos + (i - first) as u32 };
                let most = self.places.len().min(first + self.tile);
                let end = (first + 1..most).find(|i| !follows(i)).unwrap_or(most);
                let blocks = self.seen(first).start / ATTEND_BLOCK..self.seen(end - 1).end.div_ceil(ATTEND_BLOCK);
                let cost = blocks.len() * (end - first);
                f(Piece { rows: first..end, head, blocks, before });
                (before, first) = (before + cost, end);
            }
        }
        before
    }

    /// The blocks of a piece that a thread computes: those at its part of the cost, or of many rows all or none.
    fn share(&self, piece: &Piece, thread: usize) -> Range<usize> {
        let (rows, Range { start, end }) = (piece.rows.len(), piece.blocks.clone());
        let first = |thread: usize| {
            let bound = self.cost / self.threads * thread + self.cost % self.threads * thread / self.threads;
            let into = bound.saturating_sub(piece.before).div_ceil(rows).min(end - start);
            match self.few {
                true => start + into,
                false if 2 * into > end - start => end,
                false => start,
            }
        };
        first(thread)..first(thread + 1)
    }

    fn work(&self, k: &Kernels, space: Space, thread: usize, out: &Shards<f32>) {
        let (group, head_dim) = (self.group, self.shape.head_dim);
        self.each_piece(|piece| {
            let mine = self.share(&piece, thread);
            if mine.is_empty() {
                return;
            }
            let n = piece.rows.len() * group;
            let q = &mut space.q[..n * head_dim];
            for (row, q) in piece.rows.clone().zip(q.chunks_exact_mut(group * head_dim)) {
                q.copy_from_slice(&self.q[self.heads(row, piece.head)]);
            }
            if mine.start > piece.blocks.start {
                let partials = space.partials.chunks_exact_mut(n * (head_dim + 2));
                for (block, partial) in mine.zip(partials) {
                    let mut state = State::new(partial, n, head_dim);
                    state.max.fill(f32::NEG_INFINITY);
                    self.block(k, &piece, block, q, &mut state, space.kernel);
                }
                return;
            }
            let mut state = State::new(space.state, n, head_dim);
            state.max.fill(f32::NEG_INFINITY);
            for block in mine.clone() {
                self.block(k, &piece, block, q, &mut state, space.kernel);
            }
            // A piece that another thread goes on with is the last of this one, and stays where it is.
            if mine.end == piece.blocks.end {
                self.finish(k, &piece, &state, out);
            }
        });
    }

    /// Merges what the rows of a piece see of a block into `state`.
    fn block(&self, k: &Kernels, piece: &Piece, block: usize, q: &[f32], state: &mut State, scratch: &mut [f32]) {
        let mut seen = [[0; 2]; TILE];
        let seen = &mut seen[..piece.rows.len()];
        seen.iter_mut().zip(piece.rows.clone()).for_each(|(seen, row)| *seen = self.seen_of(row, block));
        let at = self.shape.block(self.places[piece.rows.start].seq as usize, piece.head, block);
        let mut block = AttendBlock {
            q,
            keys: &self.keys[at.clone()],
            values: &self.values[at],
            seen,
            head_dim: self.shape.head_dim,
            scale: self.p.scale,
            softcap: self.p.softcap,
            scratch,
            max: state.max,
            sum: state.sum,
            out: state.out,
        };
        k.attend(self.shape.ty, &mut block);
    }

    /// Merges, in order, what threads computed of pieces that others began.
    fn join(&self, exec: &Exec, out: &Shards<f32>) {
        let (k, group, head_dim) = (exec.kernels, self.group, self.shape.head_dim);
        self.each_piece(|piece| {
            let whole = |thread: &usize| self.share(&piece, *thread) == piece.blocks;
            if (0..self.threads).any(|thread| whole(&thread)) {
                return;
            }
            let n = piece.rows.len() * group;
            let mut began = None;
            for thread in 0..self.threads {
                let mine = self.share(&piece, thread);
                if mine.is_empty() {
                    continue;
                }
                // SAFETY: no job runs, and this piece asks each thread's scratch once.
                let space = unsafe { self.space(exec, thread) };
                let Some(state) = &mut began else {
                    began = Some(State::new(space.state, n, head_dim));
                    continue;
                };
                for (block, partial) in mine.zip(space.partials.chunks_exact_mut(n * (head_dim + 2))) {
                    let later = State::new(partial, n, head_dim);
                    for (i, row) in piece.rows.clone().enumerate() {
                        let [from, to] = self.seen_of(row, block);
                        let (heads, values) =
                            (i * group..(i + 1) * group, i * group * head_dim..(i + 1) * group * head_dim);
                        if from < to {
                            k.attend_merge(
                                (
                                    &mut state.max[heads.clone()],
                                    &mut state.sum[heads.clone()],
                                    &mut state.out[values.clone()],
                                ),
                                (&later.max[heads.clone()], &later.sum[heads], &later.out[values]),
                            );
                        }
                    }
                }
            }
            if let Some(state) = began {
                self.finish(k, &piece, &state, out);
            }
        });
    }

    fn finish(&self, k: &Kernels, piece: &Piece, state: &State, out: &Shards<f32>) {
        let head_dim = self.shape.head_dim;
        let mut heads = state.out.chunks_exact(head_dim).zip(state.sum.iter());
        for row in piece.rows.clone() {
            // SAFETY: a row's group of heads is finished once.
            let out = unsafe { out.part(self.heads(row, piece.head)) };
            for (out, (values, sum)) in out.chunks_exact_mut(head_dim).zip(&mut heads) {
                out.copy_from_slice(values);
                k.scale(out, 1.0 / sum);
            }
        }
    }
}
