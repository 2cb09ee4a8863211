//! The boundary: panics become codes, errors become the thread's message.

use super::error::q_error_code;
use crate::error::{Code, Result};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

/// Wraps the body of an exported function: `ffi!({ ...; Ok(()) })` gives its `q_error_code`.
macro_rules! ffi {
    ($body:block) => {
        $crate::ffi::boundary::call(|| {
            // SAFETY: bodies touch the caller's pointers only through `args`, `params` and `handle`, which check what
            // can be checked; that the rest is as the header says is the caller's part.
            unsafe { $body }
        })
    };
}

/// Bytes of a thread's message.
pub const MESSAGE_BYTES: usize = 512;

struct Message {
    text: [u8; MESSAGE_BYTES],
    len: usize,
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Message> = const { RefCell::new(Message { text: [0; MESSAGE_BYTES], len: 0 }) };
}

/// Runs `body` with the panic hook silent; keeps the message of its error.
pub fn call(body: impl FnOnce() -> Result<()>) -> q_error_code {
    quiet_panics();
    let before = INSIDE.replace(true);
    let result = catch_unwind(AssertUnwindSafe(body));
    INSIDE.set(before);
    match result {
        Ok(Ok(())) => q_error_code::Q_OK,
        Ok(Err(e)) => {
            remember(e.message());
            e.code().into()
        }
        Err(payload) => {
            let text = payload.downcast_ref::<&str>().copied();
            let text = text.or(payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
            remember(&format!("a defect of this library stopped the call: {text}"));
            // To drop a payload may panic in its turn.
            std::mem::forget(payload);
            Code::Internal.into()
        }
    }
}

/// Runs a callback of the host, whose own panics are none of this library's.
pub fn outside<R>(callback: impl FnOnce() -> R) -> R {
    let before = INSIDE.replace(false);
    let result = callback();
    INSIDE.set(before);
    result
}

fn remember(message: &str) {
    LAST.with_borrow_mut(|last| {
        last.len = (0..=MESSAGE_BYTES.min(message.len())).rfind(|&i| message.is_char_boundary(i)).unwrap_or(0);
        last.text[..last.len].copy_from_slice(&message.as_bytes()[..last.len]);
    });
}

/// Calls `f` with the thread's message.
pub fn last<R>(f: impl FnOnce(&[u8]) -> R) -> R {
    LAST.with_borrow(|last| f(&last.text[..last.len]))
}

/// A panic inside a call, or in a worker of a pool, becomes an error and prints nothing; any other goes where it went.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !INSIDE.get() && !crate::threads::is_worker() {
                previous(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn a_panic_becomes_an_error_with_its_text() {
        assert_eq!(call(|| panic!("number {}", 7)), q_error_code::Q_ERR_INTERNAL);
        assert!(last(|m| String::from_utf8(m.to_vec()).unwrap()).ends_with("number 7"));
        assert_eq!(call(|| Ok(())), q_error_code::Q_OK);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let long = "ä".repeat(400);
        call(|| Err(Error::new(Code::Io, format!("x{long}"))));
        last(|m| assert_eq!(m, &format!("x{long}").as_bytes()[..511]));
    }
}
