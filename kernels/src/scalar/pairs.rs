//! Products of pairs of bf16, as AVX-512 BF16 computes them: what all that multiplies bf16 is made of.
//!
//! This is the instruction VDPBF16PS as Intel's manual describes it ("Intel Architecture Instruction Set Extensions
//! Programming Reference"): the product of the second elements is added to the sum first, then that of the first ones, each with
//! one rounding to the nearest. Subnormal numbers, read or computed, are zeros of their sign, whatever the mode of the CPU is. That a
//! result is subnormal is found before it is rounded to what subnormal numbers have of digits. 20 million random pairs, with
//! sums about the least normal number among them, gave these bits on a Xeon (family 6, model 207).

use half::bf16;

/// Subnormal numbers as zeros of their sign.
fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0f32.copysign(x) } else { x }
}

/// `x` rounded to bf16, to the nearest and in the middle to the even one; subnormal ones are zero.
pub fn round(x: f32) -> f32 {
    bf16::from_f32(flush(x)).to_f32()
}

/// `sum + a * b` for elements of pairs.
#[inline]
pub(crate) fn add_product(a: f32, b: f32, sum: f32) -> f32 {
    let (a, b, sum) = (flush(a), flush(b), flush(sum));
    let result = a.mul_add(b, sum);
    if result.abs() > f32::MIN_POSITIVE || result.is_nan() {
        return result;
    }
    // With the digits of a normal number it would still be less than the least one. What is compared is exact: where it
    // matters the sum is so near to that number that the product has all its digits behind it.
    let least = f64::from(f32::MIN_POSITIVE.copysign(result));
    let beyond = (f64::from(sum) - least + f64::from(a) * f64::from(b)) * least.signum();
    if result.abs() < f32::MIN_POSITIVE || beyond < -HALF_UNIT { 0f32.copysign(result) } else { result }
}

/// Half the distance from the least normal number to what would come before it with all digits: 2^-151.
const HALF_UNIT: f64 = f32::MIN_POSITIVE as f64 / (1u64 << 25) as f64;

/// `sum + a[1] * b[1] + a[0] * b[0]`, added in this order.
#[inline]
pub fn add_pair(a: [f32; 2], b: [f32; 2], sum: f32) -> f32 {
    add_product(a[0], b[0], add_product(a[1], b[1], sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a Xeon of family 6, model 207 gave for the sum of 2^-126 and a product of that magnitude.
    #[test]
    fn sums_below_the_least_normal_number_are_flushed_before_they_are_rounded() {
        let least = f32::MIN_POSITIVE;
        let product =
            |factor: f32, exponent: i32| (-factor * 2f32.powi(exponent / 2), 2f32.powi(exponent - exponent / 2));
        for (factor, exponent, kept) in [
            (1.0, -160, true),
            (1.0, -152, true),
            (1.0, -151, true),
            (1.25, -151, false),
            (1.5, -151, false),
            (1.0, -150, false),
            (1.5, -150, false),
            (1.0, -149, false),
        ] {
            let (a, b) = product(factor, exponent);
            let expected = if kept { least } else { 0.0 };
            assert_eq!(add_product(a, b, least).to_bits(), expected.to_bits(), "{factor} * 2^{exponent}");
            assert_eq!(add_product(a, -b, -least).to_bits(), (-expected).to_bits(), "{factor} * 2^{exponent}");
        }
    }

    #[test]
    fn subnormal_numbers_are_zeros_of_their_sign() {
        let tiny = f32::from_bits(0x7f_ffff);
        assert_eq!(round(tiny).to_bits(), 0);
        assert_eq!(round(-tiny).to_bits(), (-0f32).to_bits());
        assert_eq!(add_pair([1e30, 1.0], [tiny, tiny], tiny).to_bits(), 0);
        assert_eq!(add_product(-1e-20, 1e-20, -0.0).to_bits(), (-0f32).to_bits());
    }

    #[test]
    fn the_second_product_is_added_first() {
        // 2^24 + 1 is no f32, and rounds to 2^24.
        assert_eq!(add_pair([1.0, 1.0], [1.0, -16_777_216.0], 16_777_216.0), 1.0);
        assert_eq!(add_pair([1.0, 1.0], [-16_777_216.0, 1.0], 16_777_216.0), 0.0);
    }
}
