//! What a group of activations brings besides its integers.

use super::CHUNK;
use crate::act::ActQ8;
use crate::blocks::QuantBlock;

/// The numbers of one group of one row of activations, by halves; where halves share a scale the first holds all.
#[derive(Clone, Copy, Default)]
pub(super) struct GroupAct {
    /// Corrects the integer sum for the offset of the codes.
    pub start: [i32; 2],
    /// Scale times the sum of the integers, for the minimum.
    pub sum: [f32; 2],
    /// The scale.
    pub d: f32,
}

/// The groups `first..` of row `t`, as many as `out` is long.
#[inline(always)]
pub(super) fn prepare<B: QuantBlock>(x: &ActQ8, t: usize, first: usize, offset: i32, out: &mut [GroupAct]) {
    let (_, d, sums) = x.row(t);
    let (d, sums) = (&d[first..first + out.len()], &sums[2 * first..2 * (first + out.len())]);
    for ((out, &d), sums) in out.iter_mut().zip(d).zip(sums.as_chunks::<2>().0) {
        let halves = if B::HALVES { *sums } else { [sums[0] + sums[1], 0] };
        out.start = halves.map(|sum| -offset * i32::from(sum));
        if B::HAS_MIN {
            out.sum = halves.map(|sum| d * f32::from(sum));
        }
        out.d = d;
    }
}

/// The groups of one chunk.
pub(super) type ChunkAct = [GroupAct; CHUNK];
