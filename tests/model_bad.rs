//! Files that are well-formed but no model this library runs: each is one clear error that names the key or the tensor.

mod common;

use common::limits::{check, within_limits};
use common::small;
use qorus::engine::{Model, Runtime};
use qorus::gguf::{Gguf, Writer};
use qorus::{Code, Isa, Type};
use std::sync::Arc;

/// Opening the small model after `spoil` is refused.
#[track_caller]
fn refuse(code: Code, words: &[&str], spoil: impl FnOnce(&mut Writer) -> qorus::Result<()>) {
    let mut w = small::llama();
    spoil(&mut w).expect("the writer takes it");
    refuse_file(small::finish(w), code, words);
}

#[track_caller]
fn refuse_file(file: Vec<u8>, code: Code, words: &[&str]) {
    let runtime = Runtime::new(1, Some(Isa::Scalar)).unwrap();
    let open = || Gguf::from_bytes(file).and_then(|gguf| Model::new(&runtime, Arc::new(gguf)));
    let error = within_limits(open).err().expect("the model was accepted");
    check(&error, code, "memory: ", words);
}

#[track_caller]
fn refuse_u32(key: &str, values: &[u32]) {
    for &value in values {
        refuse(Code::Format, &[], |w| w.put(key, value).map(|_| ()));
    }
}

#[test]
fn the_small_model_is_good() {
    let runtime = Runtime::new(1, Some(Isa::Scalar)).unwrap();
    Model::new(&runtime, Arc::new(Gguf::from_bytes(small::bytes()).unwrap())).unwrap();
}

#[test]
fn counts_of_blocks_and_heads() {
    refuse_u32("llama.block_count", &[0, 3, 21, 1000, u32::MAX]);
    refuse_u32("llama.attention.head_count", &[0, 3, 5, 33, u32::MAX]);
    refuse_u32("llama.attention.head_count_kv", &[0, 3, 8, u32::MAX]);
    refuse_u32("llama.embedding_length", &[0, 30, 33, 64, u32::MAX]);
    refuse_u32("llama.feed_forward_length", &[0, 63, u32::MAX]);
    refuse_u32("llama.context_length", &[0]);
    refuse_u32("llama.vocab_size", &[]);
    refuse(Code::Format, &["llama.block_count", "1000000", "20"], |w| {
        w.put("llama.block_count", 1_000_000u32).map(|_| ())
    });
}

#[test]
fn the_vocabulary_is_as_long_as_the_embedding() {
    refuse(Code::Format, &["token_embd.weight", "264", "3"], |w| {
        w.put_strings("tokenizer.ggml.tokens", ["a", "b", "c"])?;
        w.put("tokenizer.ggml.scores", &[0.0f32; 3][..])?.put("tokenizer.ggml.token_type", &[1i32; 3][..]).map(|_| ())
    });
}

#[test]
fn rotary_embeddings() {
    refuse_u32("llama.rope.dimension_count", &[0, 3, 7, 10, u32::MAX]);
    for base in [0.0f32, -1.0, f32::NAN, f32::INFINITY] {
        refuse(Code::Format, &["llama.rope.freq_base"], |w| w.put("llama.rope.freq_base", base).map(|_| ()));
    }
    for factor in [-1.0f32, f32::NAN] {
        refuse(Code::Format, &["llama.rope.scaling.factor"], |w| {
            w.put("llama.rope.scaling.factor", factor).map(|_| ())
        });
    }
    refuse(Code::Unsupported, &["dynamic"], |w| w.put("llama.rope.scaling.type", "dynamic").map(|_| ()));
    refuse(Code::Format, &["rope_freqs.weight"], |w| w.tensor("rope_freqs.weight", Type::F32, &[3]).map(|_| ()));
}

#[test]
fn epsilons() {
    let key = "llama.attention.layer_norm_rms_epsilon";
    for eps in [f32::NAN, -1e-5, f32::INFINITY] {
        refuse(Code::Format, &[key], |w| w.put(key, eps).map(|_| ()));
    }
    refuse_file(small::without(&small::bytes(), key), Code::Format, &[key]);
}

#[test]
fn keys_and_tensors_that_are_missing() {
    let file = small::bytes();
    for key in ["general.architecture", "llama.block_count", "llama.embedding_length", "llama.attention.head_count"] {
        refuse_file(small::without(&file, key), Code::Format, &[key]);
    }
    let gguf = Gguf::from_bytes(file.clone()).unwrap();
    for tensor in gguf.tensors() {
        let name = gguf.tensor_name(tensor);
        // Without a gate, `ffn_up` is expected to hold both, and has the wrong shape for that.
        let named = name.replace("ffn_gate", "ffn_up");
        refuse_file(small::without(&file, name), Code::Format, &[&named]);
    }
}

#[test]
fn architectures_that_are_not_known() {
    refuse(Code::Unsupported, &["mamba", "llama", "gemma3"], |w| w.put("general.architecture", "mamba").map(|_| ()));
    refuse(Code::Format, &["qwen2.block_count"], |w| w.put("general.architecture", "qwen2").map(|_| ()));
}

#[test]
fn values_of_another_type() {
    refuse(Code::Format, &["llama.block_count"], |w| w.put("llama.block_count", "two").map(|_| ()));
    refuse(Code::Format, &["llama.attention.head_count"], |w| {
        w.put("llama.attention.head_count", &[4u32, 4][..]).map(|_| ())
    });
    refuse(Code::Format, &["general.architecture"], |w| w.put("general.architecture", 7u32).map(|_| ()));
}

#[test]
fn experts() {
    for (count, used) in [(2u32, 0u32), (2, 3), (1025, 1), (u32::MAX, 1)] {
        refuse(Code::Format, &["expert"], |w| {
            w.put("llama.expert_count", count)?.put("llama.expert_used_count", used).map(|_| ())
        });
    }
    refuse(Code::Format, &["ffn_gate_inp"], |w| {
        w.put("llama.expert_count", 2u32)?.put("llama.expert_used_count", 1u32).map(|_| ())
    });
}
