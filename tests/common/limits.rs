//! What an error may cost: under 100 ms of this thread's time and 64 MB of memory; and what it must say.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use qorus::Code;
use qorus::gguf::Gguf;

/// Counts this thread's memory, so that tests can run beside each other.
struct Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

/// The same of the whole process.
static ALL_LIVE: AtomicUsize = AtomicUsize::new(0);
static ALL_PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all calls go to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.get() + layout.size();
        LIVE.set(live);
        PEAK.set(PEAK.get().max(live));
        COUNT.set(COUNT.get() + 1);
        let all = ALL_LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        ALL_PEAK.fetch_max(all, Relaxed);
        // SAFETY: as this function's own.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get().saturating_sub(layout.size()));
        ALL_LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as this function's own.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// This thread's processor time in milliseconds: what other tests do meanwhile does not count.
fn cpu_ms() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists and the pointer is to a timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
    t.tv_sec as f64 * 1e3 + t.tv_nsec as f64 / 1e6
}

/// What `f` gives, and the most memory that this thread held for it at once.
pub fn peak<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let live = LIVE.get();
    PEAK.set(live);
    let result = f();
    (result, PEAK.get() - live)
}

/// What `open` gives, within the limits.
pub fn within_limits<T>(open: impl FnOnce() -> T) -> T {
    let begin = cpu_ms();
    let (result, bytes) = peak(open);
    let ms = cpu_ms() - begin;
    assert!(ms < 100.0, "took {ms} ms");
    assert!(bytes < 64 << 20, "took {bytes} bytes");
    result
}

/// What `call` gives, which may not allocate on this thread.
#[track_caller]
pub fn without_allocating<T>(call: impl FnOnce() -> T) -> T {
    let before = COUNT.get();
    let result = call();
    assert_eq!(COUNT.get() - before, 0, "allocations");
    result
}

/// What `call` gives, and the most bytes that the whole process held meanwhile beyond those before.
pub fn peak_of_all<T>(call: impl FnOnce() -> T) -> (T, usize) {
    let before = ALL_LIVE.load(Relaxed);
    ALL_PEAK.store(before, Relaxed);
    let result = call();
    (result, ALL_PEAK.load(Relaxed).saturating_sub(before))
}

/// What `call` gives, and the bytes that live on this thread's account after it.
pub fn bytes_kept<T>(call: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    let result = call();
    (result, LIVE.get() - before)
}

/// One clear error of that code which says all of `words`.
#[track_caller]
pub fn refuse(file: Vec<u8>, code: Code, words: &[&str]) {
    let error = within_limits(|| Gguf::from_bytes(file)).err().expect("the file was accepted");
    check(&error, code, "memory: ", words);
}

#[track_caller]
pub fn refuse_path(path: &Path, code: Code, words: &[&str]) {
    for open in [Gguf::open, Gguf::open_copy] {
        let error = within_limits(|| open(path)).err().expect("the file was accepted");
        check(&error, code, "", words);
    }
}

#[track_caller]
pub fn check(error: &qorus::Error, code: Code, start: &str, words: &[&str]) {
    let message = error.message();
    assert_eq!(error.code(), code, "{message}");
    assert!(message.starts_with(start) && message.len() < 500 && !message.contains('\n'), "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
}
