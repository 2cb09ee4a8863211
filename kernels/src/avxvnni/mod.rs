//! AVX2 with the byte products of AVX-VNNI: quantized products of eight rows; all else is what [`crate::avx2`] has.

pub mod matmul_q8;
