//! `qorus inspect`: a file's metadata and tensors.

use crate::failure::Result;
use crate::output;
use qorus::gguf::{Array, Gguf, TensorInfo, Value, ValueType};
use serde_json::{Value as Json, json};
use std::io::{BufWriter, Write, stdout};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// Print one object, arrays whole
    #[arg(long)]
    json: bool,
    /// A GGUF file; of a split model, its first part
    model: PathBuf,
}

/// Elements of an array that the text shows.
const SHOWN: usize = 6;
/// Characters of a string that the text shows.
const SHOWN_CHARS: usize = 100;

pub fn main(args: Args) -> Result {
    let gguf = Gguf::open(&args.model)?;
    if args.json {
        let metadata: serde_json::Map<String, Json> =
            gguf.entries().map(|(key, value)| (key.to_owned(), whole(value))).collect();
        let tensors: Vec<Json> = gguf.tensors().iter().map(|t| tensor(&gguf, t)).collect();
        return output::json(&json!({
            "version": gguf.version(),
            "file_bytes": gguf.file_bytes(),
            "metadata": metadata,
            "tensors": tensors,
        }));
    }
    let mut out = BufWriter::new(stdout().lock());
    writeln!(out, "{}: GGUF version {}, {} bytes", gguf.name(), gguf.version(), gguf.file_bytes())?;
    writeln!(out, "\n{} keys", gguf.entries().len())?;
    for (key, value) in gguf.entries() {
        writeln!(out, "{key} = {}", shown(value))?;
    }
    let elements: u64 = gguf.tensors().iter().map(TensorInfo::elements).sum();
    let bytes: u64 = gguf.tensors().iter().map(|t| t.bytes).sum();
    writeln!(out, "\n{} tensors, {elements} elements, {} MiB", gguf.tensors().len(), output::mib(bytes as usize))?;
    out.flush()?;
    drop(out);
    let row = |t: &TensorInfo| {
        let dims: Vec<String> = dims(t).iter().map(u64::to_string).collect();
        vec![
            gguf.tensor_name(t).escape_debug().to_string(),
            t.ty.name().into(),
            dims.join(" x "),
            t.offset.to_string(),
            t.bytes.to_string(),
        ]
    };
    output::table(&["name", "type", "dims", ">offset", ">bytes"], &gguf.tensors().iter().map(row).collect::<Vec<_>>())
}

fn dims(t: &TensorInfo) -> &[u64] {
    &t.dims[..t.n_dims as usize]
}

fn tensor(gguf: &Gguf, t: &TensorInfo) -> Json {
    json!({
        "name": gguf.tensor_name(t),
        "type": t.ty.name(),
        "dims": dims(t),
        "offset": t.offset,
        "bytes": t.bytes,
        "part": t.part,
    })
}

fn string(bytes: &[u8]) -> Json {
    String::from_utf8_lossy(bytes).into()
}

/// A value as JSON. Bytes that are no UTF-8 become U+FFFD, floats that are no numbers null.
fn whole(value: Value) -> Json {
    match value {
        Value::Str(s) => string(s),
        Value::Bool(b) => b.into(),
        Value::F32(x) => output::float(x),
        Value::F64(x) => x.into(),
        Value::Array(a) => elements(a, a.len()),
        _ => value.int().map_or(Json::Null, integer),
    }
}

/// An integer of a file: it fits in one or the other.
fn integer(n: i128) -> Json {
    u64::try_from(n).map_or(Json::from(n as i64), Json::from)
}

/// The first `n` elements of an array.
fn elements(a: Array, n: usize) -> Json {
    match a.ty() {
        ValueType::F32 | ValueType::F64 => a.f32s().map(|v| v.take(n).map(output::float).collect()),
        ValueType::Str => a.strings().map(|v| v.take(n).map(string).collect()),
        ValueType::Bool => a.bools().map(|v| v.take(n).map(Json::from).collect()),
        _ => a.ints().map(|v| v.take(n).map(integer).collect()),
    }
    .unwrap_or_default()
}

/// A value in one line.
fn shown(value: Value) -> String {
    match value {
        Value::Str(s) => {
            let text = String::from_utf8_lossy(s);
            let head: String = text.chars().take(SHOWN_CHARS).collect();
            let more = if head.len() < text.len() { format!("... ({} bytes)", s.len()) } else { String::new() };
            format!("{head:?}{more}")
        }
        Value::Array(a) => {
            let first = elements(a, SHOWN).to_string();
            let more = if a.len() > SHOWN { ", ..." } else { "" };
            format!("{} {}: {}{more}]", a.len(), a.ty().name(), first.trim_end_matches(']'))
        }
        _ => whole(value).to_string(),
    }
}
