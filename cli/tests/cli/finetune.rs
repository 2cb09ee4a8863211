//! `qorus finetune` and `qorus merge`: an adapter by each method, gone on with, merged; what is refused leaves nothing behind.

use crate::{command, done, qorus, scratch};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// A folder of its own for a test, with the base and a file of examples for each method.
fn folder(name: &str) -> PathBuf {
    let dir = scratch(&format!("finetune-{name}"));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("base.gguf"), crate::small::bytes()).unwrap();
    let lines = |line: &dyn Fn(usize) -> String| (0..16).map(line).collect::<String>();
    let files = [
        ("sft", lines(&|i| format!("{{\"prompt\": \"a{i}\", \"completion\": \"abab\"}}\n"))),
        ("dpo", lines(&|i| format!("{{\"prompt\": \"a{i}\", \"chosen\": \"bb\", \"rejected\": \"aa\"}}\n"))),
        (
            "kto",
            lines(&|i| {
                let (answer, label) = ([("b", true), ("aa", false)])[i % 2];
                format!("{{\"prompt\": \"a{i}\", \"completion\": \"{answer}\", \"label\": {label}}}\n")
            }),
        ),
    ];
    for (name, text) in files {
        fs::write(dir.join(format!("{name}.jsonl")), text).unwrap();
    }
    dir
}

/// The command's words, its files being in that folder.
fn words(dir: &Path, data: &str, output: &str, more: &[&str]) -> Vec<String> {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let mut words: Vec<String> = ["finetune", "--ctx", "16", "--rank", "2", "-t", "2", "-m"].map(String::from).to_vec();
    words.extend([path("base.gguf"), "--data".into(), path(data), "-o".into(), path(output)]);
    words.extend(more.iter().map(|w| w.to_string()));
    words
}

fn losses(text: &str) -> Vec<f64> {
    text.lines().filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64()).collect()
}

#[test]
fn each_method_leaves_an_adapter_that_runs() {
    let dir = folder("methods");
    let base = dir.join("base.gguf").to_str().unwrap().to_owned();
    for (method, data, more) in [
        ("sft", "sft.jsonl", vec![]),
        ("dpo", "dpo.jsonl", vec!["--lr", "1e-2"]),
        ("kto", "kto.jsonl", vec!["--kind", "dora"]),
        ("distill", "sft.jsonl", vec!["--teacher", base.as_str()]),
    ] {
        let adapter = format!("{method}.gguf");
        let more = [&["--method", method, "--steps", "8", "--validation", "0", "--json"][..], &more].concat();
        let end = qorus(&words(&dir, data, &adapter, &more));
        assert_eq!((end.code, end.err.as_str()), (0, ""), "{method}: {}", end.err);
        let text = String::from_utf8(end.out).unwrap();
        assert_eq!(text.lines().count(), 9, "{method}");
        assert!(losses(&text).iter().all(|loss| loss.is_finite()), "{method}: {text}");
        assert_eq!(text.contains("reward_margin"), method == "dpo" || method == "kto", "{method}: {text}");
        let adapter = dir.join(&adapter).to_str().unwrap().to_owned();
        let one = qorus(&["run", "-m", &base, "--lora", &adapter, "--json", "--temp", "0", "-n", "4", "ab"]).json();
        assert_eq!(one["allocations_after_setup"], 0, "{method}");
    }
}

/// The answers are one text: what is learned is there in the loss, and in the merged model's.
#[test]
fn what_is_learned_is_in_the_merged_model() {
    let dir = folder("merge");
    let words = words(&dir, "sft.jsonl", "a.gguf", &["--steps", "60", "--lr", "1e-2", "--validation", "0", "--json"]);
    let text = String::from_utf8(qorus(&words).out).unwrap();
    let losses = losses(&text);
    assert!(losses[59] < losses[0] - 0.02, "{losses:?}");
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    fs::write(path("text"), "abab".repeat(40)).unwrap();
    let eval = |model: &str, more: &[&str]| {
        let text = path("text");
        let words = [&["eval", "-m", model, "-f", &text, "--ctx", "16", "--json"][..], more].concat();
        qorus(&words).json()["nll_per_token"].as_f64().unwrap()
    };
    let (base, adapter, merged) = (path("base.gguf"), path("a.gguf"), path("merged.gguf"));
    qorus(&["merge", "-m", &base, "--lora", &adapter, "-o", &merged, "--type", "F32", "--json"]).json();
    let (plain, with, whole) = (eval(&base, &[]), eval(&base, &["--lora", &adapter]), eval(&merged, &[]));
    assert!((with - whole).abs() < 1e-3 && (with - plain).abs() > 1e-2, "{plain}, {with} with it, {whole} merged");
}

/// Stopped by a signal, or killed, and gone on with, a run comes to the adapter of one that was left alone.
#[test]
fn a_run_that_was_killed_goes_on_to_the_same_adapter() {
    let dir = folder("resume");
    let more = ["--steps", "150", "--save-every", "1", "--dropout", "0.1", "--validation", "0"];
    assert_eq!(qorus(&words(&dir, "sft.jsonl", "whole.gguf", &more)).code, 0);
    let words = words(&dir, "sft.jsonl", "cut.gguf", &[&more[..], &["--resume"]].concat());
    for wait in [120, 150, 180] {
        let mut child = command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let end = done(command(&words).output().unwrap());
    assert_eq!(end.code, 0, "{}", end.err);
    assert!(fs::read(dir.join("cut.gguf")).unwrap() == fs::read(dir.join("whole.gguf")).unwrap());
}

#[test]
fn what_cannot_be_learned_from_is_refused_and_leaves_nothing() {
    let dir = folder("bad");
    let put = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    put("silent.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n");
    put("empty.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\", \"completion\": \"\"}\n");
    put("long.jsonl", &format!("{{\"prompt\": \"a\", \"completion\": \"{}\"}}\n", "ab".repeat(100)));
    let before = fs::read_dir(&dir).unwrap().count();
    for (data, more, said) in [
        ("silent.jsonl", &[][..], &["silent.jsonl:1", "assistant"][..]),
        ("empty.jsonl", &[], &["empty.jsonl:2", "empty"]),
        ("long.jsonl", &[], &["long.jsonl:1", "16"]),
        ("sft.jsonl", &["--budget", "100k"], &["budget is 102400", "more"]),
        ("sft.jsonl", &["--targets", "q,nose"], &["nose"]),
        ("nothing.jsonl", &[], &["nothing.jsonl"]),
    ] {
        qorus(&words(&dir, data, "bad.gguf", more)).refused(1, said);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), before, "{data} {more:?} left something");
    }
    // Of another base: by its hash where the shapes are the same.
    assert_eq!(qorus(&words(&dir, "sft.jsonl", "a.gguf", &["--steps", "1"])).code, 0);
    let mut other = crate::small::bytes();
    let last = other.len() - 1;
    other[last] ^= 1;
    fs::write(dir.join("other.gguf"), other).unwrap();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (model, adapter) = (path("other.gguf"), path("a.gguf"));
    let run = ["run", "-m", &model, "--lora", &adapter, "-n", "1", "ab"];
    qorus(&run).refused(1, &["a.gguf", "--any-base"]);
    assert_eq!(qorus(&[&run[..7], &["--any-base", "ab"]].concat()).code, 0);
    qorus(&["merge", "-m", &model, "--lora", &adapter, "-o", &path("m.gguf")]).refused(1, &["a.gguf", "--any-base"]);
    assert!(!dir.join("m.gguf").exists());
}
