//! Training: what the header has under `Q_ENABLE_TRAINING`.
//!
//! Each module says so for itself, because the header's generator begins to read here.

#[cfg(feature = "train")]
mod budget;
#[cfg(feature = "train")]
pub mod clip;
#[cfg(feature = "train")]
pub mod loss;
#[cfg(feature = "train")]
pub mod optimizer;
#[cfg(feature = "train")]
pub mod run;
#[cfg(feature = "train")]
pub mod trainer;

#[cfg(feature = "train")]
pub(super) use budget::Budget;
