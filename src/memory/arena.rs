//! A bump arena of fixed capacity: many small allocations at set-up, freed together.
//!
//! The whole capacity is taken from the system when the arena is made, so nothing grows afterwards and
//! a spent budget is an error rather than a bigger process.

use super::ALIGN;
use crate::error::{Code, Error, Result, fail};
use bumpalo::Bump;
use std::alloc::Layout;
use std::ptr::NonNull;

/// Bytes aligned to 64 from a fixed budget.
pub struct Arena {
    bump: Bump,
    capacity: usize,
    used: usize,
}

impl Arena {
    /// An arena of exactly `capacity` bytes; each allocation is rounded up to a multiple of 64.
    pub fn new(capacity: usize) -> Result<Arena> {
        let bump = Bump::new();
        // One extra line: the system's chunk need not start on one.
        let whole = capacity.checked_add(ALIGN).and_then(|bytes| Layout::from_size_align(bytes, ALIGN).ok());
        let Some(whole) = whole else {
            fail!(OutOfMemory, "an arena of {capacity} bytes does not fit the address space")
        };
        // Taking everything once makes bumpalo fetch one chunk that holds it; a reset keeps that chunk.
        let mut bump = match bump.try_alloc_layout(whole) {
            Ok(_) => bump,
            Err(_) => fail!(OutOfMemory, "the system refused an arena of {capacity} bytes"),
        };
        bump.reset();
        bump.set_allocation_limit(Some(bump.allocated_bytes()));
        Ok(Arena { bump, capacity, used: 0 })
    }

    /// `bytes` of memory aligned to 64, or `Budget` when the arena is spent. Contents are undefined.
    pub fn alloc(&mut self, bytes: usize) -> Result<NonNull<u8>> {
        let left = self.capacity - self.used;
        let padded = super::align_up(bytes.max(1)).filter(|&b| b <= left);
        let layout = padded.and_then(|b| Layout::from_size_align(b, ALIGN).ok());
        let Some(layout) = layout else {
            fail!(Budget, "the arena of {} bytes has {left} left, {bytes} were asked for", self.capacity)
        };
        let block = self.bump.try_alloc_layout(layout);
        let block = block.map_err(|_| Error::new(Code::Budget, "the arena's chunk is spent"))?;
        self.used += layout.size();
        Ok(block)
    }

    /// Forgets every allocation and starts again with the whole capacity.
    pub fn reset(&mut self) {
        self.bump.reset();
        self.used = 0;
    }

    /// Bytes handed out, with padding.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Bytes the arena can hand out in all.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_arena_refuses_and_a_reset_one_serves_again() {
        let mut arena = Arena::new(256).unwrap();
        for round in 0..3 {
            for i in 0..4 {
                let p = arena.alloc(33).unwrap_or_else(|e| panic!("round {round}, block {i}: {e}"));
                assert_eq!(p.as_ptr() as usize % ALIGN, 0);
            }
            assert_eq!(arena.used(), 256);
            assert_eq!(arena.alloc(1).unwrap_err().code(), Code::Budget);
            arena.reset();
        }
        assert_eq!(arena.alloc(usize::MAX).unwrap_err().code(), Code::Budget);
    }
}
