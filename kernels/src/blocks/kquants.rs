//! The k-quants: blocks of 256 whose scales are themselves small integers under one half-precision factor.
//!
//! A layout note that holds for all: a byte of `qs` carries weights of several groups, one in each of its
//! 2- or 4-bit fields, so that consecutive bytes are consecutive weights of one group.

use super::{Codes, QuantBlock, Scales, f16};
use crate::Type;
use bytemuck::{Pod, Zeroable};

/// 2 bits, 16 halves with 4-bit scales and minimums: `d * sc * q - dmin * m`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs, non_camel_case_types)]
pub struct Q2_K {
    pub scales: [u8; 16],
    pub qs: [u8; 64],
    pub d: [u8; 2],
    pub dmin: [u8; 2],
}

/// 3 bits, 16 halves with 6-bit scales: `d * (sc - 32) * (q - 4)`, the third bit of `q` in `hmask`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs, non_camel_case_types)]
pub struct Q3_K {
    pub hmask: [u8; 32],
    pub qs: [u8; 64],
    pub scales: [u8; 12],
    pub d: [u8; 2],
}

/// 4 bits, 8 groups with 6-bit scales and minimums: `d * sc * q - dmin * m`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs, non_camel_case_types)]
pub struct Q4_K {
    pub d: [u8; 2],
    pub dmin: [u8; 2],
    pub scales: [u8; 12],
    pub qs: [u8; 128],
}

/// 5 bits, as Q4_K; bit `g` of `qh[j]` is the fifth bit of weight `j` of group `g`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs, non_camel_case_types)]
pub struct Q5_K {
    pub d: [u8; 2],
    pub dmin: [u8; 2],
    pub scales: [u8; 12],
    pub qh: [u8; 32],
    pub qs: [u8; 128],
}

/// 6 bits, 16 halves with 8-bit scales: `d * sc * (q - 32)`, the upper two bits of `q` in `qh`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs, non_camel_case_types)]
pub struct Q6_K {
    pub ql: [u8; 128],
    pub qh: [u8; 64],
    pub scales: [i8; 16],
    pub d: [u8; 2],
}

/// Scale and minimum `sub` of 8 pairs of 6 bits in 12 bytes: the first four of each are the lower six bits of
/// bytes 0-3 and 4-7; the last four have their lower bits in bytes 8-11 and the upper two in what is left of 0-7.
#[inline(always)]
fn scale_min(p: &[u8; 12], sub: usize) -> (u8, u8) {
    if sub < 4 {
        (p[sub] & 63, p[sub + 4] & 63)
    } else {
        (p[sub + 4] & 15 | p[sub - 4] >> 6 << 4, p[sub + 4] >> 4 | p[sub] >> 6 << 4)
    }
}

#[inline(always)]
fn scales_6bit(d: [u8; 2], dmin: [u8; 2], packed: &[u8; 12], sub: usize) -> Scales {
    let (sc, m) = scale_min(packed, sub);
    Scales::with_min(f16(d) * f32::from(sc), -f16(dmin) * f32::from(m))
}

impl QuantBlock for Q2_K {
    const TYPE: Type = Type::Q2_K;
    const HALVES: bool = true;
    const HAS_MIN: bool = true;
    const CODES: Codes = Codes::Unsigned { max: 3, offset: 0 };

    #[inline(always)]
    fn unpack32(&self, sub: usize, q: &mut [i8; 32]) {
        let shift = 2 * (sub % 4);
        for (q, byte) in q.iter_mut().zip(&self.qs[sub / 4 * 32..]) {
            *q = (byte >> shift & 3) as i8;
        }
    }

    #[inline(always)]
    fn scales(&self, sub: usize) -> Scales {
        let (d, dmin) = (f16(self.d), -f16(self.dmin));
        let sc = [self.scales[2 * sub], self.scales[2 * sub + 1]];
        Scales { s: sc.map(|sc| d * f32::from(sc & 15)), m: sc.map(|sc| dmin * f32::from(sc >> 4)) }
    }
}

impl Q3_K {
    /// Scale `i` of 16: lower four bits in the nibbles of bytes 0-7, upper two in the fields of bytes 8-11.
    #[inline(always)]
    fn scale(&self, i: usize) -> i8 {
        let low = self.scales[i % 8] >> (4 * (i / 8)) & 15;
        let high = self.scales[8 + i % 4] >> (2 * (i / 4)) & 3;
        (low | high << 4) as i8 - 32
    }
}

impl QuantBlock for Q3_K {
    const TYPE: Type = Type::Q3_K;
    const HALVES: bool = true;
    const CODES: Codes = Codes::Unsigned { max: 7, offset: 4 };

    #[inline(always)]
    fn unpack32(&self, sub: usize, q: &mut [i8; 32]) {
        let shift = 2 * (sub % 4);
        for ((q, byte), mask) in q.iter_mut().zip(&self.qs[sub / 4 * 32..]).zip(&self.hmask) {
            *q = (byte >> shift & 3 | (mask >> sub & 1) << 2) as i8 - 4;
        }
    }

    #[inline(always)]
    fn scales(&self, sub: usize) -> Scales {
        let d = f16(self.d);
        Scales::halves([d * f32::from(self.scale(2 * sub)), d * f32::from(self.scale(2 * sub + 1))])
    }
}

impl QuantBlock for Q4_K {
    const TYPE: Type = Type::Q4_K;
    const HAS_MIN: bool = true;
    const CODES: Codes = Codes::Unsigned { max: 15, offset: 0 };

    #[inline(always)]
    fn unpack32(&self, sub: usize, q: &mut [i8; 32]) {
        let shift = 4 * (sub % 2);
        for (q, byte) in q.iter_mut().zip(&self.qs[sub / 2 * 32..]) {
            *q = (byte >> shift & 15) as i8;
        }
    }

    #[inline(always)]
    fn scales(&self, sub: usize) -> Scales {
        scales_6bit(self.d, self.dmin, &self.scales, sub)
    }
}

impl QuantBlock for Q5_K {
    const TYPE: Type = Type::Q5_K;
    const HAS_MIN: bool = true;
    const CODES: Codes = Codes::Unsigned { max: 31, offset: 0 };

    #[inline(always)]
    fn unpack32(&self, sub: usize, q: &mut [i8; 32]) {
        let shift = 4 * (sub % 2);
        for ((q, byte), high) in q.iter_mut().zip(&self.qs[sub / 2 * 32..]).zip(&self.qh) {
            *q = (byte >> shift & 15 | (high >> sub & 1) << 4) as i8;
        }
    }

    #[inline(always)]
    fn scales(&self, sub: usize) -> Scales {
        scales_6bit(self.d, self.dmin, &self.scales, sub)
    }
}

impl QuantBlock for Q6_K {
    const TYPE: Type = Type::Q6_K;
    const HALVES: bool = true;
    const CODES: Codes = Codes::Unsigned { max: 63, offset: 32 };

    #[inline(always)]
    fn unpack32(&self, sub: usize, q: &mut [i8; 32]) {
        // 128 weights: groups 0 and 1 in the low nibbles of 64 bytes, groups 2 and 3 in the high ones.
        let ql = &self.ql[sub / 4 * 64 + sub % 2 * 32..];
        let (nibble, pair) = (4 * (sub % 4 / 2), 2 * (sub % 4));
        for ((q, low), high) in q.iter_mut().zip(ql).zip(&self.qh[sub / 4 * 32..]) {
            *q = (low >> nibble & 15 | (high >> pair & 3) << 4) as i8 - 32;
        }
    }

    #[inline(always)]
    fn scales(&self, sub: usize) -> Scales {
        let d = f16(self.d);
        Scales::halves([d * f32::from(self.scales[2 * sub]), d * f32::from(self.scales[2 * sub + 1])])
    }
}
