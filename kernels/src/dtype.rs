//! Storage types: their numbers in a GGUF file, and the size of their blocks.

/// How the elements of a tensor are stored. The discriminant is the type's number in GGUF
/// (ggml's `enum ggml_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[allow(non_camel_case_types, missing_docs)] // the names are the formats' own
pub enum Type {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q2_K = 10,
    Q3_K = 11,
    Q4_K = 12,
    Q5_K = 13,
    Q6_K = 14,
    IQ2_XXS = 16,
    IQ2_XS = 17,
    IQ3_XXS = 18,
    IQ1_S = 19,
    IQ4_NL = 20,
    IQ3_S = 21,
    IQ2_S = 22,
    IQ4_XS = 23,
    I8 = 24,
    I16 = 25,
    I32 = 26,
    I64 = 27,
    F64 = 28,
    IQ1_M = 29,
    BF16 = 30,
}

/// Number of a type, name, elements in a block, bytes of a block.
const TYPES: [(Type, &str, usize, usize); 27] = [
    (Type::F32, "F32", 1, 4),
    (Type::F16, "F16", 1, 2),
    (Type::Q4_0, "Q4_0", 32, 18),
    (Type::Q4_1, "Q4_1", 32, 20),
    (Type::Q5_0, "Q5_0", 32, 22),
    (Type::Q5_1, "Q5_1", 32, 24),
    (Type::Q8_0, "Q8_0", 32, 34),
    (Type::Q2_K, "Q2_K", 256, 84),
    (Type::Q3_K, "Q3_K", 256, 110),
    (Type::Q4_K, "Q4_K", 256, 144),
    (Type::Q5_K, "Q5_K", 256, 176),
    (Type::Q6_K, "Q6_K", 256, 210),
    (Type::IQ2_XXS, "IQ2_XXS", 256, 66),
    (Type::IQ2_XS, "IQ2_XS", 256, 74),
    (Type::IQ3_XXS, "IQ3_XXS", 256, 98),
    (Type::IQ1_S, "IQ1_S", 256, 50),
    (Type::IQ4_NL, "IQ4_NL", 32, 18),
    (Type::IQ3_S, "IQ3_S", 256, 110),
    (Type::IQ2_S, "IQ2_S", 256, 82),
    (Type::IQ4_XS, "IQ4_XS", 256, 136),
    (Type::I8, "I8", 1, 1),
    (Type::I16, "I16", 1, 2),
    (Type::I32, "I32", 1, 4),
    (Type::I64, "I64", 1, 8),
    (Type::F64, "F64", 1, 8),
    (Type::IQ1_M, "IQ1_M", 256, 56),
    (Type::BF16, "BF16", 1, 2),
];

impl Type {
    /// All types, by number.
    pub fn all() -> impl Iterator<Item = Type> {
        TYPES.iter().map(|row| row.0)
    }

    /// One more than the greatest number: the length of a table indexed by [`Type::id`].
    pub const COUNT: usize = 31;

    const fn row(self) -> &'static (Type, &'static str, usize, usize) {
        let mut i = 0;
        while TYPES[i].0 as u32 != self as u32 {
            i += 1;
        }
        &TYPES[i]
    }

    /// The type's number in a GGUF file.
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// The type of that number, if it is one that can be read.
    pub fn from_id(id: u32) -> Option<Type> {
        Type::all().find(|ty| ty.id() == id)
    }

    /// The field's name of the type, as in `Q4_K`.
    pub const fn name(self) -> &'static str {
        self.row().1
    }

    /// The type of that name, in any case of letters.
    pub fn from_name(name: &str) -> Option<Type> {
        Type::all().find(|ty| ty.name().eq_ignore_ascii_case(name))
    }

    /// Elements in one block.
    pub const fn block_len(self) -> usize {
        self.row().2
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        self.row().3
    }

    /// Bytes of a row of `len` elements, or None when `len` is not a multiple of the block or the size overflows.
    pub const fn row_bytes(self, len: usize) -> Option<usize> {
        if !len.is_multiple_of(self.block_len()) {
            return None;
        }
        (len / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Whether elements are stored in blocks of small integers with scales.
    pub const fn is_quantized(self) -> bool {
        self.block_len() > 1
    }
}
