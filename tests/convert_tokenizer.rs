//! Published vocabularies written as `tokenizer.json` and converted back: they are what they were, and texts get the
//! same ids. Needs `../shared/vocab` (or QORUS_SHARED).

mod common;

use std::collections::HashMap;
use std::io::Write as _; // not held back by the test harness, as the print macros are
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::dir::Dir;
use qorus::Type;
use qorus::convert::convert;
use qorus::gguf::Gguf;
use qorus::tokenizer::{Encode, Tokenizer};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::{Map, Value, json};

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

fn vocabulary(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("QORUS_SHARED").map_or_else(beside, PathBuf::from);
    let path = shared.join(format!("vocab/ggml-vocab-{name}.gguf"));
    if !path.is_file() {
        drop(writeln!(std::io::stderr(), "SKIPPED: {name} needs {} (set QORUS_SHARED)", path.display()));
        return None;
    }
    Some(path)
}

/// The vocabulary's tokens and their types.
fn tokens(gguf: &Gguf) -> Vec<(String, i32)> {
    let text = gguf.strings("tokenizer.ggml.tokens").unwrap().unwrap().map(|t| String::from_utf8(t.to_vec()).unwrap());
    text.zip(gguf.i32s("tokenizer.ggml.token_type").unwrap().unwrap()).collect()
}

/// A model of one layer that has this tokenizer, converted.
fn converted(dir: &Dir, gguf: &Gguf, merges: Vec<Value>, more: Value) -> Gguf {
    let tokens = tokens(gguf);
    let n = tokens.len();
    let (mut vocab, mut added) = (Map::new(), Vec::new());
    for (id, (text, ty)) in tokens.iter().enumerate() {
        match ty {
            1 | 2 | 6 => drop(vocab.insert(text.clone(), id.into())),
            3 | 4 => added.push(json!({"id": id, "content": text, "special": *ty == 3})),
            _ => {}
        }
    }
    let mut tokenizer = more;
    tokenizer["added_tokens"] = added.into();
    let model = tokenizer["model"].as_object_mut().unwrap();
    model.insert("type".into(), "BPE".into());
    model.insert("vocab".into(), vocab.into());
    model.insert("merges".into(), merges.into());
    dir.file("tokenizer.json", tokenizer.to_string().as_bytes());

    let id = |name: &str| gguf.u32(&format!("tokenizer.ggml.{name}_token_id")).unwrap();
    let config = json!({
        "model_type": "qwen2", "hidden_size": 2, "intermediate_size": 2, "num_hidden_layers": 1, "vocab_size": n,
        "num_attention_heads": 1, "max_position_embeddings": 8, "rms_norm_eps": 1e-6, "tie_word_embeddings": true,
        "bos_token_id": id("bos"), "eos_token_id": [id("eos")], "unk_token_id": id("unknown"),
    });
    dir.file("config.json", config.to_string().as_bytes());
    let zeros = vec![0u8; 2 * n * 4];
    let layer = |name: &str| format!("model.layers.0.{name}.weight");
    let mut views =
        vec![("model.embed_tokens.weight".to_owned(), vec![n, 2]), ("model.norm.weight".to_owned(), vec![2])];
    for (name, ty) in
        [("self_attn", ["q_proj", "k_proj", "v_proj", "o_proj"]), ("mlp", ["gate_proj", "up_proj", "down_proj", ""])]
    {
        views.extend(ty.iter().filter(|t| !t.is_empty()).map(|t| (layer(&format!("{name}.{t}")), vec![2, 2])));
    }
    views.extend(["input_layernorm", "post_attention_layernorm"].map(|t| (layer(t), vec![2])));
    let views = views.into_iter().map(|(name, shape)| {
        let bytes = &zeros[..shape.iter().product::<usize>() * 4];
        (name, TensorView::new(Dtype::F32, shape, bytes).unwrap())
    });
    serialize_to_file(views, None, &dir.0.join("model.safetensors")).unwrap();
    let path = dir.0.join("made.gguf");
    convert(&dir.0, &path, &mut |_| true).unwrap();
    let made = Gguf::open(&path).unwrap();
    assert_eq!(made.tensor("token_embd.weight").map(|t| t.ty), Some(Type::F32));
    made
}

#[test]
fn byte_level_vocabularies() {
    for (name, pre, ignore_merges) in [("qwen2", QWEN2, false), ("llama-bpe", LLAMA3, true), ("gpt-2", "", false)] {
        let Some(path) = vocabulary(name) else { continue };
        let gguf = Gguf::open(&path).unwrap();
        let dir = Dir::new(&format!("tokenizer-{name}"));
        let merges = gguf.strings("tokenizer.ggml.merges").unwrap().unwrap();
        let merges = merges.map(|m| String::from_utf8(m.to_vec()).unwrap().into()).collect();
        let bytes = json!({"type": "ByteLevel", "use_regex": pre.is_empty()});
        let cut = if pre.is_empty() {
            bytes
        } else {
            json!({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": pre}}, bytes]})
        };
        let more = json!({"model": {"ignore_merges": ignore_merges}, "pre_tokenizer": cut});
        let made = converted(&dir, &gguf, merges, more);
        for key in ["tokens", "merges", "token_type", "model", "pre", "bos_token_id", "eos_token_id"] {
            let key = format!("tokenizer.ggml.{key}");
            assert!(
                made.get(&key) == gguf.get(&key),
                "{name}: {key} is {:?}, was {:?}",
                made.get(&key),
                gguf.get(&key)
            );
        }
    }
}

/// In `tokenizer.json` the scores of SentencePiece are gone: there are merges in the order of the scores. The scores
/// that are made of these are others, but texts are cut in the same way.
#[test]
fn sentencepiece_vocabularies() {
    for name in ["llama-spm", "phi-3"] {
        let Some(path) = vocabulary(name) else { continue };
        let gguf = Arc::new(Gguf::open(&path).unwrap());
        let dir = Dir::new(&format!("tokenizer-{name}"));
        let pieces = tokens(&gguf);
        let scores: Vec<f32> = gguf.f32s("tokenizer.ggml.scores").unwrap().unwrap().collect();
        let normal = pieces.iter().zip(&scores).filter(|((_, ty), _)| *ty == 1);
        let score: HashMap<&str, f32> = normal.map(|((text, _), score)| (text.as_str(), *score)).collect();
        // Every way to cut a piece into two pieces, best result first.
        let mut merges = Vec::new();
        for (text, made) in &score {
            for (at, _) in text.char_indices().skip(1) {
                let (a, b) = text.split_at(at);
                if score.contains_key(a) && score.contains_key(b) {
                    merges.push((*made, a, b));
                }
            }
        }
        merges.sort_by(|x, y| y.0.total_cmp(&x.0).then(x.1.cmp(y.1)));
        let merges = merges.iter().map(|(_, a, b)| json!([a, b])).collect();
        let more = json!({
            "model": {"byte_fallback": true, "unk_token": "<unk>"},
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u{2581}"}]},
        });
        let made = Arc::new(converted(&dir, &gguf, merges, more));
        // The file of phi-3 calls its padding unknown and <unk> a control token; llama's says what is converted here.
        for key in if name == "phi-3" { &["tokens", "model"][..] } else { &["tokens", "model", "token_type"] } {
            let key = format!("tokenizer.ggml.{key}");
            assert!(made.get(&key) == gguf.get(&key), "{name}: {key}");
        }
        let inputs = std::fs::read_to_string(format!("{}.inp", path.display())).unwrap();
        let (old, new) = (Tokenizer::new(gguf).unwrap(), Tokenizer::new(made).unwrap());
        let ids = |t: &Tokenizer, text: &str| {
            let mut ids = vec![0; text.len() + 4];
            let n = t.encode(text, Encode::default(), &mut ids).unwrap();
            ids[..n].to_vec()
        };
        // Runs of spaces all score the same in these vocabularies, so how those are cut is not in the merges.
        let long = include_str!("convert_tokenizer.rs").split_whitespace().collect::<Vec<_>>().join(" ");
        for text in inputs.split("\n__ggml_vocab_test__\n").chain([&*long]) {
            assert!(ids(&old, text) == ids(&new, text), "{name}: {text:.30}");
        }
    }
}
