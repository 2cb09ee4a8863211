//! IQ3_XXS and IQ3_S: four weights are one point of a grid, with a sign for each.

use super::grids::{self, SIGNS, signed8};
use super::{Codes, QuantBlock, Scales, f16};
use crate::Type;
use bytemuck::{Pod, Zeroable};

/// 256 points; per group four times 7 sign bits and a 4-bit scale in one word of `words`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs, non_camel_case_types)]
pub struct IQ3_XXS {
    pub d: [u8; 2],
    pub qs: [[u8; 8]; 8],
    pub words: [[u8; 4]; 8],
}

/// 512 points, the ninth bit of an index in `qh`; all signs stored.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs, non_camel_case_types)]
pub struct IQ3_S {
    pub d: [u8; 2],
    pub qs: [[u8; 8]; 8],
    pub qh: [u8; 8],
    pub signs: [[u8; 4]; 8],
    pub scales: [u8; 4],
}

/// Two points of four as one of eight.
#[inline(always)]
fn join(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

impl QuantBlock for IQ3_XXS {
    const TYPE: Type = Type::IQ3_XXS;
    const CODES: Codes = Codes::Unsigned { max: 124, offset: 62 };

    #[inline(always)]
    fn unpack32(&self, sub: usize, q: &mut [i8; 32]) {
        let word = u32::from_le_bytes(self.words[sub]);
        let point = |i: usize| grids::IQ3_XXS[usize::from(self.qs[sub][i])];
        for (j, q) in q.as_chunks_mut().0.iter_mut().enumerate() {
            let signs = SIGNS[(word >> (7 * j) & 127) as usize];
            signed8(join(point(2 * j), point(2 * j + 1)), signs, q);
        }
    }

    #[inline(always)]
    fn scales(&self, sub: usize) -> Scales {
        let sc = u32::from_le_bytes(self.words[sub]) >> 28;
        Scales::one(f16(self.d) * (sc as f32 + 0.5) * 0.5)
    }
}

impl QuantBlock for IQ3_S {
    const TYPE: Type = Type::IQ3_S;
    const CODES: Codes = Codes::Unsigned { max: 30, offset: 15 };

    #[inline(always)]
    fn unpack32(&self, sub: usize, q: &mut [i8; 32]) {
        let high = usize::from(self.qh[sub]);
        let point = |i: usize| grids::IQ3_S[usize::from(self.qs[sub][i]) | (high >> i & 1) << 8];
        for (j, q) in q.as_chunks_mut().0.iter_mut().enumerate() {
            signed8(join(point(2 * j), point(2 * j + 1)), self.signs[sub][j], q);
        }
    }

    #[inline(always)]
    fn scales(&self, sub: usize) -> Scales {
        let sc = self.scales[sub / 2] >> (4 * (sub % 2)) & 15;
        Scales::one(f16(self.d) * f32::from(1 + 2 * sc))
    }
}
