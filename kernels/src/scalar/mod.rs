//! Every operation in portable Rust: the definition, to whose bits the SIMD twins are held.

pub mod activation;
pub mod attend;
#[cfg(feature = "train")]
pub mod clip;
pub mod dequantize;
#[cfg(feature = "train")]
pub mod gemm;
#[cfg(feature = "train")]
pub mod loss;
pub mod matmul_bf16;
pub mod matmul_f32;
pub mod matmul_q8;
pub mod norm;
#[cfg(feature = "train")]
pub mod optim;
pub mod pairs;
#[cfg(feature = "qubo")]
pub mod qaoa;
pub mod quantize;
pub mod quantize_act;
#[cfg(feature = "qubo")]
pub mod qubo;
pub mod rope;
pub mod softmax;
pub mod stored;
pub mod vector;
