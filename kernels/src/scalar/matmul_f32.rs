//! Products of rows of float weights with rows of f32.

use super::stored::{BF16, F16, F32, Stored};
use crate::order;
use crate::table::{Entry, Func};
use crate::{Isa, TileMut, Type};

/// The kernels of this file.
pub const ENTRIES: &[Entry] = &[
    Entry::new("matmul_f32", Type::F32, Isa::Scalar, Func::MatmulF32(matmul_f32::<F32, 4>)),
    Entry::new("matmul_f32", Type::F16, Isa::Scalar, Func::MatmulF32(matmul_f32::<F16, 2>)),
    Entry::new("matmul_f32", Type::BF16, Isa::Scalar, Func::MatmulF32(matmul_f32::<BF16, 2>)),
];

/// `y[t][r] = w[r] . x[t]`, weight rows of `BYTES` bytes an element, each dot product in the order of
/// [`order`].
fn matmul_f32<W: Stored, const BYTES: usize>(w: &[u8], x: &[f32], k: usize, y: &mut TileMut) {
    for t in 0..y.rows() {
        let x = &x[t * k..][..k];
        for (r, y) in y.row_mut(t).iter_mut().enumerate() {
            let w = &w[r * k * BYTES..][..k * BYTES];
            *y = order::sum_products(k, |i| (W::get(w, i), x[i]));
        }
    }
}
