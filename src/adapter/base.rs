//! Which base an adapter belongs to: its shapes must fit, and where the adapter says which base it was made for, that one it must be.
//!
//! The hash is BLAKE3 over what decides the results of the base, in an order of its own: every key of the architecture and of
//! the tokenizer but the chat template, by name; then every tensor by name, with its type, shape and bytes. Names, authors, templates
//! and how a file is split or aligned do not count. All weights are read, so that no other base passes for it; BLAKE3 is made to be
//! fast on CPUs without instructions for SHA too.

use super::{Adapter, Pair};
use crate::error::{Result, fail};
use crate::gguf::{Gguf, Value};

/// What tells a base apart, 32 bytes; see the module. Reads all of it.
pub fn base_hash(base: &Gguf) -> [u8; 32] {
    let mut hash = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(b"qorus base 1");
    let mut entries: Vec<(&str, Value)> = base.entries().filter(|(key, _)| counts(key)).collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    for (key, value) in entries {
        part(key.as_bytes());
        match value {
            Value::Str(text) => part(text),
            Value::Array(array) => {
                part(array.ty().name().as_bytes());
                part(array.bytes());
            }
            // Numbers as text: what is 4 as an i32 and 4 as a u32 is the same number.
            other => part(other.to_string().as_bytes()),
        }
    }
    let mut tensors: Vec<_> = base.tensors().iter().collect();
    tensors.sort_unstable_by_key(|t| base.tensor_name(t));
    for t in tensors {
        part(base.tensor_name(t).as_bytes());
        part(&t.ty.id().to_le_bytes());
        t.dims.iter().for_each(|d| part(&d.to_le_bytes()));
        part(base.data(t));
    }
    *hash.finalize().as_bytes()
}

/// Whether a key decides results.
fn counts(key: &str) -> bool {
    key == "general.architecture"
        || !(key.starts_with("general.") || key.starts_with("split.") || key.starts_with("tokenizer.chat_template"))
}

/// See [`Adapter::check`].
pub(super) fn check(adapter: &Adapter, base: &Gguf, force: bool) -> Result<()> {
    let (name, file) = (&adapter.name, base.name());
    let arch = base.str("general.architecture")?.unwrap_or_default();
    if adapter.arch != arch {
        fail!(Shape, "{name}: is an adapter of the architecture {:?}, {file} has {arch:?}", adapter.arch);
    }
    adapter.pairs.iter().try_for_each(|pair| fits(pair, name, base))?;
    let Some(made_for) = adapter.base.filter(|_| !force) else { return Ok(()) };
    let found = base_hash(base);
    if made_for != found {
        fail!(
            State,
            "{name}: was made for another base: its hash is {}, that of {file} {}; take that base, or override the check (--any-base)",
            short(&made_for),
            short(&found)
        );
    }
    Ok(())
}

fn fits(pair: &Pair, name: &str, base: &Gguf) -> Result<()> {
    let (tensor, file) = (&pair.tensor, base.name());
    let of = |name: &str| base.tensor(name);
    // A base whose head is its embedding has no tensor of the head's name.
    let found = of(tensor).or_else(|| of("token_embd.weight").filter(|_| tensor == "output.weight"));
    let Some(t) = found else {
        fail!(NotFound, "{name}: changes the tensor {tensor:?}, which {file} does not have: it is of another base");
    };
    if tensor == "token_embd.weight" {
        fail!(Unsupported, "{name}: changes the embedding {tensor:?}; adapters of matrices are supported");
    }
    let [cols, rows, experts, _] = t.dims;
    let shape = [pair.cols, pair.rows, pair.experts].map(|n| n as u64);
    if t.n_dims < 2 || [cols, rows, experts] != shape {
        fail!(
            Shape,
            "{name}: the pair of {tensor:?} is for {shape:?}, {file} has {:?} there: it is of another base",
            &t.dims[..t.n_dims.max(1) as usize]
        );
    }
    Ok(())
}

fn short(hash: &[u8; 32]) -> String {
    hex(hash).chars().take(16).collect()
}

/// As digits.
pub(super) fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

/// The way back.
pub(super) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes().as_chunks::<2>().0;
    let mut hash = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (to, digits) in hash.iter_mut().zip(digits) {
        let [high, low] = digits.map(|d| (d as char).to_digit(16));
        *to = (high? << 4 | low?) as u8;
    }
    Some(hash)
}
