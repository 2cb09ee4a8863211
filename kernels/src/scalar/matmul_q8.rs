//! Products of quantized weights and 8-bit activations.
//!
//! For each group of 32 in order, with `i` the integer sum of weight times activation over the group (or over its
//! first half and then its second, where each has a scale): `y = fma(s * d, i, y)`; and then, for types with a
//! minimum and `a` the sum of the activations' integers: `y = fma(m, d * a, y)`, by halves likewise. Integer sums are
//! exact in any order, so every kernel that keeps to this order of groups has the same bits, for one row of
//! activations or many.

use crate::TileMut;
use crate::act::ActQ8;
use crate::blocks::{GROUP, QuantBlock, block_entries};
use crate::table::Entry;

/// The kernels of this file.
pub const ENTRIES: &[Entry] = block_entries!("matmul_q8", Scalar, MatmulQ8(matmul_q8));

/// `y[t][r] = sum over k of x[t][k] * w[r][k]`, with `w` rows of type `B`.
pub fn matmul_q8<B: QuantBlock>(w: &[u8], x: &ActQ8, y: &mut TileMut, _panel: &mut [u8]) {
    let row_bytes = x.k / (B::GROUPS * GROUP) * size_of::<B>();
    for r in 0..y.cols() {
        row::<B>(&w[r * row_bytes..][..row_bytes], x, y, r);
    }
}

/// One row of weights: column `r` of `y`.
pub fn row<B: QuantBlock>(w: &[u8], x: &ActQ8, y: &mut TileMut, r: usize) {
    for t in 0..x.rows {
        y.row_mut(t)[r] = 0.0;
    }
    let mut weights = [0; GROUP];
    for (b, block) in bytemuck::cast_slice::<u8, B>(w).iter().enumerate() {
        for sub in 0..B::GROUPS {
            block.unpack32(sub, &mut weights);
            let (g, scales) = (b * B::GROUPS + sub, block.scales(sub));
            for t in 0..x.rows {
                let (q, d, sums) = x.row(t);
                let products = weights.iter().zip(&q[g * GROUP..]).map(|(&w, &x)| i32::from(w) * i32::from(x));
                let (d, sums) = (d[g], &sums[2 * g..2 * g + 2]);
                let y = &mut y.row_mut(t)[r];
                if B::HALVES {
                    let mut products = products;
                    for s in scales.s {
                        *y = f32::mul_add(s * d, products.by_ref().take(16).sum::<i32>() as f32, *y);
                    }
                    if B::HAS_MIN {
                        for (m, &sum) in scales.m.into_iter().zip(sums) {
                            *y = f32::mul_add(m, d * f32::from(sum), *y);
                        }
                    }
                } else {
                    *y = f32::mul_add(scales.s[0] * d, products.sum::<i32>() as f32, *y);
                    if B::HAS_MIN {
                        *y = f32::mul_add(scales.m[0], d * f32::from(sums[0] + sums[1]), *y);
                    }
                }
            }
        }
    }
}
