//! Rows as stored, sixteen elements at a time.

use super::Simd;
use crate::ATTEND_BLOCK;
pub use crate::scalar::stored::{BF16, F16, F32, Q4_0, Q8_0};

/// A storage type of which sixteen elements can be read at once.
pub trait Stored: crate::scalar::stored::Stored {
    /// Bytes of sixteen elements.
    const BYTES: usize;

    /// A part of the elements `16 * chunk ..` of a row.
    ///
    /// # Safety
    /// The row must hold `16 * (chunk + 1)` elements, whole blocks.
    unsafe fn load<S: Simd>(s: S, row: *const u8, chunk: usize, part: usize) -> S::V;
}

impl Stored for F32 {
    const BYTES: usize = 64;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, row: *const u8, chunk: usize, part: usize) -> S::V {
        // SAFETY: the row reaches that far.
        s.load_f32(unsafe { &*row.add(64 * chunk).cast() }, part)
    }
}

impl Stored for F16 {
    const BYTES: usize = 32;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, row: *const u8, chunk: usize, part: usize) -> S::V {
        // SAFETY: the row reaches that far.
        s.load_f16(unsafe { &*row.add(32 * chunk).cast() }, part)
    }
}

impl Stored for BF16 {
    const BYTES: usize = 32;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, row: *const u8, chunk: usize, part: usize) -> S::V {
        // SAFETY: the row reaches that far.
        s.load_bf16(unsafe { &*row.add(32 * chunk).cast() }, part)
    }
}

impl Stored for Q8_0 {
    const BYTES: usize = 17;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, row: *const u8, chunk: usize, part: usize) -> S::V {
        // SAFETY: the row reaches to the end of the block.
        let (scale, quants): ([u8; 2], &[u8; 16]) = unsafe {
            let block = row.add(34 * (chunk / 2));
            (block.cast::<[u8; 2]>().read(), &*block.add(2 + 16 * (chunk % 2)).cast())
        };
        s.mul(s.splat_f16(u16::from_le_bytes(scale)), s.load_i8(quants, part))
    }
}

impl Stored for Q4_0 {
    const BYTES: usize = 9;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, row: *const u8, chunk: usize, part: usize) -> S::V {
        // SAFETY: the row reaches to the end of the block.
        let (scale, nibbles): ([u8; 2], &[u8; 16]) = unsafe {
            let block = row.add(18 * (chunk / 2));
            (block.cast::<[u8; 2]>().read(), &*block.add(2).cast())
        };
        s.mul(s.splat_f16(u16::from_le_bytes(scale)), s.load_nibbles(nibbles, chunk % 2 == 1, part))
    }
}

/// The elements of a row past the last whole sixteen, zeros behind them.
#[inline(always)]
pub fn tail<T: Stored>(row: &[u8], len: usize) -> [f32; 16] {
    let first = len / 16 * 16;
    let mut x = [0.0; 16];
    for i in first..len {
        x[i - first] = T::get(row, i);
    }
    x
}

/// A storage type of keys and values.
pub trait Cached: Stored + crate::scalar::stored::Cached + Copy {
    /// A part of element `d` of the keys of the positions `16 * chunk ..` of a block.
    ///
    /// # Safety
    /// The block must hold more than `d` elements of [`ATTEND_BLOCK`] positions, whole blocks; `chunk` must be less than 4.
    unsafe fn load_key<S: Simd>(s: S, keys: *const u8, d: usize, chunk: usize, part: usize) -> S::V;
}

impl Cached for F32 {
    #[inline(always)]
    unsafe fn load_key<S: Simd>(s: S, keys: *const u8, d: usize, chunk: usize, part: usize) -> S::V {
        // SAFETY: the block reaches that far.
        unsafe { Self::load(s, keys, ATTEND_BLOCK / 16 * d + chunk, part) }
    }
}

impl Cached for F16 {
    #[inline(always)]
    unsafe fn load_key<S: Simd>(s: S, keys: *const u8, d: usize, chunk: usize, part: usize) -> S::V {
        // SAFETY: the block reaches that far.
        unsafe { Self::load(s, keys, ATTEND_BLOCK / 16 * d + chunk, part) }
    }
}

impl Cached for Q8_0 {
    #[inline(always)]
    unsafe fn load_key<S: Simd>(s: S, keys: *const u8, d: usize, chunk: usize, part: usize) -> S::V {
        // SAFETY: the block reaches that far.
        let (scales, quants) = unsafe {
            let scales = keys.add(d / 32 * 34 * ATTEND_BLOCK);
            let quants = scales.add(2 * ATTEND_BLOCK + ATTEND_BLOCK * (d % 32));
            (&*scales.add(32 * chunk).cast(), &*quants.add(16 * chunk).cast())
        };
        s.mul(s.load_f16(scales, part), s.load_i8(quants, part))
    }
}

impl Cached for Q4_0 {
    #[inline(always)]
    unsafe fn load_key<S: Simd>(s: S, keys: *const u8, d: usize, chunk: usize, part: usize) -> S::V {
        // SAFETY: the block reaches that far.
        let (scales, nibbles) = unsafe {
            let scales = keys.add(d / 32 * 18 * ATTEND_BLOCK);
            let nibbles = scales.add(2 * ATTEND_BLOCK + ATTEND_BLOCK * (d % 16));
            (&*scales.add(32 * chunk).cast(), &*nibbles.add(16 * chunk).cast())
        };
        s.mul(s.load_f16(scales, part), s.load_nibbles(nibbles, d % 32 >= 16, part))
    }
}
