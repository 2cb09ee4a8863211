//! What goes to stdout: text, tables and JSON; and progress, on stderr when that is a terminal.

use crate::failure::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::io::{self, Write};

/// One line of JSON.
pub fn json(value: &Value) -> Result {
    let mut out = io::BufWriter::new(io::stdout().lock());
    serde_json::to_writer(&mut out, value)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// The shortest decimal number that reads back as `x`; null for what is no number.
pub fn float(x: f32) -> Value {
    x.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// Rows in columns as wide as they need; columns whose head begins with `>` end at the right.
pub fn table(heads: &[&str], rows: &[Vec<String>]) -> Result {
    let right: Vec<bool> = heads.iter().map(|head| head.starts_with('>')).collect();
    let heads: Vec<&str> = heads.iter().map(|head| head.trim_start_matches('>')).collect();
    let longest = |i: usize| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = heads.iter().enumerate().map(|(i, head)| longest(i).max(head.len())).collect();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut line = |cells: &mut dyn Iterator<Item = &str>| -> io::Result<()> {
        let mut text = String::new();
        for (i, cell) in cells.enumerate() {
            let gap = " ".repeat(widths[i].saturating_sub(cell.chars().count()));
            let (before, after) = if right[i] { (gap.as_str(), "") } else { ("", gap.as_str()) };
            text.extend([if i > 0 { "  " } else { "" }, before, cell, after]);
        }
        writeln!(out, "{}", text.trim_end())
    };
    line(&mut heads.iter().copied())?;
    for row in rows {
        line(&mut row.iter().map(String::as_str))?;
    }
    Ok(out.flush()?)
}

/// A line of text.
pub fn line(text: &str) -> Result {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

/// Bytes in MiB, as `1.23`.
pub fn mib(bytes: usize) -> String {
    format!("{:.2}", bytes as f64 / (1 << 20) as f64)
}

/// A bar of `steps` steps; invisible when stderr is no terminal.
pub fn progress(steps: usize) -> ProgressBar {
    bar(steps as u64, "{bar:30} {pos}/{len}  {eta} left  {msg}")
}

/// The same for bytes, whose number comes later.
pub fn progress_bytes() -> ProgressBar {
    bar(0, "{bar:30} {bytes}/{total_bytes}  {eta} left  {msg}")
}

fn bar(steps: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(steps).with_style(style)
}
