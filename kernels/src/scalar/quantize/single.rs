//! The formats of one group of 32 whose line is stored in half precision: Q4_1, Q5_0, Q5_1, IQ4_NL.
//!
//! The line is searched for (see [`search`](super::search)) and rounded; the codes are those nearest on the
//! rounded line.

use super::search::{self, Grid, Line, Offset};
use super::{Encode, Normal, normal};
use crate::blocks::{IQ4_NL, IQ4_VALUES, Q4_1, Q5_0, Q5_1};
use bytemuck::Zeroable;

impl Grid for Q4_1 {
    const LOW: f32 = 0.0;
    const HIGH: f32 = 15.0;
    const OFFSET: Offset = Offset::Any;
}

impl Grid for Q5_0 {
    const LOW: f32 = -16.0;
    const HIGH: f32 = 15.0;
    const OFFSET: Offset = Offset::None;
}

impl Grid for Q5_1 {
    const LOW: f32 = 0.0;
    const HIGH: f32 = 31.0;
    const OFFSET: Offset = Offset::Any;
}

impl Grid for IQ4_NL {
    const LOW: f32 = IQ4_VALUES[0] as f32;
    const HIGH: f32 = IQ4_VALUES[15] as f32;
    const OFFSET: Offset = Offset::None;
    const STEP: f32 = 23.0;

    #[inline(always)]
    fn nearest(v: f32) -> f32 {
        // Over every midpoint that is below `v`; with no look-up it becomes vectors.
        MIDDLES
            .iter()
            .zip(&STEPS)
            .fold(Self::LOW, |value, (&middle, &step)| value + if v > middle { step } else { 0.0 })
    }
}

/// From each value of IQ4_NL to the next.
const STEPS: [f32; 15] = {
    let mut steps = [0.0; 15];
    let mut i = 0;
    while i < 15 {
        steps[i] = (IQ4_VALUES[i + 1] - IQ4_VALUES[i]) as f32;
        i += 1;
    }
    steps
};

/// Half-way between.
const MIDDLES: [f32; 15] = {
    let mut middles = [0.0; 15];
    let mut i = 0;
    while i < 15 {
        middles[i] = IQ4_VALUES[i] as f32 + STEPS[i] / 2.0;
        i += 1;
    }
    middles
};

/// A block's line, as stored, and its codes.
struct Coded {
    d: [u8; 2],
    m: [u8; 2],
    q: [f32; 32],
}

/// The best line and the codes on it; where there is none, what stands for the scale.
fn encode<G: Grid>(x: &[f32]) -> Result<Coded, [u8; 2]> {
    let Normal { x, unit } = normal::<32>(x)?;
    let line = search::best::<G>(&x);
    let (d, scale) = unit.half(line.scale);
    let (m, offset) = unit.half(line.offset);
    let line = Line { scale, offset };
    Ok(Coded { d, m, q: x.map(|x| line.code::<G>(x)) })
}

/// The lower four bits of codes `j` and `j + 16` in byte `j`.
fn nibbles(codes: &[u8; 32]) -> [u8; 16] {
    core::array::from_fn(|j| codes[j] & 15 | codes[j + 16] << 4)
}

/// The fifth bit of code `j` in bit `j`.
fn fifth_bits(codes: &[u8; 32]) -> [u8; 4] {
    codes.iter().rev().fold(0u32, |bits, code| bits << 1 | u32::from(code >> 4 & 1)).to_le_bytes()
}

impl Encode for Q4_1 {
    fn encode(x: &[f32]) -> Self {
        match encode::<Q4_1>(x) {
            Ok(Coded { d, m, q }) => Q4_1 { d, m, qs: nibbles(&q.map(|q| q as u8)) },
            Err(d) => Q4_1 { d, ..Q4_1::zeroed() },
        }
    }
}

impl Encode for Q5_0 {
    fn encode(x: &[f32]) -> Self {
        match encode::<Q5_0>(x) {
            Ok(Coded { d, q, .. }) => {
                let codes = q.map(|q| (q - Q5_0::LOW) as u8);
                Q5_0 { d, qh: fifth_bits(&codes), qs: nibbles(&codes) }
            }
            Err(d) => Q5_0 { d, ..Q5_0::zeroed() },
        }
    }
}

impl Encode for Q5_1 {
    fn encode(x: &[f32]) -> Self {
        match encode::<Q5_1>(x) {
            Ok(Coded { d, m, q }) => {
                let codes = q.map(|q| q as u8);
                Q5_1 { d, m, qh: fifth_bits(&codes), qs: nibbles(&codes) }
            }
            Err(d) => Q5_1 { d, ..Q5_1::zeroed() },
        }
    }
}

/// Where the value stands in the table of IQ4_NL.
fn index(value: f32) -> u8 {
    MIDDLES.iter().map(|&middle| u8::from(value > middle)).sum()
}

impl Encode for IQ4_NL {
    fn encode(x: &[f32]) -> Self {
        match encode::<IQ4_NL>(x) {
            Ok(Coded { d, q, .. }) => IQ4_NL { d, qs: nibbles(&q.map(index)) },
            Err(d) => IQ4_NL { d, ..IQ4_NL::zeroed() },
        }
    }
}
