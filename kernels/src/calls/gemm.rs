//! Products of two matrices, at once or with the second operand packed beforehand, for several threads to read.

use crate::gemm::{Stage, aligned, gemm_packed, gemm_parts};
use crate::table::{Kernels, found};
use crate::{Mat, Products, TileMut, Type};

impl Kernels {
    /// `c = a b`, or `c += a b` to `accumulate`: the products of an element are added one after another over ascending k, each
    /// by one fused multiply-add, from 0 or from what `c` holds. `scratch` holds at least [`gemm_bytes`](crate::gemm_bytes).
    pub fn gemm(&self, a: Mat, b: Mat, accumulate: bool, c: &mut TileMut, scratch: &mut [u8]) {
        self.product(Products::F32, (a, b), accumulate, c, Stage::Whole(aligned(scratch)));
    }

    /// The same with factors rounded to bf16, whose products are added in pairs: see [`crate::scalar::pairs`].
    pub fn gemm_bf16(&self, a: Mat, b: Mat, accumulate: bool, c: &mut TileMut, scratch: &mut [u8]) {
        self.product(Products::Bf16, (a, b), accumulate, c, Stage::Whole(aligned(scratch)));
    }

    /// Packs `b` for [`Kernels::gemm_packed`], to a buffer of [`gemm_packed`] elements. The columns may be packed a few at a time, as many
    /// [`GEMM_PANEL`](crate::GEMM_PANEL)s as one likes, to buffers that lie one after another.
    pub fn gemm_pack(&self, products: Products, b: Mat, panels: &mut [f32]) {
        assert!(panels.len() >= gemm_packed(products, b.rows(), b.cols()));
        let none = &mut TileMut::new(&mut [], 0, b.cols());
        self.product(products, (b.part(0..0, 0..b.rows().min(b.cols())), b), false, none, Stage::Pack(panels));
    }

    /// As [`Kernels::gemm`] or [`Kernels::gemm_bf16`], with the same bits, where `panels` is what [`Kernels::gemm_pack`] made of `b`. Where `b` has
    /// more rows than `a` columns, those from `first` on count, an even number. `scratch` is the second of the [`gemm_parts`].
    pub fn gemm_packed(
        &self,
        products: Products,
        (a, b, panels, first): (Mat, Mat, &[f32], usize),
        accumulate: bool,
        c: &mut TileMut,
        scratch: &mut [f32],
    ) {
        assert!(panels.len() >= gemm_packed(products, b.rows(), b.cols()));
        assert!(size_of_val(scratch) >= gemm_parts()[1]);
        assert!(first.is_multiple_of(2) && first.checked_add(a.cols()).is_some_and(|end| end <= b.rows()));
        self.product(products, (a, b), accumulate, c, Stage::Multiply(panels, first, scratch));
    }

    fn product(&self, products: Products, (a, b): (Mat, Mat), accumulate: bool, c: &mut TileMut, stage: Stage) {
        let packs = matches!(stage, Stage::Pack(_));
        assert!(a.cols() == b.rows() || matches!(stage, Stage::Multiply(..)) || packs);
        assert!(packs || (a.rows(), b.cols()) == (c.rows(), c.cols()));
        match products {
            Products::F32 => call!(self.gemm[Type::F32](&a, &b, accumulate, c, stage)),
            Products::Bf16 => call!(self.gemm_bf16[Type::F32](&a, &b, accumulate, c, stage)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GEMM_PANEL, Isa, gemm_bytes};

    #[test]
    fn packed_apart_has_the_same_bits() {
        let numbers = |n: usize, a: f32| -> Vec<f32> { (0..n).map(|i| (i as f32 * a).sin()).collect() };
        for kernels in Isa::ALL.into_iter().filter_map(Kernels::new) {
            for (m, n, k) in [
                (31, 97, 45),
                (3, 32, 1024),
                (60, 200, 980),
                (20, 768, 7),
                (1, 1, 1),
                (14, 64, 0),
                (15, 1600, 9),
                (15, 40, 2100),
            ] {
                let (a, b, start) = (numbers(m * k, 0.7), numbers(k * n, 1.3), numbers(m * n, 2.1));
                // Both operands as they lie, and both transposed.
                let plain = (Mat::new(&a, m, k, k), Mat::new(&b, k, n, n));
                let turned = (Mat::new(&a, k, m, m).t(), Mat::new(&b, n, k, k).t());
                for (a, b) in [plain, turned] {
                    for (products, accumulate) in
                        [(Products::F32, false), (Products::F32, true), (Products::Bf16, true)]
                    {
                        let mut scratch = vec![0; gemm_bytes()];
                        let mut whole = start.clone();
                        let mut c = TileMut::new(&mut whole, m, n);
                        match products {
                            Products::F32 => kernels.gemm(a, b, accumulate, &mut c, &mut scratch),
                            Products::Bf16 => kernels.gemm_bf16(a, b, accumulate, &mut c, &mut scratch),
                        }
                        let mut panels = vec![f32::NAN; gemm_packed(products, k, n)];
                        for from in (0..n).step_by(GEMM_PANEL) {
                            let to = n.min(from + GEMM_PANEL);
                            let at = gemm_packed(products, k, from)..gemm_packed(products, k, to);
                            kernels.gemm_pack(products, b.part(0..k, from..to), &mut panels[at]);
                        }
                        let mut staged = start.clone();
                        let mut c = TileMut::new(&mut staged, m, n);
                        let mut scratch = vec![f32::NAN; gemm_parts()[1] / size_of::<f32>()];
                        kernels.gemm_packed(products, (a, b, &panels, 0), accumulate, &mut c, &mut scratch);
                        let name = kernels.isa().name();
                        assert!(whole == staged, "{name} {products:?} {m} x {n} x {k}");
                        // Some rows of what was packed.
                        let some = k / 4 * 2..k - k / 8;
                        let (a, few) = (a.part(0..m, 0..some.len()), b.part(some.clone(), 0..n));
                        let (mut whole, mut bytes) = (start.clone(), vec![0; gemm_bytes()]);
                        let mut c = TileMut::new(&mut whole, m, n);
                        match products {
                            Products::F32 => kernels.gemm(a, few, accumulate, &mut c, &mut bytes),
                            Products::Bf16 => kernels.gemm_bf16(a, few, accumulate, &mut c, &mut bytes),
                        }
                        let mut staged = start.clone();
                        let mut c = TileMut::new(&mut staged, m, n);
                        kernels.gemm_packed(products, (a, b, &panels, some.start), accumulate, &mut c, &mut scratch);
                        assert!(whole == staged, "{name} {products:?} {m} x {n} x {some:?} of {k}");
                    }
                }
            }
        }
    }
}
