//! What the kernels want of the activations besides their integers, and how they are laid out for many rows.

use super::TOKENS;
use crate::act::ActQ8;
use crate::blocks::GROUP;

/// The most groups of a panel of weights, and of the activations that meet it: three blocks of the great formats. Both
/// together fit L1.
pub(crate) const STRETCH: usize = 24;

/// What a format asks of the activations.
#[derive(Clone, Copy)]
pub struct Wants {
    /// Whether halves of a group are summed apart.
    pub halves: bool,
    /// Code of the integer zero.
    pub offset: i32,
}

/// The numbers of one group of one row of activations, by halves; where halves share a scale the first holds all.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct GroupAct {
    /// Corrects the integer sum for the offset of the codes.
    pub start: [i32; 2],
    /// Scale times the sum of the integers, for the minimum.
    pub sum: [f32; 2],
    /// The scale.
    pub d: f32,
}

impl GroupAct {
    /// The group with scale `d` and integers that sum to `sums` in its halves.
    #[inline(always)]
    pub fn new(d: f32, sums: [i16; 2], wants: Wants) -> GroupAct {
        let (first, second) = (i32::from(sums[0]), i32::from(sums[1]));
        let sums = if wants.halves { [first, second] } else { [first + second, 0] };
        GroupAct { start: sums.map(|sum| -wants.offset * sum), sum: sums.map(|sum| d * sum as f32), d }
    }
}

/// A stretch of [`TOKENS`] rows of activations; rows and groups that are not there are zeros.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct ActTile {
    /// The integers.
    pub q: [[[i8; GROUP]; TOKENS]; STRETCH],
    /// The fields of [`GroupAct`].
    pub d: [[f32; STRETCH]; TOKENS],
    pub start: [[[i32; STRETCH]; 2]; TOKENS],
    pub sum: [[[f32; STRETCH]; 2]; TOKENS],
}

impl ActTile {
    /// Lays out the groups `first..first + groups` of the rows from `t` on.
    #[inline(always)]
    pub fn fill(&mut self, x: &ActQ8, t: usize, first: usize, groups: usize, wants: Wants) {
        for i in 0..TOKENS {
            if t + i >= x.rows {
                for q in &mut self.q[..groups] {
                    q[i] = [0; GROUP];
                }
                (self.d[i], self.start[i], self.sum[i]) = ([0.0; STRETCH], [[0; STRETCH]; 2], [[0.0; STRETCH]; 2]);
                continue;
            }
            let (q, d, sums) = x.row(t + i);
            let q = q[first * GROUP..(first + groups) * GROUP].as_chunks::<GROUP>().0;
            for (to, q) in self.q.iter_mut().zip(q) {
                to[i] = *q;
            }
            // Arrays of one size, whatever the number of groups: their loop becomes vectors.
            let (scales, mut halves) = (&mut self.d[i], [[0; 2]; STRETCH]);
            scales[..groups].copy_from_slice(&d[first..first + groups]);
            halves[..groups].copy_from_slice(sums[2 * first..2 * (first + groups)].as_chunks::<2>().0);
            let [start, start2] = &mut self.start[i];
            let [sum, sum2] = &mut self.sum[i];
            for g in 0..STRETCH {
                let act = GroupAct::new(scales[g], halves[g], wants);
                (start[g], start2[g], sum[g], sum2[g]) = (act.start[0], act.start[1], act.sum[0], act.sum[1]);
            }
        }
    }
}
