//! Attention of query vectors over one block of positions.

use super::stored::{Cached, F16, F32, Q4_0, Q8_0};
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

/// The block's own greatest score, sum and weighted values for each query, merged into the running ones.
/// A score goes from the first element to the last, keys being read as f32; the sum of the values goes from
/// the first position that is seen to the last; the sum of the weights is in the order of [`order`], over
/// the whole block with zeros where nothing is seen.
fn attend<T: Cached>(b: &mut AttendBlock) {
    let (dim, heads) = (b.head_dim, b.heads());
    let Some(row_bytes) = b.keys.len().checked_div(ATTEND_BLOCK) else { return };
    for query in 0..b.max.len() {
        let [from, to] = b.seen[query / heads].map(usize::from);
        if from == to {
            continue;
        }
        let q = &b.q[query * dim..][..dim];
        let mut weights = [0.0; ATTEND_BLOCK];
        let scores = &mut weights[from..to];
        for (s, j) in scores.iter_mut().zip(from..) {
            let dot = q.iter().enumerate().fold(0.0, |sum, (d, q)| q.mul_add(T::key(b.keys, d, j), sum));
            *s = dot * b.scale;
            if b.softcap != 0.0 {
                *s = b.softcap * math::tanh(*s / b.softcap);
            }
        }
        let max = order::max(scores);
        scores.iter_mut().for_each(|s| *s = math::decay(*s - max));
        let sum = order::sum(&weights);
        let part = &mut b.scratch[..dim];
        for (i, part) in part.iter_mut().enumerate() {
            let value = |j: usize| T::get(&b.values[j * row_bytes..], i);
            *part = (from..to).fold(0.0, |sum, j| weights[j].mul_add(value(j), sum));
        }
        let out = &mut b.out[query * dim..][..dim];
        merge(&mut b.max[query], &mut b.sum[query], out, max, sum, part);
    }
}

/// Merges a later state into an earlier one, query by query: what [`attend`] does with its block. Only the
/// running maximum is read while it is negative infinity.
fn attend_merge(max: &mut [f32], sum: &mut [f32], out: &mut [f32], max2: &[f32], sum2: &[f32], out2: &[f32]) {
    let dim = out.len() / max.len().max(1);
    for query in 0..max.len() {
        let (out, out2) = (&mut out[query * dim..][..dim], &out2[query * dim..][..dim]);
        merge(&mut max[query], &mut sum[query], out, max2[query], sum2[query], out2);
    }
}

fn merge(max: &mut f32, sum: &mut f32, out: &mut [f32], max2: f32, sum2: f32, part: &[f32]) {
    if *max == f32::NEG_INFINITY {
        (*max, *sum) = (max2, sum2);
        out.copy_from_slice(part);
        return;
    }
    let top = order::greater(*max, max2);
    let (old, new) = (math::decay(*max - top), math::decay(max2 - top));
    *max = top;
    *sum = sum.mul_add(old, sum2 * new);
    for (out, part) in out.iter_mut().zip(part) {
        *out = out.mul_add(old, *part * new);
    }
}
