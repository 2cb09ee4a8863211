//! Sizes of the blocks in which a product of f32 matrices is computed.

use crate::Products;

/// Depth of a block: panels of that many steps stay in the first cache.
pub(crate) const DEPTH: usize = 320;
/// Rows of a block, a multiple of the rows of every level's tile: they stay in the second cache.
pub(crate) const ROWS: usize = 168;
/// Columns of a block, a multiple of the columns of every level's tile.
pub(crate) const COLS: usize = 704;
/// What packing may write behind the end of a panel, to be overwritten by the next.
pub(crate) const OVERHANG: usize = 16;

/// Columns of the second operand that may be packed apart: whole panels of every level.
pub const GEMM_PANEL: usize = 32;

/// What a call of the kernel does.
pub enum Stage<'a> {
    /// Everything, in this scratch.
    Whole(&'a mut [f32]),
    /// Only packs the second operand.
    Pack(&'a mut [f32]),
    /// The rest: with what was packed, and scratch for the first.
    Multiply(&'a [f32], &'a mut [f32]),
}

/// The greatest `(depth, columns)` of a second operand that is packed apart, at the place that [`gemm_parts`] says.
pub const fn gemm_block() -> (usize, usize) {
    (DEPTH, COLS)
}

/// Elements that so many columns and steps of the depth take when they are packed.
pub const fn gemm_packed(products: Products, depth: usize, cols: usize) -> usize {
    let words = match products {
        Products::F32 => depth,
        Products::Bf16 => depth.div_ceil(2),
    };
    words * cols.next_multiple_of(GEMM_PANEL)
}

/// Elements of scratch that a kernel has.
pub(crate) const SCRATCH: usize = (ROWS + COLS) * DEPTH + OVERHANG;

/// Bytes of the scratch of [`Kernels::gemm`](crate::Kernels::gemm): one packed block of each operand.
pub const fn gemm_bytes() -> usize {
    SCRATCH * size_of::<f32>() + 64
}

/// Bytes that a packed second operand, and what is packed of the first, take of a scratch of that size; they lie there one after another.
pub const fn gemm_parts() -> [usize; 2] {
    [COLS * DEPTH * size_of::<f32>(), (ROWS * DEPTH + OVERHANG) * size_of::<f32>()]
}

/// The part of a scratch of that size that begins with a line of the cache.
pub(crate) fn aligned(scratch: &mut [u8]) -> &mut [f32] {
    let start = scratch.as_ptr().align_offset(64);
    bytemuck::cast_slice_mut(&mut scratch[start..][..SCRATCH * size_of::<f32>()])
}
