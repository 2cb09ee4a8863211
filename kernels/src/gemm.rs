//! Sizes of the blocks in which a product of f32 matrices is computed.

use crate::Products;

/// Columns of a block at most, a multiple of the columns of every level's tile.
pub(crate) const COLS: usize = 768;
/// Elements of a block of the second operand: it stays in the second cache.
pub(crate) const PANELS: usize = COLS * 288;
/// Depth of a block of few columns at most.
const DEEPEST: usize = 1024;
/// Rows of a block at most.
const ROWS: usize = 168;
/// Elements of a block of the first operand, which stays there too.
const LINES: usize = 52 * DEEPEST;
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
    /// The rest: with what was packed, from this line of its panels on, and scratch for the first operand.
    Multiply(&'a [f32], usize, &'a mut [f32]),
}

/// The most columns of a second operand that is packed apart, at the place that [`gemm_parts`] says.
pub const fn gemm_cols() -> usize {
    COLS
}

/// The depth, a multiple of 8, that so many columns of it may have: the fewer, the deeper, for what the result holds is read and written
/// again for each block.
pub const fn gemm_block(cols: usize) -> usize {
    let width = if cols == 0 { GEMM_PANEL } else { cols.next_multiple_of(GEMM_PANEL) };
    let depth = PANELS / width / 8 * 8;
    if depth < DEEPEST { depth } else { DEEPEST }
}

/// Rows of a first operand that are packed at once, of so many elements.
pub(crate) const fn rows(depth: usize) -> usize {
    let rows = LINES / if depth == 0 { 1 } else { depth };
    if rows < ROWS { rows } else { ROWS }
}

/// Elements that so many columns and steps of the depth take when they are packed.
pub const fn gemm_packed(products: Products, depth: usize, cols: usize) -> usize {
    // Of bf16 whole pairs.
    let lines = match products {
        Products::F32 => depth,
        Products::Bf16 => depth.next_multiple_of(2),
    };
    lines * cols.next_multiple_of(GEMM_PANEL)
}

/// Elements of scratch that a kernel has.
pub(crate) const SCRATCH: usize = PANELS + LINES + OVERHANG;

/// Bytes of the scratch of [`Kernels::gemm`](crate::Kernels::gemm): one packed block of each operand.
pub const fn gemm_bytes() -> usize {
    SCRATCH * size_of::<f32>() + 64
}

/// Bytes that a packed second operand, and what is packed of the first, take of a scratch of that size; they lie there one after another.
pub const fn gemm_parts() -> [usize; 2] {
    [PANELS * size_of::<f32>(), (LINES + OVERHANG) * size_of::<f32>()]
}

/// The part of a scratch of that size that begins with a line of the cache.
pub(crate) fn aligned(scratch: &mut [u8]) -> &mut [f32] {
    let start = scratch.as_ptr().align_offset(64);
    bytemuck::cast_slice_mut(&mut scratch[start..][..SCRATCH * size_of::<f32>()])
}
