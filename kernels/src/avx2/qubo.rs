//! Local fields of QUBO solvers on AVX2, eight at a time; rows are added by what the compiler makes of the definition.

use crate::scalar::qubo as definition;
use crate::table::{Entry, Func};
use crate::{Isa, Type};
use core::arch::x86_64::*;

/// The kernels of this file.
pub const ENTRIES: &[Entry] = &[
    Entry::new("next_flip", Type::I32, Isa::Avx2, Func::NextFlip(next_flip)),
    Entry::new("best_flip", Type::I32, Isa::Avx2, Func::BestFlip(best_flip)),
    Entry::new("add_row", Type::I8, Isa::Avx2, Func::AddRow(add_row_i8)),
    Entry::new("add_row", Type::I16, Isa::Avx2, Func::AddRow(add_row_i16)),
    Entry::new("add_row", Type::I32, Isa::Avx2, Func::AddRow(add_row_i32)),
];

/// Eight integers from `at` on.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn eight(x: &[i32], at: usize) -> __m256i {
    let x: &[i32] = &x[at..at + 8];
    // SAFETY: eight elements are there.
    unsafe { _mm256_loadu_si256(x.as_ptr().cast()) }
}

/// What each flip adds.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn delta(fields: &[i32], masks: &[i32], at: usize) -> __m256i {
    let mask = eight(masks, at);
    _mm256_sub_epi32(_mm256_xor_si256(eight(fields, at), mask), mask)
}

#[target_feature(enable = "avx2,fma,f16c")]
fn next_flip(fields: &[i32], masks: &[i32], noise: &[f32], t: f32, from: usize) -> usize {
    let n = fields.len();
    assert!(masks.len() == n && noise.len() == n);
    let (mut at, scale) = (from / 8 * 8, _mm256_set1_ps(t));
    let mut wanted = !0u32 << (from % 8);
    while at + 8 <= n {
        // SAFETY: eight elements are there.
        let noise = unsafe { _mm256_loadu_ps(noise[at..at + 8].as_ptr()) };
        let low =
            _mm256_cmp_ps::<_CMP_LE_OQ>(_mm256_cvtepi32_ps(delta(fields, masks, at)), _mm256_mul_ps(scale, noise));
        let found = _mm256_movemask_ps(low).cast_unsigned() & wanted;
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        (at, wanted) = (at + 8, !0);
    }
    definition::next_flip(fields, masks, noise, t, at.max(from))
}

#[target_feature(enable = "avx2,fma,f16c")]
fn best_flip(fields: &[i32], masks: &[i32], free: &[i32], now: i32, aspire: i32) -> (i32, usize) {
    let n = fields.len();
    assert!(masks.len() == n && free.len() == n);
    let (now8, aspire8) = (_mm256_set1_epi32(now), _mm256_set1_epi32(aspire));
    let (mut best, mut place) = (_mm256_set1_epi32(i32::MAX), _mm256_set1_epi32(-1));
    let mut index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let mut at = 0;
    while at + 8 <= n {
        let d = delta(fields, masks, at);
        let barred = _mm256_andnot_si256(_mm256_cmpgt_epi32(aspire8, d), _mm256_cmpgt_epi32(eight(free, at), now8));
        let better = _mm256_andnot_si256(barred, _mm256_cmpgt_epi32(best, d));
        best = _mm256_blendv_epi8(best, d, better);
        place = _mm256_blendv_epi8(place, index, better);
        index = _mm256_add_epi32(index, _mm256_set1_epi32(8));
        at += 8;
    }
    let (mut values, mut places) = ([0i32; 8], [0i32; 8]);
    // SAFETY: the arrays have eight elements.
    unsafe {
        _mm256_storeu_si256(values.as_mut_ptr().cast(), best);
        _mm256_storeu_si256(places.as_mut_ptr().cast(), place);
    }
    // As unsigned, no place is the last one.
    let lanes = values.iter().zip(&places).map(|(v, p)| (*v, p.cast_unsigned() as usize));
    let (value, place) = lanes.min().unwrap_or((i32::MAX, n));
    let (rest, after) = definition::best_flip(&fields[at..], &masks[at..], &free[at..], now, aspire);
    match (value, rest) {
        (i32::MAX, i32::MAX) => (i32::MAX, n),
        _ if rest < value => (rest, at + after),
        _ => (value, place),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn add_row_i8(fields: &mut [i32], row: &[u8], shift: u32, minus: bool) {
    definition::add_row_i8(fields, row, shift, minus);
}

#[target_feature(enable = "avx2,fma,f16c")]
fn add_row_i16(fields: &mut [i32], row: &[u8], shift: u32, minus: bool) {
    definition::add_row_i16(fields, row, shift, minus);
}

#[target_feature(enable = "avx2,fma,f16c")]
fn add_row_i32(fields: &mut [i32], row: &[u8], shift: u32, minus: bool) {
    definition::add_row_i32(fields, row, shift, minus);
}
