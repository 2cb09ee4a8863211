//! The arithmetic of AVX2, behind a token that proves the CPU has it.

use super::quantize::round_bf16;
use crate::lanes::{Lanes, Pairs, Simd};
use crate::scalar::pairs;
use core::arch::x86_64::*;

/// Proof that the CPU has AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    /// The proof.
    ///
    /// # Safety
    /// The CPU must have the features, as it has where they are enabled.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    pub fn new() -> Self {
        Avx2(())
    }
}

/// Instructions of the level; what they read and write is given by a reference, and `part` is checked.
macro_rules! cpu {
    ($e:expr) => {
        // SAFETY: an `Avx2` exists only where the CPU has the instructions, and pointers come from references to
        // as many elements as are touched.
        unsafe { $e }
    };
}

impl Simd for Avx2 {
    type V = __m256;
    const PARTS: usize = 2;

    #[inline(always)]
    fn apart<R>(self, f: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,fma,f16c")]
        #[inline(never)]
        fn call<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        cpu!(call(f))
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        cpu!(_mm256_set1_ps(x))
    }
    #[inline(always)]
    fn load(self, x: &[f32; 16], part: usize) -> __m256 {
        assert!(part < 2);
        cpu!(_mm256_loadu_ps(x.as_ptr().add(8 * part)))
    }
    #[inline(always)]
    fn store(self, x: &mut [f32; 16], part: usize, v: __m256) {
        assert!(part < 2);
        cpu!(_mm256_storeu_ps(x.as_mut_ptr().add(8 * part), v))
    }
    #[inline(always)]
    fn load_f32(self, x: &[u8; 64], part: usize) -> __m256 {
        assert!(part < 2);
        cpu!(_mm256_loadu_ps(x.as_ptr().add(32 * part).cast()))
    }
    #[inline(always)]
    fn load_f16(self, x: &[u8; 32], part: usize) -> __m256 {
        assert!(part < 2);
        cpu!(_mm256_cvtph_ps(_mm_loadu_si128(x.as_ptr().add(16 * part).cast())))
    }
    #[inline(always)]
    fn load_bf16(self, x: &[u8; 32], part: usize) -> __m256 {
        assert!(part < 2);
        cpu!(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(
            x.as_ptr().add(16 * part).cast()
        )))))
    }
    #[inline(always)]
    fn load_i8(self, x: &[u8; 16], part: usize) -> __m256 {
        assert!(part < 2);
        cpu!(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(x.as_ptr().add(8 * part).cast()))))
    }
    #[cfg(feature = "train")]
    #[inline(always)]
    fn lookup(self, table: &[f32; 256], codes: &[u8; 16], part: usize) -> __m256 {
        assert!(part < 2);
        cpu!({
            let at = _mm256_cvtepu8_epi32(_mm_loadl_epi64(codes.as_ptr().add(8 * part).cast()));
            _mm256_i32gather_ps::<4>(table.as_ptr(), at)
        })
    }
    #[cfg(feature = "train")]
    #[inline(always)]
    fn store_u8(self, x: &mut [u8; 16], part: usize, v: __m256) {
        assert!(part < 2);
        cpu!({
            let eight = _mm256_cvttps_epi32(v);
            let words = _mm_packus_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
            _mm_storel_epi64(x.as_mut_ptr().add(8 * part).cast(), _mm_packus_epi16(words, words))
        })
    }
    #[inline(always)]
    fn splat_f16(self, bits: u16) -> __m256 {
        cpu!(_mm256_cvtph_ps(_mm_set1_epi16(bits as i16)))
    }
    #[inline(always)]
    fn load_nibbles(self, x: &[u8; 16], high: bool, part: usize) -> __m256 {
        assert!(part < 2);
        cpu!({
            let bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(x.as_ptr().add(8 * part).cast()));
            let nibbles =
                if high { _mm256_srli_epi32::<4>(bytes) } else { _mm256_and_si256(bytes, _mm256_set1_epi32(15)) };
            _mm256_cvtepi32_ps(_mm256_sub_epi32(nibbles, _mm256_set1_epi32(8)))
        })
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        cpu!(_mm256_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        cpu!(_mm256_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        cpu!(_mm256_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        cpu!(_mm256_div_ps(a, b))
    }
    #[cfg(feature = "train")]
    #[inline(always)]
    fn sqrt(self, a: __m256) -> __m256 {
        cpu!(_mm256_sqrt_ps(a))
    }
    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        cpu!(_mm256_fmadd_ps(a, b, c))
    }
    /// By the definition itself where a result comes near what is flushed.
    #[cfg(feature = "train")]
    #[inline(always)]
    fn mul_add_flushed(self, a: __m256, b: __m256, sum: __m256) -> __m256 {
        cpu!(add_product(a, b, flush(sum)))
    }
    #[cfg(feature = "train")]
    #[inline(always)]
    fn round_bf16(self, x: __m256) -> __m256 {
        cpu!(to_bf16(x))
    }
    #[inline(always)]
    fn greater(self, a: __m256, b: __m256) -> __m256 {
        cpu!(_mm256_max_ps(a, b))
    }
    #[inline(always)]
    fn lesser(self, a: __m256, b: __m256) -> __m256 {
        cpu!(_mm256_min_ps(a, b))
    }
    #[inline(always)]
    fn if_negative(self, x: __m256, a: __m256, b: __m256) -> __m256 {
        cpu!(_mm256_blendv_ps(b, a, _mm256_cmp_ps::<_CMP_LT_OQ>(x, _mm256_setzero_ps())))
    }
    #[inline(always)]
    fn neg(self, x: __m256) -> __m256 {
        cpu!(_mm256_xor_ps(x, _mm256_set1_ps(-0.0)))
    }
    #[inline(always)]
    fn abs(self, x: __m256) -> __m256 {
        cpu!(_mm256_andnot_ps(_mm256_set1_ps(-0.0), x))
    }
    #[inline(always)]
    fn with_sign(self, x: __m256, sign: __m256) -> __m256 {
        cpu!(_mm256_or_ps(x, _mm256_and_ps(_mm256_set1_ps(-0.0), sign)))
    }
    #[inline(always)]
    fn pow2(self, t: __m256) -> __m256 {
        cpu!(_mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(t))))
    }

    #[inline(always)]
    fn load_twice(self, x: &[f32; 8], part: usize) -> __m256 {
        assert!(part < 2);
        cpu!({
            let four = _mm256_castps128_ps256(_mm_loadu_ps(x.as_ptr().add(4 * part)));
            _mm256_permutevar8x32_ps(four, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3))
        })
    }
    #[inline(always)]
    fn swap_pairs(self, x: __m256) -> __m256 {
        cpu!(_mm256_permute_ps::<0b10_11_00_01>(x))
    }
    #[inline(always)]
    fn mul_subadd(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        cpu!(_mm256_fmaddsub_ps(a, b, c))
    }

    #[cfg(feature = "train")]
    #[inline(always)]
    fn stream(self, x: &mut [f32; 16], part: usize, v: __m256) {
        assert!(x.as_ptr().cast::<__m512>().is_aligned());
        cpu!(_mm256_stream_ps(x.as_mut_ptr().add(8 * part), v))
    }
    #[cfg(feature = "train")]
    #[inline(always)]
    fn fence(self) {
        cpu!(_mm_sfence())
    }
    #[inline(always)]
    fn prefetch(self, x: *const f32) {
        cpu!(_mm_prefetch::<_MM_HINT_T0>(x.cast()))
    }
    #[inline(always)]
    fn columns(self, rows: &[&[f32; 16]; 16], four: usize, part: usize) -> [__m256; 4] {
        assert!(four < 4 && part < 2);
        cpu!(columns(rows, four, 8 * part))
    }

    #[inline(always)]
    fn sum(self, lanes: Lanes<Self>) -> f32 {
        cpu!({
            let eight = _mm256_add_ps(lanes[0], lanes[1]);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        })
    }
    #[inline(always)]
    fn sum4(self, lanes: &[Lanes<Self>; 4]) -> [f32; 4] {
        cpu!({
            let (a, b) = (_mm256_add_ps(lanes[0][0], lanes[0][1]), _mm256_add_ps(lanes[1][0], lanes[1][1]));
            let (c, d) = (_mm256_add_ps(lanes[2][0], lanes[2][1]), _mm256_add_ps(lanes[3][0], lanes[3][1]));
            // Four lanes of two sums each, then two lanes of four.
            let ab = _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b));
            let cd = _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(c, d), _mm256_permute2f128_ps::<0x31>(c, d));
            let acbd = _mm256_add_ps(_mm256_shuffle_ps::<0x44>(ab, cd), _mm256_shuffle_ps::<0xee>(ab, cd));
            let acbd = _mm256_add_ps(acbd, _mm256_movehdup_ps(acbd));
            // Sums at lanes 0 (a), 2 (c), 4 (b), 6 (d).
            let order = _mm256_setr_epi32(0, 4, 2, 6, 0, 4, 2, 6);
            let sums = _mm256_castps256_ps128(_mm256_permutevar8x32_ps(acbd, order));
            core::mem::transmute::<__m128, [f32; 4]>(sums)
        })
    }
    #[inline(always)]
    fn max(self, lanes: Lanes<Self>) -> f32 {
        cpu!({
            let eight = _mm256_max_ps(lanes[0], lanes[1]);
            let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        })
    }
}

impl Pairs for Avx2 {
    #[inline(always)]
    fn load_pairs(self, x: &[u8; 64], part: usize) -> __m256 {
        assert!(part < 2);
        cpu!(_mm256_loadu_ps(x.as_ptr().add(32 * part).cast()))
    }
    #[inline(always)]
    fn round_pairs(self, x: &[f32; 32], part: usize) -> __m256 {
        assert!(part < 2);
        cpu!({
            let x = x.as_ptr().add(16 * part);
            let [low, high] = [x, x.add(8)].map(|x| _mm256_srli_epi32::<16>(round_bf16(flush(_mm256_loadu_ps(x)))));
            // Fours of both in turn, put in order.
            let packed = _mm256_packus_epi32(low, high);
            _mm256_castsi256_ps(_mm256_permute4x64_epi64::<0b11_01_10_00>(packed))
        })
    }
    /// By two multiplications and additions, and by the definition itself where a result comes near what is flushed.
    #[inline(always)]
    fn add_pairs(self, a: __m256, b: __m256, sum: __m256) -> __m256 {
        cpu!({
            let first = |x| flush(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(x))));
            let second = |x| flush(_mm256_and_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(0xffff_0000u32 as i32))));
            add_product(first(a), first(b), add_product(second(a), second(b), flush(sum)))
        })
    }
}

/// Subnormals as zeros of their sign.
#[target_feature(enable = "avx2")]
#[inline]
fn flush(x: __m256) -> __m256 {
    let bits = _mm256_castps_si256(x);
    let exponents = _mm256_and_si256(bits, _mm256_set1_epi32(0x7f80_0000));
    let none = _mm256_cmpeq_epi32(exponents, _mm256_setzero_si256());
    _mm256_castsi256_ps(_mm256_andnot_si256(_mm256_srli_epi32::<1>(none), bits))
}

/// As [`pairs::round`].
#[cfg(feature = "train")]
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
pub(crate) fn to_bf16(x: __m256) -> __m256 {
    let upper = _mm256_set1_epi32(0xffff_0000u32 as i32);
    _mm256_castsi256_ps(_mm256_and_si256(round_bf16(flush(x)), upper))
}

/// As [`pairs::add_product`], of numbers that are not subnormal.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn add_product(a: __m256, b: __m256, sum: __m256) -> __m256 {
    let result = _mm256_fmadd_ps(a, b, sum);
    // Not zero, but no greater than the least normal number.
    let bits = _mm256_castps_si256(_mm256_andnot_ps(_mm256_set1_ps(-0.0), result));
    let high = _mm256_srli_epi32::<23>(_mm256_sub_epi32(bits, _mm256_set1_epi32(1)));
    let small = _mm256_cmpeq_epi32(high, _mm256_setzero_si256());
    if _mm256_movemask_epi8(small) == 0 {
        return result;
    }
    // SAFETY: registers are eight floats.
    let [a, b, mut sum] = [a, b, sum].map(|x| unsafe { core::mem::transmute::<__m256, [f32; 8]>(x) });
    for i in 0..8 {
        sum[i] = pairs::add_product(a[i], b[i], sum[i]);
    }
    // SAFETY: as above.
    unsafe { core::mem::transmute::<[f32; 8], __m256>(sum) }
}

/// Four elements of sixteen. Panics when they are not there.
#[target_feature(enable = "sse")]
#[inline]
pub fn load_four(x: &[f32; 16], four: usize) -> __m128 {
    let x: &[f32; 4] = &x.as_chunks().0[four];
    // SAFETY: four elements.
    unsafe { _mm_loadu_ps(x.as_ptr()) }
}

/// Eight rows from `first` on: fours of one place side by side, then exchanged inside fours.
#[target_feature(enable = "avx")]
#[inline]
fn columns(rows: &[&[f32; 16]; 16], four: usize, first: usize) -> [__m256; 4] {
    let row = |i: usize| load_four(rows[first + i], four);
    let fours = |i| _mm256_set_m128(row(i + 4), row(i));
    let (low, high) = (_mm256_unpacklo_ps(fours(0), fours(1)), _mm256_unpacklo_ps(fours(2), fours(3)));
    let (low2, high2) = (_mm256_unpackhi_ps(fours(0), fours(1)), _mm256_unpackhi_ps(fours(2), fours(3)));
    [
        _mm256_shuffle_ps::<0x44>(low, high),
        _mm256_shuffle_ps::<0xee>(low, high),
        _mm256_shuffle_ps::<0x44>(low2, high2),
        _mm256_shuffle_ps::<0xee>(low2, high2),
    ]
}
