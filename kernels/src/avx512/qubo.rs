//! Local fields of QUBO solvers on AVX-512, sixteen at a time; rows are added by what the compiler makes of the definition.

use crate::scalar::qubo as definition;
use crate::table::{Entry, Func};
use crate::{Isa, Type};
use core::arch::x86_64::*;

/// The kernels of this file.
pub const ENTRIES: &[Entry] = &[
    Entry::new("next_flip", Type::I32, Isa::Avx512, Func::NextFlip(next_flip)),
    Entry::new("best_flip", Type::I32, Isa::Avx512, Func::BestFlip(best_flip)),
    Entry::new("add_row", Type::I8, Isa::Avx512, Func::AddRow(add_row_i8)),
    Entry::new("add_row", Type::I16, Isa::Avx512, Func::AddRow(add_row_i16)),
    Entry::new("add_row", Type::I32, Isa::Avx512, Func::AddRow(add_row_i32)),
];

/// Sixteen integers from `at` on.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
fn sixteen(x: &[i32], at: usize) -> __m512i {
    let x: &[i32] = &x[at..at + 16];
    // SAFETY: sixteen elements are there.
    unsafe { _mm512_loadu_si512(x.as_ptr().cast()) }
}

/// What each flip adds.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
fn delta(fields: &[i32], masks: &[i32], at: usize) -> __m512i {
    let mask = sixteen(masks, at);
    _mm512_sub_epi32(_mm512_xor_si512(sixteen(fields, at), mask), mask)
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn next_flip(fields: &[i32], masks: &[i32], noise: &[f32], t: f32, from: usize) -> usize {
    let n = fields.len();
    assert!(masks.len() == n && noise.len() == n);
    let (mut at, scale) = (from / 16 * 16, _mm512_set1_ps(t));
    let mut wanted = !0u16 << (from % 16);
    while at + 16 <= n {
        // SAFETY: sixteen elements are there.
        let noise = unsafe { _mm512_loadu_ps(noise[at..at + 16].as_ptr()) };
        let d = _mm512_cvtepi32_ps(delta(fields, masks, at));
        let found = _mm512_mask_cmp_ps_mask::<_CMP_LE_OQ>(wanted, d, _mm512_mul_ps(scale, noise));
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        (at, wanted) = (at + 16, !0);
    }
    definition::next_flip(fields, masks, noise, t, at.max(from))
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn best_flip(fields: &[i32], masks: &[i32], free: &[i32], now: i32, aspire: i32) -> (i32, usize) {
    let n = fields.len();
    assert!(masks.len() == n && free.len() == n);
    let (now16, aspire16) = (_mm512_set1_epi32(now), _mm512_set1_epi32(aspire));
    let (mut best, mut place) = (_mm512_set1_epi32(i32::MAX), _mm512_set1_epi32(-1));
    let mut index = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let mut at = 0;
    while at + 16 <= n {
        let d = delta(fields, masks, at);
        let open = _mm512_cmple_epi32_mask(sixteen(free, at), now16) | _mm512_cmplt_epi32_mask(d, aspire16);
        let better = _mm512_mask_cmplt_epi32_mask(open, d, best);
        best = _mm512_mask_mov_epi32(best, better, d);
        place = _mm512_mask_mov_epi32(place, better, index);
        index = _mm512_add_epi32(index, _mm512_set1_epi32(16));
        at += 16;
    }
    let value = _mm512_reduce_min_epi32(best);
    // As unsigned, no place is the last one.
    let lanes = _mm512_cmpeq_epi32_mask(best, _mm512_set1_epi32(value));
    let place = _mm512_mask_reduce_min_epu32(lanes, place) as usize;
    let (rest, after) = definition::best_flip(&fields[at..], &masks[at..], &free[at..], now, aspire);
    match (value, rest) {
        (i32::MAX, i32::MAX) => (i32::MAX, n),
        _ if rest < value => (rest, at + after),
        _ => (value, place),
    }
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn add_row_i8(fields: &mut [i32], row: &[u8], shift: u32, minus: bool) {
    definition::add_row_i8(fields, row, shift, minus);
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn add_row_i16(fields: &mut [i32], row: &[u8], shift: u32, minus: bool) {
    definition::add_row_i16(fields, row, shift, minus);
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn add_row_i32(fields: &mut [i32], row: &[u8], shift: u32, minus: bool) {
    definition::add_row_i32(fields, row, shift, minus);
}
