//! Threads kept on cores.

use crate::error::{Result, fail};
use std::thread::JoinHandle;

/// As [`super::Pool::pin`] says.
#[cfg(target_os = "linux")]
pub fn pin(workers: &[JoinHandle<()>]) -> Result<()> {
    use std::os::unix::thread::JoinHandleExt;

    const SIZE: usize = size_of::<libc::cpu_set_t>();
    // SAFETY: a set of bits; zeros are the empty set.
    let mut all: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is as long as said.
    if unsafe { libc::sched_getaffinity(0, SIZE, &mut all) } != 0 {
        fail!(Io, "the cores of this process cannot be read: {}", std::io::Error::last_os_error());
    }
    // SAFETY: every number asked for lies inside the set.
    let cores = || (0..SIZE * 8).filter(|&core| unsafe { libc::CPU_ISSET(core, &all) });
    for (worker, core) in workers.iter().zip(cores().cycle().skip(1)) {
        // SAFETY: as above.
        let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: the core's number lies inside the set, and the thread exists as long as its handle does.
        let code = unsafe {
            libc::CPU_SET(core, &mut one);
            libc::pthread_setaffinity_np(worker.as_pthread_t(), SIZE, &one)
        };
        if code != 0 {
            fail!(Io, "core {core} refuses a thread: {}", std::io::Error::from_raw_os_error(code));
        }
    }
    Ok(())
}

/// As [`super::Pool::pin`] says.
#[cfg(not(target_os = "linux"))]
pub fn pin(_: &[JoinHandle<()>]) -> Result<()> {
    fail!(Unsupported, "threads cannot be pinned on this system")
}
