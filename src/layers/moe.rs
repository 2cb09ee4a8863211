//! A mixture of experts: each row goes through the few feed-forward networks its router chooses
//! (Shazeer et al., arXiv 1701.06538).

#[cfg(feature = "train")]
use super::grads::Grads;
#[cfg(feature = "train")]
use super::keep::{Kept, kept};
#[cfg(feature = "train")]
use super::train::{Pass, PassSizes};
#[cfg(feature = "train")]
use super::trained::Param;
use super::{Ffn, FfnKind, Linear, Run, Sizes, Weight};
use crate::error::{Result, fail};
use crate::memory::{Frame, Need};
use crate::ops::activation::Activation;
use crate::ops::matmul::{Input, Product, matmul};
use bytemuck::{Pod, Zeroable};
use std::ops::Range;

/// `used` of `count` gated networks for each row, and perhaps one that serves every row.
#[derive(Clone, Copy, Debug)]
pub struct Moe {
    /// Scores of the experts: `[count][width]`.
    pub router: Linear,
    /// Number of experts.
    pub count: usize,
    /// Experts that serve a row.
    pub used: usize,
    /// Whether the weights of the chosen experts are scaled to a sum of 1.
    pub renormalize: bool,
    /// Activation of the experts.
    pub act: Activation,
    /// All experts' gates, one after another: `[count * hidden][width]`.
    pub gate: Weight,
    /// Likewise.
    pub up: Weight,
    /// `[count * width][hidden]`
    pub down: Weight,
    /// The network that serves every row, weighted by the sigmoid of its own gate where it has one.
    pub shared: Option<(Ffn, Option<Linear>)>,
}

/// A chosen expert's number, as the upper half of a normal f32: rounding to bf16, as a training pass may do with what it keeps, changes
/// nothing of it.
#[derive(Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(transparent)]
struct Chosen(u32);

impl Chosen {
    fn new(expert: usize) -> Chosen {
        Chosen((expert as u32 + 0x80) << 16)
    }

    fn expert(self) -> usize {
        (self.0 >> 16) as usize - 0x80
    }
}

/// Keeps a row finite whose chosen probabilities all vanish.
const LEAST_SUM: f32 = 6.103_515_6e-5;

impl Moe {
    fn expert(&self, index: usize) -> Result<Ffn> {
        let part = |w: &Weight| -> Result<Linear> {
            let rows = w.rows / self.count.max(1);
            Ok(Linear { w: w.part(index * rows..(index + 1) * rows)?, bias: None })
        };
        let kind = FfnKind::Gated(part(&self.gate)?);
        Ok(Ffn { kind, act: self.act, up: part(&self.up)?, down: part(&self.down)? })
    }

    fn shared_quantized(&self) -> bool {
        matches!(&self.shared, Some((_, Some(gate))) if gate.w.ty.is_quantized())
    }

    /// As [`Layer::products`](super::Layer::products): without the router, and without the gate of the shared network.
    pub fn products(&self, f: &mut dyn FnMut(&Weight, usize)) {
        [&self.gate, &self.up, &self.down].into_iter().for_each(|w| f(w, self.count));
        if let Some((ffn, _)) = &self.shared {
            ffn.products(f);
        }
    }

    /// Bytes the forward pass takes for rows of `width`.
    pub fn need(&self, s: Sizes, width: usize) -> Need {
        let rows = s.rows;
        let wide = rows.saturating_mul(width);
        let expert = self.expert(0).map(|e| e.need(s)).unwrap_or_default();
        let mut need = Need::new()
            .take::<f32>(rows.saturating_mul(self.count))
            .take::<Chosen>(rows.saturating_mul(self.used))
            .take::<f32>(rows.saturating_mul(self.used))
            .take::<f32>(wide)
            .take::<f32>(wide)
            .sub(self.router.need(Sizes { rank: 0, ..s }))
            .sub(expert);
        if let Some((ffn, gate)) = &self.shared {
            let quantized = self.shared_quantized();
            need = need.sub(ffn.need(s));
            if gate.is_some() {
                need = need.sub(Input::need(Need::new().take::<f32>(rows), rows, width, quantized));
            }
        }
        need
    }

    /// Bytes of scratch each thread needs.
    pub fn scratch(&self) -> usize {
        let shared = self.shared.as_ref().map_or(0, |(ffn, _)| ffn.scratch());
        self.router.scratch().max(self.expert(0).map_or(0, |e| e.scratch())).max(shared)
    }

    /// y = sum over the chosen experts of weight * expert(x), plus the shared network; rows of `width`.
    /// Experts are added in the order of their numbers, whatever rows share the batch.
    pub fn forward(&self, run: &Run, frame: &mut Frame<'_>, x: &[f32], width: usize, y: &mut [f32]) -> Result<()> {
        let mut frame = frame.sub();
        let (rows, k) = (x.len() / width.max(1), run.exec.kernels);
        let scores = frame.take::<f32>(rows * self.count)?;
        let chosen = frame.take::<Chosen>(rows * self.used)?;
        let weights = frame.take::<f32>(rows * self.used)?;
        let gathered = frame.take::<f32>(rows * width)?;
        let result = frame.take::<f32>(rows * width)?;
        self.router.forward(run, &mut frame, x, scores)?;
        for (row, scores) in scores.chunks_exact_mut(self.count).enumerate() {
            k.softmax(scores, 1.0);
            let part = row * self.used..(row + 1) * self.used;
            self.choose(scores, &mut chosen[part.clone()], &mut weights[part])?;
        }
        match &self.shared {
            Some((ffn, gate)) => {
                ffn.forward(run, &mut frame, x, y)?;
                if let Some(gate) = gate {
                    self.weigh_shared(run, &mut frame, gate, x, width, y)?;
                }
            }
            None => y.fill(0.0),
        }
        let row = |range: usize| -> Range<usize> { range * width..(range + 1) * width };
        // All rows may choose the same expert.
        let s = Sizes { rows, rank: run.params.rank(), slots: &[] };
        frame.claim(self.expert(0)?.need(s))?;
        for index in 0..self.count {
            let served = || chosen.iter().enumerate().filter(|c| c.1.expert() == index).map(|c| c.0);
            let mut n = 0;
            for at in served() {
                gathered[row(n)].copy_from_slice(&x[row(at / self.used)]);
                n += 1;
            }
            if n == 0 {
                continue;
            }
            self.expert(index)?.forward(run, &mut frame, &gathered[..n * width], &mut result[..n * width])?;
            for (i, at) in served().enumerate() {
                k.axpy(&mut y[row(at / self.used)], weights[at], &result[row(i)]);
            }
        }
        Ok(())
    }

    /// The greatest `used` probabilities, the lower number first among equals.
    fn choose(&self, scores: &[f32], chosen: &mut [Chosen], weights: &mut [f32]) -> Result<()> {
        for i in 0..self.used {
            let (before, _) = chosen.split_at(i);
            let free = scores.iter().enumerate().filter(|(e, _)| !before.contains(&Chosen::new(*e)));
            let best = free.fold(None, |best: Option<(usize, f32)>, (e, &s)| match best {
                Some((_, b)) if b >= s => best,
                _ => Some((e, s)),
            });
            let Some((expert, score)) = best else { fail!(Internal, "{} of {} experts", self.used, self.count) };
            chosen[i] = Chosen::new(expert);
            weights[i] = score;
        }
        if self.renormalize {
            let sum = weights.iter().sum::<f32>().max(LEAST_SUM);
            weights.iter_mut().for_each(|w| *w /= sum);
        }
        Ok(())
    }

    fn weigh_shared(
        &self,
        run: &Run,
        frame: &mut Frame<'_>,
        gate: &Linear,
        x: &[f32],
        width: usize,
        y: &mut [f32],
    ) -> Result<()> {
        let mut frame = frame.sub();
        let open = frame.take::<f32>(x.len() / width.max(1))?;
        let input = Input::new(&run.exec, &mut frame, x, width, gate.w.ty.is_quantized())?;
        matmul(&run.exec, &input, [Product { w: run.params.matrix(&gate.w)?, bias: None, y: open }])?;
        for (y, open) in y.chunks_exact_mut(width).zip(open) {
            run.exec.kernels.scale(y, qorus_kernels::math::sigmoid(*open));
        }
        Ok(())
    }
}

/// The parts of the forward cache.
#[cfg(feature = "train")]
struct Routed<'a> {
    /// Probabilities `[rows][count]`.
    scores: &'a mut [f32],
    /// Experts of each row, `[rows][used]`.
    chosen: &'a mut [Chosen],
    /// Their weights.
    weights: &'a mut [f32],
    /// The rows that each expert serves, expert after expert, `[rows * used][width]`.
    gathered: &'a mut [f32],
    /// What it makes of them.
    results: &'a mut [f32],
    /// What the shared network makes of each row before it is weighted, and the weights before the sigmoid.
    shared: &'a mut [f32],
    open: &'a mut [f32],
    /// Of the shared network.
    shared_cache: &'a mut [f32],
    /// Of the experts, one after another.
    experts: &'a mut [f32],
}

#[cfg(feature = "train")]
impl Moe {
    /// Calls `f` with each parameter.
    pub fn params(&self, f: &mut dyn FnMut(Param)) {
        self.router.params(f);
        [self.gate, self.up, self.down].into_iter().for_each(|w| f(Param::Matrix(w)));
        if let Some((ffn, gate)) = &self.shared {
            ffn.params(f);
            gate.iter().for_each(|gate| gate.params(f));
        }
    }

    fn gated_shared(&self) -> bool {
        matches!(&self.shared, Some((_, Some(_))))
    }

    /// f32 elements of the cache's parts but the experts', and of those together.
    fn cache_lens(&self, rows: usize, width: usize) -> ([usize; 8], usize) {
        let served = rows.saturating_mul(self.used);
        let wide = served.saturating_mul(width);
        let (shared, open) = if self.gated_shared() { (rows.saturating_mul(width), rows) } else { (0, 0) };
        let shared_cache = self.shared.as_ref().map_or(0, |(ffn, _)| ffn.cache_len(rows));
        let parts = [rows.saturating_mul(self.count), served, served, wide, wide, shared, open, shared_cache];
        // However the rows fall on the experts, each begins its buffers on a cache line.
        let experts = self.expert(0).map_or(0, |e| e.cache_len(served));
        (parts, experts.saturating_add(self.count.saturating_mul(2 * 16)))
    }

    /// f32 elements of the forward cache.
    pub fn cache_len(&self, rows: usize, width: usize) -> usize {
        let (parts, experts) = self.cache_lens(rows, width);
        parts.into_iter().map(kept).fold(kept(experts), usize::saturating_add)
    }

    fn routed<'a>(&self, cache: &'a mut [f32], rows: usize, width: usize) -> Routed<'a> {
        let mut cache = Kept(cache);
        let (lens, experts) = self.cache_lens(rows, width);
        let [scores, chosen, weights, gathered, results, shared, open, shared_cache] = lens.map(|len| cache.take(len));
        let chosen = bytemuck::cast_slice_mut(chosen);
        let experts = cache.take(experts);
        Routed { scores, chosen, weights, gathered, results, shared, open, shared_cache, experts }
    }

    /// Bytes that [`Moe::forward_train`] takes.
    pub fn train_need(&self, s: PassSizes, _width: usize) -> Need {
        let need = Need::new().sub(self.router.train_need(s));
        let need = need.sub(self.expert(0).map(|e| e.train_need(s)).unwrap_or_default());
        match &self.shared {
            Some((ffn, gate)) => {
                let need = need.sub(ffn.train_need(s));
                gate.iter().fold(need, |need, gate| need.sub(gate.train_need(s)))
            }
            None => need,
        }
    }

    /// Bytes that [`Moe::backward`] takes.
    pub fn backward_need(&self, s: PassSizes, width: usize) -> Need {
        let wide = s.rows.saturating_mul(width);
        let mut need = Need::new()
            .take::<f32>(wide)
            .take::<f32>(s.rows.saturating_mul(self.count))
            .take::<f32>(wide)
            .take::<f32>(wide);
        need = need.sub(self.expert(0).map(|e| e.backward_need(s, true)).unwrap_or_default());
        need = need.sub(self.router.backward_need(s, true));
        if let Some((ffn, gate)) = &self.shared {
            need = need.sub(ffn.backward_need(s, true));
            need = gate
                .iter()
                .fold(need, |need, gate| need.sub(Need::new().take::<f32>(s.rows).sub(gate.backward_need(s, true))));
        }
        need
    }

    /// Bytes of scratch each thread needs in training.
    pub fn train_scratch(&self) -> usize {
        let shared = self.shared.as_ref().map_or(0, |(ffn, _)| ffn.train_scratch());
        self.router.train_scratch().max(self.expert(0).map_or(0, |e| e.train_scratch())).max(shared)
    }

    /// The rows' places in `chosen` that an expert serves.
    fn served(chosen: &[Chosen], index: usize) -> impl Iterator<Item = usize> {
        chosen.iter().enumerate().filter(move |c| c.1.expert() == index).map(|c| c.0)
    }

    /// As [`Moe::forward`].
    pub fn forward_train(
        &self,
        pass: &Pass,
        frame: &mut Frame<'_>,
        x: &[f32],
        width: usize,
        y: &mut [f32],
        cache: &mut [f32],
    ) -> Result<()> {
        let (rows, k) = (x.len() / width.max(1), pass.run.exec.kernels);
        let r = self.routed(cache, rows, width);
        self.router.forward_train(pass, frame, x, r.scores)?;
        for (row, scores) in r.scores.chunks_exact_mut(self.count).enumerate() {
            k.softmax(scores, 1.0);
            let part = row * self.used..(row + 1) * self.used;
            self.choose(scores, &mut r.chosen[part.clone()], &mut r.weights[part])?;
        }
        match &self.shared {
            Some((ffn, Some(gate))) => {
                ffn.forward_train(pass, frame, x, r.shared, r.shared_cache)?;
                gate.forward_train(pass, frame, x, r.open)?;
                y.copy_from_slice(r.shared);
                for (y, open) in y.chunks_exact_mut(width).zip(&*r.open) {
                    k.scale(y, qorus_kernels::math::sigmoid(*open));
                }
            }
            Some((ffn, None)) => ffn.forward_train(pass, frame, x, y, r.shared_cache)?,
            None => y.fill(0.0),
        }
        let row = |i: usize| i * width..(i + 1) * width;
        let (mut done, mut cache) = (0, Kept(r.experts));
        // All rows may choose the same expert.
        frame.claim(self.expert(0)?.train_need(pass.sizes(rows)))?;
        for index in 0..self.count {
            let first = done;
            for at in Self::served(r.chosen, index) {
                r.gathered[row(done)].copy_from_slice(&x[row(at / self.used)]);
                done += 1;
            }
            let part = first * width..done * width;
            if part.is_empty() {
                continue;
            }
            let (expert, results) = (self.expert(index)?, &mut r.results[part.clone()]);
            let own = cache.take(expert.cache_len(done - first));
            expert.forward_train(pass, frame, &r.gathered[part], results, own)?;
            for (i, at) in Self::served(r.chosen, index).enumerate() {
                k.axpy(&mut y[row(at / self.used)], r.weights[at], &results[row(i)]);
            }
        }
        Ok(())
    }

    /// The gradients of the input and of the parameters, through the weights of the chosen experts too; the choice itself has
    /// none.
    #[allow(clippy::too_many_arguments)] // as any layer's
    pub fn backward(
        &self,
        pass: &Pass,
        frame: &mut Frame<'_>,
        x: &[f32],
        width: usize,
        dy: &[f32],
        dx: Option<&mut [f32]>,
        cache: &mut [f32],
        grads: &mut Grads,
    ) -> Result<()> {
        let mut frame = frame.sub();
        let (rows, k) = (x.len() / width.max(1), pass.run.exec.kernels);
        let r = self.routed(cache, rows, width);
        let own_dx = frame.take::<f32>(rows * width)?;
        let d_scores = frame.take::<f32>(rows * self.count)?;
        let d_results = frame.take::<f32>(rows * width)?;
        let d_gathered = frame.take::<f32>(rows * width)?;
        own_dx.fill(0.0);
        d_scores.fill(0.0);
        let row = |i: usize| i * width..(i + 1) * width;
        let (mut first, mut cache) = (0, Kept(r.experts));
        frame.claim(self.expert(0)?.backward_need(pass.sizes(rows), true))?;
        for index in 0..self.count {
            let mut n = 0;
            for at in Self::served(r.chosen, index) {
                let (dy, result) = (&dy[row(at / self.used)], &r.results[row(first + n)]);
                // The gradient of the weight, in the place of the probability for now.
                d_scores[at / self.used * self.count + index] = k.dot(dy, result);
                d_results[row(n)].copy_from_slice(dy);
                k.scale(&mut d_results[row(n)], r.weights[at]);
                n += 1;
            }
            if n == 0 {
                continue;
            }
            let expert = self.expert(index)?;
            let own = cache.take(expert.cache_len(n));
            let gathered = &r.gathered[first * width..(first + n) * width];
            let into = &mut d_gathered[..n * width];
            expert.backward(pass, &mut frame, gathered, &d_results[..n * width], Some(into), own, grads)?;
            for (i, at) in Self::served(r.chosen, index).enumerate() {
                k.add(&mut own_dx[row(at / self.used)], &d_gathered[row(i)]);
            }
            first += n;
        }
        for (i, d) in d_scores.chunks_exact_mut(self.count).enumerate() {
            let part = i * self.used..(i + 1) * self.used;
            let scores = &r.scores[i * self.count..(i + 1) * self.count];
            self.choose_backward(scores, &r.chosen[part.clone()], &r.weights[part], d);
            k.softmax_backward(d, 1.0, scores);
        }
        self.router.backward_params(pass, &mut frame, x, d_scores, grads)?;
        self.router.backward_input(pass, &mut frame, d_scores, true, own_dx)?;
        if let Some((ffn, gate)) = &self.shared {
            d_results.copy_from_slice(dy);
            if let Some(gate) = gate {
                let mut frame = frame.sub();
                let d_open = frame.take::<f32>(rows)?;
                for (i, (d, open)) in d_open.iter_mut().zip(&*r.open).enumerate() {
                    let open = qorus_kernels::math::sigmoid(*open);
                    *d = k.dot(&dy[row(i)], &r.shared[row(i)]) * open * (1.0 - open);
                    k.scale(&mut d_results[row(i)], open);
                }
                gate.backward_params(pass, &mut frame, x, d_open, grads)?;
                gate.backward_input(pass, &mut frame, d_open, true, own_dx)?;
            }
            ffn.backward(pass, &mut frame, x, d_results, Some(&mut *d_gathered), r.shared_cache, grads)?;
            k.add(own_dx, d_gathered);
        }
        if let Some(dx) = dx {
            dx.copy_from_slice(own_dx);
        }
        Ok(())
    }

    /// The way back through [`Moe::choose`]: `d` holds the gradients of the chosen weights at their experts' places, zeros
    /// elsewhere, and then those of the probabilities.
    fn choose_backward(&self, scores: &[f32], chosen: &[Chosen], weights: &[f32], d: &mut [f32]) {
        if !self.renormalize {
            return;
        }
        let sum = chosen.iter().map(|e| scores[e.expert()]).sum::<f32>();
        let along = match sum > LEAST_SUM {
            true => chosen.iter().zip(weights).map(|(e, w)| d[e.expert()] * w).sum::<f32>(),
            false => 0.0,
        };
        for e in chosen {
            d[e.expert()] = (d[e.expert()] - along) / sum.max(LEAST_SUM);
        }
    }
}
