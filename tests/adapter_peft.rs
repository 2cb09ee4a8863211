//! Adapters as PEFT's folders: names, ranks, scales, the order of rows, and all that a file from elsewhere may have wrong.

mod common;

use common::dir::Dir;
use common::small::{self, DIM, FFN};
use qorus::Code;
use qorus::adapter::{Adapter, Kind, Pair};
use qorus::gguf::Gguf;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn base() -> Gguf {
    Gguf::from_bytes(small::bytes()).unwrap()
}

/// A safetensors file of f32, each element its number in the file.
fn tensors(list: &[(&str, &[usize])]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape) in list {
        let (from, len) = (data.len(), shape.iter().product::<usize>());
        data.extend((0..len).flat_map(|i| (i as f32).to_le_bytes()));
        header.insert((*name).into(), json!({"dtype": "F32", "shape": shape, "data_offsets": [from, data.len()]}));
    }
    file(&Value::Object(header).to_string(), &data)
}

fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let padded = format!("{header:width$}", width = header.len().next_multiple_of(8));
    [&(padded.len() as u64).to_le_bytes()[..], padded.as_bytes(), data].concat()
}

fn folder(dir: &Dir, config: Value, tensors: &[u8]) -> PathBuf {
    dir.file("adapter_config.json", config.to_string().as_bytes());
    dir.file("adapter_model.safetensors", tensors);
    dir.0.clone()
}

fn config() -> Value {
    json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none", "target_modules": ["q_proj"]})
}

fn with(key: &str, value: Value) -> Value {
    let mut config = config();
    config[key] = value;
    config
}

const Q: &str = "base_model.model.model.layers.0.self_attn.q_proj";

#[test]
fn rows_of_q_and_k_change_their_order() {
    let (dir, base) = (Dir::new("peft-order"), base());
    let names = [format!("{Q}.lora_A.weight"), format!("{Q}.lora_B.weight")];
    let (d, o) = ("base_model.model.model.layers.1.mlp.down_proj", [2, FFN as usize]);
    let down = [format!("{d}.lora_A.weight"), format!("{d}.lora_B.weight")];
    let list = [
        (names[0].as_str(), &[2, DIM as usize][..]),
        (names[1].as_str(), &[DIM as usize, 2]),
        (down[0].as_str(), &o),
        (down[1].as_str(), &[DIM as usize, 2]),
    ];
    let read = Adapter::open(&folder(&dir, config(), &tensors(&list)), &base).unwrap();
    read.check(&base, false).unwrap();
    let q = read.pair("blk.0.attn_q.weight").unwrap();
    assert_eq!((q.rank, q.rows, q.cols, read.scale(q)), (2, 32, 32, 2.0));
    // Heads of 8: rows 0, 4, 1, 5 and so on of each.
    let first: Vec<f32> = q.b.chunks(2).take(10).map(|row| row[0] / 2.0).collect();
    assert_eq!(first, [0., 4., 1., 5., 2., 6., 3., 7., 8., 12.]);
    assert_eq!(q.a, (0..64).map(|i| i as f32).collect::<Vec<_>>());
    let down = read.pair("blk.1.ffn_down.weight").unwrap();
    assert!(down.b.iter().enumerate().all(|(i, b)| *b == i as f32));
}

#[test]
fn what_is_written_comes_back() {
    let (dir, base) = (Dir::new("peft-back"), base());
    for kind in Kind::ALL {
        let pair = |tensor: &str, rank: usize, rows: u64, cols: u64| {
            let (rows, cols) = (rows as usize, cols as usize);
            let numbers = |n: usize| (0..n).map(|i| (i % 97) as f32 / 8.0).collect::<Vec<f32>>();
            let magnitude = (kind == Kind::Dora).then(|| numbers(rows));
            let (a, b) = (numbers(rank * cols), numbers(rows * rank));
            Pair { tensor: tensor.into(), rank, rows, cols, experts: 1, a, b, magnitude }
        };
        let pairs = vec![
            pair("output.weight", 4, small::VOCAB, DIM),
            pair("blk.0.ffn_up.weight", 16, FFN, DIM),
            pair("blk.0.attn_q.weight", 4, DIM, DIM),
            pair("blk.1.attn_k.weight", 4, DIM / 2, DIM),
        ];
        let hash = Some([7; 32]);
        let made = Adapter { name: "".into(), arch: "llama".into(), kind, alpha: 8.0, base: hash, pairs };
        let to = dir.0.join(kind.name());
        made.write_peft(&to, &base).unwrap();
        let mut read = Adapter::open(&to, &base).unwrap();
        assert_eq!((read.kind, read.alpha, read.base, read.pairs.len()), (kind, 8.0, hash, 4));
        read.name.clear();
        for p in &made.pairs {
            assert_eq!(read.pair(&p.tensor), Some(p));
        }
        assert_eq!(read.check(&base, false).unwrap_err().code(), Code::State);
    }
}

#[test]
fn patterns_give_ranks_and_scales() {
    let (dir, base) = (Dir::new("peft-patterns"), base());
    let o = "base_model.model.model.layers.0.self_attn.o_proj";
    let names = [Q, o].map(|m| [format!("{m}.lora_A.weight"), format!("{m}.lora_B.weight")]);
    let list = [
        (names[0][0].as_str(), &[2, 32][..]),
        (names[0][1].as_str(), &[32, 2]),
        (names[1][0].as_str(), &[4, 32]),
        (names[1][1].as_str(), &[32, 4]),
    ];
    let mut config = config();
    config["rank_pattern"] = json!({"^model\\.layers\\.0\\.self_attn\\.o_proj": 4});
    config["alpha_pattern"] = json!({"o_proj": 16});
    let read = Adapter::open(&folder(&dir, config.clone(), &tensors(&list)), &base).unwrap();
    let o = read.pair("blk.0.attn_output.weight").unwrap();
    // 16 / 4, of which the adapter's alpha gives 4 / 4.
    assert_eq!((read.scale(o), o.b[1]), (1.0, 4.0));
    assert_eq!(read.scale(read.pair("blk.0.attn_q.weight").unwrap()), 2.0);
    config["use_rslora"] = json!(true);
    let read = Adapter::open(&folder(&dir, config, &tensors(&list)), &base).unwrap();
    let o = read.pair("blk.0.attn_output.weight").unwrap();
    assert_eq!(read.scale(o) * o.b[1], 16.0 / 2.0);
}

#[test]
fn bad_configs_are_refused() {
    let (dir, base) = (Dir::new("peft-config"), base());
    let names = [format!("{Q}.lora_A.weight"), format!("{Q}.lora_B.weight")];
    let good = tensors(&[(names[0].as_str(), &[2, 32]), (names[1].as_str(), &[32, 2])]);
    Adapter::open(&folder(&dir, config(), &good), &base).unwrap();
    for (config, code, says) in [
        (json!([]), Code::Format, "no object"),
        (with("peft_type", json!("IA3")), Code::Unsupported, "IA3"),
        (with("r", json!(3)), Code::Shape, "rank"),
        (with("r", json!(null)), Code::Format, "r and lora_alpha"),
        (with("lora_alpha", json!(-1)), Code::Format, "lora_alpha"),
        (with("bias", json!("all")), Code::Unsupported, "bias"),
        (with("modules_to_save", json!(["lm_head"])), Code::Unsupported, "modules_to_save"),
        (with("fan_in_fan_out", json!(true)), Code::Unsupported, "fan_in"),
        (with("rank_pattern", json!({".*q_proj": 2})), Code::Unsupported, "pattern"),
        (with("use_dora", json!(true)), Code::Shape, "magnitudes"),
    ] {
        let e = Adapter::open(&folder(&dir, config, &good), &base).unwrap_err();
        assert!(e.code() == code && e.message().contains(says), "{says:?}: {:?} {e}", e.code());
    }
    std::fs::remove_file(dir.0.join("adapter_config.json")).unwrap();
    assert_eq!(Adapter::open(&dir.0, &base).unwrap_err().code(), Code::NotFound);
}

#[test]
fn bad_tensors_are_refused() {
    let (dir, base) = (Dir::new("peft-tensors"), base());
    let (a, b) = (format!("{Q}.lora_A.weight"), format!("{Q}.lora_B.weight"));
    let (a, b) = (a.as_str(), b.as_str());
    let entry =
        |from: usize, to: usize, shape: [usize; 2]| json!({"dtype": "F32", "shape": shape, "data_offsets": [from, to]});
    let two = |x: Value, y: Value| file(&json!({a: x, b: y}).to_string(), &[0; 512]);
    let other = "base_model.model.model.layers.0.mlp.gate.lora_A.weight";
    for (bytes, code, says) in [
        (vec![], Code::Format, "safetensors"),
        (vec![0xff; 16], Code::Format, "safetensors"),
        (file("{", &[]), Code::Format, "safetensors"),
        (two(entry(0, 256, [2, 32]), entry(256, 1 << 40, [32, 2])), Code::Format, "safetensors"),
        (two(entry(0, 256, [2, 32]), entry(128, 384, [32, 2])), Code::Format, "safetensors"),
        (two(entry(0, 256, [2, 32]), entry(0, 256, [32, 2])), Code::Format, "safetensors"),
        (two(entry(0, 256, [2, 32]), entry(256, 512, [32, 3])), Code::Format, "safetensors"),
        (two(entry(256, 0, [2, 32]), entry(256, 512, [32, 2])), Code::Format, "safetensors"),
        (tensors(&[(a, &[2, 32])]), Code::Format, "lacks"),
        (tensors(&[(a, &[2, 32]), (b, &[32, 4])]), Code::Shape, "fit"),
        (tensors(&[(a, &[2, 32]), (b, &[64])]), Code::Shape, "matrices"),
        (tensors(&[(a, &[2, 32]), (b, &[32, 2]), (other, &[2, 32])]), Code::Unsupported, "counterpart"),
        (tensors(&[("lora_embedding_A", &[2, 32])]), Code::Unsupported, "no part"),
        (tensors(&[("x.lora_A.weight", &[2, 32]), ("x.lora_B.weight", &[32, 2])]), Code::Unsupported, "counterpart"),
        (tensors(&[("base_model.model.lm_head.weight", &[2, 32])]), Code::Unsupported, "no part"),
        (file("{}", &[]), Code::Format, "no tensor"),
    ] {
        let e = Adapter::open(&folder(&dir, config(), &bytes), &base).unwrap_err();
        assert!(e.code() == code && e.message().contains(says), "{says:?}: {:?} {e}", e.code());
    }
    // Another base's: read, and refused by its shape.
    let wide = tensors(&[(a, &[2, 64]), (b, &[32, 2])]);
    let read = Adapter::open(&folder(&dir, config(), &wide), &base).unwrap();
    assert_eq!(read.check(&base, true).unwrap_err().code(), Code::Shape);
    assert_eq!(Adapter::open(Path::new("/nowhere"), &base).unwrap_err().code(), Code::NotFound);
}
