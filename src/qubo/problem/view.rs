//! A problem over a matrix that stays where it is: nothing of it is copied but the diagonal, and solvers pack what they need.

use super::build::{Coefficient, Survey, check_len, survey};
use super::values::Width;
use super::{Inner, Linear, Problem, Rows, Sense};
use crate::error::{Result, fail, try_vec};
use std::marker::PhantomData;
use std::sync::Arc;

/// A matrix in memory of somebody else, and what was learnt of it when the problem was built.
pub(crate) struct View {
    matrix: Box<dyn Matrix>,
    /// The type that holds all couplings divided by `1 << shift` of the problem.
    pub width: Width,
    /// No field is greater.
    pub reach: f64,
}

/// What is asked of a matrix `Q`; a pair's coupling is `q_ij + q_ji`.
trait Matrix: Send + Sync {
    fn int(&self, i: usize, j: usize) -> i64;
    fn float(&self, i: usize, j: usize) -> f64;
    /// All pairs `i < j`, tile by tile.
    fn ints(&self, take: &mut dyn FnMut(usize, usize, i64));
    fn floats(&self, take: &mut dyn FnMut(usize, usize, f64));
    /// `x^T Q x`.
    fn int_value(&self, x: &[u8]) -> i64;
    fn float_value(&self, x: &[u8]) -> f64;
}

/// Edge of a tile: its columns stay in the cache while its rows are read.
const TILE: usize = 64;

struct Held<T, M> {
    n: usize,
    matrix: M,
    of: PhantomData<fn() -> T>,
}

impl<T: Coefficient, M: AsRef<[T]>> Held<T, M> {
    fn pairs(&self, mut take: impl FnMut(usize, usize, T, T)) {
        let (n, q) = (self.n, self.matrix.as_ref());
        for rows in (0..n).step_by(TILE) {
            for cols in (rows..n).step_by(TILE) {
                for i in rows..n.min(rows + TILE) {
                    for j in cols.max(i + 1)..n.min(cols + TILE) {
                        take(i, j, q[i * n + j], q[j * n + i]);
                    }
                }
            }
        }
    }

    /// The elements of row `i` in columns that are chosen.
    fn chosen<'a>(&'a self, x: &'a [u8], i: usize) -> impl Iterator<Item = T> + 'a {
        self.matrix.as_ref()[i * self.n..][..self.n].iter().zip(x).filter(|(_, x)| **x != 0).map(|(v, _)| *v)
    }
}

impl<T: Coefficient, M: AsRef<[T]> + Send + Sync> Matrix for Held<T, M> {
    fn int(&self, i: usize, j: usize) -> i64 {
        let q = self.matrix.as_ref();
        whole(q[i * self.n + j]) + whole(q[j * self.n + i])
    }

    fn float(&self, i: usize, j: usize) -> f64 {
        let (q, low, high) = (self.matrix.as_ref(), i.min(j), i.max(j));
        q[low * self.n + high].float() + q[high * self.n + low].float()
    }

    fn ints(&self, take: &mut dyn FnMut(usize, usize, i64)) {
        self.pairs(|i, j, a, b| take(i, j, whole(a) + whole(b)));
    }

    fn floats(&self, take: &mut dyn FnMut(usize, usize, f64)) {
        self.pairs(|i, j, a, b| take(i, j, a.float() + b.float()));
    }

    fn int_value(&self, x: &[u8]) -> i64 {
        let ones = (0..self.n).filter(|&i| x[i] != 0);
        ones.map(|i| self.chosen(x, i).map(whole).sum::<i64>()).sum()
    }

    fn float_value(&self, x: &[u8]) -> f64 {
        let ones = (0..self.n).filter(|&i| x[i] != 0);
        ones.map(|i| self.chosen(x, i).map(Coefficient::float).sum::<f64>()).sum()
    }
}

fn whole(c: impl Coefficient) -> i64 {
    c.int().unwrap_or(0)
}

impl Problem {
    /// The problem `offset + x^T Q x` over a matrix that is kept as it is, not necessarily symmetric, row by row: in a `Vec`, an `Arc<[T]>`,
    /// or anything that gives the same slice as long as it lives. What solvers pack of it is in their plans.
    ///
    /// Errors as those of [`from_dense`](Problem::from_dense).
    pub fn view<T, M>(n: usize, matrix: M, offset: f64, sense: Sense) -> Result<Problem>
    where
        T: Coefficient + 'static,
        M: AsRef<[T]> + Send + Sync + 'static,
    {
        check_len(n)?;
        let q = matrix.as_ref();
        if n.checked_mul(n) != Some(q.len()) {
            fail!(Shape, "a matrix of {} elements: a problem of {n} variables has {n} rows of {n}", q.len());
        }
        let place = |at: usize| format!("the matrix in row {} and column {}", at / n, at % n);
        let found = survey(q.iter().copied(), offset, place)?;
        let mut reaches: Vec<f64> = try_vec(n, "variables")?;
        reaches.extend((0..n).map(|i| q[i * n + i].float().abs()));
        let (sign, mut pairs) = (sense.sign(), 0);
        let (linear, note) = match found {
            Survey::Exact => {
                let mut linear: Vec<i64> = try_vec(n, "variables")?;
                linear.extend((0..n).map(|i| sign as i64 * whole(q[i * n + i])));
                (Linear::Exact(linear), None)
            }
            Survey::Float(note) => {
                let mut linear: Vec<f64> = try_vec(n, "variables")?;
                linear.extend((0..n).map(|i| sign * q[i * n + i].float()));
                (Linear::Float(linear), note)
            }
        };
        let matrix = Box::new(Held { n, matrix, of: PhantomData });
        let (mut all, mut max) = (0u64, 0u64);
        let mut reach = |i: usize, j: usize, v: f64| {
            reaches[i] += v.abs();
            reaches[j] += v.abs();
            pairs += usize::from(v != 0.0);
        };
        let (shift, width) = if let Linear::Exact(_) = linear {
            matrix.ints(&mut |i, j, v| {
                reach(i, j, v as f64);
                (all, max) = (all | v.unsigned_abs(), max.max(v.unsigned_abs()));
            });
            let shift = if all == 0 { 0 } else { all.trailing_zeros() };
            (shift, Width::of(max >> shift))
        } else {
            matrix.floats(&mut reach);
            (0, Width::F64)
        };
        let reach = reaches.iter().copied().fold(0.0, f64::max);
        let rows = Rows::View(View { matrix, width, reach });
        let inner = Inner { n, sense, offset: offset + 0.0, linear, rows, shift, pairs, note };
        Ok(Problem { inner: Arc::new(inner) })
    }
}

impl View {
    /// The coupling of two variables, not turned by the sense, of an exact problem.
    pub fn int(&self, i: usize, j: usize) -> i64 {
        self.matrix.int(i, j)
    }

    /// The same as a float.
    pub fn float(&self, i: usize, j: usize) -> f64 {
        self.matrix.float(i, j)
    }

    /// All pairs `i < j` and their couplings, not turned by the sense, of an exact problem.
    pub fn ints(&self, mut take: impl FnMut(usize, usize, i64)) {
        self.matrix.ints(&mut take);
    }

    /// The same as floats.
    pub fn floats(&self, mut take: impl FnMut(usize, usize, f64)) {
        self.matrix.floats(&mut take);
    }

    /// `x^T Q x`, exactly.
    pub fn int_value(&self, x: &[u8]) -> i64 {
        self.matrix.int_value(x)
    }

    /// The same in f64.
    pub fn float_value(&self, x: &[u8]) -> f64 {
        self.matrix.float_value(x)
    }
}
