//! Quantized products: every level has the bits of the scalar definition, and that is near the product of the numbers
//! that the bytes stand for.

use qorus_kernels::{ActQ8, Isa, Kernels, TileMut, Type, panel_bytes};
use std::io::Write as _; // not held back by the test harness, as the print macros are

/// Numbers from a small generator (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Roughly normal.
    fn normal(&mut self) -> f32 {
        (0..4).map(|_| (self.next() >> 40) as f32 / (1 << 24) as f32 - 0.5).sum::<f32>() * 1.7
    }
}

/// Rows of random blocks, whose half-precision numbers are finite.
fn weights(kernels: &Kernels, ty: Type, rows: usize, k: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..rows * k / ty.block_len() {
        loop {
            let block: Vec<u8> = (0..ty.block_bytes()).map(|_| random.next() as u8).collect();
            let mut values = vec![0.0; ty.block_len()];
            kernels.dequantize(ty, &block, &mut values);
            if values.iter().all(|v| v.abs() < 1e4) {
                bytes.extend(block);
                break;
            }
        }
    }
    bytes
}

struct Act {
    q: Vec<i8>,
    d: Vec<f32>,
    sums: Vec<i16>,
}

fn quantized(kernels: &Kernels, x: &[f32], k: usize) -> Act {
    let mut act = Act { q: vec![99; x.len()], d: vec![f32::NAN; x.len() / 32], sums: vec![99; x.len() / 16] };
    for (row, x) in x.chunks_exact(k).enumerate() {
        kernels.quantize_act(
            x,
            &mut act.q[row * k..][..k],
            &mut act.d[row * k / 32..][..k / 32],
            &mut act.sums[row * k / 16..][..k / 16],
        );
    }
    act
}

fn product(kernels: &Kernels, ty: Type, w: &[u8], act: &Act, rows: usize, k: usize, n: usize) -> Vec<f32> {
    let mut panel = vec![0xaa; panel_bytes(k) + 1];
    let mut y = vec![f32::NAN; rows * n];
    let x = ActQ8::new(&act.q, &act.d, &act.sums, rows, k);
    // An odd address: the kernels ask no alignment of their scratch.
    kernels.matmul_q8(ty, w, &x, &mut TileMut::new(&mut y, rows, n), &mut panel[1..]);
    y
}

fn levels() -> Vec<Kernels> {
    let found = Isa::ALL.into_iter().skip(1).filter_map(|isa| {
        let kernels = Kernels::new(isa);
        if kernels.is_none() {
            drop(writeln!(std::io::stderr(), "SKIPPED: this CPU has no {}", isa.name()));
        }
        kernels
    });
    found.collect()
}

fn bits(y: &[f32]) -> Vec<u32> {
    y.iter().map(|y| if y.is_nan() { f32::NAN.to_bits() } else { y.to_bits() }).collect()
}

#[test]
fn every_level_has_the_bits_of_the_definition() {
    let scalar = Kernels::new(Isa::Scalar).unwrap();
    let mut random = Random(7);
    for ty in Type::all().filter(|ty| ty.is_quantized()) {
        for (n, rows, blocks) in [(1, 1, 1), (7, 3, 2), (8, 1, 3), (9, 2, 1), (16, 4, 3), (17, 5, 9), (33, 8, 1)]
            .into_iter()
            .chain([(40, 9, 2), (15, 17, 1), (24, 33, 11), (50, 12, 20), (363, 9, 1)])
        {
            let k = blocks * ty.block_len();
            let mut w = vec![0];
            w.extend(weights(&scalar, ty, n, k, &mut random));
            let x: Vec<f32> = (0..rows * k).map(|_| random.normal()).collect();
            let act = quantized(&scalar, &x, k);
            let expected = product(&scalar, ty, &w[1..], &act, rows, k, n);
            for level in levels() {
                let y = product(&level, ty, &w[1..], &act, rows, k, n);
                assert!(bits(&y) == bits(&expected), "{ty:?} {} n {n} rows {rows} k {k}", level.isa().name());
            }
        }
    }
}

/// The greatest magnitudes that can occur: no sum in 16 bits may saturate.
#[test]
fn extreme_integers() {
    let scalar = Kernels::new(Isa::Scalar).unwrap();
    for ty in Type::all().filter(|ty| ty.is_quantized()) {
        for (byte, quant) in [(0, 127), (0, -127), (0xff, 127), (0xff, -127), (0x80, 127), (0x80, -127), (0x7f, -127)] {
            // All bytes alike, with scales that are small and finite where the format keeps them apart.
            let (k, n, rows) = (256, 16, 9);
            let mut w = vec![byte; n * ty.row_bytes(k).unwrap()];
            for block in w.chunks_exact_mut(ty.block_bytes()) {
                for at in match ty {
                    Type::Q2_K => vec![80, 82],
                    Type::Q3_K => vec![108],
                    Type::Q6_K => vec![208],
                    Type::IQ1_M => vec![],
                    Type::Q4_1 | Type::Q5_1 | Type::Q4_K | Type::Q5_K => vec![0, 2],
                    _ => vec![0],
                } {
                    block[at..at + 2].copy_from_slice(&[0, 0x3c]);
                }
                if ty == Type::IQ1_M {
                    block[55] = block[55] & 0xf | 0x30;
                }
            }
            let act =
                Act { q: vec![quant; rows * k], d: vec![1.0; rows * 8], sums: vec![16 * quant as i16; rows * 16] };
            let expected = product(&scalar, ty, &w, &act, rows, k, n);
            assert!(expected.iter().all(|y| y.is_finite()));
            for level in levels() {
                let y = product(&level, ty, &w, &act, rows, k, n);
                assert!(bits(&y) == bits(&expected), "{ty:?} {} byte {byte} quant {quant}", level.isa().name());
            }
        }
    }
}

/// With weights dequantized and summed in f64. The difference has two causes: activations are off by at most half a
/// step of their block, and every addition in f32 rounds.
#[test]
fn near_the_product_of_the_numbers() {
    let scalar = Kernels::new(Isa::Scalar).unwrap();
    let mut random = Random(8);
    for ty in Type::all().filter(|ty| ty.is_quantized()) {
        let (n, rows, k) = (16, 2, 512);
        let w = weights(&scalar, ty, n, k, &mut random);
        let x: Vec<f32> = (0..rows * k).map(|_| random.normal()).collect();
        let y = product(&scalar, ty, &w, &quantized(&scalar, &x, k), rows, k, n);
        let mut values = vec![0.0; n * k];
        scalar.dequantize(ty, &w, &mut values);
        for (t, x) in x.chunks_exact(k).enumerate() {
            for (r, w) in values.chunks_exact(k).enumerate() {
                let (mut exact, mut bound, mut magnitude) = (0.0, 0.0, 0.0);
                for (x, w) in x.chunks_exact(32).zip(w.chunks_exact(32)) {
                    let step = x.iter().fold(0.0, |max, x| f32::max(max, x.abs())) / 127.0;
                    for (x, w) in x.iter().zip(w) {
                        exact += f64::from(*x) * f64::from(*w);
                        bound += f64::from(step / 2.0 * w.abs()) * 1.00001;
                        magnitude += f64::from((x.abs() + step) * w.abs());
                    }
                }
                // With a minimum the parts of a weight may be greater than their sum: at most 64 times here is ample
                // for random scales, and still far below what a wrong scale or index does.
                let bound = bound + 64.0 * magnitude * f64::from(f32::EPSILON) * (k as f64 / 16.0).sqrt();
                let difference = (f64::from(y[t * n + r]) - exact).abs();
                assert!(difference <= bound, "{ty:?} token {t} row {r}: {difference} over {bound}");
            }
        }
    }
}

#[test]
fn scales_that_are_no_numbers_do_not_panic() {
    let mut random = Random(9);
    for kernels in levels().into_iter().chain(Kernels::new(Isa::Scalar)) {
        for ty in Type::all().filter(|ty| ty.is_quantized()) {
            let (n, rows, k) = (17, 10, 512);
            let w: Vec<u8> = (0..n * ty.row_bytes(k).unwrap()).map(|_| random.next() as u8 | 0x7c).collect();
            let x = vec![1.0; rows * k];
            let y = product(&kernels, ty, &w, &quantized(&kernels, &x, k), rows, k, n);
            let mut values = vec![0.0; n * k];
            kernels.dequantize(ty, &w, &mut values);
            assert_eq!(y.len(), n * rows);
        }
    }
}

#[test]
fn activations_at_every_level() {
    let scalar = Kernels::new(Isa::Scalar).unwrap();
    let mut random = Random(10);
    let mut x: Vec<f32> =
        (0..64 * 32).map(|_| random.normal() * 10f32.powi((random.next() % 60) as i32 - 30)).collect();
    for (i, special) in
        [f32::NAN, f32::INFINITY, -f32::INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-40].into_iter().enumerate()
    {
        x[i * 32 + 5 * i] = special;
    }
    x[32 * 32..36 * 32].fill(0.0);
    // Ties: half steps of a block whose scale is one.
    for (i, x) in x[40 * 32..44 * 32].iter_mut().enumerate() {
        *x = if i % 32 == 0 { 127.0 } else { i as f32 - 63.5 };
    }
    let expected = quantized(&scalar, &x, x.len());
    for (i, ((x, q), d)) in x.chunks(32).zip(expected.q.chunks(32)).zip(&expected.d).enumerate() {
        if x.iter().any(|x| !x.is_finite()) {
            assert!(d.is_nan() && q.iter().all(|q| *q == 0), "block {i}");
            continue;
        }
        for (x, q) in x.iter().zip(q) {
            let difference = (f64::from(*x) - f64::from(*q) * f64::from(*d)).abs();
            assert!(difference <= f64::from(*d) * 0.50001 + 1e-30, "block {i}: {x} became {q} * {d}");
            assert!(*q > -128);
        }
        for (half, sum) in q.chunks(16).zip(&expected.sums[2 * i..]) {
            assert_eq!(*sum, half.iter().map(|q| i16::from(*q)).sum::<i16>());
        }
    }
    for level in levels() {
        let found = quantized(&level, &x, x.len());
        assert!(found.q == expected.q && found.sums == expected.sums && bits(&found.d) == bits(&expected.d));
    }
}
