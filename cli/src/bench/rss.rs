//! Resident memory, where the system tells it (Linux).

use std::fs;

/// Forgets the greatest value so far, where that is allowed.
pub fn reset() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The greatest since then, in bytes.
pub fn peak() -> Option<u64> {
    status("VmHWM:")
}

/// What there is now, in bytes.
pub fn resident() -> Option<u64> {
    status("VmRSS:")
}

/// What is not of a mapped file, now, in bytes.
pub fn private() -> Option<u64> {
    status("RssAnon:")
}

fn status(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kb| kb << 10)
}
