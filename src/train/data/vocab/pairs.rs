//! The merging of a training: words of numbers, the pairs in them by how often they come, the commonest merged.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Two neighbours.
pub(super) type Pair = (u32, u32);

/// A word, and how often the texts have it.
pub(super) struct Word {
    pub symbols: Vec<u32>,
    pub count: u64,
}

/// The words and their pairs.
pub(super) struct Pairs {
    words: Vec<Word>,
    counts: HashMap<Pair, u64>,
    /// The words that a pair was put into; some may have lost it since.
    places: HashMap<Pair, Vec<u32>>,
    /// Pairs by a count they had. One that has fallen since is put back with what it has, one that has risen is in it
    /// again: the first whose count still holds is the commonest. Of equals the lower numbers go first, so that the order
    /// of the maps decides nothing.
    queue: BinaryHeap<(u64, Reverse<Pair>)>,
}

impl Pairs {
    pub fn new(words: Vec<Word>) -> Pairs {
        let mut pairs =
            Pairs { words: Vec::new(), counts: HashMap::new(), places: HashMap::new(), queue: BinaryHeap::new() };
        for (no, word) in words.iter().enumerate() {
            for pair in neighbours(&word.symbols) {
                *pairs.counts.entry(pair).or_default() += word.count;
                let places = pairs.places.entry(pair).or_default();
                if places.last() != Some(&(no as u32)) {
                    places.push(no as u32);
                }
            }
        }
        pairs.words = words;
        pairs.queue = pairs.counts.iter().map(|(&pair, &count)| (count, Reverse(pair))).collect();
        pairs
    }

    /// The commonest pair and its count.
    pub fn best(&mut self) -> Option<(Pair, u64)> {
        while let Some((count, Reverse(pair))) = self.queue.pop() {
            let now = self.counts.get(&pair).copied().unwrap_or(0);
            if now == count && now > 0 {
                return Some((pair, count));
            }
            if now > 0 && now < count {
                self.queue.push((now, Reverse(pair)));
            }
        }
        None
    }

    /// Replaces the pair by `new` in all words, from left to right.
    pub fn merge(&mut self, pair: Pair, new: u32) {
        let mut risen = Vec::new();
        for no in self.places.remove(&pair).unwrap_or_default() {
            let Some(Word { symbols, count }) = self.words.get_mut(no as usize) else { continue };
            if !neighbours(symbols).any(|p| p == pair) {
                continue;
            }
            for old in neighbours(symbols) {
                if let Some(n) = self.counts.get_mut(&old) {
                    *n -= *count;
                }
            }
            let (mut from, mut to) = (0, 0);
            while from < symbols.len() {
                let both = (symbols[from], symbols.get(from + 1).copied());
                let merges = both == (pair.0, Some(pair.1));
                symbols[to] = if merges { new } else { both.0 };
                (from, to) = (from + 1 + usize::from(merges), to + 1);
            }
            symbols.truncate(to);
            for now in neighbours(symbols) {
                *self.counts.entry(now).or_default() += *count;
                if now.0 == new || now.1 == new {
                    let places = self.places.entry(now).or_default();
                    if places.last() != Some(&no) {
                        places.push(no);
                    }
                    risen.push(now);
                }
            }
        }
        self.counts.remove(&pair);
        // Other pairs cannot rise: what stands beside them is what stood there.
        risen.sort_unstable();
        risen.dedup();
        for pair in risen {
            let count = self.counts.get(&pair).copied().unwrap_or(0);
            self.queue.push((count, Reverse(pair)));
        }
    }
}

fn neighbours(symbols: &[u32]) -> impl Iterator<Item = Pair> {
    symbols.windows(2).map(|w| (w[0], w[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against counting everything anew each time.
    #[test]
    fn the_commonest_pair_is_merged() {
        let texts: Vec<(Vec<u32>, u64)> = (0..200u64)
            .map(|no| {
                let x = |i: u64| crate::engine::rng::philox(1, no, i)[0];
                ((0..1 + u64::from(x(100) % 12)).map(|i| x(i) % 4).collect(), 1 + u64::from(x(101) % 5))
            })
            .collect();
        let words = |t: &[(Vec<u32>, u64)]| t.iter().map(|(s, n)| Word { symbols: s.clone(), count: *n }).collect();
        let (mut pairs, mut plain) = (Pairs::new(words(&texts)), texts);
        for new in 4..60 {
            let mut counts: HashMap<Pair, u64> = HashMap::new();
            for (symbols, n) in &plain {
                neighbours(symbols).for_each(|p| *counts.entry(p).or_default() += n);
            }
            let expected = counts.into_iter().map(|(p, n)| (n, Reverse(p))).max().map(|(n, Reverse(p))| (p, n));
            assert_eq!(pairs.best(), expected, "merge {new}");
            let Some((pair, _)) = expected else { return };
            pairs.merge(pair, new);
            for (symbols, _) in &mut plain {
                let mut i = 0;
                while i + 1 < symbols.len() {
                    if (symbols[i], symbols[i + 1]) == pair {
                        symbols[i] = new;
                        symbols.remove(i + 1);
                    }
                    i += 1;
                }
            }
        }
    }
}
