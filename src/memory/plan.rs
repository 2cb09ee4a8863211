//! What a run will need, in bytes, by class, before anything is reserved.

use crate::error::{Result, fail};

/// Bytes by class. Every number is exact: the bytes that set-up reserves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Tensor data in the mapped file, read-only and shared between processes.
    pub weights_mapped: usize,
    /// Small weights kept as f32: norms and biases.
    pub weights_resident: usize,
    /// Index and working memory of the tokenizer.
    pub tokenizer: usize,
    /// Keys and values of all sequences.
    pub kv_cache: usize,
    /// Activations of one batch, logits, and the state of the context.
    pub activations: usize,
    /// What the backward pass needs of the forward pass.
    pub forward_cache: usize,
    /// Gradients.
    pub gradients: usize,
    /// Moments of the optimizer.
    pub optimizer: usize,
    /// Adapters.
    pub adapters: usize,
    /// Stacks of the worker threads.
    pub threads: usize,
    /// Panels and partial results of the threads, and what one generation reserves (sampler, text).
    pub scratch: usize,
}

impl Plan {
    /// Name and bytes of each class, in the order of reports.
    pub fn classes(&self) -> [(&'static str, usize); 11] {
        [
            ("weights_mapped", self.weights_mapped),
            ("weights_resident", self.weights_resident),
            ("tokenizer", self.tokenizer),
            ("kv_cache", self.kv_cache),
            ("activations", self.activations),
            ("forward_cache", self.forward_cache),
            ("gradients", self.gradients),
            ("optimizer", self.optimizer),
            ("adapters", self.adapters),
            ("threads", self.threads),
            ("scratch", self.scratch),
        ]
    }

    /// Sum of all classes; saturates when it exceeds the address space.
    pub fn total(&self) -> usize {
        self.classes().iter().fold(0, |sum, class| sum.saturating_add(class.1))
    }

    /// Sum of all classes but the mapped weights: what must be had in memory.
    pub fn total_without_mapped(&self) -> usize {
        Plan { weights_mapped: 0, ..*self }.total()
    }

    /// `Budget` with the need stated when the plan exceeds `budget` bytes (mapped weights not counted).
    pub fn check(&self, budget: usize) -> Result<()> {
        let need = self.total_without_mapped();
        if need > budget {
            let (name, bytes) = self.classes()[1..].iter().copied().max_by_key(|c| c.1).unwrap_or(("", 0));
            fail!(
                Budget,
                "the plan needs {need} bytes beyond the mapped file, the budget is {budget}: give {} bytes more, \
                 or a shorter context or smaller batch (the largest class is {name} with {bytes})",
                need - budget
            );
        }
        Ok(())
    }
}
