//! Cross-validation: each row is told by a network that has not seen it.

use super::{Network, Predictor, start};
use crate::engine::{Model, Runtime};
use crate::error::{Result, fail, try_vec};
use crate::train::control::Control;
use crate::train::data::table::{Bound, Description, FitParams, Rows, Target, class_weights, folds, held_out};
use crate::train::examples::TableFeed;
use crate::train::run::{Report, Run, RunParams, Watch};
use crate::train::{Feed, Objective, Trainer, TrainerParams};
use std::sync::Arc;

/// How a network is made and trained.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Its shape.
    pub network: Network,
    /// How columns are fitted.
    pub fit: FitParams,
    /// Rows of a batch.
    pub batch: usize,
    /// Whether each class counts the same, however many rows it has.
    pub class_weights: bool,
    /// Share of the rows learned from that is kept for validation.
    pub validation: f64,
    /// Trainer, but for rows, sequences, passes and objective, which follow from the above; its seed decides dropout, the order of the rows, and the
    /// values to begin with.
    pub trainer: TrainerParams,
    /// The loop; of its folder nothing is used in cross-validation.
    pub rules: RunParams,
}

/// What came of one fold.
#[derive(Clone, Debug)]
pub struct Fold {
    /// The rows that were kept.
    pub rows: Vec<u32>,
    /// `[rows][results]`: probabilities of the classes, or values.
    pub told: Vec<f32>,
    /// The class of each row, for classes.
    pub classes: Vec<u32>,
    /// The value of each row in the table's own measure, for values.
    pub values: Vec<f32>,
    /// Steps that were taken.
    pub steps: u64,
}

/// The rows that are learned from and those kept for validation, of the rows for which `learned` holds.
pub(crate) fn split(strata: &[u32], learned: &[u32], share: f64, seed: u64) -> Result<(Vec<u32>, Vec<u32>)> {
    let mut kinds = try_vec(learned.len(), "rows")?;
    kinds.extend(learned.iter().map(|&row| strata.get(row as usize).copied().unwrap_or(0)));
    let kept = held_out(&kinds, share, seed)?;
    let part = |wanted: bool| learned.iter().zip(&kept).filter(|(_, k)| **k == wanted).map(|(row, _)| *row).collect();
    Ok((part(false), part(true)))
}

impl Recipe {
    /// The trainer's numbers for a table: rows, sequences and objective set.
    pub fn trainer(&self, table: &Bound, learned: &[u32]) -> Result<TrainerParams> {
        let objective = match &table.description().target {
            Target::Number { .. } => Objective::Values,
            Target::Classes { classes, .. } => {
                let of_rows = learned.iter().filter_map(|&row| table.class(row as usize));
                let weights = if self.class_weights { Some(class_weights(classes.len(), of_rows)?) } else { None };
                let smoothing = match &self.trainer.objective {
                    Objective::Classes { smoothing, .. } => *smoothing,
                    Objective::Values | Objective::Preference(_) | Objective::Distill(_) => 0.0,
                };
                Objective::Classes { smoothing, weights }
            }
        };
        Ok(TrainerParams {
            rows: self.batch,
            longest: 1,
            passes: self.rules.accumulate,
            objective,
            ..self.trainer.clone()
        })
    }

    /// The rows of `learned` that are learned from, and those kept for validation.
    pub fn split(&self, rows: &Rows, learned: &[u32]) -> Result<(Vec<u32>, Vec<u32>)> {
        split(&rows.strata(), learned, self.validation, self.trainer.seed)
    }
}

/// The values of the best validation.
#[derive(Default)]
struct Best(Option<Vec<f32>>);

impl Watch for Best {
    fn step(&mut self, report: &Report, trainer: &Trainer) -> Result<()> {
        if report.validation.is_some_and(|v| v.best) {
            match &mut self.0 {
                Some(values) => values.copy_from_slice(trainer.values()),
                None => self.0 = Some(trainer.values().to_vec()),
            }
        }
        Ok(())
    }
}

/// Cuts the rows into `count` folds, the classes in the same share in each; trains a network on all but one, with the columns fitted on
/// those alone, and lets it tell that one. `each` sees every fold when it is done.
///
/// Errors: those of folds, fitting, training; `Cancelled` when `control` says stop.
pub fn cross_validate(
    runtime: &Arc<Runtime>,
    rows: &Arc<Rows>,
    count: u32,
    recipe: &Recipe,
    control: &Control,
    each: &mut dyn FnMut(u32, &Fold, &Description) -> Result<()>,
) -> Result<()> {
    let fold_of = folds(&rows.strata(), count, recipe.trainer.seed)?;
    for fold in 0..count {
        let of = |kept: bool| (0u32..).zip(&fold_of).filter(move |(_, f)| (**f == fold) == kept).map(|(row, _)| row);
        let (kept, learned) = (of(true).collect::<Vec<_>>(), of(false).collect::<Vec<_>>());
        let (learned, validation) = recipe.split(rows, &learned)?;
        let is_learned = |row: usize| learned.binary_search(&(row as u32)).is_ok();
        let description = Description::fit(rows, is_learned, &recipe.fit)?;
        let table = Arc::new(Bound::new(Arc::clone(rows), description.clone())?);
        let bytes = start(&description, &recipe.network, recipe.trainer.seed)?;
        let model = Model::new(runtime, Arc::new(super::gguf(bytes)?))?;
        let mut trainer = Trainer::new(&model, &recipe.trainer(&table, &learned)?, |_| true)?;
        let seed = Some(recipe.trainer.seed);
        let mut feed = TableFeed::new(&table, learned, recipe.batch, seed)?;
        let validates = recipe.rules.validate_every > 0;
        let mut validation =
            if validates { Some(TableFeed::new(&table, validation, recipe.batch, None)?) } else { None };
        let rules = RunParams { folder: None, ..recipe.rules.clone() };
        let mut best = Best::default();
        let validation = validation.as_mut().map(|feed| feed as &mut dyn Feed);
        let summary = Run::new(&mut trainer, &mut feed, validation, &rules)?.go(control, &mut best)?;
        if summary.end == crate::train::run::End::Stopped {
            fail!(Cancelled, "cross-validation was stopped in fold {fold}");
        }
        if let Some(values) = best.0 {
            trainer.values_mut().copy_from_slice(&values);
        }
        let mut predictor = Predictor::new(&model, description)?;
        predictor.set_snapshot(Arc::new(trainer.snapshot()?))?;
        let done = Fold {
            told: predictor.all(&table, &kept)?,
            classes: kept.iter().filter_map(|&row| table.class(row as usize)).collect(),
            values: kept.iter().filter_map(|&row| table.raw(row as usize)).collect(),
            rows: kept,
            steps: summary.step,
        };
        each(fold, &done, predictor.description())?;
    }
    Ok(())
}
