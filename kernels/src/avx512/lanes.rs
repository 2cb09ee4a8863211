//! The float operations of [`crate::lanes`] on AVX-512.
//!
//! Sixteen sums are one of the 32 registers, so a product tile of 3 x 8 takes 24; one activation row alone
//! streams eight weight rows at once.

use super::Avx512;
use crate::blocks;
use crate::lanes::{activation, attend, dequantize, matmul_f32, norm, rope, softmax, stored, vector};
#[cfg(feature = "train")]
use crate::lanes::{clip, gemm, loss, optim};
use crate::table::{Entry, Func};
use crate::{Isa, Type};

entries! { Avx512, Avx512, "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", tile: 3, 8, 4, 8 }
entries! { train: Avx512, Avx512, "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", product: 14, 2 }
