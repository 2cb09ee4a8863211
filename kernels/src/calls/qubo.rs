//! The kernels of QUBO solvers, on local fields and masks as [`crate::scalar::qubo`] has them.

use crate::Type;
use crate::table::{Kernels, found};

impl Kernels {
    /// The first variable, not before `from`, whose flip adds no more than `t * noise` to the energy; their number if there is
    /// none. All of one length.
    #[inline]
    pub fn next_flip(&self, fields: &[i32], masks: &[i32], noise: &[f32], t: f32, from: usize) -> usize {
        assert!(masks.len() == fields.len() && noise.len() == fields.len());
        call!(self.next_flip[Type::I32](fields, masks, noise, t, from))
    }

    /// The first of the least additions that a flip makes, and its variable; of those that are free from `now` on or that add
    /// less than `aspire`; `(i32::MAX, n)` if there is none. All of one length.
    #[inline]
    pub fn best_flip(&self, fields: &[i32], masks: &[i32], free: &[i32], now: i32, aspire: i32) -> (i32, usize) {
        assert!(masks.len() == fields.len() && free.len() == fields.len());
        call!(self.best_flip[Type::I32](fields, masks, free, now, aspire))
    }

    /// `fields += row << shift`, or less it; a row of I8, I16 or I32 as bytes, as many elements as fields. Sums wrap.
    #[inline]
    pub fn add_row(&self, ty: Type, fields: &mut [i32], row: &[u8], shift: u32, minus: bool) {
        assert!(fields.len().checked_mul(ty.block_bytes()) == Some(row.len()) && shift < 32);
        call!(self.add_row[ty](fields, row, shift, minus))
    }

    /// Rotates the four lowest qubits of a state vector by `exp(-i beta X)`, `c` and `s` being cos and sin of beta; of one length, a
    /// multiple of 16.
    pub fn rotate_near(&self, re: &mut [f32], im: &mut [f32], c: f32, s: f32) {
        assert!(re.len() == im.len() && re.len().is_multiple_of(16));
        call!(self.rotate_near[Type::F32](re, im, c, s))
    }

    /// Rotates one qubit: amplitudes where it is 0 with those where it is 1; all of one length.
    pub fn rotate_far(&self, zero: (&mut [f32], &mut [f32]), one: (&mut [f32], &mut [f32]), c: f32, s: f32) {
        let n = zero.0.len();
        assert!(zero.1.len() == n && one.0.len() == n && one.1.len() == n);
        call!(self.rotate_far[Type::F32](zero.0, zero.1, one.0, one.1, c, s))
    }

    /// Multiplies each amplitude by `exp(-2 pi i turns cost)`; of one length, `turns * cost` less than 2^20 in magnitude.
    pub fn phase(&self, re: &mut [f32], im: &mut [f32], cost: &[f32], turns: f32) {
        assert!(re.len() == im.len() && re.len() == cost.len());
        call!(self.phase[Type::F32](re, im, cost, turns))
    }
}
