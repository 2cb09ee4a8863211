//! What the attention kernels work on: one block of positions seen by a few query heads.

use crate::Type;

/// Positions of a block. Blocks start at multiples of it, so that a token's sums are grouped in one way
/// however the work is divided.
pub const ATTEND_BLOCK: usize = 64;

/// Query vectors that look at one block of keys and values, and their running state.
///
/// The vectors are the query heads that share one key-value head, of one token or of several that all see
/// these positions. For each of them the kernel computes over the block
/// `s[j] = cap(scale * (q . k[j]))`, `m = max s`, `p[j] = exp(s[j] - m)`, `sum p` and `sum p[j] v[j]`
/// (j ascending), and merges that with the running state, which is the same triple over the blocks
/// before. A head's result does not depend on which other heads are in the call. After the last block the
/// attention is `out / sum`.
pub struct AttendBlock<'a> {
    /// Query vectors, `[heads][head_dim]`.
    pub q: &'a [f32],
    /// Keys as stored, from the first position of the block on.
    pub k: &'a [u8],
    /// Values as stored, from the first position of the block on.
    pub v: &'a [u8],
    /// Bytes from one position's key to the next one's.
    pub k_stride: usize,
    /// Bytes from one position's value to the next one's.
    pub v_stride: usize,
    /// Number of positions, at most [`ATTEND_BLOCK`].
    pub len: usize,
    /// Elements of a key, a query and a value.
    pub head_dim: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// Scores become `softcap * tanh(score / softcap)`; 0 for none.
    pub softcap: f32,
    /// Scratch, `[heads][ATTEND_BLOCK]`.
    pub scores: &'a mut [f32],
    /// Scratch, `[head_dim]`.
    pub part: &'a mut [f32],
    /// The greatest score so far, `[heads]`; negative infinity before the first block, when `sum` and
    /// `out` need hold nothing yet.
    pub max: &'a mut [f32],
    /// Sum of the weights so far, relative to `max`, `[heads]`.
    pub sum: &'a mut [f32],
    /// Weighted sum of the values so far, relative to `max`, `[heads][head_dim]`.
    pub out: &'a mut [f32],
}

impl AttendBlock<'_> {
    /// Panics unless the slices have the lengths they are said to have, keys and values being of type `ty`.
    pub(crate) fn check(&self, ty: Type) {
        let (heads, dim) = (self.max.len(), self.head_dim);
        let Some(row) = ty.row_bytes(dim) else {
            panic!("a head of {dim} elements is not whole blocks of {}", ty.name())
        };
        let Some(elements) = heads.checked_mul(dim) else { panic!("{heads} heads of {dim} elements") };
        let reach = |stride: usize| match self.len {
            0 => Some(0),
            n => stride.checked_mul(n - 1)?.checked_add(row),
        };
        assert!(self.len <= ATTEND_BLOCK);
        assert_eq!(self.q.len(), elements);
        assert_eq!(self.out.len(), elements);
        assert_eq!(self.sum.len(), heads);
        assert!(reach(self.k_stride).is_some_and(|n| n <= self.k.len()));
        assert!(reach(self.v_stride).is_some_and(|n| n <= self.v.len()));
        assert!(self.scores.len() >= heads * ATTEND_BLOCK);
        assert!(self.part.len() >= dim);
    }
}
