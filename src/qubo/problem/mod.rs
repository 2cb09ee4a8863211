//! What is to be solved: coefficients as they were given, and the value of an assignment.

mod build;
mod fix;
mod ising;
mod structure;
pub(crate) mod values;
mod view;

pub use build::Coefficient;
pub use fix::Fixed;
pub use ising::Ising;
use std::sync::Arc;
pub use structure::Structure;
use values::{Values, Width, stride};
pub(crate) use view::View;

/// Which values are good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sense {
    /// Small ones.
    #[default]
    Minimize,
    /// Great ones.
    Maximize,
}

impl Sense {
    /// 1 to minimize, -1 to maximize: what coefficients are multiplied with to become a cost.
    pub fn sign(self) -> f64 {
        match self {
            Sense::Minimize => 1.0,
            Sense::Maximize => -1.0,
        }
    }

    /// Whether `a` is better than `b`.
    pub fn better(self, a: f64, b: f64) -> bool {
        self.sign() * a < self.sign() * b
    }
}

/// `offset + sum_i a_i x_i + sum_{i<j} b_ij x_i x_j` over x of zeros and ones. Immutable; a clone shares the coefficients.
///
/// Coefficients that are all integers and whose magnitudes sum to less than 2^62 are kept as integers, and
/// [`energy`](Problem::energy) is then exact to the rounding of its result. Otherwise all is f64, and [`note`](Problem::note) says why.
#[derive(Clone)]
pub struct Problem {
    pub(crate) inner: Arc<Inner>,
}

/// The coefficients as a cost to be minimized: those of a problem to maximize are stored negated.
pub(crate) struct Inner {
    pub n: usize,
    pub sense: Sense,
    pub offset: f64,
    pub linear: Linear,
    pub rows: Rows,
    /// Couplings are stored as multiples of `1 << shift`; 0 of floats.
    pub shift: u32,
    /// Pairs with a coupling that is not 0.
    pub pairs: usize,
    pub note: Option<&'static str>,
}

/// Coefficients of single variables.
pub(crate) enum Linear {
    Exact(Vec<i64>),
    Float(Vec<f64>),
}

/// Couplings, each in the rows of both its variables; none on the diagonal.
pub(crate) enum Rows {
    /// Columns ascend within a row.
    Sparse { starts: Vec<usize>, cols: Vec<u32>, values: Values },
    /// Row `i` begins at `i * stride(n)`; zeros where nothing is.
    Dense(Values),
    /// The caller's matrix, where it lies; place `i * n + j` is that of a coupling.
    View(View),
}

impl Problem {
    /// Number of variables.
    pub fn len(&self) -> usize {
        self.inner.n
    }

    /// Whether there are no variables.
    pub fn is_empty(&self) -> bool {
        self.inner.n == 0
    }

    /// Number of pairs of variables with a coupling.
    pub fn couplings(&self) -> usize {
        self.inner.pairs
    }

    /// Share of all pairs that have a coupling; 0 where there are no pairs.
    pub fn density(&self) -> f64 {
        let n = self.inner.n as f64;
        if self.inner.n < 2 { 0.0 } else { self.inner.pairs as f64 / (0.5 * n * (n - 1.0)) }
    }

    /// Which values are good.
    pub fn sense(&self) -> Sense {
        self.inner.sense
    }

    /// What is added to every value.
    pub fn offset(&self) -> f64 {
        self.inner.offset
    }

    /// Whether coefficients are kept as integers.
    pub fn is_exact(&self) -> bool {
        matches!(self.inner.linear, Linear::Exact(_))
    }

    /// Why integers are not kept exactly, where all coefficients were integers.
    pub fn note(&self) -> Option<&'static str> {
        self.inner.note
    }

    /// Whether couplings are stored as a matrix rather than as lists.
    pub fn is_dense(&self) -> bool {
        matches!(self.inner.rows, Rows::Dense(_) | Rows::View(_))
    }

    /// Bytes of the stored coefficients; a matrix that is viewed is the caller's.
    pub fn bytes(&self) -> usize {
        let rows = match &self.inner.rows {
            Rows::Sparse { starts, cols, values } => 8 * starts.len() + 4 * cols.len() + values.bytes(),
            Rows::Dense(values) => values.bytes(),
            Rows::View(_) => 0,
        };
        8 * self.inner.n + rows
    }

    /// The coefficient of one variable.
    pub fn linear(&self, i: usize) -> f64 {
        self.inner.sense.sign() * self.inner.linear(i) + 0.0
    }

    /// Number of variables that variable `i` is coupled with.
    pub fn degree(&self, i: usize) -> usize {
        match &self.inner.rows {
            Rows::Sparse { starts, .. } => starts[i + 1] - starts[i],
            Rows::Dense(_) | Rows::View(_) => self.neighbours(i).count(),
        }
    }

    /// The variables that variable `i` is coupled with, ascending, and their couplings.
    pub fn neighbours(&self, i: usize) -> impl Iterator<Item = (u32, f64)> + '_ {
        let (inner, sign) = (&*self.inner, self.inner.sense.sign());
        inner.row(i).map(move |(j, at)| (j, sign * inner.coupling(at)))
    }

    /// The value of an assignment: any byte but 0 counts as one. Exact problems are summed in i64, so that only the last
    /// rounding remains; others in f64, variable by variable.
    ///
    /// Panics unless `x` has [`len`](Problem::len) elements.
    pub fn energy(&self, x: &[u8]) -> f64 {
        assert_eq!(x.len(), self.inner.n, "an assignment has one element for each variable");
        let value = match self.inner.cost(x) {
            Cost::Exact(v) => v as f64,
            Cost::Float(v) => v,
        };
        self.inner.offset + self.inner.sense.sign() * value
    }
}

/// A sum of coefficients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cost {
    Exact(i64),
    Float(f64),
}

impl Inner {
    /// Coefficient `i` as a cost.
    pub fn linear(&self, i: usize) -> f64 {
        match &self.linear {
            Linear::Exact(a) => a[i] as f64,
            Linear::Float(a) => a[i],
        }
    }

    /// The coupling at a place that [`row`](Inner::row) gave, as a cost.
    pub fn coupling(&self, at: usize) -> f64 {
        match (&self.linear, &self.rows) {
            (Linear::Exact(_), _) => self.coupling_int(at) as f64,
            (_, Rows::View(view)) => self.sense.sign() * view.float(at / self.n, at % self.n),
            (_, Rows::Sparse { values, .. } | Rows::Dense(values)) => values.float(at),
        }
    }

    /// The same of an exact problem.
    pub fn coupling_int(&self, at: usize) -> i64 {
        match &self.rows {
            Rows::Sparse { values, .. } | Rows::Dense(values) => values.int(at) << self.shift,
            Rows::View(view) => self.sense.sign() as i64 * view.int(at / self.n, at % self.n),
        }
    }

    /// The type that couplings are stored in, or would be.
    pub fn width(&self) -> Width {
        match &self.rows {
            Rows::Sparse { values, .. } | Rows::Dense(values) => values.width,
            Rows::View(view) => view.width,
        }
    }

    /// Columns of a row with a coupling, and where it stands.
    pub fn row(&self, i: usize) -> impl Iterator<Item = (u32, usize)> + '_ {
        let (sparse, dense, view) = match &self.rows {
            Rows::Sparse { starts, cols, .. } => (Some((starts[i]..starts[i + 1], cols)), None, None),
            Rows::Dense(values) => (None, Some(values), None),
            Rows::View(view) => (None, None, Some(view)),
        };
        let sparse = sparse.into_iter().flat_map(|(range, cols)| range.map(|at| (cols[at], at)));
        let dense = dense.into_iter().flat_map(move |values| {
            let start = i * stride(self.n);
            (0..self.n).map(move |j| (j as u32, start + j)).filter(|(_, at)| values.float(*at) != 0.0)
        });
        let view = view.into_iter().flat_map(move |view| {
            let others = (0..self.n).filter(move |&j| j != i && view.float(i, j) != 0.0);
            others.map(move |j| (j as u32, i * self.n + j))
        });
        sparse.chain(dense).chain(view)
    }

    /// The cost of an assignment, without the offset.
    pub fn cost(&self, x: &[u8]) -> Cost {
        let ones = (0..self.n).filter(|&i| x[i] != 0);
        if let Rows::View(view) = &self.rows {
            return match &self.linear {
                Linear::Exact(_) => Cost::Exact(self.sense.sign() as i64 * view.int_value(x)),
                Linear::Float(_) => Cost::Float(self.sense.sign() * view.float_value(x)),
            };
        }
        match &self.linear {
            Linear::Exact(a) => Cost::Exact(ones.map(|i| a[i] + (self.sum_above(i, x) << self.shift)).sum()),
            Linear::Float(a) => Cost::Float(ones.map(|i| a[i] + self.float_above(i, x)).sum()),
        }
    }

    /// The stored couplings of `i` with later variables that are 1, summed.
    fn sum_above(&self, i: usize, x: &[u8]) -> i64 {
        match &self.rows {
            Rows::View(_) => 0,
            Rows::Sparse { values, .. } => {
                self.above(i).filter(|(j, _)| x[*j] != 0).map(|(_, at)| values.int(at)).sum()
            }
            Rows::Dense(values) => {
                let (row, x) = (i * stride(self.n) + i + 1..i * stride(self.n) + self.n, &x[i + 1..]);
                match values.width {
                    Width::I8 => chosen(&values.slice::<i8>()[row], x, i64::from),
                    Width::I16 => chosen(&values.slice::<i16>()[row], x, i64::from),
                    Width::I32 => chosen(&values.slice::<i32>()[row], x, i64::from),
                    Width::I64 | Width::F64 => chosen(&values.slice::<i64>()[row], x, |v| v),
                }
            }
        }
    }

    /// The same of floats.
    fn float_above(&self, i: usize, x: &[u8]) -> f64 {
        match &self.rows {
            Rows::View(_) => 0.0,
            Rows::Sparse { values, .. } => {
                let values = values.slice::<f64>();
                self.above(i).filter(|(j, _)| x[*j] != 0).map(|(_, at)| values[at]).sum()
            }
            Rows::Dense(values) => {
                let row = &values.slice::<f64>()[i * stride(self.n) + i + 1..i * stride(self.n) + self.n];
                row.iter().zip(&x[i + 1..]).map(|(v, x)| if *x != 0 { *v } else { 0.0 }).sum()
            }
        }
    }

    /// Later variables in the list of `i`, and where their couplings stand.
    fn above(&self, i: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let (range, cols): (_, &[u32]) = match &self.rows {
            Rows::Sparse { starts, cols, .. } => (starts[i]..starts[i + 1], cols),
            Rows::Dense(_) | Rows::View(_) => (0..0, &[]),
        };
        let first = range.start + cols[range.clone()].partition_point(|&j| j as usize <= i);
        (first..range.end).map(|at| (cols[at] as usize, at))
    }

    /// The magnitudes of the couplings of `i`, summed.
    pub fn magnitude(&self, i: usize) -> f64 {
        match &self.rows {
            Rows::Dense(values) if values.width == Width::F64 => {
                values.slice::<f64>()[i * stride(self.n)..][..self.n].iter().map(|v| v.abs()).sum()
            }
            _ => self.row(i).map(|(_, at)| self.coupling(at).abs()).sum(),
        }
    }

    /// Adds row `i` times a factor to as many sums as there are variables.
    pub fn add_row(&self, i: usize, by: f64, sums: &mut [f64]) {
        match &self.rows {
            Rows::Dense(values) if values.width == Width::F64 => {
                let row = &values.slice::<f64>()[i * stride(self.n)..][..self.n];
                for (sum, v) in sums.iter_mut().zip(row) {
                    *sum += by * v;
                }
            }
            _ => self.row(i).for_each(|(j, at)| sums[j as usize] += by * self.coupling(at)),
        }
    }
}

/// The numbers where `x` is not 0, summed.
fn chosen<T: Copy>(row: &[T], x: &[u8], wide: impl Fn(T) -> i64) -> i64 {
    row.iter().zip(x).map(|(v, x)| if *x != 0 { wide(*v) } else { 0 }).sum()
}
