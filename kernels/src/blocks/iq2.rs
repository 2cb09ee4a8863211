//! IQ2_XXS, IQ2_XS, IQ2_S: eight weights are one point of a grid, with a sign for each.

use super::grids::{self, SIGNS, signed8};
use super::{Codes, QuantBlock, Scales, f16};
use crate::Type;
use bytemuck::{Pod, Zeroable};

/// 256 points; the eighth sign makes the number of minus signs even.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs, non_camel_case_types)]
pub struct IQ2_XXS {
    pub d: [u8; 2],
    /// Per group: four grid indices, then four times 7 sign bits and a 4-bit scale.
    pub qs: [[u8; 8]; 8],
}

/// 512 points; per eight weights a 9-bit index and 7 sign bits.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs, non_camel_case_types)]
pub struct IQ2_XS {
    pub d: [u8; 2],
    pub qs: [[[u8; 2]; 4]; 8],
    pub scales: [u8; 8],
}

/// 1024 points; all signs stored.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs, non_camel_case_types)]
pub struct IQ2_S {
    pub d: [u8; 2],
    pub qs: [[u8; 4]; 8],
    pub signs: [[u8; 4]; 8],
    pub qh: [u8; 8],
    pub scales: [u8; 8],
}

/// `d * (sc + 1/2) / 4`, exact in single precision.
#[inline(always)]
fn quarter(d: f32, sc: u32) -> f32 {
    d * (sc as f32 + 0.5) * 0.25
}

#[inline(always)]
fn nibble_scales(d: [u8; 2], sc: u8) -> Scales {
    let d = f16(d);
    Scales::halves([quarter(d, u32::from(sc & 15)), quarter(d, u32::from(sc >> 4))])
}

impl IQ2_XXS {
    #[inline(always)]
    fn word(&self, sub: usize) -> u32 {
        let [_, _, _, _, a, b, c, d] = self.qs[sub];
        u32::from_le_bytes([a, b, c, d])
    }
}

impl QuantBlock for IQ2_XXS {
    const TYPE: Type = Type::IQ2_XXS;
    const CODES: Codes = Codes::Unsigned { max: 86, offset: 43 };

    #[inline(always)]
    fn unpack32(&self, sub: usize, q: &mut [i8; 32]) {
        let word = self.word(sub);
        for (j, q) in q.as_chunks_mut().0.iter_mut().enumerate() {
            let signs = SIGNS[(word >> (7 * j) & 127) as usize];
            signed8(grids::IQ2_XXS[self.qs[sub][j] as usize], signs, q);
        }
    }

    #[inline(always)]
    fn scales(&self, sub: usize) -> Scales {
        Scales::one(quarter(f16(self.d), self.word(sub) >> 28))
    }
}

impl QuantBlock for IQ2_XS {
    const TYPE: Type = Type::IQ2_XS;
    const HALVES: bool = true;
    const CODES: Codes = Codes::Unsigned { max: 86, offset: 43 };

    #[inline(always)]
    fn unpack32(&self, sub: usize, q: &mut [i8; 32]) {
        for (q, &word) in q.as_chunks_mut().0.iter_mut().zip(&self.qs[sub]) {
            let word = u16::from_le_bytes(word) as usize;
            signed8(grids::IQ2_XS[word & 511], SIGNS[word >> 9], q);
        }
    }

    #[inline(always)]
    fn scales(&self, sub: usize) -> Scales {
        nibble_scales(self.d, self.scales[sub])
    }
}

impl QuantBlock for IQ2_S {
    const TYPE: Type = Type::IQ2_S;
    const HALVES: bool = true;
    const CODES: Codes = Codes::Unsigned { max: 86, offset: 43 };

    #[inline(always)]
    fn unpack32(&self, sub: usize, q: &mut [i8; 32]) {
        for (j, q) in q.as_chunks_mut().0.iter_mut().enumerate() {
            let high = usize::from(self.qh[sub] >> (2 * j) & 3);
            signed8(grids::IQ2_S[usize::from(self.qs[sub][j]) | high << 8], self.signs[sub][j], q);
        }
    }

    #[inline(always)]
    fn scales(&self, sub: usize) -> Scales {
        nibble_scales(self.d, self.scales[sub])
    }
}
