//! Problems over zeros and ones: what the header has under `Q_ENABLE_QUBO`.
//!
//! Each module says so for itself, because the header's generator begins to read here.

#[cfg(feature = "qubo")]
mod host;
#[cfg(feature = "qubo")]
pub mod params;
#[cfg(feature = "qubo")]
pub mod problem;
#[cfg(feature = "qubo")]
pub mod solver;
