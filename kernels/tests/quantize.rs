//! What is written reads back as near as the type allows, at every level of this CPU, also from numbers that no
//! type can hold.

use half::{bf16, f16};
use proptest::prelude::*;
use qorus_kernels::{Isa, Kernels, Type};
use std::io::Write as _; // not held back by the test harness, as the print macros are

/// The types in blocks that can be written.
const BLOCKS: [Type; 11] = [
    Type::Q8_0,
    Type::Q4_0,
    Type::Q4_1,
    Type::Q5_0,
    Type::Q5_1,
    Type::Q2_K,
    Type::Q3_K,
    Type::Q4_K,
    Type::Q5_K,
    Type::Q6_K,
    Type::IQ4_NL,
];

/// The length of the longest blocks.
const LONG: usize = 256;

/// The kernels of every level that this CPU has.
fn levels() -> Vec<Kernels> {
    let mut levels = Vec::new();
    for isa in Isa::ALL {
        match Kernels::new(isa) {
            Some(kernels) => levels.push(kernels),
            None => drop(writeln!(std::io::stderr(), "SKIPPED: this CPU has no {}", isa.name())),
        }
    }
    levels
}

fn quantize(kernels: &Kernels, ty: Type, x: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0xff; ty.row_bytes(x.len()).expect("whole blocks")];
    kernels.quantize(ty, x, &mut bytes);
    bytes
}

fn dequantize(kernels: &Kernels, ty: Type, bytes: &[u8], len: usize) -> Vec<f32> {
    let mut x = vec![f32::NAN; len];
    kernels.dequantize(ty, bytes, &mut x);
    x
}

fn words(bytes: &[u8]) -> Vec<u16> {
    bytes.as_chunks().0.iter().map(|b| u16::from_le_bytes(*b)).collect()
}

/// Every upper half of an f32 with lower halves about the ties of both 16-bit types.
fn patterns() -> Vec<f32> {
    const LOWER: [u32; 15] =
        [0, 1, 0x0fff, 0x1000, 0x1001, 0x1fff, 0x2000, 0x2fff, 0x3000, 0x3001, 0x7fff, 0x8000, 0x8001, 0xf000, 0xffff];
    (0..=0xffff).flat_map(|upper| LOWER.map(|lower| f32::from_bits(upper << 16 | lower))).collect()
}

#[test]
fn f32_is_copied() {
    let x = patterns();
    let expected: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
    for kernels in levels() {
        assert!(quantize(&kernels, Type::F32, &x) == expected, "{:?}", kernels.isa());
    }
}

#[test]
fn sixteen_bits_are_those_of_half() {
    let x = patterns();
    let halves: Vec<u16> = x.iter().map(|x| f16::from_f32_const(*x).to_bits()).collect();
    let uppers: Vec<u16> = x.iter().map(|x| bf16::from_f32(*x).to_bits()).collect();
    for kernels in levels() {
        for (ty, expected) in [(Type::F16, &halves), (Type::BF16, &uppers)] {
            let found = words(&quantize(&kernels, ty, &x));
            let at = (0..x.len()).find(|&i| found[i] != expected[i]);
            if let Some(i) = at {
                panic!("{ty:?} {:?}: {:e} became {:x}, not {:x}", kernels.isa(), x[i], found[i], expected[i]);
            }
        }
    }
}

/// All values of a 16-bit type come back; what lies between two of them goes to the nearer, the midpoint to the even one.
#[test]
fn sixteen_bits_round_to_nearest_even() {
    for kernels in levels() {
        for (ty, infinity) in [(Type::F16, 0x7c00u16), (Type::BF16, 0x7f80)] {
            let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
            let values = dequantize(&kernels, ty, &all, 1 << 16);
            let back = words(&quantize(&kernels, ty, &values));
            for bits in 0..=u16::MAX {
                let found = back[usize::from(bits)];
                if bits & 0x7fff > infinity {
                    assert!(found & 0x7fff > infinity && found & 0x8000 == bits & 0x8000, "NaN {bits:x}: {found:x}");
                } else {
                    assert_eq!(found, bits, "{ty:?}");
                }
            }
            let mut x = Vec::new();
            for bits in 0..infinity - 1 {
                let [low, high] = [bits, bits + 1].map(|bits| f64::from(values[usize::from(bits)]));
                let middle = ((low + high) / 2.0) as f32;
                x.extend([middle.next_down(), middle, middle.next_up(), -middle]);
            }
            for (bits, found) in (0..).zip(words(&quantize(&kernels, ty, &x)).chunks(4)) {
                let even = bits + (bits & 1);
                assert_eq!(found, [bits, even, bits + 1, even | 0x8000], "{ty:?}");
            }
        }
        let x = [65504.0, 65519.99, 65520.0, 1e30, f32::INFINITY, f32::NEG_INFINITY, f32::MIN];
        assert_eq!(words(&quantize(&kernels, Type::F16, &x)), [0x7bff, 0x7bff, 0x7c00, 0x7c00, 0x7c00, 0xfc00, 0xfc00]);
        assert_eq!(words(&quantize(&kernels, Type::BF16, &[f32::MAX, f32::MIN])), [0x7f80, 0xff80]);
    }
}

/// Values of one block, worked out by hand.
#[test]
fn blocks_have_their_bytes() {
    let mut x = [0.0; 32];
    (x[0], x[1], x[2], x[3], x[16], x[31]) = (-254.0, 1.0, -1.0, 0.9, 127.0, 254.0);
    for kernels in levels() {
        let block = quantize(&kernels, Type::Q8_0, &x);
        assert_eq!(block[..2], f16::from_f32(2.0).to_le_bytes());
        // 1 / 2 and -1 / 2 are ties.
        let expected = [(0, -127), (1, 1), (2, -1), (3, 0), (4, 0), (16, 64), (30, 0), (31, 127)];
        for (i, q) in expected {
            assert_eq!(block[2 + i] as i8, q, "{i}");
        }
    }
    (x[0], x[1], x[2], x[3], x[16], x[31]) = (-16.0, 2.0, -3.0, 0.9, 13.0, 16.0);
    for kernels in levels() {
        let block = quantize(&kernels, Type::Q4_0, &x);
        assert_eq!(block[..2], f16::from_f32(2.0).to_le_bytes());
        // Low nibbles: -16 / 2 + 8, 2 / 2 + 8, -1.5 + 8 up to 7, 0; high ones: 6.5 + 8 up to 15, 16 cut to 15.
        assert_eq!(block[2..], [[0xf0, 0x89, 0x87, 0x88].as_slice(), &[0x88; 11], &[0xf8]].concat());
    }
}

/// Blocks without a usable scale: zeros stay zeros, NaN and infinity are never lost, and nothing panics.
#[test]
fn blocks_bear_every_number() {
    for kernels in levels() {
        for ty in BLOCKS {
            let len = ty.block_len();
            let read = |x: &[f32]| dequantize(&kernels, ty, &quantize(&kernels, ty, x), len);
            for zero in [0.0, -0.0, f32::MIN_POSITIVE, f32::from_bits(1), -1e-30, 1e-12] {
                assert_eq!(read(&vec![zero; len]), vec![0.0; len], "{ty:?} {zero:e}");
            }
            for bad in [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001), f32::INFINITY, f32::NEG_INFINITY] {
                for at in 0..len {
                    let mut x = vec![1.0; len];
                    x[at] = bad;
                    assert!(read(&x).iter().all(|y| y.is_nan()), "{ty:?} {bad:e} at {at}");
                }
            }
            // Beyond the greatest scale; what k-quants hold is greater by their integers.
            for great in [1e7, -1e7, 1e12, -1e13, f32::MAX, f32::MIN] {
                let mut x = vec![0.0; len];
                x[5] = great;
                let y = read(&x);
                if matches!(ty, Type::Q8_0 | Type::Q4_0) {
                    assert_eq!(y[5], great.signum() * f32::INFINITY, "{ty:?} {great:e}");
                } else if len < LONG || great.abs() > 1e7 {
                    assert!(y.iter().all(|y| !y.is_finite()), "{ty:?} {great:e}");
                }
            }
        }
    }
}

/// Pseudo-random numbers, uniform from -1 to 1: Marsaglia's xorshift.
fn uniform(len: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 + 0.5) / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Normal numbers from pairs of uniform ones, as Box and Muller make them.
fn normal(len: usize) -> Vec<f32> {
    let pair = |u: &[f32; 2]| (-2.0 * u[0].abs().ln()).sqrt() * (core::f32::consts::PI * u[1]).cos();
    uniform(2 * len).as_chunks().0.iter().map(pair).collect()
}

fn wave(len: usize) -> Vec<f32> {
    (0..len).map(|i| 0.1 + 2.0 * (i as f32).cos()).collect()
}

/// Root mean square of the difference, over that of `x`.
fn relative_error(x: &[f32], y: &[f32]) -> f64 {
    assert_eq!(x.len(), y.len());
    let sum = |f: &dyn Fn(usize) -> f32| (0..x.len()).map(|i| f64::from(f(i)).powi(2)).sum::<f64>();
    (sum(&|i| x[i] - y[i]) / sum(&|i| x[i])).sqrt()
}

/// The limits that the documentation of `scalar::quantize` states: normal, uniform, wave.
const LIMITS: [(Type, [f64; 3]); 11] = [
    (Type::Q8_0, [0.00549, 0.00383, 0.00339]),
    (Type::Q4_0, [0.088, 0.0655, 0.0512]),
    (Type::Q4_1, [0.071, 0.0537, 0.043]),
    (Type::Q5_0, [0.0411, 0.0283, 0.025]),
    (Type::Q5_1, [0.0341, 0.026, 0.0228]),
    (Type::Q2_K, [0.265, 0.218, 0.2]),
    (Type::Q3_K, [0.147, 0.119, 0.109]),
    (Type::Q4_K, [0.0711, 0.0539, 0.043]),
    (Type::Q5_K, [0.035, 0.0265, 0.0231]),
    (Type::Q6_K, [0.0174, 0.0128, 0.0112]),
    (Type::IQ4_NL, [0.0745, 0.0624, 0.056]),
];

/// No worse than the limits, and not so much better that these say nothing. Written once more, what was read back
/// loses nothing but for k-quants, whose two levels of scales need not be found again exactly.
#[test]
fn errors_keep_their_limits() {
    let kernels = Kernels::new(Isa::Scalar).expect("scalar runs everywhere");
    let data = [normal(64 * LONG), uniform(64 * LONG), wave(64 * LONG)];
    assert_eq!(LIMITS.map(|(ty, _)| ty), BLOCKS);
    for (ty, limits) in LIMITS {
        for (x, limit) in data.iter().zip(limits) {
            let again = |x: &[f32]| dequantize(&kernels, ty, &quantize(&kernels, ty, x), x.len());
            let y = again(x);
            let error = relative_error(x, &y);
            println!("{ty:?}: {error:.5} of {limit}");
            assert!(error <= limit, "{ty:?}: {error} exceeds {limit}");
            assert!(error > 0.95 * limit, "{ty:?}: {limit} is too wide for {error}");
            let twice = relative_error(x, &again(&y)) / error;
            let most = if ty.block_len() == LONG { 1.02 } else { 1.001 };
            assert!(twice <= most, "{ty:?}: written twice the error is {twice} times as great");
        }
    }
}

/// Scales near the end of half precision still serve: the integers of k-quants take up what it lacks.
#[test]
fn k_quants_bear_small_and_great_values() {
    let kernels = Kernels::new(Isa::Scalar).expect("scalar runs everywhere");
    for (ty, [limit, ..]) in LIMITS.into_iter().filter(|(ty, _)| ty.block_len() == LONG) {
        for unit in [3e-5, 1e4] {
            let x: Vec<f32> = normal(16 * LONG).iter().map(|x| unit * x).collect();
            let y = dequantize(&kernels, ty, &quantize(&kernels, ty, &x), x.len());
            let error = relative_error(&x, &y);
            assert!(error <= 1.1 * limit, "{ty:?} in units of {unit:e}: {error}");
        }
    }
}

/// Blocks of any bits at all: the levels agree and nothing panics.
fn any_block() -> impl Strategy<Value = Vec<f32>> {
    let small = -8.0f32..8.0;
    let any = any::<u32>().prop_map(f32::from_bits);
    prop_oneof![
        proptest::collection::vec(small, LONG),
        proptest::collection::vec(any.clone(), LONG),
        (proptest::collection::vec(-1e-4f32..1e-4, LONG - 1), any).prop_map(|(mut x, y)| {
            x.push(y);
            x
        }),
    ]
}

proptest! {
    #[test]
    fn levels_agree_on_any_block(x in any_block()) {
        let levels = levels();
        for ty in [Type::F16, Type::BF16].into_iter().chain(BLOCKS) {
            let expected = quantize(&levels[0], ty, &x);
            for kernels in &levels[1..] {
                prop_assert_eq!(&quantize(kernels, ty, &x), &expected);
            }
        }
    }

    /// Half a step, and what the scale loses in half precision; a whole step for the end that Q4_0 cuts off.
    #[test]
    fn blocks_come_back_within_a_step(x in proptest::collection::vec(-8.0f32..8.0, 64)) {
        for kernels in levels() {
            for (ty, levels, steps) in [(Type::Q8_0, 127.0, 0.5), (Type::Q4_0, 8.0, 1.0)] {
                let y = dequantize(&kernels, ty, &quantize(&kernels, ty, &x), x.len());
                for (x, y) in x.chunks(32).zip(y.chunks(32)) {
                    let max = x.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
                    let bound = steps * max / levels + max / 2048.0 + 1e-5;
                    for (x, y) in x.iter().zip(y) {
                        prop_assert!((x - y).abs() <= bound, "{:?}: {} became {}, bound {}", ty, x, y, bound);
                    }
                }
            }
        }
    }
    /// Where one element is not finite, all of its block are NaN; where all are and half precision holds them, none.
    #[test]
    fn what_is_not_finite_spoils_its_block(x in any_block()) {
        let kernels = Kernels::new(Isa::Scalar).expect("scalar runs everywhere");
        for ty in BLOCKS {
            let y = dequantize(&kernels, ty, &quantize(&kernels, ty, &x), x.len());
            for (x, y) in x.chunks(ty.block_len()).zip(y.chunks(ty.block_len())) {
                if x.iter().any(|x| !x.is_finite()) {
                    prop_assert!(y.iter().all(|y| y.is_nan()), "{:?}", ty);
                } else if x.iter().all(|x| x.abs() < 5e4) {
                    prop_assert!(y.iter().all(|y| y.is_finite()), "{:?}", ty);
                }
            }
        }
    }

    /// The search finds no less than the line that just spans a block, which is off by half a step at most.
    #[test]
    fn blocks_lose_half_a_step_at_most(mut x in proptest::collection::vec(-8.0f32..8.0, LONG), shift in -4.0f32..4.0) {
        x.iter_mut().for_each(|x| *x += shift);
        let kernels = Kernels::new(Isa::Scalar).expect("scalar runs everywhere");
        // Half a step over the range, or over the greatest magnitude where zero lies in the middle.
        let ranges = [(Type::Q4_1, 30.0), (Type::Q5_1, 62.0), (Type::Q2_K, 6.0), (Type::Q4_K, 30.0), (Type::Q5_K, 62.0)];
        let magnitudes = [(Type::Q5_0, 30.0), (Type::Q3_K, 6.0), (Type::Q6_K, 62.0), (Type::IQ4_NL, 113.0 / 12.0)];
        for (ty, halves) in ranges.into_iter().chain(magnitudes) {
            let y = dequantize(&kernels, ty, &quantize(&kernels, ty, &x), x.len());
            for (x, y) in x.chunks(ty.block_len()).zip(y.chunks(ty.block_len())) {
                let max = x.iter().fold(0.0, |max: f32, x| max.max(*x));
                let min = x.iter().fold(0.0, |min: f32, x| min.min(*x));
                let span = if ranges.iter().any(|r| r.0 == ty) { max - min } else { max.max(-min) };
                let rms = (x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f32>() / x.len() as f32).sqrt();
                prop_assert!(rms <= span / halves + max.max(-min) / 1024.0, "{:?}: {} of {}", ty, rms, span);
            }
        }
    }
}
