//! Products of two matrices.

use super::pairs::{add_pair, round};
use crate::gemm::Stage;
use crate::real::Real;
use crate::table::{Entry, Func};
use crate::{Isa, Mat, TileMut, Type};

/// The kernels of this file.
pub const ENTRIES: &[Entry] = &[
    Entry::new(
        "gemm",
        Type::F32,
        Isa::Scalar,
        Func::Gemm(|a, b, accumulate, c, stage| at_once(a, b, stage, |b| gemm(a, b, accumulate, c))),
    ),
    Entry::new(
        "gemm_bf16",
        Type::F32,
        Isa::Scalar,
        Func::Gemm(|a, b, accumulate, c, stage| at_once(a, b, stage, |b| gemm_bf16(a, b, accumulate, c))),
    ),
];

/// Nothing is packed here: the stage that multiplies does all.
fn at_once(a: &Mat, b: &Mat, stage: Stage, product: impl FnOnce(&Mat)) {
    match stage {
        Stage::Whole(_) => product(b),
        Stage::Pack(_) => {}
        Stage::Multiply(_, first, _) => product(&b.part(first..first + a.cols(), 0..b.cols())),
    }
}

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

/// The same with factors rounded to bf16: pairs of products, elements 2i and 2i + 1 of the depth, are added one after another as [`add_pair`]
/// does; behind an odd end comes a zero.
fn gemm_bf16(a: &Mat, b: &Mat, accumulate: bool, c: &mut TileMut) {
    for i in 0..c.rows() {
        let row = c.row_mut(i);
        if !accumulate {
            row.fill(0.0);
        }
        for k in (0..a.cols()).step_by(2) {
            let pair = |at: &dyn Fn(usize) -> f32| [k, k + 1].map(|k| if k < a.cols() { round(at(k)) } else { 0.0 });
            let factors = pair(&|k| a.get(i, k));
            for (j, c) in row.iter_mut().enumerate() {
                *c = add_pair(factors, pair(&|k| b.get(k, j)), *c);
            }
        }
    }
}
