//! Single elements of rows as stored, for the types that float products and the KV cache use.

use crate::ATTEND_BLOCK;
use half::{bf16, f16};

/// A storage type that can be read element by element.
pub trait Stored {
    /// Element `i` of a row.
    fn get(row: &[u8], i: usize) -> f32;
}

/// A storage type of keys and values.
pub trait Cached: Stored {
    /// Element `d` of the key of position `j` of a block: see [`crate::store_key`].
    fn key(keys: &[u8], d: usize, j: usize) -> f32;
}

fn u16_at(row: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([row[at], row[at + 1]])
}

/// Four bytes, little-endian.
#[derive(Clone, Copy)]
pub struct F32;
impl Stored for F32 {
    fn get(row: &[u8], i: usize) -> f32 {
        f32::from_le_bytes([row[4 * i], row[4 * i + 1], row[4 * i + 2], row[4 * i + 3]])
    }
}

impl Cached for F32 {
    fn key(keys: &[u8], d: usize, j: usize) -> f32 {
        Self::get(keys, ATTEND_BLOCK * d + j)
    }
}

/// IEEE half precision.
#[derive(Clone, Copy)]
pub struct F16;
impl Stored for F16 {
    fn get(row: &[u8], i: usize) -> f32 {
        f16::from_bits(u16_at(row, 2 * i)).to_f32()
    }
}

impl Cached for F16 {
    fn key(keys: &[u8], d: usize, j: usize) -> f32 {
        Self::get(keys, ATTEND_BLOCK * d + j)
    }
}

/// The upper half of an f32.
#[derive(Clone, Copy)]
pub struct BF16;
impl Stored for BF16 {
    fn get(row: &[u8], i: usize) -> f32 {
        bf16::from_bits(u16_at(row, 2 * i)).to_f32()
    }
}

/// Blocks of 32: an f16 scale, then 32 signed bytes.
#[derive(Clone, Copy)]
pub struct Q8_0;
impl Stored for Q8_0 {
    fn get(row: &[u8], i: usize) -> f32 {
        let block = &row[i / 32 * 34..];
        f16::from_bits(u16_at(block, 0)).to_f32() * f32::from(block[2 + i % 32] as i8)
    }
}

impl Cached for Q8_0 {
    fn key(keys: &[u8], d: usize, j: usize) -> f32 {
        let (scales, quants) = keys[d / 32 * 34 * ATTEND_BLOCK..].split_at(2 * ATTEND_BLOCK);
        f16::from_bits(u16_at(scales, 2 * j)).to_f32() * f32::from(quants[ATTEND_BLOCK * (d % 32) + j] as i8)
    }
}

/// Blocks of 32: an f16 scale, then 16 bytes whose low nibbles are elements 0..16 and whose high nibbles
/// are elements 16..32, each 8 too great.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy)]
pub struct Q4_0;
impl Stored for Q4_0 {
    fn get(row: &[u8], i: usize) -> f32 {
        let block = &row[i / 32 * 18..];
        let byte = block[2 + i % 16];
        let nibble = if i % 32 < 16 { byte & 15 } else { byte >> 4 };
        f16::from_bits(u16_at(block, 0)).to_f32() * (f32::from(nibble) - 8.0)
    }
}

impl Cached for Q4_0 {
    fn key(keys: &[u8], d: usize, j: usize) -> f32 {
        let (scales, quants) = keys[d / 32 * 18 * ATTEND_BLOCK..].split_at(2 * ATTEND_BLOCK);
        let byte = quants[ATTEND_BLOCK * (d % 16) + j];
        let nibble = if d % 32 < 16 { byte & 15 } else { byte >> 4 };
        f16::from_bits(u16_at(scales, 2 * j)).to_f32() * (f32::from(nibble) - 8.0)
    }
}
