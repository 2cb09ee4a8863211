//! Twins for AVX2 with FMA and F16C.

pub(crate) mod rows;
pub mod matmul_q8;
pub mod quantize_act;
