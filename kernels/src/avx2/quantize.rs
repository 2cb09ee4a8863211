//! f32 to the types of the KV cache. F32 is a copy, which needs no twin; Q4_0 is written by the scalar kernel.

use super::quantize_act::{greatest, pack};
use crate::blocks::Q8_0;
use crate::scalar::quantize::{BELOW_HALF, scale, to_bf16, to_f16};
use crate::table::{Entry, Func};
use crate::{Isa, Type};
use core::arch::x86_64::*;

/// The kernels of this file.
pub const ENTRIES: &[Entry] = &[
    Entry::new("quantize", Type::F16, Isa::Avx2, Func::Quantize(f16)),
    Entry::new("quantize", Type::BF16, Isa::Avx2, Func::Quantize(bf16)),
    Entry::new("quantize", Type::Q8_0, Isa::Avx2, Func::Quantize(q8_0)),
];

/// Half precision.
#[target_feature(enable = "avx2,fma,f16c")]
fn f16(src: &[f32], dst: &mut [u8]) {
    let ((xs, x_tail), (ys, y_tail)) = (src.as_chunks::<8>(), dst.as_chunks_mut::<16>());
    for (x, y) in xs.iter().zip(ys) {
        // SAFETY: eight floats are read.
        let x = unsafe { _mm256_loadu_ps(x.as_ptr()) };
        let halves = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x);
        // SAFETY: sixteen bytes are written.
        unsafe { _mm_storeu_si128(y.as_mut_ptr().cast(), halves) };
    }
    to_f16(x_tail, y_tail);
}

/// The upper half of an f32.
#[target_feature(enable = "avx2,fma,f16c")]
fn bf16(src: &[f32], dst: &mut [u8]) {
    let ((xs, x_tail), (ys, y_tail)) = (src.as_chunks::<8>(), dst.as_chunks_mut::<16>());
    for (x, y) in xs.iter().zip(ys) {
        // SAFETY: eight floats are read.
        let x = unsafe { _mm256_loadu_ps(x.as_ptr()) };
        let wide = _mm256_srli_epi32::<16>(round_bf16(x));
        let narrow = _mm_packus_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256::<1>(wide));
        // SAFETY: sixteen bytes are written.
        unsafe { _mm_storeu_si128(y.as_mut_ptr().cast(), narrow) };
    }
    to_bf16(x_tail, y_tail);
}

/// f32 whose upper halves are rounded, by integers: just below half a unit of what stays is added, and one more where that
/// is odd. The lower halves are anything.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(super) fn round_bf16(x: __m256) -> __m256i {
    let bits = _mm256_castps_si256(x);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
    let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
    _mm256_blendv_epi8(rounded, quiet, nan)
}

/// Blocks of Q8_0.
#[target_feature(enable = "avx2,fma,f16c")]
fn q8_0(src: &[f32], dst: &mut [u8]) {
    for (x, block) in src.as_chunks::<32>().0.iter().zip(bytemuck::cast_slice_mut::<u8, Q8_0>(dst)) {
        // SAFETY: the block holds four vectors.
        let x = [0, 8, 16, 24].map(|i| unsafe { _mm256_loadu_ps(x.as_ptr().add(i)) });
        let (d, inverse) = scale(greatest(x), 127.0);
        *block = Q8_0 { d, qs: [0; 32] };
        if inverse == 0.0 {
            continue;
        }
        let nearest = |x| {
            let x = _mm256_mul_ps(x, _mm256_set1_ps(inverse));
            let sign = _mm256_and_ps(x, _mm256_set1_ps(-0.0));
            _mm256_cvttps_epi32(_mm256_add_ps(x, _mm256_or_ps(_mm256_set1_ps(BELOW_HALF), sign)))
        };
        let packed = pack(x.map(nearest));
        // SAFETY: the block holds 32 bytes.
        unsafe { _mm256_storeu_si256(block.qs.as_mut_ptr().cast(), packed) };
    }
}
