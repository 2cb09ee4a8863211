//! The way back: from tokens to text.

use super::alphabet;
use super::index::{SPACE, attr};
use super::vocab::Kind;
use super::{Tokenizer, View};
use crate::error::{Result, fail};

impl Tokenizer {
    /// Writes the bytes of one token to `out` and says how many there are. They may be part of a character: see
    /// [`Decoder`]. Control and unknown tokens have no bytes unless `special`.
    ///
    /// Errors: `InvalidArgument` for an id outside the vocabulary, `BufferTooSmall`.
    pub fn piece(&self, id: u32, special: bool, out: &mut [u8]) -> Result<usize> {
        let mut len = 0;
        self.each_byte(id, special, |b| {
            if let Some(o) = out.get_mut(len) {
                *o = b;
            }
            len += 1;
        })?;
        if len > out.len() {
            fail!(BufferTooSmall, "token {id} has {len} bytes, the buffer {}", out.len());
        }
        Ok(len)
    }

    /// Writes the text of `ids` to `out` and says how many bytes it has; the space that SPM vocabularies put before
    /// a text is taken away.
    ///
    /// Errors: as [`piece`](Tokenizer::piece).
    pub fn decode(&self, ids: &[u32], special: bool, out: &mut [u8]) -> Result<usize> {
        let mut decoder = Decoder::new();
        let mut len = 0;
        let mut put = |bytes: &[u8]| {
            if let Some(o) = out.get_mut(len..len + bytes.len()) {
                o.copy_from_slice(bytes);
            }
            len += bytes.len();
        };
        for &id in ids {
            decoder.feed(self, id, special, &mut put)?;
        }
        decoder.flush(&mut put);
        if len > out.len() {
            fail!(BufferTooSmall, "the text of {} tokens has {len} bytes, the buffer {}", ids.len(), out.len());
        }
        Ok(len)
    }

    /// The bytes that [`piece`](Tokenizer::piece) writes.
    pub fn piece_len(&self, id: u32, special: bool) -> Result<usize> {
        let mut len = 0;
        self.each_byte(id, special, |_| len += 1)?;
        Ok(len)
    }

    /// The bytes that [`decode`](Tokenizer::decode) writes.
    pub fn decoded_len(&self, ids: &[u32], special: bool) -> Result<usize> {
        let (mut decoder, mut len) = (Decoder::new(), 0);
        for &id in ids {
            decoder.feed(self, id, special, &mut |bytes| len += bytes.len())?;
        }
        decoder.flush(&mut |bytes| len += bytes.len());
        Ok(len)
    }

    /// Hands the bytes of a token to `each`.
    fn each_byte(&self, id: u32, special: bool, mut each: impl FnMut(u8)) -> Result<()> {
        let View { vocab, index, source } = self.view();
        if id as usize >= vocab.counts.tokens {
            fail!(InvalidArgument, "the token {id} is outside the vocabulary, which has {}", vocab.counts.tokens);
        }
        let (text, attr) = (index.text(id, source), index.attr(id));
        if attr & (attr::CONTROL | attr::UNKNOWN) != 0 && !special {
            return Ok(());
        }
        if attr & attr::SPECIAL != 0 {
            text.iter().for_each(|&b| each(b));
        } else if attr & attr::BYTE != 0 {
            match hex_byte(text) {
                Some(byte) => each(byte),
                None => text.iter().for_each(|&b| each(b)),
            }
        } else if attr & attr::NORMAL == 0 {
            // Unused and undefined tokens have no text.
        } else if vocab.kind == Kind::Bpe {
            let Ok(chars) = str::from_utf8(text) else {
                text.iter().for_each(|&b| each(b));
                return Ok(());
            };
            for c in chars.chars() {
                match alphabet::byte_of(c) {
                    Some(b) => each(b),
                    None => c.encode_utf8(&mut [0; 4]).bytes().for_each(&mut each),
                }
            }
        } else {
            let mut rest = text;
            while let Some((&b, others)) = rest.split_first() {
                match rest.strip_prefix(SPACE) {
                    Some(behind) => (rest, ()) = (behind, each(b' ')),
                    None => (rest, ()) = (others, each(b)),
                }
            }
        }
        Ok(())
    }
}

/// The byte that `<0xXX>` names.
fn hex_byte(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    u8::from_str_radix(str::from_utf8(digits).ok().filter(|d| d.len() == 2)?, 16).ok()
}

/// Turns tokens into text as they come, in whole characters: the head of a character that a token ends in waits for
/// the next. Bytes that are no UTF-8 become U+FFFD. Allocates nothing.
#[derive(Clone, Debug)]
pub struct Decoder {
    waiting: [u8; 4],
    len: usize,
    /// Nothing was written yet, and this is where a text starts.
    at_start: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder::new()
    }
}

impl Decoder {
    /// A decoder of a whole text: the space that SPM vocabularies put before it is taken away.
    pub const fn new() -> Decoder {
        Decoder { waiting: [0; 4], len: 0, at_start: true }
    }

    /// A decoder of what follows on other text, as a continuation follows on its prompt: every space counts.
    pub const fn continuing() -> Decoder {
        Decoder { at_start: false, ..Decoder::new() }
    }

    /// Takes one token, writes the characters that are now whole to `out` and says how many bytes they have.
    ///
    /// Errors: those of [`Tokenizer::piece`]; the decoder is then as before.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32, special: bool, out: &mut [u8]) -> Result<usize> {
        let need = self.pushed_len(tokenizer, id, special)?;
        if need > out.len() {
            fail!(BufferTooSmall, "the text up to token {id} has {need} bytes, the buffer {}", out.len());
        }
        let mut len = 0;
        self.feed(tokenizer, id, special, &mut |bytes| put(out, &mut len, bytes))?;
        Ok(len)
    }

    /// The bytes that [`push`](Decoder::push) would write.
    pub fn pushed_len(&self, tokenizer: &Tokenizer, id: u32, special: bool) -> Result<usize> {
        let mut len = 0;
        self.clone().feed(tokenizer, id, special, &mut |bytes| len += bytes.len())?;
        Ok(len)
    }

    /// Ends the text: what still waits becomes U+FFFD. `out` needs 3 bytes at most.
    ///
    /// Errors: `BufferTooSmall`.
    pub fn finish(&mut self, out: &mut [u8]) -> Result<usize> {
        if self.len > 0 && out.len() < REPLACEMENT.len() {
            fail!(BufferTooSmall, "the end of the text has {} bytes, the buffer {}", REPLACEMENT.len(), out.len());
        }
        let mut len = 0;
        self.flush(&mut |bytes| put(out, &mut len, bytes));
        Ok(len)
    }

    fn feed(&mut self, tokenizer: &Tokenizer, id: u32, special: bool, put: &mut impl FnMut(&[u8])) -> Result<()> {
        let strip = tokenizer.view().vocab.space_prefix;
        tokenizer.each_byte(id, special, |byte| {
            if !(std::mem::take(&mut self.at_start) && strip && byte == b' ') {
                self.byte(byte, put);
            }
        })
    }

    fn byte(&mut self, byte: u8, put: &mut impl FnMut(&[u8])) {
        self.waiting[self.len] = byte;
        self.len += 1;
        match str::from_utf8(&self.waiting[..self.len]) {
            Ok(whole) => {
                put(whole.as_bytes());
                self.len = 0;
            }
            Err(e) if e.error_len().is_some() => {
                // Either the byte itself is wrong, or those before it were and it begins anew.
                put(REPLACEMENT);
                let alone = self.len == 1;
                self.len = 0;
                if !alone {
                    self.byte(byte, put);
                }
            }
            Err(_) => {} // more to come; 4 bytes are a character or wrong, so there is room
        }
    }

    fn flush(&mut self, put: &mut impl FnMut(&[u8])) {
        if std::mem::take(&mut self.len) > 0 {
            put(REPLACEMENT);
        }
    }
}

const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

fn put(out: &mut [u8], len: &mut usize, bytes: &[u8]) {
    if let Some(o) = out.get_mut(*len..*len + bytes.len()) {
        o.copy_from_slice(bytes);
    }
    *len += bytes.len();
}
