//! What the attention kernels work on: one block of positions seen by any number of query vectors.

use crate::Type;

/// Positions of a block. Blocks start at multiples of it, so that a token's sums are grouped in one way
/// however the work is divided.
pub const ATTEND_BLOCK: usize = 64;

/// Query vectors that look at one block of keys and values, and their running state.
///
/// The vectors are the query heads that share one key-value head, of one token (here a row) or of several. For each
/// of them the kernel computes over the positions of the block that its row sees `s[j] = cap(scale * (q . k[j]))`,
/// `m = max s`, `p[j] = exp(s[j] - m)`, `sum p` and `sum p[j] v[j]` (j ascending), and merges that with the running
/// state, which is the same triple over the blocks before. A vector's result depends neither on which others are
/// in the call nor on what lies at positions that no row sees; what lies at those that only other rows see must be
/// finite. After the last block the attention is `out / sum`.
pub struct AttendBlock<'a> {
    /// Query vectors, `[rows][heads][head_dim]`.
    pub q: &'a [f32],
    /// Keys, all [`ATTEND_BLOCK`] positions of them, as [`store_key`] lays them out.
    pub keys: &'a [u8],
    /// Values as stored, `[positions][head_dim]`, up to the last position that is seen.
    pub values: &'a [u8],
    /// The positions of the block that each row sees: from, to; none when they are equal.
    pub seen: &'a [[u8; 2]],
    /// Elements of a key, a query and a value.
    pub head_dim: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// Scores become `softcap * tanh(score / softcap)`; 0 for none.
    pub softcap: f32,
    /// [`AttendBlock::scratch`]`(head_dim)` elements.
    pub scratch: &'a mut [f32],
    /// The greatest score so far, `[rows][heads]`; negative infinity before the first block, when `sum` and
    /// `out` need hold nothing yet.
    pub max: &'a mut [f32],
    /// Sum of the weights so far, relative to `max`, `[rows][heads]`.
    pub sum: &'a mut [f32],
    /// Weighted sum of the values so far, relative to `max`, `[rows][heads][head_dim]`.
    pub out: &'a mut [f32],
}

impl AttendBlock<'_> {
    /// Elements of scratch: a block of keys and one of values as f32, in whole sixteens.
    pub const fn scratch(head_dim: usize) -> usize {
        head_dim.saturating_add(head_dim.next_multiple_of(16)).saturating_mul(ATTEND_BLOCK)
    }

    /// Query vectors of a row.
    pub(crate) fn heads(&self) -> usize {
        self.max.len() / self.seen.len().max(1)
    }

    /// Panics unless the slices have the lengths they are said to have, keys and values being of type `ty`.
    pub(crate) fn check(&self, ty: Type) {
        let (queries, dim) = (self.max.len(), self.head_dim);
        let Some(row) = ty.row_bytes(dim) else {
            panic!("a head of {dim} elements is not whole blocks of {}", ty.name())
        };
        let Some(elements) = queries.checked_mul(dim) else { panic!("{queries} queries of {dim} elements") };
        assert_eq!(self.heads() * self.seen.len(), queries);
        assert_eq!(self.q.len(), elements);
        assert_eq!(self.out.len(), elements);
        assert_eq!(self.sum.len(), queries);
        assert_eq!(Some(self.keys.len()), row.checked_mul(ATTEND_BLOCK));
        for &[from, to] in self.seen {
            assert!(from <= to && usize::from(to) <= ATTEND_BLOCK);
            assert!(usize::from(to) * row <= self.values.len());
        }
        assert!(self.scratch.len() >= AttendBlock::scratch(dim));
    }
}

/// Puts the key of position `j` of a block, a row stored as type `ty`, into the block `keys`.
///
/// Keys are transposed, that neighbours in memory are the same element of neighbouring positions: a field of `w` bytes
/// that begins at byte `i` of the stored row begins at byte `ATTEND_BLOCK * i + w * j` of the block. The fields of F32
/// and F16 are their elements, those of Q8_0 and Q4_0 the two bytes of a scale and the single bytes of quants.
pub fn store_key(ty: Type, row: &[u8], keys: &mut [u8], j: usize) {
    each_field(ty, row.len(), |i, width| {
        keys[ATTEND_BLOCK * i + width * j..][..width].copy_from_slice(&row[i..i + width]);
    });
}

/// Takes the key of position `j` out of a block: what [`store_key`] put there.
pub fn load_key(ty: Type, keys: &[u8], j: usize, row: &mut [u8]) {
    each_field(ty, row.len(), |i, width| {
        row[i..i + width].copy_from_slice(&keys[ATTEND_BLOCK * i + width * j..][..width]);
    });
}

/// Calls `f` with the first byte and the width of each field of a stored row of `bytes` bytes.
#[inline(always)]
fn each_field(ty: Type, bytes: usize, mut f: impl FnMut(usize, usize)) {
    match ty.block_bytes() {
        4 => (0..bytes).step_by(4).for_each(|i| f(i, 4)),
        2 => (0..bytes).step_by(2).for_each(|i| f(i, 2)),
        block => {
            for start in (0..bytes).step_by(block) {
                f(start, 2);
                (start + 2..start + block).for_each(|i| f(i, 1));
            }
        }
    }
}
