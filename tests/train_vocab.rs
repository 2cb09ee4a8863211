//! Vocabularies trained on a text: the same each time, read by the tokenizer, and text comes back whole.

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use common::dir::{Dir, shared};
use common::vocab::{PLAIN, SPECIAL, decode, encode};
use qorus::Code;
use qorus::gguf::Gguf;
use qorus::tokenizer::Tokenizer;
use qorus::train::data::vocab::{BpeParams, Vocabulary, characters, train_bpe};
use qorus::train::data::{Source, prepare};

fn open(dir: &Dir, v: &Vocabulary) -> (Arc<Gguf>, Tokenizer) {
    let path = dir.0.join("vocab.gguf");
    v.save(&path).unwrap();
    let gguf = Arc::new(Gguf::open(&path).unwrap());
    (gguf.clone(), Tokenizer::new(gguf).unwrap())
}

fn train(files: &[PathBuf], p: &BpeParams) -> qorus::Result<Vocabulary> {
    train_bpe(files, p, &mut |_, _| true)
}

#[test]
fn the_commonest_pairs_become_tokens() {
    let dir = Dir::new("bpe");
    // "low" 5, "lower" 2, "newest" 6, "widest" 3, each behind a space, as in Sennrich et al., 2016.
    let text =
        [("low", 5), ("lower", 2), ("newest", 6), ("widest", 3)].map(|(w, n)| format!(" {w}").repeat(n)).concat();
    let p = BpeParams { specials: vec!["<|im_end|>".into()], ..BpeParams::new(256 + 6 + 2) };
    let files = [dir.file("text", text.as_bytes())];
    let v = train(&files, &p).unwrap();
    assert_eq!((v.len(), v.end()), (264, 262));
    let (_, t) = open(&dir, &v);
    // Counts: "es" 9 ("e" before "s" before "t"), "est" 9, " l", "lo", "ow" 7, " n", "ne", "ew", "we" ... 6.
    assert_eq!(encode(&t, "es", PLAIN), [256]);
    assert_eq!(encode(&t, "est", PLAIN), [257]);
    assert_eq!(encode(&t, " l", PLAIN), [258]);
    assert_eq!((t.eos(), t.adds_bos(), t.is_end(262)), (Some(262), false, true));
    assert_eq!(encode(&t, "est<|im_end|><|endoftext|>", SPECIAL), [257, 263, 262]);
    for text in ["lowest newer", " Ärger 一二\n\n\tx", "", "é"] {
        assert_eq!(decode(&t, &encode(&t, text, PLAIN), false), text);
    }
    // The text runs out of pairs that come twice.
    let all = train(&files, &BpeParams { size: 4000, ..p.clone() }).unwrap();
    assert!(all.len() < 300);
    let (_, t) = open(&dir, &all);
    assert_eq!(encode(&t, &text, PLAIN).len(), 16, "each word is a token");
}

#[test]
fn training_is_the_same_each_time() {
    let dir = Dir::new("bpe-same");
    let word =
        |i: u64| "etaoinshrdlu".chars().skip(i as usize % 7).step_by(1 + i as usize % 3).take(2 + i as usize % 4);
    let text: String = (0..20_000u64)
        .flat_map(|i| word(i.wrapping_mul(i) >> 3).chain([" ", "\n"][(i % 9 == 0) as usize].chars()))
        .collect();
    let files = [dir.file("a", text.as_bytes()), dir.file("b", b"12345 12345 caf\xc3\xa9 caf\xc3\xa9")];
    let p = BpeParams::new(320);
    let v = train(&files, &p).unwrap();
    assert!((0..3).all(|_| train(&files, &p).unwrap() == v), "maps have another order each time");
    let (gguf, t) = open(&dir, &v);
    let ids = encode(&t, &text, PLAIN);
    assert!(ids.len() * 2 < text.len() && ids.iter().any(|id| *id > 300));
    let ids = prepare(&Source::text(files), &gguf, &t, &dir.0.join("ids"), &mut |_, _| true).unwrap();
    assert!(ids.samples() == 2 && ids.vocab() as usize == v.len());
}

#[test]
fn characters_are_tokens() {
    let dir = Dir::new("chars");
    let text = "To be, or not to be:\nÄh - 一 question.";
    let v = characters(&[dir.file("text", text.as_bytes())]).unwrap();
    let different: std::collections::BTreeSet<char> = text.chars().collect();
    assert_eq!(v.len(), different.len() + 3);
    let (_, t) = open(&dir, &v);
    let ids = encode(&t, text, PLAIN);
    assert_eq!(ids.len(), text.chars().count());
    assert_eq!(decode(&t, &ids, false), text);
    assert_eq!(decode(&t, &encode(&t, " to  be ", PLAIN), false), " to  be ");
    assert!(ids.iter().all(|id| *id >= 3 && !t.is_end(*id)) && t.is_end(v.end()));
    let other = encode(&t, "tZt", PLAIN);
    assert!(other.first() == other.last() && other.contains(&0), "{other:?}: an unknown character is <unk>");
}

#[test]
fn bad_wishes_are_errors() {
    let dir = Dir::new("bpe-bad");
    let files = [dir.file("text", b"hello hello")];
    let p = BpeParams::new(300);
    for (bad, code) in [
        (BpeParams { size: 256, ..p.clone() }, Code::InvalidArgument),
        (BpeParams { specials: vec!["<|endoftext|>".into()], ..p.clone() }, Code::InvalidArgument),
        (BpeParams { specials: vec![String::new()], ..p.clone() }, Code::InvalidArgument),
        (BpeParams { pre: "none".into(), ..p.clone() }, Code::Unsupported),
        (BpeParams { pre: "gemma4".into(), ..p.clone() }, Code::Unsupported),
        (BpeParams { max_bytes: 10, ..p.clone() }, Code::Unsupported),
    ] {
        assert_eq!(train(&files, &bad).err().unwrap().code(), code, "{bad:?}");
    }
    assert_eq!(train(&[dir.0.join("none")], &p).err().unwrap().code(), Code::NotFound);
    let empty = [dir.file("empty", b"")];
    assert_eq!(train(&empty, &p).err().unwrap().code(), Code::Format);
    assert_eq!(characters(&empty).err().unwrap().code(), Code::Format);
    assert!(train(&[dir.file("latin", b"m\xfcll")], &p).err().unwrap().message().contains("byte 1 is no UTF-8"));
    assert_eq!(train_bpe(&files, &p, &mut |_, _| false).err().unwrap().code(), Code::Cancelled);
}

#[test]
fn a_real_text_comes_back() {
    let Some(path) = shared("data/tinyshakespeare.txt") else { return };
    let dir = Dir::new("shakespeare");
    let text = std::fs::read_to_string(&path).unwrap();
    let files = [path];
    let chars = characters(&files).unwrap();
    assert_eq!(chars.len(), 3 + 65);
    let start = std::time::Instant::now();
    let bpe = train(&files, &BpeParams::new(4096)).unwrap();
    eprintln!("4096 tokens of {} bytes: {:?}", text.len(), start.elapsed());
    assert_eq!(bpe.len(), 4096);
    for (v, most) in [(chars, 1.0), (bpe, 0.33)] {
        let (gguf, t) = open(&dir, &v);
        let mut bare = Source::text(files.clone());
        bare.end = false;
        let ids = prepare(&bare, &gguf, &t, &dir.0.join("ids"), &mut |_, _| true).unwrap();
        assert!(ids.tokens() as f64 <= most * text.len() as f64, "{} tokens", ids.tokens());
        let ids: Vec<u32> = (0..ids.tokens()).map(|at| ids.token(at).unwrap().0).collect();
        let found: String = ids.chunks(500).map(|part| decode(&t, part, false)).collect();
        assert!(found == text);
    }
}
