//! The index of a vocabulary: from text to token, from pair to merge, and what each token is. The strings stay in the
//! file. Its size follows from counts; it is reserved when the tokenizer is made, and filled at first use.

use super::alphabet::encode_byte;
use super::hash::{self, Batch, Slots};
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
        let mut batch = Batch::default();
        for (id, (start, text)) in strings_of(source.tokens).take(vocab.counts.tokens).enumerate() {
            self.starts.push(start);
            self.attrs.push(attr::of_type(source.token_type(id)));
            self.longest = self.longest.max(text.len());
            named.note(id as u32, text);
            if !text.is_empty() {
                let starts = &self.starts;
                let string = |id: u32| string_at(source.tokens, starts[id as usize]);
                let hash = hash::hash_in(source.tokens, start as usize + 8, text.len());
                batch.push(hash, id as u32, &mut self.tokens, |a, b| string(a) == string(b));
            }
            if vocab.kind != Kind::Bpe {
                note_before_space(&mut self.before_space, text);
            }
        }
        let string = |id: u32| string_at(source.tokens, self.starts[id as usize]);
        batch.flush(&mut self.tokens, |a, b| string(a) == string(b));
        self.merges.clear(vocab.counts.merges);
        let same = |a, b| string_at(source.merges, a) == string_at(source.merges, b);
        for (start, text) in strings_of(source.merges).take(vocab.counts.merges) {
            let at = start as usize + 8;
            if let Some(space) = merge_space(source.merges, at, text) {
                let left = hash::hash_in(source.merges, at, space);
                let right = hash::hash_in(source.merges, at + space + 1, text.len() - space - 1);
                batch.push(hash::pair(left, right), start, &mut self.merges, same);
            }
        }
        batch.flush(&mut self.merges, same);
        for byte in 0..=255 {
            self.bytes.0[byte as usize] = self.byte_token(byte, vocab.kind, source);
        }
        special::settle(&mut self, &named, vocab, source);
        self
    }

    fn byte_token(&self, byte: u8, kind: Kind, source: Source) -> Option<u32> {
        if kind == Kind::Bpe {
            return self.find(encode_byte(byte, &mut [0; 2]), source);
        }
        let hex = |n: u8| b"0123456789ABCDEF"[n as usize & 15];
        let id = self.find(&[b'<', b'0', b'x', hex(byte >> 4), hex(byte), b'>'], source);
        id.or_else(|| self.find(&[byte], source).filter(|_| kind == Kind::Spm))
    }

    /// The token whose string is `text`.
    pub fn find(&self, text: &[u8], source: Source) -> Option<u32> {
        if text.len() > self.longest {
            return None;
        }
        self.tokens.find(hash::hash(text), |id| self.text(id, source) == text)
    }

    /// The rank of the merge of two texts, given with their hashes.
    pub fn merge(&self, (l, left): (u64, &[u8]), (r, right): (u64, &[u8]), source: Source) -> Option<u32> {
        self.merges.find(hash::pair(l, r), |start| {
            let text = string_at(source.merges, start);
            let rest = text.strip_prefix(left).and_then(|t| t.strip_prefix(b" "));
            rest == Some(right)
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

/// Where the space between the two sides of a merge is: the first after the first byte. `text` is at `at` in `buffer`.
fn merge_space(buffer: &[u8], at: usize, text: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    if let Some(chunk) = buffer.get(at..).and_then(|b| b.first_chunk()) {
        // A space becomes a zero byte, and the lowest zero byte's high bit the lowest that is set.
        let x = u64::from_le_bytes(*chunk) ^ (ONES * b' ' as u64);
        let zeros = x.wrapping_sub(ONES) & !x & (ONES << 7) & !0xff;
        let space = zeros.trailing_zeros() as usize / 8;
        if zeros != 0 && space < text.len() && x as u8 != 0 {
            return Some(space);
        }
    }
    Some(text.iter().skip(1).position(|&b| b == b' ')? + 1)
}

/// Notes which bytes `text` has right before an escaped space, other than those of such a space itself.
fn note_before_space(set: &mut ByteSet, text: &[u8]) {
    let Some(rest) = text.get(1..).filter(|r| r.contains(&SPACE[0])) else { return };
    for i in 0..rest.len() {
        if rest[i..].starts_with(SPACE) && !text[..i + 1].ends_with(SPACE) {
            set.insert(text[i]);
        }
    }
}
