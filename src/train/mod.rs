//! Training, over everything that inference is made of.

pub mod data;
