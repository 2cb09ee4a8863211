//! The formats of one group of 32 with one scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
//!
//! Nibble `j` of the low halves is weight `j`, nibble `j` of the high halves weight `j + 16`.

use super::{Codes, QuantBlock, Scales, f16};
use crate::Type;
use bytemuck::{Pod, Zeroable};

/// 4 bits, `d * (q - 8)`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Q4_0 {
    pub d: [u8; 2],
    pub qs: [u8; 16],
}

/// 4 bits, `d * q + m`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Q4_1 {
    pub d: [u8; 2],
    pub m: [u8; 2],
    pub qs: [u8; 16],
}

/// 5 bits, `d * (q - 16)`; bit `j` of `qh` is the fifth bit of weight `j`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Q5_0 {
    pub d: [u8; 2],
    pub qh: [u8; 4],
    pub qs: [u8; 16],
}

/// 5 bits, `d * q + m`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Q5_1 {
    pub d: [u8; 2],
    pub m: [u8; 2],
    pub qh: [u8; 4],
    pub qs: [u8; 16],
}

/// 8 bits, `d * q`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Q8_0 {
    pub d: [u8; 2],
    pub qs: [i8; 32],
}

/// 32 nibbles, each less `offset`.
#[inline(always)]
pub(super) fn nibbles(qs: &[u8; 16], offset: i8, q: &mut [i8; 32]) {
    for (j, byte) in qs.iter().enumerate() {
        q[j] = (byte & 15) as i8 - offset;
        q[j + 16] = (byte >> 4) as i8 - offset;
    }
}

/// Adds 16 where a bit of `qh` is set.
#[inline(always)]
fn fifth_bits(qh: [u8; 4], q: &mut [i8; 32]) {
    let qh = u32::from_le_bytes(qh);
    for (j, q) in q.iter_mut().enumerate() {
        *q += ((qh >> j & 1) << 4) as i8;
    }
}

impl QuantBlock for Q4_0 {
    const TYPE: Type = Type::Q4_0;
    const CODES: Codes = Codes::Unsigned { max: 15, offset: 8 };

    #[inline(always)]
    fn unpack32(&self, _: usize, q: &mut [i8; 32]) {
        nibbles(&self.qs, 8, q);
    }

    #[inline(always)]
    fn scales(&self, _: usize) -> Scales {
        Scales::one(f16(self.d))
    }
}

impl QuantBlock for Q4_1 {
    const TYPE: Type = Type::Q4_1;
    const HAS_MIN: bool = true;
    const CODES: Codes = Codes::Unsigned { max: 15, offset: 0 };

    #[inline(always)]
    fn unpack32(&self, _: usize, q: &mut [i8; 32]) {
        nibbles(&self.qs, 0, q);
    }

    #[inline(always)]
    fn scales(&self, _: usize) -> Scales {
        Scales::with_min(f16(self.d), f16(self.m))
    }
}

impl QuantBlock for Q5_0 {
    const TYPE: Type = Type::Q5_0;
    const CODES: Codes = Codes::Unsigned { max: 31, offset: 16 };

    #[inline(always)]
    fn unpack32(&self, _: usize, q: &mut [i8; 32]) {
        nibbles(&self.qs, 16, q);
        fifth_bits(self.qh, q);
    }

    #[inline(always)]
    fn scales(&self, _: usize) -> Scales {
        Scales::one(f16(self.d))
    }
}

impl QuantBlock for Q5_1 {
    const TYPE: Type = Type::Q5_1;
    const HAS_MIN: bool = true;
    const CODES: Codes = Codes::Unsigned { max: 31, offset: 0 };

    #[inline(always)]
    fn unpack32(&self, _: usize, q: &mut [i8; 32]) {
        nibbles(&self.qs, 0, q);
        fifth_bits(self.qh, q);
    }

    #[inline(always)]
    fn scales(&self, _: usize) -> Scales {
        Scales::with_min(f16(self.d), f16(self.m))
    }
}

impl QuantBlock for Q8_0 {
    const TYPE: Type = Type::Q8_0;
    const CODES: Codes = Codes::Signed;

    #[inline(always)]
    fn unpack32(&self, _: usize, q: &mut [i8; 32]) {
        *q = self.qs;
    }

    #[inline(always)]
    fn scales(&self, _: usize) -> Scales {
        Scales::one(f16(self.d))
    }
}
