//! Running models: threads and kernels, plans, contexts, sampling.

pub mod adapter;
mod ahead;
pub mod batch;
pub mod context;
mod cut;
pub mod generate;
pub mod model;
pub mod plan;
pub mod runtime;
pub mod sampler;
pub mod state;
mod weigh;

pub use crate::rng;
pub use adapter::{AdapterNeed, LoadedAdapter};
pub use batch::Token;
pub use context::Context;
pub use generate::{Generate, Hooks, Outcome, Piece};
pub use model::Model;
pub use plan::{ContextParams, Pooling, plan};
pub use runtime::Runtime;
pub use sampler::{Sampler, SamplerParams};
