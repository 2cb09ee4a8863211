//! Every operation in portable Rust: the definition, to whose bits the SIMD twins are held.

pub mod activation;
pub mod attend;
pub mod matmul_f32;
pub mod norm;
pub mod rope;
pub mod softmax;
pub mod stored;
pub mod vector;
