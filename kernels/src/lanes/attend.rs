//! Attention of a few query heads over one block of positions.
//!
//! Up to four heads go together, so that each key and value is read and converted once for them; their
//! sums stay in registers. A head's own sums never depend on its company.

use super::map::{map, padded};
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
    let mut head = 0;
    while heads - head >= 4 {
        group::<S, T, 4>(s, b, head);
        head += 4;
    }
    match heads - head {
        3 => group::<S, T, 3>(s, b, head),
        2 => group::<S, T, 2>(s, b, head),
        1 => group::<S, T, 1>(s, b, head),
        _ => {}
    }
}

/// How a head's block joins what came before it.
#[derive(Clone, Copy)]
enum Join {
    /// Nothing came before.
    First,
    /// The factors of the older sum and of the block's.
    Weighted(f32, f32),
}

/// `H` heads from `head` on.
#[inline(always)]
fn group<S: Simd, T: Stored, const H: usize>(s: S, b: &mut AttendBlock, head: usize) {
    let mut j = 0;
    // Four dot products at a time: as many positions as the heads leave room for.
    if H == 1 {
        while b.len - j >= 4 {
            scores::<S, T, H, 4>(s, b, head, j);
            j += 4;
        }
    }
    if H <= 2 {
        while b.len - j >= 2 {
            scores::<S, T, H, 2>(s, b, head, j);
            j += 2;
        }
    }
    while j < b.len {
        scores::<S, T, H, 1>(s, b, head, j);
        j += 1;
    }

    let mut joins = [Join::First; H];
    for (h, join) in joins.iter_mut().enumerate() {
        let head = head + h;
        let scores = &mut b.scores[head * ATTEND_BLOCK..][..b.len];
        let (scale, cap) = (s.splat(b.scale), s.splat(b.softcap));
        if b.softcap == 0.0 {
            map(
                s,
                scores,
                #[inline(always)]
                |x| s.mul(x, scale),
            );
        } else {
            map(
                s,
                scores,
                #[inline(always)]
                |x| s.mul(cap, math::tanh(s, s.div(s.mul(x, scale), cap))),
            );
        }
        let (max, sum) = exp_less_max(s, scores);
        *join = merge_sums(&mut b.max[head], &mut b.sum[head], max, sum);
    }

    // Eight registers of sums: as many along the values as the heads leave room for.
    let registers = b.head_dim / 16 * S::PARTS;
    let mut v = 0;
    if H == 1 {
        while registers - v >= 8 {
            values::<S, T, H, 8>(s, b, head, v, &joins);
            v += 8;
        }
    }
    if H <= 2 {
        while registers - v >= 4 {
            values::<S, T, H, 4>(s, b, head, v, &joins);
            v += 4;
        }
    }
    while registers - v >= 2 {
        values::<S, T, H, 2>(s, b, head, v, &joins);
        v += 2;
    }
    if registers > v {
        values::<S, T, H, 1>(s, b, head, v, &joins);
    }
    for h in 0..H {
        let scores = &b.scores[(head + h) * ATTEND_BLOCK..][..b.len];
        for i in b.head_dim / 16 * 16..b.head_dim {
            let mut part = 0.0;
            for (j, p) in scores.iter().enumerate() {
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

/// Dot products of `H` heads from `head` on with the keys of `P` positions from `j` on; at most four.
#[inline(always)]
fn scores<S: Simd, T: Stored, const H: usize, const P: usize>(s: S, b: &mut AttendBlock, head: usize, j: usize) {
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
    if !dim.is_multiple_of(16) {
        for p in 0..P {
            let k = tail::<T>(&keys[p * b.k_stride..], dim);
            for h in 0..H {
                let q = padded(&q[h * dim..][dim / 16 * 16..dim]);
                for part in 0..S::PARTS {
                    lanes[h * P + p][part] = s.mul_add(s.load(&k, part), s.load(&q, part), lanes[h * P + p][part]);
                }
            }
        }
    }
    let sums = s.sum4(&lanes);
    for h in 0..H {
        b.scores[(head + h) * ATTEND_BLOCK + j..][..P].copy_from_slice(&sums[h * P..][..P]);
    }
}

/// `N` registers of the weighted values, from the one numbered `first` on, of `H` heads from `head` on.
#[inline(always)]
fn values<S: Simd, T: Stored, const H: usize, const N: usize>(
    s: S,
    b: &mut AttendBlock,
    head: usize,
    first: usize,
    joins: &[Join; H],
) {
    let weights = &b.scores[head * ATTEND_BLOCK..][..H * ATTEND_BLOCK];
    let place = |n: usize| ((first + n) / S::PARTS, (first + n) % S::PARTS);
    let mut sums = [[s.splat(0.0); N]; H];
    for j in 0..b.len {
        let mut v = [s.splat(0.0); N];
        for n in 0..N {
            let (chunk, part) = place(n);
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
            let (chunk, part) = place(n);
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
                super::map::zip(
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
