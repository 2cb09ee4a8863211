//! Mean squared error and cross-entropy, each with its gradient, on batches of any shape: their rows lie one after another.
//!
//! Rows are split over the threads; the losses of rows (of chunks, for squares) are added in order and in f64. A batch may be given in
//! slices of rows, one after another, with the same bits: the running [`Total`] goes from one to the next, and the number of
//! counted rows of the whole batch, which scales the gradient, is known from the targets beforehand.

use super::preference::Rewards;
use super::slots::CHUNK;
use crate::error::{Result, fail};
use crate::memory::{Frame, Need};
use crate::ops::Exec;
use crate::threads::Shards;
use qorus_kernels::loss::{Target, Weighting};

pub use qorus_kernels::loss::Logits;

/// The class of a row that does not count.
pub const IGNORED: i32 = -100;

/// How the losses of a batch become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean: over all elements for squares, over the counted rows for classes.
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

/// `Shape` unless both have one length.
fn same(what: &str, len: usize, other: &str, other_len: usize) -> Result<()> {
    if len != other_len {
        fail!(Shape, "the {what} have {len} elements, the {other} {other_len}: give as many");
    }
    Ok(())
}

/// What [`mse`] takes from its frame for so many elements.
pub fn mse_need(len: usize) -> Need {
    Need::new().take::<f32>(len.div_ceil(CHUNK))
}

/// The squared differences of predictions and targets, summed or averaged over all elements; of none, 0.
pub fn mse(exec: &Exec, frame: &mut Frame, p: &[f32], t: &[f32], reduction: Reduction) -> Result<f64> {
    same("predictions", p.len(), "targets", t.len())?;
    let mut sum = 0.0;
    add_squares(exec, frame.sub().take(p.len().div_ceil(CHUNK))?, (p, t), &mut sum)?;
    Ok(reduce(sum, p.len(), reduction))
}

/// The same with the same bits, without a frame: in slices whose partial sums are few.
pub fn mse_sliced(exec: &Exec, p: &[f32], t: &[f32], reduction: Reduction) -> Result<f64> {
    same("predictions", p.len(), "targets", t.len())?;
    let (mut sum, mut partials) = (0.0, [0.0; 1024]);
    let slice = partials.len() * CHUNK;
    for (p, t) in p.chunks(slice).zip(t.chunks(slice)) {
        add_squares(exec, &mut partials[..p.len().div_ceil(CHUNK)], (p, t), &mut sum)?;
    }
    Ok(reduce(sum, p.len(), reduction))
}

/// Adds the squared differences, a partial sum for each chunk.
fn add_squares(exec: &Exec, partials: &mut [f32], (p, t): (&[f32], &[f32]), sum: &mut f64) -> Result<()> {
    let shards = Shards::new(partials);
    exec.pool.split(p.len().div_ceil(CHUNK), 1, |part| {
        for i in part {
            let range = i * CHUNK..p.len().min((i + 1) * CHUNK);
            // SAFETY: each chunk is one thread's.
            let partial = unsafe { shards.part(i..i + 1) };
            partial[0] = exec.kernels.mse(&p[range.clone()], &t[range]);
        }
    })?;
    partials.iter().for_each(|partial| *sum += f64::from(*partial));
    Ok(())
}

fn reduce(sum: f64, len: usize, reduction: Reduction) -> f64 {
    match reduction {
        Reduction::Mean => sum / len.max(1) as f64,
        Reduction::Sum => sum,
    }
}

/// The gradient of [`mse`] by the predictions, to `g`: `2 (p - t)`, for the mean over the number of elements.
pub fn mse_grad(exec: &Exec, p: &[f32], t: &[f32], reduction: Reduction, g: &mut [f32]) -> Result<()> {
    let factor = match reduction {
        Reduction::Mean => 2.0 / p.len().max(1) as f64,
        Reduction::Sum => 2.0,
    };
    mse_grad_by(exec, p, t, factor, g)
}

/// `factor * (p - t)`, to `g`: the gradient of a part of a batch takes 2 over the number of elements of the whole.
pub fn mse_grad_by(exec: &Exec, p: &[f32], t: &[f32], factor: f64, g: &mut [f32]) -> Result<()> {
    same("predictions", p.len(), "targets", t.len())?;
    same("gradients", g.len(), "predictions", p.len())?;
    let scale = factor as f32;
    let shards = Shards::new(g);
    exec.pool.split(p.len(), CHUNK, |part| {
        // SAFETY: parts are disjoint.
        let g = unsafe { shards.part(part.clone()) };
        exec.kernels.mse_grad(&p[part.clone()], &t[part], scale, g);
    })
}

/// What rows of logits should have been.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// A class for each row.
    Classes(&'a [i32]),
    /// A weight for each class of each row, `[rows][classes]`.
    Distributions(&'a [f32]),
}

/// The losses of rows added up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Total {
    /// The sum of losses, in nats, each times the weight of its row.
    pub loss: f64,
    /// Rows that counted.
    pub rows: usize,
    /// The sum of their weights: their number, unless classes have weights.
    pub weight: f64,
    /// Rows whose target had the greatest logit.
    pub hits: usize,
    /// What pairs of answers came to, where there are some: then they are the rows, and hits those that are the right way round.
    pub rewards: Rewards,
}

impl Total {
    /// Adds those of another pass.
    pub fn add(&mut self, other: &Total) {
        self.loss += other.loss;
        self.rows += other.rows;
        self.weight += other.weight;
        self.hits += other.hits;
        self.rewards.add(&other.rewards);
    }

    /// The mean loss; None when nothing counted.
    pub fn mean(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.loss / self.weight)
    }
}

/// The cross-entropy of rows of `classes` logits.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy<'a> {
    /// Logits of a row.
    pub classes: usize,
    /// The share of the target that is spread evenly over all classes, from 0 to 1.
    pub smoothing: f32,
    /// The class of rows that do not count: [`IGNORED`].
    pub ignored: i32,
    /// A weight for each class, by which the losses and gradients of its rows are multiplied; not with distributions.
    pub weights: Option<&'a [f32]>,
}

impl<'a> CrossEntropy<'a> {
    /// Without smoothing and weights.
    pub fn new(classes: usize) -> CrossEntropy<'a> {
        CrossEntropy { classes, smoothing: 0.0, ignored: IGNORED, weights: None }
    }

    /// What [`CrossEntropy::rows`] takes from its frame.
    pub fn need(rows: usize) -> Need {
        Need::new().take::<f32>(rows).take::<u8>(rows)
    }

    /// The counted rows and their weight, everything checked: `InvalidArgument` for a class that there is not.
    pub fn count(&self, targets: Targets) -> Result<Total> {
        if self.classes == 0 {
            fail!(InvalidArgument, "rows of logits have no class: give at least one");
        }
        if !(0.0..=1.0).contains(&self.smoothing) {
            fail!(InvalidArgument, "the label smoothing is {}: give a number from 0 to 1", self.smoothing);
        }
        if let Some(weights) = self.weights {
            same("weights of classes", weights.len(), "classes", self.classes)?;
            if let Some(i) = weights.iter().position(|w| !(w.is_finite() && *w >= 0.0)) {
                fail!(InvalidArgument, "class {i} has the weight {}: give a number that is not negative", weights[i]);
            }
        }
        let mut total = Total::default();
        match targets {
            Targets::Classes(classes) => {
                for (row, &class) in classes.iter().enumerate().filter(|(_, class)| **class != self.ignored) {
                    let Some(class) = usize::try_from(class).ok().filter(|class| *class < self.classes) else {
                        let (n, ignored) = (self.classes, self.ignored);
                        fail!(
                            InvalidArgument,
                            "row {row} has the target {class}, there are {n} classes ({ignored}: ignored)"
                        );
                    };
                    total.rows += 1;
                    total.weight += self.weight(class);
                }
            }
            Targets::Distributions(t) => {
                if self.weights.is_some() {
                    fail!(InvalidArgument, "weights of classes do not go with targets that are distributions");
                }
                if t.len() % self.classes != 0 {
                    fail!(Shape, "{} weights of targets are no whole rows of {} classes", t.len(), self.classes);
                }
                total.rows = t.len() / self.classes;
                total.weight = total.rows as f64;
            }
        }
        Ok(total)
    }

    fn weight(&self, class: usize) -> f64 {
        self.weights.map_or(1.0, |weights| f64::from(weights[class]))
    }

    /// Adds the losses of rows to `total`, and gives the gradients that `logits` wants, times `scale`: 1 over the weight that
    /// [`CrossEntropy::count`] finds in the whole batch for a mean, 1 for a sum. Gradients of rows that do not count are 0.
    pub fn rows(
        &self,
        exec: &Exec,
        frame: &mut Frame,
        mut logits: Logits,
        targets: Targets,
        scale: f64,
        total: &mut Total,
    ) -> Result<()> {
        let counted = self.count(targets)?;
        let n = self.classes;
        let rows = match targets {
            Targets::Classes(classes) => classes.len(),
            Targets::Distributions(t) => t.len() / n,
        };
        if Some(logits.read().len()) != rows.checked_mul(n) {
            fail!(Shape, "{} logits are not {rows} rows of {n} classes, as the targets are", logits.read().len());
        }
        if let Logits::To(x, g) = &logits {
            same("gradients", g.len(), "logits", x.len())?;
        }
        let mut frame = frame.sub();
        let (losses, hits) = (frame.take::<f32>(rows)?, frame.take::<u8>(rows)?);
        let (losses_by, hits_by) = (Shards::new(losses), Shards::new(hits));
        let (x, g): (&[f32], _) = match &mut logits {
            Logits::Read(x) => (x, None),
            Logits::To(x, g) => (x, Some(Shards::new(g))),
            Logits::InPlace(g) => (&[], Some(Shards::new(g))),
        };
        exec.pool.split(rows, 1, |part| {
            for row in part {
                let at = row * n..(row + 1) * n;
                let target = match targets {
                    Targets::Distributions(t) => Some((Target::Distribution(&t[at.clone()]), 1.0)),
                    Targets::Classes(classes) if classes[row] == self.ignored => None,
                    Targets::Classes(classes) => {
                        let class = classes[row] as usize;
                        Some((Target::Class(class), self.weight(class)))
                    }
                };
                // SAFETY: each row is one thread's.
                let (loss, hit, g) = unsafe {
                    let g = g.as_ref().map(|g| g.part(at.clone()));
                    (losses_by.part(row..row + 1), hits_by.part(row..row + 1), g)
                };
                let Some((target, weight)) = target else {
                    (loss[0], hit[0]) = (0.0, 0);
                    if let Some(g) = g {
                        g.fill(0.0);
                    }
                    continue;
                };
                let logits = match g {
                    None => Logits::Read(&x[at]),
                    Some(g) if x.is_empty() => Logits::InPlace(g),
                    Some(g) => Logits::To(&x[at], g),
                };
                let weighting = Weighting { smoothing: self.smoothing, scale: (scale * weight) as f32 };
                let of_row = exec.kernels.cross_entropy(logits, target, &weighting);
                (loss[0], hit[0]) = (of_row.loss, u8::from(of_row.hit));
            }
        })?;
        for (row, loss) in losses.iter().enumerate() {
            let weight = match targets {
                Targets::Classes(classes) if classes[row] != self.ignored => self.weight(classes[row] as usize),
                _ => 1.0,
            };
            total.loss += weight * f64::from(*loss);
        }
        total.hits += hits.iter().filter(|hit| **hit != 0).count();
        total.rows += counted.rows;
        total.weight += counted.weight;
        Ok(())
    }
}
