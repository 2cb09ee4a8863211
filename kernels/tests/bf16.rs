//! Products of bf16: the bits of the definition where numbers are tiny or huge too, and a bound from what bf16 rounds.

use half::bf16;
use qorus_kernels::{Isa, Kernels, TileMut, Type};
use std::io::Write as _; // not held back by the test harness, as the print macros are

/// Numbers that hash from a counter.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        self.0 ^ self.0 >> 29
    }

    /// Of either sign, with exponents from `low` to `high`; some are zero, or the least normal number.
    fn number(&mut self, low: u64, high: u64) -> f32 {
        let bits = self.bits();
        match bits % 16 {
            0 => 0.0,
            1 => f32::MIN_POSITIVE,
            _ => {
                let exponent = (low + (bits >> 8) % (high - low + 1)) as u32;
                f32::from_bits(exponent << 23 | (bits >> 32) as u32 & 0x807f_ffff)
            }
        }
    }
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

/// Ranges of biased exponents: usual numbers, those whose products are about the least normal number, subnormal ones with
/// great ones, and those whose products are about the greatest number.
const RANGES: [(u64, u64); 5] = [(117, 137), (50, 70), (0, 3), (0, 253), (185, 191)];

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

/// Products of matrices too, whose factors are looked at first: whether anything may be flushed at all. At exponents of 71 and 24, of factors
/// and of sums to go on from, that changes; one number that is less is enough.
#[cfg(feature = "train")]
#[test]
fn tiny_and_huge_factors_give_the_bits_of_scalar() {
    use qorus_kernels::{Mat, gemm_bytes};
    let scalar = Kernels::new(Isa::Scalar).expect("every CPU has it");
    let (m, n, k) = (17, 37, 21);
    let factors = [(117, 137), (50, 70), (70, 71), (71, 72), (63, 80), (0, 3), (0, 253), (185, 191)];
    let sums = [(100, 110), (23, 24), (24, 25), (0, 2)];
    for (seed, (low, high)) in factors.into_iter().enumerate() {
        for (start, rare) in sums.into_iter().flat_map(|start| [(start, false), (start, true)]) {
            let mut random = Random(seed as u64);
            let mut numbers = |len: usize, (low, high): (u64, u64)| -> Vec<f32> {
                let usual = |random: &mut Random| match random.number(low, high) {
                    f32::MIN_POSITIVE if !rare => 0.0,
                    x => x,
                };
                (0..len).map(|_| usual(&mut random)).collect()
            };
            let (a, b, c) = (numbers(m * k, (low, high)), numbers(k * n, (low, high)), numbers(m * n, start));
            let product = |kernels: &Kernels, accumulate| {
                let (mut c, mut scratch) = (c.clone(), vec![0; gemm_bytes()]);
                let tile = &mut TileMut::new(&mut c, m, n);
                kernels.gemm_bf16(Mat::new(&a, m, k, k), Mat::new(&b, n, k, k).t(), accumulate, tile, &mut scratch);
                c
            };
            for (kernels, accumulate) in levels().iter().flat_map(|kernels| [(kernels, false), (kernels, true)]) {
                let (expected, found) = (product(&scalar, accumulate), product(kernels, accumulate));
                for (at, (expected, found)) in expected.iter().zip(&found).enumerate() {
                    assert!(
                        same(*expected, *found),
                        "{}: {expected:e} and {found:e} at {at}, exponents {low} to {high}, sums {start:?}, {rare}",
                        kernels.isa().name()
                    );
                }
            }
        }
    }
}

/// Two products, or a sum to go on from and one, that leave their last digit: 2^-126 stays, 2^-127 is flushed.
#[cfg(feature = "train")]
#[test]
fn the_last_digit_of_a_product_of_matrices_stays_or_is_flushed() {
    use qorus_kernels::{Mat, gemm_bytes};
    let power = |e: i32| f32::from_bits(((e + 127) as u32) << 23);
    let (odd, even) = (1.0 + power(-7), 1.0 + power(-6));
    for kernels in levels() {
        let product = |a: [f32; 2], b: [f32; 2], first: f32| {
            let (mut c, mut scratch) = ([first], vec![0; gemm_bytes()]);
            let (a, b) = (Mat::new(&a, 1, 2, 2), Mat::new(&b, 2, 1, 1));
            kernels.gemm_bf16(a, b, true, &mut TileMut::new(&mut c, 1, 1), &mut scratch);
            c[0]
        };
        for (e, left) in [(-111, power(-125)), (-112, power(-126)), (-113, 0.0), (-114, 0.0)] {
            // odd * odd is even + 2^-14.
            let (a, b) = ([odd * power(-56), -even * power(-56)], [odd * power(e + 56), power(e + 56)]);
            assert_eq!(product(a, b, 0.0), left, "{}: products of 2^{e}", kernels.isa().name());
        }
        for (e, left) in [(-102, power(-125)), (-103, power(-126)), (-104, 0.0), (-105, 0.0)] {
            let first = (1.0 + power(-23)) * power(e);
            let found = product([-power(-51), 0.0], [power(e + 51), 0.0], first);
            assert_eq!(found, left, "{}: a sum of 2^{e}", kernels.isa().name());
        }
    }
}

#[test]
fn tiny_and_huge_numbers_give_the_bits_of_scalar() {
    let scalar = Kernels::new(Isa::Scalar).expect("every CPU has it");
    let (rows, tokens, k) = (19, 5, 75);
    for (seed, (low, high)) in RANGES.into_iter().enumerate() {
        let mut random = Random(seed as u64);
        for _ in 0..40 {
            let w: Vec<u8> =
                (0..rows * k).flat_map(|_| bf16::from_f32(random.number(low, high)).to_le_bytes()).collect();
            let x: Vec<f32> = (0..tokens * k).map(|_| random.number(low, high)).collect();
            let product = |kernels: &Kernels| {
                let mut y = vec![f32::NAN; tokens * rows];
                kernels.matmul_bf16(Type::BF16, &w, &x, k, &mut TileMut::new(&mut y, tokens, rows));
                y
            };
            let expected = product(&scalar);
            for kernels in levels() {
                let found = product(&kernels);
                let at = expected.iter().zip(&found).position(|(a, b)| !same(*a, *b));
                assert_eq!(at, None, "{}, exponents {low} to {high}", kernels.isa().name());
            }
        }
    }
}

/// Activations lose all but 8 bits, the sum at most half a unit of f32 at each product.
#[test]
fn products_of_bf16_are_as_near_as_rounding_allows() {
    let mut random = Random(7);
    let (rows, tokens, k) = (9, 4, 1000);
    let weights: Vec<bf16> = (0..rows * k).map(|_| bf16::from_f32(random.number(120, 127))).collect();
    let w: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
    let x: Vec<f32> = (0..tokens * k).map(|_| random.number(120, 127)).collect();
    let mut differs = false;
    for kernels in levels() {
        let mut y = vec![f32::NAN; tokens * rows];
        kernels.matmul_bf16(Type::BF16, &w, &x, k, &mut TileMut::new(&mut y, tokens, rows));
        for t in 0..tokens {
            for r in 0..rows {
                let terms = (0..k).map(|i| weights[r * k + i].to_f64() * f64::from(x[t * k + i]));
                let (exact, magnitude) = terms.fold((0.0, 0.0), |(sum, all), term| (sum + term, all + term.abs()));
                let bound = magnitude * (f64::from(bf16::EPSILON) / 2.0 + k as f64 * f64::from(f32::EPSILON) / 2.0);
                let error = (f64::from(y[t * rows + r]) - exact).abs();
                assert!(error <= bound, "{}: {error} of {bound}", kernels.isa().name());
                differs |= error > magnitude * k as f64 * f64::from(f32::EPSILON) / 2.0;
            }
        }
    }
    assert!(differs, "nothing was rounded to bf16");
}
