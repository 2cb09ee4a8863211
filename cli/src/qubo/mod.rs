//! `qorus qubo`: problems from files solved, looked at and written in other forms, and whole questions asked of tables.

mod assign;
mod convert;
mod features;
mod info;
mod initial;
mod input;
mod question;
mod solve;
mod solving;
mod subset;
mod table;
mod watch;

use crate::failure::Result;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Find the best assignment of a problem's variables; Ctrl-C ends with the best so far.
    Solve(solve::Args),
    /// Show a problem's size and structure, and what solving it will take.
    Info(info::Args),
    /// Write a problem in another form.
    Convert(convert::Args),
    /// Choose columns of a table that say much of a target and little of each other.
    Features(features::Args),
    /// Choose rows of a table that are good and not alike, under a budget.
    Subset(subset::Args),
    /// Choose one option for each item, under a total budget.
    Assign(assign::Args),
}

pub fn main(args: Args) -> Result {
    match args.command {
        Command::Solve(args) => solve::main(args),
        Command::Info(args) => info::main(args),
        Command::Convert(args) => convert::main(args),
        Command::Features(args) => features::main(args),
        Command::Subset(args) => subset::main(args),
        Command::Assign(args) => assign::main(args),
    }
}
