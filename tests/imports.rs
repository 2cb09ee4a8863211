//! Imports go downward only: kernels <- ops <- layers <- models <- engine, over a ground that knows none of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What each part of the library may import, beside itself and the ground.
const MAY: [(&str, &[&str]); 16] = [
    ("error", &[]),
    ("memory", &[]),
    ("threads", &[]),
    ("tensor", &[]),
    ("gguf", &[]),
    ("adapter", &["gguf"]),
    ("tokenizer", &["gguf"]),
    ("rng", &[]),
    ("ops", &[]),
    ("layers", &["ops", "adapter", "gguf"]),
    ("models", &["layers", "ops", "adapter", "gguf"]),
    ("engine", &["models", "layers", "ops", "adapter", "gguf", "tokenizer"]),
    ("train", &["engine", "models", "layers", "ops", "adapter", "gguf", "tokenizer"]),
    ("convert", &["engine", "models", "adapter", "gguf", "tokenizer"]),
    ("qubo", &[]),
    ("ffi", &["train", "qubo", "convert", "engine", "models", "layers", "ops", "adapter", "gguf", "tokenizer"]),
];

const GROUND: [&str; 5] = ["error", "rng", "memory", "threads", "tensor"];

/// What the root of the crate names itself.
const ROOT: [&str; 6] = ["Code", "Error", "Result", "Isa", "Products", "Type"];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The names that follow `crate::` in a file, each alternative of `crate::{a, b}` too.
fn imports(text: &str) -> BTreeSet<String> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let name = |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
        match rest.strip_prefix('{') {
            None => drop(names.insert(name(rest))),
            Some(list) => {
                let (mut depth, mut start) = (1, true);
                for (i, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 1 => start = true,
                        c if !c.is_whitespace() && start => {
                            names.insert(name(&list[i..]));
                            start = false;
                        }
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
        }
    }
    names
}

#[test]
fn imports_go_downward_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 50, "the sources are missing");
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for file in files {
        let inside = file.strip_prefix(&src).unwrap();
        let part = inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        if part == "lib" {
            continue;
        }
        let Some((_, may)) = MAY.iter().find(|row| row.0 == part) else {
            panic!("src/{} belongs to no part this test knows: say what it may import", inside.display())
        };
        for name in imports(&std::fs::read_to_string(&file).unwrap()) {
            // The ground's own parts may only know those before them.
            let ground = GROUND.iter().position(|g| *g == name);
            let allowed = match (ground, GROUND.iter().position(|g| *g == part)) {
                (Some(name), Some(part)) => name <= part,
                (Some(_), None) => true,
                (None, _) => name == part || may.contains(&name.as_str()) || ROOT.contains(&name.as_str()),
            };
            seen += 1;
            if !allowed {
                wrong.push(format!("src/{} imports crate::{name}", inside.display()));
            }
        }
    }
    assert!(seen > 100, "the imports are not found");
    assert!(wrong.is_empty(), "upward: {wrong:#?}");
}

/// Within `qubo`: what is given, what searches work with, ways of solving, in that order.
#[test]
fn problems_know_no_solvers() {
    const ORDER: [&str; 3] = ["problem", "search", "solvers"];
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/qubo");
    let mut seen = 0;
    for (at, part) in ORDER.iter().enumerate() {
        let mut files = Vec::new();
        sources(&src.join(part), &mut files);
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for above in &ORDER[at + 1..] {
                assert!(!text.contains(&format!("qubo::{above}::")), "{} knows {above}", file.display());
            }
            seen += ORDER[..at].iter().filter(|below| text.contains(&format!("qubo::{below}"))).count();
        }
    }
    assert!(seen > 10, "the imports are not found");
}

#[test]
fn kernels_know_nothing_of_the_library() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/Cargo.toml");
    let text = std::fs::read_to_string(manifest).unwrap();
    let dependencies = text.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    assert!(!dependencies.lines().any(|line| line.trim_start().starts_with("qorus")), "{dependencies}");
}

#[test]
fn lists_are_read() {
    let text =
        "use crate::{error::{Result, fail}, gguf::Gguf,\n    Type};\n// use crate::no;\nlet x = crate::ops::f();";
    let expected = ["Type", "error", "gguf", "ops"].map(String::from);
    assert_eq!(imports(text), BTreeSet::from(expected));
}
