//! How a command ends: exit code 0, or 1 for a failed run, 2 for wrong usage, and one line on stderr.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// Why a command did not succeed.
pub enum Failure {
    /// The arguments make no sense together: exit code 2.
    Usage(String),
    /// What was asked for could not be done: exit code 1.
    Run(String),
    /// Whoever read the output has gone. That is no failure of ours: `qorus inspect FILE | head` ends quietly.
    Unread,
}

/// What every command returns.
pub type Result<T = ()> = std::result::Result<T, Failure>;

/// A failed run, with that sentence.
pub fn run<T>(message: impl Display) -> Result<T> {
    Err(Failure::Run(message.to_string()))
}

/// Wrong usage, with that sentence.
pub fn usage<T>(message: impl Display) -> Result<T> {
    Err(Failure::Usage(message.to_string()))
}

impl From<qorus::Error> for Failure {
    fn from(e: qorus::Error) -> Self {
        Failure::Run(e.to_string())
    }
}

/// Errors of writing to stdout; those of files name their path and come as [`run`].
impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::BrokenPipe => Failure::Unread,
            _ => Failure::Run(format!("stdout: {e}")),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(e: serde_json::Error) -> Self {
        io::Error::from(e).into()
    }
}

/// Prints the failure, if there was one, and gives the exit code.
pub fn exit(result: Result) -> ExitCode {
    let (message, code) = match result.and_then(|()| Ok(io::stdout().flush()?)) {
        Ok(()) | Err(Failure::Unread) => return ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => (message, 2),
        Err(Failure::Run(message)) => (message, 1),
    };
    // Control characters of a file name or a key must not reach the terminal, nor make the line two.
    let line: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let _ = writeln!(io::stderr(), "qorus: {line}");
    ExitCode::from(code)
}
