//! What a model knows of the tables it was trained on: columns, their normalisation and categories, and the target's.

use serde_json::{Value, json};

use super::read::{Cells, Rows};
use crate::error::{Result, fail, try_vec};

/// Intervals between knots at most.
const MAX_INTERVALS: usize = 4096;

/// The version of the saved form.
const VERSION: u64 = 1;

/// What a model sees of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Feature {
    /// (x - mean) / deviation; a missing value is 0, the mean. With knots, x is first replaced by its place among them, from 0 to 1.
    Number {
        /// Quantiles of the values that were learned from, rising; none where values stand for themselves. Between two knots places
        /// are interpolated, beyond the last ones they stay: heavy tails are drawn in, and no value is out of range.
        knots: Vec<f32>,
        /// Of the values that were learned from.
        mean: f32,
        /// Their standard deviation; 1 where all are equal.
        deviation: f32,
        /// Whether values were missing among them: a second number then says with 1 that this one is.
        missing: bool,
    },
    /// A number from 0: missing, unknown, then these in order.
    Category {
        /// The texts that were learned from, in order of their bytes.
        values: Vec<String>,
    },
}

/// A column that a model sees.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name in the header.
    pub name: String,
    /// What is seen.
    pub feature: Feature,
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The number of a class.
    Classes {
        /// The column.
        name: String,
        /// The classes' texts, in order of their bytes.
        classes: Vec<String>,
    },
    /// (x - mean) / deviation.
    Number {
        /// The column.
        name: String,
        /// Of the values that were learned from.
        mean: f32,
        /// Their standard deviation; 1 where all are equal.
        deviation: f32,
    },
}

/// Bounds of fitting.
#[derive(Clone, Copy, Debug)]
pub struct FitParams {
    /// Categories of a column at most.
    pub max_categories: usize,
    /// A category that fewer rows have is unknown, so that the model learns what to make of unknown ones.
    pub min_count: usize,
    /// Intervals between the knots of a number at most; 0: numbers stand for themselves.
    pub intervals: usize,
}

impl Default for FitParams {
    fn default() -> FitParams {
        FitParams { max_categories: 1000, min_count: 1, intervals: 0 }
    }
}

/// The columns, fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// What is to be told.
    pub target: Target,
    /// What it is told from, in the order of the table that was learned from.
    pub columns: Vec<Column>,
    /// Texts that stand for a missing value.
    pub missing: Vec<String>,
    /// What separates cells.
    pub delimiter: u8,
}

impl Description {
    /// The description of the rows for which `learned` holds; of the others nothing is looked at.
    ///
    /// Errors: `InvalidArgument` when there are none, or for a table without a target; `Unsupported` for a column of too many
    /// categories; `Format` for a target of fewer than two classes.
    pub fn fit(rows: &Rows, learned: impl Fn(usize) -> bool, params: &FitParams) -> Result<Description> {
        let file = &rows.name;
        let all: Vec<usize> = (0..rows.len()).filter(|&row| learned(row)).collect();
        if all.is_empty() {
            fail!(InvalidArgument, "{file}: no rows to learn from");
        }
        let Some(target_at) = rows.target else {
            fail!(InvalidArgument, "{file}: has no target to learn");
        };
        let (mut columns, mut target) = (Vec::new(), None);
        for (at, (name, cells)) in rows.columns.iter().enumerate() {
            let name = name.clone();
            match cells {
                Cells::Numbers(cells) => {
                    let mut learned: Vec<f32> = try_vec(all.len(), "cells")?;
                    learned.extend(all.iter().filter_map(|&row| cells.get(row)));
                    if at == target_at {
                        let (mean, deviation, _) = moments(learned.iter());
                        target = Some(Target::Number { name, mean, deviation });
                    } else {
                        let knots = quantiles(&learned, params.intervals)?;
                        learned.iter_mut().for_each(|x| *x = place(&knots, *x));
                        let (mean, deviation, missing) = moments(learned.iter());
                        columns.push(Column { name, feature: Feature::Number { knots, mean, deviation, missing } });
                    }
                }
                Cells::Texts { ids, texts } => {
                    let mut counts = vec![0usize; texts.len()];
                    for id in all.iter().filter_map(|&row| ids.get(row)) {
                        if let Some(count) = counts.get_mut((*id as usize).wrapping_sub(1)) {
                            *count += 1;
                        }
                    }
                    let least = if at == target_at { 1 } else { params.min_count.max(1) };
                    let mut values: Vec<String> =
                        texts.iter().zip(&counts).filter(|(_, n)| **n >= least).map(|(t, _)| t.clone()).collect();
                    values.sort_unstable();
                    if values.len() > params.max_categories {
                        fail!(
                            Unsupported,
                            "{file}: column {name:?} has {} categories, at most {} are taken: leave the column out if it \
                             names rows, or raise the limit",
                            values.len(),
                            params.max_categories
                        );
                    }
                    if at == target_at {
                        if values.len() < 2 {
                            fail!(
                                Format,
                                "{file}: the target {name:?} has the classes {values:?}: two at least are needed"
                            );
                        }
                        target = Some(Target::Classes { name, classes: values });
                    } else {
                        columns.push(Column { name, feature: Feature::Category { values } });
                    }
                }
            }
        }
        match target {
            Some(target) => {
                Ok(Description { target, columns, missing: rows.missing.clone(), delimiter: rows.delimiter })
            }
            None => fail!(Internal, "{file}: the target was not fitted"),
        }
    }

    /// How many numbers a row has: one for each column of numbers, two where values were missing.
    pub fn numbers(&self) -> usize {
        let count = |c: &Column| match c.feature {
            Feature::Number { missing, .. } => 1 + usize::from(missing),
            Feature::Category { .. } => 0,
        };
        self.columns.iter().map(count).sum()
    }

    /// For each column of categories how many numbers it has: those of its embedding's rows.
    pub fn categories(&self) -> impl Iterator<Item = usize> {
        self.columns.iter().filter_map(|c| match &c.feature {
            Feature::Category { values } => Some(values.len() + 2),
            Feature::Number { .. } => None,
        })
    }

    /// The description as JSON text.
    pub fn to_json(&self) -> String {
        let columns: Vec<Value> = self
            .columns
            .iter()
            .map(|Column { name, feature }| match feature {
                Feature::Number { knots, mean, deviation, missing } => {
                    json!({"name": name, "knots": knots, "mean": mean, "deviation": deviation, "missing": missing})
                }
                Feature::Category { values } => json!({"name": name, "categories": values}),
            })
            .collect();
        let target = match &self.target {
            Target::Classes { name, classes } => json!({"name": name, "classes": classes}),
            Target::Number { name, mean, deviation } => json!({"name": name, "mean": mean, "deviation": deviation}),
        };
        json!({"version": VERSION, "target": target, "columns": columns, "missing": self.missing, "delimiter": self.delimiter})
            .to_string()
    }

    /// The way back. Errors: `Unsupported` for another version, `Format` naming the key.
    pub fn from_json(text: &str) -> Result<Description> {
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(e) => fail!(Format, "the table's description is no JSON: {e}"),
        };
        match value["version"].as_u64() {
            Some(VERSION) => {}
            Some(other) => fail!(Unsupported, "the table's description has version {other}, expected {VERSION}"),
            None => fail!(Format, "the table's description has no key \"version\""),
        }
        let Some(list) = value["columns"].as_array() else {
            fail!(Format, "the table's description has no list \"columns\"");
        };
        let mut columns: Vec<Column> = Vec::new();
        for (no, column) in list.iter().enumerate() {
            let read = || {
                let name = text_of(column, "name")?;
                let feature = if column.get("categories").is_some() {
                    Feature::Category { values: texts(column, "categories")? }
                } else {
                    let missing = match column["missing"].as_bool() {
                        Some(missing) => missing,
                        None => fail!(Format, "the key \"missing\" is not true or false"),
                    };
                    let (mean, deviation) = (number(column, "mean")?, deviation(column)?);
                    Feature::Number { knots: knots(column)?, mean, deviation, missing }
                };
                Ok(Column { name, feature })
            };
            columns.push(read().map_err(|e: crate::Error| e.context(format_args!("the description's column {no}")))?);
        }
        let target = &value["target"];
        let read = || {
            let name = text_of(target, "name")?;
            Ok(match target.get("classes") {
                Some(_) => Target::Classes { name, classes: texts(target, "classes")? },
                None => Target::Number { name, mean: number(target, "mean")?, deviation: deviation(target)? },
            })
        };
        let target = read().map_err(|e: crate::Error| e.context("the description's target"))?;
        let missing = texts(&value, "missing").map_err(|e| e.context("the table's description"))?;
        let Some(delimiter) = value["delimiter"].as_u64().and_then(|d| u8::try_from(d).ok()) else {
            fail!(Format, "the table's description has no key \"delimiter\" from 0 to 255");
        };
        Ok(Description { target, columns, missing, delimiter })
    }
}

/// `intervals` + 1 quantiles of the values that are there, equal ones once; none of them where all are equal.
fn quantiles(values: &[f32], intervals: usize) -> Result<Vec<f32>> {
    let mut sorted: Vec<f32> = try_vec(values.len(), "cells")?;
    sorted.extend(values.iter().filter(|x| !x.is_nan()));
    sorted.sort_unstable_by(f32::total_cmp);
    let intervals = intervals.min(MAX_INTERVALS);
    let Some(last) = sorted.len().checked_sub(1).filter(|_| intervals > 0) else { return Ok(Vec::new()) };
    let mut knots: Vec<f32> = (0..=intervals).map(|i| sorted[i * last / intervals]).collect();
    knots.dedup();
    if knots.len() < 2 {
        knots.clear();
    }
    Ok(knots)
}

/// Where a value is among the knots, from 0 to 1; without knots, the value. NaN stays.
pub(super) fn place(knots: &[f32], x: f32) -> f32 {
    if knots.len() < 2 || x.is_nan() {
        return x;
    }
    let above = knots.partition_point(|knot| *knot <= x);
    let (Some(low), Some(high)) = (above.checked_sub(1).map(|i| knots[i]), knots.get(above)) else {
        return if above == 0 { 0.0 } else { 1.0 };
    };
    let [low, high, x] = [low, *high, x].map(f64::from);
    (((above - 1) as f64 + (x - low) / (high - low)) / (knots.len() - 1) as f64) as f32
}

/// Mean and deviation of the values that are there, and whether some are not.
fn moments<'a>(values: impl Iterator<Item = &'a f32> + Clone) -> (f32, f32, bool) {
    let there = || values.clone().filter(|x| !x.is_nan()).map(|&x| f64::from(x));
    let n = there().count();
    let missing = values.clone().count() > n;
    let mean = there().sum::<f64>() / n.max(1) as f64;
    let variance = there().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n.max(1) as f64;
    let deviation = variance.sqrt() as f32;
    // A column of one value tells nothing, and must not blow up a value that differs later.
    let even = !deviation.is_normal() || f64::from(deviation) < 1e-6 * mean.abs();
    (mean as f32, if even { 1.0 } else { deviation }, missing)
}

fn text_of(value: &Value, key: &str) -> Result<String> {
    match value[key].as_str() {
        Some(text) => Ok(text.to_owned()),
        None => fail!(Format, "the key {key:?} is no string"),
    }
}

fn number(value: &Value, key: &str) -> Result<f32> {
    match value[key].as_f64().map(|x| x as f32).filter(|x| x.is_finite()) {
        Some(x) => Ok(x),
        None => fail!(Format, "the key {key:?} is no number"),
    }
}

fn deviation(value: &Value) -> Result<f32> {
    match number(value, "deviation")? {
        x if x > 0.0 => Ok(x),
        x => fail!(Format, "the key \"deviation\" is {x}, expected more than 0"),
    }
}

fn knots(value: &Value) -> Result<Vec<f32>> {
    let read = |v: &Value| v.as_f64().map(|x| x as f32).filter(|x| x.is_finite());
    let list: Option<Vec<f32>> = value["knots"].as_array().and_then(|list| list.iter().map(read).collect());
    match list {
        Some(list) if list.windows(2).all(|pair| pair[0] < pair[1]) => Ok(list),
        _ => fail!(Format, "the key \"knots\" is no list of rising numbers"),
    }
}

/// A list of different strings.
fn texts(value: &Value, key: &str) -> Result<Vec<String>> {
    let list = value[key].as_array().and_then(|list| list.iter().map(|v| v.as_str().map(String::from)).collect());
    match list {
        Some(list) => Ok(list),
        None => fail!(Format, "the key {key:?} is no list of strings"),
    }
}
