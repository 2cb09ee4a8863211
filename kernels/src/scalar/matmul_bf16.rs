//! Products of rows of bf16 weights with rows of f32 that are rounded to bf16.

use super::pairs::round;
use super::stored::{BF16, Stored};
use crate::order;
use crate::table::{Entry, Func};
use crate::{Isa, TileMut, Type};

/// The kernels of this file.
pub const ENTRIES: &[Entry] = &[Entry::new("matmul_bf16", Type::BF16, Isa::Scalar, Func::MatmulF32(matmul_bf16))];

/// `y[t][r] = w[r] . x[t]`, each dot product in the order of [`order::sum_pairs`].
fn matmul_bf16(w: &[u8], x: &[f32], k: usize, y: &mut TileMut) {
    for t in 0..y.rows() {
        let x = &x[t * k..][..k];
        for (r, y) in y.row_mut(t).iter_mut().enumerate() {
            let w = &w[2 * r * k..][..2 * k];
            *y = order::sum_pairs(k, |i| (BF16::get(w, i), round(x[i])));
        }
    }
}
