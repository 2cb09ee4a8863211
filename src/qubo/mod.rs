//! Quadratic unconstrained binary optimization: problems, and solvers that stay inside a planned budget.
//!
//! A [`Problem`] is `offset + sum a_i x_i + sum b_ij x_i x_j` over x of zeros and ones. Solvers see it as a landscape of 32-bit
//! integers, to be minimized, and keep for each variable what its neighbours make of it, so that a proposal is a load and a compare
//! and only a flip touches neighbours. Every energy that is reported is computed anew from the problem, in i64 or f64.

mod anneal;
mod auto;
mod build;
mod elite;
mod enumerate;
mod fix;
mod flock;
pub mod form;
pub mod format;
mod heat;
mod host;
mod ising;
mod job;
mod landscape;
pub mod params;
mod polish;
mod population;
pub mod problem;
mod qaoa;
mod qasm;
mod quantum;
mod random;
mod run;
pub mod sample;
mod solver;
mod state;
mod structure;
mod tabu;
mod tempering;
mod values;
pub mod watch;

pub use build::Coefficient;
pub use fix::Fixed;
pub use host::Host;
pub use ising::Ising;
pub use params::{Method, Schedule, SolveParams};
pub use problem::{Problem, Sense};
pub use qaoa::layer;
pub use qasm::write_qasm;
pub use sample::{Sample, Samples};
pub use solver::Solver;
pub use structure::Structure;
pub use watch::{Control, Outcome, Progress, Silent, Stopped, Watch};
