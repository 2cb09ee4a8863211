//! A solver of the host's own behind a callback.

use super::solver::q_qubo_solve_fn;
use crate::error::{Result, fail};
use crate::ffi::boundary::outside;
use crate::qubo::{Host, Problem};
use std::ffi::c_void;
use std::time::Duration;

/// A callback, and what it is handed.
pub(super) struct Callback {
    pub solve: q_qubo_solve_fn,
    pub user: *mut c_void,
}

// SAFETY: the header says that the callback is called on a thread of its own, and that `user` stays as long as a call lasts.
unsafe impl Send for Callback {}

impl Host for Callback {
    fn solve(&mut self, _: &Problem, timeout: Duration, x: &mut [u8]) -> Result<()> {
        let Some(solve) = self.solve else { fail!(State, "no solver of the host is registered") };
        let (len, user) = (x.len(), self.user);
        // SAFETY: the host's function, called as the header says.
        match outside(|| unsafe { solve(x.as_mut_ptr(), len, timeout.as_secs_f64(), user) }) {
            0 => Ok(()),
            code => fail!(State, "the host's solver returned {code}"),
        }
    }
}
