//! Files of a test.

use std::fs;
use std::io::Write as _; // not held back by the test harness, as the print macros are
use std::path::{Path, PathBuf};

/// A file of the data that is used where it is there: in QORUS_SHARED, or `shared` beside the workspace.
pub fn shared(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let path = std::env::var_os("QORUS_SHARED").map_or_else(beside, PathBuf::from).join(name);
    if !path.exists() {
        drop(writeln!(std::io::stderr(), "SKIPPED: needs {} (set QORUS_SHARED)", path.display()));
        return None;
    }
    Some(path)
}

/// A directory of its own for a test, gone afterwards.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("qorus-test-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }

    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
