//! A CSV file in memory: each column as numbers or as texts by number, within a limit of bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use super::describe::{Description, Feature, Target};
use crate::error::{Code, Error, Result, fail, try_vec};
use crate::train::data::lines;

/// What is to be told of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Which of several classes.
    Classes,
    /// A number.
    Number,
}

/// How a table is read.
#[derive(Clone, Debug)]
pub struct TableParams {
    /// The column to be told from the others.
    pub target: String,
    /// What it is. None: texts are classes, and so are at most 10 whole numbers.
    pub task: Option<Task>,
    /// Columns of numbers, whatever they look like. Others are numbers if all their cells are.
    pub numbers: Vec<String>,
    /// Columns of categories, whatever they look like.
    pub categories: Vec<String>,
    /// Columns to be left out.
    pub ignore: Vec<String>,
    /// Texts that stand for a missing value, beside the empty one. Space around a cell does not count.
    pub missing: Vec<String>,
    /// What separates cells.
    pub delimiter: u8,
    /// Bytes of memory at most for the cells.
    pub max_bytes: usize,
}

impl TableParams {
    /// Everything as it looks, to tell the column `target`.
    pub fn new(target: impl Into<String>) -> TableParams {
        TableParams {
            target: target.into(),
            task: None,
            numbers: Vec::new(),
            categories: Vec::new(),
            ignore: Vec::new(),
            missing: ["NA", "N/A", "NaN", "nan", "null", "?"].map(String::from).to_vec(),
            delimiter: b',',
            max_bytes: 1 << 30,
        }
    }
}

/// The cells of one column.
pub(super) enum Cells {
    /// NaN where the value is missing.
    Numbers(Vec<f32>),
    /// Numbers of texts from 1; 0 where the value is missing.
    Texts { ids: Vec<u32>, texts: Vec<String> },
}

/// A table as its file has it.
pub struct Rows {
    pub(super) name: String,
    /// Without those that are left out.
    pub(super) columns: Vec<(String, Cells)>,
    /// Where each row stands in the file.
    pub(super) lines: Vec<u64>,
    pub(super) missing: Vec<String>,
    pub(super) delimiter: u8,
    pub(super) target: Option<usize>,
}

/// What a look at the whole file says of a column.
struct Look {
    name: String,
    at: usize,
    number: bool,
    target: bool,
}

/// Distinct whole numbers that a target may have to be taken for classes.
const FEW: usize = 10;

impl Rows {
    /// Reads the table at `path`, in two passes: one looks at the columns and counts, the other fills memory of just that size.
    ///
    /// Errors: `NotFound`, `Io`; `NotFound` for a column that is named and not there; `Format` naming the line for a row with
    /// more or fewer cells than the header, a cell that is no UTF-8 or, in a column named as numbers, no number, a missing
    /// target, and for a table without rows; `Unsupported` for more than `max_bytes`.
    pub fn read(path: &Path, params: &TableParams) -> Result<Rows> {
        let table = Table { path, delimiter: params.delimiter, missing: &params.missing };
        let header = table.header()?;
        let named = [&params.numbers, &params.categories, &params.ignore];
        for name in named.into_iter().flatten().chain([&params.target]) {
            table.find(&header, name)?;
        }
        let mut looks: Vec<Look> = Vec::new();
        for (at, name) in header.iter().enumerate().filter(|(_, name)| !params.ignore.contains(name)) {
            looks.push(Look { name: name.clone(), at, number: true, target: *name == params.target });
        }
        if !looks.iter().any(|look| look.target) {
            fail!(InvalidArgument, "{}: the target {:?} is also a column to be left out", table.name(), params.target);
        }
        let mut values = BTreeSet::new();
        let mut rows = 0;
        table.each(header.len(), &mut |cell, _| {
            rows += 1;
            for look in &mut looks {
                let Some(text) = cell(look.at)? else { continue };
                look.number &= number(text).is_some();
                if look.target && values.len() <= FEW && !values.contains(text) {
                    values.insert(text.to_owned());
                }
            }
            Ok(())
        })?;
        for look in &mut looks {
            let forced = |list: &[String]| list.contains(&look.name);
            look.number = (look.number || forced(&params.numbers)) && !forced(&params.categories);
            if look.target {
                let few = values.len() <= FEW && values.iter().all(|v| number(v).is_some_and(|x| x.fract() == 0.0));
                look.number = match params.task {
                    Some(task) => task == Task::Number,
                    None => look.number && !few,
                };
            }
        }
        table.fill(header.len(), rows, looks, params.max_bytes)
    }

    /// Reads the columns of `path` that `description` speaks of, as it speaks of them. The target may be missing.
    ///
    /// Errors: as [`read`](Rows::read).
    pub fn read_for(path: &Path, description: &Description, max_bytes: usize) -> Result<Rows> {
        let table = Table { path, delimiter: description.delimiter, missing: &description.missing };
        let header = table.header()?;
        let mut looks = Vec::new();
        for column in &description.columns {
            let at = table.find(&header, &column.name)?;
            let number = matches!(column.feature, Feature::Number { .. });
            looks.push(Look { name: column.name.clone(), at, number, target: false });
        }
        let (name, number) = match &description.target {
            Target::Classes { name, .. } => (name, false),
            Target::Number { name, .. } => (name, true),
        };
        if let Some(at) = header.iter().position(|h| h == name) {
            looks.push(Look { name: name.clone(), at, number, target: true });
        }
        let mut rows = 0;
        table.each(header.len(), &mut |_, _| {
            rows += 1;
            Ok(())
        })?;
        table.fill(header.len(), rows, looks, max_bytes)
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none; `read` refuses such tables.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The line of the file where that row begins.
    pub fn line(&self, row: usize) -> Option<u64> {
        self.lines.get(row).copied()
    }

    /// A number for each row's target that is the same for equal ones, to stratify by; all 0 for a target of numbers.
    pub fn strata(&self) -> Vec<u32> {
        match self.target.and_then(|at| self.columns.get(at)) {
            Some((_, Cells::Texts { ids, .. })) => ids.clone(),
            _ => vec![0; self.len()],
        }
    }
}

/// A cell as a number: finite, in the notation of every language.
fn number(text: &str) -> Option<f32> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    text.parse::<f32>().ok().filter(|x| plain && x.is_finite())
}

/// A CSV file and what its cells mean.
struct Table<'a> {
    path: &'a Path,
    delimiter: u8,
    missing: &'a [String],
}

/// The text of a cell, None where it is missing.
type Cell<'c> = dyn Fn(usize) -> Result<Option<&'c str>> + 'c;

impl Table<'_> {
    fn name(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    fn open(&self) -> Result<csv::Reader<File>> {
        let mut builder = csv::ReaderBuilder::new();
        // Rows of another length are told by us, with their line.
        Ok(builder.delimiter(self.delimiter).flexible(true).from_reader(lines::open(self.path)?))
    }

    /// The names of the columns.
    fn header(&self) -> Result<Vec<String>> {
        let mut reader = self.open()?;
        let header = match reader.byte_headers() {
            Ok(header) => header,
            Err(e) => fail!(Format, "{}: its first line cannot be read: {e}", self.name()),
        };
        let mut names: Vec<String> = Vec::new();
        for (no, name) in header.iter().enumerate() {
            let name = if no == 0 { name.strip_prefix(b"\xef\xbb\xbf").unwrap_or(name) } else { name };
            let Ok(name) = std::str::from_utf8(name) else {
                fail!(Format, "{}:1: the name of column {} is no UTF-8", self.name(), no + 1);
            };
            let name = name.trim().to_owned();
            if names.contains(&name) {
                fail!(Format, "{}:1: there are two columns with the name {name:?}: rename one", self.name());
            }
            names.push(name);
        }
        if names.is_empty() {
            fail!(Format, "{}: is empty: a table begins with a line of column names", self.name());
        }
        Ok(names)
    }

    fn find(&self, header: &[String], name: &str) -> Result<usize> {
        let Some(at) = header.iter().position(|h| h == name) else {
            fail!(NotFound, "{}: has no column {name:?}; it has {header:?}", self.name());
        };
        Ok(at)
    }

    /// Hands each row's cells and line to `row`.
    fn each(&self, width: usize, row: &mut dyn FnMut(&Cell, u64) -> Result<()>) -> Result<()> {
        let (mut reader, mut record) = (self.open()?, csv::ByteRecord::new());
        loop {
            match reader.read_byte_record(&mut record) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(e) => fail!(Io, "{}: cannot be read: {e}", self.name()),
            }
            let line = record.position().map_or(0, |p| p.line());
            if record.len() != width {
                fail!(
                    Format,
                    "{}:{line}: the row has {} cells, the header {width}: a cell is missing or a delimiter too many",
                    self.name(),
                    record.len()
                );
            }
            let cell = |at: usize| match std::str::from_utf8(record.get(at).unwrap_or(&[])) {
                Ok(text) => {
                    let text = text.trim();
                    Ok(Some(text).filter(|t| !t.is_empty() && !self.missing.iter().any(|m| m == t)))
                }
                Err(_) => fail!(Format, "{}:{line}: cell {} is no UTF-8", self.name(), at + 1),
            };
            row(&cell, line)?;
        }
    }

    /// Reads `rows` rows of those columns.
    fn fill(&self, width: usize, rows: usize, looks: Vec<Look>, max_bytes: usize) -> Result<Rows> {
        if rows == 0 {
            fail!(Format, "{}: the table has no rows", self.name());
        }
        let mut bytes = rows.saturating_mul(looks.len().saturating_mul(4).saturating_add(8));
        let too_many = || {
            let file = self.name();
            Error::new(
                Code::Unsupported,
                format!(
                    "{file}: its {rows} rows take more than the {max_bytes} bytes they may: leave out columns or raise the \
                     limit"
                ),
            )
        };
        if bytes > max_bytes {
            return Err(too_many());
        }
        let mut lines: Vec<u64> = try_vec(rows, "rows")?;
        let mut columns = Vec::new();
        let mut known: Vec<BTreeMap<String, u32>> = Vec::new();
        for look in &looks {
            let cells = if look.number {
                Cells::Numbers(try_vec(rows, "cells")?)
            } else {
                Cells::Texts { ids: try_vec(rows, "cells")?, texts: Vec::new() }
            };
            columns.push((look.name.clone(), cells));
            known.push(BTreeMap::new());
        }
        self.each(width, &mut |cell, line| {
            if lines.len() == rows {
                fail!(FileChanged, "{}: grew while it was read: start again", self.name());
            }
            for ((look, (name, cells)), known) in looks.iter().zip(&mut columns).zip(&mut known) {
                let text = cell(look.at)?;
                match (cells, text) {
                    (_, None) if look.target => {
                        fail!(Format, "{}:{line}: the target {name:?} is missing: leave the row out", self.name())
                    }
                    (Cells::Numbers(cells), None) => cells.push(f32::NAN),
                    (Cells::Numbers(cells), Some(text)) => match number(text) {
                        Some(x) => cells.push(x),
                        None => fail!(
                            Format,
                            "{}:{line}: {text:?} in column {name:?} is no number: correct it or read the column as categories",
                            self.name()
                        ),
                    },
                    (Cells::Texts { ids, .. }, None) => ids.push(0),
                    (Cells::Texts { ids, texts }, Some(text)) => match known.get(text) {
                        Some(&id) => ids.push(id),
                        None => {
                            // Each text is kept twice, with what a map and a string take.
                            bytes = bytes.saturating_add(2 * text.len() + 96);
                            if bytes > max_bytes {
                                return Err(too_many());
                            }
                            texts.push(text.to_owned());
                            ids.push(texts.len() as u32);
                            known.insert(text.to_owned(), texts.len() as u32);
                        }
                    },
                }
            }
            lines.push(line);
            Ok(())
        })?;
        if lines.len() != rows {
            fail!(FileChanged, "{}: shrank while it was read: start again", self.name());
        }
        let target = looks.iter().position(|look| look.target);
        Ok(Rows {
            name: self.name().to_string(),
            columns,
            lines,
            missing: self.missing.to_vec(),
            delimiter: self.delimiter,
            target,
        })
    }
}
