//! Causal attention of training: whole sequences in rows, and its gradients.
//!
//! Queries `[rows][heads][head_dim]` meet the keys and values `[rows][kv heads][head_dim]` of their own sequence. A strip of `TILE`
//! queries of one head sees all its keys at once; the strip is all that is ever stored of the scores, and the backward pass
//! computes it again, to the same bits. A thread takes a sequence's head of keys as a whole, in a fixed order inside; keys and values are
//! packed once for all its strips, and `STEP` queries at a time are multiplied with what the last of them sees.

mod space;

pub use space::scratch;

use super::Exec;
use super::attend::AttendParams;
use crate::error::{Result, fail};
use qorus_kernels::{GEMM_PANEL, Kernels, Mat, Products, TileMut, gemm_packed};
use space::Space;
use std::ops::Range;

/// Queries of a strip: whole tiles of most products.
const TILE: usize = 70;

/// Queries that are multiplied together with their keys: some tiles, of which few meet what they do not see.
const STEP: usize = 28;

/// Elements of a line of the cache: where rows of strips begin.
const LINE: usize = 16;

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

/// Some queries of one head, and the keys that they see.
#[derive(Clone)]
struct Strip {
    head: usize,
    rows: Range<usize>,
    keys: Range<usize>,
}

impl Strip {
    /// Elements from a row of scores to the next.
    fn stride(&self) -> usize {
        self.keys.len().next_multiple_of(LINE)
    }

    /// The scores, or so many of their columns.
    fn mat<'x>(&self, scores: &'x [f32], cols: usize) -> Mat<'x> {
        Mat::new(scores, self.rows.len(), cols, self.stride())
    }

    /// Calls `f` with some rows at a time, counted in those of the strip, and the number of keys that the last of them sees.
    fn steps(&self, mut f: impl FnMut(Range<usize>, usize)) {
        for from in (0..self.rows.len()).step_by(STEP) {
            let to = self.rows.len().min(from + STEP);
            f(from..to, self.rows.start + to - self.keys.start);
        }
    }
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

    /// The strips of an item, head by head. Their keys begin with a panel of the packed ones.
    fn strips(&self, item: &Item, mut f: impl FnMut(Strip)) {
        let group = self.p.n_head / self.shape.n_kv;
        for head in item.head * group..(item.head + 1) * group {
            for from in item.rows.clone().step_by(TILE) {
                let rows = from..item.rows.end.min(from + TILE);
                let unseen = self.seen(item, from).start - item.rows.start;
                let keys = item.rows.start + unseen / GEMM_PANEL * GEMM_PANEL..rows.end;
                f(Strip { head, rows, keys });
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

    /// Packs an item's keys, and its values if asked for, for products with their transposes.
    fn turn(&self, k: &Kernels, item: &Item, values: bool, space: &mut Space) {
        k.gemm_pack(Products::F32, self.keys(self.k, item.head, &item.rows).t(), space.keys_turned);
        if values {
            k.gemm_pack(Products::F32, self.keys(self.v, item.head, &item.rows).t(), space.values_turned);
        }
    }

    /// `to = left right^T` of a strip, where `right` are keys or values of the item and `panels` what they were packed to; as far as the rows see.
    fn meet(
        &self,
        k: &Kernels,
        (item, strip): (&Item, &Strip),
        left: Mat,
        (right, panels): (&[f32], &[f32]),
        (to, gemm): (&mut [f32], &mut [u8]),
    ) {
        let (n, stride) = (strip.rows.len(), strip.stride());
        let right = self.keys(right, item.head, &strip.keys).t();
        let depth = self.shape.head_dim;
        let panels = &panels[gemm_packed(Products::F32, depth, strip.keys.start - item.rows.start)..];
        let to = TileMut::new(&mut to[..n * stride], n, stride);
        strip.steps(|rows, seen| {
            // SAFETY: the rows of steps are disjoint.
            let mut to = unsafe { to.part_shared(rows.clone(), 0..seen) };
            let (left, right) = (left.part(rows, 0..depth), right.part(0..depth, 0..seen));
            k.gemm_packed(Products::F32, (left, right, panels, 0), false, &mut to, space::packed(gemm));
        });
    }

    /// `to = scores right` of a strip, where `right` are keys or values of the item, packed to `panels`; as far as the rows see.
    fn gather(
        &self,
        k: &Kernels,
        (item, strip): (&Item, &Strip),
        scores: &[f32],
        (right, panels): (&[f32], &[f32]),
        (to, gemm): (&TileMut, &mut [u8]),
    ) {
        let (right, first) = (self.keys(right, item.head, &item.rows), strip.keys.start - item.rows.start);
        let scores = strip.mat(scores, strip.keys.len());
        strip.steps(|rows, seen| {
            let at = strip.rows.start + rows.start..strip.rows.start + rows.end;
            // SAFETY: an item, and so its queries' heads, is one thread's; a window ends with its use.
            let mut to = unsafe { to.part_shared(at, self.columns(strip.head)) };
            let scores = scores.part(rows, 0..seen);
            k.gemm_packed(Products::F32, (scores, right, panels, first), false, &mut to, space::packed(gemm));
        });
    }

    /// Probabilities `[rows][keys]` of a strip into `space.scores`, zeros where a row does not see.
    fn probabilities(&self, k: &Kernels, item: &Item, strip: &Strip, space: &mut Space) {
        let q = self.queries(self.q, strip.head, &strip.rows);
        let to = (&mut *space.scores, &mut *space.gemm);
        self.meet(k, (item, strip), q, (self.k, space.keys_turned), to);
        let stride = strip.stride();
        for (i, (row, scores)) in strip.rows.clone().zip(space.scores.chunks_exact_mut(stride)).enumerate() {
            let (seen, lines) = self.seen_of(item, row, &strip.keys);
            let mut scale = self.p.scale;
            if self.p.softcap > 0.0 {
                let scores = &mut scores[seen.clone()];
                k.scale(scores, scale);
                space.raw[i * stride..][seen.clone()].copy_from_slice(scores);
                k.softcap(scores, self.p.softcap);
                scale = 1.0;
            }
            // What gives a probability of 0 makes whole lines of what is seen.
            scores[lines.start..seen.start].fill(f32::NEG_INFINITY);
            scores[seen.end..lines.end].fill(f32::NEG_INFINITY);
            k.softmax(&mut scores[lines.clone()], scale);
            scores[..lines.start].fill(0.0);
            scores[lines.end..].fill(0.0);
        }
    }

    /// From the gradients of a strip's probabilities, in `space.grads`, those of its scores before they were scaled; zeros where a row does not see.
    fn probabilities_backward(&self, k: &Kernels, item: &Item, strip: &Strip, space: &mut Space) {
        let stride = strip.stride();
        let rows = space.grads.chunks_exact_mut(stride).zip(space.scores.chunks_exact(stride));
        for (i, (row, (grads, scores))) in strip.rows.clone().zip(rows).enumerate() {
            let (seen, lines) = self.seen_of(item, row, &strip.keys);
            grads[..seen.start].fill(0.0);
            grads[seen.end..].fill(0.0);
            let capped = self.p.softcap > 0.0;
            let scale = if capped { 1.0 } else { self.p.scale };
            k.softmax_backward(&mut grads[lines.clone()], scale, &scores[lines]);
            if capped {
                let grads = &mut grads[seen.clone()];
                k.softcap_backward(grads, self.p.softcap, &space.raw[i * stride..][seen]);
                k.scale(grads, self.p.scale);
            }
        }
    }

    /// The keys that a row sees, counted in those of its strip, and the whole lines in which they are.
    fn seen_of(&self, item: &Item, row: usize, keys: &Range<usize>) -> (Range<usize>, Range<usize>) {
        let seen = self.seen(item, row);
        let seen = seen.start - keys.start..seen.end - keys.start;
        (seen.clone(), seen.start / LINE * LINE..seen.end.next_multiple_of(LINE))
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
        let (kernels, item) = (exec.kernels, job.item(i));
        // SAFETY: a thread has one item at a time.
        let mut space = unsafe { Space::new(exec, thread, p, shape.head_dim, job.longest()) };
        job.turn(kernels, &item, false, &mut space);
        kernels.gemm_pack(Products::F32, job.keys(v, item.head, &item.rows), space.rows);
        job.strips(&item, |strip| {
            job.probabilities(kernels, &item, &strip, &mut space);
            job.gather(kernels, (&item, &strip), space.scores, (v, space.rows), (&out, space.gemm));
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
        let mut space = unsafe { Space::new(exec, thread, p, shape.head_dim, job.longest()) };
        // SAFETY (of all windows below): an item, and so its rows of its heads, is one thread's; a window ends with its use.
        let own = |whole: &TileMut, rows: &Range<usize>, head: usize| {
            // SAFETY: as above.
            let mut part = unsafe { whole.part_shared(rows.clone(), job.columns(head)) };
            (0..rows.len()).for_each(|i| part.row_mut(i).fill(0.0));
        };
        own(&dk, &item.rows, item.head);
        own(&dv, &item.rows, item.head);
        job.turn(kernels, &item, true, &mut space);
        kernels.gemm_pack(Products::F32, job.keys(k, item.head, &item.rows), space.rows);
        job.strips(&item, |strip| {
            job.probabilities(kernels, &item, &strip, &mut space);
            let (seen, keys) = (strip.keys.len(), || strip.keys.clone());
            let (d_out, q) = (job.queries(d_out, strip.head, &strip.rows), job.queries(q, strip.head, &strip.rows));
            // SAFETY: as above.
            let mut dv = unsafe { dv.part_shared(keys(), job.columns(item.head)) };
            kernels.gemm(strip.mat(space.scores, seen).t(), d_out, true, &mut dv, space.gemm);
            let to = (&mut *space.grads, &mut *space.gemm);
            job.meet(kernels, (&item, &strip), d_out, (v, space.values_turned), to);
            job.probabilities_backward(kernels, &item, &strip, &mut space);
            job.gather(kernels, (&item, &strip), space.grads, (k, space.rows), (&dq, space.gemm));
            // SAFETY: as above.
            let mut dk = unsafe { dk.part_shared(keys(), job.columns(item.head)) };
            kernels.gemm(strip.mat(space.grads, seen).t(), q, true, &mut dk, space.gemm);
        });
    })
}
