//! Shuffling by counting: the place of each element in the order is a function of the seed, so an order of any length takes no
//! memory and is resumed anywhere.

use crate::engine::rng::{philox, uniform};

/// Streams of Philox, one for each use of a seed, so that none repeats another's numbers.
const SHUFFLE: u64 = 0x7368_7566 << 32;
const SPLIT: u64 = 0x7370_6c69 << 32;
const SHIFT: u64 = 0x7368_6966 << 32;

/// Rounds of the network: the four that make it a pseudorandom permutation (Luby and Rackoff, 1988), twice over for
/// halves as small as ours.
const ROUNDS: u64 = 8;

/// A permutation of 0..len: a Feistel network over the next power of four, with Philox as its round function, walked until
/// it comes back into the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permutation {
    len: u64,
    /// Bits of each half.
    half: u32,
    seed: u64,
    stream: u64,
}

impl Permutation {
    /// The order of `len` elements in that epoch. Below 2^62 elements; the epoch below 2^32.
    pub fn new(len: u64, seed: u64, epoch: u64) -> Permutation {
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        Permutation { len, half: bits.div_ceil(2).max(1), seed, stream: SHUFFLE | (epoch & 0xffff_ffff) }
    }

    /// The number of elements.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The element at `place`, or None from `len` on.
    pub fn get(&self, place: u64) -> Option<u64> {
        if place >= self.len {
            return None;
        }
        let mut at = self.network(place);
        // The network permutes at most 4 times as many numbers, so the walk is short; it ends because it is a cycle that
        // `place` itself is on.
        while at >= self.len {
            at = self.network(at);
        }
        Some(at)
    }

    fn network(&self, x: u64) -> u64 {
        let mask = (1u64 << self.half) - 1;
        let (mut left, mut right) = (x >> self.half, x & mask);
        for round in 0..ROUNDS {
            let [a, ..] = philox(self.seed, self.stream, round << 32 | right);
            (left, right) = (right, left ^ (u64::from(a) & mask));
        }
        left << self.half | right
    }
}

/// A number in [0, 1) that decides on which side of a split the element with that key is.
pub(super) fn side(seed: u64, key: u64) -> f64 {
    uniform(seed, SPLIT, key)
}

/// A number below `n` for each epoch; 0 for none.
pub(super) fn shift(seed: u64, epoch: u64, n: u64) -> u64 {
    (uniform(seed, SHIFT, epoch) * n as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_once() {
        for len in [0, 1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 1000] {
            for epoch in 0..3 {
                let order = Permutation::new(len, 42, epoch);
                let mut seen: Vec<u64> = (0..len).map(|i| order.get(i).unwrap()).collect();
                assert_eq!(order.get(len), None);
                seen.sort_unstable();
                assert!(seen.iter().copied().eq(0..len), "{len}");
            }
        }
    }

    #[test]
    fn seeds_and_epochs_differ() {
        let order = |seed, epoch| -> Vec<u64> {
            let p = Permutation::new(100, seed, epoch);
            (0..100).map(|i| p.get(i).unwrap()).collect()
        };
        assert_eq!(order(1, 0), order(1, 0));
        for other in [order(1, 1), order(2, 0), (0..100).collect()] {
            // Two random orders agree in one place on average.
            assert!(order(1, 0).iter().zip(&other).filter(|(a, b)| a == b).count() < 10);
        }
    }

    /// Each element comes to each place about as often: chi-squared over 8 x 8, 49 degrees of freedom.
    #[test]
    fn places_are_even() {
        let mut counts = [[0f64; 8]; 8];
        for epoch in 0..8000 {
            let p = Permutation::new(8, 7, epoch);
            (0..8).for_each(|i| counts[i as usize][p.get(i).unwrap() as usize] += 1.0);
        }
        let chi: f64 = counts.iter().flatten().map(|c| (c - 1000.0) * (c - 1000.0) / 1000.0).sum();
        assert!(chi < 95.0, "{chi}"); // exceeded by chance once in 10 000
    }

    #[test]
    fn great_ranges_work() {
        let p = Permutation::new(1 << 40, 3, 0);
        assert!((0..1000).all(|i| p.get(i).unwrap() < 1 << 40));
        assert!((0..100).all(|e| shift(5, e, 7) < 7) && shift(5, 0, 0) == 0);
    }
}
