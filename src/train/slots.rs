//! The list of what is trained, and where each tensor lies in flat buffers.

use crate::error::{Result, fail, try_vec};
use std::ops::Range;

/// Elements of a chunk: 64 KB of f32, some of each buffer in the second cache at once.
pub const CHUNK: usize = 16 * 1024;

pub use crate::layers::trained::UNIT;

/// The group of matrices, whose weights decay, and of norms and biases, whose weights do not: a convention for two groups.
pub fn group_of(dims: &[usize]) -> usize {
    usize::from(dims.iter().filter(|d| **d != 1).count() < 2)
}

/// A tensor that is trained.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Its name, for messages.
    pub name: String,
    /// Its elements in the flat buffers.
    pub range: Range<usize>,
    /// Its group of the optimizer.
    pub group: usize,
    /// The number of its first chunk.
    first_chunk: usize,
}

/// A part of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The number of the tensor.
    pub param: usize,
    /// Elements in the flat buffers.
    pub range: Range<usize>,
}

/// The tensors, in order.
#[derive(Debug, Default)]
pub struct Slots {
    list: Vec<Slot>,
    elements: usize,
    chunks: usize,
}

impl Slots {
    /// An empty list with room for `count` tensors.
    pub fn with_capacity(count: usize) -> Result<Slots> {
        Ok(Slots { list: try_vec(count, "tensors to train")?, ..Slots::default() })
    }

    /// Adds a tensor of `len` elements, and gives its number.
    pub fn add(&mut self, name: &str, len: usize, group: usize) -> Result<usize> {
        let start = self.elements;
        let end = start.checked_add(len);
        let padded = end.and_then(|end| end.checked_next_multiple_of(UNIT));
        let (Some(end), Some(padded)) = (end, padded) else {
            fail!(InvalidArgument, "{name} has {len} elements: with the {start} before it they fit no address space");
        };
        if self.list.try_reserve(1).is_err() {
            fail!(OutOfMemory, "no memory for the tensor {name} of a list of {}", self.list.len() + 1);
        }
        self.list.push(Slot { name: name.to_owned(), range: start..end, group, first_chunk: self.chunks });
        self.elements = padded;
        self.chunks += len.div_ceil(CHUNK);
        Ok(self.list.len() - 1)
    }

    /// The tensors.
    pub fn list(&self) -> &[Slot] {
        &self.list
    }

    /// Elements of a flat buffer, what lies between tensors included.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// Chunks of all tensors.
    pub fn chunks(&self) -> usize {
        self.chunks
    }

    /// A chunk by its number, below [`Slots::chunks`].
    pub fn chunk(&self, number: usize) -> Chunk {
        let param = self.list.partition_point(|p| p.first_chunk <= number).saturating_sub(1);
        let Slot { range, first_chunk, .. } = &self.list[param];
        let start = range.start + (number - first_chunk) * CHUNK;
        Chunk { param, range: start..range.end.min(start + CHUNK) }
    }

    /// `Shape` unless a flat buffer has the right length.
    pub fn check(&self, what: &str, len: usize) -> Result<()> {
        if len != self.elements {
            fail!(Shape, "{what} has {len} elements, the tensors to train take {}", self.elements);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_every_tensor_once() {
        let mut slots = Slots::default();
        for len in [1, 0, CHUNK, CHUNK + 1, 3 * CHUNK, 0, 17] {
            slots.add("t", len, 0).unwrap();
        }
        let chunks: Vec<Chunk> = (0..slots.chunks()).map(|i| slots.chunk(i)).collect();
        for (i, param) in slots.list().iter().enumerate() {
            let mut at = param.range.start;
            assert!(at % UNIT == 0);
            for chunk in chunks.iter().filter(|c| c.param == i) {
                assert_eq!(chunk.range.start, at);
                assert!(!chunk.range.is_empty());
                at = chunk.range.end;
            }
            assert_eq!(at, param.range.end);
        }
        assert!(slots.add("huge", usize::MAX, 0).is_err());
    }

    #[test]
    fn norms_and_biases_have_a_group_of_their_own() {
        assert_eq!([group_of(&[64, 64]), group_of(&[64]), group_of(&[64, 1, 1, 1])], [0, 1, 1]);
    }
}
