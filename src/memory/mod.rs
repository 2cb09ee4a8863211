//! Memory as a contract: regions of a planned size, arenas with a hard limit, files mapped and saved, and the plan
//! itself.

pub mod arena;
pub mod map;
pub mod plan;
pub mod region;
pub mod save;

pub use arena::Arena;
pub use plan::Plan;
pub use region::{Frame, Need, Region, with_bytes};

/// Every buffer starts at a multiple of this: a cache line, and the widest vector register.
pub const ALIGN: usize = 64;

/// `bytes` rounded up to [`ALIGN`], or None on overflow.
pub const fn align_up(bytes: usize) -> Option<usize> {
    match bytes.checked_add(ALIGN - 1) {
        Some(b) => Some(b & !(ALIGN - 1)),
        None => None,
    }
}
