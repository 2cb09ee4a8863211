//! What an assignment must keep, and whether one does.

use std::fmt;

/// What an assignment must keep.
#[derive(Clone, Debug, PartialEq)]
pub enum Constraint {
    /// Exactly `k` of the variables are 1; with `k` = 1 they are one-hot.
    Exactly {
        /// Each once.
        vars: Vec<u32>,
        /// At most their number.
        k: u64,
    },
    /// The weights of those that are 1 sum to at most `limit`. With weights 1: at most so many.
    AtMost {
        /// Variables, each once, and weights.
        weights: Vec<(u32, u64)>,
        /// At least 0.
        limit: u64,
    },
}

/// A constraint that an assignment does not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its number, in the order in which they were given.
    pub constraint: usize,
    /// What the assignment has.
    pub found: u64,
    /// What it should have, exactly or at most.
    pub limit: u64,
    /// Whether exactly.
    pub exactly: bool,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Broken { constraint, found, limit, exactly } = self;
        let how = if *exactly { "exactly" } else { "at most" };
        write!(f, "constraint {constraint}: {found}, expected {how} {limit}")
    }
}

impl Constraint {
    /// None when `x` keeps it, else what is wrong. `number` is the constraint's.
    pub fn check(&self, number: usize, x: &[u8]) -> Option<Broken> {
        let one = |i: u32| u64::from(x.get(i as usize).is_some_and(|&v| v != 0));
        let (found, limit, exactly) = match self {
            Constraint::Exactly { vars, k } => (vars.iter().map(|&i| one(i)).sum::<u64>(), *k, true),
            Constraint::AtMost { weights, limit } => {
                (weights.iter().fold(0u64, |sum, &(i, w)| sum.saturating_add(w * one(i))), *limit, false)
            }
        };
        let kept = if exactly { found == limit } else { found <= limit };
        if kept { None } else { Some(Broken { constraint: number, found, limit, exactly }) }
    }

    /// Its variables.
    pub fn vars(&self) -> impl Iterator<Item = u32> + '_ {
        let (vars, weights): (&[u32], &[(u32, u64)]) = match self {
            Constraint::Exactly { vars, .. } => (vars, &[]),
            Constraint::AtMost { weights, .. } => (&[], weights),
        };
        vars.iter().copied().chain(weights.iter().map(|w| w.0))
    }
}
