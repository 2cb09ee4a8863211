//! Every float operation once, over sixteen lanes: the SIMD twins of [`crate::scalar`].
//!
//! What the levels differ in is the width of a register. The functions here are written over [`Simd`], a
//! token that proves the CPU's level and offers its arithmetic, and always keep sixteen partial sums: two
//! registers of AVX2, one of AVX-512. So each level performs the roundings of [`crate::order`] and
//! [`crate::math`] by construction. They are `inline(always)` and become machine code in the functions that
//! `twins.rs` makes for a level, in `avx2/lanes.rs` and `avx512/lanes.rs`.

// Loops over arrays of registers run by index, to be unrolled.
#![allow(clippy::needless_range_loop)]

#[macro_use]
mod twins;

pub mod activation;
pub mod attend;
#[cfg(feature = "train")]
pub mod clip;
pub mod dequantize;
#[cfg(feature = "train")]
mod factors;
#[cfg(feature = "train")]
pub mod gemm;
#[cfg(feature = "train")]
pub mod loss;
mod map;
pub mod math;
pub mod matmul_bf16;
pub mod matmul_f32;
pub mod norm;
#[cfg(feature = "train")]
pub mod optim;
#[cfg(feature = "train")]
mod pack;
mod reduce;
pub mod rope;
pub mod softmax;
pub mod stored;
pub mod vector;

/// A CPU level's arithmetic on one register of f32. A value of the type proves that the CPU has the level.
///
/// Sixteen elements are [`Simd::PARTS`] registers; `part` counts them, and must be less.
pub trait Simd: Copy {
    /// A register.
    type V: Copy;
    /// Registers that sixteen elements take, 1 or 2.
    const PARTS: usize;

    /// Calls `f`, which must be inlined, as a function of its own that is compiled for the level.
    fn apart<R>(self, f: impl FnOnce() -> R) -> R;
    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::V;
    /// A part of sixteen elements.
    fn load(self, x: &[f32; 16], part: usize) -> Self::V;
    /// The way back.
    fn store(self, x: &mut [f32; 16], part: usize, v: Self::V);
    /// A part of sixteen f32 stored as little-endian bytes.
    fn load_f32(self, x: &[u8; 64], part: usize) -> Self::V;
    /// A part of sixteen halves.
    fn load_f16(self, x: &[u8; 32], part: usize) -> Self::V;
    /// A part of sixteen bf16.
    fn load_bf16(self, x: &[u8; 32], part: usize) -> Self::V;
    /// A part of sixteen signed bytes.
    fn load_i8(self, x: &[u8; 16], part: usize) -> Self::V;
    /// All lanes one half.
    fn splat_f16(self, bits: u16) -> Self::V;
    /// The numbers of a table that a part of sixteen codes stands for.
    #[cfg(feature = "train")]
    fn lookup(self, table: &[f32; 256], codes: &[u8; 16], part: usize) -> Self::V;
    /// A part of sixteen integers from 0 to 255, as bytes.
    #[cfg(feature = "train")]
    fn store_u8(self, x: &mut [u8; 16], part: usize, v: Self::V);
    /// A part of the low or high nibbles of sixteen bytes, less 8.
    fn load_nibbles(self, x: &[u8; 16], high: bool, part: usize) -> Self::V;

    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// Square roots.
    #[cfg(feature = "train")]
    fn sqrt(self, a: Self::V) -> Self::V;
    /// `a * b + c`, rounded once.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// As `add_product` of [`crate::scalar::pairs`], with factors that are not subnormal.
    #[cfg(feature = "train")]
    fn mul_add_flushed(self, a: Self::V, b: Self::V, sum: Self::V) -> Self::V;
    /// As [`crate::scalar::pairs::round`].
    #[cfg(feature = "train")]
    fn round_bf16(self, x: Self::V) -> Self::V;
    /// `a` where it is greater, else `b`.
    fn greater(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a` where it is less, else `b`.
    fn lesser(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a` where `x < 0`, else `b`.
    fn if_negative(self, x: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// `-x`.
    fn neg(self, x: Self::V) -> Self::V;
    /// `|x|`.
    fn abs(self, x: Self::V) -> Self::V;
    /// `|x|` with the sign of `sign`; `x` must not be negative.
    fn with_sign(self, x: Self::V, sign: Self::V) -> Self::V;
    /// 2^n, of the sum `n + math::MAGIC`.
    fn pow2(self, t: Self::V) -> Self::V;

    /// A part of eight elements, each twice in a row.
    fn load_twice(self, x: &[f32; 8], part: usize) -> Self::V;
    /// Neighbours exchanged.
    fn swap_pairs(self, x: Self::V) -> Self::V;
    /// `a * b - c` in even lanes, `a * b + c` in odd ones.
    fn mul_subadd(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;

    /// [`Simd::store`] past the caches; sixteen elements begin a line of them. Panics when they do not.
    #[cfg(feature = "train")]
    fn stream(self, x: &mut [f32; 16], part: usize, v: Self::V);
    /// Orders what was streamed before what is written next.
    #[cfg(feature = "train")]
    fn fence(self);
    /// Asks for a line of the cache.
    fn prefetch(self, x: *const f32);
    /// The columns `4 * four..4 * four + 4` of sixteen rows, of each a part. Panics when they have not so many.
    fn columns(self, rows: &[&[f32; 16]; 16], four: usize, part: usize) -> [Self::V; 4];

    /// Sixteen lanes added in the order of [`crate::order`].
    fn sum(self, lanes: Lanes<Self>) -> f32;
    /// The same for four of them at once.
    fn sum4(self, lanes: &[Lanes<Self>; 4]) -> [f32; 4];
    /// The greatest of sixteen lanes.
    fn max(self, lanes: Lanes<Self>) -> f32;
}

/// Products of pairs of bf16, which are words as wide as an f32: the first element is the low half. What a pair adds to a sum is
/// what [`crate::scalar::pairs`] says.
pub trait Pairs: Simd {
    /// A part of sixteen stored pairs.
    fn load_pairs(self, x: &[u8; 64], part: usize) -> Self::V;
    /// A part of the sixteen pairs to which neighbours are rounded.
    fn round_pairs(self, x: &[f32; 32], part: usize) -> Self::V;
    /// The sums to which the products of pairs are added.
    fn add_pairs(self, a: Self::V, b: Self::V, sum: Self::V) -> Self::V;
}

/// Sixteen lanes: the first [`Simd::PARTS`] registers.
pub type Lanes<S> = [<S as Simd>::V; 2];
