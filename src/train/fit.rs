//! What fits a budget: how many sequences go through the layers together, whether branches are computed again, and how many rows of logits
//! are there at once. None of it changes what is learned but for the order of sums.

use super::layout;
use super::trainer::TrainerParams;
use crate::error::{Result, fail};
use crate::gguf::Gguf;
use crate::layers::keep::Keep;
use crate::layers::trained::Param;
use crate::memory::Plan;
use crate::models::Graph;

/// A model that is to be trained, from metadata alone.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// Its file.
    pub gguf: &'a Gguf,
    /// Its layers.
    pub graph: &'a Graph,
    /// The bytes of the model itself.
    pub base: Plan,
    /// Threads.
    pub threads: usize,
    /// Sequences of a step, each of up to [`TrainerParams::longest`] rows.
    pub batch: usize,
    /// Rows of a sequence that have a target at most; 0: all may.
    pub counts: usize,
}

/// What was chosen.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// The parameters, with rows, passes, slice and recomputation filled in.
    pub params: TrainerParams,
    /// Sequences of a pass.
    pub micro: usize,
    /// What it takes.
    pub plan: Plan,
}

/// Slices of logits that are tried, in rows: the trainer's choice, then fewer.
const SLICES: [usize; 4] = [0, 64, 32, 16];

impl Task<'_> {
    /// The bytes by class with these parameters and so many sequences in a pass.
    fn with(&self, params: &TrainerParams, micro: usize, wanted: impl Fn(&Param) -> bool) -> Result<Fitted> {
        let (rows, passes) = (params.longest.saturating_mul(micro), self.batch.div_ceil(micro));
        let counts = self.counts.min(params.longest).saturating_mul(micro);
        let params = TrainerParams { rows, passes, counts, ..params.clone() };
        let plan = layout::plan(self.graph, self.gguf, self.base, &params, self.threads, wanted)?;
        Ok(Fitted { params, micro, plan })
    }

    /// The fastest of what fits `params.budget` bytes beyond the mapped file (0: anything fits): all sequences of a step in one pass or
    /// fewer, then branches computed again, and of each the trainer's slice of logits or a smaller one.
    ///
    /// Errors: `Budget` says how much the least takes, and how long sequences might be instead; those of [`layout::plan`].
    pub fn fit(&self, params: &TrainerParams, wanted: impl Fn(&Param) -> bool + Copy) -> Result<Fitted> {
        if self.batch == 0 {
            fail!(InvalidArgument, "a step of 0 sequences: give at least 1");
        }
        let fits = |f: &Fitted| params.budget == 0 || f.plan.total_without_mapped() <= params.budget;
        let mut least: Option<Fitted> = None;
        for keep in [params.keep, Keep::Inputs].into_iter().skip(usize::from(params.keep == Keep::Inputs)) {
            let mut micro = self.batch;
            loop {
                for slice in SLICES.into_iter().filter(|slice| params.slice == 0 || *slice == 0) {
                    let slice = if params.slice == 0 { slice } else { params.slice };
                    let found = self.with(&TrainerParams { keep, slice, ..params.clone() }, micro, wanted)?;
                    if fits(&found) {
                        return Ok(found);
                    }
                    if least.as_ref().is_none_or(|l| found.plan.total_without_mapped() < l.plan.total_without_mapped())
                    {
                        least = Some(found);
                    }
                }
                if micro == 1 {
                    break;
                }
                // Passes of one size, one more of them at least.
                micro = self.batch.div_ceil(self.batch.div_ceil(micro) + 1).min(micro - 1);
            }
        }
        let Some(least) = least else { fail!(Internal, "nothing was tried") };
        let (need, budget) = (least.plan.total_without_mapped(), params.budget);
        let (mut short, mut long) = (0, params.longest);
        while long - short > 1 {
            let longest = short + (long - short) / 2;
            let of = TrainerParams { longest, ..least.params.clone() };
            if fits(&self.with(&of, 1, wanted)?) { short = longest } else { long = longest }
        }
        let hint = match short {
            0 => "not even sequences of 1 token would fit: take a smaller rank, fewer matrices or moments of 8 bits"
                .to_owned(),
            n => format!("sequences of {n} tokens would fit"),
        };
        fail!(
            Budget,
            "the least that trains sequences of {} tokens takes {need} bytes beyond the mapped file, the budget is {budget}: give {} bytes \
             more; {hint}",
            params.longest,
            need - budget
        );
    }
}
