//! Models of tests/reference, run.
#![allow(dead_code)] // no test uses all of it

use qorus::engine::{Context, ContextParams, Model, Runtime, Token};
use qorus::{Isa, Type};
use std::io::Write as _; // not held back by the test harness, as the print macros are
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file in the workspace's `tests/reference`.
pub fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name)
}

/// A model on `threads` threads at level `isa`.
pub fn open(path: &Path, threads: usize, isa: Isa) -> Arc<Model> {
    let runtime = Runtime::new(threads, Some(isa)).unwrap();
    Model::open(&runtime, path).unwrap_or_else(|e| panic!("{e}"))
}

/// The levels this CPU has; the others are named.
pub fn levels() -> Vec<Isa> {
    let (have, lack): (Vec<_>, Vec<_>) = Isa::ALL.into_iter().partition(|isa| isa.available());
    lack.iter().for_each(|isa| drop(writeln!(std::io::stderr(), "SKIPPED: this CPU has no {}", isa.name())));
    have
}

/// A context that keeps the logits of `n` tokens.
pub fn context(model: &Arc<Model>, n_ctx: usize, n: usize, kv: Type) -> Context {
    let params = ContextParams { n_ctx, n_batch: n, n_outputs: n, kv, ..ContextParams::default() };
    Context::new(model, &params).unwrap_or_else(|e| panic!("{e}"))
}

/// Tokens of sequence 0 from position 0, all of which want logits.
pub fn batch(tokens: &[u32]) -> Vec<Token> {
    tokens.iter().zip(0..).map(|(&id, pos)| Token { id, seq: 0, pos, logits: true }).collect()
}

/// Logits after each token, computed in one batch.
pub fn logits(ctx: &mut Context, tokens: &[u32]) -> Vec<f32> {
    ctx.decode(&batch(tokens)).unwrap_or_else(|e| panic!("{e}"));
    (0..tokens.len()).flat_map(|i| ctx.logits(i).unwrap().to_vec()).collect()
}

/// A reference: its tokens, context length and logits.
pub struct Golden {
    pub tokens: Vec<u32>,
    pub n_ctx: usize,
    pub logits: Vec<f32>,
}

impl Golden {
    /// Reads a `.logits` file; the format stands in tests/reference/README.md.
    pub fn read(path: &Path) -> Golden {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(&bytes[..4], b"QREF");
        let words: Vec<[u8; 4]> = bytes[4..].chunks_exact(4).map(|c| c.try_into().unwrap()).collect();
        let int = |i: usize| u32::from_le_bytes(words[i]);
        let n = int(0) as usize;
        let logits: Vec<f32> = words[3 + n..].iter().map(|w| f32::from_le_bytes(*w)).collect();
        assert_eq!(logits.len(), n * int(1) as usize);
        Golden { tokens: (0..n).map(|i| int(3 + i)).collect(), n_ctx: int(2) as usize, logits }
    }
}

/// The bits of floats, to compare exactly.
pub fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| v.to_bits()).collect()
}
