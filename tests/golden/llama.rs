//! The llamas of the golden files, as GGUF.

use super::Golden;
use qorus::Type;
use qorus::gguf::{Gguf, Writer};
use std::sync::Arc;

/// The llama of a file of values, as GGUF: tied when there is no output matrix.
pub fn llama(file: &Golden, tied: bool) -> Arc<Gguf> {
    let mut w = Writer::new();
    w.put("general.architecture", "llama").unwrap();
    for (key, value) in [
        ("context_length", 64u32),
        ("embedding_length", 64),
        ("block_count", 2),
        ("feed_forward_length", 128),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("rope.dimension_count", 16),
        ("vocab_size", 256),
    ] {
        w.put(&format!("llama.{key}"), value).unwrap();
    }
    w.put("llama.rope.freq_base", 10000f32).unwrap();
    w.put("llama.attention.layer_norm_rms_epsilon", 1e-5f32).unwrap();
    let names = names(tied);
    for (ours, theirs) in &names {
        let mut dims: Vec<u64> = file.shape(&format!("w/{theirs}")).iter().map(|&d| d as u64).collect();
        dims.reverse();
        w.tensor(&format!("{ours}.weight"), Type::F32, &dims).unwrap();
    }
    let mut out = w.begin(Vec::new()).unwrap();
    for (_, theirs) in &names {
        out.write(bytemuck::cast_slice(&file.f32(&format!("w/{theirs}")))).unwrap();
    }
    Arc::new(Gguf::from_bytes(out.finish().unwrap()).unwrap())
}

/// Names of the tensors, ours and the file's.
pub fn names(tied: bool) -> Vec<(String, String)> {
    let mut names = vec![("token_embd".to_owned(), "tok_emb".to_owned())];
    for i in 0..2 {
        for (ours, theirs) in [
            ("attn_norm", "attn_norm"),
            ("attn_q", "wq"),
            ("attn_k", "wk"),
            ("attn_v", "wv"),
            ("attn_output", "wo"),
            ("ffn_norm", "ffn_norm"),
            ("ffn_gate", "w_gate"),
            ("ffn_up", "w_up"),
            ("ffn_down", "w_down"),
        ] {
            names.push((format!("blk.{i}.{ours}"), format!("l{i}.{theirs}")));
        }
    }
    names.push(("output_norm".to_owned(), "out_norm".to_owned()));
    if !tied {
        names.push(("output".to_owned(), "lm_head".to_owned()));
    }
    names
}
