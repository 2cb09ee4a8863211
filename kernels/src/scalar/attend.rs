//! Attention of a few query heads over one block of positions.

use super::stored::{F16, F32, Q4_0, Q8_0, Stored};
use crate::attend::{ATTEND_BLOCK, AttendBlock};
use crate::table::{Entry, Func};
use crate::{Isa, Type, math, order};

/// The kernels of this file.
pub const ENTRIES: &[Entry] = &[
    Entry::new("attend", Type::F32, Isa::Scalar, Func::Attend(attend::<F32>)),
    Entry::new("attend", Type::F16, Isa::Scalar, Func::Attend(attend::<F16>)),
    Entry::new("attend", Type::Q8_0, Isa::Scalar, Func::Attend(attend::<Q8_0>)),
    Entry::new("attend", Type::Q4_0, Isa::Scalar, Func::Attend(attend::<Q4_0>)),
    Entry::new("attend_merge", Type::F32, Isa::Scalar, Func::AttendMerge(attend_merge)),
];

/// The block's own greatest score, sum and weighted values for each head, merged into the running ones.
/// Dot products and the sum of the weights are in the order of [`order`], keys being read as f32; the sum
/// of the values goes from the first position to the last.
fn attend<T: Stored>(b: &mut AttendBlock) {
    if b.len == 0 {
        return;
    }
    for head in 0..b.max.len() {
        let q = &b.q[head * b.head_dim..][..b.head_dim];
        let scores = &mut b.scores[head * ATTEND_BLOCK..][..b.len];
        for (j, s) in scores.iter_mut().enumerate() {
            let k = &b.k[j * b.k_stride..];
            *s = order::sum_products(q.len(), |i| (T::get(k, i), q[i])) * b.scale;
            if b.softcap != 0.0 {
                *s = b.softcap * math::tanh(*s / b.softcap);
            }
        }
        let max = order::max(scores);
        scores.iter_mut().for_each(|s| *s = math::exp(*s - max));
        let sum = order::sum(scores);
        let part = &mut b.part[..b.head_dim];
        for (i, part) in part.iter_mut().enumerate() {
            *part =
                scores.iter().enumerate().fold(0.0, |sum, (j, p)| p.mul_add(T::get(&b.v[j * b.v_stride..], i), sum));
        }
        let out = &mut b.out[head * b.head_dim..][..b.head_dim];
        merge(&mut b.max[head], &mut b.sum[head], out, max, sum, part);
    }
}

/// Merges a later state into an earlier one, head by head: what [`attend`] does with its block. Only the
/// running maximum is read while it is negative infinity.
fn attend_merge(max: &mut [f32], sum: &mut [f32], out: &mut [f32], max2: &[f32], sum2: &[f32], out2: &[f32]) {
    let dim = out.len() / max.len().max(1);
    for head in 0..max.len() {
        let (out, out2) = (&mut out[head * dim..][..dim], &out2[head * dim..][..dim]);
        merge(&mut max[head], &mut sum[head], out, max2[head], sum2[head], out2);
    }
}

fn merge(max: &mut f32, sum: &mut f32, out: &mut [f32], max2: f32, sum2: f32, part: &[f32]) {
    if *max == f32::NEG_INFINITY {
        (*max, *sum) = (max2, sum2);
        out.copy_from_slice(part);
        return;
    }
    let top = order::greater(*max, max2);
    let (old, new) = (math::exp(*max - top), math::exp(max2 - top));
    *max = top;
    *sum = sum.mul_add(old, sum2 * new);
    for (out, part) in out.iter_mut().zip(part) {
        *out = out.mul_add(old, *part * new);
    }
}
