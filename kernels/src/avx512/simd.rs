//! The arithmetic of AVX-512, behind a token that proves the CPU has it.

use crate::avx2::load_four;
#[cfg(feature = "train")]
use crate::lanes::{Lanes, Pairs, Simd};
#[cfg(feature = "train")]
use crate::scalar::pairs;
use core::arch::x86_64::*;

/// Proof that the CPU has the features of [`crate::Isa::Avx512`], or also BF16.
#[derive(Clone, Copy)]
pub struct Token<const BF16: bool>(());

/// Proof that the CPU has the features of [`crate::Isa::Avx512`].
pub type Avx512 = Token<false>;
/// Proof that the CPU has the features of [`crate::Isa::Avx512Bf16`].
pub type Avx512Bf16 = Token<true>;

impl Avx512 {
    /// The proof.
    ///
    /// # Safety
    /// The CPU must have the features, as it has where they are enabled.
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    #[inline]
    pub fn new() -> Self {
        Token(())
    }
}

impl Avx512Bf16 {
    /// The proof.
    ///
    /// # Safety
    /// The CPU must have the features, as it has where they are enabled.
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16")]
    #[inline]
    pub fn new() -> Self {
        Token(())
    }
}

/// Instructions of the level; what they read and write is given by a reference.
macro_rules! cpu {
    ($e:expr) => {
        // SAFETY: a `Token` exists only where the CPU has the instructions, and pointers come from references to
        // as many elements as are touched.
        unsafe { $e }
    };
}

impl<const BF16: bool> Simd for Token<BF16> {
    type V = __m512;
    const PARTS: usize = 1;

    #[inline(always)]
    fn apart<R>(self, f: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
        #[inline(never)]
        fn call<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16")]
        #[inline(never)]
        fn call_bf16<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        if BF16 { cpu!(call_bf16(f)) } else { cpu!(call(f)) }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        cpu!(_mm512_set1_ps(x))
    }
    #[inline(always)]
    fn load(self, x: &[f32; 16], _: usize) -> __m512 {
        cpu!(_mm512_loadu_ps(x.as_ptr()))
    }
    #[inline(always)]
    fn store(self, x: &mut [f32; 16], _: usize, v: __m512) {
        cpu!(_mm512_storeu_ps(x.as_mut_ptr(), v))
    }
    #[inline(always)]
    fn load_f32(self, x: &[u8; 64], _: usize) -> __m512 {
        cpu!(_mm512_loadu_ps(x.as_ptr().cast()))
    }
    #[inline(always)]
    fn load_f16(self, x: &[u8; 32], _: usize) -> __m512 {
        cpu!(_mm512_cvtph_ps(_mm256_loadu_si256(x.as_ptr().cast())))
    }
    #[inline(always)]
    fn load_bf16(self, x: &[u8; 32], _: usize) -> __m512 {
        cpu!(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(x.as_ptr().cast())))))
    }
    #[inline(always)]
    fn load_i8(self, x: &[u8; 16], _: usize) -> __m512 {
        cpu!(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(x.as_ptr().cast()))))
    }
    #[cfg(feature = "train")]
    #[inline(always)]
    fn lookup(self, table: &[f32; 256], codes: &[u8; 16], _: usize) -> __m512 {
        cpu!({
            let at = _mm512_cvtepu8_epi32(_mm_loadu_si128(codes.as_ptr().cast()));
            _mm512_i32gather_ps::<4>(at, table.as_ptr())
        })
    }
    #[cfg(feature = "train")]
    #[inline(always)]
    fn store_u8(self, x: &mut [u8; 16], _: usize, v: __m512) {
        cpu!(_mm_storeu_si128(x.as_mut_ptr().cast(), _mm512_cvtusepi32_epi8(_mm512_cvttps_epi32(v))))
    }
    #[inline(always)]
    fn splat_f16(self, bits: u16) -> __m512 {
        cpu!(_mm512_cvtph_ps(_mm256_set1_epi16(bits as i16)))
    }
    #[inline(always)]
    fn load_nibbles(self, x: &[u8; 16], high: bool, _: usize) -> __m512 {
        cpu!({
            let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(x.as_ptr().cast()));
            let nibbles =
                if high { _mm512_srli_epi32::<4>(bytes) } else { _mm512_and_si512(bytes, _mm512_set1_epi32(15)) };
            _mm512_cvtepi32_ps(_mm512_sub_epi32(nibbles, _mm512_set1_epi32(8)))
        })
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        cpu!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        cpu!(_mm512_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        cpu!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        cpu!(_mm512_div_ps(a, b))
    }
    #[cfg(feature = "train")]
    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        cpu!(_mm512_sqrt_ps(a))
    }
    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        cpu!(_mm512_fmadd_ps(a, b, c))
    }
    /// By the definition itself where a result comes near what is flushed.
    #[cfg(feature = "train")]
    #[inline(always)]
    fn mul_add_flushed(self, a: __m512, b: __m512, sum: __m512) -> __m512 {
        cpu!({
            let sum = flush(sum);
            let result = _mm512_fmadd_ps(a, b, sum);
            // Not zero, but no greater than the least normal number.
            let bits = _mm512_castps_si512(_mm512_abs_ps(result));
            let below = _mm512_sub_epi32(bits, _mm512_set1_epi32(1));
            if _mm512_cmplt_epu32_mask(below, _mm512_set1_epi32(f32::MIN_POSITIVE.to_bits() as i32)) == 0 {
                return result;
            }
            let [a, b, mut sum] = [a, b, sum].map(|x| core::mem::transmute::<__m512, [f32; 16]>(x));
            for i in 0..16 {
                sum[i] = pairs::add_product(a[i], b[i], sum[i]);
            }
            core::mem::transmute::<[f32; 16], __m512>(sum)
        })
    }
    #[cfg(feature = "train")]
    #[inline(always)]
    fn round_bf16(self, x: __m512) -> __m512 {
        if BF16 {
            return cpu!(nearest_bf16(x));
        }
        cpu!({
            let bits = _mm512_castps_si512(flush(x));
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
            let rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x40_0000));
            _mm512_castsi512_ps(_mm512_and_si512(rounded, _mm512_set1_epi32(0xffff_0000u32 as i32)))
        })
    }
    #[inline(always)]
    fn greater(self, a: __m512, b: __m512) -> __m512 {
        cpu!(_mm512_max_ps(a, b))
    }
    #[inline(always)]
    fn lesser(self, a: __m512, b: __m512) -> __m512 {
        cpu!(_mm512_min_ps(a, b))
    }
    #[inline(always)]
    fn if_negative(self, x: __m512, a: __m512, b: __m512) -> __m512 {
        cpu!(_mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, _mm512_setzero_ps()), b, a))
    }
    #[inline(always)]
    fn neg(self, x: __m512) -> __m512 {
        cpu!(_mm512_xor_ps(x, _mm512_set1_ps(-0.0)))
    }
    #[inline(always)]
    fn abs(self, x: __m512) -> __m512 {
        cpu!(_mm512_andnot_ps(_mm512_set1_ps(-0.0), x))
    }
    #[inline(always)]
    fn with_sign(self, x: __m512, sign: __m512) -> __m512 {
        cpu!(_mm512_or_ps(x, _mm512_and_ps(_mm512_set1_ps(-0.0), sign)))
    }
    #[inline(always)]
    fn pow2(self, t: __m512) -> __m512 {
        cpu!(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(t))))
    }

    #[inline(always)]
    fn load_twice(self, x: &[f32; 8], _: usize) -> __m512 {
        cpu!({
            let eight = _mm512_castps256_ps512(_mm256_loadu_ps(x.as_ptr()));
            let twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
            _mm512_permutexvar_ps(twice, eight)
        })
    }
    #[inline(always)]
    fn swap_pairs(self, x: __m512) -> __m512 {
        cpu!(_mm512_permute_ps::<0b10_11_00_01>(x))
    }
    #[inline(always)]
    fn mul_subadd(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        cpu!(_mm512_fmaddsub_ps(a, b, c))
    }

    #[cfg(feature = "train")]
    #[inline(always)]
    fn stream(self, x: &mut [f32; 16], _: usize, v: __m512) {
        assert!(x.as_ptr().cast::<__m512>().is_aligned());
        cpu!(_mm512_stream_ps(x.as_mut_ptr(), v))
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
    fn columns(self, rows: &[&[f32; 16]; 16], four: usize, _: usize) -> [__m512; 4] {
        assert!(four < 4);
        cpu!(columns(rows, four))
    }

    #[inline(always)]
    fn sum(self, lanes: Lanes<Self>) -> f32 {
        cpu!({
            let x = lanes[0];
            let eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        })
    }
    #[inline(always)]
    fn sum4(self, lanes: &[Lanes<Self>; 4]) -> [f32; 4] {
        cpu!({
            let (a, b, c, d) = (lanes[0][0], lanes[1][0], lanes[2][0], lanes[3][0]);
            // Eight lanes of two sums each, then four lanes of four.
            let ab = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
            let cd = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
            let four = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xdd>(ab, cd));
            let two = _mm512_add_ps(four, _mm512_permute_ps::<0x4e>(four));
            let one = _mm512_add_ps(two, _mm512_permute_ps::<0xb1>(two));
            let firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
            let sums = _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, one));
            core::mem::transmute::<__m128, [f32; 4]>(sums)
        })
    }
    #[inline(always)]
    fn max(self, lanes: Lanes<Self>) -> f32 {
        cpu!({
            let x = lanes[0];
            let eight = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
            let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        })
    }
}

/// Subnormals as zeros of their sign.
#[cfg(feature = "train")]
#[target_feature(enable = "avx512f")]
#[inline]
fn flush(x: __m512) -> __m512 {
    let bits = _mm512_castps_si512(x);
    let none = _mm512_testn_epi32_mask(bits, _mm512_set1_epi32(0x7f80_0000));
    _mm512_castsi512_ps(_mm512_mask_and_epi32(bits, none, bits, _mm512_set1_epi32(i32::MIN)))
}

/// [`pairs::round`] by the instruction that was made for it.
#[cfg(feature = "train")]
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
fn nearest_bf16(x: __m512) -> __m512 {
    // SAFETY: both are 32 bytes.
    let halves = unsafe { core::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x)) };
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
}

impl Pairs for Avx512Bf16 {
    #[inline(always)]
    fn load_pairs(self, x: &[u8; 64], _: usize) -> __m512 {
        cpu!(_mm512_loadu_ps(x.as_ptr().cast()))
    }
    #[inline(always)]
    fn round_pairs(self, x: &[f32; 32], _: usize) -> __m512 {
        cpu!({
            let (low, high) = (_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x.as_ptr().add(16)));
            core::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low))
        })
    }
    #[inline(always)]
    fn add_pairs(self, a: __m512, b: __m512, sum: __m512) -> __m512 {
        cpu!({
            let [a, b] = [a, b].map(|x| core::mem::transmute::<__m512, __m512bh>(x));
            _mm512_dpbf16_ps(sum, a, b)
        })
    }
}

/// Rows in fours: those of one place of all fours side by side, then exchanged inside fours.
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn columns(rows: &[&[f32; 16]; 16], four: usize) -> [__m512; 4] {
    let row = |i: usize| load_four(rows[i], four);
    let fours = |i| {
        let x = _mm512_castps128_ps512(row(i));
        let x = _mm512_insertf32x4::<1>(x, row(i + 4));
        let x = _mm512_insertf32x4::<2>(x, row(i + 8));
        _mm512_insertf32x4::<3>(x, row(i + 12))
    };
    let (low, high) = (_mm512_unpacklo_ps(fours(0), fours(1)), _mm512_unpacklo_ps(fours(2), fours(3)));
    let (low2, high2) = (_mm512_unpackhi_ps(fours(0), fours(1)), _mm512_unpackhi_ps(fours(2), fours(3)));
    [
        _mm512_shuffle_ps::<0x44>(low, high),
        _mm512_shuffle_ps::<0xee>(low, high),
        _mm512_shuffle_ps::<0x44>(low2, high2),
        _mm512_shuffle_ps::<0xee>(low2, high2),
    ]
}
