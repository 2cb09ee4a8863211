//! Counts the allocations of the whole process, on all threads, while it is asked to.
//!
//! A test program that has it holds one test: others would allocate meanwhile.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

struct Counting;

static ON: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator, with counters that allocate nothing. Growing and zeroed memory come through `alloc`.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if ON.load(Relaxed) {
            COUNT.fetch_add(1, Relaxed);
            BYTES.fetch_add(layout.size(), Relaxed);
        }
        // SAFETY: the caller's promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts from 0 on.
pub fn start() {
    COUNT.store(0, Relaxed);
    BYTES.store(0, Relaxed);
    ON.store(true, Relaxed);
}

/// The allocations since `start`.
pub fn stop() -> usize {
    ON.store(false, Relaxed);
    COUNT.load(Relaxed)
}

/// Allocations during `f`.
pub fn allocations<R>(f: impl FnOnce() -> R) -> (usize, R) {
    start();
    let result = f();
    (stop(), result)
}

/// Bytes that the counted allocations took, given back ones not deducted.
#[allow(dead_code)] // most tests ask for their number alone
pub fn bytes() -> usize {
    BYTES.load(Relaxed)
}

/// Waits for the harness, which on a thread of its own finishes the start of a test; and sees that the counter counts.
pub fn settle() {
    while allocations(|| std::thread::sleep(Duration::from_millis(50))).0 > 0 {}
    assert_eq!(allocations(|| Vec::<u8>::with_capacity(1)).0, 1, "the counter counts nothing");
}
