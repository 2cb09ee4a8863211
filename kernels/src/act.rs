//! Activations as the quantised products take them: rows of signed 8-bit integers in blocks of 32.

/// Elements that share one scale.
pub const ACT_BLOCK: usize = 32;

/// Rows of activations quantised to 8 bits: element `i` of a row is `q[i] * d[i / 32]`.
#[derive(Clone, Copy)]
pub struct ActQ8<'a> {
    /// The integers, `[rows][k]`.
    pub q: &'a [i8],
    /// One scale per block of 32, `[rows][k / 32]`.
    pub d: &'a [f32],
    /// Sums of 16 consecutive integers, `[rows][k / 16]`: what types with a minimum multiply it by.
    pub sums: &'a [i16],
    /// Number of rows.
    pub rows: usize,
    /// Elements of a row, a multiple of 32.
    pub k: usize,
}

impl<'a> ActQ8<'a> {
    /// The rows in `q`, `d` and `sums`. Panics unless `k` is a multiple of 32 and the lengths fit.
    pub fn new(q: &'a [i8], d: &'a [f32], sums: &'a [i16], rows: usize, k: usize) -> Self {
        let act = ActQ8 { q, d, sums, rows, k };
        act.check();
        act
    }

    /// Panics unless the slices hold exactly `rows` rows of `k`.
    pub(crate) fn check(&self) {
        assert_eq!(self.k % ACT_BLOCK, 0, "rows of activations are whole blocks");
        assert_eq!(Some(self.q.len()), self.rows.checked_mul(self.k));
        assert_eq!(self.d.len(), self.rows * (self.k / ACT_BLOCK));
        assert_eq!(self.sums.len(), self.rows * (self.k / 16));
    }

    /// The integers, scales and sums of one row.
    #[inline(always)]
    pub fn row(&self, row: usize) -> (&'a [i8], &'a [f32], &'a [i16]) {
        let (blocks, halves) = (self.k / ACT_BLOCK, self.k / 16);
        (&self.q[row * self.k..][..self.k], &self.d[row * blocks..][..blocks], &self.sums[row * halves..][..halves])
    }
}

/// Bytes of the scratch in which a quantised product unpacks weights and lays out activations of length `k`. The kernels
/// unpack a stretch of a row at a time, so that it stays in the cache.
pub const fn panel_bytes(k: usize) -> usize {
    crate::rows::panel_bytes(k)
}
