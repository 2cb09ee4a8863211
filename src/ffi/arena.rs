//! `q_arena`: memory of a fixed budget for the host's own tensors.

use super::args;
use super::boundary;
use super::error::q_error_code;
use super::handle::{self, Opaque};
use crate::memory::Arena;
use std::ffi::c_void;

/// Memory of a fixed budget. One call at a time.
pub struct q_arena {
    _opaque: [u8; 0],
}

impl Opaque for q_arena {
    type Value = Arena;
    type Side = ();
    const NAME: &'static str = "q_arena";
}

/// Makes an arena of `bytes` bytes, all of which are taken from the system now. Free it with q_arena_free.
/// Errors: Q_ERR_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_arena_create(bytes: usize, out: *mut *mut q_arena) -> q_error_code {
    ffi!({
        handle::check_out(out)?;
        handle::create(Arena::new(bytes)?, (), out)
    })
}

/// `bytes` bytes at a multiple of 64, of undefined content; they count as the next multiple of 64. NULL when the budget is
/// spent, or the arena is NULL or in use: q_last_error says which. They live until the arena is reset or freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_arena_alloc(arena: *mut q_arena, bytes: usize) -> *mut c_void {
    let mut found = std::ptr::null_mut();
    boundary::call(|| {
        // SAFETY: the caller's handle.
        found = unsafe { handle::exclusive(arena) }?.alloc(bytes)?.as_ptr().cast();
        Ok(())
    });
    found
}

/// Forgets everything that was allocated; the whole budget is there again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_arena_reset(arena: *mut q_arena) -> q_error_code {
    ffi!({
        handle::exclusive(arena)?.reset();
        Ok(())
    })
}

/// Bytes handed out since the last reset, rounded up as q_arena_alloc says; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_arena_used(arena: *const q_arena) -> usize {
    let mut used = 0;
    boundary::call(|| {
        // SAFETY: the caller's handle.
        used = unsafe { handle::exclusive(arena) }?.used();
        Ok(())
    });
    used
}

/// The arena's budget, to `bytes`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_arena_capacity(arena: *const q_arena, bytes: *mut usize) -> q_error_code {
    ffi!({ args::put(bytes, handle::exclusive(arena)?.capacity(), "bytes") })
}

/// Frees an arena and everything in it; NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_arena_free(arena: *mut q_arena) {
    // SAFETY: the caller's handle.
    unsafe { handle::free(arena) }
}
