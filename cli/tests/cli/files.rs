//! `qorus inspect`, `plan`, `quantize` and `convert`.

use crate::{model, qorus, reference, scratch};
use qorus::gguf::Gguf;
use serde_json::Value;
use std::path::Path;

#[test]
fn inspect_shows_all_there_is() {
    let gguf = Gguf::open(Path::new(&model())).unwrap();
    let v = qorus(&["inspect", "--json", &model()]).json();
    assert_eq!(v["metadata"].as_object().unwrap().len(), gguf.entries().len());
    assert_eq!(v["metadata"]["general.architecture"], "llama");
    assert_eq!(v["metadata"]["llama.attention.layer_norm_rms_epsilon"].to_string(), "0.00001");
    assert_eq!(v["metadata"]["tokenizer.ggml.tokens"].as_array().unwrap().len(), 98);
    let tensors = v["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), gguf.tensors().len());
    for (shown, t) in tensors.iter().zip(gguf.tensors()) {
        assert_eq!(shown["name"], gguf.tensor_name(t));
        assert_eq!(shown["type"], t.ty.name());
        let dims: Vec<u64> = shown["dims"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap()).collect();
        assert_eq!(dims, t.dims[..t.n_dims as usize]);
        assert_eq!((shown["offset"].as_u64(), shown["bytes"].as_u64()), (Some(t.offset), Some(t.bytes)));
    }
    let text = qorus(&["inspect", &model()]).text();
    assert!(text.contains("general.architecture = \"llama\"") && text.contains("blk.0.attn_q.weight"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() < 250), "a list was not shortened");
}

/// Bytes of a class in a plan.
fn bytes(plan: &Value, class: &str) -> u64 {
    plan[class].as_u64().unwrap_or_else(|| panic!("{class} is not in {plan}"))
}

#[test]
fn a_plan_adds_up_and_follows_its_shape() {
    let plan = |more: &[&str]| qorus(&[&["plan", &model(), "--json"], more].concat()).json();
    let classes = [
        "weights_mapped",
        "weights_resident",
        "tokenizer",
        "kv_cache",
        "activations",
        "forward_cache",
        "gradients",
        "optimizer",
        "adapters",
        "threads",
        "scratch",
    ];
    let p = plan(&["--ctx", "64", "--kv", "f16"]);
    let sum: u64 = classes.iter().map(|class| bytes(&p, class)).sum();
    assert_eq!(sum, bytes(&p, "total"));
    assert_eq!(sum - bytes(&p, "weights_mapped"), bytes(&p, "total_without_mapped"));
    assert_eq!(bytes(&p, "weights_mapped"), std::fs::metadata(model()).unwrap().len());
    let kv = |more: &[&str]| bytes(&plan(more), "kv_cache");
    assert_eq!(kv(&["--ctx", "128", "--kv", "f16"]), 2 * bytes(&p, "kv_cache"));
    assert_eq!(kv(&["--ctx", "64", "--kv", "f32"]), 2 * bytes(&p, "kv_cache"));
    assert_eq!(kv(&["--ctx", "64", "--kv", "f16", "--seqs", "3"]), 3 * bytes(&p, "kv_cache"));
    assert!(
        bytes(&plan(&["--ctx", "64", "-t", "4"]), "threads") > bytes(&plan(&["--ctx", "64", "-t", "1"]), "threads")
    );
    let text = qorus(&["plan", &model()]).text();
    classes.iter().for_each(|class| assert!(text.contains(class), "{text}"));
}

#[test]
fn a_budget_is_kept_to_the_byte() {
    let plan = qorus(&["plan", &model(), "--ctx", "64", "--json"]).json();
    let need = bytes(&plan, "total_without_mapped");
    let with = |budget: u64| qorus(&["plan", &model(), "--ctx", "64", "--budget", &budget.to_string()]);
    with(need).text();
    let refused = with(need - 1);
    assert_eq!((refused.code, refused.err.lines().count()), (1, 1));
    assert!(refused.err.contains(&need.to_string()), "{}", refused.err);
    qorus(&["plan", &model(), "--ctx", "64", "--budget", "1G"]).text();
}

#[test]
fn a_budget_for_an_adapter_chooses_or_says_what_would_fit() {
    let model = model();
    let begin = ["plan", &model, "--train", "lora", "--rank", "4", "--ctx", "64", "--batch", "4"];
    let plan = |more: &[&str]| qorus(&[&begin[..], &["--json"], more].concat()).json();
    let free = plan(&[]);
    let adapter = bytes(&free, "adapters");
    assert!(adapter > 0 && bytes(&free, "gradients") == adapter && bytes(&free, "optimizer") == 2 * adapter);
    assert_eq!((bytes(&free, "sequences_per_pass"), bytes(&free, "passes_per_step")), (4, 1));
    let budget = bytes(&free, "total_without_mapped") * 3 / 4;
    let fitted = plan(&["--budget", &budget.to_string()]);
    assert!(bytes(&fitted, "total_without_mapped") <= budget, "{fitted}");
    assert!(bytes(&fitted, "sequences_per_pass") < 4 || fitted["activations_as"] == "recompute", "{fitted}");
    assert!(qorus(&[&begin[..], &["--budget", &budget.to_string()][..]].concat()).text().contains(" in a pass, "));
    let refused = qorus(&[&begin[..], &["--budget", "1M"][..]].concat());
    assert_eq!((refused.code, refused.err.lines().count()), (1, 1));
    assert!(refused.err.contains("bytes more") && refused.err.contains("would fit"), "{}", refused.err);
    let head = plan(&["--targets", "head", "--optimizer", "adamw8"]);
    assert!(bytes(&head, "adapters") < adapter && bytes(&head, "optimizer") < 2 * bytes(&head, "adapters"));
    qorus(&[&begin[..], &["--targets", "nose"][..]].concat()).refused(1, &["nose", "gate"]);
}

#[test]
fn a_quantized_model_is_smaller_and_runs() {
    let out = scratch("small-q8_0.gguf").to_str().unwrap().to_owned();
    let v = qorus(&["quantize", &model(), &out, "q8_0", "--json"]).json();
    assert_eq!(v["bytes"].as_u64().unwrap(), std::fs::metadata(&out).unwrap().len());
    assert!(v["bytes"].as_u64().unwrap() < std::fs::metadata(model()).unwrap().len() / 2);
    let v = qorus(&["run", "-m", &out, "-n", "3", "--json", "ab"]).json();
    assert_eq!(v["allocations_after_setup"], 0);
    assert_eq!(qorus(&["quantize", &model(), &out, "q7_x"]).code, 2);
}

#[test]
fn what_cannot_be_converted_is_refused() {
    let out = scratch("never.gguf").to_str().unwrap().to_owned();
    qorus(&["convert", "/nowhere/model.bin", &out]).refused(1, &["/nowhere/model.bin"]);
    qorus(&["convert", &reference("README.md"), &out]).refused(1, &["README.md"]);
    assert!(!Path::new(&out).exists());
}
