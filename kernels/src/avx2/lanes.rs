//! The float operations of [`crate::lanes`] on AVX2.
//!
//! Sixteen sums are two of the sixteen registers, so a product tile of 2 x 3 takes twelve and leaves four
//! for what is loaded; one activation row alone streams four weight rows at once.

use super::Avx2;
use crate::blocks;
use crate::lanes::{activation, attend, dequantize, matmul_bf16, matmul_f32, norm, rope, softmax, stored, vector};
#[cfg(feature = "train")]
use crate::lanes::{clip, gemm, loss, optim};
use crate::table::{Entry, Func};
use crate::{Isa, Type};

entries! { Avx2, Avx2, "avx2,fma,f16c", tile: 2, 3, 3, 4 }
entries! { bf16: Avx2, Avx2, "avx2,fma,f16c", tile: 2, 2 }
entries! { train: Avx2, Avx2, "avx2,fma,f16c", product: 6, 1 }
