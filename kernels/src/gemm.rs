//! Sizes of the blocks in which a product of f32 matrices is computed.

/// Depth of a block: panels of that many steps stay in the first cache.
pub(crate) const DEPTH: usize = 320;
/// Rows of a block, a multiple of the rows of every level's tile: they stay in the second cache.
pub(crate) const ROWS: usize = 168;
/// Columns of a block, a multiple of the columns of every level's tile.
pub(crate) const COLS: usize = 704;
/// What packing may write behind the end of a panel, to be overwritten by the next.
pub(crate) const OVERHANG: usize = 16;

/// Elements of scratch that a kernel has.
pub(crate) const SCRATCH: usize = (ROWS + COLS) * DEPTH + OVERHANG;

/// Bytes of the scratch of [`Kernels::gemm`](crate::Kernels::gemm): one packed block of each operand.
pub const fn gemm_bytes() -> usize {
    SCRATCH * size_of::<f32>() + 64
}

/// The part of a scratch of that size that begins with a line of the cache.
pub(crate) fn aligned(scratch: &mut [u8]) -> &mut [f32] {
    let start = scratch.as_ptr().align_offset(64);
    bytemuck::cast_slice_mut(&mut scratch[start..][..SCRATCH * size_of::<f32>()])
}
