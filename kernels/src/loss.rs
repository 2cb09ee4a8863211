//! What the cross-entropy of one row of logits is asked for, and what it gives.

use crate::real::Real;

/// A row of logits, and where its gradient goes.
#[derive(Debug)]
pub enum Logits<'a, R = f32> {
    /// The loss alone.
    Read(&'a [R]),
    /// The gradient takes the place of the logits.
    InPlace(&'a mut [R]),
    /// The gradient goes to the second slice, of the same length.
    To(&'a [R], &'a mut [R]),
}

impl<R> Logits<'_, R> {
    /// The logits.
    pub fn read(&self) -> &[R] {
        match self {
            Logits::Read(x) | Logits::To(x, _) => x,
            Logits::InPlace(x) => x,
        }
    }

    /// The logits again, for a call.
    pub fn reborrow(&mut self) -> Logits<'_, R> {
        match self {
            Logits::Read(x) => Logits::Read(x),
            Logits::InPlace(x) => Logits::InPlace(x),
            Logits::To(x, g) => Logits::To(x, g),
        }
    }
}

/// What a row should have been.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a, R = f32> {
    /// That class.
    Class(usize),
    /// A weight for each class, as a rule adding up to 1.
    Distribution(&'a [R]),
}

/// How a row counts.
#[derive(Clone, Copy, Debug)]
pub struct Weighting<R = f32> {
    /// The share of the target that is spread over all classes evenly, from 0 to 1.
    pub smoothing: R,
    /// What the gradient is multiplied by: 1 over the number of counted rows, for a mean; the loss is not.
    pub scale: R,
}

/// The loss of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowLoss<R = f32> {
    /// In nats.
    pub loss: R,
    /// Whether no class had a greater logit than the target; false for a distribution.
    pub hit: bool,
}

/// What both definition and twins compute from a weighting: `(share of the target, share of each class)`.
#[inline(always)]
pub(crate) fn shares<R: Real>(smoothing: R, classes: usize) -> (R, R) {
    (R::ONE - smoothing, smoothing / R::from_count(classes))
}
