//! Open-addressed tables from the hash of a text to a number, in memory reserved before they are filled.

/// The hash of a text: eight bytes at a time, each step a product of 128 bits folded into 64.
pub(super) fn hash(text: &[u8]) -> u64 {
    let n = text.len();
    let word = |at: usize| text.get(at..).and_then(|t| t.first_chunk()).map_or(0, |c| u64::from_le_bytes(*c));
    let half = |at: usize| text.get(at..).and_then(|t| t.first_chunk()).map_or(0, |c| u32::from_le_bytes(*c) as u64);
    let byte = |at: usize| text.get(at).map_or(0, |&b| b as u64);
    let (first, second) = match n {
        16.. => (word(0), word(8)),
        9.. => (word(0), word(n - 8) >> (8 * (16 - n))), // the last eight bytes without those that `first` has
        8 => (word(0), 0),
        4.. => (half(0) | half(n - 4) << (8 * (n - 4)), 0),
        0.. => (byte(0) | byte(1) << 8 | byte(2) << 16, 0),
    };
    finish(first, second, text)
}

/// The same of the text at `at..at + n` in a buffer, in less time where 16 bytes follow: then no length is a branch.
pub(super) fn hash_in(buffer: &[u8], at: usize, n: usize) -> u64 {
    let text = buffer.get(at..at + n).unwrap_or(&[]);
    let Some(chunk) = buffer.get(at..).and_then(|b| b.first_chunk::<16>()) else { return hash(text) };
    let words = u128::from_le_bytes(*chunk) & (u128::MAX.checked_shr(128 - 8 * n.min(16) as u32).unwrap_or(0));
    finish(words as u64, (words >> 64) as u64, text)
}

/// From the first and second eight bytes (zeros behind the text) and what follows.
fn finish(first: u64, second: u64, text: &[u8]) -> u64 {
    let mut h = fold(first ^ 0x9e37_79b9_7f4a_7c15, second ^ 0xe703_7ed1_a0b4_28db ^ (text.len() as u64) << 56);
    for chunk in text.get(16..).unwrap_or(&[]).chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        h = fold(h ^ u64::from_le_bytes(word), 0xd6e8_feb8_6659_fd93);
    }
    h
}

/// The hash of an ordered pair of texts by theirs.
pub(super) fn pair(left: u64, right: u64) -> u64 {
    fold(left ^ 0x8ebc_6af0_9c88_c6e3, right.rotate_left(32) ^ 0x5899_65cc_7537_4cc3)
}

fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

/// A table from hashes to numbers below 2^32 - 1. What two texts of one hash are is for the caller to tell.
#[derive(Default)]
pub(super) struct Slots {
    /// The low half of the hash above, the number plus one below; 0 is free.
    slots: Vec<u64>,
}

impl Slots {
    /// Slots for that many entries: two in three are used, so misses end soon.
    pub fn len_for(entries: usize) -> usize {
        entries + entries / 2 + 1
    }

    /// An empty table over that memory; room for `len_for(entries)` must be reserved in it.
    pub fn new(reserved: Vec<u64>) -> Slots {
        Slots { slots: reserved }
    }

    /// Bytes reserved.
    pub fn reserved(&self) -> usize {
        self.slots.capacity() * size_of::<u64>()
    }

    /// Frees all slots, using the memory reserved for `entries` of them.
    pub fn clear(&mut self, entries: usize) {
        self.slots.clear();
        self.slots.resize(Self::len_for(entries).min(self.slots.capacity()), 0);
    }

    /// Enters `value` unless an entry for which `same` holds is there (the first stays).
    pub fn insert(&mut self, hash: u64, value: u32, same: impl Fn(u32) -> bool) {
        if let Err(Some(free)) = self.probe(hash, same) {
            self.slots[free] = (hash << 32) | (value as u64 + 1);
        }
    }

    /// The entry of that hash for which `is` holds.
    pub fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.probe(hash, is).ok()
    }

    /// The entry, or the free slot where it would be (none when the table is full).
    fn probe(&self, hash: u64, is: impl Fn(u32) -> bool) -> Result<u32, Option<usize>> {
        let len = self.slots.len();
        let start = (((hash >> 32) * len as u64) >> 32) as usize;
        for at in (start..len).chain(0..start) {
            let slot = self.slots[at];
            if slot == 0 {
                return Err(Some(at));
            }
            let value = slot as u32 - 1;
            if (slot >> 32) as u32 == hash as u32 && is(value) {
                return Ok(value);
            }
        }
        Err(None)
    }
}

/// Entries on their way into a table. Entered together, they wait for memory together.
#[derive(Default)]
pub(super) struct Batch {
    entries: [(u64, u32); 32],
    len: usize,
}

impl Batch {
    /// Enters a value, at the latest with `flush`; `same` says whether two values are of one text.
    pub fn push(&mut self, hash: u64, value: u32, slots: &mut Slots, same: impl Fn(u32, u32) -> bool) {
        if self.len == self.entries.len() {
            self.flush(slots, same);
        }
        self.entries[self.len] = (hash, value);
        self.len += 1;
    }

    /// Enters what is still on its way.
    pub fn flush(&mut self, slots: &mut Slots, same: impl Fn(u32, u32) -> bool) {
        for &(hash, value) in &self.entries[..std::mem::take(&mut self.len)] {
            slots.insert(hash, value, |other| same(other, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_and_the_length_count() {
        for n in 0..40 {
            let text = vec![0; n];
            assert_ne!(hash(&text), hash(&vec![0; n + 1]));
            let buffer: Vec<u8> = (1..100).collect();
            for at in [0, 50, 99 - n] {
                assert_eq!(hash_in(&buffer, at, n), hash(&buffer[at..at + n]));
            }
            for i in 0..n {
                let mut other = text.clone();
                other[i] = 1;
                assert_ne!(hash(&text), hash(&other), "byte {i} of {n}");
            }
        }
        assert_ne!(pair(1, 2), pair(2, 1));
    }

    #[test]
    fn finds_what_was_entered_and_only_that() {
        for n in [0, 1, 7, 1000] {
            let mut slots = Slots::new(Vec::with_capacity(Slots::len_for(n)));
            slots.clear(n);
            let text = |i: usize| format!("token {i}");
            for i in 0..n {
                slots.insert(hash(text(i).as_bytes()), i as u32, |_| false);
                slots.insert(hash(text(i).as_bytes()), u32::MAX - 1, |v| v == i as u32); // stays out
            }
            for i in 0..n {
                assert_eq!(slots.find(hash(text(i).as_bytes()), |v| v == i as u32), Some(i as u32));
            }
            assert_eq!(slots.find(hash(b"none"), |_| true), None);
        }
    }

    #[test]
    fn one_hash_for_all_is_slow_but_right() {
        let mut slots = Slots::new(Vec::with_capacity(Slots::len_for(50)));
        slots.clear(50);
        (0..50).for_each(|i| slots.insert(42, i, |_| false));
        assert!((0..50).all(|i| slots.find(42, |v| v == i) == Some(i)));
        assert_eq!(slots.find(42, |_| false), None);
    }
}
