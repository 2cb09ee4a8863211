//! A pass over examples: forward, a loss in slices of rows, back; and its halves, for a loss of somebody else.
//!
//! The logits of a slice of rows are there at once, never those of all. Halves work in the memory of a whole pass, so the layers of
//! the head are computed again on the way back: the gradients have the same bits.

use super::compare::Compared;
use super::examples::Examples;
use super::layout::name_of;
use super::loss::{self, CrossEntropy, IGNORED, Logits, Targets, Total};
use super::trainer::{Objective, Trainer, exec, floats};
use crate::engine::Model;
use crate::error::{Result, fail};
use crate::layers::Params;
use crate::layers::grads::Grads;
use crate::layers::sequence;
use crate::layers::train::PassSizes;
use crate::layers::trained::{Trained, Values};
use crate::memory::Frame;
use crate::models::train::{Batch, Mode};
use crate::ops::Exec;
use crate::ops::dropout::Noise;
use crate::threads::Shards;

/// What a pass came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Passed {
    /// The losses of its rows.
    Total(Total),
    /// The loss is NaN or infinite. The sentence says where such a number was met first.
    Faulty(String),
}

/// What is to be done with examples.
pub(super) enum Task<'a> {
    /// Their loss.
    Judge,
    /// Their loss and gradients, in a batch that weighs so much in all.
    Learn(f64),
    /// Their results, to `[rows][out_width]`.
    Forward(&'a mut [f32]),
    /// Gradients from those of the results, down to this layer.
    Backward(&'a [f32], usize),
    /// The log-probabilities of their sequences.
    Probe(&'a mut Compared),
    /// What their pairs come to, and gradients in a batch of so many.
    Compare(&'a mut Compared, Option<f64>),
}

impl Task<'_> {
    /// The layer where the way back ends, of which anything is trained first of all `first`; None when there is none.
    fn stop(&self, first: usize) -> Option<usize> {
        match self {
            Task::Judge | Task::Forward(_) | Task::Probe(_) | Task::Compare(_, None) => None,
            Task::Learn(_) | Task::Compare(_, Some(_)) => Some(first),
            Task::Backward(_, stop) => Some(*stop.max(&first)),
        }
    }
}

impl Trainer {
    /// What examples weigh in a mean: their counted rows, each times its class's weight; for values, their number.
    /// `InvalidArgument` for a class that there is not.
    pub fn weight(&self, examples: &Examples) -> Result<f64> {
        if matches!(self.params.objective, Objective::Preference(_)) {
            return Ok((examples.lens.len() / 2) as f64);
        }
        if let Objective::Distill(_) = self.params.objective {
            return Ok(CrossEntropy::new(self.layout.out).count(Targets::Classes(examples.targets))?.weight);
        }
        match entropy(&self.params.objective, self.layout.out) {
            Some(entropy) => Ok(entropy.count(Targets::Classes(examples.targets))?.weight),
            None => Ok(examples.values.len() as f64),
        }
    }

    /// The loss of examples.
    pub fn judge(&mut self, examples: &Examples) -> Result<Passed> {
        self.check_targets(examples)?;
        match self.params.objective {
            Objective::Preference(_) => self.compare(examples, None, 0),
            _ => self.pass(examples, 0, Task::Judge),
        }
    }

    /// The loss of examples, and their share of the gradients is added: that of the mean over a batch that weighs `weight` in all.
    /// `number` is the pass's own, below 2^48: it decides dropout.
    pub fn learn(&mut self, examples: &Examples, weight: f64, number: u64) -> Result<Passed> {
        self.check_targets(examples)?;
        match self.params.objective {
            Objective::Preference(_) => self.compare(examples, Some(weight), number),
            _ => self.pass(examples, number, Task::Learn(weight)),
        }
    }

    /// The results of examples, `[rows][out_width]`, to `y`; keeps what [`Trainer::backward`] needs. Targets are not looked at.
    /// `number` as for [`Trainer::learn`].
    pub fn forward(&mut self, examples: &Examples, number: u64, y: &mut [f32]) -> Result<()> {
        self.pass(examples, number, Task::Forward(y))?;
        self.kept = Some(number);
        Ok(())
    }

    /// Adds to the gradients what follows from `dy`, that of the results of [`Trainer::forward`], whose examples are given again:
    /// of the layers from `stop` on. `State` without such a pass right before; `InvalidArgument` when there is no layer `stop`.
    pub fn backward(&mut self, examples: &Examples, dy: &[f32], stop: usize) -> Result<()> {
        let layers = self.model.graph.layers.len();
        if stop >= layers {
            fail!(InvalidArgument, "the way back cannot stop at layer {stop}: the model has {layers}, counted from 0");
        }
        let Some(number) = self.kept else {
            fail!(
                State,
                "there is no forward pass to go back through: each serves once, and steps and losses come after it"
            );
        };
        self.pass(examples, number, Task::Backward(dy, stop)).map(drop)
    }

    pub(super) fn pass(&mut self, examples: &Examples, number: u64, mut task: Task) -> Result<Passed> {
        self.check_rows(examples)?;
        self.kept = None;
        if self.plain && task.stop(0).is_some() {
            fail!(State, "passes leave the adapter out: there is nothing to learn");
        }
        self.measure()?;
        let Trainer {
            model,
            params,
            layout,
            trained,
            values,
            lengths,
            plain,
            grads,
            rows: sparse,
            cache,
            work,
            scratch,
            cancel,
            ..
        } = self;
        let (graph, rows) = (&model.graph, examples.places.len());
        let (end, width, out, slice) = (layout.end, layout.width, layout.out, layout.slice);
        match &task {
            Task::Forward(y) => check_results(y.len(), rows, out)?,
            Task::Backward(dy, _) => check_results(dy.len(), rows, out)?,
            _ => {}
        }
        let scratch = Shards::new(scratch.bytes_mut());
        let exec = exec(model, &scratch, layout.scratch, cancel);
        let values = &bytemuck::cast_slice(values.bytes())[..trained.len()];
        let parameters = match *plain {
            true => Params::of(&model.store),
            false => Params::with(&model.store, Values::with_lengths(trained, values, lengths)?),
        };
        let grads = floats(grads, layout.flat(trained));
        let mut grads = Grads::with_rows(trained, grads, sparse.as_mut())?;
        let sizes = |rows, longest| PassSizes { rows, longest, keep: params.keep, eight: params.eight, trained };
        let longest = examples.lens.iter().max().map_or(0, |&len| len as usize);
        let whole = sizes(rows, longest);
        let cache = floats(cache, graph.train_cache_len(whole, end));
        let mode = Mode { keep: params.keep, eight: params.eight, noise: Noise { seed: params.seed, pass: number } };
        let batch = Batch { tokens: examples.tokens, places: examples.places, lens: examples.lens };
        let ((body, head), x, in_width) = (graph.layers.split_at(end), examples.x, graph.in_width);
        work.with_frame(|frame| {
            // First: what the forward half leaves here the backward half finds.
            let mid = frame.take::<f32>(rows * width)?;
            let dmid = frame.take::<f32>(rows * width)?;
            let logits = frame.take::<f32>(slice * out)?;
            let apart = frame.take::<f32>(slice * params.objective.gradient_width(out))?;
            let head_cache = frame.take::<f32>(layout.head)?;
            let (targets, origins) = (frame.take::<i32>(rows)?, frame.take::<u32>(rows)?);
            graph.with_pass(exec, parameters, trained, batch, mode, frame, |pass, frame| {
                if !matches!(task, Task::Backward(..)) {
                    sequence::forward_train(body, pass, frame, whole, x, in_width, mid, cache)?;
                }
                // Rows without a target have a loss of nothing: they stay out of the head.
                let judged = !matches!(task, Task::Forward(_) | Task::Backward(..));
                let counted = match judged && !matches!(params.objective, Objective::Values) {
                    true => gather(examples.targets, width, mid, (targets, origins)),
                    false => rows,
                };
                let mut total = Total::default();
                // Pairs are known when all rows are: their gradients take a second round.
                let rounds = if matches!(task, Task::Compare(_, Some(_))) { 2 } else { 1 };
                for round in 0..rounds {
                    for at in (0..counted).step_by(slice) {
                        let part = at..counted.min(at + slice);
                        let s = sizes(part.len(), longest.min(part.len()));
                        let (inner, outer) = (part.start * width..part.end * width, part.start * out..part.end * out);
                        let rows = Counted { targets: &targets[part.clone()], origins: &origins[part.clone()] };
                        let (x, logits) = (&mid[inner.clone()], &mut logits[..part.len() * out]);
                        let head_cache = &mut head_cache[..sequence::cache_len(head, s, width)];
                        // A second round over one slice finds everything as the first one left it.
                        if round == 0 || counted > slice {
                            sequence::forward_train(head, pass, frame, s, x, width, logits, head_cache)?;
                        }
                        let exec = &pass.run.exec;
                        let dy: &[f32] = match &mut task {
                            Task::Forward(y) => {
                                y[outer].copy_from_slice(logits);
                                continue;
                            }
                            Task::Backward(dy, _) => &dy[outer],
                            Task::Judge | Task::Learn(_) => {
                                let weight = if let Task::Learn(weight) = task { Some(weight) } else { None };
                                let before = total.loss;
                                let slice = Slice { objective: &params.objective, examples, rows, first: at, out };
                                let dy = slice.loss(exec, frame, (logits, apart), weight, &mut total)?;
                                if !total.loss.is_finite() {
                                    let found = origin(model, (trained, values), (whole, cache), mid);
                                    let (last, loss) = (part.end - 1, total.loss - before);
                                    let rows =
                                        || format!("the loss of rows {at} to {last} of {counted} that count is {loss}");
                                    return Ok(Passed::Faulty(found.unwrap_or_else(rows)));
                                }
                                dy
                            }
                            Task::Compare(compared, Some(weight)) if round > 0 => {
                                compared.gradients(exec, frame, logits, (rows, examples.lens), *weight)?;
                                logits
                            }
                            Task::Compare(compared, _) | Task::Probe(compared) => {
                                compared.add(exec, frame, logits, (rows, examples.lens))?;
                                continue;
                            }
                        };
                        if let Some(stop) = task.stop(layout.stop) {
                            let dx = (stop < end).then_some(&mut dmid[inner]);
                            let stop = stop.saturating_sub(end);
                            sequence::backward(head, pass, frame, s, x, width, dy, dx, head_cache, &mut grads, stop)?;
                        }
                    }
                    let Task::Compare(compared, _) = &mut task else { continue };
                    if round == 0 {
                        total = compared.total();
                    }
                    if !total.loss.is_finite() {
                        let found = origin(model, (trained, values), (whole, cache), mid);
                        let loss = || format!("the loss of the pairs is {}", total.loss);
                        return Ok(Passed::Faulty(found.unwrap_or_else(loss)));
                    }
                }
                if let Some(stop) = task.stop(layout.stop).filter(|stop| *stop < end) {
                    if counted < rows {
                        scatter(examples.targets, width, counted, dmid);
                    }
                    sequence::backward(body, pass, frame, whole, x, in_width, dmid, None, cache, &mut grads, stop)?;
                }
                Ok(Passed::Total(total))
            })
        })
    }

    fn check_targets(&self, e: &Examples) -> Result<()> {
        let rows = e.places.len();
        let (given, expected) = match self.params.objective {
            Objective::Classes { .. } => (e.targets.len(), rows),
            Objective::Values => (e.values.len(), rows * self.layout.out),
            Objective::Preference(_) => {
                self.check_pairs(e)?;
                (e.targets.len(), rows)
            }
            Objective::Distill(distill) => {
                CrossEntropy::new(self.layout.out).count(Targets::Classes(e.targets))?;
                if e.top.len() != rows * distill.top || e.top.iter().any(|top| top.id as usize >= self.layout.out) {
                    fail!(Shape, "{} of a teacher's logits for {rows} rows of {}", e.top.len(), distill.top);
                }
                (e.targets.len(), rows)
            }
        };
        if given != expected {
            fail!(Shape, "{given} targets for {rows} rows, expected {expected}");
        }
        Ok(())
    }

    /// What goes in, without what is wanted of it.
    fn check_rows(&self, e: &Examples) -> Result<()> {
        let (rows, p, graph) = (e.places.len(), &self.params, &self.model.graph);
        let longest = e.lens.iter().max().map_or(0, |&len| len as usize);
        if rows == 0 || rows > p.rows || longest > p.longest {
            fail!(
                Shape,
                "a pass of {rows} rows in sequences of up to {longest}: the trainer was made for {} of {}",
                p.rows,
                p.longest
            );
        }
        let in_width = graph.in_width;
        let lens = [e.x.len(), if in_width == 0 { e.tokens.len() } else { rows }];
        if lens != [rows * in_width, rows] {
            fail!(
                Shape,
                "{rows} rows have {} elements and {} tokens, expected {} and {}",
                lens[0],
                e.tokens.len(),
                rows * in_width,
                if in_width == 0 { rows } else { 0 }
            );
        }
        let vocab = graph.vocab();
        if let Some(i) = e.tokens.iter().position(|&t| vocab > 0 && t as usize >= vocab) {
            fail!(InvalidArgument, "token {} of row {i} is outside the vocabulary of {vocab}", e.tokens[i]);
        }
        if let Some(gguf) = &self.model.gguf {
            gguf.check_unchanged()?;
        }
        Ok(())
    }
}

fn check_results(given: usize, rows: usize, out: usize) -> Result<()> {
    if given != rows * out {
        fail!(Shape, "{given} results, or gradients of them, for {rows} rows of {out}");
    }
    Ok(())
}

/// Rows that count, whose logits are there.
#[derive(Clone, Copy)]
pub struct Counted<'a> {
    /// The class of each.
    pub targets: &'a [i32],
    /// Which row of the pass each is, in their order.
    pub origins: &'a [u32],
}

/// Moves the rows of `x` that count to the front, in their order, and says what they are; how many there are.
fn gather(all: &[i32], width: usize, x: &mut [f32], (targets, origins): (&mut [i32], &mut [u32])) -> usize {
    let mut n = 0;
    for (row, &target) in all.iter().enumerate().filter(|(_, target)| **target != IGNORED) {
        x.copy_within(row * width..(row + 1) * width, n * width);
        (targets[n], origins[n]) = (target, row as u32);
        n += 1;
    }
    n
}

/// The way back for gradients: zeros where nothing counts.
fn scatter(targets: &[i32], width: usize, mut n: usize, d: &mut [f32]) {
    for (row, &target) in targets.iter().enumerate().rev() {
        if target == IGNORED {
            d[row * width..(row + 1) * width].fill(0.0);
        } else {
            n -= 1;
            d.copy_within(n * width..(n + 1) * width, row * width);
        }
    }
}

/// Rows whose logits are there.
struct Slice<'a> {
    objective: &'a Objective,
    examples: &'a Examples<'a>,
    /// Where the objective has classes, what the rows are.
    rows: Counted<'a>,
    /// The first of the rows.
    first: usize,
    out: usize,
}

impl Slice<'_> {
    /// Adds their losses to `total`, and gives their gradients where the batch weighs something: in the place of the logits, or apart.
    fn loss<'b>(
        &self,
        exec: &Exec,
        frame: &mut Frame,
        (logits, apart): (&'b mut [f32], &'b mut [f32]),
        weight: Option<f64>,
        total: &mut Total,
    ) -> Result<&'b [f32]> {
        if let Some(entropy) = entropy(self.objective, self.out) {
            let targets = Targets::Classes(self.rows.targets);
            let to = if weight.is_some() { Logits::InPlace(&mut *logits) } else { Logits::Read(logits) };
            entropy.rows(exec, frame, to, targets, weight.map_or(1.0, |w| 1.0 / w), total)?;
            return Ok(logits);
        }
        if let Objective::Distill(distill) = self.objective {
            let of = (&mut *logits, apart);
            distill.rows(exec, frame, of, (self.rows, self.examples.top), weight.map(|w| 1.0 / w), total)?;
            return Ok(logits);
        }
        let rows = self.first..self.first + logits.len() / self.out.max(1);
        let values = &self.examples.values[rows.start * self.out..rows.end * self.out];
        total.loss += loss::mse(exec, frame, logits, values, loss::Reduction::Sum)?;
        total.rows += rows.len();
        total.weight += values.len() as f64;
        let apart = &mut apart[..values.len()];
        if let Some(weight) = weight {
            loss::mse_grad_by(exec, logits, values, 2.0 / weight, apart)?;
        }
        Ok(apart)
    }
}

/// The cross-entropy of an objective, or None for values.
fn entropy(objective: &Objective, classes: usize) -> Option<CrossEntropy<'_>> {
    match objective {
        Objective::Classes { smoothing, weights } => {
            Some(CrossEntropy { smoothing: *smoothing, weights: weights.as_deref(), ..CrossEntropy::new(classes) })
        }
        Objective::Values | Objective::Preference(_) | Objective::Distill(_) => None,
    }
}

/// Where a number that is none came from first: a weight, or the result of a layer.
fn origin(
    model: &Model,
    (trained, values): (&Trained, &[f32]),
    (sizes, cache): (PassSizes, &mut [f32]),
    mid: &[f32],
) -> Option<String> {
    let graph = &model.graph;
    let bad = |values: &[f32]| values.iter().position(|x| !x.is_finite());
    for t in trained.list() {
        if let Some(i) = bad(&values[t.at..t.at + t.len]) {
            return Some(format!("the weight {} is {} at element {i}", name_of(model, &t.param), values[t.at + i]));
        }
    }
    let end = graph.embedding_end();
    let mut found = None;
    sequence::results(&graph.layers[..end], sizes, graph.in_width, cache, |layer, result| {
        found = bad(result).map(|i| (layer, i / (result.len() / sizes.rows).max(1), result[i]));
        found.is_none()
    });
    let last = || bad(mid).map(|i| (end.saturating_sub(1), i / graph.width_at(end).max(1), mid[i]));
    let (layer, row, value) = found.or_else(last)?;
    Some(format!("layer {layer} ({}) gave {value} for row {row}", graph.layers[layer].kind()))
}
