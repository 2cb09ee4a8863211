//! A problem as solvers see it: 32-bit integers to be minimized, borrowed from the problem where it stores them so.
//!
//! Problems of integers that fit are seen as they are. Others (floats, integers too great) are seen multiplied by a factor and rounded,
//! so that no field exceeds 2^30: a coupling then has an error of a billionth of the largest row. Searching bears that, and what
//! is found is polished and evaluated in the problem's own numbers.

use crate::Type;
use crate::error::{Result, try_vec};
use crate::qubo::problem::values::{Values, Width, stride};
use crate::qubo::problem::{Inner, Linear, Problem, Rows, View};
use qorus_kernels::Kernels;
use std::sync::Arc;
use std::time::Duration;

/// No field may exceed this.
const LIMIT: f64 = (1 << 30) as f64;

/// What a landscape is made of, known before anything is reserved.
#[derive(Clone, Copy)]
pub(crate) struct Survey {
    /// A cost times this is an energy of the landscape.
    pub scale: f64,
    /// Whether energies are costs, exactly.
    pub faithful: bool,
    /// The type of the copy that couplings need, if they do.
    copied: Option<Width>,
}

impl Survey {
    pub fn of(problem: &Problem) -> Survey {
        let inner = &*problem.inner;
        let linear = (0..inner.n).fold(0.0f64, |max, i| max.max(inner.linear(i).abs()));
        let width = inner.width();
        // Often the type alone says that all fits.
        let widest = match width {
            Width::I8 => 127.0,
            Width::I16 => 32767.0,
            _ => f64::INFINITY,
        } * (1u64 << inner.shift.min(62)) as f64;
        let bound = linear + widest * inner.n as f64;
        let greatest = if bound < LIMIT {
            bound
        } else if let Rows::View(view) = &inner.rows {
            view.reach
        } else {
            let row = |i| inner.magnitude(i) + inner.linear(i).abs();
            (0..inner.n).map(row).fold(0.0, f64::max)
        };
        let faithful = problem.is_exact() && greatest < LIMIT;
        let scale = if faithful || greatest == 0.0 { 1.0 } else { 0.99 * LIMIT / greatest };
        // Factors that are powers of two keep the roundings few.
        let scale = if faithful { scale } else { 2f64.powi(scale.log2().floor() as i32) };
        let narrow = matches!(width, Width::I8 | Width::I16 | Width::I32);
        let copied = match inner.rows {
            Rows::View(_) if faithful && narrow => Some(width),
            Rows::Sparse { .. } | Rows::Dense(_) if faithful && narrow => None,
            _ => Some(Width::I32),
        };
        Survey { scale, faithful, copied }
    }

    /// Bytes that [`Landscape::new`] reserves.
    pub fn bytes(&self, problem: &Problem) -> usize {
        let copy = self.copied.map_or(0, |width| width.bytes() * cells(&problem.inner));
        4 * problem.len() + copy
    }
}

/// Places of couplings, with the zeros of a matrix.
fn cells(inner: &Inner) -> usize {
    match &inner.rows {
        Rows::Sparse { cols, .. } => cols.len(),
        Rows::Dense(_) | Rows::View(_) => inner.n * stride(inner.n),
    }
}

/// Linear coefficients and couplings in 32 bits.
pub(crate) struct Landscape {
    inner: Arc<Inner>,
    pub survey: Survey,
    pub linear: Vec<i32>,
    copy: Option<Values>,
}

/// Where couplings lie.
#[derive(Clone, Copy)]
pub(crate) enum Links<'a> {
    Sparse { starts: &'a [usize], cols: &'a [u32], weights: &'a [i32] },
    Dense { ty: Type, rows: &'a [u8], row_bytes: usize, shift: u32 },
}

impl Landscape {
    /// `OutOfMemory`.
    pub fn new(problem: &Problem, survey: Survey) -> Result<Landscape> {
        let inner = Arc::clone(&problem.inner);
        let round = |v: f64| (v * survey.scale).round() as i32;
        let mut linear: Vec<i32> = try_vec(inner.n, "variables")?;
        match &inner.linear {
            Linear::Exact(a) if survey.faithful => linear.extend(a.iter().map(|&a| a as i32)),
            _ => linear.extend((0..inner.n).map(|i| round(inner.linear(i)))),
        }
        let mut copy = None;
        if let Some(width) = survey.copied {
            let to = copy.insert(Values::new(width, cells(&inner))?);
            match &inner.rows {
                Rows::View(view) => pack(&inner, view, survey, to),
                Rows::Sparse { values, .. } | Rows::Dense(values) => {
                    let to = to.slice_mut::<i32>();
                    if values.width == Width::F64 {
                        for (to, from) in to.iter_mut().zip(values.slice::<f64>()) {
                            *to = nearest(from * survey.scale);
                        }
                    } else {
                        for (at, to) in to.iter_mut().enumerate() {
                            *to =
                                if survey.faithful { inner.coupling_int(at) as i32 } else { round(inner.coupling(at)) };
                        }
                    }
                }
            }
        }
        Ok(Landscape { inner, survey, linear, copy })
    }

    pub fn len(&self) -> usize {
        self.inner.n
    }

    /// Where couplings lie, and how they are stored.
    pub fn links(&self) -> Links<'_> {
        let values = match (&self.copy, &self.inner.rows) {
            (Some(copy), _) => Some(copy),
            (None, Rows::Sparse { values, .. } | Rows::Dense(values)) => Some(values),
            (None, Rows::View(_)) => None,
        };
        let (width, rows) = values.map_or((Width::I32, &[][..]), |values| (values.width, values.slice::<u8>()));
        match &self.inner.rows {
            Rows::Sparse { starts, cols, .. } => {
                Links::Sparse { starts, cols, weights: values.map_or(&[][..], |values| values.slice()) }
            }
            Rows::Dense(_) | Rows::View(_) => {
                let ty = match width {
                    Width::I8 => Type::I8,
                    Width::I16 => Type::I16,
                    _ => Type::I32,
                };
                // Of a faithful copy as of what is stored; others are of whole numbers anyway.
                let packed = matches!(self.inner.rows, Rows::View(_)) && self.survey.faithful;
                let shift = if self.copy.is_some() && !packed { 0 } else { self.inner.shift };
                Links::Dense { ty, rows, row_bytes: width.bytes() * stride(self.inner.n), shift }
            }
        }
    }

    /// The time that polishing and evaluating an assignment takes, or nearly: a run ends so much before its limit.
    pub fn end_cost(&self) -> Duration {
        let each = if self.survey.faithful { 1 } else { 4 };
        Duration::from_nanos(each * cells(&self.inner) as u64 / 2)
    }

    /// The nanoseconds that a flip takes, or nearly: how much is done between two looks at the clock follows from it.
    pub fn flip_cost(&self) -> u64 {
        let n = self.len().max(1) as u64;
        match self.links() {
            Links::Sparse { cols, .. } => 5 + cols.len() as u64 / n,
            Links::Dense { row_bytes, .. } => 5 + row_bytes as u64 / 16,
        }
    }
}

/// To the nearest, ties to even, of numbers below 2^31.
fn nearest(v: f64) -> i32 {
    const ROUND: f64 = 6_755_399_441_055_744.0;
    (v + ROUND - ROUND) as i32
}

/// Packs the couplings of a matrix that is viewed into rows of both variables.
fn pack(inner: &Inner, view: &View, survey: Survey, to: &mut Values) {
    fn fill<T>(inner: &Inner, view: &View, survey: Survey, to: &mut [T], of: impl Fn(i64) -> T) {
        let (row, sign) = (stride(inner.n), inner.sense.sign());
        let mut put = |i: usize, j: usize, v: i64| {
            to[i * row + j] = of(v);
            to[j * row + i] = of(v);
        };
        if survey.faithful {
            view.ints(|i, j, v| put(i, j, (sign as i64 * v) >> inner.shift));
        } else {
            view.floats(|i, j, v| put(i, j, i64::from(nearest(sign * v * survey.scale))));
        }
    }
    match to.width {
        Width::I8 => fill(inner, view, survey, to.slice_mut::<i8>(), |v| v as i8),
        Width::I16 => fill(inner, view, survey, to.slice_mut::<i16>(), |v| v as i16),
        _ => fill(inner, view, survey, to.slice_mut::<i32>(), |v| v as i32),
    }
}

impl Links<'_> {
    /// Adds row `i` to the fields, or takes it from them.
    #[inline]
    pub fn add(&self, kernels: &Kernels, fields: &mut [i32], i: usize, minus: bool) {
        match *self {
            Links::Sparse { starts, cols, weights } => {
                assert!(fields.len() + 1 == starts.len());
                let range = starts[i]..starts[i + 1];
                // Without a branch: which way a variable flips is as good as random.
                let mask = -i32::from(minus);
                for (&j, &w) in cols[range.clone()].iter().zip(&weights[range]) {
                    // SAFETY: columns are numbers of variables (checked where the problem was built), of which there are as
                    // many as fields.
                    let field = unsafe { fields.get_unchecked_mut(j as usize) };
                    *field = field.wrapping_add((w ^ mask).wrapping_sub(mask));
                }
            }
            Links::Dense { ty, rows, row_bytes, shift } => {
                let row = &rows[i * row_bytes..][..fields.len() * ty.block_bytes()];
                kernels.add_row(ty, fields, row, shift, minus);
            }
        }
    }

    /// The neighbours of `i` and their couplings; zeros of a matrix are left out.
    pub fn each(&self, i: usize, n: usize, mut f: impl FnMut(usize, i32)) {
        match *self {
            Links::Sparse { starts, cols, weights } => {
                for at in starts[i]..starts[i + 1] {
                    f(cols[at] as usize, weights[at]);
                }
            }
            Links::Dense { ty, rows, row_bytes, shift } => {
                let size = ty.block_bytes();
                let row = &rows[i * row_bytes..][..n * size];
                for (j, bytes) in row.chunks_exact(size).enumerate() {
                    let v = match *bytes {
                        [a] => i32::from(a.cast_signed()),
                        [a, b] => i32::from(i16::from_ne_bytes([a, b])),
                        [a, b, c, d] => i32::from_ne_bytes([a, b, c, d]),
                        _ => 0,
                    };
                    if v != 0 {
                        f(j, v << shift);
                    }
                }
            }
        }
    }
}
