//! Models: lists of layers, made from a file's metadata or by hand.

pub mod builder;
pub mod decoder;
pub mod gemma;
pub mod graph;
pub mod hand;
pub mod llama;
pub mod phi;
pub mod qwen;
pub mod rope;

pub use builder::Builder;
pub use graph::{Graph, Load};
pub use hand::Hand;
