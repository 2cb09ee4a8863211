//! Activations to 8 bits, 32 at a time.

use crate::scalar::quantize_act::TINY;
use crate::table::{Entry, Func};
use crate::{Isa, Type};
use core::arch::x86_64::*;

/// The kernels of this file.
pub const ENTRIES: &[Entry] = &[Entry::new("quantize_act", Type::F32, Isa::Avx2, Func::QuantizeAct(quantize_act))];

/// The conversion of [`crate::scalar::quantize_act`].
///
/// # Safety
/// The CPU has AVX2; lengths as `Kernels::quantize_act` demands.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn quantize_act(x: &[f32], q: &mut [i8], d: &mut [f32], sums: &mut [i16]) {
    let blocks = x.as_chunks::<32>().0.iter().zip(q.as_chunks_mut::<32>().0);
    for ((x, q), (d, sums)) in blocks.zip(d.iter_mut().zip(sums.as_chunks_mut::<2>().0)) {
        // SAFETY: the block holds four vectors.
        let x = [0, 8, 16, 24].map(|i| unsafe { _mm256_loadu_ps(x.as_ptr().add(i)) });
        let max = greatest(x);
        let (scale, inverse) = match max {
            _ if !max.is_finite() => (f32::NAN, 0.0),
            _ if max < TINY => (0.0, 0.0),
            _ => (max / 127.0, 127.0 / max),
        };
        *d = scale;
        if inverse == 0.0 {
            (*q, *sums) = ([0; 32], [0; 2]);
            continue;
        }
        let inverse = _mm256_set1_ps(inverse);
        let packed = pack(x.map(|v| _mm256_cvtps_epi32(_mm256_mul_ps(v, inverse))));
        // SAFETY: the block holds 32 bytes.
        unsafe { _mm256_storeu_si256(q.as_mut_ptr().cast(), packed) };
        let pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), packed);
        let fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
        let eights = _mm256_add_epi32(fours, _mm256_shuffle_epi32::<0b01_00_11_10>(fours));
        let halves = _mm256_add_epi32(eights, _mm256_shuffle_epi32::<0b10_11_00_01>(eights));
        *sums = [_mm256_extract_epi32::<0>(halves) as i16, _mm256_extract_epi32::<4>(halves) as i16];
    }
}

/// The greatest magnitude of 32 elements. Magnitudes compare as their bits do, and every NaN is above infinity.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) fn greatest(x: [__m256; 4]) -> f32 {
    let magnitude = |v| _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fff_ffff));
    let [a, b, c, e] = x.map(magnitude);
    let max = _mm256_max_epu32(_mm256_max_epu32(a, b), _mm256_max_epu32(c, e));
    let max = _mm_max_epu32(_mm256_castsi256_si128(max), _mm256_extracti128_si256::<1>(max));
    let max = _mm_max_epu32(max, _mm_shuffle_epi32::<0b01_00_11_10>(max));
    let max = _mm_max_epu32(max, _mm_shuffle_epi32::<0b10_11_00_01>(max));
    f32::from_bits(_mm_cvtsi128_si32(max) as u32)
}

/// 32 integers to signed bytes.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) fn pack([a, b, c, e]: [__m256i; 4]) -> __m256i {
    // Packing works in halves; the last step puts the groups of four in order.
    let packed = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, e));
    _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
}
