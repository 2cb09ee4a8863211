//! A mixture of experts: each row goes through the few feed-forward networks its router chooses
//! (Shazeer et al., arXiv 1701.06538).

use super::{Ffn, FfnKind, Linear, Run, Weight};
use crate::error::{Result, fail};
use crate::memory::{Frame, Need};
use crate::ops::activation::Activation;
use crate::ops::matmul::{Input, Product, matmul};
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

    /// Bytes the forward pass takes for `rows` rows of `width`.
    pub fn need(&self, rows: usize, width: usize) -> Need {
        let wide = rows.saturating_mul(width);
        let expert = self.expert(0).map(|e| e.need(rows)).unwrap_or_default();
        let mut need = Need::new()
            .take::<f32>(rows.saturating_mul(self.count))
            .take::<u32>(rows.saturating_mul(self.used))
            .take::<f32>(rows.saturating_mul(self.used))
            .take::<f32>(wide)
            .take::<f32>(wide)
            .sub(self.router.need(rows))
            .sub(expert);
        if let Some((ffn, gate)) = &self.shared {
            let quantized = self.shared_quantized();
            need = need.sub(ffn.need(rows));
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
        let chosen = frame.take::<u32>(rows * self.used)?;
        let weights = frame.take::<f32>(rows * self.used)?;
        let gathered = frame.take::<f32>(rows * width)?;
        let result = frame.take::<f32>(rows * width)?;
        self.router.forward(run, &mut frame, x, scores)?;
        for (row, scores) in scores.chunks_exact_mut(self.count).enumerate() {
            k.softmax(scores);
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
        frame.claim(self.expert(0)?.need(rows))?;
        for index in 0..self.count {
            let served = || chosen.iter().enumerate().filter(|c| *c.1 as usize == index).map(|c| c.0);
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
    fn choose(&self, scores: &[f32], chosen: &mut [u32], weights: &mut [f32]) -> Result<()> {
        for i in 0..self.used {
            let (before, _) = chosen.split_at(i);
            let free = scores.iter().enumerate().filter(|(e, _)| !before.contains(&(*e as u32)));
            let best = free.fold(None, |best: Option<(usize, f32)>, (e, &s)| match best {
                Some((_, b)) if b >= s => best,
                _ => Some((e, s)),
            });
            let Some((expert, score)) = best else { fail!(Internal, "{} of {} experts", self.used, self.count) };
            chosen[i] = expert as u32;
            weights[i] = score;
        }
        if self.renormalize {
            // The floor keeps a row whose probabilities all vanish finite.
            let sum = weights.iter().sum::<f32>().max(6.103_515_6e-5);
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
        matmul(&run.exec, &input, [Product { w: run.store.matrix(&gate.w)?, bias: None, y: open }])?;
        for (y, open) in y.chunks_exact_mut(width).zip(open) {
            run.exec.kernels.scale(y, qorus_kernels::math::sigmoid(*open));
        }
        Ok(())
    }
}
