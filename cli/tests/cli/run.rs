//! `qorus run`.

use crate::{file, model, qorus, qorus_reads};
use qorus::Isa;
use qorus::gguf::{Gguf, Writer};
use serde_json::Value;
use std::path::Path;

const PROMPT: &str = "the quick brown fox";

fn run(more: &[&str]) -> Value {
    let model = model();
    qorus(&[&["run", "-m", &model, "--json"], more].concat()).json()
}

#[test]
fn json_has_the_promised_fields_and_nothing_was_allocated() {
    let v = run(&["-n", "20", PROMPT]);
    let tokens = v["tokens"].as_array().unwrap();
    assert!(!tokens.is_empty() && tokens.len() <= 20 && tokens.iter().all(Value::is_u64));
    assert!(v["text"].is_string());
    assert_eq!(
        v["prompt_tokens"].as_u64().unwrap() as usize,
        1 + 1 + PROMPT.len(),
        "BOS, the prefix space, characters"
    );
    assert!(Isa::from_name(v["isa"].as_str().unwrap()).is_some());
    assert!(v["prefill_tokens_per_s"].as_f64().unwrap() > 0.0);
    assert!(v["decode_tokens_per_s"].as_f64().unwrap() > 0.0);
    assert_eq!(v["allocations_after_setup"], 0);
    assert_eq!(v["log_probs"].as_array().unwrap().len(), tokens.len());
}

#[test]
fn stdout_holds_the_continuation_alone() {
    let text = qorus(&["run", "-m", &model(), "-n", "20", PROMPT]).text();
    assert_eq!(text, run(&["-n", "20", PROMPT])["text"]);
}

#[test]
fn the_same_seed_gives_the_same_text_on_any_threads() {
    let tokens = |more: &[&str]| run(&[&["-n", "24", PROMPT], more].concat())["tokens"].clone();
    let one = tokens(&["-t", "1"]);
    assert_eq!(one, tokens(&["-t", "2"]));
    assert_eq!(one, tokens(&["-t", "3", "--seed", "0"]));
    assert_ne!(one, tokens(&["--seed", "1"]));
    assert_eq!(tokens(&["--temp", "0"]), tokens(&["--temp", "0", "--seed", "1"]));
    assert_eq!(tokens(&["--temp", "0"]), tokens(&["--top-k", "1"]));
}

#[test]
fn a_prompt_comes_from_a_file_or_stdin_exactly_as_it_is() {
    let from = |done: crate::Done| (done.json()["tokens"]).clone();
    let expected = run(&["-n", "8", "a b\n"])["tokens"].clone();
    let path = file("prompt.txt", b"a b\n");
    assert_eq!(run(&["-n", "8", "-f", &path])["tokens"], expected);
    assert_eq!(from(qorus_reads(&["run", "-m", &model(), "--json", "-n", "8", "-f", "-"], b"a b\n")), expected);
    assert_eq!(run(&["-n", "8", "--", "-n"])["prompt_tokens"], 4);
}

#[test]
fn a_stop_text_ends_it_and_is_left_out() {
    let whole = run(&["-n", "40", "--temp", "0", PROMPT])["text"].as_str().unwrap().to_owned();
    let chars: Vec<char> = whole.chars().collect();
    assert!(chars.len() > 6, "{whole:?}");
    let stop: String = chars[3..5].iter().collect();
    let v = run(&["-n", "40", "--temp", "0", "--stop", "never comes", "--stop", &stop, PROMPT]);
    let before = &whole[..whole.find(&stop).unwrap()];
    assert_eq!((v["text"].as_str().unwrap(), v["end"].as_str().unwrap()), (before, "stop"));
}

/// The model with half as many heads, twice as wide: blocks of 32 fit into them.
fn with_wide_heads() -> String {
    let gguf = Gguf::open(Path::new(&model())).unwrap();
    let mut w = Writer::new();
    for (key, value) in gguf.entries() {
        w.put(key, value).unwrap();
    }
    w.put("llama.attention.head_count", 2u32).unwrap().put("llama.attention.head_count_kv", 1u32).unwrap();
    w.put("llama.rope.dimension_count", 32u32).unwrap();
    for t in gguf.tensors() {
        w.tensor(gguf.tensor_name(t), t.ty, &t.dims[..t.n_dims as usize]).unwrap();
    }
    let mut out = w.begin(Vec::new()).unwrap();
    gguf.tensors().iter().for_each(|t| out.write(gguf.data(t)).unwrap());
    file("wide.gguf", &out.finish().unwrap())
}

#[test]
fn a_cache_of_each_type_serves() {
    let wide = with_wide_heads();
    for kv in ["f32", "f16", "q8_0"] {
        let v = qorus(&["run", "-m", &wide, "--json", "-n", "4", "--kv", kv, PROMPT]).json();
        assert_eq!(v["allocations_after_setup"], 0, "{kv}");
    }
    qorus(&["run", "-m", &model(), "--kv", "q8_0", PROMPT]).refused(1, &["multiples of 32", "16", "F16"]);
}

#[test]
fn a_full_context_ends_it() {
    let v = run(&["-n", "100", "--ctx", "30", "--temp", "0", PROMPT]);
    let (prompt, tokens) = (v["prompt_tokens"].as_u64().unwrap(), v["tokens"].as_array().unwrap().len() as u64);
    // The last token is not appended, so it needs no place.
    assert!(v["end"] == "end" || (v["end"] == "context_full" && prompt + tokens == 31), "{v}");
}

#[test]
fn without_a_model_it_tells_stories() {
    let text = qorus(&["run", "-n", "40", "--temp", "0", "Once upon a time"]).text();
    assert!(text.starts_with(", there was a little girl named Lily. She loved to play"), "{text}");
}
