//! Learning rates over the steps, and what the loss of the validation says about going on.

use super::not_negative;
use crate::error::{Result, fail};
use std::f64::consts::PI;

/// How the rate falls after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fall {
    /// It stays.
    #[default]
    Constant,
    /// In a straight line to the floor.
    Linear,
    /// By half a cosine to the floor.
    Cosine,
}

/// A rate for each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The greatest rate, after the warm-up.
    pub rate: f64,
    /// The rate at the end.
    pub floor: f64,
    /// Steps in which the rate rises in a straight line.
    pub warmup: u64,
    /// All steps, those of the warm-up included.
    pub total: u64,
    /// How it falls.
    pub fall: Fall,
    /// Whether the very first step has the rate 0, and step `warmup` the first full one; otherwise the last step of the
    /// warm-up has it.
    pub from_zero: bool,
}

impl Schedule {
    /// One rate for all steps.
    pub fn constant(rate: f64) -> Schedule {
        Schedule { rate, floor: 0.0, warmup: 0, total: u64::MAX, fall: Fall::Constant, from_zero: false }
    }

    /// `InvalidArgument` unless it makes sense.
    pub fn check(&self) -> Result<()> {
        not_negative("the learning rate", self.rate)?;
        not_negative("the floor of the learning rate", self.floor)?;
        if self.floor > self.rate {
            fail!(InvalidArgument, "the floor of the learning rate, {}, is above the rate, {}", self.floor, self.rate);
        }
        if self.warmup > self.total {
            fail!(InvalidArgument, "{} steps of warm-up are more than the {} steps there are", self.warmup, self.total);
        }
        Ok(())
    }

    /// The rate of a step, counted from 0; beyond the last, the floor.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup {
            let risen = if self.from_zero { step } else { step + 1 };
            return self.rate * (risen as f64 / self.warmup as f64);
        }
        let length = (self.total.saturating_sub(self.warmup)) as f64;
        let passed = if length > 0.0 { ((step - self.warmup) as f64 / length).min(1.0) } else { 1.0 };
        let left = match self.fall {
            Fall::Constant => return self.rate,
            Fall::Linear => 1.0 - passed,
            Fall::Cosine => 0.5 * (1.0 + (PI * passed).cos()),
        };
        self.floor + (self.rate - self.floor) * left
    }
}

/// Lowers the rate when the loss of the validation no longer falls: a factor for the rates of a [`Schedule`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plateau {
    /// What the factor is multiplied by.
    pub by: f64,
    /// The least factor.
    pub least: f64,
    /// Validations without improvement that are borne.
    pub patience: u32,
    /// The share by which a loss must be below the best to be an improvement.
    pub threshold: f64,
    /// What it has seen; a checkpoint keeps it.
    pub state: PlateauState,
}

/// The state of a [`Plateau`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlateauState {
    /// The factor now.
    pub factor: f64,
    /// The least loss so far.
    pub best: f64,
    /// Validations since.
    pub waited: u32,
}

impl Plateau {
    /// A rule that has seen nothing yet. `InvalidArgument` for numbers out of range.
    pub fn new(by: f64, least: f64, patience: u32, threshold: f64) -> Result<Plateau> {
        super::below_one("the factor of the plateau rule", by)?;
        super::below_one("the least factor of the plateau rule", least)?;
        super::below_one("the threshold of the plateau rule", threshold)?;
        let state = PlateauState { factor: 1.0, best: f64::INFINITY, waited: 0 };
        Ok(Plateau { by, least, patience, threshold, state })
    }

    /// Takes the loss of a validation; the factor from now on. A NaN is no improvement.
    pub fn observe(&mut self, loss: f64) -> f64 {
        let state = &mut self.state;
        // By the magnitude, because a loss may be below 0.
        let margin = if state.best.is_finite() { self.threshold * state.best.abs() } else { 0.0 };
        if loss < state.best - margin {
            (state.best, state.waited) = (loss, 0);
            return state.factor;
        }
        state.waited += 1;
        if state.waited > self.patience {
            (state.factor, state.waited) = ((state.factor * self.by).max(self.least), 0);
        }
        state.factor
    }
}

/// What [`EarlyStop`] says about a validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The best so far: keep this model.
    Best,
    /// Not the best, but there is patience left.
    Wait,
    /// No patience is left.
    Stop,
}

/// Stops when the loss of the validation has not improved for so long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EarlyStop {
    /// Validations without improvement that are borne.
    pub patience: u32,
    /// By how much a loss must be below the best.
    pub least: f64,
    /// The least loss so far; a checkpoint keeps it.
    pub best: f64,
    /// Validations since.
    pub waited: u32,
}

impl EarlyStop {
    /// A rule that has seen nothing yet. `InvalidArgument` for a difference that is none.
    pub fn new(patience: u32, least: f64) -> Result<EarlyStop> {
        not_negative("the least improvement", least)?;
        Ok(EarlyStop { patience, least, best: f64::INFINITY, waited: 0 })
    }

    /// Takes the loss of a validation. A NaN is no improvement.
    pub fn observe(&mut self, loss: f64) -> Verdict {
        if loss < self.best - self.least {
            (self.best, self.waited) = (loss, 0);
            return Verdict::Best;
        }
        self.waited = self.waited.saturating_add(1);
        if self.waited > self.patience { Verdict::Stop } else { Verdict::Wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_and_fall_to_the_floor() {
        for fall in [Fall::Linear, Fall::Cosine] {
            let s = Schedule { rate: 1.0, floor: 0.1, warmup: 4, total: 12, fall, from_zero: false };
            s.check().unwrap();
            assert_eq!([0, 1, 2, 3, 4].map(|i| s.at(i)), [0.25, 0.5, 0.75, 1.0, 1.0]);
            assert!((s.at(8) - 0.55).abs() < 1e-15);
            assert_eq!([12, 13, u64::MAX].map(|i| (s.at(i) * 1e12).round() / 1e12), [0.1; 3]);
            assert!((4..11).all(|i| s.at(i) > s.at(i + 1)));
        }
        let all_warm = Schedule { rate: 1.0, floor: 0.5, warmup: 3, total: 3, fall: Fall::Linear, from_zero: true };
        assert_eq!(all_warm.at(3), 0.5);
        assert_eq!(Schedule::constant(0.3).at(1 << 40), 0.3);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let s = Schedule { rate: 1e-3, floor: 1e-4, warmup: 1, total: 2, fall: Fall::Cosine, from_zero: false };
        for bad in [
            Schedule { rate: f64::NAN, ..s },
            Schedule { rate: -1.0, ..s },
            Schedule { rate: f64::INFINITY, ..s },
            Schedule { floor: f64::NAN, ..s },
            Schedule { floor: 1.0, ..s },
            Schedule { warmup: 3, ..s },
        ] {
            assert_eq!(bad.check().unwrap_err().code(), crate::Code::InvalidArgument, "{bad:?}");
        }
        assert!(Plateau::new(1.0, 0.0, 1, 0.0).is_err() && Plateau::new(0.5, f64::NAN, 1, 0.0).is_err());
        assert!(EarlyStop::new(1, f64::NAN).is_err());
    }

    #[test]
    fn a_plateau_lowers_the_rate_after_its_patience() {
        let mut plateau = Plateau::new(0.5, 0.2, 2, 0.01).unwrap();
        let losses = [2.0, 1.9, 1.895, 1.9, f64::NAN, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
        let factors = losses.map(|loss| plateau.observe(loss));
        assert_eq!(factors, [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2]);
        assert_eq!(plateau.state.best, 1.0);
    }

    #[test]
    fn patience_ends() {
        let mut stop = EarlyStop::new(1, 0.1).unwrap();
        let verdicts = [f64::NAN, 2.0, 1.95, 1.8, 1.8, 1.75].map(|loss| stop.observe(loss));
        use Verdict::{Best, Stop, Wait};
        assert_eq!(verdicts, [Wait, Best, Wait, Best, Wait, Stop]);
    }
}
