//! Local fields of QUBO solvers: which flip comes next, which is best, and what a flip does to the others.
//!
//! The field of a variable is what its becoming 1 adds to the energy; its mask is 0 where the variable is 0 and -1 where it is 1, so
//! that `(field ^ mask) - mask` is what a flip adds. All is exact but for the noise, and that is one rounding at every level.

use crate::table::{Entry, Func};
use crate::{Isa, Type};

/// The kernels of this file.
pub const ENTRIES: &[Entry] = &[
    Entry::new("next_flip", Type::I32, Isa::Scalar, Func::NextFlip(next_flip)),
    Entry::new("best_flip", Type::I32, Isa::Scalar, Func::BestFlip(best_flip)),
    Entry::new("add_row", Type::I8, Isa::Scalar, Func::AddRow(add_row_i8)),
    Entry::new("add_row", Type::I16, Isa::Scalar, Func::AddRow(add_row_i16)),
    Entry::new("add_row", Type::I32, Isa::Scalar, Func::AddRow(add_row_i32)),
];

/// What a flip adds to the energy.
#[inline(always)]
pub fn delta(field: i32, mask: i32) -> i32 {
    (field ^ mask).wrapping_sub(mask)
}

/// The first variable, not before `from`, whose flip adds no more than `t * noise`; the number of variables if there is none.
#[inline(always)]
pub fn next_flip(fields: &[i32], masks: &[i32], noise: &[f32], t: f32, from: usize) -> usize {
    let n = fields.len();
    (from..n).find(|&i| delta(fields[i], masks[i]) as f32 <= t * noise[i]).unwrap_or(n)
}

/// The first of the least additions, and the variable whose flip it is; of variables that are free from `now` on or whose flip
/// adds less than `aspire`. `(i32::MAX, n)` if there is none.
#[inline(always)]
pub fn best_flip(fields: &[i32], masks: &[i32], free: &[i32], now: i32, aspire: i32) -> (i32, usize) {
    let mut best = (i32::MAX, fields.len());
    for (i, ((field, mask), free)) in fields.iter().zip(masks).zip(free).enumerate() {
        let d = delta(*field, *mask);
        if d < best.0 && (*free <= now || d < aspire) {
            best = (d, i);
        }
    }
    best
}

/// `fields += row << shift`, or less it.
#[inline(always)]
fn add<const BYTES: usize>(fields: &mut [i32], row: &[u8], shift: u32, minus: bool, of: impl Fn([u8; BYTES]) -> i32) {
    let row = row.as_chunks::<BYTES>().0;
    if minus {
        for (f, r) in fields.iter_mut().zip(row) {
            *f = f.wrapping_sub(of(*r) << shift);
        }
    } else {
        for (f, r) in fields.iter_mut().zip(row) {
            *f = f.wrapping_add(of(*r) << shift);
        }
    }
}

/// `fields += row << shift`, or less it; a row of signed bytes.
#[inline(always)]
pub fn add_row_i8(fields: &mut [i32], row: &[u8], shift: u32, minus: bool) {
    add::<1>(fields, row, shift, minus, |b| i32::from(i8::from_ne_bytes(b)));
}

/// The same of 16-bit integers.
#[inline(always)]
pub fn add_row_i16(fields: &mut [i32], row: &[u8], shift: u32, minus: bool) {
    add::<2>(fields, row, shift, minus, |b| i32::from(i16::from_ne_bytes(b)));
}

/// The same of 32-bit integers.
#[inline(always)]
pub fn add_row_i32(fields: &mut [i32], row: &[u8], shift: u32, minus: bool) {
    add::<4>(fields, row, shift, minus, i32::from_ne_bytes);
}
