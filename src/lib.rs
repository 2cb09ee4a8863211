//! Qorus runs language models on ordinary CPUs from one mapped GGUF file, inside a memory budget that
//! it states beforehand and never exceeds.

pub mod adapter;
#[cfg(feature = "convert")]
pub mod convert;
pub mod engine;
pub mod error;
#[cfg(feature = "capi")]
pub mod ffi;
pub mod gguf;
pub mod layers;
pub mod memory;
pub mod models;
pub mod ops;
#[cfg(feature = "qubo")]
pub mod qubo;
pub mod rng;
pub mod tensor;
pub mod threads;
pub mod tokenizer;
#[cfg(feature = "train")]
pub mod train;

pub use error::{Code, Error, Result};
pub use qorus_kernels::{self as kernels, Isa, Products, Type};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
