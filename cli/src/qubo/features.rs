//! `qorus qubo features`: columns that say much of a target and little of each other.

use super::question::answer;
use super::solving::Solving;
use super::table::Table;
use crate::failure::{Result, usage};
use qorus::qubo::form::features::Information;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// A CSV file with column names in its first line
    table: PathBuf,
    /// The column to be told
    #[arg(long, value_name = "COLUMN")]
    target: String,
    /// How many columns
    #[arg(short, value_name = "K", value_parser = crate::args::count())]
    k: usize,
    /// Bins that columns of numbers are put into
    #[arg(long, value_name = "N", default_value_t = 8)]
    bins: usize,
    /// Columns to leave out
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    ignore: Vec<String>,
    #[command(flatten)]
    solving: Solving,
}

pub fn main(args: Args) -> Result {
    let table = Table::read(&args.table)?;
    let target = table.column(&args.target)?;
    let left_out = args.ignore.iter().map(|name| table.column(name)).collect::<Result<Vec<_>>>()?;
    let columns: Vec<usize> = (0..table.names.len()).filter(|c| *c != target && !left_out.contains(c)).collect();
    if args.k > columns.len() {
        return usage(format_args!("-k {}: the table has {} columns to choose from", args.k, columns.len()));
    }
    let codes = columns.iter().map(|&c| table.codes(c, args.bins)).collect::<Result<Vec<_>>>()?;
    let information = Information::of(&codes, &table.codes(target, args.bins)?)?;
    let names: Vec<String> = columns.iter().map(|&c| table.names[c].clone()).collect();
    let formulated = information.choose(args.k)?;
    answer(&args.solving, &formulated, &information.greedy(args.k), &names, &|_| Vec::new())
}
