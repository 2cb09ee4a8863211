//! What solvers search in and with: the landscape of 32-bit integers, states whose fields are kept, temperatures, random numbers, and the
//! run whose clock and target are looked at.

pub(crate) mod flock;
pub(crate) mod heat;
pub(crate) mod landscape;
pub(crate) mod polish;
pub(crate) mod random;
pub(crate) mod run;
pub(crate) mod state;
