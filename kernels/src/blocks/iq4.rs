//! IQ4_NL and IQ4_XS: 4-bit indices into a table of 16 values, spaced for weights that are roughly normal.

use super::{Codes, QuantBlock, Scales, f16};
use crate::Type;
use bytemuck::{Pod, Zeroable};

/// The value of each index.
pub static VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// One group: `d * VALUES[q]`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs, non_camel_case_types)]
pub struct IQ4_NL {
    pub d: [u8; 2],
    pub qs: [u8; 16],
}

/// Eight groups with 6-bit scales: `d * (sc - 32) * VALUES[q]`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs, non_camel_case_types)]
pub struct IQ4_XS {
    pub d: [u8; 2],
    pub scales_h: [u8; 2],
    pub scales_l: [u8; 4],
    pub qs: [[u8; 16]; 8],
}

#[inline(always)]
fn look_up(qs: &[u8; 16], q: &mut [i8; 32]) {
    for (j, byte) in qs.iter().enumerate() {
        q[j] = VALUES[(byte & 15) as usize];
        q[j + 16] = VALUES[(byte >> 4) as usize];
    }
}

impl QuantBlock for IQ4_NL {
    const TYPE: Type = Type::IQ4_NL;
    const CODES: Codes = Codes::Signed;

    #[inline(always)]
    fn unpack32(&self, _: usize, q: &mut [i8; 32]) {
        look_up(&self.qs, q);
    }

    #[inline(always)]
    fn scales(&self, _: usize) -> Scales {
        Scales::one(f16(self.d))
    }
}

impl QuantBlock for IQ4_XS {
    const TYPE: Type = Type::IQ4_XS;
    const CODES: Codes = Codes::Signed;

    #[inline(always)]
    fn unpack32(&self, sub: usize, q: &mut [i8; 32]) {
        look_up(&self.qs[sub], q);
    }

    #[inline(always)]
    fn scales(&self, sub: usize) -> Scales {
        let low = self.scales_l[sub / 2] >> (4 * (sub % 2)) & 15;
        let high = (u16::from_le_bytes(self.scales_h) >> (2 * sub) & 3) as u8;
        Scales::one(f16(self.d) * f32::from((low | high << 4) as i8 - 32))
    }
}
