//! The product of f32 matrices: in whatever way its operands lie, every level adds the products of an element one after another.

#![cfg(feature = "train")]

use qorus_kernels::scalar::pairs::{add_pair, round};
use qorus_kernels::{Isa, Kernels, Mat, Products, TileMut, gemm_bytes, scalar};
use std::io::Write as _; // not held back by the test harness, as the print macros are

/// Numbers between -1 and 1, the same for the same seed.
fn random(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn levels() -> Vec<Kernels> {
    Isa::ALL
        .into_iter()
        .filter_map(|isa| {
            let kernels = Kernels::new(isa);
            if kernels.is_none() {
                drop(writeln!(std::io::stderr(), "SKIPPED: this CPU has no {}", isa.name()));
            }
            kernels
        })
        .collect()
}

/// A matrix inside a larger one that is NaN elsewhere, as it is or as the transpose of what is stored.
struct Stored {
    data: Vec<f32>,
    rows: usize,
    cols: usize,
    stride: usize,
    transposed: bool,
}

impl Stored {
    fn new(seed: u64, rows: usize, cols: usize, margin: usize, transposed: bool) -> Stored {
        let (lines, len) = if transposed { (cols, rows) } else { (rows, cols) };
        let (stride, values) = (len + margin, random(seed, rows * cols));
        // One element before the first keeps it from being aligned.
        let mut data = vec![f32::NAN; 1 + lines * stride];
        for row in 0..rows {
            for col in 0..cols {
                let at = if transposed { col * stride + row } else { row * stride + col };
                data[1 + at] = values[row * cols + col];
            }
        }
        Stored { data, rows, cols, stride, transposed }
    }

    fn mat(&self) -> Mat<'_> {
        match self.transposed {
            true => Mat::new(&self.data[1..], self.cols, self.rows, self.stride).t(),
            false => Mat::new(&self.data[1..], self.rows, self.cols, self.stride),
        }
    }
}

const SHAPES: [(usize, usize, usize); 9] = [
    (1, 1, 1),
    (7, 5, 9),
    (14, 32, 16),
    (15, 33, 8),
    (13, 31, 40),
    (64, 64, 32),
    (29, 47, 700),
    (200, 50, 7),
    (3, 900, 12),
];

/// An element of `c + a b` as the product of f32, or of bf16, adds it up.
fn element(a: Mat, b: Mat, (i, j): (usize, usize), first: f32, products: Products) -> f32 {
    let k = a.cols();
    match products {
        Products::F32 => (0..k).fold(first, |sum, k| a.get(i, k).mul_add(b.get(k, j), sum)),
        Products::Bf16 => (0..k).step_by(2).fold(first, |sum, at| {
            let pair = |f: &dyn Fn(usize) -> f32| [at, at + 1].map(|at| if at < k { round(f(at)) } else { 0.0 });
            add_pair(pair(&|k| a.get(i, k)), pair(&|k| b.get(k, j)), sum)
        }),
    }
}

#[test]
fn products_are_added_in_order_at_every_level() {
    for products in [Products::F32, Products::Bf16] {
        products_are_added_in_order(products);
    }
}

fn products_are_added_in_order(products: Products) {
    for kernels in levels() {
        let mut scratch = vec![0xff; gemm_bytes() + 1];
        for (shape, (m, n, k)) in SHAPES.into_iter().enumerate() {
            for form in 0..16 {
                let (ta, tb, accumulate, margin) = (form & 1 != 0, form & 2 != 0, form & 4 != 0, form >> 3 & 1);
                let seed = (shape * 16 + form) as u64;
                let a = Stored::new(seed, m, k, 3 * margin, ta);
                let b = Stored::new(seed + 1000, k, n, 5 * margin, tb);
                let stride = n + 2 * margin;
                let start = random(seed + 2000, m * stride);
                let mut expected = start.clone();
                for i in 0..m {
                    for j in 0..n {
                        let first = if accumulate { start[i * stride + j] } else { 0.0 };
                        expected[i * stride + j] = element(a.mat(), b.mat(), (i, j), first, products);
                    }
                }
                let mut found = start.clone();
                let mut tile = TileMut::strided(&mut found, m, n, stride);
                match products {
                    Products::F32 => kernels.gemm(a.mat(), b.mat(), accumulate, &mut tile, &mut scratch[1..]),
                    Products::Bf16 => kernels.gemm_bf16(a.mat(), b.mat(), accumulate, &mut tile, &mut scratch[1..]),
                }
                for (at, (expected, found)) in expected.iter().zip(&found).enumerate() {
                    assert_eq!(
                        expected.to_bits(),
                        found.to_bits(),
                        "{} {products:?} {m} x {n} x {k}, form {form}, row {}, column {}",
                        kernels.isa().name(),
                        at / stride,
                        at % stride
                    );
                }
            }
        }
    }
}

/// Each factor loses all but 8 bits, and each addition rounds the sum.
#[test]
fn products_of_bf16_are_as_near_as_rounding_allows() {
    let (m, n, k) = (15, 34, 700);
    let (a, b) = (random(5, m * k), random(6, k * n));
    for kernels in levels() {
        let (mut c, mut scratch) = (vec![f32::NAN; m * n], vec![0xff; gemm_bytes()]);
        let (a, b) = (Mat::new(&a, m, k, k), Mat::new(&b, k, n, n));
        kernels.gemm_bf16(a, b, false, &mut TileMut::new(&mut c, m, n), &mut scratch);
        for (at, found) in c.iter().enumerate() {
            let terms = (0..k).map(|k| f64::from(a.get(at / n, k)) * f64::from(b.get(k, at % n)));
            let (exact, magnitude) = terms.fold((0.0, 0.0), |(sum, all), term| (sum + term, all + term.abs()));
            let unit = 2f64.powi(-8);
            let bound = magnitude * (2.0 * unit + unit * unit + k as f64 * f64::from(f32::EPSILON) / 2.0);
            let error = (f64::from(*found) - exact).abs();
            assert!(error <= bound, "{}: {error} of {bound}", kernels.isa().name());
        }
    }
}

#[test]
fn parts_of_a_product_are_those_of_the_whole() {
    let (m, n, k) = (61, 83, 350);
    let (a, b) = (random(1, m * k), random(2, k * n));
    let (a, b) = (Mat::new(&a, m, k, k), Mat::new(&b, k, n, n));
    for kernels in levels() {
        let mut scratch = vec![0xff; gemm_bytes()];
        let mut whole = vec![f32::NAN; m * n];
        kernels.gemm(a, b, false, &mut TileMut::new(&mut whole, m, n), &mut scratch);
        for (rows, cols) in [(0..m, 17..40), (5..34, 0..n), (60..61, 82..83), (3..3, 0..n), (2..20, 32..64)] {
            let (h, w) = (rows.len(), cols.len());
            let mut part = vec![f32::NAN; h * w];
            let (a, b) = (a.part(rows.clone(), 0..k), b.part(0..k, cols.clone()));
            kernels.gemm(a, b, false, &mut TileMut::new(&mut part, h, w), &mut scratch);
            for (i, row) in rows.enumerate() {
                assert_eq!(part[i * w..][..w], whole[row * n..][cols.clone()], "{}", kernels.isa().name());
            }
        }
    }
}

#[test]
fn a_product_over_nothing_is_zero() {
    for kernels in levels() {
        let mut scratch = vec![0xff; gemm_bytes()];
        let mut c = vec![f32::NAN; 20 * 40];
        let (a, b) = (Mat::new(&[], 20, 0, 0), Mat::new(&[], 0, 40, 40));
        kernels.gemm(a, b, false, &mut TileMut::new(&mut c, 20, 40), &mut scratch);
        assert!(c.iter().all(|c| c.to_bits() == 0));
        c.fill(3.0);
        kernels.gemm(a, b, true, &mut TileMut::new(&mut c, 20, 40), &mut scratch);
        assert!(c.iter().all(|c| *c == 3.0));
    }
}

#[test]
fn the_definition_computes_in_f64_too() {
    let (m, n, k) = (9, 11, 300);
    let (a, b) = (random(3, m * k), random(4, k * n));
    let wide = |x: &[f32]| -> Vec<f64> { x.iter().map(|x| f64::from(*x)).collect() };
    let (mut narrow, mut double) = (vec![0f32; m * n], vec![0f64; m * n]);
    let (wa, wb) = (wide(&a), wide(&b));
    scalar::gemm::gemm(&Mat::new(&a, m, k, k), &Mat::new(&b, k, n, n), false, &mut TileMut::new(&mut narrow, m, n));
    scalar::gemm::gemm(&Mat::new(&wa, m, k, k), &Mat::new(&wb, k, n, n), false, &mut TileMut::new(&mut double, m, n));
    for (at, (narrow, double)) in narrow.iter().zip(&double).enumerate() {
        let magnitude: f64 = (0..k).map(|i| (wa[at / n * k + i] * wb[i * n + at % n]).abs()).sum();
        let bound = k as f64 * f64::from(f32::EPSILON) / 2.0 * magnitude;
        assert!((f64::from(*narrow) - double).abs() <= bound, "element {at}");
    }
}
