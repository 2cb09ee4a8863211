//! Quantized products with one weight row in each lane of a vector.
//!
//! Eight rows (AVX2) or sixteen (AVX-512) are computed at once. Their bytes are transposed as they are stored, still
//! packed, so that lane `r` of vector `i` holds bytes `4i..4i+4` of row `r`; unpacking then is the same few
//! instructions for every lane, and products with a broadcast activation accumulate per row with no sum across
//! lanes. What a format needs is written once over [`RowLanes`], what an instruction set needs once in its `rows.rs`.

/// An array of eight values, `$i` counting from 0. Code over [`RowLanes`] has no closures: one that is not inlined would be
/// compiled without the instruction set, and every vector operation in it would become a call.
macro_rules! each8 {
    ($i:ident => $value:expr) => {
        each8!(@list $i, $value; 0 1 2 3 4 5 6 7)
    };
    (@list $i:ident, $value:expr; $($n:literal)*) => {
        [$({
            let $i: usize = $n;
            $value
        }),*]
    };
}
mod act;
mod iq;
mod kquants;
mod legacy;
pub(crate) mod matmul_q8;
pub(crate) mod panel;
mod points;
pub(crate) mod stream;

pub(crate) use act::{ActTile, GroupAct, STRETCH, Wants};
pub(crate) use matmul_q8::panel_bytes;

use crate::blocks::{Codes, QuantBlock};

/// A vector with a 32-bit lane for each of `N` weight rows.
///
/// A value exists only where the instruction set does: the functions that make one from nothing are unsafe, those
/// that take one are safe. All are inlined into a function that enables the set.
pub trait RowLanes: Copy {
    /// Rows.
    const N: usize;
    /// Rows of activations whose sums fit the registers: [`TOKENS`] or half of them.
    const TILE: usize;
    /// Whether one row of activations meets signed codes as they are, and many rows meet two planes of their nibbles; else
    /// they are made unsigned.
    const KEEPS_SIGN: bool;
    /// The vector with an f32 in each lane.
    type Floats: Floats;

    /// The same number in all lanes.
    ///
    /// # Safety
    /// The CPU has the instruction set; so for all functions here that make a vector.
    unsafe fn splat(x: i32) -> Self;
    /// The same 16 bytes in every quarter.
    /// # Safety
    /// As [`RowLanes::splat`].
    unsafe fn table(bytes: &[i8; 16]) -> Self;
    /// Four bytes of each row at `rows`.
    /// # Safety
    /// As [`RowLanes::splat`]; each row has four bytes there.
    unsafe fn load4(rows: Rows) -> Self;
    /// Sixteen bytes of each row at `rows`, transposed: vector `i` holds bytes `4i..4i+4`.
    /// # Safety
    /// As [`RowLanes::splat`]; each row has sixteen bytes there.
    unsafe fn load16(rows: Rows) -> [Self; 4];

    fn and(self, b: Self) -> Self;
    fn or(self, b: Self) -> Self;
    fn xor(self, b: Self) -> Self;
    /// Shifts of the lane as one 32-bit number.
    fn shl(self, n: i32) -> Self;
    fn shr(self, n: i32) -> Self;
    /// As `shr`, copies of the sign coming in.
    fn sar(self, n: i32) -> Self;
    /// By bytes.
    fn sub8(self, b: Self) -> Self;
    /// By lanes.
    fn add32(self, b: Self) -> Self;
    /// Each byte (0 to 15) replaced by that byte of the table.
    fn look_up(self, table: Self) -> Self;
    /// Bit 4 of byte `j`, clear before, is set where bit `4 * i + j` of `bits` is.
    fn fifth(self, bits: Self, i: usize) -> Self;
    /// Byte `j` of each lane as a number of 16 bits, in both halves.
    fn twice(self, j: usize) -> Self;
    /// Products of the halves of the lanes, cut to 16 bits.
    fn mul16(self, b: Self) -> Self;
    /// Each lane, modulo `N`, replaced by that element of the table; `N` is a power of two.
    fn pick<const N: usize>(self, table: &[u32; N]) -> Self;
    /// RowLanes as signed numbers.
    fn float(self) -> Self::Floats;
    /// The lower halves of the lanes as half-precision numbers.
    fn half_float(self) -> Self::Floats;

    /// The bytes of [`Codes`] as the products below take them.
    fn prepare(self, codes: Codes) -> Self;
    /// `start` plus the products of `4 * VECTORS` codes with as many activations at `x`; with `start` the
    /// correction of the codes' offset this is the integer sum of the definition.
    /// # Safety
    /// As [`RowLanes::splat`]; `x` can be read so far.
    unsafe fn dot<B: QuantBlock, const VECTORS: usize>(codes: &[Self; VECTORS], x: *const i8, start: i32) -> Self;
    /// The same for `T` rows of activations that are laid as in an [`ActTile`]; `PAIRS` is [`Codes::pairs`], or 0 for
    /// codes in two planes, vectors of low and of high nibbles in turn.
    /// # Safety
    /// As [`RowLanes::splat`]; there are `VECTORS` vectors of codes, or twice as many, and the activations of `T` rows.
    unsafe fn dots<const PAIRS: usize, const VECTORS: usize, const T: usize>(
        codes: *const Self,
        x: *const i8,
        start: *const i32,
    ) -> [Self; T];
    /// Asks for the line at `p`, which need not exist, to come into the cache.
    /// # Safety
    /// As [`RowLanes::splat`].
    unsafe fn prefetch(p: *const u8);
}

/// A vector with an f32 in each lane.
pub trait Floats: Copy {
    /// # Safety
    /// The CPU has the instruction set; so for all functions here that make a vector.
    unsafe fn splat(x: f32) -> Self;
    /// # Safety
    /// As [`Floats::splat`]; the lanes' number of f32 can be read at `p`.
    unsafe fn load(p: *const f32) -> Self;
    /// # Safety
    /// As many f32 can be written at `p`.
    unsafe fn store(self, p: *mut f32);
    /// Has these computed before what follows, where the compiler's own order would run out of registers.
    fn keep(values: &mut [Self]);
    fn mul(self, b: Self) -> Self;
    /// `self * b + c`, rounded once.
    fn mul_add(self, b: Self, c: Self) -> Self;
}

/// The same place in several rows that lie `stride` bytes apart; the stretch of sixteen rows fits an i32.
#[derive(Clone, Copy)]
pub struct Rows {
    pub ptr: *const u8,
    pub stride: usize,
}

impl Rows {
    /// `bytes` further on in each row.
    #[inline(always)]
    pub fn at(self, bytes: usize) -> Rows {
        Rows { ptr: self.ptr.wrapping_add(bytes), ..self }
    }
}

/// Rows of activations that are laid out together.
pub(crate) const TOKENS: usize = 8;

/// The greatest stretch of a row whose scales are decoded together, in groups: one block of the great formats.
pub(crate) const CHUNK: usize = 8;

/// Scales and minimums of up to [`CHUNK`] groups of all rows, by halves.
#[derive(Clone, Copy)]
pub struct ChunkScales<V: RowLanes> {
    pub s: [[V::Floats; 2]; CHUNK],
    pub m: [[V::Floats; 2]; CHUNK],
}

/// What takes the codes of one group after the other.
pub trait Sink<V: RowLanes> {
    /// Group `g` of the chunk; vector `i` holds codes `4i..4i+4` of each row.
    ///
    /// # Safety
    /// The CPU has the instruction set.
    unsafe fn group(&mut self, g: usize, codes: [V; 8]);

    /// The scale of group `g` before its codes, from a format that keeps the two together.
    fn scale(&mut self, g: usize, s: V::Floats);
}

/// A format that is unpacked with rows in the lanes.
pub trait RowBlock: QuantBlock {
    /// Scales of the first `groups` groups at `rows`: of one block, or of several when a block is one group. A format
    /// may leave them to [`Sink::scale`].
    ///
    /// # Safety
    /// The CPU has the instruction set, and each row has the blocks of that many groups.
    unsafe fn row_scales<V: RowLanes>(rows: Rows, groups: usize, out: &mut ChunkScales<V>);

    /// Codes of the same groups, in order, for `sink`.
    ///
    /// # Safety
    /// As [`RowBlock::row_scales`].
    unsafe fn row_codes<V: RowLanes>(rows: Rows, groups: usize, sink: &mut impl Sink<V>);
}
