//! The arithmetic of Qorus: functions on slices, and nothing else.
//!
//! No allocation, no I/O, no threads, no tensors. Every operation has a portable definition in
//! [`scalar`] and hand-written twins in [`avx2`] and [`avx512`]; [`table`] is the one list of them all.
//!
//! **One order at every level.** Floating-point reductions are written so that each level performs the
//! same roundings in the same order (see [`order`]): the scalar function is not an approximation of
//! its twins but gives the same bits.

pub mod dtype;
pub mod isa;
pub mod tile;

pub use dtype::Type;
pub use isa::Isa;
pub use tile::TileMut;
