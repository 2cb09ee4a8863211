//! Tables: CSV files of numbers and categories, and what a model sees of them.
//!
//! [`Rows`] holds a file as it stands; a [`Description`] is fitted on the rows that are learned from, and on them alone, and is
//! saved with the model; [`Bound`] is a file seen through a description, and [`TableBatches`] hands its rows out.

mod batch;
mod bound;
mod describe;
mod folds;
mod read;

pub use batch::{TableBatch, TableBatches};
pub use bound::{Bound, MISSING, UNKNOWN};
pub use describe::{Column, Description, Feature, FitParams, Target};
pub use folds::{class_weights, folds, held_out};
pub use read::{Rows, TableParams, Task};
