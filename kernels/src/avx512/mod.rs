//! Kernels for AVX-512 F, BW, DQ and VL with VNNI.

pub mod lanes;
pub mod matmul_q8;
#[cfg(feature = "qubo")]
pub mod qaoa;
#[cfg(feature = "qubo")]
pub mod qubo;
pub(crate) mod rows;
mod simd;

pub use simd::{Avx512, Avx512Bf16};
