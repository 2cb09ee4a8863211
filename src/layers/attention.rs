//! Causal self-attention with its projections: multi-head, grouped-query, with a sliding window or without.

use super::{CacheSlot, Linear, Norm, Run, Sizes};
use crate::error::{Result, fail};
use crate::memory::{Frame, Need};
use crate::ops::attend::{self, AttendParams};
use crate::ops::matmul::{Input, matmul};
use crate::ops::rope::rope;

/// y = wo attend(rope(norm(wq x)), rope(norm(wk x)), wv x); the rows' keys and values go into cache `slot`.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Queries: `[n_head * head_dim][width]`.
    pub q: Linear,
    /// Keys: `[n_kv * head_dim][width]`.
    pub k: Linear,
    /// Values: `[n_kv * head_dim][width]`.
    pub v: Linear,
    /// Output: `[width][n_head * head_dim]`.
    pub o: Linear,
    /// Normalization of each query head.
    pub q_norm: Option<Norm>,
    /// Normalization of each key head.
    pub k_norm: Option<Norm>,
    /// Which of the model's rotary embeddings turns queries and keys.
    pub rope: Option<usize>,
    /// Heads, scale, window.
    pub params: AttendParams,
    /// Heads of keys and values.
    pub n_kv: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Which cache.
    pub slot: usize,
}

impl Attention {
    /// Width of the result.
    pub fn out_width(&self) -> usize {
        self.o.out_width()
    }

    fn quantized(&self) -> bool {
        [&self.q, &self.k, &self.v].iter().any(|l| l.w.ty.is_quantized())
    }

    fn q_width(&self) -> usize {
        self.params.n_head * self.head_dim
    }

    fn kv_width(&self) -> usize {
        self.n_kv * self.head_dim
    }

    /// Bytes the forward pass takes from its frame.
    pub fn need(&self, s: Sizes) -> Need {
        let (q, kv) = (s.rows.saturating_mul(self.q_width()), s.rows.saturating_mul(self.kv_width()));
        let need = Need::new().take::<f32>(q).take::<f32>(q).take::<f32>(kv).take::<f32>(kv).take::<f32>(kv);
        let need = need.sub(Input::need(Need::new(), s.rows, self.q.w.cols, self.quantized()));
        need.sub(self.o.need(s.rows))
    }

    /// Bytes of scratch each thread needs.
    pub fn scratch(&self, slots: &[CacheSlot]) -> usize {
        let own = slots.get(self.slot).map_or(0, |slot| attend::scratch(self.params.n_head, &slot.shape));
        own.max(self.q.scratch()).max(self.o.scratch())
    }

    /// y = attention(x), with `run.places.len()` rows.
    pub fn forward(&self, run: &mut Run, frame: &mut Frame<'_>, x: &[f32], y: &mut [f32]) -> Result<()> {
        let mut frame = frame.sub();
        let rows = run.places.len();
        let (q_width, kv_width) = (self.q_width(), self.kv_width());
        let mut q = frame.take::<f32>(rows * q_width)?;
        let mut other = frame.take::<f32>(rows * q_width)?;
        let mut k = frame.take::<f32>(rows * kv_width)?;
        let mut normed = frame.take::<f32>(rows * kv_width)?;
        let v = frame.take::<f32>(rows * kv_width)?;
        {
            let mut frame = frame.sub();
            let input = Input::new(&run.exec, &mut frame, x, self.q.w.cols, self.quantized())?;
            let products = [self.q.product(run, q)?, self.k.product(run, k)?, self.v.product(run, v)?];
            matmul(&run.exec, &input, products)?;
        }
        if let Some(norm) = &self.q_norm {
            norm.forward(run, q, other)?;
            std::mem::swap(&mut q, &mut other);
        }
        if let Some(norm) = &self.k_norm {
            norm.forward(run, k, normed)?;
            std::mem::swap(&mut k, &mut normed);
        }
        if let Some(index) = self.rope {
            let Some(r) = run.ropes.get(index) else { fail!(Internal, "rotary embedding {index} is not there") };
            rope(&run.exec, r.style, q, self.head_dim, r.cos, r.sin, r.half)?;
            rope(&run.exec, r.style, k, self.head_dim, r.cos, r.sin, r.half)?;
        }
        let Some(slot) = run.slots.get(self.slot) else { fail!(Internal, "cache {} is not there", self.slot) };
        let (shape, (keys, values)) = (&slot.shape, slot.split(run.cache));
        attend::store(&run.exec, shape, (k, v), run.places, (&mut *keys, &mut *values))?;
        attend::attend(&run.exec, &self.params, shape, q, run.places, (keys, values), other)?;
        self.o.forward(run, &mut frame, other, y)
    }
}
