//! The arithmetic of Qorus: functions on slices, and nothing else.
//!
//! No allocation, no I/O, no threads, no tensors. Every operation has a portable definition in
//! [`scalar`] and hand-written twins in [`avx2`], [`avxvnni`], [`avx512`] and [`avx512bf16`]; [`table`] is the one list of them all.
//!
//! **One order at every level.** Floating-point reductions are written so that each level performs the
//! same roundings in the same order (see [`order`]): the scalar function is not an approximation of
//! its twins but gives the same bits.

#[cfg(target_arch = "x86_64")]
#[macro_use]
pub mod lanes;

pub mod act;
pub mod attend;
#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
#[cfg(target_arch = "x86_64")]
pub mod avx512bf16;
#[cfg(target_arch = "x86_64")]
pub mod avxvnni;
pub mod blocks;
mod calls;
pub mod dtype;
#[cfg(feature = "train")]
pub mod dynamic;
pub mod exercise;
#[cfg(feature = "train")]
pub mod gemm;
pub mod isa;
#[cfg(feature = "train")]
pub mod loss;
pub mod mat;
pub mod math;
#[cfg(feature = "train")]
pub mod optim;
pub mod order;
pub mod products;
pub mod real;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, unused_imports, unused_macros))]
mod rows;
pub mod scalar;
pub mod table;
pub mod tile;

pub use act::{ActQ8, panel_bytes};
pub use attend::{ATTEND_BLOCK, AttendBlock, load_key, store_key};
pub use dtype::Type;
#[cfg(feature = "train")]
pub use gemm::{GEMM_PANEL, gemm_block, gemm_bytes, gemm_cols, gemm_packed, gemm_parts};
pub use isa::Isa;
pub use mat::Mat;
pub use products::Products;
pub use table::Kernels;
pub use tile::TileMut;
