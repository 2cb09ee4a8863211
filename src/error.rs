//! The one error type: a code for programs and a sentence for people.

use std::borrow::Cow;
use std::fmt;

/// What kind of failure it was. The numbers are those of `q_error_code` and are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Code {
    /// An argument is outside its range, or NULL.
    InvalidArgument = 1,
    /// The system has no memory left.
    OutOfMemory = 2,
    /// The budget is smaller than the plan.
    Budget = 3,
    /// The operating system refused: the message carries its reason.
    Io = 4,
    /// The file is damaged or not what it claims to be.
    Format = 5,
    /// The file is well-formed but asks for what this library does not do.
    Unsupported = 6,
    /// Something named is not there: a tensor, a key, a token.
    NotFound = 7,
    /// The caller's buffer is too small.
    BufferTooSmall = 8,
    /// The call does not fit the object's state.
    State = 9,
    /// The caller cancelled.
    Cancelled = 10,
    /// A mapped file changed size under the model.
    FileChanged = 11,
    /// The context has no room for that many tokens.
    ContextFull = 12,
    /// A defect of this library; the object is poisoned.
    Internal = 13,
    /// A parameter struct of a version that is not known.
    Abi = 14,
    /// Shapes or types do not go together.
    Shape = 15,
    /// The CPU lacks the instruction set asked for.
    Isa = 16,
    /// A number that had to be finite is NaN or infinite.
    NotFinite = 17,
}

/// A failure: its [`Code`], and one sentence that names what was expected, what was found and what to do.
#[derive(Clone, Debug)]
pub struct Error {
    code: Code,
    message: Cow<'static, str>,
}

/// What every fallible call of this library returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with that code and sentence.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Error { code, message: message.into() }
    }

    /// The kind of failure.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same error with `what: ` in front, as it passes a place that knows more.
    pub fn context(self, what: impl fmt::Display) -> Self {
        Error { code: self.code, message: format!("{what}: {}", self.message).into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// `Err` with a code and a formatted sentence: `fail!(Format, "{name}: {n} tensors")`.
macro_rules! fail {
    ($code:ident, $($arg:tt)*) => {
        return Err($crate::error::Error::new($crate::error::Code::$code, format!($($arg)*)))
    };
}
pub(crate) use fail;

/// An empty vector with room for exactly `len` elements, or `OutOfMemory` naming `what`.
pub(crate) fn try_vec<T>(len: usize, what: &str) -> Result<Vec<T>> {
    let mut v = Vec::new();
    if v.try_reserve_exact(len).is_err() {
        fail!(OutOfMemory, "no memory for {len} entries of {what}");
    }
    Ok(v)
}
