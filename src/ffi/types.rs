//! `q_type`: the storage types.

use crate::Type;
use crate::error::{Result, fail};

/// How elements are stored. The numbers are those of GGUF files (ggml_type).
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum q_type {
    /// 32-bit floats.
    Q_TYPE_F32 = 0,
    /// IEEE half floats.
    Q_TYPE_F16 = 1,
    /// Blocks of 32: 4-bit integers and a scale.
    Q_TYPE_Q4_0 = 2,
    /// Blocks of 32: 4-bit integers, a scale and a minimum.
    Q_TYPE_Q4_1 = 3,
    /// Blocks of 32: 5-bit integers and a scale.
    Q_TYPE_Q5_0 = 6,
    /// Blocks of 32: 5-bit integers, a scale and a minimum.
    Q_TYPE_Q5_1 = 7,
    /// Blocks of 32: 8-bit integers and a scale.
    Q_TYPE_Q8_0 = 8,
    /// Blocks of 256, 2.6 bits an element.
    Q_TYPE_Q2_K = 10,
    /// Blocks of 256, 3.4 bits an element.
    Q_TYPE_Q3_K = 11,
    /// Blocks of 256, 4.5 bits an element.
    Q_TYPE_Q4_K = 12,
    /// Blocks of 256, 5.5 bits an element.
    Q_TYPE_Q5_K = 13,
    /// Blocks of 256, 6.6 bits an element.
    Q_TYPE_Q6_K = 14,
    /// Blocks of 256 from a codebook, 2.1 bits an element.
    Q_TYPE_IQ2_XXS = 16,
    /// Likewise, 2.3 bits.
    Q_TYPE_IQ2_XS = 17,
    /// Likewise, 3.1 bits.
    Q_TYPE_IQ3_XXS = 18,
    /// Likewise, 1.6 bits.
    Q_TYPE_IQ1_S = 19,
    /// Blocks of 32: 4-bit numbers of a table, and a scale.
    Q_TYPE_IQ4_NL = 20,
    /// Blocks of 256 from a codebook, 3.4 bits an element.
    Q_TYPE_IQ3_S = 21,
    /// Likewise, 2.6 bits.
    Q_TYPE_IQ2_S = 22,
    /// Blocks of 256: 4-bit numbers of a table, and scales.
    Q_TYPE_IQ4_XS = 23,
    /// 8-bit integers.
    Q_TYPE_I8 = 24,
    /// 16-bit integers.
    Q_TYPE_I16 = 25,
    /// 32-bit integers.
    Q_TYPE_I32 = 26,
    /// 64-bit integers.
    Q_TYPE_I64 = 27,
    /// 64-bit floats.
    Q_TYPE_F64 = 28,
    /// Blocks of 256 from a codebook, 1.8 bits an element.
    Q_TYPE_IQ1_M = 29,
    /// The upper half of 32-bit floats.
    Q_TYPE_BF16 = 30,
}

/// The storage type of that number.
pub fn type_of(what: &str, id: u32) -> Result<Type> {
    match Type::from_id(id) {
        Some(ty) => Ok(ty),
        None => fail!(InvalidArgument, "{what} is {id}, which is no q_type"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_storage_type_has_its_number() {
        let source = include_str!("types.rs");
        for ty in Type::all() {
            assert!(source.contains(&format!("Q_TYPE_{} = {},", ty.name(), ty.id())), "{}", ty.name());
        }
    }
}
