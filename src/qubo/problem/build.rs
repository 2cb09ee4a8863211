//! From triplets or a matrix to a problem: checked, summed, and stored in the narrowest form.

use super::values::{Values, Width, stride};
use super::{Inner, Linear, Problem, Rows, Sense};
use crate::error::{Result, fail, try_vec};
use std::sync::Arc;

/// A number that may be a coefficient: f64, f32, i64, i32, i16 or i8.
pub trait Coefficient: Copy {
    /// As a float.
    fn float(self) -> f64;
    /// As an integer, if it is one that its type holds exactly.
    fn int(self) -> Option<i64>;
}

macro_rules! integers {
    ($($ty:ty),*) => {
        $(impl Coefficient for $ty {
            fn float(self) -> f64 {
                self as f64
            }

            fn int(self) -> Option<i64> {
                Some(i64::from(self))
            }
        })*
    };
}
integers!(i8, i16, i32, i64);

impl Coefficient for f64 {
    fn float(self) -> f64 {
        self
    }

    fn int(self) -> Option<i64> {
        (self.abs() <= (1i64 << 53) as f64 && self.fract() == 0.0).then_some(self as i64)
    }
}

impl Coefficient for f32 {
    fn float(self) -> f64 {
        f64::from(self)
    }

    fn int(self) -> Option<i64> {
        f64::from(self).int()
    }
}

/// A coefficient as it is summed: i64 or f64.
trait Number: Copy + std::ops::Add<Output = Self> + std::ops::Mul<Output = Self> + PartialEq + Default {
    fn of(c: impl Coefficient) -> Self;
    fn linear(a: Vec<Self>) -> Linear;
    /// Magnitude and low zero bits count towards the storage type.
    fn bits(self) -> u64;
    /// Stores numbers from a place on, as multiples of `1 << shift`.
    fn store(row: &[Self], values: &mut Values, at: usize, shift: u32);
    const FLOAT: bool;
}

impl Number for i64 {
    const FLOAT: bool = false;

    fn of(c: impl Coefficient) -> i64 {
        c.int().unwrap_or(0)
    }

    fn linear(a: Vec<i64>) -> Linear {
        Linear::Exact(a)
    }

    fn bits(self) -> u64 {
        self.unsigned_abs()
    }

    fn store(row: &[i64], values: &mut Values, at: usize, shift: u32) {
        values.set_ints(at, row, shift);
    }
}

impl Number for f64 {
    const FLOAT: bool = true;

    fn of(c: impl Coefficient) -> f64 {
        c.float()
    }

    fn linear(a: Vec<f64>) -> Linear {
        Linear::Float(a)
    }

    fn bits(self) -> u64 {
        1
    }

    fn store(row: &[f64], values: &mut Values, at: usize, _: u32) {
        values.set_floats(at, row);
    }
}

/// Magnitudes that sum to less than this leave room for any sum of coefficients, and for differences of two.
const EXACT_LIMIT: u128 = 1 << 62;
/// The most variables: an index is 32 bits wide, and some values are set apart.
const MAX_VARIABLES: usize = (1 << 31) - 1;
/// A dense row is read at about this many times the speed, byte by byte, of a list.
const DENSE_GAIN: usize = 3;

impl Problem {
    /// A problem from triplets `(i, j, coefficient)`: of `x_i` where both indices are the same, else of `x_i x_j`, in either
    /// order. Triplets of the same place are summed.
    ///
    /// `InvalidArgument` when an index is not below `n`, `NotFinite` when a coefficient, the sum of their magnitudes, or the
    /// offset is NaN or infinite, `OutOfMemory`.
    pub fn from_triplets<T: Coefficient>(
        n: usize,
        triplets: &[(u32, u32, T)],
        offset: f64,
        sense: Sense,
    ) -> Result<Problem> {
        check_len(n)?;
        for (at, &(i, j, _)) in triplets.iter().enumerate() {
            if i as usize >= n || j as usize >= n {
                fail!(InvalidArgument, "triplet {at} is about variables {i} and {j}: there are {n}, counted from 0");
            }
        }
        let survey = survey(triplets.iter().map(|t| t.2), offset, |at| {
            let (i, j, _) = triplets[at];
            format!("triplet {at}, of variables {i} and {j},")
        })?;
        match survey {
            Survey::Exact => listed::<i64, T>(n, triplets, offset, sense, None),
            Survey::Float(note) => listed::<f64, T>(n, triplets, offset, sense, note),
        }
    }

    /// The problem `offset + x^T Q x` with Q given row by row, not necessarily symmetric. What is kept is a copy in the narrowest
    /// type; [`view`](Problem::view) keeps the matrix itself. `Shape` unless `q` has `n * n` elements, and errors as those of [`from_triplets`](Problem::from_triplets).
    pub fn from_dense<T: Coefficient>(n: usize, q: &[T], offset: f64, sense: Sense) -> Result<Problem> {
        check_len(n)?;
        if n.checked_mul(n) != Some(q.len()) {
            fail!(Shape, "a matrix of {} elements: a problem of {n} variables has {n} rows of {n}", q.len());
        }
        let place = |at: usize| format!("the matrix in row {} and column {}", at / n, at % n);
        match survey(q.iter().copied(), offset, place)? {
            Survey::Exact => matrix::<i64, T>(n, q, offset, sense, None),
            Survey::Float(note) => matrix::<f64, T>(n, q, offset, sense, note),
        }
    }
}

pub(super) fn check_len(n: usize) -> Result<()> {
    if n > MAX_VARIABLES {
        fail!(InvalidArgument, "{n} variables: at most {MAX_VARIABLES} can be had");
    }
    Ok(())
}

pub(super) enum Survey {
    Exact,
    Float(Option<&'static str>),
}

/// Whether all is finite and integers can be summed exactly.
pub(super) fn survey<T: Coefficient>(
    all: impl Iterator<Item = T>,
    offset: f64,
    place: impl Fn(usize) -> String,
) -> Result<Survey> {
    if !offset.is_finite() {
        fail!(NotFinite, "the offset is {offset}: give a finite number");
    }
    let (mut whole, mut integral, mut sum, mut magnitude) = (true, true, 0u128, 0.0f64);
    for (at, c) in all.enumerate() {
        let float = c.float();
        if !float.is_finite() {
            fail!(NotFinite, "{} is {float}: give finite numbers", place(at));
        }
        magnitude += float.abs();
        match c.int() {
            Some(v) => sum += u128::from(v.unsigned_abs()),
            None => {
                whole = false;
                integral &= float.fract() == 0.0;
            }
        }
    }
    if !magnitude.is_finite() || !(magnitude * 4.0).is_finite() {
        fail!(NotFinite, "the magnitudes of the coefficients sum to more than a double holds: divide them all");
    }
    Ok(match (whole, integral) {
        (true, _) if sum < EXACT_LIMIT => Survey::Exact,
        (true, _) => Survey::Float(Some("the magnitudes of the integers sum to 2^62 or more: all is computed in f64")),
        (false, true) => Survey::Float(Some("an integer is greater than 2^53: all is computed in f64")),
        (false, false) => Survey::Float(None),
    })
}

fn zeros<T: Clone + Default>(len: usize, what: &str) -> Result<Vec<T>> {
    let mut v = try_vec(len, what)?;
    v.resize(len, T::default());
    Ok(v)
}

/// The couplings of a problem, row by row in ascending order, the same each time; zeros may be among them.
trait Source<V> {
    fn each(&self, row: usize, take: impl FnMut(u32, V));
}

/// Entries of all rows, sorted; those of one place stand together.
struct Listed<V> {
    starts: Vec<usize>,
    entries: Vec<(u32, V)>,
}

impl<V: Number> Source<V> for Listed<V> {
    fn each(&self, row: usize, mut take: impl FnMut(u32, V)) {
        for same in self.entries[self.starts[row]..self.starts[row + 1]].chunk_by(|a, b| a.0 == b.0) {
            take(same[0].0, same[1..].iter().fold(same[0].1, |sum, entry| sum + entry.1));
        }
    }
}

/// A symmetric matrix of sums.
struct Sums<V> {
    n: usize,
    cells: Vec<V>,
}

impl<V: Number> Source<V> for Sums<V> {
    fn each(&self, row: usize, mut take: impl FnMut(u32, V)) {
        for (j, v) in self.cells[row * self.n..][..self.n].iter().enumerate() {
            take(j as u32, *v);
        }
    }
}

/// The caller's matrix.
struct Matrix<'a, T, V> {
    n: usize,
    q: &'a [T],
    sign: V,
}

impl<V: Number, T: Coefficient> Source<V> for Matrix<'_, T, V> {
    fn each(&self, row: usize, mut take: impl FnMut(u32, V)) {
        for j in (0..self.n).filter(|&j| j != row) {
            // The same order of the two in both rows.
            let (low, high) = (row.min(j), row.max(j));
            take(j as u32, self.sign * (V::of(self.q[low * self.n + high]) + V::of(self.q[high * self.n + low])));
        }
    }
}

/// A problem from triplets: many are summed in a matrix, few are sorted. Sums of one place are taken in the order of the triplets, in
/// both its rows.
fn listed<V: Number, T: Coefficient>(
    n: usize,
    triplets: &[(u32, u32, T)],
    offset: f64,
    sense: Sense,
    note: Option<&'static str>,
) -> Result<Problem> {
    let sign = V::of(sense.sign());
    let mut linear: Vec<V> = zeros(n, "variables")?;
    for &(i, _, c) in triplets.iter().filter(|t| t.0 == t.1) {
        linear[i as usize] = linear[i as usize] + sign * V::of(c);
    }
    let pairs = || triplets.iter().filter(|t| t.0 != t.1);
    if triplets.len() >= n.saturating_mul(n) / 16 {
        let mut cells: Vec<V> = zeros(n.saturating_mul(n), "couplings")?;
        for &(i, j, c) in pairs() {
            let (i, j, v) = (i as usize, j as usize, sign * V::of(c));
            cells[i * n + j] = cells[i * n + j] + v;
            cells[j * n + i] = cells[j * n + i] + v;
        }
        return assemble(linear, offset, sense, note, &Sums { n, cells });
    }
    let mut starts: Vec<usize> = zeros(n + 1, "rows")?;
    for &(i, j, _) in pairs() {
        starts[i as usize] += 1;
        starts[j as usize] += 1;
    }
    let mut halves = 0;
    for start in &mut starts {
        halves += std::mem::replace(start, halves);
    }
    let mut next: Vec<usize> = try_vec(n + 1, "rows")?;
    next.extend_from_slice(&starts);
    // Two stable passes of counting. The matrix is symmetric, so that the same counts serve both.
    let mut by_col: Vec<(u32, u32, V)> = zeros(halves, "couplings")?;
    for &(i, j, c) in pairs() {
        for (row, col) in [(i, j), (j, i)] {
            by_col[next[col as usize]] = (row, col, sign * V::of(c));
            next[col as usize] += 1;
        }
    }
    next.copy_from_slice(&starts);
    let mut entries: Vec<(u32, V)> = zeros(halves, "couplings")?;
    for &(row, col, v) in &by_col {
        entries[next[row as usize]] = (col, v);
        next[row as usize] += 1;
    }
    drop(by_col);
    assemble(linear, offset, sense, note, &Listed { starts, entries })
}

fn matrix<V: Number, T: Coefficient>(
    n: usize,
    q: &[T],
    offset: f64,
    sense: Sense,
    note: Option<&'static str>,
) -> Result<Problem> {
    let sign = V::of(sense.sign());
    let mut linear: Vec<V> = try_vec(n, "variables")?;
    linear.extend((0..n).map(|i| sign * V::of(q[i * n + i])));
    assemble(linear, offset, sense, note, &Matrix { n, q, sign })
}

/// A problem from its rows, in the storage that a flip reads fastest.
fn assemble<V: Number>(
    linear: Vec<V>,
    offset: f64,
    sense: Sense,
    note: Option<&'static str>,
    rows: &impl Source<V>,
) -> Result<Problem> {
    let n = linear.len();
    let mut starts: Vec<usize> = zeros(n + 1, "rows")?;
    let (mut all, mut max, mut count) = (0u64, 0u64, 0usize);
    for i in 0..n {
        rows.each(i, |_, v| {
            let there = v != V::default();
            let bits = if there { v.bits() } else { 0 };
            (all, max, count) = (all | bits, max.max(bits), count + usize::from(there));
        });
        starts[i + 1] = count;
    }
    let shift = if V::FLOAT || all == 0 { 0 } else { all.trailing_zeros() };
    let width = if V::FLOAT { Width::F64 } else { Width::of(max >> shift) };
    let listed = if V::FLOAT { Width::F64 } else { Width::of(max.max(1 << 16)) };
    let dense = stride(n).saturating_mul(n).saturating_mul(width.bytes());
    let dense = count > 0 && dense <= count.saturating_mul(4 + listed.bytes()).saturating_mul(DENSE_GAIN);
    let shift = if dense { shift } else { 0 };
    let rows = if dense {
        let (mut values, mut row) = (Values::new(width, stride(n) * n)?, zeros(n, "variables")?);
        for i in 0..n {
            row.fill(V::default());
            rows.each(i, |j, v| row[j as usize] = v);
            V::store(&row, &mut values, i * stride(n), shift);
        }
        Rows::Dense(values)
    } else {
        let (mut cols, mut values): (Vec<u32>, _) = (try_vec(count, "couplings")?, Values::new(listed, count)?);
        for i in 0..n {
            rows.each(i, |j, v| {
                if v != V::default() {
                    V::store(&[v], &mut values, cols.len(), 0);
                    cols.push(j);
                }
            });
        }
        Rows::Sparse { starts, cols, values }
    };
    let linear = V::linear(linear);
    let inner = Inner { n, sense, offset: offset + 0.0, linear, rows, shift, pairs: count / 2, note };
    Ok(Problem { inner: Arc::new(inner) })
}
