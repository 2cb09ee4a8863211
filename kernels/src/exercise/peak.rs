//! The machine's arithmetic limit, measured: chains of the products that kernels are made of, on registers alone.
//!
//! A share of this limit says how far a kernel is from what the CPU does at the clock that it really has.

use crate::Isa;
use core::hint::black_box;
use std::time::Instant;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Products of bytes and their 32-bit sums. Without VNNI each product of bytes is widened and added at once, as
    /// any codes allow; codes of few bits, of which several sums fit 16 bits, can exceed this limit.
    I8,
    /// Products and sums of f32.
    F32,
    /// Products of bf16 and their sums in f32. A level without such an instruction computes them as products of f32.
    Bf16,
}

/// Independent chains: enough to hide the latency, few enough for sixteen registers.
const CHAINS: usize = 12;
/// Steps of each chain in one timed run, some tenths of a millisecond.
const STEPS: usize = 1 << 14;
/// The best of so many runs counts.
const RUNS: usize = 40;

/// Multiplications and additions per second of one thread, at the level `isa`; 0 where this CPU lacks it. Takes some
/// milliseconds.
pub fn peak(isa: Isa, unit: Unit) -> f64 {
    if !isa.available() {
        return 0.0;
    }
    // Operations of one step of one chain.
    let (ops, chains): (usize, unsafe fn()) = match (isa, unit) {
        (Isa::Scalar, Unit::I8) => (2 * LANES, scalar_i8),
        (Isa::Scalar, Unit::F32 | Unit::Bf16) => (2 * LANES, scalar_f32),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, Unit::I8) => (64, x86::avx2_i8),
        #[cfg(target_arch = "x86_64")]
        (Isa::AvxVnni, Unit::I8) => (64, x86::avxvnni_i8),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2 | Isa::AvxVnni, Unit::F32 | Unit::Bf16) => (16, x86::avx2_f32),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512 | Isa::Avx512Bf16, Unit::I8) => (128, x86::avx512_i8),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512Bf16, Unit::Bf16) => (64, x86::avx512_bf16),
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512 | Isa::Avx512Bf16, Unit::F32 | Unit::Bf16) => (32, x86::avx512_f32),
        #[cfg(not(target_arch = "x86_64"))]
        _ => return 0.0,
    };
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        // SAFETY: the level is available, which is all that the functions ask.
        unsafe { chains() };
        best = best.min(start.elapsed().as_secs_f64());
    }
    (ops * CHAINS * STEPS) as f64 / best
}

/// Lanes of a chain in plain code, which the compiler may make vectors of what every CPU of the architecture has.
const LANES: usize = 4;

/// Bytes widened, multiplied and added.
fn scalar_i8() {
    let x = black_box([3i8; LANES]);
    let mut sums = black_box([[1i32; LANES]; CHAINS]);
    for _ in 0..STEPS {
        for sum in &mut sums {
            for (sum, x) in sum.iter_mut().zip(x) {
                *sum = sum.wrapping_add(i32::from(*sum as i8) * i32::from(x));
            }
        }
    }
    black_box(sums);
}

/// Rounded after each operation: one rounding is a call where the CPU has no such instruction.
fn scalar_f32() {
    let (a, b) = black_box(([0.5f32; LANES], [1.0f32; LANES]));
    let mut sums = black_box([[1.0f32; LANES]; CHAINS]);
    for _ in 0..STEPS {
        for sum in &mut sums {
            for ((sum, a), b) in sum.iter_mut().zip(a).zip(b) {
                *sum = *sum * a + b;
            }
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{CHAINS, STEPS};
    use core::arch::x86_64::*;
    use core::hint::black_box;

    /// A function that repeats `$step` on [`CHAINS`] values that begin as `$start`; `$a` is another value of theirs.
    macro_rules! chains {
        ($name:ident, $features:literal, $start:expr, |$sum:ident, $a:ident| $step:expr) => {
            #[target_feature(enable = $features)]
            pub fn $name() {
                let $a = black_box($start);
                let mut sums = [black_box($start); CHAINS];
                for _ in 0..STEPS {
                    for $sum in &mut sums {
                        *$sum = $step;
                    }
                }
                black_box(sums);
            }
        };
    }

    chains!(avx2_f32, "avx2,fma", _mm256_set1_ps(0.5), |sum, a| _mm256_fmadd_ps(*sum, a, a));
    chains!(avxvnni_i8, "avx2,avxvnni", _mm256_set1_epi8(1), |sum, a| _mm256_dpbusd_avx_epi32(*sum, a, a));
    chains!(avx512_i8, "avx512f,avx512vnni", _mm512_set1_epi8(1), |sum, a| _mm512_dpbusd_epi32(*sum, a, a));
    chains!(avx512_f32, "avx512f", _mm512_set1_ps(0.5), |sum, a| _mm512_fmadd_ps(*sum, a, a));

    chains!(avx512_bf16, "avx512f,avx512bf16", _mm512_set1_ps(0.5), |sum, a| {
        // SAFETY: registers of as many bits.
        let pairs = unsafe { core::mem::transmute::<__m512, __m512bh>(a) };
        _mm512_dpbf16_ps(*sum, pairs, pairs)
    });

    /// The products do not depend on the sums here, so that four chains at a time are enough.
    #[target_feature(enable = "avx2")]
    pub fn avx2_i8() {
        const AT_ONCE: usize = 4;
        let (x, one) = (black_box([_mm256_set1_epi8(1); AT_ONCE]), _mm256_set1_epi16(1));
        let (mut a, mut sums) = (x[0], x);
        for _ in 0..STEPS * CHAINS / AT_ONCE {
            // SAFETY: no instruction at all; but for it the products would be taken out of the loop.
            unsafe { core::arch::asm!("/* {} */", inout(ymm_reg) a, options(nomem, nostack, preserves_flags)) };
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_maddubs_epi16(x, a), one));
            }
        }
        black_box(sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_of_a_cpu() {
        for isa in Isa::ALL {
            for unit in [Unit::I8, Unit::F32, Unit::Bf16] {
                let peak = peak(isa, unit);
                println!("{} {unit:?}: {:.1} G/s", isa.name(), peak * 1e-9);
                // Unoptimised scalar code on a busy machine, and more than any core does.
                let possible = 1e6..1e13;
                assert!(if isa.available() { possible.contains(&peak) } else { peak == 0.0 });
            }
        }
    }
}
