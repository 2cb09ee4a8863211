//! Table models: what tells a column from the others, with how well it does on rows it has not seen.

use super::config::Config;
use super::folder::{Begin, Folder};
use super::held;
use super::watch::Watcher;
use super::{done, end_name};
use crate::failure::{Result, run};
use crate::measures::{Measures, roc};
use crate::output::{self, mib};
use qorus::engine::{Model, Runtime};
use qorus::ops::activation::Activation;
use qorus::train::control::Control;
use qorus::train::data::table::{Bound, Description, FitParams, Rows, TableParams, Task};
use qorus::train::examples::TableFeed;
use qorus::train::run::{EXTENSION, End, Run, RunParams};
use qorus::train::table::{self, Network, Predictor, Recipe, cross_validate};
use qorus::train::{Feed, Objective, Trainer, TrainerParams, checkpoint, export};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::Write as _;
use std::sync::Arc;

/// The columns.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    target: String,
    task: Option<TaskName>,
    #[serde(default)]
    numbers: Vec<String>,
    #[serde(default)]
    categories: Vec<String>,
    #[serde(default)]
    ignore: Vec<String>,
    missing: Option<Vec<String>>,
    delimiter: Option<char>,
    max_categories: Option<usize>,
    min_count: Option<usize>,
    #[serde(default = "intervals")]
    intervals: usize,
    #[serde(default)]
    class_weights: bool,
    #[serde(default)]
    folds: u32,
}

fn intervals() -> usize {
    32
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TaskName {
    Classes,
    Number,
}

/// The layers.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layers {
    hidden: Option<Vec<usize>>,
    activation: Option<ActivationName>,
    embedding: Option<usize>,
    dropout: Option<f32>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ActivationName {
    Relu,
    Silu,
    Gelu,
    GeluErf,
}

impl Layers {
    fn network(&self) -> Network {
        let usual = Network::default();
        Network {
            hidden: self.hidden.clone().unwrap_or(usual.hidden),
            activation: match self.activation {
                None => usual.activation,
                Some(ActivationName::Relu) => Activation::Relu,
                Some(ActivationName::Silu) => Activation::Silu,
                Some(ActivationName::Gelu) => Activation::Gelu,
                Some(ActivationName::GeluErf) => Activation::GeluErf,
            },
            embedding: self.embedding.unwrap_or(usual.embedding),
            dropout: self.dropout.unwrap_or(usual.dropout),
        }
    }
}

impl Table {
    fn params(&self) -> Result<TableParams> {
        let delimiter = match self.delimiter {
            None => b',',
            Some(c) if c.is_ascii() => c as u8,
            Some(c) => return run(format_args!("table.delimiter = {c:?}: give one character of ASCII")),
        };
        let usual = TableParams::new(self.target.as_str());
        Ok(TableParams {
            task: self.task.map(|task| match task {
                TaskName::Classes => Task::Classes,
                TaskName::Number => Task::Number,
            }),
            numbers: self.numbers.clone(),
            categories: self.categories.clone(),
            ignore: self.ignore.clone(),
            missing: self.missing.clone().unwrap_or(usual.missing.clone()),
            delimiter,
            ..usual
        })
    }

    fn fit(&self) -> FitParams {
        let usual = FitParams::default();
        FitParams {
            max_categories: self.max_categories.unwrap_or(usual.max_categories),
            min_count: self.min_count.unwrap_or(usual.min_count),
            intervals: self.intervals,
        }
    }
}

/// Runs a description of kind `table`.
pub fn main(config: &Config, source: &str, begin: Begin, threads: usize, json: bool) -> Result {
    let Some(wanted) = &config.table else {
        return run("the section [table] is missing: it says which column is the target");
    };
    let [path] = &config.data.files[..] else {
        return run(format_args!("data.files names {} files: give one table", config.data.files.len()));
    };
    let rows = Arc::new(Rows::read(path, &wanted.params()?)?);
    let held = held::by_signals()?;
    let folder = Folder::new(&config.out, source, begin)?;
    let runtime = config.train.runtime(threads)?;
    let (micro, accumulate) = config.train.passes()?;
    let share = config.data.validation;
    let rules =
        |rows: f64| config.train.run(accumulate, rows * (1.0 - share) / config.train.batch as f64, folder.path());
    let recipe = Recipe {
        network: config.network.clone().unwrap_or_default().network(),
        fit: wanted.fit(),
        batch: micro,
        class_weights: wanted.class_weights,
        validation: share,
        trainer: TrainerParams {
            objective: Objective::Classes { smoothing: config.train.smoothing, weights: None },
            method: config.train.method(),
            groups: config.train.groups(),
            seed: config.train.seed,
            budget: config.train.budget()?,
            ..TrainerParams::default()
        },
        rules: rules(rows.len() as f64)?,
    };
    if share <= 0.0 && recipe.rules.validate_every > 0 {
        return run(
            "train.validate_every is set, and nothing is kept for validation: give data.validation, such as 0.1",
        );
    }
    if wanted.folds > 0 && folder.resume.is_none() {
        let part = rows.len() as f64 * (1.0 - 1.0 / f64::from(wanted.folds.max(2)));
        let recipe = Recipe { rules: rules(part)?, ..recipe.clone() };
        let measures = folds(&runtime, &rows, wanted.folds, &recipe, &held, &folder, json)?;
        folder.write("measures.json", format!("{measures}\n").as_bytes())?;
    }
    learn(&runtime, &rows, &recipe, &held, &folder, (wanted.folds == 0, json))
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Cross-validation: a line for each fold, and the measures of all rows, each told by a model that had not seen it.
fn folds(
    runtime: &Arc<Runtime>,
    rows: &Arc<Rows>,
    count: u32,
    recipe: &Recipe,
    held: &Control,
    folder: &Folder,
    json: bool,
) -> Result<Value> {
    let bar = if json { indicatif::ProgressBar::hidden() } else { output::progress(count as usize) };
    bar.set_message("folds");
    let (mut told, mut classes, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let (mut chief, mut lines, mut seen) = (Vec::new(), Vec::new(), None);
    cross_validate(runtime, rows, count, recipe, held, &mut |no, fold, description| {
        let measures = Measures::new(description, &fold.told, &fold.classes, &fold.values)?;
        let (name, value) = measures.chief();
        bar.inc(1);
        if json {
            let line = json!({"fold": no, "steps": fold.steps, "measures": measures.json()});
            lines.push(line.clone());
            let _ = output::json(&line);
        } else {
            lines.push(json!({"fold": no, "steps": fold.steps, "measures": measures.json()}));
            bar.suspend(|| say(&format!("fold {}: {name} {value:.4} after {} steps", no + 1, fold.steps)));
        }
        chief.push(value);
        told.extend_from_slice(&fold.told);
        classes.extend_from_slice(&fold.classes);
        values.extend_from_slice(&fold.values);
        seen = Some(description.clone());
        Ok(())
    })?;
    bar.finish_and_clear();
    let Some(description) = seen else { return Ok(Value::Null) };
    let all = Measures::new(&description, &told, &classes, &values)?;
    let n = chief.len() as f64;
    let mean = chief.iter().sum::<f64>() / n;
    let spread = (chief.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
    if let Some(picture) = all.calibration() {
        folder.write("calibration.svg", picture.as_bytes())?;
    }
    if matches!(&all, Measures::Classes(_, names) if names.len() == 2) {
        folder.write("roc.svg", roc(&told, &classes)?.as_bytes())?;
    }
    let name = all.chief().0;
    let summary = json!({
        "folds": count,
        "mean": {"measure": name, "value": mean, "deviation": spread},
        "measures": all.json(),
    });
    if json {
        output::json(&json!({"cross_validation": summary}))?;
    } else {
        say(&format!(
            "mean {name} over {count} folds {mean:.4}, standard deviation {spread:.4}; all kept rows together:\n"
        ));
        say(&all.text());
    }
    Ok(json!({"cross_validation": summary, "each": lines}))
}

/// Trains the model that is kept, on all rows but those for validation.
fn learn(
    runtime: &Arc<Runtime>,
    rows: &Arc<Rows>,
    recipe: &Recipe,
    held: &Control,
    folder: &Folder,
    (measured, json): (bool, bool),
) -> Result {
    let all: Vec<u32> = (0..rows.len() as u32).collect();
    let (learned, kept) = recipe.split(rows, &all)?;
    let start = folder.file("start.gguf");
    if folder.resume.is_none() || !start.exists() {
        let description = Description::fit(rows, |row| learned.binary_search(&(row as u32)).is_ok(), &recipe.fit)?;
        folder.write("start.gguf", &table::start(&description, &recipe.network, recipe.trainer.seed)?)?;
    }
    let model = Model::open(runtime, &start)?;
    let Some(gguf) = &model.gguf else { return run("the model is no file") };
    let description = table::description(gguf)?;
    let bound = Arc::new(Bound::new(Arc::clone(rows), description.clone())?);
    let mut trainer = Trainer::new(&model, &recipe.trainer(&bound, &learned)?, |_| true)?;
    if !json {
        let weights: usize = trainer.trained().list().iter().map(|t| t.len).sum();
        say(&format!(
            "{weights} weights to train on {} rows ({} for validation), {} steps of {} rows; {} MiB of memory, {} threads, {}",
            learned.len(),
            kept.len(),
            recipe.rules.steps,
            recipe.batch * recipe.rules.accumulate,
            mib(trainer.reserved().total_without_mapped()),
            runtime.pool.len(),
            runtime.kernels.isa().name()
        ));
    }
    let mut feed = TableFeed::new(&bound, learned, recipe.batch, Some(recipe.trainer.seed))?;
    let validates = recipe.rules.validate_every > 0;
    let mut validation = if validates { Some(TableFeed::new(&bound, kept.clone(), recipe.batch, None)?) } else { None };
    let rules: &RunParams = &recipe.rules;
    let validation = validation.as_mut().map(|feed| feed as &mut dyn Feed);
    let mut run = Run::new(&mut trainer, &mut feed, validation, rules)?;
    if let Some(path) = &folder.resume {
        run.resume(path)?;
    }
    let mut watcher = Watcher::new(folder, (run.step(), rules.steps), json, None, None)?;
    let result = run.go(held, &mut watcher);
    let (train, validation, speed) = watcher.finish()?;
    let summary = result?;
    let best = folder.file(&format!("best.{EXTENSION}"));
    if validates && best.exists() && summary.end != End::Stopped {
        checkpoint::load(&best, &mut trainer)?;
    }
    let path = folder.file("model.gguf");
    export::export(&trainer, &path, None)?;
    let mut measures = None;
    if measured && !kept.is_empty() {
        let mut predictor = Predictor::new(&model, description.clone())?;
        predictor.set_snapshot(Arc::new(trainer.snapshot()?))?;
        let told = predictor.all(&bound, &kept)?;
        let classes: Vec<u32> = kept.iter().filter_map(|&row| bound.class(row as usize)).collect();
        let values: Vec<f32> = kept.iter().filter_map(|&row| bound.raw(row as usize)).collect();
        measures = Some(Measures::new(&description, &told, &classes, &values)?);
    }
    let end = end_name(&summary);
    if json {
        let mut done = done(runtime, &summary, &path, (&train, &validation), speed);
        done["measures"] = json!(measures.map(|m| m.json()));
        return output::json(&done);
    }
    if let Some(measures) = measures {
        say("the rows kept for validation, which also chose the best weights:\n");
        say(&measures.text());
    }
    let best = summary.best.map_or(String::new(), |loss| format!(", best validation {loss:.4}"));
    say(&format!("{end} at step {}{best}; {speed:.0} rows per second", summary.step));
    output::line(&format!("{}", path.display()))
}
