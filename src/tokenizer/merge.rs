//! The merging of symbols into tokens: the best pair first, the leftmost of equals, until no pair is left. A heap of
//! candidates makes it take n log n time for n symbols.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::hash;
use super::index::Index;
use super::vocab::{Kind, Source};
use crate::error::{Result, fail};

/// Bytes of one piece that the memory reserved at set-up is enough for. Texts are merged piece by piece (a word, in most
/// vocabularies), so they may be far longer; a longer piece grows the memory.
pub const PIECE_BYTES: usize = 4096;

/// A piece with its spaces escaped (three bytes each), and one put before it; GPT-2's alphabet takes two for a byte.
const TEXT_BYTES: usize = 3 * PIECE_BYTES + 3;
/// Its symbols.
const SYMBOLS: usize = PIECE_BYTES + 1;

/// A stretch of the piece that has become one.
#[derive(Clone, Copy)]
struct Symbol {
    hash: u64,
    at: u32,
    /// 0 once it is part of the symbol before it.
    len: u32,
    prev: u32,
    next: u32,
    /// `NONE` for a character that is no token.
    id: u32,
}

const NONE: u32 = u32::MAX;

/// A pair that may be merged. Stale when the lengths of its symbols have changed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Candidate {
    /// The lower the better.
    order: u32,
    left: u32,
    len: u32,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.order, other.left).cmp(&(self.order, self.left))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The memory of merging, reserved for pieces of [`PIECE_BYTES`].
#[derive(Default)]
pub(super) struct Scratch {
    /// The piece as the file's strings are written.
    pub text: Vec<u8>,
    symbols: Vec<Symbol>,
    queue: BinaryHeap<Candidate>,
}

impl Scratch {
    /// Bytes that `reserve` takes.
    pub fn plan() -> usize {
        TEXT_BYTES + SYMBOLS * size_of::<Symbol>() + 2 * SYMBOLS * size_of::<Candidate>()
    }

    pub fn reserve() -> Result<Scratch> {
        let mut scratch = Scratch::default();
        scratch.text = scratch.take_text(TEXT_BYTES)?;
        scratch.grow(SYMBOLS)?;
        Ok(scratch)
    }

    pub fn reserved(&self) -> usize {
        self.text.capacity()
            + self.symbols.capacity() * size_of::<Symbol>()
            + self.queue.capacity() * size_of::<Candidate>()
    }

    /// The text, emptied and with room for `len` bytes, to be put back after use.
    pub fn take_text(&mut self, len: usize) -> Result<Vec<u8>> {
        self.text.clear();
        if self.text.try_reserve_exact(len).is_err() {
            fail!(OutOfMemory, "no memory to tokenize a word of {len} bytes");
        }
        Ok(std::mem::take(&mut self.text))
    }

    /// Empties the lists and makes room for `symbols`. A merge takes one candidate and adds two at most, and there is
    /// one symbol less, so twice the symbols is room for all candidates.
    fn grow(&mut self, symbols: usize) -> Result<()> {
        self.symbols.clear();
        self.queue.clear();
        if symbols >= NONE as usize / 4
            || self.symbols.try_reserve_exact(symbols).is_err()
            || self.queue.try_reserve_exact(2 * symbols).is_err()
        {
            fail!(OutOfMemory, "no memory to tokenize a word of {symbols} characters");
        }
        Ok(())
    }
}

/// Merges pieces by the rules of a vocabulary.
pub(super) struct Merger<'a> {
    pub kind: Kind,
    pub index: &'a Index,
    pub source: Source<'a>,
    /// SPM: what stands for a byte that has no token.
    pub unknown: Option<u32>,
}

impl Merger<'_> {
    /// Merges `piece`, written as the file's strings are, and hands its tokens to `each`.
    pub fn merge(&self, piece: &[u8], scratch: &mut Scratch, mut each: impl FnMut(u32) -> Result<()>) -> Result<()> {
        self.start(piece, scratch)?;
        let Scratch { symbols, queue, .. } = scratch;
        for left in 1..symbols.len() as u32 {
            queue.extend(self.candidate(piece, symbols, left - 1, left));
        }
        while let Some(best) = queue.pop() {
            let left = symbols[best.left as usize];
            if left.len == 0 || left.next == NONE {
                continue;
            }
            let right = symbols[left.next as usize];
            if left.len + right.len != best.len {
                continue;
            }
            let joined = Symbol { len: best.len, next: right.next, ..left };
            let text = joined.text(piece);
            // A merge whose result is no token is none.
            let Some(id) = self.index.find(text, self.source) else { continue };
            let hash = if self.kind == Kind::Spm { 0 } else { hash::hash(text) };
            symbols[left.next as usize].len = 0;
            symbols[best.left as usize] = Symbol { hash, id, ..joined };
            if right.next != NONE {
                symbols[right.next as usize].prev = best.left;
            }
            queue.extend(self.candidate(piece, symbols, left.prev, best.left));
            queue.extend(self.candidate(piece, symbols, best.left, right.next));
        }
        for symbol in symbols.iter().filter(|s| s.len > 0) {
            if symbol.id != NONE {
                each(symbol.id)?;
            } else if self.kind != Kind::Bpe {
                for &byte in symbol.text(piece) {
                    self.index.byte(byte).or(self.unknown).map_or(Ok(()), &mut each)?;
                }
            }
        }
        Ok(())
    }

    /// One symbol for each character.
    fn start(&self, piece: &[u8], scratch: &mut Scratch) -> Result<()> {
        scratch.grow(piece.iter().filter(|&&b| b & 0xc0 != 0x80).count())?; // the characters' first bytes
        let mut at = 0;
        while at < piece.len() {
            let rest = &piece[at..];
            let text = &rest[..char_len(rest[0]).min(rest.len())];
            let this = scratch.symbols.len() as u32;
            scratch.symbols.push(Symbol {
                hash: hash::hash(text),
                at: at as u32,
                len: text.len() as u32,
                prev: this.wrapping_sub(1),
                next: if text.len() < rest.len() { this + 1 } else { NONE },
                id: self.index.find(text, self.source).unwrap_or(NONE),
            });
            at += text.len();
        }
        Ok(())
    }

    /// The merge of two neighbours, if there is one.
    fn candidate(&self, piece: &[u8], symbols: &[Symbol], left: u32, right: u32) -> Option<Candidate> {
        let (l, r) = (symbols.get(left as usize)?, symbols.get(right as usize)?);
        let joined = Symbol { len: l.len + r.len, ..*l };
        if joined.len as usize > self.index.longest {
            return None;
        }
        let order = match self.kind {
            Kind::Spm => descending(self.source.score(self.index.find(joined.text(piece), self.source)?)),
            _ if l.id == NONE || r.id == NONE => return None,
            _ => self.index.merge((l.hash, l.text(piece)), (r.hash, r.text(piece)), self.source)?,
        };
        Some(Candidate { order, left, len: joined.len })
    }
}

impl Symbol {
    fn text<'t>(&self, piece: &'t [u8]) -> &'t [u8] {
        piece.get(self.at as usize..(self.at + self.len) as usize).unwrap_or(&[])
    }
}

/// The length of the UTF-8 character that begins with this byte.
fn char_len(head: u8) -> usize {
    match head {
        0..0xc0 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    }
}

/// A number that is the lower the higher the score; NaN comes last.
fn descending(score: f32) -> u32 {
    let score = if score == 0.0 { 0.0 } else { score }; // -0 is 0
    let bits = score.to_bits();
    match (score.is_nan(), score.is_sign_negative()) {
        (true, _) => u32::MAX,
        (_, false) => (1 << 31) - 1 - bits,
        (_, true) => bits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_scores() {
        let scores = [f32::INFINITY, 3.5, 1e-20, 0.0, -1e-20, -7.0, f32::NEG_INFINITY, f32::NAN];
        for pair in scores.windows(2) {
            assert!(descending(pair[0]) < descending(pair[1]), "{pair:?}");
        }
        assert_eq!(descending(0.0), descending(-0.0));
    }
}
