//! Twins for AVX2 with FMA and F16C.

pub mod matmul_q8;
pub mod quantize_act;
pub(crate) mod rows;
