//! `q_batch`: tokens of one or several sequences, for one call.

use super::args;
use super::error::q_error_code;
use super::handle::{self, Opaque};
use crate::engine::Token;
use crate::error::{fail, try_vec};

/// Tokens to compute together. One call at a time.
pub struct q_batch {
    _opaque: [u8; 0],
}

impl Opaque for q_batch {
    type Value = Vec<Token>;
    type Side = ();
    const NAME: &'static str = "q_batch";
}

/// Makes an empty batch with room for `capacity` tokens. Free it with q_batch_free. Errors: Q_ERR_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_batch_create(capacity: usize, out: *mut *mut q_batch) -> q_error_code {
    ffi!({
        handle::check_out(out)?;
        handle::create(try_vec(capacity, "tokens of a batch")?, (), out)
    })
}

/// Adds token `token` at position `pos` of sequence `seq`; `wants_logits` other than 0 keeps the logits after it.
/// Errors: Q_ERR_BUFFER_TOO_SMALL when the batch is full.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_batch_add(
    batch: *mut q_batch,
    token: u32,
    seq: u32,
    pos: u32,
    wants_logits: u32,
) -> q_error_code {
    ffi!({
        let mut batch = handle::exclusive(batch)?;
        if batch.len() == batch.capacity() {
            fail!(BufferTooSmall, "the batch has room for {} tokens", batch.capacity());
        }
        batch.push(Token { id: token, seq, pos, logits: wants_logits != 0 });
        Ok(())
    })
}

/// The number of tokens, to `len`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_batch_len(batch: *const q_batch, len: *mut usize) -> q_error_code {
    ffi!({ args::put(len, handle::exclusive(batch)?.len(), "len") })
}

/// Empties the batch.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_batch_clear(batch: *mut q_batch) -> q_error_code {
    ffi!({
        handle::exclusive(batch)?.clear();
        Ok(())
    })
}

/// Frees a batch; NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_batch_free(batch: *mut q_batch) {
    // SAFETY: the caller's handle.
    unsafe { handle::free(batch) }
}
