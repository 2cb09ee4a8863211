//! Losses and their gradients.

use super::map::{map, zip};
use super::norm::each;
use super::{Lanes, Simd, math, reduce};
use crate::loss::{Logits, RowLoss, Target, Weighting, shares};

/// The sum of `(p - t)^2`.
#[inline(always)]
pub fn mse<S: Simd>(s: S, p: &[f32], t: &[f32]) -> f32 {
    reduce::sum_of(
        s,
        p,
        t,
        0.0,
        #[inline(always)]
        |p, t, sum| {
            let d = s.sub(p, t);
            s.mul_add(d, d, sum)
        },
    )
}

/// `g = (p - t) * scale`.
#[inline(always)]
pub fn mse_grad<S: Simd>(s: S, p: &[f32], t: &[f32], scale: f32, g: &mut [f32]) {
    let scale = s.splat(scale);
    each(
        s,
        p,
        t,
        t,
        g,
        #[inline(always)]
        |p, t, _| s.mul(s.sub(p, t), scale),
    );
}

/// The cross-entropy of one row.
#[inline(always)]
pub fn cross_entropy<S: Simd>(s: S, logits: Logits, target: Target, weighting: &Weighting) -> RowLoss {
    let x = logits.read();
    let max = reduce::max(s, x);
    let max_v = s.splat(max);
    let (share, even) = shares(weighting.smoothing, x.len());
    let (total, at, hit) = match target {
        Target::Class(class) => (1.0, share * (x[class] - max), x[class] == max),
        Target::Distribution(t) => {
            let at = reduce::sum_of(
                s,
                t,
                x,
                max,
                #[inline(always)]
                |t, x, sum| s.mul_add(t, s.sub(x, max_v), sum),
            );
            (share.mul_add(reduce::sum(s, t), weighting.smoothing), share * at, false)
        }
    };
    let at = if weighting.smoothing > 0.0 {
        let sum = reduce::sum_map(
            s,
            x,
            max,
            #[inline(always)]
            |x| s.sub(x, max_v),
        );
        sum.mul_add(even, at)
    } else {
        at
    };
    let (sum, g) = match logits {
        Logits::Read(x) => (exp_sum(s, x, max_v), None),
        Logits::InPlace(g) => (exp_in_place(s, g, max_v), Some(g)),
        Logits::To(x, g) => (exp_to(s, x, g, max_v), Some(g)),
    };
    let loss = total.mul_add(crate::real::Real::ln(sum), -at);
    let Some(g) = g else { return RowLoss { loss, hit } };
    let factor = s.splat(weighting.scale * total / sum);
    let (share, even) = (weighting.scale * share, s.splat(weighting.scale * even));
    match target {
        Target::Class(class) => {
            map(
                s,
                g,
                #[inline(always)]
                |g| s.mul_add(g, factor, s.neg(even)),
            );
            g[class] -= share;
        }
        Target::Distribution(t) => {
            let share = s.splat(share);
            zip(
                s,
                g,
                t,
                #[inline(always)]
                |g, t| s.mul_add(g, factor, s.neg(s.mul_add(t, share, even))),
            );
        }
    }
    RowLoss { loss, hit }
}

/// The sum of `exp(x - max)`.
#[inline(always)]
fn exp_sum<S: Simd>(s: S, x: &[f32], max: S::V) -> f32 {
    let mut lanes = [s.splat(0.0); 2];
    let (chunks, tail) = x.as_chunks::<16>();
    for chunk in chunks {
        ask(s, chunk, x.len());
        exp16(s, *chunk, &mut [0.0; 16], &mut lanes, max);
    }
    if !tail.is_empty() {
        exp16(s, completed(tail), &mut [0.0; 16], &mut lanes, max);
    }
    s.sum(lanes)
}

/// Asks for the same part of the next row, which as a rule lies behind this one: its greatest element is looked for next, with nothing else
/// to do meanwhile.
#[inline(always)]
fn ask<S: Simd>(s: S, chunk: &[f32; 16], len: usize) {
    s.prefetch(chunk.as_ptr().wrapping_add(len));
}

/// `x = exp(x - max)`, and the sum.
#[inline(always)]
fn exp_in_place<S: Simd>(s: S, x: &mut [f32], max: S::V) -> f32 {
    let mut lanes = [s.splat(0.0); 2];
    let len = x.len();
    let (chunks, tail) = x.as_chunks_mut::<16>();
    for x in chunks {
        ask(s, x, len);
        exp16(s, *x, x, &mut lanes, max);
    }
    if !tail.is_empty() {
        let mut y = [0.0; 16];
        exp16(s, completed(tail), &mut y, &mut lanes, max);
        tail.copy_from_slice(&y[..tail.len()]);
    }
    s.sum(lanes)
}

/// The same from one slice to another.
#[inline(always)]
fn exp_to<S: Simd>(s: S, x: &[f32], y: &mut [f32], max: S::V) -> f32 {
    assert_eq!(x.len(), y.len());
    let mut lanes = [s.splat(0.0); 2];
    let len = x.len();
    let ((x, x_tail), (y, y_tail)) = (x.as_chunks::<16>(), y.as_chunks_mut::<16>());
    for (x, y) in x.iter().zip(y) {
        ask(s, x, len);
        exp16(s, *x, y, &mut lanes, max);
    }
    if !x_tail.is_empty() {
        let mut y = [0.0; 16];
        exp16(s, completed(x_tail), &mut y, &mut lanes, max);
        y_tail.copy_from_slice(&y[..y_tail.len()]);
    }
    s.sum(lanes)
}

#[inline(always)]
fn exp16<S: Simd>(s: S, x: [f32; 16], y: &mut [f32; 16], lanes: &mut Lanes<S>, max: S::V) {
    for part in 0..S::PARTS {
        let v = math::decay(s, s.sub(s.load(&x, part), max));
        lanes[part] = s.add(v, lanes[part]);
        s.store(y, part, v);
    }
}

/// Fewer than sixteen elements, and behind them what becomes 0.
#[inline(always)]
fn completed(tail: &[f32]) -> [f32; 16] {
    let mut x = [f32::NEG_INFINITY; 16];
    x[..tail.len()].copy_from_slice(tail);
    x
}
