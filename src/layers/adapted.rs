//! Training of what an adapter adds to a linear layer: `y = f (w x + scale b (a x'))`, where x' is the input less what dropout takes.
//!
//! With `g = f dy`, the gradient before the stretch: `db += scale (a x') g`, `d(a x') = scale b^T g`, `da += d(a x') x'`, and to the input
//! goes `w^T g` and through the dropout `a^T d(a x')`. The length that f divides by is taken as a constant (section 4.3 of arXiv
//! 2402.09353), and a magnitude's gradient is the sum of `dy (w x + scale b (a x'))` over that length. That `w` sees all of x, also where f
//! is there, leaves one product with it (docs/finetune.md).

use super::adapters::Found;
use super::grads::Grads;
use super::linear::Linear;
use super::train::{Pass, PassSizes};
use crate::error::{Result, fail};
use crate::memory::{Frame, Need};
use crate::ops::dropout::dropout;
use crate::ops::elementwise::{add, add_rows};
use crate::ops::gemm::{gemm, gemm_to};
use crate::ops::low_rank::LowRank;
use qorus_kernels::{Mat, TileMut};

/// Dropouts of adapters have the streams from here on, those of layers the ones below.
const STREAMS: usize = 1 << 15;

/// What is added to one layer, and where it lies among what is trained.
pub(super) struct Addition<'a> {
    found: Found<'a>,
    low: LowRank<'a>,
    cols: usize,
    out: usize,
}

/// Buffers of so many elements.
fn floats(counts: &[usize]) -> Need {
    counts.iter().fold(Need::new(), |need, &n| if n == 0 { need } else { need.take::<f32>(n) })
}

/// The sizes of an addition's buffers.
struct Lens {
    /// What the input becomes first.
    inner: usize,
    /// The input less what is dropped; 0: nothing is.
    dropped: usize,
    /// The gradient before the stretch, and a factor for each row of the matrix; 0: there is no stretch.
    stretched: usize,
    factors: usize,
}

impl Lens {
    fn new(found: &Found, linear: &Linear, s: PassSizes) -> Lens {
        let (dora, drops) = (usize::from(found.site.dora), usize::from(s.trained.dropout() > 0.0));
        Lens {
            inner: s.rows.saturating_mul(found.site.rank),
            dropped: s.rows.saturating_mul(linear.w.cols) * drops,
            stretched: s.rows.saturating_mul(linear.w.rows) * dora,
            factors: linear.w.rows * dora,
        }
    }
}

impl<'a> Addition<'a> {
    /// What is added to a layer, if anything.
    pub fn of(pass: &Pass<'a>, linear: &Linear) -> Result<Option<Addition<'a>>> {
        let Some(low) = pass.run.params.low_ranks(&linear.w).next() else { return Ok(None) };
        let Some(found) = pass.trained.sites().find(&linear.w) else {
            fail!(Internal, "what is added to a layer is not what is trained")
        };
        Ok(Some(Addition { found, low, cols: linear.w.cols, out: linear.w.rows }))
    }

    /// Bytes that [`Addition::forward`] takes.
    pub fn train_need(linear: &Linear, s: PassSizes) -> Need {
        let Some(found) = s.trained.sites().find(&linear.w) else { return Need::new() };
        let lens = Lens::new(&found, linear, s);
        floats(&[lens.inner, lens.dropped, lens.factors])
    }

    /// Bytes that [`Addition::stretched`] and [`Addition::backward_input`] take together.
    pub fn input_need(linear: &Linear, s: PassSizes) -> Need {
        let Some(found) = s.trained.sites().find(&linear.w) else { return Need::new() };
        let lens = Lens::new(&found, linear, s);
        floats(&[lens.stretched, lens.factors, lens.inner, lens.dropped, lens.dropped])
    }

    /// Bytes that [`Addition::stretched`] and [`Addition::backward_params`] take together; `again`: what the product of the weights does.
    pub fn params_need(linear: &Linear, s: PassSizes, again: Need) -> Need {
        let Some(found) = s.trained.sites().find(&linear.w) else { return Need::new() };
        let lens = Lens::new(&found, linear, s);
        let need = floats(&[lens.stretched, lens.factors, lens.inner, lens.inner, lens.dropped]);
        if lens.stretched == 0 { need } else { need.sub(floats(&[lens.stretched, lens.factors]).sub(again)) }
    }

    /// The factors of `b`'s rows: of this layer those from `from` on.
    fn b(&self) -> Mat<'a> {
        let LowRank { rank, b, width, from, .. } = self.low;
        Mat::new(b, rank, width, width).part(0..rank, from..from + self.out)
    }

    fn a(&self) -> Mat<'a> {
        Mat::new(self.low.a, self.low.rank, self.cols, self.cols)
    }

    /// x', in a buffer of its own where anything is dropped.
    fn dropped<'b>(&self, pass: &Pass, frame: &mut Frame<'b>, x: &'b [f32]) -> Result<&'b [f32]> {
        let rate = pass.trained.dropout();
        if rate == 0.0 {
            return Ok(x);
        }
        let y = frame.take(x.len())?;
        dropout(&pass.run.exec, pass.noise, self.stream(), rate, x, self.cols, y)?;
        Ok(y)
    }

    fn stream(&self) -> u16 {
        (STREAMS + self.found.index % STREAMS) as u16
    }

    /// inner = scale a x'
    fn shrink(&self, pass: &Pass, x: &[f32], inner: &mut [f32]) -> Result<()> {
        let rows = x.len() / self.cols.max(1);
        gemm(
            &pass.run.exec,
            pass.run.exec.kernels.products(),
            Mat::new(x, rows, self.cols, self.cols),
            self.a().t(),
            false,
            inner,
        )?;
        pass.run.exec.kernels.scale(inner, self.low.scale);
        Ok(())
    }

    /// y += inner b
    fn expand(&self, pass: &Pass, inner: &[f32], y: &mut [f32]) -> Result<()> {
        let (rank, rows) = (self.low.rank, inner.len() / self.low.rank);
        gemm(&pass.run.exec, pass.run.exec.kernels.products(), Mat::new(inner, rows, rank, rank), self.b(), true, y)
    }

    fn factors<'b>(&self, frame: &mut Frame<'b>) -> Result<&'b [f32]> {
        let factors = frame.take::<f32>(self.out)?;
        factors.iter_mut().enumerate().for_each(|(i, f)| *f = self.low.stretch(i));
        Ok(factors)
    }

    /// Makes of `y = w x` what it is with the addition.
    pub fn forward(&self, pass: &Pass, frame: &mut Frame<'_>, x: &[f32], y: &mut [f32]) -> Result<()> {
        let mut frame = frame.sub();
        let rows = x.len() / self.cols.max(1);
        let inner = frame.take::<f32>(rows * self.low.rank)?;
        let x = self.dropped(pass, &mut frame, x)?;
        self.shrink(pass, x, inner)?;
        self.expand(pass, inner, y)?;
        if self.low.lengths.is_some() {
            let factors = self.factors(&mut frame)?;
            y.chunks_exact_mut(self.out.max(1)).for_each(|y| pass.run.exec.kernels.mul(y, factors));
        }
        Ok(())
    }

    /// The gradient before the stretch.
    pub fn stretched<'b>(&self, pass: &Pass, frame: &mut Frame<'b>, dy: &'b [f32]) -> Result<&'b [f32]> {
        if self.low.lengths.is_none() {
            return Ok(dy);
        }
        let g = frame.take::<f32>(dy.len())?;
        let factors = self.factors(frame)?;
        g.copy_from_slice(dy);
        g.chunks_exact_mut(self.out.max(1)).for_each(|g| pass.run.exec.kernels.mul(g, factors));
        Ok(g)
    }

    /// d(a x') of the gradient before the stretch.
    fn inner_backward(&self, pass: &Pass, g: &[f32], d_inner: &mut [f32]) -> Result<()> {
        let rows = g.len() / self.out.max(1);
        gemm(
            &pass.run.exec,
            pass.run.exec.kernels.products(),
            Mat::new(g, rows, self.out, self.out),
            self.b().t(),
            false,
            d_inner,
        )?;
        pass.run.exec.kernels.scale(d_inner, self.low.scale);
        Ok(())
    }

    /// Adds to the gradient of the input what comes through the addition.
    pub fn backward_input(&self, pass: &Pass, frame: &mut Frame<'_>, g: &[f32], dx: &mut [f32]) -> Result<()> {
        let mut frame = frame.sub();
        let (rank, rows) = (self.low.rank, g.len() / self.out.max(1));
        let d_inner = frame.take::<f32>(rows * rank)?;
        self.inner_backward(pass, g, d_inner)?;
        let d_inner = Mat::new(d_inner, rows, rank, rank);
        if pass.trained.dropout() == 0.0 {
            return gemm(&pass.run.exec, pass.run.exec.kernels.products(), d_inner, self.a(), true, dx);
        }
        let d_dropped = frame.take::<f32>(dx.len())?;
        gemm(&pass.run.exec, pass.run.exec.kernels.products(), d_inner, self.a(), false, d_dropped)?;
        let through = self.dropped(pass, &mut frame, d_dropped)?;
        add(&pass.run.exec, dx, through, self.cols)
    }

    /// Adds to the gradients of the factors. `dy` is the gradient of the result, `g` that before the stretch; `again` gives `w x`.
    pub fn backward_params(
        &self,
        pass: &Pass,
        frame: &mut Frame<'_>,
        x: &[f32],
        (dy, g): (&[f32], &[f32]),
        grads: &mut Grads,
        again: impl FnOnce(&mut Frame<'_>, &mut [f32]) -> Result<()>,
    ) -> Result<()> {
        let mut frame = frame.sub();
        let (exec, out) = (&pass.run.exec, self.out);
        let (rank, rows) = (self.low.rank, x.len() / self.cols.max(1));
        let inner = frame.take::<f32>(rows * rank)?;
        let d_inner = frame.take::<f32>(rows * rank)?;
        let dropped = self.dropped(pass, &mut frame, x)?;
        self.shrink(pass, dropped, inner)?;
        self.inner_backward(pass, g, d_inner)?;
        let [da, db, d_magnitude] = grads.low_rank(&self.found);
        let (inner_rows, width) = (Mat::new(inner, rows, rank, rank), self.low.width);
        gemm(
            exec,
            exec.kernels.products(),
            Mat::new(d_inner, rows, rank, rank).t(),
            Mat::new(dropped, rows, self.cols, self.cols),
            true,
            da,
        )?;
        let mut db = TileMut::new(db, rank, width);
        let db = db.cols_mut(self.low.from..self.low.from + out);
        gemm_to(exec, exec.kernels.products(), inner_rows.t(), Mat::new(g, rows, out, out), true, &db)?;
        let Some((_, lengths)) = self.low.lengths else { return Ok(()) };
        let result = frame.take::<f32>(rows * out)?;
        let sums = frame.take::<f32>(out)?;
        again(&mut frame, result)?;
        self.expand(pass, inner, result)?;
        exec.kernels.mul(result, dy);
        sums.fill(0.0);
        add_rows(exec, result, sums)?;
        for ((d, sum), length) in d_magnitude.iter_mut().zip(&*sums).zip(lengths) {
            *d += if *length > 0.0 { sum / length } else { 0.0 };
        }
        Ok(())
    }
}
