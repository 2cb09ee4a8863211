//! Products of two matrices.

use crate::real::Real;
use crate::table::{Entry, Func};
use crate::{Isa, Mat, TileMut, Type};

/// The kernels of this file.
pub const ENTRIES: &[Entry] =
    &[Entry::new("gemm", Type::F32, Isa::Scalar, Func::Gemm(|a, b, accumulate, c, _| gemm(a, b, accumulate, c)))];

/// `c = a b`, or `c += a b`: `[m][k]` with `[k][n]`. The products of an element are added one after another over ascending k, each by
/// one fused multiply-add, from 0 or from what `c` holds.
pub fn gemm<R: Real>(a: &Mat<R>, b: &Mat<R>, accumulate: bool, c: &mut TileMut<R>) {
    for i in 0..c.rows() {
        let row = c.row_mut(i);
        if !accumulate {
            row.fill(R::ZERO);
        }
        for k in 0..a.cols() {
            let a = a.get(i, k);
            for (j, c) in row.iter_mut().enumerate() {
                *c = a.mul_add(b.get(k, j), *c);
            }
        }
    }
}
