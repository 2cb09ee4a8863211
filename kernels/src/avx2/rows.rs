//! Eight weight rows in the lanes of a 256-bit vector.
//!
//! A value of [`V8`] or [`F8`] is made only by the unsafe functions of the traits, whose callers promise
//! AVX2, FMA and F16C, and for `V8<true>` AVX-VNNI; that is what every `unsafe` block below rests on.

#![allow(clippy::needless_range_loop)] // a row of activations is a place in memory too

use crate::blocks::{Codes, GROUP, QuantBlock};
use crate::rows::{Floats, RowLanes, Rows, STRETCH, TOKENS};
use core::arch::x86_64::*;

/// Eight 32-bit lanes, multiplied by AVX-VNNI or without it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct V8<const VNNI: bool>(__m256i);

/// Eight f32.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct F8(__m256);

/// Methods that are one instruction on `self` and other vectors.
macro_rules! ops {
    ($($name:ident($($arg:ident),*) => $intrinsic:ident;)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: Self),*) -> Self {
            // SAFETY: a vector exists, so the instruction set does.
            Self(unsafe { $intrinsic(self.0, $($arg.0),*) })
        }
    )*};
}

/// Shifts of lanes by a number that is constant after inlining.
macro_rules! shifts {
    ($($name:ident => $intrinsic:ident;)*) => {$(
        #[inline(always)]
        fn $name(self, n: i32) -> Self {
            // SAFETY: a vector exists, so the instruction set does.
            Self(unsafe { $intrinsic(self.0, _mm_cvtsi32_si128(n)) })
        }
    )*};
}

/// `$body` for each `$i` below `$n`, at most 8, as code without a loop: the compiler would keep one of this size.
macro_rules! unrolled {
    ($i:ident in $n:expr => $body:block) => {
        unrolled!(@each $i, $n, $body; 0 1 2 3 4 5 6 7)
    };
    (@each $i:ident, $n:expr, $body:block; $($value:literal)*) => {$(
        if $value < $n {
            let $i: usize = $value;
            $body
        }
    )*};
}

impl<const VNNI: bool> RowLanes for V8<VNNI> {
    const N: usize = 8;
    const TILE: usize = TOKENS / 2;
    const KEEPS_SIGN: bool = !VNNI;
    type Floats = F8;

    #[inline(always)]
    unsafe fn splat(x: i32) -> Self {
        // SAFETY: promised by the caller.
        V8(unsafe { _mm256_set1_epi32(x) })
    }

    #[inline(always)]
    unsafe fn table(bytes: &[i8; 16]) -> Self {
        // SAFETY: promised by the caller.
        V8(unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(bytes.as_ptr().cast())) })
    }

    #[inline(always)]
    unsafe fn load4(rows: Rows) -> Self {
        // SAFETY: promised by the caller.
        unsafe {
            macro_rules! row {
                ($r:literal) => {
                    rows.ptr.add($r * rows.stride).cast::<i32>().read_unaligned()
                };
            }
            V8(_mm256_setr_epi32(row!(0), row!(1), row!(2), row!(3), row!(4), row!(5), row!(6), row!(7)))
        }
    }

    #[inline(always)]
    unsafe fn load16(rows: Rows) -> [Self; 4] {
        // SAFETY: promised by the caller.
        unsafe {
            macro_rules! row {
                ($r:expr) => {
                    _mm_loadu_si128(rows.ptr.add($r * rows.stride).cast())
                };
            }
            // Rows r and r + 4 in the halves, then a transposition of 4 x 4 lanes in each half.
            macro_rules! pair {
                ($r:literal) => {
                    _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(row!($r)), row!($r + 4))
                };
            }
            let (a, b, c, d) = (pair!(0), pair!(1), pair!(2), pair!(3));
            let (ab0, ab1) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
            let (cd0, cd1) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
            [
                V8(_mm256_unpacklo_epi64(ab0, cd0)),
                V8(_mm256_unpackhi_epi64(ab0, cd0)),
                V8(_mm256_unpacklo_epi64(ab1, cd1)),
                V8(_mm256_unpackhi_epi64(ab1, cd1)),
            ]
        }
    }

    ops! {
        and(b) => _mm256_and_si256;
        or(b) => _mm256_or_si256;
        xor(b) => _mm256_xor_si256;
        sub8(b) => _mm256_sub_epi8;
        add32(b) => _mm256_add_epi32;
        mul16(b) => _mm256_mullo_epi16;
    }

    shifts! {
        shl => _mm256_sll_epi32;
        shr => _mm256_srl_epi32;
        sar => _mm256_sra_epi32;
    }

    #[inline(always)]
    fn look_up(self, table: Self) -> Self {
        // SAFETY: a vector exists, so the instruction set does.
        V8(unsafe { _mm256_shuffle_epi8(table.0, self.0) })
    }

    #[inline(always)]
    fn fifth(self, bits: Self, i: usize) -> Self {
        // SAFETY: a vector exists, so the instruction set does.
        unsafe {
            // Byte i / 2 of each lane in all its bytes, of which each looks at its own bit of the upper four: what it
            // finds is no less than the flag.
            let bits = if i.is_multiple_of(2) { _mm256_slli_epi32::<4>(bits.0) } else { bits.0 };
            let lanes = _mm256_broadcastsi128_si256(_mm_setr_epi32(0, 0x0404_0404, 0x0808_0808, 0x0c0c_0c0c));
            let spread = _mm256_shuffle_epi8(bits, _mm256_add_epi8(_mm256_set1_epi8((i / 2) as i8), lanes));
            let found = _mm256_and_si256(spread, _mm256_set1_epi32(0x8040_2010_u32 as i32));
            V8(_mm256_or_si256(self.0, _mm256_min_epu8(found, _mm256_set1_epi8(16))))
        }
    }

    #[inline(always)]
    fn twice(self, j: usize) -> Self {
        // SAFETY: a vector exists, so the instruction set does.
        unsafe {
            // Indices above 127 give zero.
            let lanes = _mm256_broadcastsi128_si256(_mm_setr_epi32(0, 0x0004_0004, 0x0008_0008, 0x000c_000c));
            let bytes = _mm256_add_epi8(lanes, _mm256_set1_epi16(0x8000_u16 as i16 | j as i16));
            V8(_mm256_shuffle_epi8(self.0, bytes))
        }
    }

    #[inline(always)]
    fn pick<const N: usize>(self, table: &[u32; N]) -> Self {
        const { assert!(N.is_power_of_two()) };
        // SAFETY: a vector exists, so the instruction set does; the indices are less than N.
        unsafe {
            let index = _mm256_and_si256(self.0, _mm256_set1_epi32(N as i32 - 1));
            V8(_mm256_i32gather_epi32::<4>(table.as_ptr().cast(), index))
        }
    }

    #[inline(always)]
    fn float(self) -> F8 {
        // SAFETY: a vector exists, so the instruction set does.
        F8(unsafe { _mm256_cvtepi32_ps(self.0) })
    }

    #[inline(always)]
    fn half_float(self) -> F8 {
        // SAFETY: a vector exists, so the instruction set does.
        unsafe {
            let low = _mm256_and_si256(self.0, _mm256_set1_epi32(0xffff));
            let packed = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(low, low));
            F8(_mm256_cvtph_ps(_mm256_castsi256_si128(packed)))
        }
    }

    #[inline(always)]
    fn prepare(self, codes: Codes) -> Self {
        match codes {
            // SAFETY: a vector exists, so the instruction set does.
            Codes::Signed if VNNI => V8(unsafe { _mm256_xor_si256(self.0, _mm256_set1_epi8(-128)) }),
            _ => self,
        }
    }

    #[inline(always)]
    unsafe fn dot<B: QuantBlock, const VECTORS: usize>(codes: &[Self; VECTORS], x: *const i8, start: i32) -> Self {
        // SAFETY: promised by the caller.
        unsafe {
            let mut sum = _mm256_set1_epi32(start);
            let mut i = 0;
            while VNNI && i < VECTORS {
                sum = _mm256_dpbusd_avx_epi32(sum, codes[i].0, four(x.add(4 * i)));
                i += 1;
            }
            while i < VECTORS {
                // As many sums of pairs as 16 bits hold are added before they are widened.
                let mut pairs = _mm256_setzero_si256();
                let mut j = 0;
                while j < B::CODES.pairs() && i < VECTORS {
                    let x = four(x.add(4 * i));
                    let product = match B::CODES {
                        Codes::Unsigned { .. } => _mm256_maddubs_epi16(codes[i].0, x),
                        Codes::Signed => signed(codes[i].0, x),
                    };
                    pairs = if j == 0 { product } else { _mm256_add_epi16(pairs, product) };
                    (i, j) = (i + 1, j + 1);
                }
                sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
            }
            V8(sum)
        }
    }

    #[inline(always)]
    unsafe fn dots<const PAIRS: usize, const VECTORS: usize, const T: usize>(
        codes: *const Self,
        x: *const i8,
        start: *const i32,
    ) -> [Self; T] {
        // SAFETY: promised by the caller.
        unsafe {
            if VNNI {
                vnni_dots::<VECTORS, T>(codes.cast(), x, start)
            } else if PAIRS == 0 {
                plane_dots::<VECTORS, T>(codes.cast(), x, start)
            } else {
                pair_dots::<PAIRS, VECTORS, T>(codes.cast(), x, start)
            }
            .map(V8)
        }
    }

    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        // SAFETY: a hint that reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) };
    }
}

/// [`RowLanes::dots`] by AVX-VNNI.
///
/// # Safety
/// As that.
#[inline(always)]
unsafe fn vnni_dots<const VECTORS: usize, const T: usize>(
    codes: *const __m256i,
    x: *const i8,
    start: *const i32,
) -> [__m256i; T] {
    // SAFETY: promised by the caller.
    unsafe {
        let mut sums = [_mm256_setzero_si256(); T];
        for t in 0..T {
            sums[t] = _mm256_set1_epi32(*start.add(2 * STRETCH * t));
        }
        unrolled!(i in VECTORS => {
            let w = codes.add(i).read();
            for t in 0..T {
                sums[t] = _mm256_dpbusd_avx_epi32(sums[t], w, four(x.add(GROUP * t + 4 * i)));
            }
            keep(&mut sums);
        });
        sums
    }
}

/// [`RowLanes::dots`] of codes in two planes: nibbles, all of whose sums of pairs fit 16 bits.
///
/// # Safety
/// As that.
#[inline(always)]
unsafe fn plane_dots<const VECTORS: usize, const T: usize>(
    codes: *const __m256i,
    x: *const i8,
    start: *const i32,
) -> [__m256i; T] {
    // SAFETY: promised by the caller.
    unsafe {
        let (mut low, mut high) = ([_mm256_setzero_si256(); T], [_mm256_setzero_si256(); T]);
        unrolled!(i in VECTORS => {
            let (l, h) = (codes.add(2 * i).read(), codes.add(2 * i + 1).read());
            for t in 0..T {
                let x = four(x.add(GROUP * t + 4 * i));
                let (l, h) = (_mm256_maddubs_epi16(l, x), _mm256_maddubs_epi16(h, x));
                low[t] = if i == 0 { l } else { _mm256_add_epi16(low[t], l) };
                high[t] = if i == 0 { h } else { _mm256_add_epi16(high[t], h) };
            }
            keep(&mut low);
            keep(&mut high);
        });
        for t in 0..T {
            let start = _mm256_set1_epi32(*start.add(2 * STRETCH * t));
            let low = _mm256_add_epi32(_mm256_madd_epi16(low[t], _mm256_set1_epi16(1)), start);
            high[t] = _mm256_add_epi32(_mm256_madd_epi16(high[t], _mm256_set1_epi16(16)), low);
        }
        high
    }
}

/// [`RowLanes::dots`] of unsigned codes: as many sums of pairs as 16 bits hold are added before they are widened.
///
/// # Safety
/// As that.
#[inline(always)]
unsafe fn pair_dots<const PAIRS: usize, const VECTORS: usize, const T: usize>(
    codes: *const __m256i,
    x: *const i8,
    start: *const i32,
) -> [__m256i; T] {
    // SAFETY: promised by the caller.
    unsafe {
        let (mut sums, mut pairs) = ([_mm256_setzero_si256(); T], [_mm256_setzero_si256(); T]);
        unrolled!(i in VECTORS => {
            let w = codes.add(i).read();
            for t in 0..T {
                let product = _mm256_maddubs_epi16(w, four(x.add(GROUP * t + 4 * i)));
                pairs[t] = if i % PAIRS == 0 { product } else { _mm256_add_epi16(pairs[t], product) };
            }
            if (i + 1) % PAIRS != 0 && i + 1 < VECTORS {
                keep(&mut pairs);
            } else {
                for t in 0..T {
                    let wide = _mm256_madd_epi16(pairs[t], _mm256_set1_epi16(1));
                    sums[t] = if i < PAIRS { wide } else { _mm256_add_epi32(sums[t], wide) };
                }
                keep(&mut sums);
            }
        });
        for t in 0..T {
            sums[t] = _mm256_add_epi32(sums[t], _mm256_set1_epi32(*start.add(2 * STRETCH * t)));
        }
        sums
    }
}

/// Makes the compiler compute these, and load what they need, before it goes on: it would otherwise do one row of
/// activations after the other, for which the codes of a whole group do not fit the registers.
#[target_feature(enable = "avx2")]
#[inline]
fn keep(values: &mut [__m256i]) {
    for v in values {
        // SAFETY: no instruction at all.
        unsafe { core::arch::asm!("/* {} */", inout(ymm_reg) * v, options(nostack, preserves_flags)) };
    }
}

/// Four activations in every lane.
///
/// # Safety
/// The CPU has AVX2, and `x` four bytes.
#[inline(always)]
unsafe fn four(x: *const i8) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe { _mm256_set1_epi32(x.cast::<i32>().read_unaligned()) }
}

/// Sums of two products of signed bytes.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn signed(w: __m256i, x: __m256i) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe { _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)) }
}

impl Floats for F8 {
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: promised by the caller.
        F8(unsafe { _mm256_set1_ps(x) })
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: promised by the caller.
        F8(unsafe { _mm256_loadu_ps(p) })
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: promised by the caller.
        unsafe { _mm256_storeu_ps(p, self.0) };
    }

    #[inline(always)]
    fn keep(values: &mut [Self]) {
        for v in values {
            // SAFETY: a vector exists, so the instruction set does.
            unsafe {
                let mut v8 = [_mm256_castps_si256(v.0)];
                keep(&mut v8);
                v.0 = _mm256_castsi256_ps(v8[0]);
            }
        }
    }

    ops! {
        mul(b) => _mm256_mul_ps;
        mul_add(b, c) => _mm256_fmadd_ps;
    }
}
