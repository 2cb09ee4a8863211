//! What an optimizer does: its method and the numbers of a group, and the numbers of one step that follow from them.

use super::{below_one, not_negative};
use crate::error::{Result, fail};
use qorus_kernels::optim::{AdamStep, Intake, SgdStep};

/// The decays and the small number of Adam.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Betas {
    /// Decay of the first moment, from 0 to below 1.
    pub beta1: f64,
    /// Decay of the second moment, from 0 to below 1.
    pub beta2: f64,
    /// Added to the square root of the second moment; above 0.
    pub eps: f64,
}

impl Default for Betas {
    fn default() -> Self {
        Betas { beta1: 0.9, beta2: 0.999, eps: 1e-8 }
    }
}

/// How weights follow their gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// Gradient descent. Decay is added to the gradient.
    Sgd {
        /// From 0, for none, to below 1.
        momentum: f64,
        /// Nesterov's momentum, which looks a step ahead.
        nesterov: bool,
    },
    /// Adam. Decay is added to the gradient.
    Adam(Betas),
    /// Adam whose decay bypasses the moments.
    AdamW(Betas),
    /// The same with moments of 8 bits in blocks of 256 (arXiv 2110.02861): 2 bytes and some for each weight instead of 8.
    AdamW8(Betas),
}

impl Method {
    /// `InvalidArgument` for numbers out of range.
    pub fn check(&self) -> Result<()> {
        match *self {
            Method::Sgd { momentum, nesterov } => {
                below_one("the momentum", momentum)?;
                if nesterov && momentum == 0.0 {
                    fail!(InvalidArgument, "Nesterov's momentum of 0 is none: give a momentum above 0");
                }
            }
            Method::Adam(b) | Method::AdamW(b) | Method::AdamW8(b) => {
                below_one("beta1", b.beta1)?;
                below_one("beta2", b.beta2)?;
                not_negative("epsilon", b.eps)?;
                if b.eps < f64::from(f32::MIN_POSITIVE) {
                    fail!(InvalidArgument, "epsilon is {}: give a number that an f32 can tell from 0", b.eps);
                }
            }
        }
        Ok(())
    }
}

/// What tensors of one group have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    /// A factor of the learning rate.
    pub rate: f64,
    /// Weight decay.
    pub decay: f64,
    /// Of the penalty on magnitudes, `l1 * sum(|w|)`, whose gradient is added.
    pub l1: f64,
}

impl Default for Group {
    fn default() -> Self {
        Group { rate: 1.0, decay: 0.0, l1: 0.0 }
    }
}

impl Group {
    /// A group with that decay, and one without, for [`super::slots::group_of`].
    pub fn pair(decay: f64) -> [Group; 2] {
        [Group { decay, ..Group::default() }, Group::default()]
    }

    /// `InvalidArgument` for numbers out of range.
    pub fn check(&self) -> Result<()> {
        not_negative("the factor of a group's learning rate", self.rate)?;
        not_negative("the weight decay", self.decay)?;
        not_negative("the factor of the L1 penalty", self.l1)
    }
}

/// The numbers of a tensor's step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Sgd(SgdStep),
    Adam(AdamStep),
}

/// The numbers of a step of a tensor that has taken so many.
pub(super) fn step_of(method: &Method, group: &Group, taken: u64, rate: f64, (scale, limit): (f64, f64)) -> Step {
    let rate = rate * group.rate;
    let intake = |l2: f64| Intake { scale: scale as f32, limit: limit as f32, l1: group.l1 as f32, l2: l2 as f32 };
    let adam = |b: &Betas, coupled: f64, decoupled: f64| {
        let t = i32::try_from(taken.saturating_add(1)).unwrap_or(i32::MAX);
        Step::Adam(AdamStep {
            intake: intake(coupled),
            rest1: (1.0 - b.beta1) as f32,
            beta2: b.beta2 as f32,
            rest2: (1.0 - b.beta2) as f32,
            root: (1.0 / (1.0 - b.beta2.powi(t)).sqrt()) as f32,
            eps: b.eps as f32,
            rate: (rate / (1.0 - b.beta1.powi(t))) as f32,
            decay: (rate * decoupled) as f32,
        })
    };
    match method {
        Method::Sgd { momentum, nesterov } => Step::Sgd(SgdStep {
            intake: intake(group.decay),
            rate: rate as f32,
            momentum: *momentum as f32,
            nesterov: *nesterov,
        }),
        Method::Adam(betas) => adam(betas, group.decay, 0.0),
        Method::AdamW(betas) | Method::AdamW8(betas) => adam(betas, 0.0, group.decay),
    }
}
