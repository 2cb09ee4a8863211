//! The `qorus` command: everything the library does, to be tried without writing code.
//!
//! One file per command. Each has a struct of arguments, whose comments are the help text, and a function `main`.

mod allocations;
mod args;
mod bench;
mod chat;
mod convert;
#[cfg(feature = "default-model")]
mod embedded;
mod eval;
mod failure;
mod finetune;
mod inspect;
mod interrupt;
mod kernels;
mod lora;
mod measures;
mod merge;
mod output;
mod plan;
mod predict;
mod quantize;
mod qubo;
mod run;
mod sink;
mod tokenize;
mod train;

use clap::Parser;
use std::process::ExitCode;

/// Runs language models on ordinary CPUs, in a memory budget stated beforehand.
#[derive(Parser)]
#[command(name = "qorus", version, max_term_width = 100)]
enum Command {
    /// Continue a text.
    Run(run::Args),
    /// Talk with a model, through its own template.
    Chat(chat::Args),
    /// Turn text into token ids, or back.
    Tokenize(tokenize::Args),
    /// Show what a file holds: metadata, tensors, types, sizes.
    Inspect(inspect::Args),
    /// Say how much memory a model will take, from its metadata alone.
    Plan(plan::Args),
    /// Measure how well a model predicts a text: its perplexity.
    Eval(eval::Args),
    /// Write a GGUF file again at another storage type.
    Quantize(quantize::Args),
    /// Turn a llama2.c checkpoint or safetensors into a GGUF file.
    Convert(convert::Args),
    /// Train an adapter for a model from examples; the model stays as it is.
    Finetune(finetune::Args),
    /// Make adapters part of a model, as a new GGUF file.
    Merge(merge::Args),
    /// Train a model as a file describes it: from nothing, or going on with one.
    Train(train::Args),
    /// Tell a column of a table from the others, by a model of tables.
    Predict(predict::Args),
    /// Solve quadratic problems over zeros and ones, look at them, and ask whole questions of tables.
    Qubo(qubo::Args),
    /// Measure speed: tokens per second, bytes per second, share of the machine's limit.
    Bench(bench::Args),
    /// Time every kernel against its scalar definition.
    Kernels(kernels::Args),
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Run(args) => run::main(args),
        Command::Chat(args) => chat::main(args),
        Command::Tokenize(args) => tokenize::main(args),
        Command::Inspect(args) => inspect::main(args),
        Command::Plan(args) => plan::main(args),
        Command::Eval(args) => eval::main(args),
        Command::Quantize(args) => quantize::main(args),
        Command::Convert(args) => convert::main(args),
        Command::Finetune(args) => finetune::main(args),
        Command::Merge(args) => merge::main(args),
        Command::Train(args) => train::main(args),
        Command::Predict(args) => predict::main(args),
        Command::Qubo(args) => qubo::main(args),
        Command::Bench(args) => bench::main(args),
        Command::Kernels(args) => kernels::main(args),
    };
    failure::exit(result)
}
