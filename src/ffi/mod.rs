//! The C ABI: what `include/qorus.h` declares, one file per noun.
//!
//! Each exported function is written out, because the header's generator reads the source; its body stands in the
//! one macro `ffi` of `boundary`, which catches panics and keeps the thread's error. `args` checks pointers, `params`
//! reads structs of any version, `handle` holds what stands behind the opaque types.
//!
//! The documentation of these items is the text of the header.

#![allow(non_camel_case_types)] // C's names
#![allow(rustdoc::broken_intra_doc_links)] // `[out][in]` is a shape
#![allow(clippy::missing_safety_doc)] // the header says once what holds for every pointer

mod args;
#[macro_use]
mod boundary;
mod handle;
mod params;

pub mod adapter;
pub mod arena;
pub mod batch;
pub mod builder;
pub mod chat;
pub mod context;
pub mod error;
pub mod forward;
pub mod generate;
pub mod model;
pub mod ops;
#[cfg(feature = "qubo")]
pub mod qubo;
pub mod runtime;
pub mod sampler;
pub mod tensor;
pub mod tokenizer;
#[cfg(feature = "train")]
pub mod train;
pub mod types;
pub mod version;
