//! What of a set of JSON lines is left out, cut or refused, and how pairs of samples come to their batches.

mod common;

use std::sync::Arc;

use common::dir::Dir;
use common::limits::without_allocating;
use common::vocab::{CONTROL, PLAIN, SPECIAL, Vocab, encode, gguf};
use qorus::gguf::Gguf;
use qorus::tokenizer::Tokenizer;
use qorus::train::data::{IGNORED, Ids, Kind, PairBatches, Part, Place, Position, Sift, Sifted, Source, prepare};
use qorus::{Code, Result};

/// The bytes, ChatML's marks, and `<|end|>` as EOS.
fn vocabulary() -> (Arc<Gguf>, Tokenizer) {
    let mut v = Vocab::bpe("gpt-2");
    v.merges(&["h e", "l l"]);
    v.token("<|im_start|>", CONTROL).token("<|im_end|>", CONTROL).token("<|end|>", CONTROL);
    let mut w = v.writer();
    w.put("tokenizer.chat_template", "chatml").unwrap();
    w.put("tokenizer.ggml.eos_token_id", v.id("<|end|>")).unwrap();
    let file = gguf(w);
    (file.clone(), Tokenizer::new(file).unwrap())
}

fn make(dir: &Dir, text: &str, kind: Kind, sift: Sift) -> Result<Ids> {
    let (file, tokenizer) = vocabulary();
    let source = Source { kind, sift, ..Source::jsonl([dir.file("set.jsonl", text.as_bytes())]) };
    prepare(&source, &file, &tokenizer, &dir.0.join("ids"), &mut |_, _| true)
}

fn sample(ids: &Ids, no: u64) -> (Vec<u32>, Vec<bool>) {
    let s = ids.sample(no).unwrap();
    (s.start..s.start + s.len).map(|at| ids.token(at).unwrap()).unzip()
}

#[test]
fn what_was_there_before_is_left_out_and_counted() {
    let dir = Dir::new("sift");
    let long = "the quick brown fox jumps over the lazy dog and runs into the dark wood behind the old house";
    let text = [
        format!("{{\"text\": \"{long}\"}}\n"),
        "{\"prompt\": \"a\", \"completion\": \"b\"}\n".repeat(3),
        format!("{{\"text\": \"{long}\"}}\n{{\"text\": \"{}\"}}\n", long.to_uppercase()),
        format!("{{\"text\": \"{long}.\"}}\n"),
    ]
    .concat();
    for (sift, samples, sifted) in [
        (Sift::default(), 7, Sifted::default()),
        (Sift { exact: true, ..Sift::default() }, 4, Sifted { equal: 3, ..Sifted::default() }),
        (Sift { near: Some(0.8), ..Sift::default() }, 2, Sifted { equal: 3, alike: 2, ..Sifted::default() }),
    ] {
        let ids = make(&dir, &text, Kind::Jsonl, sift).unwrap();
        assert_eq!((ids.samples(), ids.sifted()), (samples, sifted), "{sift:?}");
        // The same file again, opened rather than made.
        assert_eq!(make(&dir, &text, Kind::Jsonl, sift).unwrap().sifted(), sifted);
    }
    let bad = Sift { near: Some(1.5), ..Sift::default() };
    assert_eq!(make(&dir, &text, Kind::Jsonl, bad).err().unwrap().code(), Code::InvalidArgument);
}

#[test]
fn answers_that_are_too_long_are_refused_or_cut() {
    let dir = Dir::new("too-long");
    let (_, tokenizer) = vocabulary();
    let text = "{\"prompt\": \"abc\", \"completion\": \"de\"}\n\n{\"prompt\": \"abc\", \"completion\": \"defghij\"}\n";
    let limit = |longest, cut| Sift { longest, cut, ..Sift::default() };
    // The longer has 10 letters and the end, of which the last is a target alone.
    assert_eq!(make(&dir, text, Kind::Jsonl, limit(10, false)).unwrap().sifted(), Sifted::default());
    let e = make(&dir, text, Kind::Jsonl, limit(9, false)).err().unwrap();
    assert!(
        e.code() == Code::Format && e.message().contains("set.jsonl:3: ") && e.message().contains("10 tokens"),
        "{e}"
    );
    let ids = make(&dir, text, Kind::Jsonl, limit(6, true)).unwrap();
    assert_eq!(ids.sifted(), Sifted { cut: 1, lost: 4, ..Sifted::default() });
    assert_eq!(sample(&ids, 1).0, encode(&tokenizer, "abcdefg", PLAIN));
    assert_eq!(ids.sample(0).unwrap().len, 6);
    let e = make(&dir, text, Kind::Jsonl, limit(2, true)).err().unwrap();
    assert!(e.message().contains("set.jsonl:1: ") && e.message().contains("prompt alone"), "{e}");
    // Plain text goes on in the next row.
    let ids = make(&dir, "{\"text\": \"abcdefghijkl\"}", Kind::Jsonl, limit(4, false)).unwrap();
    assert_eq!(ids.sample(0).unwrap().len, 13);
}

#[test]
fn bad_lines_are_named() {
    let dir = Dir::new("bad-lines");
    let good = "{\"prompt\": \"a\", \"completion\": \"b\"}\n";
    for (line, says) in [
        (r#"{"prompt": "a", "completion": ""}"#, "empty"),
        (r#"{"prompt": "a", "completion": " \n"}"#, "empty"),
        (
            r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]}"#,
            "message 1: the answer is empty",
        ),
        (r#"{"messages": [{"role": "user", "content": "a"}]}"#, "no message has the role \"assistant\""),
        (r#"{"messages": []}"#, "assistant"),
    ] {
        let e = make(&dir, &format!("{good}{line}\n"), Kind::Jsonl, Sift::default()).err().unwrap();
        assert!(e.code() == Code::Format && e.message().contains("set.jsonl:2: "), "{e}");
        assert!(e.message().contains(says), "{says:?}: {e}");
        assert!(!dir.0.join("ids").exists());
    }
    for (kind, lines) in [
        (
            Kind::Preferences,
            &[
                (r#"{"prompt": "a", "chosen": "b"}"#, "no key \"rejected\""),
                (r#"{"prompt": "a", "chosen": "", "rejected": "c"}"#, "empty"),
                (r#"{"prompt": "a", "chosen": "c", "rejected": "c"}"#, "the same"),
                (r#"{"chosen": "b", "rejected": "c"}"#, "neither"),
                (r#"{"prompt": "a", "messages": [], "chosen": "b", "rejected": "c"}"#, "both"),
                (r#"{"messages": [], "chosen": "b", "rejected": "c"}"#, "empty list"),
                (r#"{"messages": [7], "chosen": "b", "rejected": "c"}"#, "message 0"),
                ("[]", "a list"),
                ("{", "no JSON"),
            ][..],
        ),
        (
            Kind::Judged,
            &[
                (r#"{"prompt": "a", "completion": "b"}"#, "label"),
                (r#"{"prompt": "a", "completion": "b", "label": 1}"#, "a number"),
                (r#"{"prompt": "a", "completion": "", "label": true}"#, "empty"),
                (r#"{"messages": [{"role": "user", "content": "a"}], "label": true}"#, "no answer to judge"),
            ],
        ),
    ] {
        for (line, says) in lines {
            let e = make(&dir, line, kind, Sift::default()).err().unwrap();
            assert!(e.code() == Code::Format && e.message().contains("set.jsonl:1: "), "{e}");
            assert!(e.message().contains(says), "{says:?}: {e}");
        }
    }
}

#[test]
fn preferences_are_two_samples_each() {
    let dir = Dir::new("preferences");
    let (_, tokenizer) = vocabulary();
    let text = concat!(
        "{\"prompt\": \"abc\", \"chosen\": \"de\", \"rejected\": \"f\"}\n",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"chosen\": \"b\", \"rejected\": \"c\"}\n",
    );
    let ids = make(&dir, text, Kind::Preferences, Sift { exact: true, ..Sift::default() }).unwrap();
    assert_eq!(ids.samples(), 4);
    let end = tokenizer.eos().unwrap();
    for (no, whole, counted) in [(0, "abcde", 3), (1, "abcf", 2)] {
        let (found, counts) = sample(&ids, no);
        let mut expected = encode(&tokenizer, whole, PLAIN);
        expected.push(end);
        assert_eq!(found, expected);
        assert!(counts.iter().rev().take(counted).all(|c| *c) && counts.iter().filter(|c| **c).count() <= counted + 1);
    }
    let chat = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nc<|im_end|>\n";
    assert_eq!(sample(&ids, 3).0, encode(&tokenizer, chat, SPECIAL));
}

#[test]
fn judged_answers_come_with_the_next_ones() {
    let dir = Dir::new("judged");
    let (_, tokenizer) = vocabulary();
    let text = concat!(
        "{\"prompt\": \"a\", \"completion\": \"x\", \"label\": true}\n",
        "{\"prompt\": \"b\", \"completion\": \"y\", \"label\": false}\n",
        "{\"prompt\": \"c\", \"completion\": \"z\", \"label\": true}\n",
    );
    let ids = make(&dir, text, Kind::Judged, Sift::default()).unwrap();
    let found: Vec<(Vec<u32>, bool)> =
        (0..6).map(|no| sample(&ids, no)).map(|(t, c)| (t[..2].to_vec(), c[0])).collect();
    let expected = [("ax", true), ("ay", true), ("by", false), ("bz", false), ("cz", true), ("cx", true)];
    assert_eq!(found, expected.map(|(text, label)| (encode(&tokenizer, text, PLAIN), label)));
    let mut batches = PairBatches::new(Arc::new(ids), (3, 8), 0.0, Part::Train, 1).unwrap();
    let (mut tokens, mut targets) = (vec![0; 48], vec![0; 48]);
    let (mut places, mut labels) = (vec![Place { seq: 0, pos: 0 }; 48], [false; 3]);
    let (rows, pairs) = batches.next((&mut tokens, &mut targets, &mut places), &mut labels).unwrap();
    assert_eq!((rows, pairs), (12, 3));
    for pair in 0..3 {
        assert_eq!(labels[pair], tokens[4 * pair] != encode(&tokenizer, "b", PLAIN)[0]);
        assert_eq!([places[4 * pair].seq, places[4 * pair + 2].seq], [2 * pair as u32, 2 * pair as u32 + 1]);
    }
}

#[test]
fn batches_of_pairs_come_again_from_any_position() {
    let dir = Dir::new("pairs");
    let text: String =
        (0..40).map(|i| format!("{{\"prompt\": \"p{i}\", \"chosen\": \"good{i}\", \"rejected\": \"b\"}}\n")).collect();
    let ids = Arc::new(make(&dir, &text, Kind::Preferences, Sift::default()).unwrap());
    let sides =
        [Part::Train, Part::Validation].map(|p| PairBatches::new(Arc::clone(&ids), (3, 16), 0.25, p, 5).unwrap());
    assert_eq!(sides[0].pairs() + sides[1].pairs(), 40);
    assert!((4..=18).contains(&sides[1].pairs()), "{}", sides[1].pairs());
    let [mut train, mut kept] = sides;
    let mut slab = (vec![0u32; 96], vec![0i32; 96], vec![Place { seq: 0, pos: 0 }; 96], [false; 3]);
    let mut next = |batches: &mut PairBatches| {
        let (rows, pairs) =
            without_allocating(|| batches.next((&mut slab.0, &mut slab.1, &mut slab.2), &mut slab.3)).unwrap();
        assert!(slab.1[..rows].iter().any(|t| *t != IGNORED) || rows == 0);
        (slab.0[..rows].to_vec(), slab.1[..rows].to_vec(), pairs)
    };
    let mut seen = Vec::new();
    for _ in 0..30 {
        let at = train.position();
        seen.push((at, next(&mut train)));
    }
    assert!(train.epochs() > 2.0);
    for (at, batch) in seen.iter().rev() {
        train.seek(*at).unwrap();
        assert_eq!(&next(&mut train), batch);
    }
    let mut count = 0;
    loop {
        let (.., pairs) = next(&mut kept);
        count += pairs as u64;
        if pairs == 0 {
            break;
        }
    }
    assert_eq!(count, kept.pairs());
    assert!(train.seek(Position { epoch: 0, unit: 99, offset: 0 }).is_err());
    assert_ne!(train.fingerprint(), kept.fingerprint());
    let short = PairBatches::new(Arc::clone(&ids), (3, 4), 0.0, Part::Train, 5);
    assert!(short.err().unwrap().message().contains("longer context"));
    assert!(PairBatches::new(ids, (0, 4), 0.0, Part::Train, 5).is_err());
}
