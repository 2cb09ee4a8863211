//! Quadratic unconstrained binary optimization: problems, and solvers that stay inside a planned budget.
//!
//! A [`Problem`] is `offset + sum a_i x_i + sum b_ij x_i x_j` over x of zeros and ones. Solvers see it as [`landscape`]: 32-bit
//! integers, to be minimized, and keep for each variable what its neighbours make of it, so that a proposal is a load and a compare
//! and only a flip touches neighbours. Every energy that is reported is computed anew from the problem, in i64 or f64.

mod build;
mod fix;
pub mod form;
pub mod format;
mod ising;
pub mod params;
pub mod problem;
pub mod sample;
mod values;
pub mod watch;

pub use build::Coefficient;
pub use fix::Fixed;
pub use ising::Ising;
pub use params::{Method, Schedule, SolveParams};
pub use problem::{Problem, Sense};
pub use sample::{Sample, Samples};
pub use watch::{Control, Outcome, Progress, Silent, Stopped, Watch};
