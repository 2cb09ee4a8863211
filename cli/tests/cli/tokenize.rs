//! `qorus tokenize`.

use crate::{file, model, qorus, qorus_reads};
use qorus::gguf::Writer;
use serde_json::{Value, json};
use std::io::Write as _; // not held back by the test harness, as the print macros are
use std::path::{Path, PathBuf};

fn ids(args: &[&str]) -> Value {
    qorus(&[&["tokenize", "-m", &model()], args].concat()).json()
}

#[test]
fn text_goes_to_ids_and_back() {
    for text in ["hello", "two words", "", " ", "  a "] {
        let there = ids(&[text]).to_string();
        assert_eq!(qorus(&["tokenize", "-m", &model(), "--decode", &there]).text(), text);
        assert_eq!(qorus(&["tokenize", "-m", &model(), "--decode", "--json", &there]).json(), text);
    }
}

#[test]
fn lists_of_ids_may_be_written_in_several_ways() {
    let there = ids(&["abc"]);
    let bare = there.as_array().unwrap().iter().map(Value::to_string).collect::<Vec<_>>().join(" ");
    assert_eq!(qorus(&["tokenize", "-m", &model(), "--decode", &bare]).text(), "abc");
    let args = ["tokenize", "-m", &model(), "--decode", "-f", "-"];
    assert_eq!(qorus_reads(&args, there.to_string().as_bytes()).text(), "abc");
}

#[test]
fn bos_and_special_text_only_when_asked_for() {
    let (plain, bos) = (ids(&["ab"]), ids(&["--bos", "ab"]));
    let mut expected = vec![json!(1)];
    expected.extend(plain.as_array().unwrap().iter().cloned());
    assert_eq!(bos, Value::from(expected));
    assert_eq!(ids(&["--special", "</s>"]), json!([2]));
    assert!(ids(&["</s>"]).as_array().unwrap().len() > 1);
    assert_eq!(qorus(&["tokenize", "-m", &model(), "--decode", "[2]"]).text(), "");
    assert_eq!(qorus(&["tokenize", "-m", &model(), "--decode", "--special", "[2]"]).text(), "</s>");
}

#[test]
fn a_file_is_taken_exactly_as_it_is() {
    let path = file("tokens.txt", b"ab\n");
    assert_eq!(ids(&["-f", &path]), ids(&["ab\n"]));
    assert_ne!(ids(&["-f", &path]), ids(&["ab"]));
    assert_eq!(ids(&["--", "--bos"]).as_array().unwrap().len(), 1 + 5);
}

#[test]
fn a_vocabulary_alone_is_enough() {
    let mut w = Writer::new();
    w.put("general.architecture", "never heard of").unwrap();
    w.put("tokenizer.ggml.model", "llama").unwrap();
    w.put_strings("tokenizer.ggml.tokens", ["<unk>", "<s>", "</s>", "\u{2581}", "a", "\u{2581}a"]).unwrap();
    w.put("tokenizer.ggml.scores", &[0f32, 0.0, 0.0, -1.0, -2.0, -3.0][..]).unwrap();
    w.put("tokenizer.ggml.token_type", &[2i32, 3, 3, 1, 1, 1][..]).unwrap();
    let path = file("vocab.gguf", &w.begin(Vec::new()).unwrap().finish().unwrap());
    assert_eq!(qorus(&["tokenize", "-m", &path, "aa"]).json(), json!([5, 4]));
}

/// The published vocabularies with inputs and ids (`../shared/vocab`, or QORUS_SHARED), through the command.
#[test]
fn published_vectors_are_met() {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let dir = std::env::var_os("QORUS_SHARED").map_or_else(beside, PathBuf::from).join("vocab");
    let Ok(list) = std::fs::read_dir(&dir) else {
        drop(writeln!(std::io::stderr(), "SKIPPED: needs {} (set QORUS_SHARED)", dir.display()));
        return;
    };
    let models = list.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "gguf"));
    for model in models {
        let model = model.to_str().unwrap();
        let read = |ext: &str| std::fs::read_to_string(format!("{model}.{ext}")).unwrap();
        let (inputs, outputs) = (read("inp"), read("out"));
        let pairs = inputs.split("\n__ggml_vocab_test__\n").zip(outputs.lines());
        // One process each: every fourth will do, the library's own tests take them all.
        for (input, output) in pairs.step_by(4) {
            let expected: Vec<u32> = output.split_whitespace().map(|id| id.parse().unwrap()).collect();
            let done = qorus_reads(&["tokenize", "-m", model, "-f", "-"], input.as_bytes());
            assert_eq!(done.json(), json!(expected), "{model}: {input:?}");
            let back = qorus(&["tokenize", "-m", model, "--decode", &json!(expected).to_string()]).text();
            assert_eq!(back, input, "{model}");
        }
    }
}
