//! Files of adapters: what is written comes back, what is damaged or of another base is refused, and nothing is left behind.

mod common;

use common::dir::Dir;
use common::small::{self, DIM, FFN};
use qorus::adapter::{Adapter, Kind, Pair, base_hash};
use qorus::gguf::{Gguf, Writer};
use qorus::{Code, Type};
use std::path::Path;

fn base() -> Gguf {
    Gguf::from_bytes(small::bytes()).unwrap()
}

fn numbers(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2654435761).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..len).map(|_| next()).collect()
}

fn pair(tensor: &str, rank: usize, rows: u64, cols: u64) -> Pair {
    let (rows, cols) = (rows as usize, cols as usize);
    let seed = tensor.bytes().map(u32::from).sum();
    let (a, b) = (numbers(rank * cols, seed), numbers(rows * rank, seed + 1));
    Pair { tensor: tensor.into(), rank, rows, cols, experts: 1, a, b, magnitude: None }
}

fn adapter(kind: Kind, base: &Gguf) -> Adapter {
    let mut pairs = vec![
        pair("blk.0.attn_q.weight", 4, DIM, DIM),
        pair("blk.1.attn_k.weight", 4, DIM / 2, DIM),
        pair("blk.1.ffn_down.weight", 4, DIM, FFN),
        pair("output.weight", 4, small::VOCAB, DIM),
    ];
    if kind == Kind::Dora {
        pairs.iter_mut().for_each(|p| p.magnitude = Some(numbers(p.rows, 9)));
    }
    Adapter { name: String::new(), arch: "llama".into(), kind, alpha: 8.0, base: Some(base_hash(base)), pairs }
}

/// Without the name, which says where it was read from.
fn nameless(adapter: Adapter) -> Adapter {
    Adapter { name: String::new(), ..adapter }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_written_comes_back() {
    let (dir, base) = (Dir::new("adapter"), base());
    for kind in Kind::ALL {
        let made = adapter(kind, &base);
        let path = dir.0.join(format!("{}.gguf", kind.name()));
        made.write(&path).unwrap();
        let read = Adapter::open(&path, &base).unwrap();
        read.check(&base, false).unwrap();
        assert_eq!(nameless(read), made, "{}", kind.name());
    }
    assert_eq!(names(&dir.0), ["dora.gguf", "lora.gguf", "rslora.gguf"]);
}

/// What another reader makes of a file: `adapter.lora.alpha` over the rank of each B.
#[test]
fn other_readers_come_to_the_same_scales() {
    let (dir, base) = (Dir::new("adapter-scales"), base());
    for ranks in [[4, 4], [4, 16]] {
        for kind in [Kind::Lora, Kind::RsLora] {
            let pairs = ranks.iter().zip(["blk.0.attn_q.weight", "blk.1.attn_q.weight"]);
            let pairs = pairs.map(|(rank, tensor)| pair(tensor, *rank, DIM, DIM)).collect();
            let made = Adapter { pairs, ..adapter(kind, &base) };
            let path = dir.0.join("x.gguf");
            made.write(&path).unwrap();
            let file = Gguf::open(&path).unwrap();
            assert_eq!(file.str("general.type").unwrap(), Some("adapter"));
            assert_eq!(file.str("adapter.type").unwrap(), Some("lora"));
            let alpha = file.f32("adapter.lora.alpha").unwrap().unwrap();
            for p in &made.pairs {
                let t = file.tensor(&format!("{}.lora_b", p.tensor)).unwrap();
                assert_eq!((t.ty, &t.dims[..2]), (Type::F32, &[p.rank as u64, DIM][..]));
                let b: &[f32] = bytemuck::cast_slice(file.data(t));
                for (theirs, ours) in b.iter().zip(&p.b) {
                    let (theirs, ours) = (theirs * (alpha / p.rank as f32), ours * made.scale(p));
                    assert!((theirs - ours).abs() <= 1e-6 * ours.abs(), "{theirs} {ours}");
                }
            }
            let back = Adapter::open(&path, &base).unwrap();
            for (p, q) in made.pairs.iter().zip(&back.pairs) {
                let product = |a: &Adapter, p: &Pair| p.b.iter().map(|b| b * a.scale(p)).collect::<Vec<f32>>();
                let near =
                    product(&made, p).iter().zip(product(&back, q)).all(|(x, y)| (x - y).abs() <= 1e-6 * x.abs());
                assert!(near, "{}", p.tensor);
            }
        }
    }
}

/// As llama.cpp's converter writes them: half floats, experts in the third dimension, no keys of ours; alpha of 0 is a scale of 1.
#[test]
fn files_of_others_are_read() {
    let (dir, base) = (Dir::new("adapter-others"), base());
    let mut w = Writer::new();
    w.put("general.type", "adapter").unwrap().put("general.architecture", "llama").unwrap();
    w.put("adapter.type", "lora").unwrap().put("adapter.lora.alpha", 0f32).unwrap();
    w.tensor("blk.0.ffn_up_exps.weight.lora_a", Type::F16, &[4, 2, 3]).unwrap();
    w.tensor("blk.0.ffn_up_exps.weight.lora_b", Type::F16, &[2, 5, 3]).unwrap();
    let mut out = w.begin(Vec::new()).unwrap();
    while let Some(bytes) = out.lacks() {
        let halves: Vec<u8> = (0..bytes / 2).flat_map(|i| half::f16::from_f32(i as f32).to_le_bytes()).collect();
        out.write(&halves).unwrap();
    }
    let path = dir.file("other.gguf", &out.finish().unwrap());
    let read = Adapter::open(&path, &base).unwrap();
    let p = &read.pairs[0];
    assert_eq!((read.kind, read.base, read.pairs.len()), (Kind::Lora, None, 1));
    assert_eq!((p.rank, p.rows, p.cols, p.experts), (2, 5, 4, 3));
    assert_eq!(p.a, (0..24).map(|i| i as f32).collect::<Vec<_>>());
    assert_eq!(p.b, (0..30).map(|i| i as f32).collect::<Vec<_>>());
    assert_eq!(read.scale(p), 1.0);
}

#[test]
fn another_base_is_refused() {
    let base = base();
    let made = adapter(Kind::Lora, &base);
    made.check(&base, false).unwrap();
    // The same but for one weight, one key, the name, the template.
    let other = |change: &dyn Fn(&mut Writer)| {
        let mut w = small::llama();
        change(&mut w);
        Gguf::from_bytes(small::finish(w)).unwrap()
    };
    let renamed = other(&|w| {
        w.put("general.name", "other").unwrap().put("tokenizer.chat_template", "chatml").unwrap();
    });
    made.check(&renamed, false).unwrap();
    let eps = other(&|w| {
        w.put("llama.attention.layer_norm_rms_epsilon", 1e-6f32).unwrap();
    });
    let mut bytes = small::bytes();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    for other in [eps, Gguf::from_bytes(bytes).unwrap()] {
        let e = made.check(&other, false).unwrap_err();
        assert_eq!(e.code(), Code::State);
        assert!(e.message().contains("another base"), "{e}");
        made.check(&other, true).unwrap();
    }
    // What does not fit is refused in any case.
    for (change, code) in [
        (Adapter { arch: "qwen2".into(), ..made.clone() }, Code::Shape),
        (Adapter { pairs: vec![pair("blk.9.attn_q.weight", 2, DIM, DIM)], ..made.clone() }, Code::NotFound),
        (Adapter { pairs: vec![pair("blk.0.attn_q.weight", 2, DIM, DIM / 2)], ..made.clone() }, Code::Shape),
        (Adapter { pairs: vec![pair("blk.0.attn_q.weight", 2, DIM * 2, DIM)], ..made.clone() }, Code::Shape),
        (Adapter { pairs: vec![pair("blk.0.attn_norm.weight", 2, 1, DIM)], ..made.clone() }, Code::Shape),
        (Adapter { pairs: vec![pair("token_embd.weight", 2, small::VOCAB, DIM)], ..made.clone() }, Code::Unsupported),
    ] {
        assert_eq!(change.check(&base, true).unwrap_err().code(), code, "{:?}", change.pairs[0].tensor);
    }
}

#[test]
fn bad_adapters_are_not_written() {
    let (dir, base) = (Dir::new("adapter-unwritten"), base());
    let made = adapter(Kind::Lora, &base);
    let with = |change: &dyn Fn(&mut Adapter)| {
        let mut made = made.clone();
        change(&mut made);
        made
    };
    let path = dir.file("old.gguf", b"old");
    for (bad, code) in [
        (with(&|a| a.pairs.clear()), Code::Format),
        (with(&|a| a.alpha = f32::NAN), Code::Format),
        (with(&|a| a.pairs[1] = a.pairs[0].clone()), Code::Format),
        (with(&|a| a.pairs[0].a.truncate(3)), Code::Shape),
        (with(&|a| a.pairs[0].rank = 5), Code::Shape),
        (with(&|a| a.pairs[0].experts = usize::MAX), Code::Shape),
        (with(&|a| a.kind = Kind::Dora), Code::Shape),
        (with(&|a| a.pairs[2].b[3] = f32::INFINITY), Code::NotFinite),
        (with(&|a| a.pairs[0].tensor = "x".repeat(60)), Code::InvalidArgument),
    ] {
        assert_eq!(bad.write(&path).unwrap_err().code(), code);
        assert!(bad.write_peft(&dir.0.join("peft"), &base).is_err());
    }
    assert_eq!((names(&dir.0), std::fs::read(&path).unwrap()), (vec!["old.gguf".to_owned()], b"old".to_vec()));
}

#[test]
fn bad_files_are_refused() {
    let (dir, base) = (Dir::new("adapter-bad"), base());
    let file = |keys: &[(&str, &str)], tensors: &[(&str, &[u64])]| {
        let mut w = Writer::new();
        for (key, value) in keys {
            w.put(key, *value).unwrap();
        }
        for (name, dims) in tensors {
            w.tensor(name, Type::F32, dims).unwrap();
        }
        small::finish(w)
    };
    let open = |bytes: &[u8]| Adapter::open(&dir.file("bad.gguf", bytes), &base);
    let good: &[(&str, &str)] =
        &[("general.type", "adapter"), ("general.architecture", "llama"), ("adapter.type", "lora")];
    let plus = |key: &'static str, value: &'static str| [good, &[(key, value)]].concat();
    let a: (&str, &[u64]) = ("blk.0.attn_q.weight.lora_a", &[32, 4]);
    let b: (&str, &[u64]) = ("blk.0.attn_q.weight.lora_b", &[4, 32]);
    open(&file(good, &[a, b])).unwrap();
    for (bytes, code, says) in [
        (file(&[], &[a, b]), Code::Format, "no adapter"),
        (file(&[("general.type", "adapter")], &[a, b]), Code::Unsupported, "type"),
        (file(&plus("qorus.adapter.kind", "x"), &[a, b]), Code::Unsupported, "kind"),
        (file(&plus("qorus.adapter.base", "12"), &[a, b]), Code::Format, "64"),
        (file(&plus("adapter.lora.alpha", "2"), &[a, b]), Code::Format, "float"),
        (file(&plus("adapter.alora.invocation_tokens", "2"), &[a, b]), Code::Unsupported, "aLoRA"),
        (file(good, &[a]), Code::Format, "other half"),
        (file(good, &[b]), Code::Format, "other half"),
        (file(good, &[]), Code::Format, "no tensor"),
        (file(good, &[a, b, ("output_norm.weight", &[32])]), Code::Unsupported, "output_norm"),
        (file(good, &[a, ("blk.0.attn_q.weight.lora_b", &[5, 32])]), Code::Shape, "fit"),
        (file(good, &[("blk.0.attn_q.weight.lora_a", &[32, 4, 2]), b]), Code::Shape, "fit"),
        (file(&plus("qorus.adapter.kind", "dora"), &[a, b]), Code::Shape, "magnitudes"),
    ] {
        let e = open(&bytes).unwrap_err();
        assert!(e.code() == code && e.message().contains(says), "{code:?} {says:?}: {:?} {e}", e.code());
    }
    // Cut anywhere, it is an error.
    let whole = file(good, &[a, b]);
    for len in (0..whole.len()).step_by(7) {
        assert!(open(&whole[..len]).is_err(), "{len}");
    }
    assert_eq!(Adapter::open(Path::new("/nowhere"), &base).unwrap_err().code(), Code::NotFound);
}
