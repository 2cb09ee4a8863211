//! `qorus convert`: other formats to GGUF.

use crate::failure::Result;
use crate::output;
use qorus::convert::{self, Progress};
use qorus::gguf::Gguf;
use serde_json::json;
use std::io::{IsTerminal, Write, stderr};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// A llama2.c checkpoint with its tokenizer.bin beside it, or a directory with config.json, tokenizer.json and
    /// safetensors of a llama, mistral, qwen2 or qwen3 model
    input: PathBuf,
    /// The GGUF file to write
    output: PathBuf,
    /// Print one object
    #[arg(long)]
    json: bool,
}

pub fn main(args: Args) -> Result {
    watched(|progress| convert::convert(&args.input, &args.output, progress))?;
    report(&args.output, args.json)
}

/// Runs a conversion with a bar of its progress, in bytes.
pub fn watched(work: impl FnOnce(convert::OnProgress) -> qorus::Result<()>) -> Result {
    let bar = output::progress_bytes();
    let result = work(&mut |at: Progress| {
        bar.set_length(at.total);
        bar.set_position(at.done);
        if bar.message() != at.tensor {
            bar.set_message(at.tensor.to_owned());
        }
        true
    });
    bar.finish_and_clear();
    Ok(result?)
}

/// Says what was written.
pub fn report(path: &Path, json: bool) -> Result {
    let gguf = Gguf::open(path)?;
    let (bytes, tensors) = (gguf.file_bytes(), gguf.tensors().len());
    if json {
        return output::json(&json!({ "output": gguf.name(), "bytes": bytes, "tensors": tensors }));
    }
    if stderr().is_terminal() {
        let mib = output::mib(bytes as usize);
        let _ = writeln!(stderr(), "{}: {tensors} tensors, {mib} MiB", gguf.name());
    }
    Ok(())
}
