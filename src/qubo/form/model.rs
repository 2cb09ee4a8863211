//! An objective and constraints, and the problem made of them.

use super::constraint::{Broken, Constraint};
use super::penalty::{self, Slack};
use super::weights::common;
use crate::error::{Result, fail, try_vec};
use crate::qubo::problem::{Problem, Sense};
use crate::qubo::sample::{Sample, Samples};

/// What is wanted of some variables.
#[derive(Clone, Debug)]
pub struct Model {
    n: usize,
    sense: Sense,
    terms: Vec<(u32, u32, f64)>,
    offset: f64,
    constraints: Vec<Constraint>,
    /// Penalties that are known to suffice, where they were given.
    penalties: Vec<Option<f64>>,
}

impl Model {
    /// Nothing wanted yet of `n` variables.
    pub fn new(n: usize, sense: Sense) -> Model {
        Model { n, sense, terms: Vec::new(), offset: 0.0, constraints: Vec::new(), penalties: Vec::new() }
    }

    /// The number of variables.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Adds `value` x_i x_j to the objective; with i = j, `value` x_i. `InvalidArgument`, `NotFinite`, `OutOfMemory`.
    pub fn term(&mut self, i: u32, j: u32, value: f64) -> Result<()> {
        self.known(i)?;
        self.known(j)?;
        if !value.is_finite() {
            fail!(NotFinite, "the term of variables {i} and {j} is {value}: give a finite number");
        }
        if self.terms.len() == self.terms.capacity() && self.terms.try_reserve(self.terms.len().max(64)).is_err() {
            fail!(OutOfMemory, "no memory for more than {} terms", self.terms.len());
        }
        self.terms.push((i, j, value));
        Ok(())
    }

    /// Adds to the objective's constant.
    pub fn constant(&mut self, value: f64) {
        self.offset += value;
    }

    /// Demands that exactly `k` of the variables are 1. `InvalidArgument` when there are fewer, or one is there twice.
    pub fn exactly(&mut self, vars: &[u32], k: u64) -> Result<()> {
        if k > vars.len() as u64 {
            fail!(InvalidArgument, "exactly {k} of {} variables cannot be 1: give at most their number", vars.len());
        }
        self.constrain(Constraint::Exactly { vars: vars.to_vec(), k })
    }

    /// Demands that exactly one of the variables is 1. `InvalidArgument` for none.
    pub fn one_hot(&mut self, vars: &[u32]) -> Result<()> {
        self.exactly(vars, 1)
    }

    /// Demands that at most `k` of the variables are 1.
    pub fn at_most(&mut self, vars: &[u32], k: u64) -> Result<()> {
        let mut weights = try_vec(vars.len(), "variables")?;
        weights.extend(vars.iter().map(|&i| (i, 1)));
        self.budget(weights, k)
    }

    /// Demands that the weights of the variables that are 1 sum to at most `limit`; [`super::Weights`] makes whole ones of others.
    pub fn budget(&mut self, weights: Vec<(u32, u64)>, limit: u64) -> Result<()> {
        self.constrain(Constraint::AtMost { weights, limit })
    }

    fn known(&self, i: u32) -> Result<()> {
        if i as usize >= self.n {
            fail!(InvalidArgument, "variable {i} of {}: they count from 0", self.n);
        }
        Ok(())
    }

    fn constrain(&mut self, constraint: Constraint) -> Result<()> {
        let mut vars: Vec<u32> = constraint.vars().collect();
        vars.sort_unstable();
        if let Some(last) = vars.last() {
            self.known(*last)?;
        }
        if let Some(pair) = vars.windows(2).find(|pair| pair[0] == pair[1]) {
            fail!(InvalidArgument, "variable {} is twice in a constraint: add its weights up", pair[0]);
        }
        self.constraints.push(constraint);
        self.penalties.push(None);
        Ok(())
    }

    /// Says that `penalty` suffices for the constraint given last, in place of what [`formulate`](Model::formulate) would choose.
    pub(super) fn suffices(&mut self, penalty: f64) {
        if let Some(last) = self.penalties.last_mut() {
            *last = Some(penalty);
        }
    }

    /// The problem without constraints. Its first [`len`](Model::len) variables are the model's, slack bits follow.
    ///
    /// Errors: those of [`Problem::from_triplets`]; `InvalidArgument` for factors of an unbalanced penalty that are negative or not
    /// finite.
    pub fn formulate(self, slack: Slack) -> Result<Formulated> {
        let sign = self.sense.sign();
        let swings = penalty::swings(self.n, &self.terms);
        let mut places = vec![0u32; self.n];
        self.constraints.iter().flat_map(Constraint::vars).for_each(|i| places[i as usize] += 1);
        let alone = places.iter().all(|&count| count < 2);
        let range: f64 = self.terms.iter().map(|term| term.2.abs()).sum();
        let mut made = Made { terms: try_vec(self.terms.len(), "terms")?, offset: self.offset, n: self.n };
        made.terms.extend_from_slice(&self.terms);
        let mut slacks = Vec::new();
        for (constraint, given) in self.constraints.iter().zip(&self.penalties) {
            let greatest = constraint.vars().map(|i| swings[i as usize]).fold(0.0, f64::max);
            let p = sign * given.unwrap_or(penalty::above(if alone { greatest } else { range }));
            match constraint {
                Constraint::Exactly { vars, k } => {
                    let sum: Vec<_> = vars.iter().map(|&i| (i, 1.0)).collect();
                    made.square(p, &sum, -(*k as f64))?;
                }
                Constraint::AtMost { weights, limit } => {
                    // In units of what divides all weights; what is always kept asks for nothing.
                    let unit = common(weights.iter().map(|w| w.1));
                    let total = weights.iter().fold(0u64, |sum, w| sum.saturating_add(w.1 / unit));
                    let limit = limit / unit;
                    if total <= limit {
                        continue;
                    }
                    let mut sum: Vec<_> = weights.iter().map(|&(i, w)| (i, (w / unit) as f64)).collect();
                    match slack {
                        Slack::Bits => {
                            let bits = penalty::slack_bits(limit);
                            slacks.push(Slacks { first: made.n, weights: weights.clone(), unit, limit });
                            for bit in bits {
                                sum.push((made.n as u32, bit as f64));
                                made.n += 1;
                            }
                            made.square(p, &sum, -(limit as f64))?;
                        }
                        Slack::Unbalanced(factors) => {
                            let gain = |i: u32| -sign * self.alone(i);
                            let gains = weights.iter().map(|&(i, w)| (gain(i), w / unit)).collect();
                            let (first, second) = factors.unwrap_or_else(|| penalty::unbalanced(gains, limit));
                            if !(first.is_finite() && second.is_finite() && first >= 0.0 && second >= 0.0) {
                                fail!(
                                    InvalidArgument,
                                    "factors ({first}, {second}): give finite numbers of at least 0"
                                );
                            }
                            // h = limit - sum; h^2 is the square of sum - limit.
                            made.offset -= sign * first * limit as f64;
                            for &(i, w) in &sum {
                                made.terms.push((i, i, sign * first * w));
                            }
                            made.square(sign * second, &sum, -(limit as f64))?;
                        }
                    }
                }
            }
        }
        let problem = Problem::from_triplets(made.n, &made.terms, made.offset, self.sense)?;
        Ok(Formulated { model: self, problem, slacks })
    }

    /// The linear term of a variable.
    fn alone(&self, i: u32) -> f64 {
        self.terms.iter().filter(|term| term.0 == i && term.1 == i).map(|term| term.2).sum()
    }

    /// The objective of an assignment, without penalties; slack bits behind it do not count.
    pub fn value(&self, x: &[u8]) -> f64 {
        let one = |i: u32| x.get(i as usize).is_some_and(|&v| v != 0);
        let sum: f64 = self.terms.iter().filter(|term| one(term.0) && one(term.1)).map(|term| term.2).sum();
        self.offset + sum
    }

    /// The constraints that an assignment breaks; none: it keeps them all.
    pub fn check(&self, x: &[u8]) -> Vec<Broken> {
        self.constraints.iter().enumerate().filter_map(|(number, c)| c.check(number, x)).collect()
    }

    /// Whether it keeps them all.
    pub fn keeps(&self, x: &[u8]) -> bool {
        self.constraints.iter().enumerate().all(|(number, c)| c.check(number, x).is_none())
    }
}

/// Terms on their way into a problem.
struct Made {
    terms: Vec<(u32, u32, f64)>,
    offset: f64,
    n: usize,
}

impl Made {
    /// Adds p (sum + constant)^2.
    fn square(&mut self, p: f64, sum: &[(u32, f64)], constant: f64) -> Result<()> {
        let more = sum.len().saturating_mul(sum.len().saturating_add(1)) / 2;
        if self.terms.try_reserve(more).is_err() {
            fail!(OutOfMemory, "no memory for the {more} terms of a constraint");
        }
        self.offset += p * constant * constant;
        for (at, &(i, a)) in sum.iter().enumerate() {
            self.terms.push((i, i, p * a * (a + 2.0 * constant)));
            self.terms.extend(sum[..at].iter().map(|&(j, b)| (j, i, 2.0 * p * a * b)));
        }
        Ok(())
    }
}

/// The slack bits of a budget.
struct Slacks {
    first: usize,
    weights: Vec<(u32, u64)>,
    /// What weights are counted in, and how many of it are allowed.
    unit: u64,
    limit: u64,
}

/// A model as a problem.
pub struct Formulated {
    /// What was wanted.
    pub model: Model,
    /// To be given to a solver.
    pub problem: Problem,
    slacks: Vec<Slacks>,
}

impl Formulated {
    /// An assignment of the model with the slack bits that go with it: a state to begin with.
    /// `InvalidArgument` unless it has the model's length.
    pub fn complete(&self, x: &[u8]) -> Result<Vec<u8>> {
        if x.len() != self.model.n {
            fail!(InvalidArgument, "an assignment of {} variables for a model of {}", x.len(), self.model.n);
        }
        let mut full = try_vec(self.problem.len(), "variables")?;
        full.extend_from_slice(x);
        full.resize(self.problem.len(), 0);
        for Slacks { first, weights, unit, limit } in &self.slacks {
            let used: u64 = weights.iter().filter(|w| x[w.0 as usize] != 0).map(|w| w.1 / unit).sum();
            let mut left = limit.saturating_sub(used);
            // From the greatest bit down, as each is at most one more than those below it together.
            let bits = penalty::slack_bits(*limit);
            let mut order: Vec<usize> = (0..bits.len()).collect();
            order.sort_by_key(|&b| std::cmp::Reverse(bits[b]));
            for b in order {
                if bits[b] <= left {
                    left -= bits[b];
                    full[first + b] = 1;
                }
            }
        }
        Ok(full)
    }

    /// The best sample that keeps all constraints, by the model's value: its assignment of the model's variables, and that value.
    pub fn pick<'a>(&self, samples: &'a Samples) -> Option<(&'a [u8], f64)> {
        let own = |sample: Sample<'a>| &sample.x[..self.model.n];
        let valued = samples.iter().map(own).filter(|x| self.model.keeps(x)).map(|x| (x, self.model.value(x)));
        valued.reduce(|best, next| if self.model.sense.better(next.1, best.1) { next } else { best })
    }
}
