//! Made-up inputs.

use super::layout::{Content, Slot};
use crate::{ATTEND_BLOCK, Type};
use half::{bf16, f16};

/// What outputs, scratch and guards are filled with: a NaN as f32.
pub const POISON: u8 = 0xff;

/// A counter hashed (SplitMix64): the same numbers for the same seed on every machine.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// Between 0 and 1.
    fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 24) as f32
    }

    /// Between -limit and limit.
    fn within(&mut self, limit: f32) -> f32 {
        (2.0 * self.unit() - 1.0) * limit
    }

    /// Between -127 and 127.
    fn quant(&mut self) -> i8 {
        ((self.bits() % 255) as i16 - 127) as i8
    }
}

/// Fills one argument.
pub fn fill(slot: Slot, ty: Type, seed: u64, bytes: &mut [u8]) {
    // Quants and their sums are drawn alike.
    let stream = if matches!(slot.content, Content::Quants | Content::QuantSums) { 99 } else { slot.index as u64 };
    let mut random = Random(seed.wrapping_mul(0x1000_0000_01b3) ^ stream << 48);
    match slot.content {
        Content::Empty => {}
        Content::Floats(limit) => each(bytes, |_| random.within(limit)),
        Content::Positive => each(bytes, |_| 0.01 + random.unit()),
        Content::Maxima => each(bytes, |i| if i % 2 == 0 { f32::NEG_INFINITY } else { random.within(1.0) }),
        Content::Stored => stored(&mut random, ty, bytes),
        Content::Keys => keys(&mut random, ty, bytes),
        Content::Seen(positions, some) => {
            for (i, seen) in bytes.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                let to = if some { positions - positions.min(i % 4 + i / 7) } else { positions };
                *seen = [if some { to.min(i % 3 * 9 + i) as u8 } else { 0 }, to as u8];
            }
        }
        Content::Quants => bytes.iter_mut().for_each(|q| *q = random.quant() as u8),
        #[cfg(feature = "train")]
        Content::Codes => bytes.iter_mut().for_each(|code| *code = random.bits() as u8),
        #[cfg(feature = "qubo")]
        Content::Any => bytes.iter_mut().for_each(|byte| *byte = random.bits() as u8),
        #[cfg(feature = "qubo")]
        Content::Fields => integers(bytes, || (random.bits() % 201) as i32 - 100),
        #[cfg(feature = "qubo")]
        Content::Masks => integers(bytes, || -((random.bits() % 2) as i32)),
        Content::QuantSums => {
            for sum in bytes.as_chunks_mut::<2>().0 {
                let total: i16 = (0..16).map(|_| i16::from(random.quant())).sum();
                *sum = total.to_ne_bytes();
            }
        }
    }
}

fn each(bytes: &mut [u8], mut f: impl FnMut(usize) -> f32) {
    for (i, x) in bytes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        *x = f(i).to_ne_bytes();
    }
}

#[cfg(feature = "qubo")]
fn integers(bytes: &mut [u8], mut f: impl FnMut() -> i32) {
    for x in bytes.as_chunks_mut::<4>().0 {
        *x = f().to_ne_bytes();
    }
}

/// Elements as stored: numbers for float types, for block types random bytes with small scales.
fn stored(random: &mut Random, ty: Type, bytes: &mut [u8]) {
    match ty {
        Type::F32 => each(bytes, |_| random.within(1.0)),
        Type::F16 => {
            bytes.as_chunks_mut::<2>().0.iter_mut().for_each(|x| *x = f16::from_f32(random.within(1.0)).to_le_bytes());
        }
        Type::BF16 => {
            bytes.as_chunks_mut::<2>().0.iter_mut().for_each(|x| *x = bf16::from_f32(random.within(1.0)).to_le_bytes());
        }
        _ => {
            bytes.iter_mut().for_each(|x| *x = random.bits() as u8);
            for block in bytes.chunks_exact_mut(ty.block_bytes()) {
                scales(random, ty, block);
            }
        }
    }
}

/// A block of keys: of block types the scales of all positions come before their quants.
fn keys(random: &mut Random, ty: Type, bytes: &mut [u8]) {
    if !ty.is_quantized() {
        return stored(random, ty, bytes);
    }
    for group in bytes.chunks_exact_mut(ty.block_bytes() * ATTEND_BLOCK) {
        let (scales, quants) = group.split_at_mut(2 * ATTEND_BLOCK);
        quants.iter_mut().for_each(|x| *x = random.bits() as u8);
        for scale in scales.as_chunks_mut::<2>().0 {
            *scale = f16::from_f32(random.within(1.0) / 64.0).to_le_bytes();
        }
    }
}

/// Overwrites the f16 scales of a block, which random bytes would make infinite.
fn scales(random: &mut Random, ty: Type, block: &mut [u8]) {
    let mut scale = || f16::from_f32(random.within(1.0) / 64.0).to_bits();
    let at: &[usize] = match ty {
        Type::Q4_1 | Type::Q5_1 | Type::Q4_K | Type::Q5_K => &[0, 2],
        Type::Q2_K => &[80, 82],
        Type::Q3_K => &[108],
        Type::Q6_K => &[208],
        // The four nibbles of the scale are the uppermost of four 16-bit words.
        Type::IQ1_M => {
            let scale = scale();
            for (i, at) in [49, 51, 53, 55].into_iter().enumerate() {
                block[at] = block[at] & 15 | ((scale >> (4 * i)) as u8) << 4;
            }
            &[]
        }
        _ => &[0],
    };
    for at in at {
        block[*at..at + 2].copy_from_slice(&scale().to_le_bytes());
    }
}
