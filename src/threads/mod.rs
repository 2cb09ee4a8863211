//! A fixed pool of threads: started once, split statically, spinning briefly before they sleep.
//!
//! A job has a part for each thread. The caller of [`Pool::run`] does part 0, and then those parts that their
//! threads have not begun: a thread that sleeps, or that the system has given to another process, costs the time of its
//! part and not the time until it comes back. What a part computes depends on its index alone. A panic in any of them
//! becomes an error.

mod pin;

use crate::error::{Result, fail};
use std::cell::{Cell, UnsafeCell};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Bytes of stack of one worker: kernels keep their buffers in planned scratch, so little is needed.
pub const STACK_BYTES: usize = 256 * 1024;

/// The most threads a pool may have.
pub const MAX_THREADS: usize = 1024;

/// Spins before a waiting thread sleeps: about 50 microseconds, longer than the serial gaps inside a
/// forward pass and far shorter than the gap between two requests.
const SPINS: usize = 4000;

/// A number on a cache line of its own, which others are not written with.
#[repr(align(64))]
struct Apart<T>(T);

type Job<'a> = dyn Fn(usize) + Sync + 'a;

struct Shared {
    /// Number of the current job.
    epoch: Apart<AtomicUsize>,
    /// Parts of the current job that are not finished.
    pending: Apart<AtomicUsize>,
    /// For each part but the first, the last job of which somebody began it.
    begun: Vec<Apart<AtomicUsize>>,
    /// What the first panic of the current job said.
    panicked: Mutex<Option<String>>,
    /// Workers that have begun to wait for jobs.
    started: AtomicUsize,
    stop: AtomicBool,
    job: UnsafeCell<Option<*const Job<'static>>>,
    /// Wakes the caller when `pending` reaches 0.
    done: (Mutex<()>, Condvar),
    spins: usize,
}

// SAFETY: `job` is written only by the holder of the pool's lock while no part runs (`pending` is 0), published by the
// release store of `epoch`, and read only by who has begun a part of that job, which keeps `pending` above 0.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is to a `Sync` closure that outlives the run (see `Pool::run`).
unsafe impl Send for Shared {}

thread_local! {
    static WORKER: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is a worker of some pool.
pub fn is_worker() -> bool {
    WORKER.get()
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, |n| n.get()).min(MAX_THREADS)
}

/// A number of threads as it was asked for, 0 being one for each core this process may use; at most [`MAX_THREADS`].
pub fn count(threads: usize) -> Result<usize> {
    match threads {
        0 => Ok(cores()),
        n if n <= MAX_THREADS => Ok(n),
        n => fail!(InvalidArgument, "{n} threads: give at most {MAX_THREADS}, or 0 for one for each core"),
    }
}

/// Threads that run one closure at a time, together.
pub struct Pool {
    /// None where the caller is alone.
    shared: Option<Arc<Shared>>,
    workers: Vec<JoinHandle<()>>,
    turn: Mutex<()>,
}

impl Pool {
    /// The caller alone.
    pub const fn alone() -> Pool {
        Pool { shared: None, workers: Vec::new(), turn: Mutex::new(()) }
    }

    /// Starts workers beside the caller until there are `threads`, as [`count`] has it.
    pub fn new(threads: usize) -> Result<Pool> {
        let threads = count(threads)?;
        if threads == 1 {
            return Ok(Pool::alone());
        }
        let cores = cores();
        let mut begun = crate::error::try_vec(threads - 1, "parts of a job")?;
        begun.resize_with(threads - 1, || Apart(AtomicUsize::new(0)));
        let shared = Arc::new(Shared {
            epoch: Apart(AtomicUsize::new(0)),
            pending: Apart(AtomicUsize::new(0)),
            begun,
            panicked: Mutex::new(None),
            started: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            job: UnsafeCell::new(None),
            done: (Mutex::new(()), Condvar::new()),
            // A spinning thread without a core of its own only delays the one it waits for.
            spins: if threads > cores { 16 } else { SPINS },
        });
        let mut pool = Pool {
            shared: Some(Arc::clone(&shared)),
            workers: crate::error::try_vec(threads - 1, "worker threads")?,
            turn: Mutex::new(()),
        };
        for index in 1..threads {
            let shared = Arc::clone(&shared);
            let name = format!("qorus-{index}");
            let spawned = thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(move || work(&shared, index));
            match spawned {
                Ok(handle) => pool.workers.push(handle),
                Err(e) => fail!(OutOfMemory, "the system refused thread {index} of {threads}: {e}"),
            }
        }
        // A thread allocates a little when it starts, and may start late: not while somebody counts.
        while shared.started.load(Ordering::Acquire) < pool.workers.len() {
            thread::yield_now();
        }
        Ok(pool)
    }

    /// Keeps worker `i` on the `i`-th of the cores this process may use (counting on from the first when there are more
    /// workers), so that it does not move away from its cache. The caller's own thread is the caller's to pin, best to the first.
    /// `Unsupported` where the system has no such call, `Io` when it refuses.
    pub fn pin(&self) -> Result<()> {
        pin::pin(&self.workers)
    }

    /// Number of threads, the caller's included.
    pub fn len(&self) -> usize {
        self.workers.len() + 1
    }

    /// Whether there is no worker beside the caller.
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// Calls `job(i)` once for each `i` in `0..len()`, and returns when all have finished.
    /// `Internal` when one of them panicked. Calls from several threads take turns.
    pub fn run(&self, job: &Job<'_>) -> Result<()> {
        let Some(shared) = &self.shared else { return finish(caught(|| job(0))) };
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: only the lifetime changes, and this call does not return before every part is done with it.
        let erased: *const Job<'static> = unsafe { std::mem::transmute(job as *const Job<'_>) };
        // SAFETY: the lock is held and no part runs: see `unsafe impl Sync for Shared`.
        unsafe { *shared.job.get() = Some(erased) };
        shared.pending.0.store(self.workers.len(), Ordering::Relaxed);
        let epoch = shared.epoch.0.fetch_add(1, Ordering::Release).wrapping_add(1);
        for worker in &self.workers {
            worker.thread().unpark();
        }
        let mut panicked = caught(|| job(0));
        for part in 1..self.len() {
            if shared.begin(part, epoch) {
                let text = caught(|| job(part));
                panicked = panicked.or(text);
                shared.pending.0.fetch_sub(1, Ordering::AcqRel);
            }
        }
        shared.wait_done();
        let there = shared.panicked.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(turn);
        finish(panicked.or(there))
    }

    /// Calls `f` with parts of `0..items` that cover it: contiguous, and beginning at multiples of `unit`. A thread has several
    /// of them, as [`Pool::share`] says.
    pub fn split(&self, items: usize, unit: usize, f: impl Fn(Range<usize>) + Sync) -> Result<()> {
        /// Parts of a thread: what a thread that is held up leaves to others is a part of one.
        const PARTS: usize = 4;
        if items <= unit {
            return finish(caught(|| f(0..items)));
        }
        let parts = items.div_ceil(unit).min(PARTS * self.len());
        self.share(parts, |_, i| f(part(items, unit, i, parts)))
    }

    /// Calls `f(thread, piece)` once for each of the `pieces`. Each thread begins with a share of them that is the same every time,
    /// in order; one that is done goes on with what others have not begun, so that a core that has less time gets less to do.
    pub fn share(&self, pieces: usize, f: impl Fn(usize, usize) + Sync) -> Result<()> {
        /// More threads than that share shares.
        const SHARES: usize = 16;
        if pieces <= 1 || self.is_empty() {
            return finish(caught(|| (0..pieces).for_each(|i| f(0, i))));
        }
        let shares = self.len().min(SHARES);
        let of = |share| part(pieces, 1, share, shares);
        let next: [_; SHARES] = std::array::from_fn(|i| Apart(AtomicUsize::new(of(i.min(shares - 1)).start)));
        self.run(&|thread| {
            for share in (0..shares).map(|i| (thread + i) % shares) {
                loop {
                    let piece = next[share].0.fetch_add(1, Ordering::Relaxed);
                    if piece >= of(share).end {
                        break;
                    }
                    f(thread, piece);
                }
            }
        })
    }
}

/// The `index`-th of `parts` contiguous parts of `0..items` that begin at multiples of `unit`.
pub fn part(items: usize, unit: usize, index: usize, parts: usize) -> Range<usize> {
    let units = items.div_ceil(unit);
    let at = |i: usize| (units * i / parts * unit).min(items);
    at(index)..at(index + 1)
}

impl Drop for Pool {
    fn drop(&mut self) {
        let Some(shared) = &self.shared else { return };
        shared.stop.store(true, Ordering::Relaxed);
        shared.epoch.0.fetch_add(1, Ordering::Release);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            let _ = worker.join();
        }
    }
}

/// Runs `f`; what its panic said, if it panicked.
fn caught(f: impl FnOnce()) -> Option<String> {
    let payload = catch_unwind(AssertUnwindSafe(f)).err()?;
    let text = payload.downcast_ref::<&str>().map(|s| s.to_string()).or(payload.downcast_ref::<String>().cloned());
    Some(text.unwrap_or_default())
}

fn finish(panicked: Option<String>) -> Result<()> {
    if let Some(text) = panicked {
        fail!(Internal, "a defect stopped a computation; the object it belonged to can only be freed ({text})");
    }
    Ok(())
}

impl Shared {
    /// Whether the caller is the one to do a part of job `epoch`.
    fn begin(&self, part: usize, epoch: usize) -> bool {
        let begun = &self.begun[part - 1].0;
        let last = begun.load(Ordering::Relaxed);
        // A thread that slept may know an older job only.
        let later = epoch.wrapping_sub(last).cast_signed() > 0;
        later && begun.compare_exchange(last, epoch, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Spins, then sleeps, until every part is done.
    fn wait_done(&self) {
        let done = || self.pending.0.load(Ordering::Acquire) == 0;
        if spin(self.spins, done) {
            return;
        }
        let mut guard = self.done.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !done() {
            guard = self.done.1.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Spins at most `spins` times; whether `ready` came true.
fn spin(spins: usize, ready: impl Fn() -> bool) -> bool {
    for _ in 0..spins {
        if ready() {
            return true;
        }
        std::hint::spin_loop();
    }
    ready()
}

fn work(shared: &Shared, index: usize) {
    WORKER.set(true);
    shared.started.fetch_add(1, Ordering::Release);
    let mut seen = 0;
    loop {
        let called = || shared.epoch.0.load(Ordering::Acquire) != seen;
        if !spin(shared.spins, called) {
            while !called() {
                thread::park();
            }
        }
        seen = shared.epoch.0.load(Ordering::Acquire);
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        if !shared.begin(index, seen) {
            continue;
        }
        // SAFETY: a part of the job is begun and not finished, so `run` has published it, and waits.
        let job = unsafe { (*shared.job.get()).map(|job| &*job) };
        if let Some(text) = job.and_then(|job| caught(|| job(index))) {
            shared.panicked.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
        }
        if shared.pending.0.fetch_sub(1, Ordering::AcqRel) == 1 {
            // The lock orders this wake-up after the caller's decision to sleep.
            drop(shared.done.0.lock());
            shared.done.1.notify_one();
        }
    }
}

/// A slice that the threads of one run write in disjoint parts.
pub struct Shards<'a, T> {
    ptr: *mut T,
    len: usize,
    life: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: parts are handed out as `&mut [T]` under the caller's promise that they are disjoint.
unsafe impl<T: Send> Sync for Shards<'_, T> {}

impl<'a, T> Shards<'a, T> {
    /// Borrows the whole slice.
    pub fn new(slice: &'a mut [T]) -> Self {
        Shards { ptr: slice.as_mut_ptr(), len: slice.len(), life: std::marker::PhantomData }
    }

    /// The elements `range`. Panics when out of range.
    ///
    /// # Safety
    /// Ranges that are alive at the same time must be disjoint.
    #[allow(clippy::mut_from_ref)] // exclusive by the caller's promise
    pub unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside the borrowed slice; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(range.start), range.len()) }
    }

    /// The elements `range`, for several threads to read. Panics when out of range.
    ///
    /// # Safety
    /// No element of a [`Shards::part`] may be among them while both are alive.
    pub unsafe fn shared(&self, range: Range<usize>) -> &[T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside the borrowed slice; not written by the caller's promise.
        unsafe { std::slice::from_raw_parts(self.ptr.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_runs_once_per_job() {
        // Seven threads are more than many machines have cores: their parts are begun late, or by the caller.
        for threads in [1, 2, 3, 7] {
            let pool = Pool::new(threads).unwrap();
            for _ in 0..2000 {
                let hits = AtomicUsize::new(0);
                pool.run(&|i| {
                    hits.fetch_add(1 << (8 * i), Ordering::Relaxed);
                })
                .unwrap();
                assert_eq!(hits.into_inner(), (0..threads).map(|i| 1 << (8 * i)).sum::<usize>());
            }
        }
    }

    #[test]
    fn pieces_are_shared_out_once() {
        for threads in [1, 2, 3, 7, 20] {
            let pool = Pool::new(threads).unwrap();
            for pieces in [0, 1, 2, 5, 64, 333] {
                let hits: Vec<AtomicUsize> = (0..pieces).map(|_| AtomicUsize::new(0)).collect();
                pool.share(pieces, |thread, piece| {
                    assert!(thread < threads);
                    hits[piece].fetch_add(1, Ordering::Relaxed);
                })
                .unwrap();
                assert!(hits.iter().all(|n| n.load(Ordering::Relaxed) == 1), "{pieces} on {threads}");
                let seen = AtomicUsize::new(0);
                pool.split(pieces, 3, |part| {
                    assert!(part.start.is_multiple_of(3));
                    seen.fetch_add(part.len(), Ordering::Relaxed);
                })
                .unwrap();
                assert_eq!(seen.into_inner(), pieces);
            }
        }
    }

    #[test]
    fn workers_can_be_pinned() {
        let pool = Pool::new(3).unwrap();
        if cfg!(target_os = "linux") {
            pool.pin().unwrap();
        } else {
            assert!(pool.pin().is_err());
        }
        pool.run(&|_| ()).unwrap();
    }

    #[test]
    fn parts_cover_everything_once() {
        for (items, unit, parts) in [(0, 1, 3), (1, 8, 2), (100, 8, 3), (64, 16, 7)] {
            let mut next = 0;
            for i in 0..parts {
                let p = part(items, unit, i, parts);
                assert_eq!(p.start, next);
                assert!(p.is_empty() || p.start.is_multiple_of(unit));
                next = p.end;
            }
            assert_eq!(next, items);
        }
    }

    #[test]
    fn a_panic_is_an_error_and_the_pool_lives_on() {
        let pool = Pool::new(3).unwrap();
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| ()));
        for bad in 0..3 {
            assert!(pool.run(&|i| assert_ne!(i, bad)).is_err());
            assert!(pool.run(&|_| ()).is_ok());
        }
        std::panic::set_hook(hook);
    }
}
