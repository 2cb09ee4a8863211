//! Kernels for AVX2 with FMA and F16C.

pub mod lanes;
mod simd;

pub use simd::Avx2;
