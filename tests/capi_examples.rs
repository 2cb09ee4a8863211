//! The examples, built as their readers would and run on a small model; and the promise that generation allocates
//! nothing, held by counting the allocations of the whole process.

#![cfg(all(feature = "capi", unix))]

#[path = "common/c.rs"]
mod c;

use qorus::engine::{Context, ContextParams, Generate, Hooks, Model, Piece, Runtime, SamplerParams};
use qorus::tokenizer::Encode;
use std::path::Path;
use std::process::Command;

const MODEL: &str = "tests/reference/llama.gguf";

#[derive(Default)]
struct Text(String);

impl Hooks for Text {
    fn piece(&mut self, piece: Piece<'_>) -> bool {
        self.0.push_str(piece.text);
        true
    }

    fn rest(&mut self, text: &str) {
        self.0.push_str(text);
    }
}

/// What the Rust interface generates.
fn expected(prompt: &str, n: usize) -> String {
    let model = Model::open(&Runtime::new(1, None).unwrap(), &c::root(MODEL)).unwrap();
    let mut tokens = [0; 64];
    let len = model.tokenizer().unwrap().encode(prompt, Encode { bos: true, special: false }, &mut tokens).unwrap();
    let params = ContextParams { n_ctx: 64, ..ContextParams::default() };
    let mut ctx = Context::new(&model, &params).unwrap();
    let mut text = Text::default();
    let mut generate = Generate::new(&model, SamplerParams::greedy(), &[]).unwrap();
    generate.run(&mut ctx, 0, &tokens[..len], n, &mut text).unwrap();
    text.0
}

#[test]
fn generate_prints_what_the_rust_interface_generates() {
    let dir = c::folder("generate");
    let Some(program) = c::compile(&dir, "examples/c/generate.c", &[]) else { return };
    let expected = expected("hello wor", 20) + "\n";
    assert!(expected.len() > 10);
    let run =
        |args: &[&str]| c::run(c::command(&dir, &program).args(args).arg(c::root(MODEL)).args(["hello wor", "20"]));
    assert_eq!(run(&[]), expected);
    assert_eq!(run(&["--memory"]), expected);
    let failed = c::command(&dir, &program).args(["nothing.gguf", "x"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(String::from_utf8(failed.stderr).unwrap(), "Q_ERR_NOT_FOUND: nothing.gguf: no such file\n");
}

#[test]
fn stream_is_cancelled_from_another_thread() {
    let dir = c::folder("stream");
    let Some(program) = c::compile(&dir, "examples/c/stream.c", &[]) else { return };
    let text = c::run(c::command(&dir, &program).arg(c::root(MODEL)).args(["hello", "5"]));
    assert!(text.contains("[cancelled after 5 pieces; the sequence has"), "{text}");
}

#[test]
fn budget_is_refused_one_byte_short_and_runs_at_the_plan() {
    let dir = c::folder("budget");
    let Some(program) = c::compile(&dir, "examples/c/budget.c", &[]) else { return };
    let text = c::run(c::command(&dir, &program).arg(c::root(MODEL)).arg("hello"));
    assert!(text.contains("refused: the plan needs"), "{text}");
}

#[test]
fn network_computes_what_it_says() {
    let dir = c::folder("network");
    let Some(program) = c::compile(&dir, "examples/c/network.c", &[]) else { return };
    let text = c::run(&mut c::command(&dir, &program));
    assert!(text.contains("1 xor 0 = 1") && text.ends_with("row by row: the same bits\n"), "{text}");
}

#[test]
fn serve_prints_each_text_as_it_is_alone() {
    let dir = c::folder("serve");
    let Some(program) = c::compile(&dir, "examples/c/serve.c", &[]) else { return };
    let prompts = ["hello wor", "the quick brown fox", "a", "hello"];
    let expected: String = prompts.iter().map(|prompt| expected(prompt, 20) + "\n").collect();
    assert_eq!(c::run(c::command(&dir, &program).arg(c::root(MODEL)).arg("20").args(prompts)), expected);
}

#[cfg(feature = "train")]
#[test]
fn a_network_learns_from_a_table() {
    let dir = c::folder("train-table");
    let Some(program) = c::compile(&dir, "examples/c/train_table.c", &[]) else { return };
    let text = c::run(c::command(&dir, &program).arg(dir.join("customers.gguf")));
    let loss = |epoch: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(epoch)).unwrap_or_else(|| panic!("{text}"));
        let after = line.split("not seen ").nth(1).unwrap();
        after.split(',').next().unwrap().parse().unwrap()
    };
    // Who leaves is partly chance: to know the rule would be a loss of 0.21.
    assert!(loss("epoch 40") < 0.23 && loss("epoch 40") > 0.15, "{text}");
}

#[cfg(feature = "train")]
#[test]
fn an_adapter_is_trained_and_changed_between_calls() {
    let dir = c::folder("finetune");
    let Some(program) = c::compile(&dir, "examples/c/finetune.c", &[]) else { return };
    let saved = dir.join("adapter.gguf");
    let mut command = c::command(&dir, &program);
    let text = c::run(command.arg(c::root(MODEL)).arg("the quick brown fox").arg("40").arg(&saved));
    let line = |begin: &str| text.lines().filter(|line| line.starts_with(begin)).collect::<Vec<_>>();
    let loss = |step: &str| line(step)[0].split("loss ").nth(1).unwrap().parse::<f64>().unwrap();
    assert!(loss("step 40") < 0.2 * loss("step 1:"), "{text}");
    let without = line("without:");
    assert!(without.len() == 2 && without[0] == without[1], "{text}");
    assert_ne!(line("all:")[0].split_once(':').unwrap().1, without[0].split_once(':').unwrap().1, "{text}");
    assert!(saved.exists() && text.contains("rank 8"), "{text}");
}

#[cfg(feature = "train")]
#[test]
fn a_transformer_learns_a_text_and_no_step_allocates() {
    let dir = c::folder("train-text");
    let Some(program) = c::compile(&dir, "examples/c/train_text.c", &[]) else { return };
    let mut command = Command::new("gcc");
    command.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]);
    c::run(command.arg(c::root("tests/c/count_malloc.c")).arg("-o").arg(dir.join("count.so")).arg("-ldl"));
    let saved = dir.join("text.gguf");
    let source = dir.join("text.txt");
    std::fs::write(&source, "the cat sat on the mat, the rat sat on the hat, and so they sat. ".repeat(4)).unwrap();
    let run = |steps: &str| {
        let counted = dir.join("counted");
        let _ = std::fs::remove_file(&counted);
        let mut command = c::command(&dir, &program);
        command.env("LD_PRELOAD", dir.join("count.so")).env("COUNT_MALLOC", &counted);
        let text = c::run(command.arg(&source).arg(steps).arg(&saved));
        (text, std::fs::read_to_string(&counted).unwrap().trim().parse::<u64>().unwrap())
    };
    let ((short, few), (long, many)) = (run("50"), run("100"));
    assert!(few > 20, "the counter counts nothing");
    // A thread that has to wait for the first time may reserve something, once.
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    assert!(many <= few + threads, "50 more steps allocated: {few} and {many}");
    let loss = |text: &str, step: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(step)).unwrap_or_else(|| panic!("{text}"));
        line.split("loss ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap()
    };
    assert!(loss(&short, "step 50") < 1.5 && loss(&long, "step 100") < 0.5, "{short}{long}");
    let bytes = std::fs::read(&saved).unwrap();
    let model = Model::new(&Runtime::new(1, None).unwrap(), qorus::gguf::Gguf::from_bytes(bytes).unwrap().into());
    assert_eq!(model.unwrap().graph.vocab(), 256);
}

#[cfg(feature = "qubo")]
#[test]
fn a_graph_is_cut_cancelled_and_asked_of_a_host_and_no_sweep_allocates() {
    let dir = c::folder("qubo");
    let Some(program) = c::compile(&dir, "examples/c/qubo.c", &[]) else { return };
    let mut command = Command::new("gcc");
    command.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]);
    c::run(command.arg(c::root("tests/c/count_malloc.c")).arg("-o").arg(dir.join("count.so")).arg("-ldl"));
    let run = |args: &[&str]| {
        let counted = dir.join("counted");
        let _ = std::fs::remove_file(&counted);
        let mut command = c::command(&dir, &program);
        command.env("LD_PRELOAD", dir.join("count.so")).env("COUNT_MALLOC", &counted);
        let text = c::run(command.args(args));
        (text, std::fs::read_to_string(&counted).unwrap().trim().parse::<u64>().unwrap())
    };
    let ((short, few), (long, many)) = (run(&["10", "2"]), run(&["2000", "20"]));
    assert!(few > 20, "the counter counts nothing");
    assert_eq!(few, many, "more sweeps allocated");
    let cut = |text: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix("cut ")).unwrap_or_else(|| panic!("{text}"));
        line.split(' ').next().unwrap().parse().unwrap()
    };
    assert!(
        long.contains("256 vertices, 512 edges") && cut(&long) >= cut(&short) && cut(&long) > 100.0,
        "{short}{long}"
    );
    assert!(run(&["--cancel"]).0.contains("cancelled"));
    assert!(run(&["--host"]).0.contains("by host"));
}

#[test]
fn the_cpp_example_generates_the_same() {
    let dir = c::folder("cpp");
    let Some(program) = c::compile(&dir, "examples/cpp/generate.cpp", &[]) else { return };
    let text = c::run(c::command(&dir, &program).arg(c::root(MODEL)).args(["hello wor", "20"]));
    assert_eq!(text, expected("hello wor", 20) + "\n");
    let failed = c::command(&dir, &program).args(["nothing.gguf", "x"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(String::from_utf8(failed.stderr).unwrap(), "Q_ERR_NOT_FOUND: nothing.gguf: no such file\n");
}

#[test]
fn promised_names_have_their_promised_types() {
    let dir = c::folder("prototypes");
    if let Some(program) = c::compile(&dir, "tests/c/prototypes.c", &[]) {
        c::run(&mut c::command(&dir, &program));
    }
    let source = std::fs::read_to_string(c::root("tests/c/prototypes.c")).unwrap();
    if c::have("g++") {
        let copy = dir.join("prototypes.cpp");
        std::fs::write(&copy, source).unwrap();
        let mut command = Command::new("g++");
        command.args(["-std=c++11", "-Wall", "-Wextra", "-pedantic", "-Werror", "-DQ_ENABLE_TRAINING"]);
        c::run(command.arg("-I").arg(c::root("include")).arg("-c").arg(copy).arg("-o").arg(dir.join("prototypes.o")));
    }
}

/// Allocations of a whole run of a program, the C library's and the mappings included.
fn allocations(dir: &Path, program: &Path, args: &[&str]) -> u64 {
    let counted = dir.join("counted");
    let _ = std::fs::remove_file(&counted);
    let mut command = c::command(dir, program);
    command.env("LD_PRELOAD", dir.join("count.so")).env("COUNT_MALLOC", &counted);
    c::run(command.arg(c::root(MODEL)).args(args));
    let text = std::fs::read_to_string(&counted).unwrap();
    text.trim().parse().unwrap()
}

#[test]
fn generation_from_c_allocates_nothing() {
    let dir = c::folder("allocations");
    let Some(generate) = c::compile(&dir, "examples/c/generate.c", &[]) else { return };
    let Some(stream) = c::compile(&dir, "examples/c/stream.c", &[]) else { return };
    let mut command = Command::new("gcc");
    command.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]);
    c::run(command.arg(c::root("tests/c/count_malloc.c")).arg("-o").arg(dir.join("count.so")).arg("-ldl"));
    // Whatever set-up takes, a longer run takes as much.
    let few = allocations(&dir, &generate, &["hello wor", "2"]);
    let many = allocations(&dir, &generate, &["hello wor", "50"]);
    assert!(few > 20, "the counter counts nothing");
    assert_eq!(few, many, "48 more tokens allocated");
    let few = allocations(&dir, &stream, &["hello wor", "2"]);
    let many = allocations(&dir, &stream, &["hello wor", "40"]);
    assert_eq!(few, many, "38 more pieces allocated");
}

#[test]
fn an_installed_library_is_found_by_pkg_config() {
    let dir = c::folder("install");
    let library = c::library();
    if !c::have("pkg-config") || !c::have("gcc") {
        return;
    }
    let archive = library.with_extension("a");
    assert!(archive.exists(), "{} is missing", archive.display());
    let prefix = dir.join("prefix");
    let mut install = Command::new("sh");
    install.arg(c::root("packaging/install.sh")).arg(&prefix).env("QORUS_LIBDIR", library.parent().unwrap());
    c::run(install.env_remove("DESTDIR"));
    let mut flags = Command::new("pkg-config");
    flags.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")).args(["--cflags", "--libs", "qorus"]);
    let flags = c::run(&mut flags);
    let program = dir.join("installed");
    let mut gcc = Command::new("gcc");
    gcc.arg(c::root("examples/c/generate.c")).args(flags.split_whitespace()).arg("-o").arg(&program);
    c::run(&mut gcc);
    let mut command = c::command(&prefix.join("lib"), &program);
    assert_eq!(c::run(command.arg(c::root(MODEL)).args(["hello wor", "20"])), expected("hello wor", 20) + "\n");
}
