//! A table seen through a description: each row as numbers, categories and a target.

use std::sync::Arc;

use super::describe::{Description, Feature, Target, place};
use super::read::{Cells, Rows};
use crate::error::{Result, fail};

/// Rows that can be asked for as a model sees them. Asking allocates nothing.
pub struct Bound {
    rows: Arc<Rows>,
    description: Description,
    /// For each column of the description, where it is in the rows, and for categories the index of each text.
    columns: Vec<(usize, Vec<u32>)>,
    /// The same of the target, if the table has it.
    target: Option<(usize, Vec<u32>)>,
}

/// The index of a missing value.
pub const MISSING: u32 = 0;
/// The index of a category that was not learned.
pub const UNKNOWN: u32 = 1;

impl Bound {
    /// Looks the description's columns up in the table, and the target if it is there.
    ///
    /// Errors: `NotFound` for a column that is missing; `Format` for one that is of another kind, or a row (with its line)
    /// whose target is none of the classes.
    pub fn new(rows: impl Into<Arc<Rows>>, description: Description) -> Result<Bound> {
        let rows = rows.into();
        let file = &rows.name;
        let mut columns = Vec::new();
        for column in &description.columns {
            let name = &column.name;
            let Some(at) = rows.columns.iter().position(|c| c.0 == *name) else {
                fail!(NotFound, "{file}: has no column {name:?}, which the model was trained on");
            };
            let indices = match (&column.feature, &rows.columns[at].1) {
                (Feature::Number { .. }, Cells::Numbers(_)) => Vec::new(),
                (Feature::Category { values }, Cells::Texts { texts, .. }) => {
                    let index = |t: &String| values.binary_search(t).map_or(UNKNOWN, |i| i as u32 + 2);
                    std::iter::once(MISSING).chain(texts.iter().map(index)).collect()
                }
                (Feature::Number { .. }, _) => {
                    fail!(
                        Format,
                        "{file}: column {name:?} has cells that are no numbers; the model was trained on numbers"
                    )
                }
                (Feature::Category { .. }, _) => fail!(
                    Format,
                    "{file}: column {name:?} was read as numbers; the model was trained on categories: read the table by its \
                     description"
                ),
            };
            columns.push((at, indices));
        }
        let target = match rows.target {
            None => None,
            Some(at) => Some((at, Bound::classes(&rows, at, &description)?)),
        };
        Ok(Bound { rows, description, columns, target })
    }

    /// The class of each text of the target.
    fn classes(rows: &Rows, at: usize, description: &Description) -> Result<Vec<u32>> {
        let file = &rows.name;
        let (Target::Classes { name, .. } | Target::Number { name, .. }) = &description.target;
        match (&description.target, &rows.columns[at].1) {
            (Target::Number { .. }, Cells::Numbers(_)) => Ok(Vec::new()),
            (Target::Classes { classes, .. }, Cells::Texts { ids, texts }) => {
                let index = |t: &String| classes.binary_search(t).map_or(u32::MAX, |i| i as u32);
                let found: Vec<u32> = std::iter::once(u32::MAX).chain(texts.iter().map(index)).collect();
                if let Some(row) = ids.iter().position(|id| found.get(*id as usize) == Some(&u32::MAX)) {
                    let text = ids.get(row).and_then(|id| texts.get((*id as usize).wrapping_sub(1)));
                    let (line, text) = (rows.line(row).unwrap_or(0), text.map_or("", String::as_str));
                    fail!(
                        Format,
                        "{file}:{line}: the target {name:?} is {text:?}, which is none of the classes {classes:?}"
                    );
                }
                Ok(found)
            }
            _ => fail!(Format, "{file}: the target {name:?} is not of the kind that the model was trained on"),
        }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How it is seen.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Writes one row: `numbers` has room for [`Description::numbers`], `categories` for one of each column of categories.
    ///
    /// Errors: `InvalidArgument` for slices of other lengths or a row behind the last.
    pub fn row(&self, row: usize, numbers: &mut [f32], categories: &mut [u32]) -> Result<()> {
        let need = (self.description.numbers(), self.description.categories().count());
        if row >= self.len() || (numbers.len(), categories.len()) != need {
            fail!(
                InvalidArgument,
                "row {row} of {} into {} numbers and {} categories: the table has {} and {}",
                self.len(),
                numbers.len(),
                categories.len(),
                need.0,
                need.1
            );
        }
        let (mut number, mut category) = (0, 0);
        for (column, (at, indices)) in self.description.columns.iter().zip(&self.columns) {
            match (&column.feature, &self.rows.columns[*at].1) {
                (Feature::Number { knots, mean, deviation, missing }, Cells::Numbers(cells)) => {
                    let x = place(knots, cells[row]);
                    numbers[number] = if x.is_nan() { 0.0 } else { (x - mean) / deviation };
                    number += 1;
                    if *missing {
                        numbers[number] = f32::from(x.is_nan());
                        number += 1;
                    }
                }
                (_, Cells::Texts { ids, .. }) => {
                    categories[category] = indices.get(ids[row] as usize).copied().unwrap_or(UNKNOWN);
                    category += 1;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The columns of categories in which cells hold some that were not learned, and how many cells.
    pub fn unknown(&self) -> impl Iterator<Item = (&str, usize)> {
        self.description.columns.iter().zip(&self.columns).filter_map(|(column, (at, indices))| {
            let Cells::Texts { ids, .. } = &self.rows.columns.get(*at)?.1 else { return None };
            let cells = ids.iter().filter(|id| indices.get(**id as usize) == Some(&UNKNOWN)).count();
            (cells > 0).then_some((column.name.as_str(), cells))
        })
    }

    /// The class of that row; None without a target, or where it is a number.
    pub fn class(&self, row: usize) -> Option<u32> {
        let (at, classes) = self.target.as_ref()?;
        match &self.rows.columns.get(*at)?.1 {
            Cells::Texts { ids, .. } => classes.get(*ids.get(row)? as usize).copied(),
            Cells::Numbers(_) => None,
        }
    }

    /// The target of that row as the table has it; None without one, or where it is a class.
    pub fn raw(&self, row: usize) -> Option<f32> {
        let (at, _) = self.target.as_ref()?;
        match &self.rows.columns.get(*at)?.1 {
            Cells::Numbers(cells) => cells.get(row).copied(),
            Cells::Texts { .. } => None,
        }
    }

    /// The normalised target of that row; None without one, or where it is a class.
    pub fn value(&self, row: usize) -> Option<f32> {
        let (at, _) = self.target.as_ref()?;
        match (&self.rows.columns.get(*at)?.1, &self.description.target) {
            (Cells::Numbers(cells), Target::Number { mean, deviation, .. }) => {
                Some((cells.get(row)? - mean) / deviation)
            }
            _ => None,
        }
    }
}
