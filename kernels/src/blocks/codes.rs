//! The form in which kernels hold a group's integers.

/// How the integers of a group sit in bytes while they are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codes {
    /// Bytes from 0 to `max`; the weight's integer is `code - offset`.
    Unsigned {
        /// Greatest code. At most 129, so that a pair of products with 8-bit activations fits 16 bits.
        max: u8,
        /// Code of the integer zero.
        offset: u8,
    },
    /// Signed bytes, where the range is too wide for the other form.
    Signed,
}

impl Codes {
    /// Code of the integer zero when every form is made unsigned, as the VNNI instructions need it.
    pub const fn offset(self) -> u8 {
        match self {
            Codes::Unsigned { offset, .. } => offset,
            Codes::Signed => 128,
        }
    }

    /// How many sums of two products (|activation| <= 127) can be added before 16 bits overflow: 8, 4, 2 or 1.
    pub const fn pairs(self) -> usize {
        let max = match self {
            Codes::Unsigned { max, .. } => max as usize,
            Codes::Signed => 128,
        };
        match i16::MAX as usize / (2 * 127 * max) {
            8.. => 8,
            4..8 => 4,
            2..4 => 2,
            _ => 1,
        }
    }
}
