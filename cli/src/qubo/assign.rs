//! `qorus qubo assign`: one option for each item, under a total budget.

use super::question::answer;
use super::solving::Solving;
use super::table::Table;
use crate::failure::Result;
use qorus::qubo::form::Slack;
use qorus::qubo::form::assign::{Choice, Items};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// A CSV file with the columns item, option, loss and cost: a line for each option of each item
    table: PathBuf,
    /// What the chosen options may cost together
    #[arg(long, value_name = "B")]
    budget: f64,
    /// Keep the budget without further variables: faster for many items, but without a guarantee
    #[arg(long)]
    unbalanced: bool,
    #[command(flatten)]
    solving: Solving,
}

pub fn main(args: Args) -> Result {
    let table = Table::read(&args.table)?;
    let [items, options] = ["item", "option"].map(|name| table.column(name).map(|c| table.texts(c)));
    let (items, options): (Vec<&str>, Vec<&str>) = (items?.collect(), options?.collect());
    let losses = table.numbers(table.column("loss")?)?;
    let costs = table.numbers(table.column("cost")?)?;
    let mut known: Vec<&str> = Vec::new();
    let mut choices = Vec::new();
    for ((name, &loss), &cost) in items.iter().zip(&losses).zip(&costs) {
        let item = known.iter().position(|k| k == name).unwrap_or(known.len());
        if item == known.len() {
            known.push(name);
        }
        choices.push(Choice { item, loss, cost });
    }
    let names: Vec<String> = items.iter().zip(&options).map(|(item, option)| format!("{item}={option}")).collect();
    let items = Items::new(choices, args.budget)?;
    let slack = if args.unbalanced { Slack::Unbalanced(None) } else { Slack::Bits };
    answer(&args.solving, &items.choose(slack)?, &items.greedy(), &names, &|x| vec![("cost", items.cost(x))])
}
