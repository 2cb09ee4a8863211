//! What the budget of a context leaves to the optimizers and trainers that belong to it.

use crate::error::{Result, fail};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that may still be reserved.
pub(in crate::ffi) struct Budget {
    limit: usize,
    left: AtomicUsize,
}

/// Bytes of a budget, given back when dropped.
pub(super) struct Part {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// A budget of `limit` bytes (0: none), of which a plan takes `planned`.
    pub fn new(limit: usize, planned: usize) -> Arc<Budget> {
        let left = if limit == 0 { usize::MAX } else { limit.saturating_sub(planned) };
        Arc::new(Budget { limit, left: AtomicUsize::new(left) })
    }

    /// Bytes left.
    pub(super) fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }

    /// Takes bytes of it for `what`.
    pub(super) fn take(self: &Arc<Self>, bytes: usize, what: &str) -> Result<Part> {
        let less = |left: usize| left.checked_sub(bytes);
        if let Err(left) = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            fail!(Budget, "{what} needs {bytes} bytes; of the context's budget of {} are {left} left", self.limit);
        }
        Ok(Part { budget: Arc::clone(self), bytes })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}
