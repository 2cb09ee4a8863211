//! Columns of a CSV file, as texts and as numbers.

use crate::failure::{Result, run};
use std::path::{Path, PathBuf};

/// A table in memory.
pub struct Table {
    path: PathBuf,
    pub names: Vec<String>,
    /// Rows of as many cells as there are names, and the line each begins at.
    rows: Vec<(u64, csv::StringRecord)>,
}

impl Table {
    /// Reads it; each row must have the header's number of cells.
    pub fn read(path: &Path) -> Result<Table> {
        let name = path.display();
        let mut reader = match csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path) {
            Ok(reader) => reader,
            Err(e) => return run(format_args!("{name}: cannot be opened: {e}")),
        };
        let names = match reader.headers() {
            Ok(names) => names.iter().map(|n| n.trim_start_matches('\u{feff}').to_owned()).collect::<Vec<_>>(),
            Err(e) => return run(format_args!("{name}: its first line cannot be read: {e}")),
        };
        let mut rows = Vec::new();
        for row in reader.records() {
            match row {
                Ok(row) => rows.push((row.position().map_or(0, |p| p.line()), row)),
                Err(e) => return run(format_args!("{name}: {e}")),
            }
        }
        if rows.is_empty() {
            return run(format_args!("{name}: has no rows"));
        }
        Ok(Table { path: path.to_owned(), names, rows })
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The place of a column.
    pub fn column(&self, name: &str) -> Result<usize> {
        match self.names.iter().position(|n| n == name) {
            Some(at) => Ok(at),
            None => run(format_args!("{}: has no column {name:?}; it has {:?}", self.path.display(), self.names)),
        }
    }

    /// A column's cells.
    pub fn texts(&self, column: usize) -> impl Iterator<Item = &str> {
        self.rows.iter().map(move |(_, row)| row.get(column).unwrap_or(""))
    }

    /// A column's cells as finite numbers.
    pub fn numbers(&self, column: usize) -> Result<Vec<f64>> {
        let cells = self.rows.iter().zip(self.texts(column));
        let number = |((line, _), text): (&(u64, _), &str)| match text.parse::<f64>().ok().filter(|x| x.is_finite()) {
            Some(x) => Ok(x),
            None => run(format_args!(
                "{}:{line}: {text:?} in column {:?} is no number",
                self.path.display(),
                self.names[column]
            )),
        };
        cells.map(number).collect()
    }

    /// A column as small numbers: those of `bins` bins if all its cells are numbers, empty ones having their own; else one for each
    /// different text.
    pub fn codes(&self, column: usize, bins: usize) -> Result<Vec<u32>> {
        let number = |text: &str| if text.is_empty() { Some(f64::NAN) } else { text.parse::<f64>().ok() };
        let numbers: Option<Vec<f64>> = self.texts(column).map(number).collect();
        if let Some(numbers) = numbers {
            let mut distinct: Vec<u64> = numbers.iter().map(|x| x.to_bits()).collect();
            distinct.sort_unstable();
            distinct.dedup();
            if distinct.len() > bins {
                return Ok(qorus::qubo::form::features::binned(&numbers, bins)?);
            }
        }
        let mut known: Vec<&str> = self.texts(column).collect();
        known.sort_unstable();
        known.dedup();
        Ok(self.texts(column).map(|text| known.partition_point(|k| *k < text) as u32).collect())
    }
}
