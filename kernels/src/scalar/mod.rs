//! Every operation in portable Rust: the definition, to whose bits the SIMD twins are held.

pub mod activation;
pub mod attend;
pub mod dequantize;
#[cfg(feature = "train")]
pub mod gemm;
pub mod matmul_f32;
pub mod matmul_q8;
pub mod norm;
pub mod quantize;
pub mod quantize_act;
pub mod rope;
pub mod softmax;
pub mod stored;
pub mod vector;
