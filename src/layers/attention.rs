//! Causal self-attention with its projections: multi-head, grouped-query, with a sliding window or without.

#[cfg(feature = "train")]
use super::RopeRows;
#[cfg(feature = "train")]
use super::grads::Grads;
#[cfg(feature = "train")]
use super::keep::{Kept, kept};
#[cfg(feature = "train")]
use super::train::{Pass, PassSizes};
#[cfg(feature = "train")]
use super::trained::Param;
use super::{CacheSlot, Linear, Norm, Run, Sizes};
use crate::error::{Result, fail};
use crate::memory::{Frame, Need};
use crate::ops::attend::{self, AttendParams};
#[cfg(feature = "train")]
use crate::ops::attend_rows::{self, RowsShape};
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
        need.sub(self.q.adapt_need(s)).sub(self.k.adapt_need(s)).sub(self.o.need(s))
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
        self.q.adapt(run, &mut frame, x, q)?;
        self.k.adapt(run, &mut frame, x, k)?;
        self.v.adapt(run, &mut frame, x, v)?;
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

#[cfg(feature = "train")]
impl Attention {
    /// Calls `f` with each parameter.
    pub fn params(&self, f: &mut dyn FnMut(Param)) {
        [&self.q, &self.k, &self.v, &self.o].into_iter().for_each(|l| l.params(f));
        [&self.q_norm, &self.k_norm].into_iter().flatten().for_each(|norm| norm.params(f));
    }

    /// f32 elements of the forward cache: queries, keys and values as they meet, queries and keys before their norms, and the
    /// heads' results.
    pub fn cache_len(&self, s: PassSizes) -> usize {
        let (q, kv) = (kept(s.rows.saturating_mul(self.q_width())), kept(s.rows.saturating_mul(self.kv_width())));
        let raw_q = if self.q_norm.is_some() { q } else { 0 };
        let raw_k = if self.k_norm.is_some() { kv } else { 0 };
        [q, q, kv, kv, raw_q, raw_k].into_iter().fold(0, usize::saturating_add)
    }

    /// Bytes that [`Attention::forward_train`] takes.
    pub fn train_need(&self, s: PassSizes) -> Need {
        [&self.q, &self.k, &self.v, &self.o].into_iter().fold(Need::new(), |need, l| need.sub(l.train_need(s)))
    }

    /// Bytes that [`Attention::backward`] takes. `dx`: whether that is wanted.
    pub fn backward_need(&self, s: PassSizes, dx: bool) -> Need {
        let (q, kv) = (s.rows.saturating_mul(self.q_width()), s.rows.saturating_mul(self.kv_width()));
        let mut need = Need::new().take::<f32>(q).take::<f32>(q).take::<f32>(kv).take::<f32>(kv);
        need = need.sub(self.o.backward_need(s, true));
        if let Some(norm) = &self.q_norm {
            need = need.sub(norm.backward_need(s, self.q_width(), true));
        }
        if let Some(norm) = &self.k_norm {
            need = need.take::<f32>(kv).sub(norm.backward_need(s, self.kv_width(), true));
        }
        [&self.q, &self.k, &self.v].into_iter().fold(need, |need, l| need.sub(l.backward_need(s, dx)))
    }

    /// Bytes of scratch each thread needs in training, when the longest sequence has `longest` rows.
    pub fn train_scratch(&self, longest: usize) -> usize {
        attend_rows::scratch(&self.params, self.head_dim, longest)
            .max(self.q.train_scratch())
            .max(self.o.train_scratch())
    }

    fn rows_shape<'a>(&self, pass: &Pass<'a>) -> RowsShape<'a> {
        RowsShape { n_kv: self.n_kv, head_dim: self.head_dim, lens: pass.lens }
    }

    fn turn(&self, pass: &Pass, ropes: &[RopeRows], q: &mut [f32], k: &mut [f32]) -> Result<()> {
        let Some(index) = self.rope else { return Ok(()) };
        let Some(r) = ropes.get(index) else { fail!(Internal, "rotary embedding {index} is not there") };
        for x in [q, k] {
            rope(&pass.run.exec, r.style, x, self.head_dim, r.cos, r.sin, r.half)?;
        }
        Ok(())
    }

    /// y = attention(x), each row seeing its own sequence.
    pub fn forward_train(
        &self,
        pass: &Pass,
        frame: &mut Frame<'_>,
        x: &[f32],
        y: &mut [f32],
        cache: &mut [f32],
    ) -> Result<()> {
        let mut cache = Kept(cache);
        let rows = x.len() / self.q.w.cols.max(1);
        let (q_len, kv_len) = (rows * self.q_width(), rows * self.kv_width());
        let (q, out) = (cache.take(q_len), cache.take(q_len));
        let (k, v) = (cache.take(kv_len), cache.take(kv_len));
        self.v.forward_train(pass, frame, x, v)?;
        for (linear, norm, x_of) in [(&self.q, &self.q_norm, &mut *q), (&self.k, &self.k_norm, &mut *k)] {
            match norm {
                Some(norm) => {
                    let raw = cache.take(x_of.len());
                    linear.forward_train(pass, frame, x, raw)?;
                    norm.forward(&pass.run, raw, x_of)?;
                }
                None => linear.forward_train(pass, frame, x, x_of)?,
            }
        }
        self.turn(pass, pass.run.ropes, q, k)?;
        attend_rows::attend_rows(&pass.run.exec, &self.params, self.rows_shape(pass), (q, k, v), out)?;
        self.o.forward_train(pass, frame, out, y)
    }

    /// The gradients of the input and of the parameters.
    #[allow(clippy::too_many_arguments)] // as any layer's
    pub fn backward(
        &self,
        pass: &Pass,
        frame: &mut Frame<'_>,
        x: &[f32],
        dy: &[f32],
        mut dx: Option<&mut [f32]>,
        cache: &mut [f32],
        grads: &mut Grads,
    ) -> Result<()> {
        let (mut frame, mut cache) = (frame.sub(), Kept(cache));
        let rows = x.len() / self.q.w.cols.max(1);
        let (q_len, kv_len) = (rows * self.q_width(), rows * self.kv_width());
        let (q, out) = (cache.take(q_len), cache.take(q_len));
        let (k, v) = (cache.take(kv_len), cache.take(kv_len));
        let (mut d_out, mut dq) = (frame.take::<f32>(q_len)?, frame.take::<f32>(q_len)?);
        let (mut dk, dv) = (frame.take::<f32>(kv_len)?, frame.take::<f32>(kv_len)?);
        self.o.backward(pass, &mut frame, out, dy, Some(&mut *d_out), grads)?;
        let shape = self.rows_shape(pass);
        let into = (&mut *dq, &mut *dk, &mut *dv);
        attend_rows::attend_rows_backward(&pass.run.exec, &self.params, shape, (q, k, v), d_out, into)?;
        self.turn(pass, pass.back, dq, dk)?;
        if let Some(norm) = &self.q_norm {
            norm.backward(pass, &mut frame, cache.take(q_len), dq, Some(&mut *d_out), grads)?;
            std::mem::swap(&mut dq, &mut d_out);
        }
        if let Some(norm) = &self.k_norm {
            let other = frame.take::<f32>(kv_len)?;
            norm.backward(pass, &mut frame, cache.take(kv_len), dk, Some(&mut *other), grads)?;
            dk = other;
        }
        for (i, (linear, d)) in [(&self.q, &*dq), (&self.k, &*dk), (&self.v, &*dv)].into_iter().enumerate() {
            if let Some(dx) = &mut dx {
                linear.backward_input(pass, &mut frame, d, i > 0, dx)?;
            }
            linear.backward_params(pass, &mut frame, x, d, grads)?;
        }
        Ok(())
    }
}
