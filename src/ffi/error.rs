//! Error codes, their names, and the thread's last message.

use super::boundary;
use crate::error::{Code, fail};
use std::ffi::{CStr, c_char};

/// What a call returns: Q_OK, or what kind of failure it was. Numbers are never reused.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum q_error_code {
    /// Success.
    Q_OK = 0,
    /// An argument is outside its range, or NULL.
    Q_ERR_INVALID_ARGUMENT = 1,
    /// The system has no memory left.
    Q_ERR_OUT_OF_MEMORY = 2,
    /// A budget or limit is smaller than what the plan needs.
    Q_ERR_BUDGET = 3,
    /// The operating system refused; the message has its reason.
    Q_ERR_IO = 4,
    /// The file is damaged or not what it claims to be.
    Q_ERR_FORMAT = 5,
    /// The file is well-formed but asks for what this library does not do.
    Q_ERR_UNSUPPORTED = 6,
    /// Something named is not there: a file, a tensor, a key.
    Q_ERR_NOT_FOUND = 7,
    /// The buffer is too small; `needed` says how much it takes.
    Q_ERR_BUFFER_TOO_SMALL = 8,
    /// The call does not fit the object's state.
    Q_ERR_STATE = 9,
    /// The call was cancelled.
    Q_ERR_CANCELLED = 10,
    /// A mapped file changed under its model.
    Q_ERR_FILE_CHANGED = 11,
    /// The context has no room for that many tokens.
    Q_ERR_CONTEXT_FULL = 12,
    /// A defect of this library; the object can only be freed.
    Q_ERR_INTERNAL = 13,
    /// A parameter struct of a version that is not known, or that was not initialized.
    Q_ERR_ABI = 14,
    /// Shapes or types do not go together.
    Q_ERR_SHAPE = 15,
    /// The CPU lacks the instruction set asked for.
    Q_ERR_ISA = 16,
    /// A gradient, a loss or a coefficient is NaN or infinite.
    Q_ERR_NOT_FINITE = 17,
}

use q_error_code::*;

/// Every code with its name.
const NAMES: [(q_error_code, &CStr); 18] = [
    (Q_OK, c"Q_OK"),
    (Q_ERR_INVALID_ARGUMENT, c"Q_ERR_INVALID_ARGUMENT"),
    (Q_ERR_OUT_OF_MEMORY, c"Q_ERR_OUT_OF_MEMORY"),
    (Q_ERR_BUDGET, c"Q_ERR_BUDGET"),
    (Q_ERR_IO, c"Q_ERR_IO"),
    (Q_ERR_FORMAT, c"Q_ERR_FORMAT"),
    (Q_ERR_UNSUPPORTED, c"Q_ERR_UNSUPPORTED"),
    (Q_ERR_NOT_FOUND, c"Q_ERR_NOT_FOUND"),
    (Q_ERR_BUFFER_TOO_SMALL, c"Q_ERR_BUFFER_TOO_SMALL"),
    (Q_ERR_STATE, c"Q_ERR_STATE"),
    (Q_ERR_CANCELLED, c"Q_ERR_CANCELLED"),
    (Q_ERR_FILE_CHANGED, c"Q_ERR_FILE_CHANGED"),
    (Q_ERR_CONTEXT_FULL, c"Q_ERR_CONTEXT_FULL"),
    (Q_ERR_INTERNAL, c"Q_ERR_INTERNAL"),
    (Q_ERR_ABI, c"Q_ERR_ABI"),
    (Q_ERR_SHAPE, c"Q_ERR_SHAPE"),
    (Q_ERR_ISA, c"Q_ERR_ISA"),
    (Q_ERR_NOT_FINITE, c"Q_ERR_NOT_FINITE"),
];

impl From<Code> for q_error_code {
    fn from(code: Code) -> q_error_code {
        match code {
            Code::InvalidArgument => Q_ERR_INVALID_ARGUMENT,
            Code::OutOfMemory => Q_ERR_OUT_OF_MEMORY,
            Code::Budget => Q_ERR_BUDGET,
            Code::Io => Q_ERR_IO,
            Code::Format => Q_ERR_FORMAT,
            Code::Unsupported => Q_ERR_UNSUPPORTED,
            Code::NotFound => Q_ERR_NOT_FOUND,
            Code::BufferTooSmall => Q_ERR_BUFFER_TOO_SMALL,
            Code::State => Q_ERR_STATE,
            Code::Cancelled => Q_ERR_CANCELLED,
            Code::FileChanged => Q_ERR_FILE_CHANGED,
            Code::ContextFull => Q_ERR_CONTEXT_FULL,
            Code::Internal => Q_ERR_INTERNAL,
            Code::Abi => Q_ERR_ABI,
            Code::Shape => Q_ERR_SHAPE,
            Code::Isa => Q_ERR_ISA,
            Code::NotFinite => Q_ERR_NOT_FINITE,
        }
    }
}

/// The name of a code, as in "Q_ERR_BUDGET"; "unknown code" for any other number. Static text, never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn q_error_name(code: i32) -> *const c_char {
    NAMES.iter().find(|(c, _)| *c as i32 == code).map_or(c"unknown code", |(_, name)| name).as_ptr()
}

/// Copies the message of this thread's last failed call to `buf`, with a terminating NUL, at most 513 bytes.
///
/// `needed` (may be NULL) receives its bytes, NUL included. The message stays until another call of this thread fails;
/// a call that succeeds leaves it alone. Without a failure it is empty. Allocates nothing.
/// Errors: Q_ERR_BUFFER_TOO_SMALL, with `buf` untouched; Q_ERR_INVALID_ARGUMENT if `buf` is NULL while `cap` is not 0.
/// These two leave the message as it was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_last_error(buf: *mut c_char, cap: usize, needed: *mut usize) -> q_error_code {
    boundary::last(|message| {
        let len = message.len() + 1;
        if !needed.is_null() && needed.is_aligned() {
            // SAFETY: the caller's pointer, checked.
            unsafe { needed.write(len) };
        }
        if buf.is_null() && cap > 0 {
            return Q_ERR_INVALID_ARGUMENT;
        }
        if cap < len {
            return Q_ERR_BUFFER_TOO_SMALL;
        }
        // SAFETY: `buf` has `cap >= len` bytes by the caller's word.
        unsafe {
            buf.cast::<u8>().copy_from_nonoverlapping(message.as_ptr(), message.len());
            buf.add(message.len()).write(0);
        }
        Q_OK
    })
}

/// What a number that names a choice may be.
pub(super) fn choice<T: Copy>(what: &str, value: u32, choices: &[(u32, T)]) -> crate::error::Result<T> {
    match choices.iter().find(|c| c.0 == value) {
        Some(c) => Ok(c.1),
        None => fail!(InvalidArgument, "{what} is {value}, which is none of its {} values", choices.len()),
    }
}

/// A field that a later version may use must be 0 today.
pub(super) fn unused(what: &str, value: u32) -> crate::error::Result<()> {
    if value != 0 {
        fail!(Abi, "{what} is {value}: this version of the library knows only 0");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_those_of_the_codes() {
        use Code::*;
        let codes = [
            InvalidArgument,
            OutOfMemory,
            Budget,
            Io,
            Format,
            Unsupported,
            NotFound,
            BufferTooSmall,
            State,
            Cancelled,
            FileChanged,
            ContextFull,
            Internal,
            Abi,
            Shape,
            Isa,
            NotFinite,
        ];
        assert_eq!(codes.len() + 1, NAMES.len());
        for (i, code) in codes.into_iter().enumerate() {
            assert_eq!((code as i32, q_error_code::from(code) as i32), (i as i32 + 1, i as i32 + 1));
        }
        for (i, (code, name)) in NAMES.into_iter().enumerate() {
            assert_eq!((code as usize, format!("{code:?}").as_str()), (i, name.to_str().unwrap()));
        }
    }
}
