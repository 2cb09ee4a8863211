//! One row of activations: weights are unpacked in registers and multiplied at once.

use super::act::GroupAct;
use super::{CHUNK, ChunkScales, Floats, RowBlock, RowLanes, Rows, Sink};
use crate::blocks::GROUP;
use core::marker::PhantomData;

/// Groups are multiplied as they come.
struct Multiply<'a, V: RowLanes, B> {
    scales: &'a mut ChunkScales<V>,
    /// The chunk's activations.
    act: *const GroupAct,
    x: *const i8,
    /// The weights that come next in memory but one vector of rows.
    ahead: *const u8,
    y: V::Floats,
    block: PhantomData<B>,
}

impl<V: RowLanes, B: RowBlock> Sink<V> for Multiply<'_, V, B> {
    #[inline(always)]
    unsafe fn group(&mut self, g: usize, codes: [V; 8]) {
        // SAFETY: promised by the caller; the group lies inside the row of activations.
        unsafe {
            // As many bytes are fetched as are read, in steps of at most a line.
            let bytes = size_of::<B>() * V::N / B::GROUPS;
            let lines = bytes.div_ceil(64);
            for line in 0..lines {
                V::prefetch(self.ahead.wrapping_add(g * bytes + line * (bytes / lines)));
            }
            let codes = each8!(i => codes[i].prepare(B::CODES));
            let (act, x) = (&*self.act.add(g), self.x.add(g * GROUP));
            let (s, m, d) = (&self.scales.s[g], &self.scales.m[g], V::Floats::splat(act.d));
            let mut y = self.y;
            if B::HALVES {
                let [a, b, c, e, f, g, h, i] = codes;
                y = s[0].mul(d).mul_add(V::dot::<B, 4>(&[a, b, c, e], x, act.start[0]).float(), y);
                y = s[1].mul(d).mul_add(V::dot::<B, 4>(&[f, g, h, i], x.add(16), act.start[1]).float(), y);
            } else {
                y = s[0].mul(d).mul_add(V::dot::<B, 8>(&codes, x, act.start[0]).float(), y);
            }
            if B::HAS_MIN {
                y = m[0].mul_add(V::Floats::splat(act.sum[0]), y);
                if B::HALVES {
                    y = m[1].mul_add(V::Floats::splat(act.sum[1]), y);
                }
            }
            self.y = y;
        }
    }

    #[inline(always)]
    fn scale(&mut self, g: usize, s: V::Floats) {
        self.scales.s[g] = [s; 2];
    }
}

/// One vector of weight rows times the row of activations `x` of as many groups as `act`, to `y`.
///
/// # Safety
/// The CPU has the instruction set; the rows of weights and the activations are there, and `y` has a float for each row.
#[inline(always)]
pub unsafe fn stream<V: RowLanes, B: RowBlock>(rows: Rows, x: *const i8, act: &[GroupAct], y: *mut f32) {
    // SAFETY: promised by the caller; a chunk never exceeds the row.
    unsafe {
        let zero = V::Floats::splat(0.0);
        let mut scales = ChunkScales { s: [[zero; 2]; CHUNK], m: [[zero; 2]; CHUNK] };
        let mut sum = zero;
        for first in (0..act.len()).step_by(CHUNK) {
            let count = CHUNK.min(act.len() - first);
            let at = first / B::GROUPS * size_of::<B>();
            B::row_scales::<V>(rows.at(at), count, &mut scales);
            let mut sink = Multiply::<V, B> {
                scales: &mut scales,
                act: act.as_ptr().add(first),
                x: x.add(first * GROUP),
                ahead: rows.ptr.wrapping_add(V::N * (rows.stride + at)),
                y: sum,
                block: PhantomData,
            };
            B::row_codes(rows.at(at), count, &mut sink);
            sum = sink.y;
        }
        sum.store(y);
    }
}
