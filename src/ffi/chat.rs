//! `q_chat`: from the messages of a conversation to the text that a model was trained to continue.

use super::args;
use super::error::q_error_code;
use super::handle::{self, Opaque};
use super::tokenizer::{q_text, q_tokenizer};
use crate::error::{fail, try_vec};
use crate::tokenizer::chat::{Chat, Message};
use std::ffi::c_char;

/// A chat template. Any number of threads at once.
pub struct q_chat {
    _opaque: [u8; 0],
}

impl Opaque for q_chat {
    type Value = Chat;
    type Side = ();
    const NAME: &'static str = "q_chat";
}

/// One message of a conversation.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_message {
    /// "system", "user" or "assistant"; a template may know others.
    pub role: q_text,
    /// What is said.
    pub content: q_text,
}

/// Flag of q_chat_render: the text ends where the assistant's answer begins.
pub const Q_CHAT_PROMPT: u32 = 1;

/// The chat template of the tokenizer's file, or another one for the same tokenizer: `source` (`source_len` bytes) is the
/// name of one that this library knows, as "chatml", or a template's text; 0 bytes for the file's own.
///
/// Free it with q_chat_free. It does not need the tokenizer to live. The text it makes is to be encoded with
/// Q_ENCODE_BOS | Q_ENCODE_SPECIAL. Errors: Q_ERR_NOT_FOUND when the file has none; Q_ERR_UNSUPPORTED for a template
/// that is not recognised (and, where the library was built with the feature jinja, is no Jinja either).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_chat_create(
    tokenizer: *const q_tokenizer,
    source: *const c_char,
    source_len: usize,
    out: *mut *mut q_chat,
) -> q_error_code {
    ffi!({
        let tokenizer = handle::shared(tokenizer)?;
        handle::check_out(out)?;
        let source = args::text(source, source_len, "source")?;
        let chat = if source.is_empty() { Chat::new(&tokenizer) } else { Chat::with_source(&tokenizer, source) };
        handle::create(chat?, (), out)
    })
}

/// Writes `n` messages as text to `buf`, without a NUL; `flags` are 0 or Q_CHAT_PROMPT. `needed` (may be NULL) receives
/// its bytes. Allocates a list of the messages.
/// Errors: Q_ERR_BUFFER_TOO_SMALL; Q_ERR_INVALID_ARGUMENT for no messages, or a conversation that the template refuses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_chat_render(
    chat: *const q_chat,
    messages: *const q_message,
    n: usize,
    flags: u32,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> q_error_code {
    ffi!({
        let chat = handle::shared(chat)?;
        if flags & !Q_CHAT_PROMPT != 0 {
            fail!(InvalidArgument, "flags are {flags:#x}, of which only {Q_CHAT_PROMPT:#x} is known");
        }
        let messages = args::slice(messages, n, "messages")?;
        let mut list = try_vec(n, "messages")?;
        for message in messages {
            let role = args::text(message.role.data, message.role.len, "a role")?;
            list.push(Message { role, content: args::text(message.content.data, message.content.len, "a content")? });
        }
        let prompt = flags & Q_CHAT_PROMPT != 0;
        let need = chat.rendered_len(&list, prompt)?;
        args::room(need, cap, needed, "bytes")?;
        chat.render(&list, prompt, args::slice_mut(buf.cast(), need, "buf")?).map(drop)
    })
}

/// Frees a chat template; NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_chat_free(chat: *mut q_chat) {
    // SAFETY: the caller's handle.
    unsafe { handle::free(chat) }
}
