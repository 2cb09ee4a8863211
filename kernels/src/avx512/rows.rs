//! Sixteen weight rows in the lanes of a 512-bit vector.
//!
//! A value of [`V16`] or [`F16`] is made only by the unsafe functions of the traits, whose callers promise the
//! features of [`crate::Isa::Avx512`]; that is what every `unsafe` block below rests on.

use crate::blocks::{Codes, GROUP, QuantBlock};
use crate::rows::{Floats, RowLanes, Rows, STRETCH, TOKENS};
use core::arch::x86_64::*;

/// Sixteen 32-bit lanes.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct V16(__m512i);

/// Sixteen f32.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct F16(__m512);

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

impl RowLanes for V16 {
    const N: usize = 16;
    const TILE: usize = TOKENS;
    const KEEPS_SIGN: bool = false;
    type Floats = F16;

    #[inline(always)]
    unsafe fn splat(x: i32) -> Self {
        // SAFETY: promised by the caller.
        V16(unsafe { _mm512_set1_epi32(x) })
    }

    #[inline(always)]
    unsafe fn table(bytes: &[i8; 16]) -> Self {
        // SAFETY: promised by the caller.
        V16(unsafe { _mm512_broadcast_i32x4(_mm_loadu_si128(bytes.as_ptr().cast())) })
    }

    #[inline(always)]
    unsafe fn load4(rows: Rows) -> Self {
        // SAFETY: promised by the caller; the offsets of sixteen rows fit 32 bits, as `Rows` demands.
        unsafe {
            let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let offsets = _mm512_mullo_epi32(lanes, _mm512_set1_epi32(rows.stride as i32));
            V16(_mm512_i32gather_epi32::<1>(offsets, rows.ptr.cast()))
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
            // Rows r, r + 4, r + 8 and r + 12 in the quarters, then a transposition of 4 x 4 lanes in each quarter.
            macro_rules! quarters {
                ($r:literal) => {{
                    let v = _mm512_castsi128_si512(row!($r));
                    let v = _mm512_inserti32x4::<1>(v, row!($r + 4));
                    let v = _mm512_inserti32x4::<2>(v, row!($r + 8));
                    _mm512_inserti32x4::<3>(v, row!($r + 12))
                }};
            }
            let (a, b, c, d) = (quarters!(0), quarters!(1), quarters!(2), quarters!(3));
            let (ab0, ab1) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let (cd0, cd1) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
            [
                V16(_mm512_unpacklo_epi64(ab0, cd0)),
                V16(_mm512_unpackhi_epi64(ab0, cd0)),
                V16(_mm512_unpacklo_epi64(ab1, cd1)),
                V16(_mm512_unpackhi_epi64(ab1, cd1)),
            ]
        }
    }

    ops! {
        and(b) => _mm512_and_si512;
        or(b) => _mm512_or_si512;
        xor(b) => _mm512_xor_si512;
        sub8(b) => _mm512_sub_epi8;
        add32(b) => _mm512_add_epi32;
        mul16(b) => _mm512_mullo_epi16;
    }

    shifts! {
        shl => _mm512_sll_epi32;
        shr => _mm512_srl_epi32;
        sar => _mm512_sra_epi32;
    }

    #[inline(always)]
    fn look_up(self, table: Self) -> Self {
        // SAFETY: a vector exists, so the instruction set does.
        V16(unsafe { _mm512_shuffle_epi8(table.0, self.0) })
    }

    #[inline(always)]
    fn fifth(self, bits: Self, i: usize) -> Self {
        // SAFETY: a vector exists, so the instruction set does.
        unsafe {
            // Byte i / 2 of each lane in all its bytes, of which each looks at its own bit.
            let lanes = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x0404_0404, 0x0808_0808, 0x0c0c_0c0c));
            let spread = _mm512_shuffle_epi8(bits.0, _mm512_add_epi8(_mm512_set1_epi8((i / 2) as i8), lanes));
            let own = _mm512_set1_epi32(if i.is_multiple_of(2) { 0x0804_0201 } else { 0x8040_2010_u32 as i32 });
            let found = _mm512_test_epi8_mask(spread, own);
            V16(_mm512_mask_add_epi8(self.0, found, self.0, _mm512_set1_epi8(16)))
        }
    }

    #[inline(always)]
    fn twice(self, j: usize) -> Self {
        // SAFETY: a vector exists, so the instruction set does.
        unsafe {
            // Indices above 127 give zero.
            let lanes = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x0004_0004, 0x0008_0008, 0x000c_000c));
            let bytes = _mm512_add_epi8(lanes, _mm512_set1_epi16(0x8000_u16 as i16 | j as i16));
            V16(_mm512_shuffle_epi8(self.0, bytes))
        }
    }

    #[inline(always)]
    fn pick<const N: usize>(self, table: &[u32; N]) -> Self {
        const { assert!(N.is_power_of_two()) };
        // SAFETY: a vector exists, so the instruction set does; the indices are less than N.
        unsafe {
            let index = _mm512_and_si512(self.0, _mm512_set1_epi32(N as i32 - 1));
            V16(_mm512_i32gather_epi32::<4>(index, table.as_ptr().cast()))
        }
    }

    #[inline(always)]
    fn float(self) -> F16 {
        // SAFETY: a vector exists, so the instruction set does.
        F16(unsafe { _mm512_cvtepi32_ps(self.0) })
    }

    #[inline(always)]
    fn half_float(self) -> F16 {
        // SAFETY: a vector exists, so the instruction set does.
        F16(unsafe { _mm512_cvtph_ps(_mm512_cvtepi32_epi16(self.0)) })
    }

    #[inline(always)]
    fn prepare(self, codes: Codes) -> Self {
        match codes {
            Codes::Unsigned { .. } => self,
            // SAFETY: a vector exists, so the instruction set does.
            Codes::Signed => V16(unsafe { _mm512_xor_si512(self.0, _mm512_set1_epi8(-128)) }),
        }
    }

    #[inline(always)]
    unsafe fn dot<B: QuantBlock, const VECTORS: usize>(codes: &[Self; VECTORS], x: *const i8, start: i32) -> Self {
        // SAFETY: promised by the caller.
        unsafe {
            // Two chains: each product waits for the one before.
            let (mut even, mut odd) = (_mm512_set1_epi32(start), _mm512_setzero_si512());
            let mut i = 0;
            while i < VECTORS {
                even = _mm512_dpbusd_epi32(even, codes[i].0, four(x.add(4 * i)));
                odd = _mm512_dpbusd_epi32(odd, codes[i + 1].0, four(x.add(4 * i + 4)));
                i += 2;
            }
            V16(_mm512_add_epi32(even, odd))
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
            let mut sums = [_mm512_setzero_si512(); T];
            let mut t = 0;
            while t < T {
                sums[t] = _mm512_set1_epi32(*start.add(2 * STRETCH * t));
                t += 1;
            }
            let mut i = 0;
            while i < VECTORS {
                let w = codes.add(i).read().0;
                t = 0;
                while t < T {
                    sums[t] = _mm512_dpbusd_epi32(sums[t], w, four(x.add(GROUP * t + 4 * i)));
                    t += 1;
                }
                i += 1;
            }
            sums.map(V16)
        }
    }

    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        // SAFETY: a hint that reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) };
    }
}

/// Four activations in every lane.
///
/// # Safety
/// The CPU has AVX-512, and `x` four bytes.
#[inline(always)]
unsafe fn four(x: *const i8) -> __m512i {
    // SAFETY: promised by the caller.
    unsafe { _mm512_set1_epi32(x.cast::<i32>().read_unaligned()) }
}

impl Floats for F16 {
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: promised by the caller.
        F16(unsafe { _mm512_set1_ps(x) })
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: promised by the caller.
        F16(unsafe { _mm512_loadu_ps(p) })
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: promised by the caller.
        unsafe { _mm512_storeu_ps(p, self.0) };
    }

    #[inline(always)]
    fn keep(_: &mut [Self]) {}

    ops! {
        mul(b) => _mm512_mul_ps;
        mul_add(b, c) => _mm512_fmadd_ps;
    }
}
