//! What of a set is left out or cut: samples that were there before, or almost; and those that are too long.
//!
//! Equal samples are known by a hash of 128 bits of their text. Almost equal ones by MinHash with banding (A. Broder, On the
//! resemblance and containment of documents, 1997; bands: Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, chapter 3): the
//! text, in lower case and with runs of white space as one space, is the set of its stretches of [`SHINGLE`] characters; of
//! two sets the share of [`HASHES`] hash functions whose least value they have in common is an estimate of their resemblance
//! (intersection over union), with a standard error of at most 0.044. The [`HASHES`] values are cut into [`BANDS`] bands; texts are
//! compared when they have all values of a band in common, which two of a resemblance of 0.8 have with a probability above 0.9999.

use std::collections::{HashMap, HashSet};

use crate::error::{Result, fail};

/// Characters of a stretch.
pub const SHINGLE: usize = 5;
/// Hash functions.
pub const HASHES: usize = 128;
/// Bands, each of `HASHES / BANDS` values.
pub const BANDS: usize = 32;

/// What is to be left out or cut.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sift {
    /// Whether a sample whose text was there before is left out.
    pub exact: bool,
    /// The resemblance from which on a sample is left out, above 0 and at most 1. That takes some 1.5 KB of memory for each sample
    /// that is kept.
    pub near: Option<f32>,
    /// Tokens of a row, in which a prompt with its answer is to find room; 0: however many it has. Plain texts go on in the next
    /// row and are never too long.
    pub longest: usize,
    /// Whether an answer that is too long is cut behind the last token that has room. Otherwise it is an error.
    pub cut: bool,
}

/// What was left out and cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sifted {
    /// Samples that were there before.
    pub equal: u64,
    /// Samples that almost were.
    pub alike: u64,
    /// Samples that were cut.
    pub cut: u64,
    /// Tokens that were cut off.
    pub lost: u64,
}

impl Sift {
    /// `InvalidArgument` for a resemblance out of range.
    pub fn check(&self) -> Result<()> {
        match self.near {
            Some(near) if !(near > 0.0 && near <= 1.0) => {
                fail!(InvalidArgument, "the resemblance to leave out is {near}: give a number above 0 and at most 1")
            }
            _ => Ok(()),
        }
    }
}

/// The texts that were seen.
pub(super) struct Seen {
    near: Option<f32>,
    exact: bool,
    /// Hashes of the texts.
    texts: HashSet<[u8; 16]>,
    /// Band and hash of its values to the texts that have it first.
    bands: HashMap<(u8, u64), u32>,
    /// `[texts][HASHES]`
    signatures: Vec<u32>,
    multipliers: [(u64, u64); HASHES],
    shingles: Vec<char>,
}

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    New,
    /// The same as one before.
    Equal,
    /// Almost the same as one before.
    Alike,
}

impl Seen {
    pub fn new(sift: &Sift) -> Seen {
        // Any fixed odd numbers do; these are the outputs of splitmix64.
        let mut state = 0u64;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(state)
        };
        Seen {
            near: sift.near,
            exact: sift.exact,
            texts: HashSet::new(),
            bands: HashMap::new(),
            signatures: Vec::new(),
            multipliers: std::array::from_fn(|_| (next() | 1, next())),
            shingles: Vec::new(),
        }
    }

    /// Whether there is anything to look for.
    pub fn looks(&self) -> bool {
        self.exact || self.near.is_some()
    }

    /// Looks for a text, and remembers it when it is new.
    pub fn look(&mut self, text: &str) -> Result<Found> {
        if self.texts.try_reserve(1).is_err() {
            fail!(
                OutOfMemory,
                "no memory to remember {} samples: take less at once, or no deduplication",
                self.texts.len()
            );
        }
        let mut key = [0; 16];
        key.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16]);
        if !self.texts.insert(key) {
            return Ok(Found::Equal);
        }
        match self.near {
            Some(near) => self.look_near(text, near),
            None => Ok(Found::New),
        }
    }

    fn look_near(&mut self, text: &str, near: f32) -> Result<Found> {
        let signature = self.signature(text);
        let keys: [(u8, u64); BANDS] = std::array::from_fn(|band| {
            let values = &signature[band * (HASHES / BANDS)..][..HASHES / BANDS];
            (band as u8, values.iter().fold(0, |h, v| mix(h ^ u64::from(*v))))
        });
        for key in &keys {
            let Some(&at) = self.bands.get(key) else { continue };
            let other = &self.signatures[at as usize * HASHES..][..HASHES];
            let same = signature.iter().zip(other).filter(|(a, b)| a == b).count();
            if same as f32 >= near * HASHES as f32 {
                return Ok(Found::Alike);
            }
        }
        let room = self.signatures.try_reserve(HASHES).is_ok() && self.bands.try_reserve(BANDS).is_ok();
        let texts = self.signatures.len() / HASHES;
        let Some(at) = u32::try_from(texts).ok().filter(|_| room) else {
            fail!(OutOfMemory, "no memory to remember {texts} samples: take less at once, or no near deduplication");
        };
        self.signatures.extend(signature);
        for key in keys {
            self.bands.entry(key).or_insert(at);
        }
        Ok(Found::New)
    }

    /// The least value of each hash function over the text's stretches.
    fn signature(&mut self, text: &str) -> [u32; HASHES] {
        self.shingles.clear();
        for c in text.trim().chars().flat_map(char::to_lowercase) {
            let c = if c.is_whitespace() { ' ' } else { c };
            if c != ' ' || self.shingles.last() != Some(&' ') {
                self.shingles.push(c);
            }
        }
        let mut least = [u32::MAX; HASHES];
        let len = self.shingles.len();
        for stretch in self.shingles.windows(SHINGLE.min(len.max(1))) {
            let x = stretch.iter().fold(0, |h, c| mix(h ^ u64::from(*c as u32)));
            for (least, (a, b)) in least.iter_mut().zip(&self.multipliers) {
                *least = (*least).min((x.wrapping_mul(*a).wrapping_add(*b) >> 32) as u32);
            }
        }
        least
    }
}

/// The finaliser of splitmix64.
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(from: usize, to: usize) -> String {
        (from..to).map(|i| format!("word{} ", mix(i as u64) % 100_000)).collect()
    }

    /// The share of stretches two texts have in common.
    fn resemblance(a: &str, b: &str) -> f64 {
        let set = |t: &str| -> std::collections::BTreeSet<Vec<char>> {
            let chars: Vec<char> = t.trim().chars().collect();
            chars.windows(SHINGLE).map(<[char]>::to_vec).collect()
        };
        let (a, b) = (set(a), set(b));
        a.intersection(&b).count() as f64 / a.union(&b).count() as f64
    }

    #[test]
    fn signatures_estimate_resemblance() {
        let mut seen = Seen::new(&Sift { near: Some(0.8), ..Sift::default() });
        let a = words(0, 400);
        for shared in [400, 380, 300, 200, 0] {
            let b = words(400 - shared, 800 - shared);
            let (x, y) = (seen.signature(&a), seen.signature(&b));
            let estimate = x.iter().zip(&y).filter(|(a, b)| a == b).count() as f64 / HASHES as f64;
            let exact = resemblance(&a, &b);
            assert!((estimate - exact).abs() < 4.0 * 0.044, "{shared}: {estimate} {exact}");
        }
    }

    #[test]
    fn equal_and_almost_equal_texts_are_found() {
        let mut seen = Seen::new(&Sift { near: Some(0.8), exact: true, ..Sift::default() });
        let a = words(0, 400);
        assert_eq!(seen.look(&a).unwrap(), Found::New);
        assert_eq!(seen.look(&a).unwrap(), Found::Equal);
        assert_eq!(seen.look(&a.to_uppercase()).unwrap(), Found::Alike);
        assert_eq!(seen.look(&format!("{}\n\n", a.replace(' ', " \t "))).unwrap(), Found::Alike);
        assert_eq!(seen.look(&words(10, 400)).unwrap(), Found::Alike);
        assert_eq!(seen.look(&words(200, 600)).unwrap(), Found::New);
        assert_eq!(seen.look(&words(205, 605)).unwrap(), Found::Alike);
        for short in ["", "a", "ab", "abcd", "abcde"] {
            assert_eq!(seen.look(short).unwrap(), Found::New, "{short:?}");
        }
        let mut only = Seen::new(&Sift { exact: true, ..Sift::default() });
        assert!(only.looks() && only.look("a b").unwrap() == Found::New);
        assert_eq!((only.look("A b").unwrap(), only.look("a b").unwrap()), (Found::New, Found::Equal));
    }
}
