//! Block formats: how the stored types lay small integers and scales into bytes.
//!
//! Every quantized type is seen as groups of 32 signed 8-bit values with a scale (or one for each half
//! of 16) and, for some, a minimum: `weight = s * q + m`. That view is all the rest of the crate knows
//! of a format: dequantization, matrix products and panels are written once over [`QuantBlock`].
//! The blocks are byte-aligned structures, so a row of a mapped file is cast, never copied.

mod codes;
pub(crate) mod grids;
mod iq1;
mod iq2;
mod iq3;
mod iq4;
mod kquants;
mod legacy;

pub use codes::Codes;
pub use iq1::{IQ1_M, IQ1_S};
pub use iq2::{IQ2_S, IQ2_XS, IQ2_XXS};
pub use iq3::{IQ3_S, IQ3_XXS};
pub use iq4::{IQ4_NL, IQ4_XS, VALUES as IQ4_VALUES};
pub use kquants::{Q2_K, Q3_K, Q4_K, Q5_K, Q6_K};
pub use legacy::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};

use crate::Type;

/// Weights in one group: the stretch of a row that shares one activation scale.
pub const GROUP: usize = 32;

/// Scale and minimum of each half of a group; both halves are equal where the format has one for all 32.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scales {
    /// Factor of the integers.
    pub s: [f32; 2],
    /// Added to the product; zero where the format has no minimum.
    pub m: [f32; 2],
}

impl Scales {
    const fn one(s: f32) -> Scales {
        Scales { s: [s; 2], m: [0.0; 2] }
    }

    const fn with_min(s: f32, m: f32) -> Scales {
        Scales { s: [s; 2], m: [m; 2] }
    }

    const fn halves(s: [f32; 2]) -> Scales {
        Scales { s, m: [0.0; 2] }
    }
}

/// One block of a quantized type: `GROUPS` groups of 32 weights.
pub trait QuantBlock: bytemuck::Pod {
    /// The storage type.
    const TYPE: Type;
    /// Groups in a block.
    const GROUPS: usize = Self::TYPE.block_len() / GROUP;
    /// Whether the halves of a group have scales of their own.
    const HALVES: bool = false;
    /// Whether there is a minimum.
    const HAS_MIN: bool = false;
    /// How kernels hold the integers.
    const CODES: Codes;

    /// The integers of group `sub`.
    fn unpack32(&self, sub: usize, q: &mut [i8; GROUP]);

    /// The scales of group `sub`.
    fn scales(&self, sub: usize) -> Scales;
}

/// A half-precision number as stored. Without a call, which the crate `half` makes for each: its bits as those of an f32 are off by a power of two.
#[inline(always)]
fn f16(bytes: [u8; 2]) -> f32 {
    let bits = u32::from(u16::from_le_bytes(bytes));
    let (sign, rest) = ((bits & 0x8000) << 16, (bits & 0x7fff) << 13);
    let finite = f32::from_bits(rest) * f32::from_bits((127 + 112) << 23);
    let value = if rest >= 0x7c00 << 13 { f32::from_bits(rest | 0x7f80_0000) } else { finite };
    f32::from_bits(value.to_bits() | sign)
}

/// A list of table entries: one for each quantized type, `$f` being a function generic over its block.
macro_rules! block_entries {
    ($op:literal, $isa:ident, $func:ident($f:ident)) => {
        $crate::blocks::block_entries!(@list $op, $isa, $func, $f;
            Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS
            IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ1_S IQ1_M)
    };
    (@list $op:literal, $isa:ident, $func:ident, $f:ident; $($block:ident)*) => {
        &[$($crate::table::Entry::new(
            $op,
            $crate::Type::$block,
            $crate::Isa::$isa,
            $crate::table::Func::$func($f::<$crate::blocks::$block>),
        ),)*]
    };
}
pub(crate) use block_entries;

#[cfg(test)]
mod tests {
    #[test]
    fn halves_are_those_of_the_crate() {
        for bits in 0..=u16::MAX {
            let (found, expected) = (super::f16(bits.to_le_bytes()), half::f16::from_bits(bits).to_f32());
            assert!(found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(), "{bits:x}");
        }
    }
}
