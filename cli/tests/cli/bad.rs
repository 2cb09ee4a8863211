//! Bad input: one clear line, exit code 1 or 2, and no panic (which `done` looks for in every test).

use crate::{Done, file, model, qorus, qorus_reads, reference, scratch, small};

/// Each command that opens a model, on that file.
fn all(path: &str) -> Vec<Done> {
    let text = file("bad.txt", b"abc");
    vec![
        qorus(&["run", "-m", path, "-n", "1", "ab"]),
        qorus(&["tokenize", "-m", path, "ab"]),
        qorus(&["inspect", path]),
        qorus(&["plan", path]),
        qorus(&["eval", "-m", path, "-f", &text]),
        qorus(&["bench", "-m", path, "-p", "1", "-n", "1"]),
        qorus(&["quantize", path, scratch("bad-out.gguf").to_str().unwrap(), "Q8_0"]),
    ]
}

#[test]
fn files_that_are_no_models() {
    let whole = std::fs::read(model()).unwrap();
    let cut = file("cut.gguf", &whole[..whole.len() / 2]);
    let head = file("head.gguf", &whole[..20]);
    let mut spoilt = whole.clone();
    spoilt[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    let spoilt = file("spoilt.gguf", &spoilt);
    let dir = reference("");
    let dir = dir.trim_end_matches('/');
    for (path, word) in [
        ("/nowhere/at all.gguf", "/nowhere/at all.gguf"),
        (dir, "directory"),
        (&file("empty.gguf", b""), "empty"),
        (&cut, "cut.gguf"),
        (&head, "head.gguf"),
        (&spoilt, "spoilt.gguf"),
        (&reference("README.md"), "README.md"),
    ] {
        all(path).into_iter().for_each(|done| done.refused(1, &[word]));
    }
}

#[test]
fn models_that_do_not_hold_together() {
    let good = small::bytes();
    let mut strange = small::llama();
    strange.put("general.architecture", "rwkv7").unwrap();
    let strange = file("strange.gguf", &small::finish(strange));
    let lacking = file("lacking.gguf", &small::without(&good, "blk.1.ffn_up.weight"));
    let mute = file("mute.gguf", &small::without(&good, "tokenizer.ggml.tokens"));
    for (path, words) in [(&strange, ["rwkv7", "llama"]), (&lacking, ["blk.1.ffn_up.weight", "lacking.gguf"])] {
        qorus(&["run", "-m", path, "a"]).refused(1, &words);
        qorus(&["plan", path]).refused(1, &words);
        assert_eq!(qorus(&["inspect", path]).code, 0, "inspect shows what it can");
    }
    qorus(&["run", "-m", &mute, "a"]).refused(1, &["tokenizer"]);
    qorus(&["tokenize", "-m", &mute, "a"]).refused(1, &["tokenizer.ggml"]);
}

#[test]
fn texts_that_cannot_be_taken() {
    let long = "ab ".repeat(100);
    qorus(&["run", "-m", &model(), "--ctx", "50", &long]).refused(1, &["302 tokens", "50", "--ctx"]);
    qorus_reads(&["run", "-m", &model(), "-f", "-"], b"ab\xff").refused(1, &["stdin", "UTF-8", "byte 2"]);
    qorus_reads(&["tokenize", "-m", &model(), "-f", "-"], b"\xc3").refused(1, &["stdin", "UTF-8", "byte 0"]);
    qorus(&["run", "-m", &model(), "-f", "/nowhere/text"]).refused(1, &["/nowhere/text"]);
    qorus(&["eval", "-m", &model(), "-f", &reference("llama.logits")]).refused(1, &["UTF-8"]);
    qorus(&["tokenize", "-m", &model(), "--decode", "[1, 98]"]).refused(1, &["98"]);
    qorus(&["tokenize", "-m", &model(), "--decode", "[4294967295]"]).refused(1, &["4294967295"]);
    qorus(&["tokenize", "-m", &model(), "--decode", "1 x"]).refused(1, &["\"x\""]);
    qorus(&["tokenize", "-m", &model(), "--decode", "1 -1"]).refused(1, &["\"-1\""]);
    qorus(&["run", "-m", &model(), "--stop", "", "ab"]).refused(1, &["stop"]);
}

#[test]
fn numbers_that_make_no_sense() {
    for bad in [
        &["--temp", "NaN"][..],
        &["--temp", "-1"],
        &["--temp", "inf"],
        &["--top-p", "1.5"],
        &["--min-p", "-0.1"],
        &["--repeat-penalty", "0"],
    ] {
        qorus(&[&["run", "-m", &model()], bad, &["ab"]].concat()).refused(2, &[bad[1].trim_end_matches('0'), "give"]);
    }
    let huge = ["--ctx", "4294967295"];
    qorus(&[&["run", "-m", &model()], &huge[..], &["ab"]].concat()).refused(1, &["4294967295", "give"]);
    qorus(&[&["plan", &model()], &huge[..]].concat()).refused(1, &["4294967295", "give"]);
    for wrong in [
        &["run", "-m", &model(), "--ctx", "0", "ab"][..],
        &["run", "-m", &model(), "-t", "0", "ab"],
        &["run", "-m", &model()],
        &["run", "-m", &model(), "-f", "x", "ab"],
        &["run", "-m", &model(), "--kv", "q3_k", "ab"],
        &["run", "-m", &model(), "--temp", "warm", "ab"],
        &["plan", &model(), "--budget", "much"],
        &["plan", &model(), "--batch", "0"],
        &["bench", "-m", &model(), "--isa", "mmx"],
        &["dance"],
        &[],
    ] {
        let done = qorus(wrong);
        assert_eq!((done.code, done.out.len()), (2, 0), "{wrong:?}: {}", done.err);
        assert!(!done.err.is_empty());
    }
    qorus(&["run", "-m", &model(), "-t", "100000", "ab"]).refused(1, &["100000 threads"]);
}
