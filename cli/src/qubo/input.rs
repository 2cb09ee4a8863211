//! The file of a problem, and how it is read.

use crate::failure::Result;
use qorus::qubo::format::{self, Format, Instance, ReadParams, Vartype};
use std::io::Write;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Input {
    /// The problem
    pub file: PathBuf,
    /// Its form: gset, orlib, qbsolv, coo, bqm, bqpjson or qio [default: what it looks like, where that leaves no doubt]
    #[arg(long, value_name = "FORM", value_parser = form)]
    format: Option<Format>,
    /// What the variables of a COO file without a header are: binary or spin
    #[arg(long, value_name = "TYPE", value_parser = vartype)]
    vartype: Option<Vartype>,
    /// Which problem of an OR-Library file, from 1
    #[arg(long, value_name = "N", value_parser = crate::args::count())]
    problem: Option<usize>,
}

impl Input {
    /// Reads the file; what a user should know of it goes to stderr.
    pub fn read(&self) -> Result<Instance> {
        let params = ReadParams { format: self.format, vartype: self.vartype, problem: self.problem };
        let instance = format::read(&self.file, &params)?;
        remark(&instance.notes);
        Ok(instance)
    }
}

/// Prints notes for people.
pub fn remark(notes: &[String]) {
    for note in notes {
        let _ = writeln!(std::io::stderr(), "qorus: note: {note}");
    }
}

/// The form of that name.
pub fn form(name: &str) -> std::result::Result<Format, String> {
    Format::from_name(name).ok_or_else(|| format!("give {}", Format::ALL.map(Format::name).join(", ")))
}

fn vartype(name: &str) -> std::result::Result<Vartype, String> {
    match name {
        "binary" => Ok(Vartype::Binary),
        "spin" => Ok(Vartype::Spin),
        _ => Err("give binary or spin".into()),
    }
}
