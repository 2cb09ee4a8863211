//! Passes over pairs of samples: the reference's log-probabilities, those of what is trained, and gradients that follow from how
//! the two compare.
//!
//! The reference is the base itself, with the adapter off, so it costs a forward pass and no memory. Logits are there a slice of
//! rows at a time, of answers alone: the head goes over all slices once for the log-probabilities, and where there are several once more
//! for the gradients.

use super::examples::Examples;
use super::loss::{CrossEntropy, Total};
use super::pass::{Counted, Passed, Task};
use super::preference::{Pair, Preference};
use super::trainer::{Objective, Trainer};
use crate::error::{Result, fail, try_vec};
use crate::memory::Frame;
use crate::ops::Exec;
use crate::threads::Shards;
use qorus_kernels::loss::{Logits, Target, Weighting};

/// The pairs of a pass, in memory that is reserved once.
#[derive(Default)]
pub(super) struct Compared {
    preference: Option<Preference>,
    pairs: Vec<Pair>,
    gradients: Vec<[f64; 2]>,
    /// The log-probability of each sequence.
    sums: Vec<f64>,
}

impl Compared {
    /// Room for all pairs of a pass of `rows` rows, where the objective has pairs.
    pub fn new(objective: &Objective, rows: usize) -> Result<Compared> {
        let Objective::Preference(preference) = objective else { return Ok(Compared::default()) };
        let most = rows / 2;
        Ok(Compared {
            preference: Some(*preference),
            pairs: try_vec(most, "pairs")?,
            gradients: try_vec(most, "pairs")?,
            sums: try_vec(2 * most, "sequences")?,
        })
    }

    /// Bytes of that.
    pub fn bytes(objective: &Objective, rows: usize) -> usize {
        let each = size_of::<Pair>() + size_of::<[f64; 2]>() + 2 * size_of::<f64>();
        if matches!(objective, Objective::Preference(_)) { (rows / 2).saturating_mul(each) } else { 0 }
    }

    /// Begins with the pairs of examples.
    fn begin(&mut self, e: &Examples) {
        self.pairs.clear();
        self.pairs
            .extend((0..e.lens.len() / 2).map(|i| Pair { good: e.labels.get(i) == Some(&true), ..Pair::default() }));
        self.gradients.clear();
        self.gradients.resize(self.pairs.len(), [0.0; 2]);
        self.clear();
    }

    fn clear(&mut self) {
        self.sums.clear();
        self.sums.resize(2 * self.pairs.len(), 0.0);
    }

    /// Adds the log-probabilities of rows' targets to their sequences', which have so many rows each.
    pub fn add(
        &mut self,
        exec: &Exec,
        frame: &mut Frame,
        logits: &[f32],
        (rows, lens): (Counted, &[u32]),
    ) -> Result<()> {
        let (targets, n) = (rows.targets, logits.len() / rows.targets.len().max(1));
        let mut frame = frame.sub();
        let losses = frame.take::<f32>(targets.len())?;
        let shards = Shards::new(losses);
        exec.pool.split(targets.len(), 1, |part| {
            for row in part {
                // SAFETY: each row is one thread's.
                let loss = unsafe { shards.part(row..row + 1) };
                let (x, even) = (&logits[row * n..(row + 1) * n], Weighting { smoothing: 0.0, scale: 1.0 });
                let target = Target::Class(targets[row] as usize);
                loss[0] = exec.kernels.cross_entropy(Logits::Read(x), target, &even).loss;
            }
        })?;
        for (loss, sequence) in losses.iter().zip(sequences(lens, rows.origins)) {
            self.sums[sequence] -= f64::from(*loss);
        }
        Ok(())
    }

    /// What the pairs come to, now that all log-probabilities are there.
    pub fn total(&mut self) -> Total {
        for (pair, sums) in self.pairs.iter_mut().zip(self.sums.as_chunks().0) {
            pair.policy = *sums;
        }
        let Some(preference) = self.preference else { return Total::default() };
        let rewards = preference.losses(&self.pairs, &mut self.gradients);
        let (pairs, hits) = (rewards.pairs, rewards.right);
        Total { loss: rewards.loss, rows: pairs, weight: pairs as f64, hits, rewards }
    }

    /// Puts gradients in the place of rows' logits, of a batch of so many pairs.
    pub fn gradients(
        &self,
        exec: &Exec,
        frame: &mut Frame,
        logits: &mut [f32],
        (rows, lens): (Counted, &[u32]),
        weight: f64,
    ) -> Result<()> {
        let (targets, n) = (rows.targets, logits.len() / rows.targets.len().max(1));
        let mut frame = frame.sub();
        let scales = frame.take::<f32>(targets.len())?;
        for (scale, sequence) in scales.iter_mut().zip(sequences(lens, rows.origins)) {
            *scale = (-self.gradients[sequence / 2][sequence % 2] / weight) as f32;
        }
        let (scales, shards): (&[f32], _) = (scales, Shards::new(logits));
        exec.pool.split(targets.len(), 1, |part| {
            for row in part {
                // SAFETY: each row is one thread's.
                let x = unsafe { shards.part(row * n..(row + 1) * n) };
                if scales[row] == 0.0 {
                    x.fill(0.0);
                    continue;
                }
                let weighting = Weighting { smoothing: 0.0, scale: scales[row] };
                exec.kernels.cross_entropy(Logits::InPlace(x), Target::Class(targets[row] as usize), &weighting);
            }
        })
    }
}

/// The sequence of each of these rows, which are in order, where sequences have so many rows.
fn sequences(lens: &[u32], rows: &[u32]) -> impl Iterator<Item = usize> {
    let (mut sequence, mut end) = (0, lens.first().map_or(0, |len| u64::from(*len)));
    rows.iter().map(move |&row| {
        while u64::from(row) >= end && sequence + 1 < lens.len() {
            sequence += 1;
            end += u64::from(lens[sequence]);
        }
        sequence
    })
}

impl Trainer {
    /// The loss of pairs, and where the batch weighs something, their share of the gradients.
    pub(super) fn compare(&mut self, e: &Examples, weight: Option<f64>, number: u64) -> Result<Passed> {
        if self.plain {
            fail!(State, "passes leave the adapter out: there is nothing to compare with the base");
        }
        let mut compared = std::mem::take(&mut self.compared);
        let result = self.compare_with(&mut compared, e, weight, number);
        self.compared = compared;
        result
    }

    fn compare_with(&mut self, c: &mut Compared, e: &Examples, weight: Option<f64>, number: u64) -> Result<Passed> {
        c.begin(e);
        self.set_plain(true);
        let reference = self.pass(e, 0, Task::Probe(c));
        self.set_plain(false);
        if let Passed::Faulty(what) = reference? {
            return Ok(Passed::Faulty(format!("the base: {what}")));
        }
        for (pair, sums) in c.pairs.iter_mut().zip(c.sums.as_chunks().0) {
            pair.reference = *sums;
        }
        c.clear();
        self.pass(e, number, Task::Compare(c, weight))
    }

    /// `Shape` unless examples are whole pairs with classes that there are.
    pub(super) fn check_pairs(&self, e: &Examples) -> Result<()> {
        if e.lens.len() % 2 != 0 || e.labels.len() < e.lens.len() / 2 {
            fail!(Shape, "{} sequences with {} labels are no pairs: give two for each", e.lens.len(), e.labels.len());
        }
        CrossEntropy::new(self.layout.out).count(super::loss::Targets::Classes(e.targets)).map(drop)
    }
}
