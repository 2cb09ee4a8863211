//! A small llama model, written by the library's own writer, and ways to spoil it.
//!
//! `llama()` gives a `Writer` with every key and tensor declared: set a key to something bad before `finish`, or
//! leave one out with `without`, or overwrite bytes of the result with `patch`.

use qorus::Type;
use qorus::gguf::{Gguf, Writer};

pub const DIM: u64 = 32;
pub const FFN: u64 = 64;
pub const LAYERS: u32 = 2;
pub const VOCAB: u64 = 3 + 256 + 5;

/// 2 layers of 4 heads, 2 of them for keys and values, and a vocabulary of bytes.
pub fn llama() -> Writer {
    let mut w = Writer::new();
    (|| -> qorus::Result<()> {
        w.put("general.architecture", "llama")?.put("general.name", "small")?;
        w.put("llama.context_length", 64u32)?.put("llama.embedding_length", DIM as u32)?;
        w.put("llama.block_count", LAYERS)?.put("llama.feed_forward_length", FFN as u32)?;
        w.put("llama.attention.head_count", 4u32)?.put("llama.attention.head_count_kv", 2u32)?;
        w.put("llama.rope.dimension_count", 8u32)?.put("llama.rope.freq_base", 10000f32)?;
        w.put("llama.attention.layer_norm_rms_epsilon", 1e-5f32)?.put("llama.vocab_size", VOCAB as u32)?;
        w.put("tokenizer.ggml.model", "llama")?.put("tokenizer.ggml.pre", "default")?;
        let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).into();
        tokens.extend((0..=255).map(|b| format!("<0x{b:02X}>")));
        tokens.extend(["\u{2581}", "a", "b", "\u{2581}a", "ab"].map(String::from));
        let types: Vec<i32> = (0..VOCAB)
            .map(|i| {
                if i == 0 {
                    2
                } else if i < 3 {
                    3
                } else if i < 259 {
                    6
                } else {
                    1
                }
            })
            .collect();
        let scores: Vec<f32> = (0..VOCAB).map(|i| if i < 259 { 0.0 } else { -(i as f32) }).collect();
        w.put_strings("tokenizer.ggml.tokens", &tokens)?;
        w.put("tokenizer.ggml.scores", &scores[..])?.put("tokenizer.ggml.token_type", &types[..])?;
        w.put("tokenizer.ggml.bos_token_id", 1u32)?.put("tokenizer.ggml.eos_token_id", 2u32)?;
        w.put("tokenizer.ggml.unknown_token_id", 0u32)?.put("tokenizer.ggml.add_bos_token", true)?;
        w.tensor("token_embd.weight", Type::F32, &[DIM, VOCAB])?;
        for i in 0..LAYERS {
            for (name, dims) in [
                ("attn_norm", &[DIM][..]),
                ("attn_q", &[DIM, DIM]),
                ("attn_k", &[DIM, DIM / 2]),
                ("attn_v", &[DIM, DIM / 2]),
                ("attn_output", &[DIM, DIM]),
                ("ffn_norm", &[DIM]),
                ("ffn_gate", &[DIM, FFN]),
                ("ffn_up", &[DIM, FFN]),
                ("ffn_down", &[FFN, DIM]),
            ] {
                w.tensor(&format!("blk.{i}.{name}.weight"), Type::F32, dims)?;
            }
        }
        w.tensor("output_norm.weight", Type::F32, &[DIM])?;
        Ok(())
    })()
    .expect("the small model is well-formed");
    w
}

/// The file's bytes, its weights small numbers that are the same each time.
pub fn finish(w: Writer) -> Vec<u8> {
    let mut out = w.begin(Vec::new()).expect("a vector takes all");
    let mut state = 1u32;
    while let Some(bytes) = out.lacks() {
        let mut number = || {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            ((state >> 8) as f32 / (1 << 24) as f32 - 0.5) * 0.2
        };
        let mut weights: Vec<u8> = (0..bytes / 4).flat_map(|_| number().to_le_bytes()).collect();
        weights.resize(bytes as usize, 0);
        out.write(&weights).expect("as many bytes as it lacks");
    }
    out.finish().expect("all tensors are written")
}

/// The model's bytes.
pub fn bytes() -> Vec<u8> {
    finish(llama())
}

/// The same file without the keys and tensors of that name.
pub fn without(file: &[u8], name: &str) -> Vec<u8> {
    let gguf = Gguf::from_bytes(file.to_vec()).expect("the file is well-formed");
    let mut w = Writer::new();
    for (key, value) in gguf.entries().filter(|(key, _)| *key != name) {
        w.put(key, value).expect("it was read");
    }
    let kept: Vec<_> = gguf.tensors().iter().filter(|t| gguf.tensor_name(t) != name).collect();
    for t in &kept {
        w.tensor(gguf.tensor_name(t), t.ty, &t.dims[..t.n_dims as usize]).expect("it was read");
    }
    let mut out = w.begin(Vec::new()).expect("a vector takes all");
    kept.iter().for_each(|t| out.write(gguf.data(t)).expect("its own size"));
    out.finish().expect("all tensors are written")
}

/// Where the bytes behind the only, or first, string `name` begin: a key's type, or a tensor's number of dimensions.
pub fn behind(file: &[u8], name: &str) -> usize {
    let mut needle = (name.len() as u64).to_le_bytes().to_vec();
    needle.extend(name.as_bytes());
    let at = file.windows(needle.len()).position(|w| w == needle);
    at.unwrap_or_else(|| panic!("the file has no {name:?}")) + needle.len()
}

/// The file with other bytes at that place.
pub fn patch(mut file: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}
