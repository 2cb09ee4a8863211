//! `qorus tokenize`: text to token ids as a JSON array, and back.

use crate::args::{self, Model};
use crate::failure::{Result, run};
use crate::output;
use qorus::Code;
use qorus::tokenizer::{Encode, Tokenizer};
use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: Model,
    /// Read the text from a file; `-` is stdin
    #[arg(short, long, value_name = "FILE", conflicts_with = "text", required_unless_present = "text")]
    file: Option<PathBuf>,
    /// Add what the file says goes around a text: BOS before it
    #[arg(long)]
    bos: bool,
    /// Read text such as <|im_end|> as its token; with --decode, write such tokens out
    #[arg(long)]
    special: bool,
    /// The way back: TEXT holds ids, as a JSON array or with spaces or commas between them
    #[arg(long, conflicts_with = "bos")]
    decode: bool,
    /// Print JSON, also with --decode: a string
    #[arg(long)]
    json: bool,
    /// The text; put `--` before one that begins with `-`
    text: Option<String>,
}

pub fn main(args: Args) -> Result {
    let text = args::text(args.text, args.file.as_deref())?;
    let tokenizer = Tokenizer::new(args.model.open()?)?;
    if args.decode {
        let text = decode(&tokenizer, &ids(&text)?, args.special)?;
        if args.json {
            return output::json(&text.into());
        }
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        if out.is_terminal() && !text.ends_with('\n') {
            writeln!(out)?;
        }
        return Ok(());
    }
    let mut ids = Vec::new();
    tokenizer.encode_each(&text, Encode { bos: args.bos, special: args.special }, |id| {
        ids.push(id);
        Ok(())
    })?;
    output::json(&ids.into_iter().map(Value::from).collect())
}

/// The ids in a text.
fn ids(text: &str) -> Result<Vec<u32>> {
    let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
    let words = inner.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
    let id = |word: &str| match word.parse() {
        Ok(id) => Ok(id),
        Err(_) => run(format_args!("{word:?} is no token id: give numbers, as in [1, 15043]")),
    };
    words.map(id).collect()
}

fn decode(tokenizer: &Tokenizer, ids: &[u32], special: bool) -> Result<String> {
    let mut out = vec![0; 64 + 16 * ids.len()];
    loop {
        match tokenizer.decode(ids, special, &mut out) {
            Ok(len) => {
                out.truncate(len);
                return Ok(String::from_utf8_lossy(&out).into_owned());
            }
            Err(e) if e.code() == Code::BufferTooSmall => out.resize(2 * out.len(), 0),
            Err(e) => return Err(e.into()),
        }
    }
}
