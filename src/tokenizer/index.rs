//! The index of a vocabulary: from text to token, from pair to merge, and what each token is. The strings stay in the
//! file. Its size follows from counts; it is reserved when the tokenizer is made, and filled at first use.

use super::alphabet;
use super::hash::{self, Slots};
use super::special::{self, Ends, Named};
use super::vocab::{Counts, Kind, Source, Vocab, string_at, strings_of};
use crate::error::{Result, try_vec};

/// What a token is; a token can be several.
pub(super) mod attr {
    pub const NORMAL: u8 = 1;
    pub const UNKNOWN: u8 = 2;
    pub const CONTROL: u8 = 4;
    pub const USER: u8 = 8;
    pub const BYTE: u8 = 16;
    /// White space behind it is part of it.
    pub const STRIP: u8 = 32;
    pub const SPECIAL: u8 = UNKNOWN | CONTROL | USER;

    /// From the number in the file.
    pub fn of_type(ty: i32) -> u8 {
        match ty {
            1 => NORMAL,
            2 => UNKNOWN,
            3 => CONTROL,
            4 => USER,
            6 => BYTE,
            _ => 0, // undefined and unused tokens have no text
        }
    }
}

/// A set of bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct ByteSet([u64; 4]);

impl ByteSet {
    pub fn insert(&mut self, b: u8) {
        self.0[b as usize >> 6] |= 1 << (b & 63);
    }

    pub fn has(&self, b: u8) -> bool {
        self.0[b as usize >> 6] >> (b & 63) & 1 != 0
    }

    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }
}

struct Bytes([Option<u32>; 256]);

impl Default for Bytes {
    fn default() -> Self {
        Bytes([None; 256])
    }
}

/// The escaped space of SentencePiece, U+2581.
pub(super) const SPACE: &[u8] = "\u{2581}".as_bytes();

#[derive(Default)]
pub(super) struct Index {
    /// By id, where its string lies.
    starts: Vec<u32>,
    attrs: Vec<u8>,
    tokens: Slots,
    /// By the pair's hash, where the merge's string lies; a merge's place in the file is its rank.
    merges: Slots,
    /// Special tokens in the order of their bytes.
    pub specials: Vec<u32>,
    /// The first bytes of special tokens, and of those that are matched in plain text too.
    pub special_heads: ByteSet,
    pub plain_heads: ByteSet,
    pub ends: Ends,
    /// The token of each byte, for text that has no other.
    bytes: Bytes,
    /// Bytes of the longest token.
    pub longest: usize,
    /// Bytes that some token has right before an escaped space. Behind all others a word can be split off.
    pub before_space: ByteSet,
}

impl Index {
    /// Bytes that `reserve` takes.
    pub fn plan(counts: Counts) -> usize {
        counts.tokens * (size_of::<u32>() + size_of::<u8>())
            + (Slots::len_for(counts.tokens) + Slots::len_for(counts.merges)) * size_of::<u64>()
            + special::room(counts) * size_of::<u32>()
    }

    /// The memory, still empty.
    pub fn reserve(counts: Counts) -> Result<Index> {
        Ok(Index {
            starts: try_vec(counts.tokens, "the tokenizer's index")?,
            attrs: try_vec(counts.tokens, "the tokenizer's index")?,
            tokens: Slots::new(try_vec(Slots::len_for(counts.tokens), "the tokenizer's index")?),
            merges: Slots::new(try_vec(Slots::len_for(counts.merges), "the tokenizer's index")?),
            specials: try_vec(special::room(counts), "the tokenizer's index")?,
            special_heads: ByteSet::default(),
            plain_heads: ByteSet::default(),
            ends: Ends::default(),
            bytes: Bytes::default(),
            longest: 0,
            before_space: ByteSet::default(),
        })
    }

    pub fn reserved(&self) -> usize {
        (self.starts.capacity() + self.specials.capacity()) * size_of::<u32>()
            + self.attrs.capacity()
            + self.tokens.reserved()
            + self.merges.reserved()
    }

    /// Fills the reserved memory. Allocates nothing.
    pub fn build(mut self, vocab: &Vocab, source: Source) -> Index {
        let mut named = Named::default();
        self.tokens.clear(vocab.counts.tokens);
        for (id, (start, text)) in strings_of(source.tokens).take(vocab.counts.tokens).enumerate() {
            self.starts.push(start);
            self.attrs.push(attr::of_type(source.token_type(id)));
            self.longest = self.longest.max(text.len());
            named.note(id as u32, text);
            if let Some(hash) = token_hash(vocab.kind, text) {
                let starts = &self.starts;
                let same = |other: u32| string_at(source.tokens, starts[other as usize]) == text;
                self.tokens.insert(hash, id as u32, same);
            }
            if vocab.kind != Kind::Bpe {
                note_before_space(&mut self.before_space, text);
            }
        }
        self.merges.clear(vocab.counts.merges);
        for (start, text) in strings_of(source.merges).take(vocab.counts.merges) {
            let Some((left, right)) = merge_parts(text) else { continue };
            if let (Some(l), Some(r)) = (token_hash(vocab.kind, left), token_hash(vocab.kind, right)) {
                self.merges.insert(hash::pair(l, r), start, |other| string_at(source.merges, other) == text);
            }
        }
        for byte in 0..=255 {
            self.bytes.0[byte as usize] = self.byte_token(byte, vocab.kind, source);
        }
        special::settle(&mut self, &named, vocab, source);
        self
    }

    fn byte_token(&self, byte: u8, kind: Kind, source: Source) -> Option<u32> {
        if kind == Kind::Bpe {
            return self.find(hash::hash(&[byte]), &[byte], kind, source);
        }
        let hex = |n: u8| b"0123456789ABCDEF"[n as usize & 15];
        let name = [b'<', b'0', b'x', hex(byte >> 4), hex(byte), b'>'];
        let id = self.find(hash::hash(&name), &name, kind, source);
        id.or_else(|| self.find(hash::hash(&[byte]), &[byte], kind, source).filter(|_| kind == Kind::Spm))
    }

    /// The token whose text is `bytes` (of that hash), each space of an SPM vocabulary escaped.
    pub fn find(&self, hash: u64, bytes: &[u8], kind: Kind, source: Source) -> Option<u32> {
        self.tokens.find(hash, |id| same_text(kind, self.text(id, source), bytes))
    }

    /// The rank of the merge of two texts, with the hashes `l` and `r`.
    pub fn merge(&self, (l, left): (u64, &[u8]), (r, right): (u64, &[u8]), kind: Kind, source: Source) -> Option<u32> {
        self.merges.find(hash::pair(l, r), |start| {
            merge_parts(string_at(source.merges, start))
                .is_some_and(|(a, b)| same_text(kind, a, left) && same_text(kind, b, right))
        })
    }

    /// The token of a byte.
    pub fn byte(&self, byte: u8) -> Option<u32> {
        self.bytes.0[byte as usize]
    }

    /// The string of a token as the file has it; empty for an id outside the vocabulary.
    pub fn text<'a>(&self, id: u32, source: Source<'a>) -> &'a [u8] {
        self.starts.get(id as usize).map_or(&[], |&start| string_at(source.tokens, start))
    }

    /// What the token is; 0 outside the vocabulary.
    pub fn attr(&self, id: u32) -> u8 {
        self.attrs.get(id as usize).copied().unwrap_or(0)
    }

    pub fn set_attr(&mut self, id: u32, attr: u8) {
        if let Some(a) = self.attrs.get_mut(id as usize) {
            *a = attr;
        }
    }
}

/// The hash of the bytes that a token's string stands for. None for one that no text becomes.
fn token_hash(kind: Kind, text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    if kind != Kind::Bpe {
        return Some(hash::hash(text));
    }
    // Most of a vocabulary is ASCII, where a character is its own byte or outside the alphabet.
    let mut hash = 0;
    for (i, &b) in text.iter().enumerate() {
        if b >= 0x80 {
            let rest = str::from_utf8(text.get(i..)?).ok()?;
            return alphabet::bytes(rest).try_fold(hash, |h, b| Some(hash::extend(h, b?)));
        }
        hash = hash::extend(hash, alphabet::byte_of(b as char)?);
    }
    Some(hash)
}

/// Whether a string of the file stands for `bytes`.
fn same_text(kind: Kind, text: &[u8], bytes: &[u8]) -> bool {
    if kind != Kind::Bpe {
        return text == bytes;
    }
    str::from_utf8(text).is_ok_and(|text| alphabet::bytes(text).eq(bytes.iter().map(|&b| Some(b))))
}

/// The two sides of a merge: they stand apart by the first space after the first byte.
fn merge_parts(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = text.iter().skip(1).position(|&b| b == b' ')? + 1;
    Some((text.get(..space)?, text.get(space + 1..)?))
}

/// Notes which bytes `text` has right before an escaped space, other than those of such a space itself.
fn note_before_space(set: &mut ByteSet, text: &[u8]) {
    let mut i = 1;
    while i + SPACE.len() <= text.len() {
        if text[i] == SPACE[0] && text[i..].starts_with(SPACE) && !text[..i].ends_with(SPACE) {
            set.insert(text[i - 1]);
        }
        i += 1;
    }
}
