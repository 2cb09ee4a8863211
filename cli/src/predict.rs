//! `qorus predict`: a table model applied to a table.

use crate::args;
use crate::failure::{Result, run};
use crate::measures::{Measures, number};
use crate::output;
use qorus::Products;
use qorus::engine::Model;
use qorus::memory::save::SaveFile;
use qorus::train::data::table::{Bound, Description, Rows, Target};
use qorus::train::table::{Predictor, of_model};
use serde_json::{Map, Value, json};
use std::io::{BufWriter, Write, stdout};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// A model of tables, as `qorus train` makes them
    #[arg(short, long, value_name = "FILE")]
    model: PathBuf,
    /// Write to a file instead [default: to stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write an object for each row instead of CSV, and at the end the measures, where the table has the target
    #[arg(long)]
    json: bool,
    /// Bytes of memory at most for the table's cells; k, M and G stand for powers of 1024
    #[arg(long, value_name = "BYTES", default_value = "1G", value_parser = args::bytes)]
    max_bytes: usize,
    #[command(flatten)]
    threads: args::Threads,
    /// A CSV file with the columns that the model was trained on, in any order; others beside them are passed over
    file: PathBuf,
}

pub fn main(args: Args) -> Result {
    let runtime = args.threads.runtime(Products::F32)?;
    let mut predictor = of_model(&Model::open(&runtime, &args.model)?)?;
    let description = predictor.description().clone();
    let table = Bound::new(Rows::read_for(&args.file, &description, args.max_bytes)?, description.clone())?;
    for (column, cells) in table.unknown() {
        let cells =
            if cells == 1 { "a cell holds a category".into() } else { format!("{cells} cells hold categories") };
        let _ = writeln!(
            std::io::stderr(),
            "{}: column {column:?}: {cells} that the model does not know, taken as one that is not known",
            args.file.display()
        );
    }
    let measures = match &args.output {
        None => {
            let mut out = BufWriter::new(stdout().lock());
            let measures = write(&mut predictor, &table, args.json, &mut out)?;
            out.flush()?;
            measures
        }
        Some(path) => to_file(path, |out| write(&mut predictor, &table, args.json, out))?,
    };
    let Some(measures) = measures else { return Ok(()) };
    if args.json {
        if args.output.is_some() { output::json(&json!({"measures": measures.json()})) } else { Ok(()) }
    } else {
        let _ = write!(std::io::stderr(), "{}", measures.text());
        Ok(())
    }
}

/// Writes a file that is there whole or not at all.
fn to_file<T>(path: &Path, f: impl FnOnce(&mut BufWriter<SaveFile>) -> Result<T>) -> Result<T> {
    let mut out = BufWriter::new(SaveFile::create(path)?);
    let result = f(&mut out)?;
    match out.into_inner() {
        Ok(file) => file.commit()?,
        Err(e) => return run(format_args!("{}: cannot be written: {}", path.display(), e.error())),
    }
    Ok(result)
}

/// A line for each row, and what the predictions come to where the table says what is true.
fn write(predictor: &mut Predictor, table: &Bound, json: bool, out: &mut dyn Write) -> Result<Option<Measures>> {
    let description = predictor.description().clone();
    if !json {
        writeln!(out, "{}", head(&description))?;
    }
    let rows: Vec<u32> = (0..table.len() as u32).collect();
    let (mut all, mut failed) = (Vec::new(), None);
    let told = predictor.each(table, &rows, &mut |row, told| {
        let line = if json { object(&description, row, told).to_string() } else { cells(&description, row, told) };
        if let Err(e) = writeln!(out, "{line}") {
            let message = e.to_string();
            failed = Some(e);
            return Err(qorus::Error::new(qorus::Code::Io, message));
        }
        all.extend_from_slice(told);
        Ok(())
    });
    match failed {
        Some(e) => return Err(e.into()),
        None => told?,
    }
    let classes: Vec<u32> = (0..table.len()).filter_map(|row| table.class(row)).collect();
    let values: Vec<f32> = (0..table.len()).filter_map(|row| table.raw(row)).collect();
    if classes.is_empty() && values.is_empty() {
        return Ok(None);
    }
    let measures = Measures::new(&description, &all, &classes, &values)?;
    if json {
        writeln!(out, "{}", json!({"measures": measures.json()}))?;
    }
    Ok(Some(measures))
}

/// The class of the greatest probability.
fn greatest(told: &[f32]) -> usize {
    (1..told.len()).fold(0, |best, i| if told[i] > told[best] { i } else { best })
}

fn head(description: &Description) -> String {
    match &description.target {
        Target::Number { name, .. } => format!("row,{}", quoted(name)),
        Target::Classes { name, classes } => {
            let each = classes.iter().map(|class| quoted(&format!("p({class})")));
            ["row".to_owned(), quoted(name)].into_iter().chain(each).collect::<Vec<_>>().join(",")
        }
    }
}

fn cells(description: &Description, row: usize, told: &[f32]) -> String {
    match &description.target {
        Target::Number { .. } => format!("{},{}", row + 1, told[0]),
        Target::Classes { classes, .. } => {
            let each: Vec<String> = told.iter().map(f32::to_string).collect();
            format!("{},{},{}", row + 1, quoted(&classes[greatest(told)]), each.join(","))
        }
    }
}

fn object(description: &Description, row: usize, told: &[f32]) -> Value {
    match &description.target {
        Target::Number { .. } => json!({"row": row + 1, "prediction": number(told[0])}),
        Target::Classes { classes, .. } => {
            let each: Map<String, Value> = classes.iter().cloned().zip(told.iter().map(|p| number(*p))).collect();
            json!({"row": row + 1, "prediction": classes[greatest(told)], "probabilities": each})
        }
    }
}

/// A cell of a CSV file (RFC 4180).
fn quoted(text: &str) -> String {
    let plain = !text.contains([',', '"', '\n', '\r']) && text.trim() == text;
    if plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}
