//! Other formats to GGUF: llama2.c checkpoints made here, and the reference models turned back into what they came from.

mod common;

use std::path::{Path, PathBuf};

use common::dir::Dir;
use qorus::gguf::{Gguf, Value};
use qorus::{Code, Type, convert};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::{Map, json};

fn to_gguf(input: &Path, output: &Path) -> qorus::Result<Gguf> {
    convert::convert(input, output, &mut |_| true)?;
    Gguf::open(output)
}

#[track_caller]
fn refused(input: &Path, code: Code, words: &[&str]) {
    let output = std::env::temp_dir().join(format!("qorus-test-{}-none.gguf", std::process::id()));
    let error = to_gguf(input, &output).err().expect("it was converted");
    assert_eq!(error.code(), code, "{error}");
    for word in words {
        assert!(error.message().contains(word), "{word:?} is not in: {error}");
    }
    assert!(!error.message().contains('\n') && !output.exists(), "{error}");
}

/// A llama2.c checkpoint of 2 layers, width 8 in 4 heads (2 for keys), feed-forward 12, 300 tokens: all weights in order.
fn llama2c(dir: &Dir, tied: bool) -> (PathBuf, Vec<f32>) {
    let mut file: Vec<u8> = Vec::new();
    for n in [8, 12, 2, 4, 2, if tied { 300 } else { -300 }, 16i32] {
        file.extend(n.to_le_bytes());
    }
    let (d, kv, h, l) = (8, 4, 12, 2);
    let layer = d + d * d + 2 * d * kv + d * d + d + 3 * d * h;
    let n = 300 * d + l * layer + d + 16 * 2 + if tied { 0 } else { 300 * d };
    let weights: Vec<f32> = (0..n).map(|i| i as f32).collect();
    weights.iter().for_each(|w| file.extend(w.to_le_bytes()));
    let mut tokenizer = 7u32.to_le_bytes().to_vec();
    for id in 0..300usize {
        let token: Vec<u8> = match id {
            0 => b"<unk>".to_vec(),
            1 => b"\n<s>\n".to_vec(),
            2 => b"\n</s>\n".to_vec(),
            3..259 => vec![(id - 3) as u8],
            _ => format!(" t{id}").into_bytes(),
        };
        tokenizer.extend((-(id as f32)).to_le_bytes());
        tokenizer.extend((token.len() as i32).to_le_bytes());
        tokenizer.extend(token);
    }
    dir.file("tokenizer.bin", &tokenizer);
    (dir.file("model.bin", &file), weights)
}

#[test]
fn llama2c_checkpoints() {
    for tied in [true, false] {
        let dir = Dir::new(if tied { "llama2c-tied" } else { "llama2c" });
        let (path, weights) = llama2c(&dir, tied);
        let gguf = to_gguf(&path, &dir.0.join("model.gguf")).unwrap();
        for (key, value) in [
            ("block_count", 2),
            ("embedding_length", 8),
            ("feed_forward_length", 12),
            ("attention.head_count", 4),
            ("attention.head_count_kv", 2),
            ("context_length", 16),
            ("vocab_size", 300),
            ("rope.dimension_count", 2),
        ] {
            assert_eq!(gguf.u32(&format!("llama.{key}")).unwrap(), Some(value), "{key}");
        }
        assert_eq!(gguf.str("general.architecture").unwrap(), Some("llama"));
        // Where each begins, counted in weights.
        let (d, kv, h) = (8, 4, 12);
        let attn_norm = 300 * d;
        let q = attn_norm + 2 * d;
        let k = q + 2 * d * d;
        let v = k + 2 * d * kv;
        let o = v + 2 * d * kv;
        let ffn_norm = o + 2 * d * d;
        let gate = ffn_norm + 2 * d;
        let down = gate + 2 * d * h;
        let up = down + 2 * d * h;
        let norm = up + 2 * d * h;
        let head = norm + d + 16 * 2;
        let mut expected = vec![
            ("token_embd.weight", 0, vec![8, 300]),
            ("blk.0.attn_norm.weight", attn_norm, vec![8]),
            ("blk.1.attn_norm.weight", attn_norm + d, vec![8]),
            ("blk.0.attn_q.weight", q, vec![8, 8]),
            ("blk.1.attn_q.weight", q + d * d, vec![8, 8]),
            ("blk.1.attn_k.weight", k + d * kv, vec![8, 4]),
            ("blk.1.attn_v.weight", v + d * kv, vec![8, 4]),
            ("blk.1.attn_output.weight", o + d * d, vec![8, 8]),
            ("blk.1.ffn_norm.weight", ffn_norm + d, vec![8]),
            ("blk.1.ffn_gate.weight", gate + d * h, vec![8, 12]),
            ("blk.1.ffn_down.weight", down + d * h, vec![12, 8]),
            ("blk.1.ffn_up.weight", up + d * h, vec![8, 12]),
            ("output_norm.weight", norm, vec![8]),
        ];
        if !tied {
            expected.push(("output.weight", head, vec![8, 300]));
        }
        assert_eq!(gguf.tensors().len(), 2 * 9 + if tied { 2 } else { 3 });
        for (name, at, dims) in expected {
            let t = gguf.tensor(name).unwrap_or_else(|| panic!("{name} is missing"));
            assert_eq!((&t.dims[..t.n_dims as usize], t.ty), (&dims[..], Type::F32), "{name}");
            let data: &[f32] = bytemuck::cast_slice(gguf.data(t));
            assert!(*data == weights[at..at + data.len()], "{name}");
        }
        let tokens: Vec<_> = gguf.strings("tokenizer.ggml.tokens").unwrap().unwrap().collect();
        let types: Vec<_> = gguf.i32s("tokenizer.ggml.token_type").unwrap().unwrap().collect();
        let scores: Vec<_> = gguf.f32s("tokenizer.ggml.scores").unwrap().unwrap().collect();
        assert_eq!(tokens[..5], [&b"<unk>"[..], b"<s>", b"</s>", b"<0x00>", b"<0x01>"]);
        assert_eq!((tokens[258], tokens[259]), (&b"<0xFF>"[..], "\u{2581}t259".as_bytes()));
        assert_eq!((&types[..4], types[258], types[259]), (&[2, 3, 3, 6][..], 6, 1));
        assert_eq!(scores[299], -299.0);
    }
}

#[test]
fn bad_llama2c_checkpoints() {
    let dir = Dir::new("llama2c-bad");
    let (path, _) = llama2c(&dir, true);
    let good = std::fs::read(&path).unwrap();
    refused(&dir.file("cut.bin", &good[..good.len() - 4]), Code::Format, &["cut.bin", "damaged"]);
    refused(&dir.file("long.bin", &[&good[..], &[0]].concat()), Code::Format, &["long.bin"]);
    refused(&dir.file("short.bin", &good[..20]), Code::Format, &["short.bin", "20 bytes"]);
    for (i, n) in
        [(0, 0), (0, -8), (0, i32::MAX), (1, 0), (2, 0), (2, i32::MAX), (3, 0), (3, 3), (4, 0), (4, 3), (5, 0), (6, 0)]
    {
        let file = common::small::patch(good.clone(), i * 4, &i32::to_le_bytes(n));
        refused(&dir.file("bad.bin", &file), Code::Unsupported, &["bad.bin", "neither"]);
    }
    let file = common::small::patch(good.clone(), 20, &i32::to_le_bytes(i32::MIN));
    refused(&dir.file("bad.bin", &file), Code::Unsupported, &["neither"]);
    let v1 = [&0x616b3432u32.to_le_bytes()[..], &1u32.to_le_bytes(), &[0; 300]].concat();
    refused(&dir.file("v1.bin", &v1), Code::Unsupported, &["version 1", "version 0"]);
    refused(&dir.file("is.gguf", &common::small::bytes()), Code::InvalidArgument, &["GGUF file already"]);
    refused(&dir.0.join("none.bin"), Code::NotFound, &["none.bin"]);
    refused(&dir.file("m.safetensors", b"1"), Code::InvalidArgument, &["directory"]);

    let tokenizer = std::fs::read(dir.0.join("tokenizer.bin")).unwrap();
    let write = |bytes: &[u8]| drop(dir.file("tokenizer.bin", bytes));
    write(&tokenizer[..tokenizer.len() - 1]);
    refused(&path, Code::Format, &["tokenizer.bin", "token 299 of 300"]);
    write(&[&tokenizer[..], &[0]].concat());
    refused(&path, Code::Format, &["tokenizer.bin", "1 bytes behind"]);
    write(&common::small::patch(tokenizer, 8, &i32::to_le_bytes(-5)));
    refused(&path, Code::Format, &["tokenizer.bin", "-5"]);
    std::fs::remove_file(dir.0.join("tokenizer.bin")).unwrap();
    refused(&path, Code::NotFound, &["tokenizer.bin", "model.bin"]);
}

#[test]
fn cancelled() {
    let dir = Dir::new("cancelled");
    let (path, _) = llama2c(&dir, true);
    let (mut reports, mut last) = (0, 0);
    let output = dir.0.join("model.gguf");
    convert::convert(&path, &output, &mut |p| {
        assert!(p.done >= last && p.done <= p.total && !p.tensor.is_empty());
        (reports, last) = (reports + 1, p.done);
        true
    })
    .unwrap();
    assert!(reports >= 20, "each of the 20 tensors is reported, and the end");
    std::fs::remove_file(&output).unwrap();
    let error = convert::convert(&path, &output, &mut |p| p.tensor != "blk.1.ffn_up.weight").unwrap_err();
    assert_eq!(error.code(), Code::Cancelled);
    let files: Vec<_> = std::fs::read_dir(&dir.0).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(files.len(), 2, "nothing stays behind: {files:?}");
}

/// How the tensors of a reference model are stored by Hugging Face.
#[derive(Clone, Copy, PartialEq)]
enum Stored {
    F32,
    F32InParts,
    Bf16,
}

type HfTensor = (String, Dtype, Vec<usize>, Vec<u8>);

fn views(tensors: &[HfTensor]) -> Vec<(&str, TensorView<'_>)> {
    tensors.iter().map(|(name, ty, shape, b)| (&**name, TensorView::new(*ty, shape.clone(), b).unwrap())).collect()
}

/// The directory from which the reference model `name` could have come.
fn hugging_face(dir: &Dir, name: &str, stored: Stored) -> Gguf {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(format!("{name}.gguf"));
    let gguf = Gguf::open(&reference).unwrap();
    let arch = gguf.str("general.architecture").unwrap().unwrap();
    let n = |key: &str| gguf.u32(&format!("{arch}.{key}")).unwrap();
    let f = |key: &str| gguf.f32(&format!("{arch}.{key}")).unwrap();
    let mut config = json!({
        "model_type": arch,
        "hidden_size": n("embedding_length"),
        "intermediate_size": n("feed_forward_length"),
        "num_hidden_layers": n("block_count"),
        "num_attention_heads": n("attention.head_count"),
        "num_key_value_heads": n("attention.head_count_kv"),
        "max_position_embeddings": n("context_length"),
        "vocab_size": n("vocab_size"),
        "rms_norm_eps": f("attention.layer_norm_rms_epsilon"),
        "rope_theta": f("rope.freq_base"),
        "tie_word_embeddings": gguf.tensor("output.weight").is_none(),
        "torch_dtype": "float32",
    });
    if let Some(head) = n("attention.key_length") {
        config["head_dim"] = head.into();
    }
    match name {
        "llama-linear" => config["rope_scaling"] = json!({"type": "linear", "factor": f("rope.scaling.factor")}),
        "llama-yarn" => {
            config["rope_parameters"] = json!({
                "rope_type": "yarn", "rope_theta": f("rope.freq_base"), "factor": f("rope.scaling.factor"),
                "original_max_position_embeddings": n("rope.scaling.original_context_length"),
            });
        }
        // As tests/reference/cases.py has it.
        "llama-llama3" => config["rope_scaling"] = llama3_scaling(),
        _ => {}
    }
    dir.file("config.json", config.to_string().as_bytes());

    let layer = [
        ("attn_norm", "input_layernorm"),
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("attn_q_norm", "self_attn.q_norm"),
        ("attn_k_norm", "self_attn.k_norm"),
        ("ffn_norm", "post_attention_layernorm"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ];
    let mut tensors: Vec<HfTensor> = Vec::new();
    for t in gguf.tensors() {
        let name = gguf.tensor_name(t);
        let mut data: Vec<f32> = bytemuck::cast_slice(gguf.data(t)).to_vec();
        let hf = match name {
            "token_embd.weight" => "model.embed_tokens.weight".to_owned(),
            "output_norm.weight" => "model.norm.weight".to_owned(),
            "output.weight" => "lm_head.weight".to_owned(),
            "rope_freqs.weight" => continue,
            _ => {
                let (i, rest) = name.strip_prefix("blk.").unwrap().split_once('.').unwrap();
                let (stem, kind) = rest.rsplit_once('.').unwrap();
                let hf = layer.iter().find(|(gguf, _)| *gguf == stem).unwrap().1;
                format!("model.layers.{i}.{hf}.{kind}")
            }
        };
        if arch == "llama" && (name.contains("attn_q.") || name.contains("attn_k.")) {
            let heads =
                n(if name.contains("attn_q.") { "attention.head_count" } else { "attention.head_count_kv" }).unwrap();
            let row = if t.n_dims > 1 { t.dims[0] as usize } else { 1 };
            let head = data.len() / row / heads as usize;
            let old = data.clone();
            for (r, to) in data.chunks_exact_mut(row).enumerate() {
                // Row j of a head's halves is row 2j of its pairs, and row j + head/2 is row 2j + 1.
                let (h, j) = (r / head, r % head);
                let from = h * head + if j < head / 2 { 2 * j } else { 2 * (j - head / 2) + 1 };
                to.copy_from_slice(&old[from * row..][..row]);
            }
        }
        let shape: Vec<usize> = t.dims[..t.n_dims as usize].iter().rev().map(|&d| d as usize).collect();
        let (ty, bytes) = match stored {
            Stored::Bf16 => {
                let half = data.iter().flat_map(|&w| half::bf16::from_f32(w).to_le_bytes()).collect();
                (Dtype::BF16, half)
            }
            _ => (Dtype::F32, bytemuck::cast_slice(&data).to_vec()),
        };
        tensors.push((hf, ty, shape, bytes));
    }
    if stored == Stored::F32InParts {
        let (a, b) = tensors.split_at(tensors.len() / 2);
        let mut map = Map::new();
        for (part, file) in [(a, "model-00001-of-00002.safetensors"), (b, "model-00002-of-00002.safetensors")] {
            serialize_to_file(views(part), None, &dir.0.join(file)).unwrap();
            part.iter().for_each(|t| drop(map.insert(t.0.clone(), file.into())));
        }
        let index = json!({"metadata": {"total_size": 0}, "weight_map": map});
        dir.file("model.safetensors.index.json", index.to_string().as_bytes());
    } else {
        serialize_to_file(views(&tensors), None, &dir.0.join("model.safetensors")).unwrap();
    }
    let tokens = n("vocab_size").unwrap();
    let vocab: Map<_, _> = (0..tokens).map(|i| (format!("t{i}"), i.into())).collect();
    let tokenizer = json!({
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
        "pre_tokenizer": {"type": "ByteLevel", "use_regex": true},
    });
    dir.file("tokenizer.json", tokenizer.to_string().as_bytes());
    gguf
}

fn llama3_scaling() -> serde_json::Value {
    json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    })
}

/// Conversion undoes what `hugging_face` did: keys and tensors are those of the reference model, whose logits are
/// tested against another implementation.
#[test]
fn safetensors_become_the_reference_models() {
    for name in ["llama", "llama-tied", "llama-bias", "llama-linear", "llama-yarn", "llama-llama3", "qwen2", "qwen3"] {
        for stored in [Stored::F32, Stored::F32InParts, Stored::Bf16] {
            let dir = Dir::new(&format!("{name}-{}", stored as u8));
            let reference = hugging_face(&dir, name, stored);
            let made = to_gguf(&dir.0, &dir.0.join("made.gguf")).unwrap();
            let arch = reference.str("general.architecture").unwrap().unwrap();
            for (key, value) in reference.entries().filter(|(key, _)| key.starts_with(arch)) {
                let found = made.get(key).unwrap_or_else(|| panic!("{name}: {key} is missing"));
                // What the reference's writer made wide or narrow is the same number.
                assert!(
                    found == value || (found.int().is_some() && found.int() == value.int()),
                    "{name}: {key} is {found}"
                );
            }
            assert_eq!(made.tensors().len(), reference.tensors().len(), "{name}");
            for t in reference.tensors() {
                let tensor = reference.tensor_name(t);
                let m = made.tensor(tensor).unwrap_or_else(|| panic!("{name}: {tensor} is missing"));
                assert_eq!((m.dims, m.n_dims), (t.dims, t.n_dims), "{name}: {tensor}");
                let want: &[f32] = bytemuck::cast_slice(reference.data(t));
                if tensor == "rope_freqs.weight" {
                    let found: &[f32] = bytemuck::cast_slice(made.data(m));
                    for (w, f) in want.iter().zip(found) {
                        approx::assert_relative_eq!(w, f, max_relative = 1e-6);
                    }
                } else if stored == Stored::Bf16 {
                    let rounded: Vec<half::bf16> = want.iter().map(|&w| half::bf16::from_f32(w)).collect();
                    let same = if t.n_dims > 1 {
                        assert_eq!(m.ty, Type::BF16, "{name}: {tensor}");
                        made.data(m) == bytemuck::cast_slice::<_, u8>(&rounded)
                    } else {
                        assert_eq!(m.ty, Type::F32, "{name}: {tensor}");
                        let wide: Vec<f32> = rounded.iter().map(|w| w.to_f32()).collect();
                        made.data(m) == bytemuck::cast_slice::<_, u8>(&wide)
                    };
                    assert!(same, "{name}: {tensor}");
                } else {
                    assert!(made.data(m) == reference.data(t), "{name}: {tensor}");
                }
            }
            let file_type = if stored == Stored::Bf16 { 32 } else { 0 };
            assert_eq!(made.u32("general.file_type").unwrap(), Some(file_type));
        }
    }
}

#[test]
fn bad_safetensors() {
    let dir = Dir::new("safetensors-bad");
    hugging_face(&dir, "llama", Stored::F32);
    let config: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.0.join("config.json")).unwrap()).unwrap();
    let with = |key: &str, value: serde_json::Value| {
        let mut other = config.clone();
        other[key] = value;
        dir.file("config.json", other.to_string().as_bytes());
        dir.0.clone()
    };
    for (key, value, code, words) in [
        ("model_type", json!("gpt_neox"), Code::Unsupported, "gpt_neox"),
        ("model_type", json!(7), Code::Format, "expected a string"),
        ("model_type", json!(null), Code::NotFound, "model_type"),
        ("model_type", json!("qwen3"), Code::NotFound, "q_norm"),
        ("hidden_size", json!(-1), Code::Format, "hidden_size"),
        ("hidden_size", json!(0), Code::Format, "hidden_size"),
        ("hidden_size", json!(128), Code::Shape, "embed_tokens"),
        ("num_attention_heads", json!(0), Code::Format, "num_attention_heads"),
        ("num_attention_heads", json!("8"), Code::Format, "num_attention_heads"),
        ("num_key_value_heads", json!(3), Code::Format, "divisor"),
        ("num_hidden_layers", json!(1), Code::Unsupported, "layers.1"),
        ("num_hidden_layers", json!(1 << 20), Code::NotFound, "model.layers.2"),
        ("rms_norm_eps", json!(null), Code::NotFound, "rms_norm_eps"),
        ("vocab_size", json!(50), Code::Shape, "config.json"),
        ("rope_theta", json!(0), Code::Format, "rope_theta"),
        ("rope_scaling", json!({"type": "dynamic", "factor": 2}), Code::Unsupported, "dynamic"),
        ("rope_scaling", json!({"type": "linear"}), Code::NotFound, "factor"),
        ("rope_scaling", json!({"rope_type": "llama3", "factor": 8}), Code::NotFound, "original_max_position"),
        ("use_sliding_window", json!(true), Code::Unsupported, "sliding window"),
    ] {
        refused(&with(key, value), code, &[words]);
    }
    with("model_type", json!("llama"));
    to_gguf(&dir.0, &dir.0.join("made.gguf")).expect("what was changed is good again");

    let weights = std::fs::read(dir.0.join("model.safetensors")).unwrap();
    dir.file("model.safetensors", &weights[..weights.len() - 1]);
    refused(&dir.0, Code::Format, &["model.safetensors", "fetch it again"]);
    dir.file("model.safetensors.index.json", br#"{"weight_map": {"a": "../other"}}"#);
    refused(&dir.0, Code::Format, &["index.json", "../other"]);
    dir.file("model.safetensors.index.json", br#"{"weight_map": {"a": "part"}}"#);
    refused(&dir.0, Code::NotFound, &["part"]);
    dir.file("model.safetensors.index.json", br#"{"weight_map": [["#);
    refused(&dir.0, Code::Format, &["index.json", "no JSON"]);
    std::fs::remove_file(dir.0.join("model.safetensors.index.json")).unwrap();
    std::fs::remove_file(dir.0.join("model.safetensors")).unwrap();
    refused(&dir.0, Code::NotFound, &["model.safetensors"]);
    dir.file("model.safetensors", &weights);

    let tokenizer = |json: serde_json::Value| drop(dir.file("tokenizer.json", json.to_string().as_bytes()));
    for (json, code, words) in [
        (json!({"model": {"type": "Unigram"}}), Code::Unsupported, "Unigram"),
        (json!({"model": {"merges": []}}), Code::NotFound, "model.vocab"),
        (json!({"model": {"vocab": {"a": 1000000}, "merges": []}}), Code::Format, "1000000"),
        (json!({"model": {"vocab": {"a": -1}, "merges": []}}), Code::Format, "-1"),
        (json!({"model": {"vocab": {"a": 0}, "merges": ["a"]}}), Code::Format, "merge"),
        (json!({"model": {"vocab": {"a": 0}, "merges": [["a", 1]]}}), Code::Format, "merge"),
        (json!({"model": {"vocab": {"a": 0}, "merges": []}}), Code::Unsupported, "no known name"),
        (json!({"model": {"vocab": {}, "merges": []}, "added_tokens": [{"id": 1}]}), Code::Format, "added token"),
        (
            json!({"model": {"vocab": {}, "merges": []}, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "x+"}}}),
            Code::Unsupported,
            "x+",
        ),
    ] {
        tokenizer(json);
        refused(&dir.0, code, &["tokenizer.json", words]);
    }
    std::fs::remove_file(dir.0.join("tokenizer.json")).unwrap();
    refused(&dir.0, Code::NotFound, &["tokenizer.json"]);
}

/// What a byte-level tokenizer says beside its tokens.
#[test]
fn special_tokens_and_templates() {
    let dir = Dir::new("special");
    hugging_face(&dir, "llama", Stored::F32);
    let vocab: Map<_, _> = (0..90).map(|i| (format!("t{i}"), i.into())).collect();
    let split = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let tokenizer = json!({
        "model": {"type": "BPE", "vocab": vocab, "merges": [["t1", "t2"], ["t3", "t4"]]},
        "added_tokens": [
            {"id": 90, "content": "<begin>", "special": true},
            {"id": 91, "content": "<end>", "special": true},
            {"id": 92, "content": "<tool>", "special": false},
        ],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        ]},
        "post_processor": {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<begin>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
        ]},
    });
    dir.file("tokenizer.json", tokenizer.to_string().as_bytes());
    let config = json!({
        "bos_token": {"content": "<begin>"}, "eos_token": "<end>", "pad_token": null,
        "chat_template": [{"name": "other", "template": "no"}, {"name": "default", "template": "{{ x }}"}],
    });
    dir.file("tokenizer_config.json", config.to_string().as_bytes());
    let made = to_gguf(&dir.0, &dir.0.join("made.gguf")).unwrap();
    assert_eq!(made.str("tokenizer.ggml.model").unwrap(), Some("gpt2"));
    assert_eq!(made.str("tokenizer.ggml.pre").unwrap(), Some("qwen2"));
    assert_eq!(made.u32("tokenizer.ggml.bos_token_id").unwrap(), Some(90));
    assert_eq!(made.u32("tokenizer.ggml.eos_token_id").unwrap(), Some(91));
    assert_eq!(made.get("tokenizer.ggml.padding_token_id"), None);
    assert_eq!(made.bool("tokenizer.ggml.add_bos_token").unwrap(), Some(true));
    assert_eq!(made.str("tokenizer.chat_template").unwrap(), Some("{{ x }}"));
    let merges: Vec<_> = made.strings("tokenizer.ggml.merges").unwrap().unwrap().collect();
    assert_eq!(merges, [b"t1 t2", b"t3 t4"]);
    let tokens: Vec<_> = made.strings("tokenizer.ggml.tokens").unwrap().unwrap().collect();
    let types: Vec<_> = made.i32s("tokenizer.ggml.token_type").unwrap().unwrap().collect();
    assert_eq!((tokens[89], tokens[90], tokens[93]), (&b"t89"[..], &b"<begin>"[..], &b"[PAD93]"[..]));
    assert_eq!(types[89..94], [1, 3, 3, 4, 5]);

    dir.file("chat_template.jinja", b"{{ y }}");
    dir.file("tokenizer_config.json", br#"{"add_bos_token": false, "bos_token": "<begin>"}"#);
    let made = to_gguf(&dir.0, &dir.0.join("made.gguf")).unwrap();
    assert_eq!(made.str("tokenizer.chat_template").unwrap(), Some("{{ y }}"));
    assert_eq!(made.bool("tokenizer.ggml.add_bos_token").unwrap(), Some(false));
    assert!(matches!(made.get("general.name"), Some(Value::Str(s)) if s.ends_with(b"special")));
}
