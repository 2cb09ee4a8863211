//! What one call computes: tokens of one or several sequences.

/// One token of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its number in the vocabulary.
    pub id: u32,
    /// The sequence it continues.
    pub seq: u32,
    /// Its position there: the sequence's length before it.
    pub pos: u32,
    /// Whether the logits after it are wanted.
    pub logits: bool,
}
