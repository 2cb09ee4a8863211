//! The built `qorus`, run as a user runs it, on the small models of the workspace's tests/reference.

mod bad;
mod bench;
mod chat;
mod eval;
mod files;
mod finetune;
mod qubo;
mod run;
mod signals;
#[path = "../../../tests/common/small.rs"]
#[allow(dead_code)] // other tests use the rest
mod small;
mod table;
mod tokenize;
mod train;

use serde_json::Value;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a command left behind.
struct Done {
    code: i32,
    out: Vec<u8>,
    err: String,
}

/// The command, not yet started.
fn command<S: AsRef<OsStr>>(args: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qorus"));
    command.args(args).stdin(Stdio::null());
    command
}

/// `qorus ARGS`, to its end.
fn qorus<S: AsRef<OsStr>>(args: &[S]) -> Done {
    done(command(args).output().unwrap())
}

/// The same with that text on stdin.
fn qorus_reads<S: AsRef<OsStr>>(args: &[S], stdin: &[u8]) -> Done {
    let mut child = command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    done(child.wait_with_output().unwrap())
}

fn done(output: std::process::Output) -> Done {
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(!err.contains("panicked"), "{err}");
    Done { code: output.status.code().unwrap_or(-1), out: output.stdout, err }
}

impl Done {
    /// Stdout of a command that succeeded and had nothing to complain about.
    #[track_caller]
    fn text(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "stderr: {}", self.err);
        String::from_utf8(self.out).unwrap()
    }

    /// The same as JSON: one line.
    #[track_caller]
    fn json(self) -> Value {
        let text = self.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// A failure with that exit code, nothing on stdout and one line on stderr that says all of `words`.
    #[track_caller]
    fn refused(self, code: i32, words: &[&str]) {
        assert_eq!((self.code, self.out.len()), (code, 0), "{}", self.err);
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        words.iter().for_each(|word| assert!(self.err.contains(word), "{word:?} is not in: {}", self.err));
    }
}

/// A file in the workspace's `tests/reference`.
fn reference(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference").join(name).to_str().unwrap().to_owned()
}

/// The model most tests use: its vocabulary are single characters.
fn model() -> String {
    reference("llama.gguf")
}

/// A path for a file that the test `name` writes.
fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli");
    std::fs::create_dir_all(&dir).unwrap();
    dir.join(name)
}

/// The same with bytes in it.
fn file(name: &str, bytes: &[u8]) -> String {
    let path = scratch(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}
