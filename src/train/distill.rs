//! Distillation on a teacher's top logits (arXiv 1503.02531): for each row that counts
//! `share T^2 KL(p || q_T) + (1 - share) CE(target)`, where `p` is the softmax of the teacher's top logits over T, `q_T` that of the
//! student's logits over T.
//!
//! The teacher's tail beyond its top is taken for nothing: `p` adds up to 1 over the top.

use super::loss::Total;
use super::not_negative;
use super::pass::Counted;
use crate::error::{Result, fail};
use crate::memory::Frame;
use crate::ops::Exec;
use crate::threads::Shards;
use bytemuck::{Pod, Zeroable};
use qorus_kernels::loss::{Logits, Target, Weighting};

/// The most of a teacher's logits that are kept of a row.
pub const MAX_TOP: usize = 128;

/// One of a teacher's greatest logits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Top {
    /// The token.
    pub id: u32,
    /// Its logit.
    pub logit: f32,
}

/// How a student follows its teacher.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distill {
    /// By which both's logits are divided, above 0.
    pub temperature: f32,
    /// The teacher's share of the loss, from 0 to 1; the rest is the target's.
    pub share: f32,
    /// Logits of a row that the teacher gives, greatest first.
    pub top: usize,
}

impl Distill {
    /// `InvalidArgument` for numbers out of range.
    pub fn check(&self) -> Result<()> {
        not_negative("the temperature", self.temperature.into())?;
        if self.temperature == 0.0 || !(0.0..=1.0).contains(&self.share) || !(1..=MAX_TOP).contains(&self.top) {
            fail!(
                InvalidArgument,
                "distillation at temperature {}, share {}, of {} logits: give a temperature above 0, a share from 0 to 1 and 1 to \
                 {MAX_TOP} logits",
                self.temperature,
                self.share,
                self.top
            );
        }
        Ok(())
    }

    /// Whether the gradients of target and teacher come from two softmaxes, so that one needs a place apart.
    pub fn needs_place(&self) -> bool {
        self.temperature != 1.0 && self.share < 1.0
    }

    /// Adds the losses of rows to `total`, and where `scale` is given puts gradients times it in the place of the logits. `top` are
    /// the teacher's of all rows of the pass, `[rows][top]`, checked to be tokens; `apart` has room for the logits again where
    /// [`Distill::needs_place`]. A row's hit is that student and teacher have one favourite.
    pub fn rows(
        &self,
        exec: &Exec,
        frame: &mut Frame,
        (logits, apart): (&mut [f32], &mut [f32]),
        (Counted { targets, origins }, top): (Counted, &[Top]),
        scale: Option<f64>,
        total: &mut Total,
    ) -> Result<()> {
        let (rows, n) = (targets.len(), logits.len() / targets.len().max(1));
        let places = if self.needs_place() { logits.len() } else { 0 };
        if logits.len() != rows * n || origins.len() != rows || apart.len() < places {
            fail!(
                Shape,
                "{} logits for {rows} targets of {} rows, with room for {}",
                logits.len(),
                origins.len(),
                apart.len()
            );
        }
        let mut frame = frame.sub();
        let (losses, hits) = (frame.take::<f32>(rows)?, frame.take::<u8>(rows)?);
        let (losses_by, hits_by) = (Shards::new(losses), Shards::new(hits));
        let (logits, apart) = (Shards::new(logits), Shards::new(apart));
        exec.pool.split(rows, 1, |part| {
            for row in part {
                // SAFETY: each row is one thread's.
                let (x, loss, hit) = unsafe {
                    (logits.part(row * n..(row + 1) * n), losses_by.part(row..row + 1), hits_by.part(row..row + 1))
                };
                let place: &mut [f32] = match places {
                    0 => &mut [],
                    // SAFETY: each row is one thread's.
                    _ => unsafe { apart.part(row * n..(row + 1) * n) },
                };
                let top = &top[origins[row] as usize * self.top..][..self.top];
                let of_row = self.row(exec, (x, place), targets[row] as usize, top, scale.unwrap_or(0.0));
                (loss[0], hit[0]) = (of_row.0, u8::from(of_row.1));
            }
        })?;
        losses.iter().for_each(|loss| total.loss += f64::from(*loss));
        total.hits += hits.iter().filter(|hit| **hit != 0).count();
        total.rows += rows;
        total.weight += rows as f64;
        Ok(())
    }

    fn row(
        &self,
        exec: &Exec,
        (x, place): (&mut [f32], &mut [f32]),
        target: usize,
        top: &[Top],
        scale: f64,
    ) -> (f32, bool) {
        let (t, share) = (self.temperature, self.share);
        let (mut loss, even) = (0.0, |scale| Weighting { smoothing: 0.0, scale });
        if !place.is_empty() {
            let hard = even((scale * f64::from(1.0 - share)) as f32);
            let of_target = exec.kernels.cross_entropy(Logits::To(x, place), Target::Class(target), &hard).loss;
            loss += f64::from(1.0 - share) * f64::from(of_target);
        }
        if t != 1.0 {
            exec.kernels.scale(x, 1.0 / t);
        }
        // The student's logits of the top and of the target, before the softmax takes their place.
        let (mut mine, mut p) = ([0.0f64; MAX_TOP], [0.0f64; MAX_TOP]);
        let most = top.iter().fold(f64::MIN, |m, top| m.max(f64::from(top.logit / t)));
        for ((mine, p), top) in mine.iter_mut().zip(&mut p).zip(top) {
            *mine = f64::from(x[top.id as usize]);
            *p = (f64::from(top.logit / t) - most).exp();
        }
        let sum: f64 = p.iter().sum();
        let (favourite, of_target) = (top[0].id as usize, f64::from(x[target]));
        let first = exec.kernels.cross_entropy(Logits::InPlace(x), Target::Class(favourite), &even(1.0));
        x[favourite] += 1.0;
        // log q of any token, from that of the favourite.
        let log_q = |logit: f64| logit - mine[0] - f64::from(first.loss);
        let square = f64::from(share * t * t);
        for (p, mine) in p.iter_mut().zip(mine).take(top.len()) {
            *p /= sum;
            if *p > 0.0 {
                loss += square * *p * (p.ln() - log_q(mine));
            }
        }
        // d/dx of T^2 KL is T (q - p).
        let one = place.is_empty() && share < 1.0;
        exec.kernels.scale(x, (scale * if one { 1.0 } else { f64::from(share * t) }) as f32);
        for (p, top) in p.iter().zip(top) {
            x[top.id as usize] -= (scale * f64::from(share * t) * p) as f32;
        }
        if one {
            loss -= f64::from(1.0 - share) * log_q(of_target);
            x[target] -= (scale * f64::from(1.0 - share)) as f32;
        } else if !place.is_empty() {
            exec.kernels.add(x, place);
        }
        (loss as f32, first.hit)
    }
}
