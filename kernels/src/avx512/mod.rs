//! Kernels for AVX-512 F, BW, DQ and VL with VNNI.

pub mod lanes;
mod simd;

pub use simd::Avx512;
