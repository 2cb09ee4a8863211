//! Eight bits for a number between -1 and 1, or 0 and 1, with about the same relative error over seven decades: the dynamic
//! map of block-wise optimizers (arXiv 2110.02861).
//!
//! A decade `[10^-e / 10, 10^-e]` is cut into n equal parts whose midpoints are the numbers of the map; n doubles with each decade
//! upwards, so that large numbers are finer. 0 and 1 have codes of their own. The rank of a number is therefore linear within
//! a decade: `n + (x 10^e - 0.1) n / 0.9`, rounded down, is one multiply-add whose factors depend on the decade.
//!
//! Signed codes are 127 plus the signed rank, unsigned codes the rank. What is stored as the second moment of a
//! gradient that was not 0 does not become 0, because steps divide by it.

/// Elements that share a scale.
pub const BLOCK: usize = 256;

/// Decades, the lowest first.
const DECADES: usize = 7;
/// Upper ends of the decades.
const TOP: [f64; DECADES] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];

/// A decade: from which number on, and the factors of the rank less a half.
#[derive(Clone, Copy)]
pub(crate) struct Decade {
    pub from: f32,
    pub slope: f32,
    pub offset: f32,
}

/// Adding this to less than 2^22 rounds it to an integer.
pub(crate) const ROUND: f32 = 12_582_912.0;
/// The code of 0 in the signed map.
pub(crate) const ZERO: f32 = 127.0;

/// Decades of the signed map.
pub(crate) const SIGNED_DECADES: [Decade; DECADES] = decades(1.0, 0.0);
/// Decades of the unsigned map.
pub(crate) const UNSIGNED_DECADES: [Decade; DECADES] = decades(2.0, -1.0);
/// The numbers of signed codes.
pub static SIGNED: [f32; 256] = signed();
/// The numbers of unsigned codes.
pub static UNSIGNED: [f32; 256] = unsigned();

/// Decades of which the lowest has `parts`; `shift` is added to ranks.
const fn decades(parts: f64, shift: f64) -> [Decade; DECADES] {
    let mut decades = [Decade { from: 0.0, slope: 0.0, offset: 0.0 }; DECADES];
    let (mut i, mut n) = (0, parts);
    while i < DECADES {
        // A little more than the exact offset, so that 1 has the code of its own in spite of rounding.
        let offset = shift + n - n / 9.0 - 0.5 + 1e-4;
        decades[i] = Decade { from: (TOP[i] / 10.0) as f32, slope: (n / (0.9 * TOP[i])) as f32, offset: offset as f32 };
        (i, n) = (i + 1, n * 2.0);
    }
    decades
}

/// The midpoint of part `j` of `n` in a decade.
const fn midpoint(decade: usize, j: usize, n: usize) -> f32 {
    (TOP[decade] * (0.1 + 0.9 * (j as f64 + 0.5) / n as f64)) as f32
}

const fn unsigned() -> [f32; 256] {
    let mut numbers = [0.0; 256];
    let (mut decade, mut code) = (0, 1);
    while decade < DECADES {
        let (n, mut j) = (2 << decade, 0);
        while j < n {
            numbers[code] = midpoint(decade, j, n);
            (j, code) = (j + 1, code + 1);
        }
        decade += 1;
    }
    numbers[255] = 1.0;
    numbers
}

const fn signed() -> [f32; 256] {
    let mut numbers = [0.0; 256];
    let (mut decade, mut rank) = (0, 1);
    while decade < DECADES {
        let (n, mut j) = (1 << decade, 0);
        while j < n {
            numbers[127 + rank] = midpoint(decade, j, n);
            numbers[127 - rank] = -midpoint(decade, j, n);
            (j, rank) = (j + 1, rank + 1);
        }
        decade += 1;
    }
    numbers[255] = 1.0;
    numbers
}

/// The rank of a number that is not negative, in decades; `least` below them.
#[inline(always)]
fn rank(decades: &[Decade; DECADES], x: f32, least: f32) -> f32 {
    let (mut slope, mut offset) = (0.0, least);
    for decade in decades {
        let below = x - decade.from < 0.0;
        (slope, offset) = if below { (slope, offset) } else { (decade.slope, decade.offset) };
    }
    (x.mul_add(slope, offset) + ROUND) - ROUND
}

/// The code of a number between -1 and 1.
#[inline(always)]
pub fn encode_signed(x: f32) -> u8 {
    let code = ZERO + rank(&SIGNED_DECADES, x.abs(), 0.0).copysign(x);
    (if code > 0.0 { code } else { 0.0 }) as u8
}

/// The code of a number between 0 and 1.
#[inline(always)]
pub fn encode_unsigned(x: f32) -> u8 {
    (if -x < 0.0 { rank(&UNSIGNED_DECADES, x, 1.0) } else { 0.0 }) as u8
}

/// What numbers of a block are multiplied by before they are encoded, of the greatest magnitude among them: blocks of
/// nothing but numbers too small to invert become zeros.
#[inline(always)]
pub fn inverse(greatest: f32) -> f32 {
    if greatest >= f32::MIN_POSITIVE { 1.0 / greatest } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_the_maps_has_its_code() {
        for code in 0..=255u8 {
            assert_eq!(encode_unsigned(UNSIGNED[code as usize]), code);
            // -1 has none of its own, so the code below 1's opposite is that of the last midpoint.
            assert_eq!(encode_signed(SIGNED[code as usize]), code);
        }
        assert_eq!((SIGNED[127], SIGNED[255], UNSIGNED[0], UNSIGNED[255]), (0.0, 1.0, 0.0, 1.0));
        assert_eq!((encode_signed(-1.0), encode_signed(-0.0)), (0, 127));
        assert!(SIGNED.is_sorted() && UNSIGNED.is_sorted());
    }

    #[test]
    fn a_number_is_met_within_half_a_part_of_its_decade() {
        for i in 1..100_000 {
            let x = (f64::from(i) * 1e-5).powi(3) as f32;
            let decade = TOP.iter().position(|top| x < *top as f32).unwrap();
            let part = |n: f64| 0.9 * TOP[decade] / n;
            let (signed, unsigned) = (SIGNED[encode_signed(x) as usize], UNSIGNED[encode_unsigned(x) as usize]);
            if x >= (TOP[0] / 10.0) as f32 {
                assert!(f64::from((signed - x).abs()) <= 0.501 * part((1 << decade) as f64), "{x} {signed}");
                assert!(f64::from((unsigned - x).abs()) <= 0.501 * part((2 << decade) as f64), "{x} {unsigned}");
            }
            assert_eq!(encode_signed(-x), 254 - encode_signed(x));
        }
        assert_eq!((encode_unsigned(1e-30), encode_signed(1e-30)), (1, 127));
    }
}
