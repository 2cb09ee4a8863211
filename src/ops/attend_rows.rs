//! Causal attention of training: whole sequences in rows, and its gradients.
//!
//! Queries `[rows][heads][head_dim]` meet the keys and values `[rows][kv heads][head_dim]` of their own sequence. A strip of `TILE`
//! queries of one head sees all its keys at once; the strip is all that is ever stored of the scores, and the backward pass
//! computes it again, to the same bits. A thread takes a sequence's head of keys as a whole, in a fixed order inside.

use super::Exec;
use super::attend::AttendParams;
use crate::error::{Result, fail};
use qorus_kernels::{Kernels, Mat, TileMut, gemm_bytes};
use std::ops::Range;

/// Queries of a strip: whole tiles of most products.
const TILE: usize = 70;

/// Heads of keys and values, and the sequences that lie one after another in the rows.
#[derive(Clone, Copy)]
pub struct RowsShape<'a> {
    /// Heads of keys and values.
    pub n_kv: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Rows of each sequence; together all rows.
    pub lens: &'a [u32],
}

/// Keys that a strip sees at most.
fn span(p: &AttendParams, longest: usize) -> usize {
    if p.window == 0 { longest } else { longest.min(p.window.saturating_add(TILE)) }
}

/// Bytes of scratch each thread needs when the longest sequence has `longest` rows.
pub fn scratch(p: &AttendParams, longest: usize) -> usize {
    let strip = span(p, longest).saturating_mul(TILE * size_of::<f32>());
    strip.saturating_mul(strips(p)).saturating_add(gemm_bytes())
}

/// Strips of one thread: scores, their gradients and, where they are capped, what they were before.
fn strips(p: &AttendParams) -> usize {
    if p.softcap > 0.0 { 3 } else { 2 }
}

/// One head of keys with the queries of one sequence.
struct Item {
    rows: Range<usize>,
    head: usize,
}

struct Job<'a> {
    p: &'a AttendParams,
    shape: RowsShape<'a>,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
}

/// A thread's scratch.
struct Space<'a> {
    scores: &'a mut [f32],
    grads: &'a mut [f32],
    /// Scores before they are capped; nothing where they are not.
    raw: &'a mut [f32],
    gemm: &'a mut [u8],
}

impl Job<'_> {
    fn check(&self, rows: usize) -> Result<()> {
        let RowsShape { n_kv, head_dim, lens } = self.shape;
        let listed = lens.iter().fold(0usize, |sum, &len| sum.saturating_add(len as usize));
        let sized = |x: &[f32], heads: usize| rows.checked_mul(heads * head_dim) == Some(x.len());
        let fits = n_kv > 0 && self.p.n_head % n_kv == 0 && sized(self.q, self.p.n_head);
        if !fits || !sized(self.k, n_kv) || !sized(self.v, n_kv) || listed != rows {
            fail!(Shape, "attention of {rows} rows over {listed} of sequences: {} heads over {n_kv}", self.p.n_head);
        }
        Ok(())
    }

    fn longest(&self) -> usize {
        self.shape.lens.iter().max().map_or(0, |&len| len as usize)
    }

    fn items(&self) -> usize {
        self.shape.lens.len() * self.shape.n_kv
    }

    /// Item number `i`: sequence by sequence, head by head.
    fn item(&self, i: usize) -> Item {
        let (seq, head) = (i / self.shape.n_kv, i % self.shape.n_kv);
        let first = self.shape.lens[..seq].iter().map(|&len| len as usize).sum();
        Item { rows: first..first + self.shape.lens[seq] as usize, head }
    }

    /// The strips of an item, head by head: calls `f` with the head, its queries' rows and the rows of the keys they see.
    fn strips(&self, item: &Item, mut f: impl FnMut(usize, Range<usize>, Range<usize>)) {
        let group = self.p.n_head / self.shape.n_kv;
        for head in item.head * group..(item.head + 1) * group {
            for from in item.rows.clone().step_by(TILE) {
                let rows = from..item.rows.end.min(from + TILE);
                let keys = self.seen(item, from).start..rows.end;
                f(head, rows, keys);
            }
        }
    }

    /// The rows that a row sees.
    fn seen(&self, item: &Item, row: usize) -> Range<usize> {
        let from = if self.p.window == 0 { 0 } else { (row + 1).saturating_sub(self.p.window) };
        from.max(item.rows.start)..row + 1
    }

    fn queries<'x>(&self, x: &'x [f32], head: usize, rows: &Range<usize>) -> Mat<'x> {
        self.matrix(x, self.p.n_head, head, rows)
    }

    fn keys<'x>(&self, x: &'x [f32], head: usize, rows: &Range<usize>) -> Mat<'x> {
        self.matrix(x, self.shape.n_kv, head, rows)
    }

    fn matrix<'x>(&self, x: &'x [f32], heads: usize, head: usize, rows: &Range<usize>) -> Mat<'x> {
        let (dim, width) = (self.shape.head_dim, heads * self.shape.head_dim);
        Mat::new(&x[rows.start * width + head * dim..], rows.len(), dim, width)
    }

    fn columns(&self, head: usize) -> Range<usize> {
        head * self.shape.head_dim..(head + 1) * self.shape.head_dim
    }

    /// Probabilities `[rows][keys]` of a strip into `space.scores`, zeros where a row does not see.
    fn probabilities(
        &self,
        k: &Kernels,
        item: &Item,
        head: usize,
        rows: &Range<usize>,
        keys: &Range<usize>,
        space: &mut Space,
    ) {
        let (q, at) = (self.queries(self.q, head, rows), self.keys(self.k, item.head, keys));
        let scores = &mut space.scores[..rows.len() * keys.len()];
        k.gemm(q, at.t(), false, &mut TileMut::new(scores, rows.len(), keys.len()), space.gemm);
        for (i, (row, scores)) in rows.clone().zip(scores.chunks_exact_mut(keys.len())).enumerate() {
            let seen = self.seen_of(item, row, keys);
            let whole = self.whole(&seen, keys);
            scores[..seen.start].fill(0.0);
            scores[whole.end..].fill(0.0);
            k.scale(&mut scores[whole.clone()], self.p.scale);
            if self.p.softcap > 0.0 {
                let scores = &mut scores[seen.clone()];
                space.raw[i * keys.len()..][seen.clone()].copy_from_slice(scores);
                k.softcap(scores, self.p.softcap);
            }
            scores[seen.end..whole.end].fill(f32::NEG_INFINITY);
            k.softmax(&mut scores[whole]);
        }
    }

    /// The keys that a row sees in whole sixteens, as far as there are keys: with what gives a probability of 0 behind them the bits are the
    /// same, and kernels need not look at a rest.
    fn whole(&self, seen: &Range<usize>, keys: &Range<usize>) -> Range<usize> {
        seen.start..(seen.start + seen.len().next_multiple_of(16)).min(keys.len())
    }

    /// The keys that a row sees, counted in those of its strip.
    fn seen_of(&self, item: &Item, row: usize, keys: &Range<usize>) -> Range<usize> {
        let seen = self.seen(item, row);
        seen.start - keys.start..seen.end - keys.start
    }

    /// # Safety
    /// As [`Exec::scratch_of`].
    unsafe fn space<'a>(&self, exec: &'a Exec, thread: usize) -> Space<'a> {
        let strip = span(self.p, self.longest()) * TILE;
        // SAFETY: the caller's promise.
        let bytes = unsafe { exec.scratch_of(thread) };
        let (strips, gemm) = bytes.split_at_mut(strips(self.p) * strip * size_of::<f32>());
        let (scores, rest) = bytemuck::cast_slice_mut(strips).split_at_mut(strip);
        let (grads, raw) = rest.split_at_mut(strip);
        Space { scores, grads, raw, gemm }
    }
}

/// out = softmax(scale q k^T) v, each row seeing its sequence up to itself.
pub fn attend_rows(
    exec: &Exec,
    p: &AttendParams,
    shape: RowsShape,
    (q, k, v): (&[f32], &[f32], &[f32]),
    out: &mut [f32],
) -> Result<()> {
    let width = p.n_head * shape.head_dim;
    let rows = q.len() / width.max(1);
    let job = Job { p, shape, q, k, v };
    job.check(rows)?;
    if out.len() != q.len() {
        fail!(Shape, "attention of {} elements into {}", q.len(), out.len());
    }
    let out = TileMut::new(out, rows, width);
    exec.pool.share(job.items(), |thread, i| {
        let item = job.item(i);
        // SAFETY: a thread has one item at a time.
        let mut space = unsafe { job.space(exec, thread) };
        job.strips(&item, |head, rows, keys| {
            job.probabilities(exec.kernels, &item, head, &rows, &keys, &mut space);
            let p = Mat::new(space.scores, rows.len(), keys.len(), keys.len());
            // SAFETY: an item, and so its queries' heads, is one thread's.
            let mut out = unsafe { out.part_shared(rows, job.columns(head)) };
            exec.kernels.gemm(p, job.keys(v, item.head, &keys), false, &mut out, space.gemm);
        });
    })
}

/// From the gradient `d_out` of [`attend_rows`]' result those of `q`, `k` and `v`, which are written.
pub fn attend_rows_backward(
    exec: &Exec,
    p: &AttendParams,
    shape: RowsShape,
    (q, k, v): (&[f32], &[f32], &[f32]),
    d_out: &[f32],
    (dq, dk, dv): (&mut [f32], &mut [f32], &mut [f32]),
) -> Result<()> {
    let (width, kv_width) = (p.n_head * shape.head_dim, shape.n_kv * shape.head_dim);
    let rows = q.len() / width.max(1);
    let job = Job { p, shape, q, k, v };
    job.check(rows)?;
    if d_out.len() != q.len() || dq.len() != q.len() || dk.len() != k.len() || dv.len() != v.len() {
        fail!(Shape, "gradients of attention over {rows} rows: {}, {} and {}", dq.len(), dk.len(), dv.len());
    }
    let (dq, dk, dv) =
        (TileMut::new(dq, rows, width), TileMut::new(dk, rows, kv_width), TileMut::new(dv, rows, kv_width));
    exec.pool.share(job.items(), |thread, i| {
        let (kernels, item) = (exec.kernels, job.item(i));
        // SAFETY: a thread has one item at a time.
        let mut space = unsafe { job.space(exec, thread) };
        // SAFETY (of all windows below): an item, and so its rows of its heads, is one thread's; a window ends with its use.
        let own = |whole: &TileMut, rows: &Range<usize>, head: usize| {
            // SAFETY: as above.
            let mut part = unsafe { whole.part_shared(rows.clone(), job.columns(head)) };
            (0..rows.len()).for_each(|i| part.row_mut(i).fill(0.0));
        };
        own(&dk, &item.rows, item.head);
        own(&dv, &item.rows, item.head);
        job.strips(&item, |head, rows, keys| {
            job.probabilities(kernels, &item, head, &rows, &keys, &mut space);
            let (n, m) = (rows.len(), keys.len());
            let (d_out, values) = (job.queries(d_out, head, &rows), job.keys(v, item.head, &keys));
            kernels.gemm(d_out, values.t(), false, &mut TileMut::new(&mut space.grads[..n * m], n, m), space.gemm);
            let p = Mat::new(space.scores, n, m, m);
            // SAFETY: as above.
            let mut dv = unsafe { dv.part_shared(keys.clone(), job.columns(item.head)) };
            kernels.gemm(p.t(), d_out, true, &mut dv, space.gemm);
            for (i, row) in rows.clone().enumerate() {
                let seen = job.seen_of(&item, row, &keys);
                let whole = job.whole(&seen, &keys);
                let grads = &mut space.grads[i * m..][..m];
                grads[..seen.start].fill(0.0);
                grads[seen.end..].fill(0.0);
                kernels.softmax_backward(&mut grads[whole.clone()], &space.scores[i * m..][whole.clone()]);
                if job.p.softcap > 0.0 {
                    kernels.softcap_backward(&mut grads[seen.clone()], job.p.softcap, &space.raw[i * m..][seen]);
                }
                kernels.scale(&mut grads[whole], job.p.scale);
            }
            let ds = Mat::new(space.grads, n, m, m);
            // SAFETY: as above.
            let mut dq = unsafe { dq.part_shared(rows.clone(), job.columns(head)) };
            kernels.gemm(ds, job.keys(k, item.head, &keys), false, &mut dq, space.gemm);
            // SAFETY: as above.
            let mut dk = unsafe { dk.part_shared(keys, job.columns(item.head)) };
            kernels.gemm(ds.t(), job.queries(q, head, &rows), true, &mut dk, space.gemm);
        });
    })
}
