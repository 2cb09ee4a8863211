//! Training: losses, clipping, optimizers and schedules, over weights and gradients in flat planned memory.
//!
//! What is trained is a list of tensors ([`Slots`]) that lie one after another in a buffer of weights, one of gradients, and
//! the state of an [`optim::Optimizer`]. All of it is cut into chunks at fixed places: threads share chunks, and sums over
//! chunks are taken in order, so that the bits do not depend on the threads. What an operation needs beside its arguments it takes
//! from a frame whose size is planned beforehand; nothing allocates in a step.

pub mod adapter;
pub mod checkpoint;
pub mod clip;
mod compare;
pub mod control;
pub mod data;
pub mod distill;
pub mod examples;
pub mod export;
pub mod fit;
pub mod gradients;
pub mod init;
pub mod layout;
pub mod loss;
mod method;
pub mod metrics;
mod moments;
pub mod optim;
pub mod pass;
pub mod preference;
pub mod run;
pub mod schedule;
pub mod slots;
pub mod table;
pub mod trainer;

pub use adapter::AdapterParams;
pub use examples::{Examples, Feed, Slab};
pub use pass::Passed;
pub use slots::{Slot, Slots};
pub use trainer::{Objective, Trainer, TrainerParams};

use crate::error::{Result, fail};

/// `InvalidArgument` unless a number is finite, as f32 too, and not negative.
fn not_negative(what: &str, x: f64) -> Result<()> {
    if !(0.0..=f64::from(f32::MAX)).contains(&x) {
        fail!(InvalidArgument, "{what} is {x}: give a finite number that is not negative");
    }
    Ok(())
}

/// `InvalidArgument` unless a number is from 0 to below 1.
fn below_one(what: &str, x: f64) -> Result<()> {
    if !(0.0..1.0).contains(&x) {
        fail!(InvalidArgument, "{what} is {x}: give a number from 0 to below 1");
    }
    Ok(())
}
