//! Open-addressed tables from the hash of a text to a number, in memory reserved before they are filled.
//!
//! The hash of a text is a polynomial over its bytes, so that of two texts joined comes from theirs without looking
//! at the bytes again: a merge of two symbols costs one step, however long they are.

/// The polynomial's base: odd, without structure.
const BASE: u64 = 0x9e3f_5a21_c48d_7b35;

const POWERS: [u64; 64] = {
    let mut table = [1u64; 64];
    let mut i = 1;
    while i < 64 {
        table[i] = table[i - 1].wrapping_mul(BASE);
        i += 1;
    }
    table
};

/// The hash of the text that ends in `byte` after one of hash `hash` (0 for none).
pub(super) fn extend(hash: u64, byte: u8) -> u64 {
    hash.wrapping_mul(BASE).wrapping_add(byte as u64 + 1)
}

/// The hash of a text.
pub(super) fn hash(text: &[u8]) -> u64 {
    text.iter().fold(0, |h, &b| extend(h, b))
}

/// The hash of two texts joined, the second `len` bytes long.
pub(super) fn join(left: u64, right: u64, len: usize) -> u64 {
    let power = POWERS.get(len).copied().unwrap_or_else(|| BASE.wrapping_pow(len as u32));
    left.wrapping_mul(power).wrapping_add(right)
}

/// The hash of an ordered pair of texts.
pub(super) fn pair(left: u64, right: u64) -> u64 {
    left.rotate_left(25).wrapping_mul(0xd6e8_feb8_6659_fd93) ^ right
}

/// A table from hashes to numbers below 2^32 - 1. What two texts of one hash are is for the caller to tell.
#[derive(Default)]
pub(super) struct Slots {
    /// The low half of the mixed hash above, the number plus one below; 0 is free.
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
            self.slots[free] = (mix(hash) << 32) | (value as u64 + 1);
        }
    }

    /// The entry of that hash for which `is` holds.
    pub fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.probe(hash, is).ok()
    }

    /// The entry, or the free slot where it would be (none when the table is full).
    fn probe(&self, hash: u64, is: impl Fn(u32) -> bool) -> Result<u32, Option<usize>> {
        let mixed = mix(hash);
        let len = self.slots.len();
        let start = (((mixed >> 32) * len as u64) >> 32) as usize;
        for at in (start..len).chain(0..start) {
            let slot = self.slots[at];
            if slot == 0 {
                return Err(Some(at));
            }
            let value = slot as u32 - 1;
            if (slot >> 32) as u32 == mixed as u32 && is(value) {
                return Ok(value);
            }
        }
        Err(None)
    }
}

/// Spreads the polynomial, whose low bits depend on the texts' low bits alone, over all bits.
fn mix(h: u64) -> u64 {
    let h = (h ^ (h >> 32)).wrapping_mul(0xe703_7ed1_a0b4_28db);
    h ^ (h >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins() {
        for (l, r) in [("", "a"), ("ab", "cde"), ("x", &"long ".repeat(40))] {
            let both = [l, r].concat();
            assert_eq!(join(hash(l.as_bytes()), hash(r.as_bytes()), r.len()), hash(both.as_bytes()));
        }
        assert_ne!(pair(hash(b"ab"), hash(b"c")), pair(hash(b"a"), hash(b"bc")));
        assert_ne!(hash(b"\0"), hash(b"\0\0"));
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
