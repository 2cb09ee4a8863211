//! Formulations: what is wanted, under constraints, as a problem without any. Broken constraints cost penalties large enough that no
//! best assignment breaks one, and a check says of any assignment which it breaks.
//!
//! [`Model`] takes an objective and constraints; [`maxcut()`], [`features`], [`subset`] and [`assign`] are whole questions on top of it,
//! the last three with a greedy baseline to be compared with.

pub mod assign;
mod constraint;
pub mod features;
mod maxcut;
mod model;
mod penalty;
pub mod subset;
mod weights;

pub use constraint::{Broken, Constraint};
pub use maxcut::maxcut;
pub use model::{Formulated, Model};
pub use penalty::Slack;
pub use weights::Weights;
