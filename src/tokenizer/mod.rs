//! Text to tokens and back, by the vocabulary in a GGUF file's metadata.
//!
//! Strings stay in the mapped file. An index over them, whose size follows from the vocabulary's counts, is reserved
//! when the tokenizer is made and filled at first use; after that nothing allocates, but for words longer than
//! [`PIECE_BYTES`].

mod alphabet;
mod cased_table;
pub mod chat;
mod decode;
mod hash;
mod index;
mod merge;
mod pre;
mod special;
mod split;
mod unicode;
mod unicode_table;
mod vocab;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::error::{Result, fail};
use crate::gguf::Gguf;
use alphabet::encode_byte;
pub use decode::Decoder;
use index::{Index, SPACE};
pub use merge::PIECE_BYTES;
use merge::{Merger, Scratch};
use pre::Pre;
use special::{Finder, Fragment};
use vocab::{Kind, Source, Vocab};

/// How to encode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encode {
    /// Add what the file says goes around a text: BOS before it, EOS behind it.
    pub bos: bool,
    /// Read special text such as `<|im_end|>` as its token. Otherwise it is text like any other, but for tokens that the
    /// vocabulary has as user-defined, which are always read.
    pub special: bool,
}

/// The tokenizer of one model. Shared between threads; one encodes at a time.
pub struct Tokenizer {
    gguf: Arc<Gguf>,
    vocab: Vocab,
    index: OnceLock<Index>,
    /// The memory of `index` until it is filled.
    reserve: Mutex<Option<Index>>,
    scratch: Mutex<Scratch>,
    reserved: usize,
}

/// What encoding and decoding read.
#[derive(Clone, Copy)]
struct View<'a> {
    vocab: &'a Vocab,
    index: &'a Index,
    source: Source<'a>,
}

impl Tokenizer {
    /// The tokenizer of a file's metadata. Only the counts are looked at: the index is filled at first use.
    ///
    /// Errors: `NotFound` without a vocabulary, `Unsupported` for a model or pre-tokenizer that is not known, `Format` for
    /// lists that do not go together, `OutOfMemory`.
    pub fn new(gguf: Arc<Gguf>) -> Result<Tokenizer> {
        let vocab = Vocab::read(&gguf)?;
        let (index, scratch) = (Index::reserve(vocab.counts)?, Scratch::reserve()?);
        let reserved = index.reserved() + scratch.reserved();
        Ok(Tokenizer {
            gguf,
            vocab,
            index: OnceLock::new(),
            reserve: Mutex::new(Some(index)),
            scratch: Mutex::new(scratch),
            reserved,
        })
    }

    /// The bytes that [`new`](Tokenizer::new) reserves for this file. Errors: those of `new`.
    pub fn plan(gguf: &Gguf) -> Result<usize> {
        Ok(Index::plan(Vocab::read(gguf)?.counts) + Scratch::plan())
    }

    /// The bytes that were reserved.
    pub fn reserved(&self) -> usize {
        self.reserved
    }

    /// The number of tokens.
    pub fn vocab_len(&self) -> usize {
        self.vocab.counts.tokens
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.vocab.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.vocab.eos
    }

    /// Whether BOS goes before a text.
    pub fn adds_bos(&self) -> bool {
        self.vocab.add_bos && self.vocab.bos.is_some()
    }

    /// Whether EOS goes behind a text.
    pub fn adds_eos(&self) -> bool {
        self.vocab.add_eos && self.vocab.eos.is_some()
    }

    /// Whether generation ends with this token: EOS, or one that ends a turn.
    pub fn is_end(&self, id: u32) -> bool {
        self.view().index.ends.has(id)
    }

    /// All tokens for which [`is_end`](Tokenizer::is_end) holds.
    pub fn ends(&self) -> &[u32] {
        self.view().index.ends.ids()
    }

    /// The string of a token as the file has it, alphabet and all; empty outside the vocabulary.
    pub fn raw(&self, id: u32) -> &[u8] {
        let View { index, source, .. } = self.view();
        index.text(id, source)
    }

    /// The token whose string in the file is `text`, however it is typed.
    pub fn find_special(&self, text: &str) -> Option<u32> {
        let View { index, source, .. } = self.view();
        let at = index.specials.binary_search_by(|&id| index.text(id, source).cmp(text.as_bytes())).ok()?;
        index.specials.get(at).copied()
    }

    /// Special ids that the file names and its vocabulary lacks: the key and the id. They are ignored.
    pub fn ignored(&self) -> impl Iterator<Item = (&'static str, i128)> {
        self.vocab.bad.iter().flatten().copied()
    }

    /// Writes the tokens of `text` to `out` and says how many there are. A token stands for one byte of text at least, so
    /// `text.len() + 3` is always room enough but where the file makes more of special tokens (one more for each).
    ///
    /// Errors: `BufferTooSmall`, whose sentence has the need ([`count`](Tokenizer::count) says it as a number);
    /// `OutOfMemory` for a word longer than [`PIECE_BYTES`].
    pub fn encode(&self, text: &str, how: Encode, out: &mut [u32]) -> Result<usize> {
        let mut len = 0;
        self.encode_each(text, how, |id| {
            if let Some(o) = out.get_mut(len) {
                *o = id;
            }
            len += 1;
            Ok(())
        })?;
        if len > out.len() {
            fail!(BufferTooSmall, "the text has {len} tokens, the buffer room for {}", out.len());
        }
        Ok(len)
    }

    /// How many tokens `text` has. Errors: as [`encode`](Tokenizer::encode).
    pub fn count(&self, text: &str, how: Encode) -> Result<usize> {
        let mut len = 0;
        self.encode_each(text, how, |_| {
            len += 1;
            Ok(())
        })?;
        Ok(len)
    }

    /// Hands the tokens of `text` to `each` as they are found; its error ends the call. Errors: as
    /// [`encode`](Tokenizer::encode).
    pub fn encode_each(&self, text: &str, how: Encode, mut each: impl FnMut(u32) -> Result<()>) -> Result<()> {
        let view = self.view();
        // A panic of another thread leaves nothing half done in here that matters: every use begins by clearing.
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bos) = self.vocab.bos.filter(|_| how.bos && self.vocab.add_bos) {
            each(bos)?;
        }
        let View { vocab, index, source } = view;
        let merger =
            Merger { kind: vocab.kind, index, source, unknown: vocab.unknown.filter(|_| vocab.kind == Kind::Spm) };
        let mut after_special = true;
        Finder { index, source, special: how.special }.cut(text, |fragment| match fragment {
            Fragment::Token(id) => {
                after_special = true;
                each(id)
            }
            Fragment::Text(text) => {
                let prefix = std::mem::take(&mut after_special) && vocab.space_prefix;
                view.encode_text(text, prefix, &merger, &mut scratch, &mut each)
            }
        })?;
        if let Some(eos) = self.vocab.eos.filter(|_| how.bos && self.vocab.add_eos) {
            each(eos)?;
        }
        Ok(())
    }

    fn view(&self) -> View<'_> {
        let source = Source::of(&self.gguf);
        let index = self.index.get_or_init(|| {
            let reserve = self.reserve.lock().unwrap_or_else(PoisonError::into_inner).take();
            reserve.unwrap_or_default().build(&self.vocab, source)
        });
        View { vocab: &self.vocab, index, source }
    }
}

/// Hands the words that a pre-tokenizer makes of `text` to `each`, in order: what a vocabulary is trained on. Errors: its
/// own, and `Unsupported` for a name that is not known or whose words are not bytes.
#[cfg(feature = "train")]
pub(crate) fn each_word(pre: &str, text: &str, each: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    match pre::find(pre.as_bytes()).filter(|p| !p.raw) {
        Some(pre) => split::split(pre.passes, text, each),
        None => fail!(Unsupported, "the pre-tokenizer {pre:?} is not known, or none of byte-level vocabularies"),
    }
}

/// Bytes as byte-level vocabularies write them.
#[cfg(feature = "train")]
pub(crate) fn in_letters(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|&byte| encode_byte(byte, &mut [0; 2]).to_vec()).collect()
}

impl View<'_> {
    /// Encodes text without special tokens; `prefix` puts a space before it.
    fn encode_text(
        &self,
        text: &str,
        prefix: bool,
        merger: &Merger,
        scratch: &mut Scratch,
        each: &mut dyn FnMut(u32) -> Result<()>,
    ) -> Result<()> {
        let Pre { passes, whole_words, .. } = *self.vocab.pre;
        match self.vocab.kind {
            Kind::Spm => self.encode_words(text, prefix, merger, scratch, each),
            Kind::RawBpe => split::split(passes, text, &mut |line| match self
                .index
                .find(line.as_bytes(), self.source)
                .filter(|_| line.starts_with('\n'))
            {
                Some(id) => each(id),
                None => self.encode_words(line, false, merger, scratch, each),
            }),
            Kind::Bpe => split::split(passes, text, &mut |word| {
                let mut escaped = scratch.take_text(word.len().saturating_mul(2))?;
                for &byte in word.as_bytes() {
                    escaped.extend_from_slice(encode_byte(byte, &mut [0; 2]));
                }
                let done = match self.index.find(&escaped, self.source).filter(|_| whole_words) {
                    Some(id) => each(id),
                    None => merger.merge(&escaped, scratch, &mut *each),
                };
                scratch.text = escaped;
                done
            }),
        }
    }

    /// Merges `text`, its spaces escaped, word by word: where no token reaches over a word's edge, a word's merges have
    /// nothing to do with its neighbours'.
    fn encode_words(
        &self,
        mut text: &str,
        mut prefix: bool,
        merger: &Merger,
        scratch: &mut Scratch,
        each: &mut dyn FnMut(u32) -> Result<()>,
    ) -> Result<()> {
        while !text.is_empty() {
            let (word, rest) = text.split_at_checked(self.word_end(text)).unwrap_or((text, ""));
            let mut escaped = scratch.take_text(word.len().saturating_add(1).saturating_mul(SPACE.len()))?;
            if std::mem::take(&mut prefix) {
                escaped.extend_from_slice(SPACE);
            }
            for (no, part) in word.split(' ').enumerate() {
                if no > 0 {
                    escaped.extend_from_slice(SPACE);
                }
                escaped.extend_from_slice(part.as_bytes());
            }
            let done = merger.merge(&escaped, scratch, &mut *each);
            scratch.text = escaped;
            done?;
            text = rest;
        }
        Ok(())
    }

    /// Where the first word of `text` ends: before a space that follows on a character which no token has before one.
    fn word_end(&self, text: &str) -> usize {
        let bytes = text.as_bytes();
        let starts_space = |rest: &[u8]| rest.first() == Some(&b' ') || rest.starts_with(SPACE);
        let ends_space = |head: &[u8]| head.last() == Some(&b' ') || head.ends_with(SPACE);
        let edge = |&at: &usize| {
            starts_space(&bytes[at..]) && !ends_space(&bytes[..at]) && !self.index.before_space.has(bytes[at - 1])
        };
        (1..bytes.len()).find(edge).unwrap_or(bytes.len())
    }
}
