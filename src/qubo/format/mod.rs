//! Files of problems: seven forms that others write, read from untrusted bytes and written again.
//!
//! A reader gives an [`Instance`]: terms over bits in the file's own sense, so that an energy is the value which the file's
//! authors state (the weight of a cut, the maximised value). Spins become bits, x = (s + 1) / 2.

mod bqm;
mod bqpjson;
mod coo;
mod gset;
mod json;
mod orlib;
mod qbsolv;
mod qio;
mod terms;
mod text;

use std::io::Write;
use std::path::Path;

use super::problem::{Problem, Sense};
use crate::error::{Result, fail};
use crate::memory::map::Map;
use crate::memory::save::SaveFile;

/// The greatest whole number below which f64 holds all: 2^53.
pub(super) const EXACT: f64 = 9_007_199_254_740_992.0;

/// A form of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Max-Cut as in Gset, written by rudy: `n m`, then `i j w` from 1. Maximises the weight of the cut.
    Gset,
    /// OR-Library (Beasley): `n nnz`, then `i j q` from 1, maximises x'Qx: off-diagonal entries count twice.
    /// With or without its first line, the number of problems.
    Orlib,
    /// qbsolv: comments `c`, `p qubo 0 n nodes couplers`, then `i j q` from 0. Minimises; off-diagonals count once.
    Qbsolv,
    /// dimod's coordinates: `# vartype=BINARY` or `SPIN`, then `i j q`. Minimises.
    Coo,
    /// dimod's JSON of a binary quadratic model (schema 2 and 3, without bytes). Minimises.
    Bqm,
    /// bqpjson of LANL. Minimises.
    Bqpjson,
    /// The JSON of Azure's quantum-inspired optimization: ising and pubo up to order two, and their grouped forms. Minimises.
    Qio,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 7] =
        [Format::Gset, Format::Orlib, Format::Qbsolv, Format::Coo, Format::Bqm, Format::Bqpjson, Format::Qio];

    /// Its name, as the command has it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Gset => "gset",
            Format::Orlib => "orlib",
            Format::Qbsolv => "qbsolv",
            Format::Coo => "coo",
            Format::Bqm => "bqm",
            Format::Bqpjson => "bqpjson",
            Format::Qio => "qio",
        }
    }

    /// The form of that name.
    pub fn from_name(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name() == name)
    }
}

/// What values a file's variables take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vartype {
    /// 0 and 1.
    Binary,
    /// -1 and 1.
    Spin,
}

/// How a file is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadParams {
    /// Its form. None: guessed, where that leaves no doubt.
    pub format: Option<Format>,
    /// What the variables of a COO file without a header are.
    pub vartype: Option<Vartype>,
    /// Which problem of an OR-Library file, from 1. None: the only one.
    pub problem: Option<usize>,
}

/// A problem as its file has it.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The number of variables.
    pub n: usize,
    /// (i, j, value): value x_i x_j; with i = j, value x_i. Neither in order nor each once.
    pub terms: Vec<(u32, u32, f64)>,
    /// What is added to all of them.
    pub offset: f64,
    /// Which end is the best.
    pub sense: Sense,
    /// What the file's variables were before they became bits.
    pub vartype: Vartype,
    /// The file's names of its variables; None when they are numbers in order.
    pub labels: Option<Vec<String>>,
    /// A state to begin with, where the file has one.
    pub start: Option<Vec<u8>>,
    /// What a user should know: numbers that were rounded.
    pub notes: Vec<String>,
}

impl Instance {
    /// The problem to be solved. Errors: those of [`Problem::from_triplets`].
    pub fn problem(&self) -> Result<Problem> {
        Problem::from_triplets(self.n, &self.terms, self.offset, self.sense)
    }
}

/// Reads the file at `path`.
///
/// Errors: `NotFound`, `Io`; `Format` naming the line, what was expected and what was found; `InvalidArgument` when the form cannot
/// be told and `params` does not name it, or when a parameter is missing that the file asks for; `Unsupported` for terms of higher
/// order; `NotFinite`; `OutOfMemory`. Memory grows with what was read, never with what a file declares.
pub fn read(path: &Path, params: &ReadParams) -> Result<Instance> {
    let map = Map::open(path)?;
    let instance = parse(&map, &path.display().to_string(), params);
    // What a file says that changes under the reader is of no use, be it an error or not.
    map.check_unchanged()?;
    instance
}

/// Reads a file's bytes; `name` stands in messages. Errors as [`read`].
pub fn parse(bytes: &[u8], name: &str, params: &ReadParams) -> Result<Instance> {
    let format = match params.format {
        Some(format) => format,
        None => guess(bytes, name)?,
    };
    match format {
        Format::Gset => gset::read(name, bytes),
        Format::Orlib => orlib::read(name, bytes, params.problem),
        Format::Qbsolv => qbsolv::read(name, bytes),
        Format::Coo => coo::read(name, bytes, params.vartype),
        Format::Bqm => bqm::read(name, bytes),
        Format::Bqpjson => bqpjson::read(name, bytes),
        Format::Qio => qio::read(name, bytes),
    }
}

/// The form of a file, where its beginning leaves no doubt. Errors: `InvalidArgument`.
pub fn guess(bytes: &[u8], name: &str) -> Result<Format> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    if text.first() == Some(&b'{') {
        return json::guess(bytes, name);
    }
    if coo::header(text) {
        return Ok(Format::Coo);
    }
    // Comments of qbsolv are words that begin with a c; no other form has such lines.
    if qbsolv::header(text) {
        return Ok(Format::Qbsolv);
    }
    let numbers = |line: &text::Line| line.fields().count();
    let mut lines = text::Text::new(name, bytes, b'#');
    match (lines.next().as_ref().map(numbers), lines.next().as_ref().map(numbers)) {
        (Some(1), Some(2)) => Ok(Format::Orlib),
        (Some(2), _) => fail!(
            InvalidArgument,
            "{name}: files of gset and orlib look alike, and this one could be either: name its form with --format gset or \
             --format orlib"
        ),
        (Some(3), _) => fail!(
            InvalidArgument,
            "{name}: looks like dimod's COO without its header: add --format coo and --vartype binary or spin"
        ),
        _ => fail!(InvalidArgument, "{name}: has none of the known forms at its beginning: name it with --format"),
    }
}

/// Writes a problem in that form, and gives what the form could not hold: the offset, or the sense, where its values differ from
/// the problem's. `labels` are the variables' names where the form has room for them.
///
/// Errors: `Unsupported` for a problem that is none of the form's: gset holds Max-Cut alone; `Io`.
pub fn write(out: &mut dyn Write, format: Format, problem: &Problem, labels: Option<&[String]>) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let written = match format {
        Format::Gset => return gset::write(out, problem).map(|()| notes),
        Format::Orlib => orlib::write(out, problem, &mut notes),
        Format::Qbsolv => qbsolv::write(out, problem, &mut notes),
        Format::Coo => coo::write(out, problem, &mut notes),
        Format::Bqm => bqm::write(out, problem, labels, &mut notes),
        Format::Bqpjson => bqpjson::write(out, problem, labels, &mut notes),
        Format::Qio => qio::write(out, problem, labels, &mut notes),
    };
    match written {
        Ok(()) => Ok(notes),
        Err(e) => fail!(Io, "the problem cannot be written: {e}"),
    }
}

/// Writes the file at `path`, whole or not at all. Errors as [`write`](fn@write).
pub fn save(path: &Path, format: Format, problem: &Problem, labels: Option<&[String]>) -> Result<Vec<String>> {
    let mut file = SaveFile::create(path)?;
    let notes = write(&mut file, format, problem, labels)?;
    file.commit()?;
    Ok(notes)
}

/// 1 for a problem whose sense is `sense`, else -1, with which values are multiplied; and the notes on sense and offset.
fn turned(problem: &Problem, sense: Sense, offset: bool, notes: &mut Vec<String>) -> f64 {
    if !offset && problem.offset() != 0.0 {
        notes.push(format!("the form has no offset: values of the written file lack {}", problem.offset()));
    }
    if problem.sense() == sense {
        return 1.0;
    }
    let word = if sense == Sense::Minimize { "minimised" } else { "maximised" };
    notes.push(format!("problems of the form are {word}: values of the written file have the opposite sign"));
    -1.0
}

/// The terms of a problem, (i, j, value) with i <= j in order, in its own sense; i = j is a linear one. None is 0.
fn entries(problem: &Problem) -> impl Iterator<Item = (u32, u32, f64)> + '_ {
    (0..problem.len()).flat_map(|i| {
        let linear = Some(problem.linear(i)).filter(|a| *a != 0.0).map(|a| (i as u32, i as u32, a));
        let above = problem.neighbours(i).filter(move |(j, _)| *j as usize > i).map(move |(j, b)| (i as u32, j, b));
        linear.into_iter().chain(above)
    })
}
