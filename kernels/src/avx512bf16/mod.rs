//! AVX-512 with the products of BF16; all else is what [`crate::avx512`] has.

pub mod lanes;
