//! Attention of a few query heads over one block of positions.
//!
//! Up to four heads go together, so that each key and value is read and converted once for them; their
//! sums stay in registers. A head's own sums never depend on its company.

use super::map::{map, padded, zip};
use super::softmax::exp_less_max;
use super::stored::{Stored, tail};
use super::{Simd, math};
use crate::attend::{ATTEND_BLOCK, AttendBlock};
use crate::order;

/// The block's own greatest score, sum and weighted values for each head, merged into the running ones.
#[inline(always)]
pub fn attend<S: Simd, T: Stored>(s: S, b: &mut AttendBlock) {
    if b.len == 0 {
        return;
    }
    let heads = b.max.len();
    for head in (0..heads).step_by(4) {
        let company = (heads - head).min(4);
        scores::<S, T>(s, b, head, company);
        let mut joins = [Join::First; 4];
        for h in 0..company {
            joins[h] = weights(s, b, head + h);
        }
        values::<S, T>(s, b, head, company, &joins);
    }
}

/// The scores of the heads from `head` on, four dot products at a time: as many positions as the heads leave
/// room for.
#[inline(always)]
fn scores<S: Simd, T: Stored>(s: S, b: &mut AttendBlock, head: usize, company: usize) {
    if !b.head_dim.is_multiple_of(16) {
        for h in head..head + company {
            for j in 0..b.len {
                odd_score::<S, T>(s, b, h, j);
            }
        }
        return;
    }
    let mut j = 0;
    match company {
        4 => (0..b.len).for_each(
            #[inline(always)]
            |j| dots::<S, T, 4, 1>(s, b, head, j),
        ),
        3 => (0..b.len).for_each(
            #[inline(always)]
            |j| dots::<S, T, 3, 1>(s, b, head, j),
        ),
        2 => {
            while b.len - j >= 2 {
                dots::<S, T, 2, 2>(s, b, head, j);
                j += 2;
            }
            if j < b.len {
                dots::<S, T, 2, 1>(s, b, head, j);
            }
        }
        _ => {
            while b.len - j >= 4 {
                dots::<S, T, 1, 4>(s, b, head, j);
                j += 4;
            }
            while j < b.len {
                dots::<S, T, 1, 1>(s, b, head, j);
                j += 1;
            }
        }
    }
}

/// Dot products of `H` heads from `head` on with the keys of `P` positions from `j` on; at most four. The
/// heads' elements are whole sixteens.
#[inline(always)]
fn dots<S: Simd, T: Stored, const H: usize, const P: usize>(s: S, b: &mut AttendBlock, head: usize, j: usize) {
    let dim = b.head_dim;
    let q = &b.q[head * dim..][..H * dim];
    let keys = &b.k[j * b.k_stride..];
    let mut lanes = [[s.splat(0.0); 2]; 4];
    for chunk in 0..dim / 16 {
        for part in 0..S::PARTS {
            for p in 0..P {
                // SAFETY: `AttendBlock::check` found every position's key inside `k`.
                let k = unsafe { T::load(s, keys.as_ptr().add(p * b.k_stride), chunk, part) };
                for h in 0..H {
                    // SAFETY: head h lies inside `q`, and holds `dim` elements.
                    let q = s.load(unsafe { &*q.as_ptr().add(h * dim + 16 * chunk).cast() }, part);
                    lanes[h * P + p][part] = s.mul_add(k, q, lanes[h * P + p][part]);
                }
            }
        }
    }
    let sums = s.sum4(&lanes);
    for h in 0..H {
        b.scores[(head + h) * ATTEND_BLOCK + j..][..P].copy_from_slice(&sums[h * P..][..P]);
    }
}

/// The dot product of one head with one key, of any length.
#[inline(always)]
fn odd_score<S: Simd, T: Stored>(s: S, b: &mut AttendBlock, head: usize, j: usize) {
    let q = &b.q[head * b.head_dim..][..b.head_dim];
    let key = &b.k[j * b.k_stride..];
    let (q16, q_tail) = q.as_chunks::<16>();
    let mut lanes = [s.splat(0.0); 2];
    for (chunk, q) in q16.iter().enumerate() {
        for part in 0..S::PARTS {
            // SAFETY: `AttendBlock::check` found the key inside `k`.
            let k = unsafe { T::load(s, key.as_ptr(), chunk, part) };
            lanes[part] = s.mul_add(k, s.load(q, part), lanes[part]);
        }
    }
    let (q, k) = (padded(q_tail), tail::<T>(key, b.head_dim));
    for part in 0..S::PARTS {
        lanes[part] = s.mul_add(s.load(&k, part), s.load(&q, part), lanes[part]);
    }
    b.scores[head * ATTEND_BLOCK + j] = s.sum(lanes);
}

/// Makes a head's scores weights, and merges their greatest and their sum into the running ones.
#[inline(always)]
fn weights<S: Simd>(s: S, b: &mut AttendBlock, head: usize) -> Join {
    let scores = &mut b.scores[head * ATTEND_BLOCK..][..b.len];
    let (scale, cap) = (s.splat(b.scale), s.splat(b.softcap));
    map(
        s,
        scores,
        #[inline(always)]
        |x| s.mul(x, scale),
    );
    if b.softcap != 0.0 {
        map(
            s,
            scores,
            #[inline(always)]
            |x| s.mul(cap, math::tanh(s, s.div(x, cap))),
        );
    }
    let (max, sum) = exp_less_max(s, scores);
    merge_sums(&mut b.max[head], &mut b.sum[head], max, sum)
}

/// How a head's block joins what came before it.
#[derive(Clone, Copy)]
enum Join {
    /// Nothing came before.
    First,
    /// The factors of the older sum and of the block's.
    Weighted(f32, f32),
}

/// The weighted values of the heads from `head` on. Eight registers of sums at a time: as many along the
/// values as the heads leave room for.
#[inline(always)]
fn values<S: Simd, T: Stored>(s: S, b: &mut AttendBlock, head: usize, company: usize, joins: &[Join; 4]) {
    let registers = b.head_dim / 16 * S::PARTS;
    let mut first = 0;
    macro_rules! strips {
        ($h:literal, $n:literal) => {
            while registers - first >= $n {
                strip::<S, T, $h, $n>(s, b, head, first, joins);
                first += $n;
            }
        };
    }
    match company {
        4 => {
            strips!(4, 2);
            strips!(4, 1);
        }
        3 => {
            strips!(3, 2);
            strips!(3, 1);
        }
        2 => {
            strips!(2, 4);
            strips!(2, 1);
        }
        _ => {
            strips!(1, 8);
            strips!(1, 4);
            strips!(1, 1);
        }
    }
    for h in 0..company {
        for i in b.head_dim / 16 * 16..b.head_dim {
            let mut part = 0.0;
            for (j, p) in b.scores[(head + h) * ATTEND_BLOCK..][..b.len].iter().enumerate() {
                part = p.mul_add(T::get(&b.v[j * b.v_stride..], i), part);
            }
            let out = &mut b.out[(head + h) * b.head_dim + i];
            *out = match joins[h] {
                Join::First => part,
                Join::Weighted(old, new) => out.mul_add(old, part * new),
            };
        }
    }
}

/// `N` registers of the weighted values, from the one numbered `first` on, of `H` heads from `head` on.
#[inline(always)]
fn strip<S: Simd, T: Stored, const H: usize, const N: usize>(
    s: S,
    b: &mut AttendBlock,
    head: usize,
    first: usize,
    joins: &[Join; 4],
) {
    let weights = &b.scores[head * ATTEND_BLOCK..][..H * ATTEND_BLOCK];
    let mut sums = [[s.splat(0.0); N]; H];
    for j in 0..b.len {
        let mut v = [s.splat(0.0); N];
        for n in 0..N {
            let (chunk, part) = ((first + n) / S::PARTS, (first + n) % S::PARTS);
            // SAFETY: `AttendBlock::check` found every position's value inside `v`.
            v[n] = unsafe { T::load(s, b.v.as_ptr().add(j * b.v_stride), chunk, part) };
        }
        for h in 0..H {
            let p = s.splat(weights[h * ATTEND_BLOCK + j]);
            for n in 0..N {
                sums[h][n] = s.mul_add(p, v[n], sums[h][n]);
            }
        }
    }
    for h in 0..H {
        let out = b.out[(head + h) * b.head_dim..][..b.head_dim].as_chunks_mut::<16>().0;
        for n in 0..N {
            let (chunk, part) = ((first + n) / S::PARTS, (first + n) % S::PARTS);
            join(s, &mut out[chunk], part, sums[h][n], joins[h]);
        }
    }
}

#[inline(always)]
fn join<S: Simd>(s: S, out: &mut [f32; 16], part: usize, sum: S::V, join: Join) {
    let out_v = match join {
        Join::First => sum,
        Join::Weighted(old, new) => s.mul_add(s.load(out, part), s.splat(old), s.mul(sum, s.splat(new))),
    };
    s.store(out, part, out_v);
}

/// Merges a later greatest score and sum into the running ones.
#[inline(always)]
fn merge_sums(max: &mut f32, sum: &mut f32, max2: f32, sum2: f32) -> Join {
    if *max == f32::NEG_INFINITY {
        (*max, *sum) = (max2, sum2);
        return Join::First;
    }
    let top = order::greater(*max, max2);
    let (old, new) = (crate::math::exp(*max - top), crate::math::exp(max2 - top));
    *max = top;
    *sum = sum.mul_add(old, sum2 * new);
    Join::Weighted(old, new)
}

/// Merges a later state into an earlier one, head by head.
#[inline(always)]
pub fn attend_merge<S: Simd>(
    s: S,
    max: &mut [f32],
    sum: &mut [f32],
    out: &mut [f32],
    max2: &[f32],
    sum2: &[f32],
    out2: &[f32],
) {
    let dim = out.len() / max.len().max(1);
    for head in 0..max.len() {
        let (out, out2) = (&mut out[head * dim..][..dim], &out2[head * dim..][..dim]);
        match merge_sums(&mut max[head], &mut sum[head], max2[head], sum2[head]) {
            Join::First => out.copy_from_slice(out2),
            Join::Weighted(old, new) => {
                let (old, new) = (s.splat(old), s.splat(new));
                zip(
                    s,
                    out,
                    out2,
                    #[inline(always)]
                    |a, b| s.mul_add(a, old, s.mul(b, new)),
                );
            }
        }
    }
}
