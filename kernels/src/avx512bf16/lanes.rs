//! The products of bf16 of [`crate::lanes`] by AVX-512 BF16.
//!
//! A product tile takes 24 of the 32 registers: eight weight rows and three activation rows, which are rounded on the way. Of the products of
//! training it is the rounding alone that has an instruction here.

use crate::avx512::Avx512Bf16;
#[cfg(feature = "train")]
use crate::lanes::gemm;
use crate::lanes::matmul_bf16;
use crate::table::{Entry, Func};
use crate::{Isa, Type};

entries! { bf16: Avx512Bf16, Avx512Bf16, "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16", tile: 8, 3 }
entries! { bf16 train: Avx512Bf16, Avx512Bf16, "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16", product: 14, 2 }
