//! The terms of a file under way: memory that only what was read can grow, spins turned into bits, and identifiers that are
//! far apart brought together.

use super::json::Number;
use super::{Instance, Vartype};
use crate::error::{Result, fail, try_vec};
use crate::qubo::problem::Sense;

/// Terms of as many variables as the file has bytes, or this many, are taken; a file that declares more lies.
const FEW: u64 = 1 << 20;

/// Couplings that squares of sums may be multiplied out to.
const MANY: usize = 1 << 25;

/// Terms between `n` variables, as (i, j, value); i = j is a linear one.
pub(super) struct Terms {
    list: Vec<(u32, u32, f64)>,
    offset: f64,
    n: usize,
    rounded: Option<u64>,
    /// Whether that happened in a form without lines.
    inexact: bool,
}

impl Terms {
    /// Room for the terms that a file declares, but not for more than its `left` bytes can hold.
    pub fn new(n: usize, declared: u64, left: usize) -> Result<Terms> {
        // A line has six characters at least.
        let room = usize::try_from(declared).unwrap_or(usize::MAX).min(left / 6 + 1);
        Ok(Terms { list: try_vec(room, "terms")?, offset: 0.0, n, rounded: None, inexact: false })
    }

    /// Adds a term.
    pub fn push(&mut self, i: u32, j: u32, value: f64) -> Result<()> {
        if self.list.len() == self.list.capacity() && self.list.try_reserve(self.list.len().max(1024)).is_err() {
            fail!(OutOfMemory, "no memory for more than {} terms", self.list.len());
        }
        self.list.push((i, j, value));
        Ok(())
    }

    /// Adds to the constant.
    pub fn constant(&mut self, value: f64) {
        self.offset += value;
    }

    /// Says that the number in that line could not be kept exactly.
    pub fn rounded(&mut self, line: u64) {
        self.rounded.get_or_insert(line);
    }

    /// The same for a number of a form without lines, if it was.
    pub fn number(&mut self, number: Number) {
        self.inexact |= !number.exact;
    }

    /// Adds c times the square of a sum of terms of order one and a constant.
    pub fn square(&mut self, c: f64, sum: &[(u32, f64)], constant: f64, vartype: Vartype) -> Result<()> {
        let pairs = sum.len().saturating_mul(sum.len()) / 2;
        if self.list.len().saturating_add(pairs) > MANY {
            fail!(Unsupported, "squares of sums have more than {MANY} terms multiplied out: split the groups");
        }
        self.constant(c * constant * constant);
        for (k, &(i, a)) in sum.iter().enumerate() {
            self.push(i, i, 2.0 * c * constant * a)?;
            match vartype {
                Vartype::Binary => self.push(i, i, c * a * a)?,
                Vartype::Spin => self.constant(c * a * a),
            }
            for &(j, b) in &sum[..k] {
                if i != j {
                    self.push(j, i, 2.0 * c * a * b)?;
                } else {
                    match vartype {
                        Vartype::Binary => self.push(i, i, 2.0 * c * a * b)?,
                        Vartype::Spin => self.constant(2.0 * c * a * b),
                    }
                }
            }
        }
        Ok(())
    }

    /// Spins s as bits x, s = 2x - 1: the same value at the same states.
    fn make_bits(&mut self) -> Result<()> {
        let mut linear: Vec<f64> = try_vec(self.n, "linear terms")?;
        linear.resize(self.n, 0.0);
        let mut kept = 0;
        for at in 0..self.list.len() {
            let (i, j, value) = self.list[at];
            let (a, b) = (i as usize, j as usize);
            if a == b {
                linear[a] += 2.0 * value;
                self.offset -= value;
            } else {
                linear[a] -= 2.0 * value;
                linear[b] -= 2.0 * value;
                self.offset += value;
                self.list[kept] = (i, j, 4.0 * value);
                kept += 1;
            }
        }
        self.list.truncate(kept);
        for (i, value) in linear.into_iter().enumerate().filter(|(_, value)| *value != 0.0) {
            self.push(i as u32, i as u32, value)?;
        }
        Ok(())
    }

    /// The whole, of variables of that type. `NotFinite` when a sum overflowed.
    pub fn finish(mut self, name: &str, vartype: Vartype, sense: Sense) -> Result<Instance> {
        if vartype == Vartype::Spin {
            self.make_bits()?;
        }
        if let Some((i, j, value)) = self.list.iter().find(|term| !term.2.is_finite()) {
            fail!(
                NotFinite,
                "{name}: the term of variables {i} and {j} is {value} in bits: scale the file's numbers down"
            );
        }
        if !self.offset.is_finite() {
            fail!(NotFinite, "{name}: its constant is {} in bits: scale the file's numbers down", self.offset);
        }
        let mut notes = Vec::new();
        if self.inexact || self.rounded.is_some() {
            let line = self.rounded.map_or(String::new(), |line| format!(":{line}"));
            notes.push(format!("{name}{line}: a whole number beyond 2^53 was rounded: energies are those of f64"));
        }
        Ok(Instance {
            n: self.n,
            terms: self.list,
            offset: self.offset,
            sense,
            vartype,
            labels: None,
            start: None,
            notes,
        })
    }
}

/// Whether a file of `bytes` bytes may declare `n` variables: those without a term cost memory too.
pub(super) fn believable(n: u64, bytes: usize) -> bool {
    n <= FEW.max(bytes as u64) && n < u64::from(u32::MAX)
}

/// Identifiers in order, each once, and the way back to its place.
pub(super) struct Ids(Vec<u64>);

impl Ids {
    /// Of a list in any order with repetitions.
    pub fn new(mut list: Vec<u64>) -> Ids {
        list.sort_unstable();
        list.dedup();
        Ids(list)
    }

    /// The place of one.
    pub fn place(&self, id: u64) -> Option<u32> {
        self.0.binary_search(&id).ok().and_then(|at| u32::try_from(at).ok())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None when they are 0, 1, 2 ...
    pub fn labels(self) -> Option<Vec<String>> {
        let plain = self.0.last().is_none_or(|&last| last + 1 == self.0.len() as u64);
        if plain { None } else { Some(self.0.iter().map(u64::to_string).collect()) }
    }
}
