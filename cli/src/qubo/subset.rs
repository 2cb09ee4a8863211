//! `qorus qubo subset`: rows that are good and not alike, under a budget.

use super::question::answer;
use super::solving::Solving;
use super::table::Table;
use crate::failure::Result;
use qorus::qubo::form::subset::{Rows, cosine};
use qorus::qubo::form::{Slack, Weights};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// A CSV file with column names in its first line
    table: PathBuf,
    /// What the chosen rows may cost together
    #[arg(long, value_name = "B")]
    budget: f64,
    /// The column of what a row is worth
    #[arg(long, value_name = "COLUMN", default_value = "quality")]
    quality: String,
    /// The column of what a row costs [default: 1 each]
    #[arg(long, value_name = "COLUMN")]
    cost: Option<String>,
    /// Columns of numbers that tell how alike rows are, by the cosine of the angle between them
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',', required = true)]
    vectors: Vec<String>,
    /// What the likeness of two chosen rows is multiplied with before it is taken from their worth
    #[arg(long, value_name = "W", default_value_t = 1.0, allow_negative_numbers = true)]
    diversity: f64,
    /// The column of names [default: rows are numbered from 1]
    #[arg(long, value_name = "COLUMN")]
    name: Option<String>,
    /// Keep the budget without further variables: faster on many rows, but without a guarantee
    #[arg(long)]
    unbalanced: bool,
    #[command(flatten)]
    solving: Solving,
}

pub fn main(args: Args) -> Result {
    let table = Table::read(&args.table)?;
    let quality = table.numbers(table.column(&args.quality)?)?;
    let costs = match &args.cost {
        Some(name) => table.numbers(table.column(name)?)?,
        None => vec![1.0; table.len()],
    };
    let columns =
        args.vectors.iter().map(|name| table.numbers(table.column(name)?)).collect::<Result<Vec<Vec<f64>>>>()?;
    let vectors: Vec<f64> = (0..table.len()).flat_map(|row| columns.iter().map(move |c| c[row])).collect();
    let names: Vec<String> = match &args.name {
        Some(name) => table.texts(table.column(name)?).map(String::from).collect(),
        None => (1..=table.len()).map(|row| row.to_string()).collect(),
    };
    let similarity = cosine(&vectors, columns.len())?;
    let rows = Rows { quality, cost: Weights::new(&costs, args.budget)?, similarity, diversity: args.diversity };
    let slack = if args.unbalanced { Slack::Unbalanced(None) } else { Slack::Bits };
    let cost = |x: &[u8]| vec![("cost", costs.iter().zip(x).filter(|(_, v)| **v != 0).map(|(c, _)| c).sum())];
    answer(&args.solving, &rows.choose(slack)?, &rows.greedy(), &names, &cost)
}
