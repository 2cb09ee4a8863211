//! Quadratic unconstrained binary optimization: problems, and solvers that stay inside a planned budget.
//!
//! A [`Problem`] is `offset + sum a_i x_i + sum b_ij x_i x_j` over x of zeros and ones. Solvers see it as a landscape of 32-bit
//! integers, to be minimized, and keep for each variable what its neighbours make of it, so that a proposal is a load and a compare
//! and only a flip touches neighbours. Every energy that is reported is computed anew from the problem, in i64 or f64.
//!
//! `problem` is what was given; `search`, over it, is what solvers work with; `solvers` are the ways; [`Solver`] plans, reserves and
//! runs them. `format` and `form` make problems of files and of questions.

pub mod form;
pub mod format;
mod job;
pub mod params;
pub mod problem;
pub mod sample;
mod search;
mod solver;
mod solvers;
pub mod watch;

pub use params::{Method, Schedule, SolveParams};
pub use problem::{Coefficient, Fixed, Ising, Problem, Sense, Structure};
pub use sample::{Sample, Samples};
pub use solver::Solver;
pub use solvers::host::Host;
pub use solvers::qaoa::layer;
pub use solvers::qasm::write_qasm;
pub use watch::{Control, Outcome, Progress, Silent, Stopped, Watch};
