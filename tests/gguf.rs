//! GGUF files that are as they should be: what is written is read again, in one file or several.

mod common;

use std::io::Write as _; // not held back by the test harness, as the print macros are
use std::path::PathBuf;

use common::dir::Dir;
use common::small;
use qorus::gguf::{Gguf, Value, ValueType, Writer};
use qorus::{Code, Type};

#[test]
fn every_value_comes_back() {
    let mut w = Writer::new();
    let values: [(&str, Value); 22] = [
        ("u8", 200u8.into()),
        ("i8", (-100i8).into()),
        ("u16", 60_000u16.into()),
        ("i16", (-30_000i16).into()),
        ("u32", u32::MAX.into()),
        ("i32", i32::MIN.into()),
        ("f32", 1.5e-30f32.into()),
        ("bool", true.into()),
        ("str", "\u{2581}text".into()),
        ("bytes", Value::Str(b"\xff\0\xfe")),
        ("none", "".into()),
        ("u64", u64::MAX.into()),
        ("i64", i64::MIN.into()),
        ("f64", 1.5e-300f64.into()),
        ("u8s", [1u8, 2, 255][..].into()),
        ("i16s", [-1i16, 2, 3][..].into()),
        ("u32s", [1u32, 2, u32::MAX][..].into()),
        ("i32s", [-1i32, 2, i32::MIN][..].into()),
        ("f32s", [1f32, -2.5, f32::INFINITY][..].into()),
        ("bools", [true, false][..].into()),
        ("u64s", [1u64, 1 << 40][..].into()),
        ("f64s", Value::from(&[][..] as &[f64])),
    ];
    for (key, value) in values {
        w.put(key, value).unwrap();
    }
    w.put_strings("strings", ["a", "", "\u{1F600}"]).unwrap();
    let file = Gguf::from_bytes(small::finish(w)).unwrap();

    let read: Vec<_> = file.entries().take(22).collect();
    assert_eq!(read, values, "in the same order, with the same types");
    for (key, value) in values {
        assert_eq!(file.get(key), Some(value));
    }
    assert_eq!(file.get("nothing"), None);
    let strings: Vec<_> = file.strings("strings").unwrap().unwrap().collect();
    assert_eq!(strings, ["a".as_bytes(), b"", "\u{1F600}".as_bytes()]);
    let array = file.array("strings").unwrap().unwrap();
    assert_eq!((array.ty(), array.len(), array.bytes().len()), (ValueType::Str, 3, 3 * 8 + 5));

    assert_eq!(file.u32("u8").unwrap(), Some(200));
    assert_eq!(file.u64("u64").unwrap(), Some(u64::MAX));
    assert_eq!(file.f32("f64").unwrap(), Some(0.0), "of either width");
    assert_eq!(file.str("str").unwrap(), Some("\u{2581}text"));
    assert_eq!(file.bool("bool").unwrap(), Some(true));
    assert_eq!(file.u32s("u8s").unwrap().unwrap().collect::<Vec<_>>(), [1, 2, 255]);
    assert_eq!(file.i32s("i16s").unwrap().unwrap().collect::<Vec<_>>(), [-1, 2, 3]);
    assert_eq!(file.f32s("f32s").unwrap().unwrap().collect::<Vec<_>>(), [1.0, -2.5, f32::INFINITY]);
    assert_eq!(file.f32s("f64s").unwrap().unwrap().len(), 0);
    assert_eq!(file.array("bools").unwrap().unwrap().bools().unwrap().collect::<Vec<_>>(), [true, false]);
    assert_eq!(file.u32s("u64s").err().map(|e| e.code()), Some(Code::Format));
    assert_eq!(file.i32s("u32s").err().map(|e| e.code()), Some(Code::Format));
}

#[test]
fn tensors_come_back_where_the_alignment_puts_them() {
    for alignment in [8u64, 32, 64, 4096, 1 << 20] {
        let mut w = Writer::new();
        w.put("general.alignment", alignment as u32).unwrap();
        let declared = [
            ("scalar", Type::F32, &[1][..]),
            ("row", Type::F16, &[7]),
            ("matrix", Type::Q4_K, &[512, 3]),
            ("four", Type::I8, &[2, 3, 4, 5]),
            ("block", Type::Q8_0, &[32, 1]),
        ];
        for (name, ty, dims) in declared {
            w.tensor(name, ty, dims).unwrap();
        }
        let mut out = w.begin(Vec::new()).unwrap();
        let mut byte = 0;
        while let Some(lacks) = out.lacks() {
            byte += 1;
            let bytes = vec![byte; lacks as usize];
            let (a, b) = bytes.split_at(bytes.len() / 2); // in pieces
            out.write(a).unwrap();
            out.write(b).unwrap();
        }
        let file = Gguf::from_bytes(out.finish().unwrap()).unwrap();
        assert_eq!(file.tensors().len(), declared.len());
        for (i, (name, ty, dims)) in declared.into_iter().enumerate() {
            let t = file.tensor(name).unwrap();
            assert_eq!((t.ty, &t.dims[..t.n_dims as usize], file.tensor_name(t)), (ty, dims, name));
            assert!(t.dims[dims.len()..].iter().all(|&d| d == 1));
            assert_eq!(t.elements(), dims.iter().product::<u64>());
            assert_eq!(t.rows() * t.dims[0], t.elements());
            assert_eq!(t.bytes as usize, ty.row_bytes(dims[0] as usize).unwrap() * t.rows() as usize);
            assert_eq!(t.offset % alignment, 0);
            assert_eq!(file.data(t), vec![i as u8 + 1; t.bytes as usize]);
        }
        assert!(file.tensor("none").is_none());
    }
}

#[test]
fn the_data_is_aligned_in_memory() {
    let good = small::bytes();
    let mut shifted = vec![0];
    shifted.extend(&good);
    let shifted: &'static [u8] = shifted.leak();
    let dir = Dir::new("aligned");
    let path = dir.file("m.gguf", &good);
    let files =
        [Gguf::from_bytes(good.clone()), Gguf::from_bytes(&shifted[1..]), Gguf::open(&path), Gguf::open_copy(&path)];
    for file in files {
        let file = file.unwrap();
        for t in file.tensors() {
            assert!(bytemuck::try_cast_slice::<u8, f32>(file.data(t)).is_ok());
        }
        assert_eq!(file.file_bytes(), good.len() as u64);
        let t = &file.tensors()[2];
        assert!(*file.data(t) == good[t.offset as usize..][..4096], "the bytes of a 32 x 32 matrix in f32");
    }
}

#[test]
fn version_2_has_the_same_layout() {
    let file = Gguf::from_bytes(small::patch(small::bytes(), 4, &2u32.to_le_bytes())).unwrap();
    assert_eq!(file.version(), 2);
    assert_eq!(file.u32("llama.block_count").unwrap(), Some(small::LAYERS));
}

#[test]
fn a_model_in_three_files_is_one() {
    let dir = Dir::new("split");
    let whole = Gguf::from_bytes(small::bytes()).unwrap();
    // As other tools split: keys in the first file alone, and that one may have no tensors.
    let third = whole.tensors().len() / 2;
    for (no, tensors) in [&[][..], &whole.tensors()[..third], &whole.tensors()[third..]].into_iter().enumerate() {
        let mut w = Writer::new();
        if no == 0 {
            for (key, value) in whole.entries() {
                w.put(key, value).unwrap();
            }
        }
        w.put("split.no", no as u16).unwrap().put("split.count", 3u16).unwrap();
        w.put("split.tensors.count", whole.tensors().len() as i32).unwrap();
        for t in tensors {
            w.tensor(whole.tensor_name(t), t.ty, &t.dims[..t.n_dims as usize]).unwrap();
        }
        let mut out = w.create(&dir.0.join(format!("m-{:05}-of-00003.gguf", no + 1))).unwrap();
        tensors.iter().for_each(|t| out.write(whole.data(t)).unwrap());
        out.save().unwrap();
    }
    for open in [Gguf::open, Gguf::open_copy] {
        let split = open(&dir.0.join("m-00001-of-00003.gguf")).unwrap();
        assert_eq!(split.tensors().len(), whole.tensors().len());
        for t in whole.tensors() {
            let part = split.tensor(whole.tensor_name(t)).unwrap();
            assert_eq!(split.data(part), whole.data(t));
        }
        assert_eq!(split.u32("llama.block_count").unwrap(), Some(small::LAYERS));
        split.check_unchanged().unwrap();
    }
    let split = Gguf::open(&dir.0.join("m-00001-of-00003.gguf")).unwrap();
    std::fs::write(dir.0.join("m-00003-of-00003.gguf"), b"other").unwrap();
    assert_eq!(split.check_unchanged().err().map(|e| e.code()), Some(Code::FileChanged), "any part counts");
}

#[test]
fn a_writer_refuses_what_no_file_can_be() {
    let mut w = Writer::new();
    let refused = |error: Option<qorus::Error>, code: Code| {
        let error = error.expect("it was accepted");
        assert_eq!(error.code(), code, "{error}");
    };
    for alignment in [0u32, 4, 33, 1 << 21] {
        refused(w.put("general.alignment", alignment).err(), Code::InvalidArgument);
    }
    refused(w.put("general.alignment", "32").err(), Code::InvalidArgument);
    refused(w.put("", 1u32).err(), Code::InvalidArgument);
    refused(w.tensor("", Type::F32, &[1]).err(), Code::InvalidArgument);
    refused(w.tensor(&"n".repeat(64), Type::F32, &[1]).err(), Code::InvalidArgument);
    for dims in [&[][..], &[0], &[1, 1, 1, 1, 1], &[u64::MAX, 2]] {
        refused(w.tensor("t", Type::F32, dims).err(), Code::Shape);
    }
    refused(w.tensor("t", Type::Q4_0, &[33]).err(), Code::Shape);
    w.tensor("t", Type::F32, &[2]).unwrap();
    refused(w.tensor("t", Type::F32, &[2]).err(), Code::InvalidArgument);
    let mut out = w.begin(Vec::new()).unwrap();
    refused(out.write(&[0; 9]).err(), Code::Shape);
    out.write(&[0; 7]).unwrap();
    refused(out.write(&[0; 2]).err(), Code::Shape);
    assert_eq!(out.lacks(), Some(1));
    refused(out.finish().err(), Code::State);
}

#[test]
fn a_key_set_again_keeps_its_place() {
    let mut w = Writer::new();
    w.put("a", 1u32).unwrap().put("b", 2u32).unwrap().put("a", "text").unwrap();
    let file = Gguf::from_bytes(small::finish(w)).unwrap();
    let entries: Vec<_> = file.entries().collect();
    assert_eq!(entries, [("a", "text".into()), ("b", 2u32.into())]);
}

#[test]
fn a_copy_without_changes_is_the_same_file() {
    let good = small::bytes();
    assert_eq!(small::without(&good, "nothing of that name"), good);
    let file = Gguf::from_bytes(small::without(&good, "llama.block_count")).unwrap();
    assert_eq!(file.get("llama.block_count"), None);
}

/// Real files of other writers, where they are to be had.
#[test]
fn files_of_others() {
    let shared = std::env::var_os("QORUS_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    if !shared.is_dir() {
        drop(writeln!(std::io::stderr(), "SKIPPED: needs {} (set QORUS_SHARED)", shared.display()));
        return;
    }
    let vocabulary = |name: &str, tokens: usize| {
        let file = Gguf::open(&shared.join("vocab").join(name)).unwrap();
        assert_eq!(file.tensors().len(), 0);
        let read = file.strings("tokenizer.ggml.tokens").unwrap().unwrap();
        assert!(read.len() == tokens && read.filter(|t| !t.is_empty()).count() == tokens, "{name}");
    };
    vocabulary("ggml-vocab-gpt-2.gguf", 50_257);
    vocabulary("ggml-vocab-llama-spm.gguf", 32_000);
    vocabulary("ggml-vocab-qwen2.gguf", 151_936);
    let file = Gguf::open(&shared.join("models/stories260K-q8_0.gguf")).unwrap();
    let embedding = file.tensor("token_embd.weight").unwrap();
    assert_eq!((embedding.ty, embedding.dims, embedding.bytes), (Type::Q8_0, [64, 512, 1, 1], 512 * 2 * 34));
    assert_eq!(file.f32("llama.rope.freq_base").unwrap(), Some(10000.0));
}
