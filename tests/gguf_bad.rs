//! Bad files: each gives one clear error, in under 100 ms and 64 MB, and nothing else happens.
//!
//! The rows are public advisories and issues of released readers of GGUF; each idea is tried with its neighbours. To
//! add a row: spoil `small::llama()`, and `refuse` the result.

mod common;

use common::dir::Dir;
use common::limits::{check, refuse, refuse_path, within_limits};
use common::raw::Raw;
use common::small::{self, behind, patch};
use qorus::gguf::{Gguf, Value};
use qorus::{Code, Type};

#[test]
fn the_small_model_is_good() {
    let gguf = Gguf::from_bytes(small::bytes()).unwrap();
    assert_eq!(gguf.tensors().len(), 2 + 9 * small::LAYERS as usize);
    assert_eq!(gguf.str("general.architecture").unwrap(), Some("llama"));
    assert_eq!(gguf.strings("tokenizer.ggml.tokens").unwrap().unwrap().len(), small::VOCAB as usize);
}

#[test]
fn counts_of_keys_and_tensors() {
    let huge = [u64::MAX, 1 << 63, 1 << 61, 1 << 60, u64::MAX / 14 + 2, u64::MAX / 25 + 2, 1 << 32, 100_000];
    for n in huge {
        refuse(Raw::new(3, 0, n).fill(64), Code::Format, &["key-value pairs", &n.to_string(), "fetch"]);
        refuse(Raw::new(3, n, 0).fill(64), Code::Format, &["tensors", &n.to_string()]);
        refuse(Raw::new(2, n, 0).fill(43), Code::Format, &["tensors", &n.to_string()]);
        refuse(patch(small::bytes(), 16, &n.to_le_bytes()), Code::Format, &["key-value pairs"]);
        refuse(patch(small::bytes(), 8, &n.to_le_bytes()), Code::Format, &["tensors"]);
    }
    // One too many, one too few: what follows is then read as something it is not.
    let file = small::bytes();
    let keys = Gguf::from_bytes(file.clone()).unwrap().entries().len() as u64;
    for n in [keys - 1, keys + 1] {
        let file = patch(file.clone(), 16, &n.to_le_bytes());
        assert!(within_limits(|| Gguf::from_bytes(file)).is_err());
    }
    // Many small ones in a file that is as long as they need.
    refuse(Raw::new(3, 0, 1 << 20).fill(15 << 20), Code::Unsupported, &["1048576 key-value pairs", "32768"]);
    refuse(Raw::new(3, 1 << 20, 0).fill(26 << 20), Code::Unsupported, &["1048576 tensors", "65536"]);
}

#[test]
fn as_many_keys_and_tensors_as_are_read() {
    let mut raw = Raw::new(3, 1 << 16, 1 << 15);
    for i in 0..1 << 15 {
        raw = raw.string(&format!("{}{i:06}", "k".repeat(1000))).u32(0).bytes(&[1]);
    }
    for i in 0..1 << 16 {
        raw = raw.tensor(&format!("{}{i:06}", "t".repeat(240)), 0, &[1], 32 * i);
    }
    let len = raw.0.len() + 64 + (32 << 16);
    let mut file = raw.fill(len);
    let good = file.clone();
    let gguf = within_limits(|| Gguf::from_bytes(good)).unwrap();
    assert_eq!((gguf.entries().len(), gguf.tensors().len()), (1 << 15, 1 << 16));
    // The last of them is wrong: as late as an error can be.
    let last = behind(&file, &format!("{}{:06}", "t".repeat(240), (1 << 16) - 1));
    file = patch(file, last + 4 + 8 + 4, &(32u64 * 7).to_le_bytes());
    refuse(file, Code::Format, &["overlap"]);
}

#[test]
fn lengths_of_strings() {
    let file = small::bytes();
    let name = behind(&file, "general.name") + 4;
    let token = behind(&file, "tokenizer.ggml.tokens") + 4 + 4 + 8;
    let key = behind(&file, "general.name") - "general.name".len() - 8;
    let tensor = behind(&file, "token_embd.weight") - "token_embd.weight".len() - 8;
    for n in [u64::MAX, u64::MAX - 7, 1 << 63, 1 << 40, (1 << 31) + 1, file.len() as u64] {
        let n_bytes = n.to_le_bytes();
        let fit = ["fetch it again", &n.to_string()];
        refuse(
            patch(file.clone(), name, &n_bytes),
            Code::Format,
            &[&fit[..], &["string of key \"general.name\""]].concat(),
        );
        refuse(
            patch(file.clone(), token, &n_bytes),
            Code::Format,
            &[&fit[..], &["string 0 of key \"tokenizer"]].concat(),
        );
        refuse(patch(file.clone(), key, &n_bytes), Code::Format, &[&fit[..], &["key 1 "]].concat());
        refuse(patch(file.clone(), tensor, &n_bytes), Code::Format, &[&fit[..], &["name of tensor 0"]].concat());
    }
    refuse(Raw::new(3, 0, 1).string("").u32(0).bytes(&[1; 40]).fill(0), Code::Format, &["key 0", "0 bytes"]);
    refuse(Raw::new(3, 0, 1).string(&"k".repeat(2000)).u32(0).fill(4096), Code::Format, &["key 0", "2000 bytes"]);
    refuse(Raw::new(3, 1, 0).tensor("", 0, &[1], 0).fill(128), Code::Format, &["tensor 0", "0 bytes"]);
    refuse(Raw::new(3, 1, 0).tensor(&"t".repeat(256), 0, &[1], 0).fill(1024), Code::Format, &["tensor 0", "256 bytes"]);
    refuse(Raw::new(3, 0, 1).u64(2).bytes(b"\xff\xfe").u32(0).fill(64), Code::Format, &["key 0", "UTF-8"]);
    refuse(Raw::new(3, 1, 0).u64(2).bytes(b"\xff\xfe").fill(64), Code::Format, &["tensor 0", "UTF-8"]);
}

#[test]
fn arrays() {
    let array = |elem: u32, n: u64| Raw::new(3, 0, 1).string("k").u32(9).u32(elem).u64(n);
    for (elem, n) in [
        (10, (1 << 61) + 1),
        (10, 1 << 61),
        (12, u64::MAX / 8 + 1),
        (4, 1 << 62),
        (6, (1 << 62) + 2),
        (2, 1 << 63),
        (0, u64::MAX),
        (7, u64::MAX - 70),
        (0, 1000),
        (4, 30),
        (8, u64::MAX),
        (8, 1 << 61),
        (8, 1 << 32),
        (8, 14),
    ] {
        refuse(array(elem, n).fill(120), Code::Format, &["array of key \"k\"", &n.to_string()]);
    }
    // Arrays in arrays, however deep.
    let mut nested = Raw::new(3, 0, 1).string("k").u32(9);
    for _ in 0..100_000 {
        nested = nested.u32(9).u64(1);
    }
    refuse(nested.fill(0), Code::Unsupported, &["\"k\"", "array of arrays"]);
    // More strings than anyone has, all of them there.
    refuse(array(8, (1 << 22) + 1).fill(40 << 20), Code::Unsupported, &["\"k\"", "4194305", "4194304"]);
    // As many as are read, then an error.
    let most = array(8, 1 << 22).fill(52 + (8 << 22));
    refuse(patch(most, 16, &2u64.to_le_bytes()), Code::Format, &["key 1"]);
}

#[test]
fn types_that_do_not_exist() {
    for ty in [13, 14, 255, 1 << 31, u32::MAX] {
        refuse(Raw::new(3, 0, 1).string("k").u32(ty).fill(64), Code::Format, &["key \"k\"", &format!("type {ty};")]);
        refuse(
            Raw::new(3, 0, 1).string("k").u32(9).u32(ty).fill(64),
            Code::Format,
            &["array of key \"k\"", &format!("type {ty};")],
        );
    }
    for (ty, name) in [
        (4, "Q4_2"),
        (9, "Q8_1"),
        (31, "Q4_0_4_4"),
        (34, "TQ1_0"),
        (39, "MXFP4"),
        (4711, "4711"),
        (u32::MAX, "4294967295"),
    ] {
        refuse(Raw::new(3, 1, 0).tensor("t", ty, &[256], 0).fill(4096), Code::Unsupported, &["tensor \"t\"", name]);
    }
    refuse(Raw::new(3, 0, 1).string("b").u32(7).bytes(&[2]).fill(64), Code::Format, &["\"b\"", "bool", "2"]);
}

#[test]
fn shapes() {
    let one = |ty: Type, dims: &[u64]| Raw::new(3, 1, 0).tensor("t", ty.id(), dims, 0).fill(1 << 16);
    for (ty, dims) in [
        (Type::F32, &[0][..]),
        (Type::F32, &[32, 0]),
        (Type::F32, &[32, 1, 0, 1]),
        (Type::F32, &[u64::MAX]),
        (Type::F32, &[1 << 63]),
        (Type::F32, &[1, 1, 1, u64::MAX - 31]),
        (Type::F32, &[1 << 32, 1 << 32]),
        (Type::F32, &[1 << 32, 1 << 31, 2]),
        (Type::F32, &[(1 << 32) + 1, (1 << 32) - 1, 2]),
        (Type::F32, &[1 << 16, 1 << 16, 1 << 16, 1 << 16]),
        (Type::F32, &[1 << 62]),
        (Type::F64, &[(1 << 61) + 1]),
        (Type::F64, &[1 << 62]),
        (Type::Q8_0, &[33]),
        (Type::Q4_0, &[31, 32]),
        (Type::Q4_0, &[1, 32]),
        (Type::Q4_K, &[128, 2]),
        (Type::IQ2_XXS, &[257]),
    ] {
        refuse(one(ty, dims), Code::Format, &["tensor \"t\"", ty.name(), "shape"]);
    }
    for n in [5u32, 6, 1 << 30, u32::MAX] {
        let file = patch(one(Type::F32, &[1]), 24 + 9, &n.to_le_bytes());
        refuse(file, Code::Format, &["tensor \"t\"", &format!("{n} dimensions")]);
    }
    // Elements that can be counted, but bytes that can't be in the file.
    for dims in [&[1 << 61][..], &[1 << 40], &[1 << 14], &[1 << 20, 1 << 20, 1 << 20]] {
        refuse(one(Type::F32, dims), Code::Format, &["tensor \"t\"", "bytes", "fetch it again"]);
    }
}

#[test]
fn places() {
    let two =
        |a: u64, b: u64, n: u64| Raw::new(3, 2, 0).tensor("a", 0, &[n], a).tensor("b", 0, &[n], b).fill(96 + 2 * 64);
    // 16 elements are 64 bytes; the data begins at 96.
    assert!(Gguf::from_bytes(two(0, 64, 16)).is_ok());
    assert!(Gguf::from_bytes(two(64, 0, 16)).is_ok(), "the list need not be in the order of the data");
    for (a, b) in [(0, 0), (0, 32), (32, 0), (64, 64)] {
        refuse(two(a, b, 16), Code::Format, &["\"a\"", "\"b\"", "overlap"]);
    }
    for b in [96, 128, 1 << 20, 1 << 63, u64::MAX - 31, u64::MAX - 127, u64::MAX - 127 - 64] {
        refuse(two(0, b, 16), Code::Format, &["tensor \"b\"", &b.to_string(), "ends at 224"]);
    }
    for b in [1, 4, 65, 72, u64::MAX] {
        refuse(two(0, b, 16), Code::Format, &["tensor \"b\"", &b.to_string(), "alignment 32"]);
    }
    // Each size is possible, their sum wraps.
    refuse(two(0, 1 << 62, 1 << 60), Code::Format, &["tensor \"a\"", "ends at 224"]);
    refuse(two(0, u64::MAX - 63, 1 << 60), Code::Format, &["tensor \"a\"", "ends at 224"]);
}

#[test]
fn alignments() {
    let aligned = |n: u32| Raw::new(3, 0, 1).string("general.alignment").u32(4).u32(n).fill(0);
    for n in [0, 1, 2, 3, 4, 7, 12, 33, 1 << 21, 1 << 30, 1 << 31, u32::MAX] {
        refuse(aligned(n), Code::Format, &["general.alignment", &n.to_string(), "power of two"]);
    }
    for n in (3..=20).map(|bits| 1 << bits) {
        assert!(Gguf::from_bytes(aligned(n)).is_ok(), "alignment {n}");
    }
    let other = Raw::new(3, 0, 1).string("general.alignment");
    refuse(other.u32(8).string("32").fill(0), Code::Format, &["general.alignment", "string", "integer"]);
    refuse(
        Raw::new(3, 0, 1).string("general.alignment").u32(11).u64(-32i64 as u64).fill(0),
        Code::Format,
        &["general.alignment", "-32"],
    );
    // A tensor at a multiple of 32 in a file that promises 64.
    let mut raw = Raw::new(3, 1, 1).string("general.alignment").u32(4).u32(64);
    raw = raw.tensor("t", 0, &[1], 32);
    refuse(raw.fill(4096), Code::Format, &["tensor \"t\"", "alignment 64"]);
}

#[test]
fn duplicates() {
    let keys = Raw::new(3, 0, 3).string("a").u32(0).bytes(&[1]).string("b").u32(0).bytes(&[1]);
    refuse(keys.string("a").u32(8).string("other").fill(0), Code::Format, &["key \"a\" twice"]);
    let names = Raw::new(3, 2, 0).tensor("t", 0, &[1], 0).tensor("t", 1, &[2], 32);
    refuse(names.fill(4096), Code::Format, &["tensor \"t\" twice"]);
}

#[test]
fn versions_and_magics() {
    for v in [0, 1, 4, 5, 0x0400_0000, u32::MAX] {
        refuse(Raw::new(v, 0, 0).fill(64), Code::Unsupported, &[&format!("version {v};"), "2 and 3"]);
    }
    for v in [1u32, 2, 3] {
        let file = Raw(b"GGUF".to_vec()).u32(v.swap_bytes()).fill(64);
        refuse(file, Code::Unsupported, &["big-endian", &format!("version {v};")]);
    }
    for (magic, word) in [
        (b"FUGG", "big-endian"),
        (b"PK\x03\x04", "zip"),
        (b"tjgg", "before GGUF"),
        (b"vers", "pointer"),
        (b"\0\0\0\0", "no GGUF"),
    ] {
        refuse(Raw(magic.to_vec()).u32(3).fill(64), Code::Format, &["rather than \"GGUF\"", word]);
    }
    refuse(Vec::new(), Code::Format, &["magic", "0"]);
}

#[test]
fn cut_at_every_byte() {
    let file = small::bytes();
    let gguf = Gguf::from_bytes(file.clone()).unwrap();
    let data = gguf.tensors().iter().map(|t| t.offset).min().unwrap() as usize;
    let end = gguf.tensors().iter().map(|t| t.offset + t.bytes).max().unwrap() as usize;
    // One buffer for all cuts: copying the file each time is what would take long.
    let file: &'static [u8] = file.leak();
    for cut in (0..data).chain((data..end).step_by(61)).chain([end - 1]) {
        let error = within_limits(|| Gguf::from_bytes(&file[..cut])).err();
        let error = error.unwrap_or_else(|| panic!("cut at {cut} of {end} it was accepted"));
        check(&error, Code::Format, "memory: ", &[]);
    }
    assert!(Gguf::from_bytes(&file[..end]).is_ok());
}

#[test]
fn split_files() {
    let dir = Dir::new("split");
    let part = |no: u16, count: u16, tensors: i32, name: &str| {
        let mut w = qorus::gguf::Writer::new();
        w.put("split.no", no).unwrap().put("split.count", count).unwrap().put("split.tensors.count", tensors).unwrap();
        w.tensor(name, Type::F32, &[8]).unwrap();
        small::finish(w)
    };
    let first = dir.file("m-00001-of-00002.gguf", &part(0, 2, 2, "a"));
    let second = "m-00002-of-00002.gguf";
    refuse_path(&first, Code::NotFound, &["part 2 of 2", second]);
    refuse_path(
        &dir.file(second, &part(1, 2, 2, "a")),
        Code::InvalidArgument,
        &["file 2 of 2", "-00001-of-00002.gguf"],
    );
    refuse_path(&first, Code::Format, &["tensor \"a\" twice"]);
    dir.file(second, &part(1, 3, 2, "b"));
    refuse_path(&first, Code::Format, &[second, "split.count", "3", "expected 2"]);
    dir.file(second, &part(0, 2, 2, "b"));
    refuse_path(&first, Code::Format, &[second, "split.no", "0", "expected 1"]);
    dir.file(second, &small::bytes());
    refuse_path(&first, Code::Format, &[second, "split.no", "nothing"]);
    dir.file(second, b"GGUF");
    refuse_path(&first, Code::Format, &[second, "version", "cut short"]);
    dir.file(second, &part(1, 2, 2, "b"));
    assert!(Gguf::open(&first).is_ok());
    dir.file("m-00001-of-00002.gguf", &part(0, 2, 3, "a"));
    refuse_path(&first, Code::Format, &["3 tensors", "which have 2"]);
    refuse_path(
        &dir.file("renamed.gguf", &part(0, 2, 2, "a")),
        Code::InvalidArgument,
        &["renamed.gguf", "-00001-of-00002"],
    );
    refuse_path(&dir.file("many.gguf", &part(0, u16::MAX, 2, "a")), Code::Unsupported, &["65535 files", "999"]);
    let error = Gguf::from_bytes(part(0, 2, 2, "a")).err().expect("memory has no files beside it");
    check(&error, Code::Unsupported, "", &["2 files"]);
}

#[test]
fn values_of_another_type() {
    let mut w = small::llama();
    w.put("llama.block_count", -1i32).unwrap().put("llama.vocab_size", 1u64 << 32).unwrap();
    w.put("llama.rope.freq_base", "10000").unwrap().put("general.name", 7u8).unwrap();
    w.put("general.architecture", Value::Str(b"\xff")).unwrap().put("tokenizer.ggml.scores", true).unwrap();
    let gguf = Gguf::from_bytes(small::finish(w)).unwrap();
    let refused = |error: Option<qorus::Error>, words: &[&str]| {
        check(&error.expect("the value was accepted"), Code::Format, "memory: key ", words);
    };
    refused(gguf.u32("llama.block_count").err(), &["llama.block_count", "int32 -1", "integer from 0"]);
    refused(gguf.u32("llama.vocab_size").err(), &["4294967296"]);
    refused(gguf.f32("llama.rope.freq_base").err(), &["a string of 5 bytes", "a float"]);
    refused(gguf.str("general.name").err(), &["uint8 7", "string"]);
    refused(gguf.str("general.architecture").err(), &["UTF-8"]);
    refused(gguf.bool("general.name").err(), &["a bool"]);
    refused(gguf.f32s("tokenizer.ggml.scores").err(), &["the bool true", "array of floats"]);
    refused(gguf.u32s("tokenizer.ggml.tokens").err(), &["264 string", "array of integers"]);
    refused(gguf.strings("tokenizer.ggml.token_type").err(), &["264 int32", "array of strings"]);
    assert_eq!(gguf.u64("llama.vocab_size").unwrap(), Some(1 << 32));
    assert_eq!(gguf.u32("none").unwrap(), None);
}

/// Opens what may be anything, and looks at all of it if that works.
fn look_at_all(file: &'static [u8]) {
    let Ok(gguf) = within_limits(|| Gguf::from_bytes(file)) else { return };
    for (key, value) in gguf.entries() {
        assert_eq!(gguf.get(key).map(|v| v.ty()), Some(value.ty()));
        if let Value::Array(a) = value {
            a.strings().map(Iterator::count);
            a.i32s().map(Iterator::count);
            a.f32s().map(Iterator::count);
        }
    }
    for t in gguf.tensors() {
        assert_eq!(gguf.data(t).len() as u64, t.bytes);
        assert_eq!(gguf.tensor(gguf.tensor_name(t)).map(|t| t.offset), Some(t.offset));
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    /// Any bytes at any place: no panic, and the limits hold.
    #[test]
    fn overwritten_bytes(
        patches in proptest::collection::vec((0.0..1.0f64, proptest::array::uniform8(0u8..), 1..9usize, 0..4u8), 1..6),
        cut in proptest::option::of(0.0..1.0f64),
    ) {
        let mut file = small::bytes();
        let header = behind(&file, "output_norm.weight") + 24;
        for (place, bytes, n, kind) in patches {
            let at = (place * (header - 8) as f64) as usize;
            let old = u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
            match kind {
                0 => file[at..at + n].copy_from_slice(&bytes[..n]),
                1 => file[at..at + n].fill(bytes[0]),
                2 => file[at..at + n].fill(0xff),
                _ => file[at..at + 8].copy_from_slice(&old.wrapping_add(bytes[0] as i8 as u64).to_le_bytes()),
            }
        }
        if let Some(cut) = cut {
            file.truncate((cut * file.len() as f64) as usize);
        }
        let kept: *mut [u8] = Box::into_raw(file.into_boxed_slice());
        // SAFETY: it was a box, and nothing holds a slice of it when it is one again.
        unsafe {
            look_at_all(&*kept);
            drop(Box::from_raw(kept));
        }
    }
}
