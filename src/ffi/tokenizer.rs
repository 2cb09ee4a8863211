//! `q_tokenizer`: text to tokens and back; `q_decoder`: back in a stream.

use super::args;
use super::error::q_error_code;
use super::handle::{self, Opaque};
use super::model::q_model;
use super::params::{self, Report};
use crate::error::{Result, fail};
use crate::gguf::Gguf;
use crate::tokenizer::{Decoder, Encode, Tokenizer};
use std::ffi::c_char;
use std::sync::Arc;

/// The tokenizer of one model. Any number of threads at once.
pub struct q_tokenizer {
    _opaque: [u8; 0],
}

/// Turns tokens into text as they come, in whole characters. One call at a time.
pub struct q_decoder {
    _opaque: [u8; 0],
}

/// UTF-8 text of the host: `len` bytes, no NUL needed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_text {
    /// The bytes.
    pub data: *const c_char,
    /// Their number.
    pub len: usize,
}

/// No token.
pub const Q_TOKEN_NONE: u32 = 0xffff_ffff;

/// Flag of q_tokenizer_encode: what the file says goes around a text is added, BOS before it, EOS behind it.
pub const Q_ENCODE_BOS: u32 = 1;
/// Flag of q_tokenizer_encode: special text such as "<|im_end|>" is read as its token. Do not set it for text of users.
pub const Q_ENCODE_SPECIAL: u32 = 2;

/// Flag of q_tokenizer_decode, q_tokenizer_piece and q_decoder_create: control tokens are written out as text.
pub const Q_DECODE_SPECIAL: u32 = 1;
/// Flag of q_decoder_create: the tokens continue other text, so a leading space counts.
pub const Q_DECODE_CONTINUES: u32 = 2;

/// Facts of a tokenizer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_tokenizer_info {
    /// Bytes of this struct that were filled.
    pub size: u32,
    /// Tokens of the vocabulary.
    pub vocab: u32,
    /// The token that begins a text, or Q_TOKEN_NONE.
    pub bos: u32,
    /// The token that ends a text, or Q_TOKEN_NONE.
    pub eos: u32,
    /// 1 if BOS goes before a text.
    pub adds_bos: u32,
    /// 1 if EOS goes behind a text.
    pub adds_eos: u32,
}

// SAFETY: as the trait demands.
unsafe impl Report for q_tokenizer_info {
    const NAME: &'static str = "q_tokenizer_info";
}

impl Opaque for q_tokenizer {
    type Value = Arc<Tokenizer>;
    type Side = ();
    const NAME: &'static str = "q_tokenizer";
}

/// A stream, with the tokenizer it reads.
pub(super) struct Stream {
    tokenizer: Arc<Tokenizer>,
    decoder: Decoder,
    special: bool,
}

impl Opaque for q_decoder {
    type Value = Stream;
    type Side = ();
    const NAME: &'static str = "q_decoder";
}

fn flags(value: u32, known: u32) -> Result<()> {
    if value & !known != 0 {
        fail!(InvalidArgument, "flags are {value:#x}, of which only {known:#x} are known");
    }
    Ok(())
}

/// The tokenizer of a model. Free it with q_tokenizer_free; it keeps what it needs of the model alive.
/// Errors: Q_ERR_STATE when the model has none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tokenizer_create(model: *const q_model, out: *mut *mut q_tokenizer) -> q_error_code {
    ffi!({
        let model = handle::shared(model)?;
        handle::check_out(out)?;
        let Some(tokenizer) = &model.engine.tokenizer else { fail!(State, "the model has no tokenizer") };
        handle::create(Arc::clone(tokenizer), (), out)
    })
}

/// The tokenizer of the GGUF file at `path`, which needs neither tensors nor an architecture that is known.
/// Free it with q_tokenizer_free. Errors: Q_ERR_NOT_FOUND, Q_ERR_IO, Q_ERR_FORMAT, Q_ERR_UNSUPPORTED, Q_ERR_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tokenizer_load(
    path: *const c_char,
    path_len: usize,
    out: *mut *mut q_tokenizer,
) -> q_error_code {
    ffi!({
        handle::check_out(out)?;
        let gguf = Gguf::open(args::path(path, path_len, "path")?)?;
        handle::create(Arc::new(Tokenizer::new(Arc::new(gguf))?), (), out)
    })
}

/// Facts of a tokenizer. `size` is sizeof(q_tokenizer_info).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tokenizer_get_info(
    tokenizer: *const q_tokenizer,
    info: *mut q_tokenizer_info,
    size: usize,
) -> q_error_code {
    ffi!({
        let tokenizer = handle::shared(tokenizer)?;
        let found = q_tokenizer_info {
            size: 0,
            vocab: tokenizer.vocab_len() as u32,
            bos: tokenizer.bos().unwrap_or(Q_TOKEN_NONE),
            eos: tokenizer.eos().unwrap_or(Q_TOKEN_NONE),
            adds_bos: tokenizer.adds_bos().into(),
            adds_eos: tokenizer.adds_eos().into(),
        };
        params::report(found, info, size)
    })
}

/// Whether generation ends with `token`: 1 or 0 to `is_end`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tokenizer_is_end(
    tokenizer: *const q_tokenizer,
    token: u32,
    is_end: *mut u32,
) -> q_error_code {
    ffi!({ args::put(is_end, handle::shared(tokenizer)?.is_end(token).into(), "is_end") })
}

/// Writes the tokens of `len` bytes of UTF-8 to `tokens`, which has room for `cap`; `flags` are Q_ENCODE_*. `needed` (may
/// be NULL) receives their number. Errors: Q_ERR_BUFFER_TOO_SMALL; Q_ERR_INVALID_ARGUMENT for text that is not UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tokenizer_encode(
    tokenizer: *const q_tokenizer,
    text: *const c_char,
    len: usize,
    flags: u32,
    tokens: *mut u32,
    cap: usize,
    needed: *mut usize,
) -> q_error_code {
    ffi!({
        let tokenizer = handle::shared(tokenizer)?;
        let text = args::text(text, len, "text")?;
        self::flags(flags, Q_ENCODE_BOS | Q_ENCODE_SPECIAL)?;
        let how = Encode { bos: flags & Q_ENCODE_BOS != 0, special: flags & Q_ENCODE_SPECIAL != 0 };
        let need = tokenizer.count(text, how)?;
        args::room(need, cap, needed, "tokens")?;
        tokenizer.encode(text, how, args::slice_mut(tokens, need, "tokens")?).map(drop)
    })
}

/// Writes the text of `n` tokens to `buf`, without a NUL; `flags` are 0 or Q_DECODE_SPECIAL. `needed` (may be NULL)
/// receives its bytes. Bytes that are no UTF-8 become U+FFFD.
/// Errors: Q_ERR_BUFFER_TOO_SMALL; Q_ERR_INVALID_ARGUMENT for a token outside the vocabulary.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tokenizer_decode(
    tokenizer: *const q_tokenizer,
    tokens: *const u32,
    n: usize,
    flags: u32,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> q_error_code {
    ffi!({
        let tokenizer = handle::shared(tokenizer)?;
        let tokens = args::slice(tokens, n, "tokens")?;
        self::flags(flags, Q_DECODE_SPECIAL)?;
        let special = flags & Q_DECODE_SPECIAL != 0;
        let need = tokenizer.decoded_len(tokens, special)?;
        args::room(need, cap, needed, "bytes")?;
        tokenizer.decode(tokens, special, args::slice_mut(buf.cast(), need, "buf")?).map(drop)
    })
}

/// Writes the bytes of one token to `buf`, without a NUL: perhaps only a part of a character. `flags` are 0 or
/// Q_DECODE_SPECIAL. `needed` (may be NULL) receives their number. Errors: as q_tokenizer_decode.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tokenizer_piece(
    tokenizer: *const q_tokenizer,
    token: u32,
    flags: u32,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> q_error_code {
    ffi!({
        let tokenizer = handle::shared(tokenizer)?;
        self::flags(flags, Q_DECODE_SPECIAL)?;
        let special = flags & Q_DECODE_SPECIAL != 0;
        let need = tokenizer.piece_len(token, special)?;
        args::room(need, cap, needed, "bytes")?;
        tokenizer.piece(token, special, args::slice_mut(buf.cast(), need, "buf")?).map(drop)
    })
}

/// Frees a tokenizer; NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tokenizer_free(tokenizer: *mut q_tokenizer) {
    // SAFETY: the caller's handle.
    unsafe { handle::free(tokenizer) }
}

/// Makes a decoder of one text; `flags` are Q_DECODE_*. Free it with q_decoder_free. It keeps the tokenizer alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_decoder_create(
    tokenizer: *const q_tokenizer,
    flags: u32,
    out: *mut *mut q_decoder,
) -> q_error_code {
    ffi!({
        let tokenizer = handle::shared(tokenizer)?;
        handle::check_out(out)?;
        self::flags(flags, Q_DECODE_SPECIAL | Q_DECODE_CONTINUES)?;
        let decoder = if flags & Q_DECODE_CONTINUES != 0 { Decoder::continuing() } else { Decoder::new() };
        let special = flags & Q_DECODE_SPECIAL != 0;
        handle::create(Stream { tokenizer: Arc::clone(&tokenizer), decoder, special }, (), out)
    })
}

/// Takes one token and writes the characters that are now whole to `buf`, without a NUL; none when one is unfinished.
/// `needed` receives their bytes. Errors: as q_tokenizer_decode; the decoder is then as before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_decoder_push(
    decoder: *mut q_decoder,
    token: u32,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> q_error_code {
    ffi!({
        let mut stream = handle::exclusive(decoder)?;
        args::pointer(needed, "needed")?;
        let Stream { tokenizer, decoder, special } = &mut *stream;
        let need = decoder.pushed_len(tokenizer, token, *special)?;
        args::room(need, cap, needed, "bytes")?;
        decoder.push(tokenizer, token, *special, args::slice_mut(buf.cast(), need, "buf")?).map(drop)
    })
}

/// Ends the text: the head of an unfinished character becomes U+FFFD, 3 bytes at most. `needed` receives the bytes
/// written to `buf`. The decoder then begins a text that continues this one. Errors: Q_ERR_BUFFER_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_decoder_finish(
    decoder: *mut q_decoder,
    buf: *mut c_char,
    cap: usize,
    needed: *mut usize,
) -> q_error_code {
    ffi!({
        let mut stream = handle::exclusive(decoder)?;
        args::pointer(needed, "needed")?;
        let mut end = [0; 4];
        let len = stream.decoder.clone().finish(&mut end)?;
        args::give(&end[..len], buf.cast(), cap, needed, "bytes")?;
        stream.decoder.finish(&mut end).map(drop)
    })
}

/// Frees a decoder; NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_decoder_free(decoder: *mut q_decoder) {
    // SAFETY: the caller's handle.
    unsafe { handle::free(decoder) }
}
