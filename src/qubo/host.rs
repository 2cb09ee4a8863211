//! Solvers of the host: a cloud or a device, behind a trait object. What they say is checked.

use super::problem::Problem;
use crate::error::{Result, fail};
use std::time::Duration;

/// A solver that is not in this library.
pub trait Host: Send {
    /// Writes an assignment of zeros and ones to `x`, which has an element for each variable, within `timeout`. An error, a later
    /// answer or an element that is neither 0 nor 1 counts as a failure, and the local portfolio solves instead.
    fn solve(&mut self, problem: &Problem, timeout: Duration, x: &mut [u8]) -> Result<()>;
}

/// Time a host is given where no limit says otherwise.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Asks the host, for half of the time limit so that a failure leaves time for others; whether its answer is one.
pub(crate) fn ask(host: &mut dyn Host, problem: &Problem, limit: Option<Duration>, x: &mut [u8]) -> Result<()> {
    let timeout = limit.map_or(TIMEOUT, |limit| limit / 2);
    let start = std::time::Instant::now();
    x.fill(2);
    host.solve(problem, timeout, x)?;
    if start.elapsed() > timeout.mul_f64(1.01) + Duration::from_millis(10) {
        fail!(State, "the host's solver took {:?} of {timeout:?}", start.elapsed());
    }
    match x.iter().position(|v| *v > 1) {
        Some(i) => fail!(InvalidArgument, "the host's solver left variable {i} without a 0 or 1"),
        None => Ok(()),
    }
}
