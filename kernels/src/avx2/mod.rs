//! Kernels for AVX2 with FMA and F16C.

pub mod lanes;
pub mod matmul_q8;
#[cfg(feature = "qubo")]
pub mod qaoa;
pub mod quantize;
pub mod quantize_act;
#[cfg(feature = "qubo")]
pub mod qubo;
pub(crate) mod rows;
mod simd;

pub use simd::Avx2;
#[cfg(feature = "train")]
pub(crate) use simd::load_four;
