//! IQ1_S and IQ1_M: eight weights are one point of a grid of -1, 0 and 1, shifted by plus or minus 1/8.
//!
//! In units of 1/8 everything is an integer: `q = 8 * point + shift`, and the scale is an eighth.

use super::grids;
use super::{Codes, QuantBlock, Scales, f16};
use crate::Type;
use bytemuck::{Pod, Zeroable};

/// Per group four 11-bit indices, a 3-bit scale and the sign of the shift.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs, non_camel_case_types)]
pub struct IQ1_S {
    pub d: [u8; 2],
    pub qs: [[u8; 4]; 8],
    pub qh: [[u8; 2]; 8],
}

/// Per half a 3-bit scale, per eight weights a shift; the factor's bits are the top nibbles of `scales`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs, non_camel_case_types)]
pub struct IQ1_M {
    pub qs: [[u8; 4]; 8],
    pub qh: [[u8; 2]; 8],
    pub scales: [[u8; 2]; 4],
}

#[inline(always)]
fn shifted(index: usize, shift: i8, q: &mut [i8; 8]) {
    for (q, point) in q.iter_mut().zip(grids::IQ1[index].to_le_bytes()) {
        *q = 8 * point as i8 + shift;
    }
}

#[inline(always)]
fn eighth(d: f32, sc: u16) -> f32 {
    d * f32::from(2 * sc + 1) * 0.125
}

impl QuantBlock for IQ1_S {
    const TYPE: Type = Type::IQ1_S;
    const CODES: Codes = Codes::Unsigned { max: 18, offset: 9 };

    #[inline(always)]
    fn unpack32(&self, sub: usize, q: &mut [i8; 32]) {
        let qh = u16::from_le_bytes(self.qh[sub]) as usize;
        let shift = if qh & 0x8000 == 0 { 1 } else { -1 };
        for (j, q) in q.as_chunks_mut().0.iter_mut().enumerate() {
            shifted(usize::from(self.qs[sub][j]) | (qh >> (3 * j) & 7) << 8, shift, q);
        }
    }

    #[inline(always)]
    fn scales(&self, sub: usize) -> Scales {
        Scales::one(eighth(f16(self.d), u16::from_le_bytes(self.qh[sub]) >> 12 & 7))
    }
}

impl QuantBlock for IQ1_M {
    const TYPE: Type = Type::IQ1_M;
    const HALVES: bool = true;
    const CODES: Codes = Codes::Unsigned { max: 18, offset: 9 };

    #[inline(always)]
    fn unpack32(&self, sub: usize, q: &mut [i8; 32]) {
        for (j, q) in q.as_chunks_mut().0.iter_mut().enumerate() {
            let high = self.qh[sub][j / 2] >> (4 * (j % 2));
            let shift = if high & 8 == 0 { 1 } else { -1 };
            shifted(usize::from(self.qs[sub][j]) | usize::from(high & 7) << 8, shift, q);
        }
    }

    #[inline(always)]
    fn scales(&self, sub: usize) -> Scales {
        let words = self.scales.map(u16::from_le_bytes);
        let d = words.iter().rev().fold(0, |d, word| d << 4 | word >> 12);
        let (d, fields) = (f16(d.to_le_bytes()), words[sub / 2] >> (6 * (sub % 2)));
        Scales::halves([eighth(d, fields & 7), eighth(d, fields >> 3 & 7)])
    }
}
