//! Misuse of the C ABI: NULL everywhere, wrong sizes, wrong handles, calls out of order. Errors, and no memory error that
//! valgrind could see.

#![cfg(all(feature = "capi", unix))]

#[path = "common/c.rs"]
mod c;

use std::path::{Path, PathBuf};
use std::process::Command;

fn program(test: &str) -> Option<(PathBuf, PathBuf)> {
    let dir = c::folder(test);
    let program = c::compile(&dir, "tests/c/misuse.c", &[])?;
    Some((dir, program))
}

fn args(command: &mut Command, dir: &Path) {
    command.arg(c::root("tests/reference/llama.gguf")).arg(c::root("tests/reference/qwen2.gguf")).arg(dir);
}

#[test]
fn misuse_is_an_error() {
    let Some((dir, program)) = program("misuse") else { return };
    let mut command = c::command(&dir, &program);
    args(&mut command, &dir);
    let output = command.output().unwrap();
    c::succeeded(&command, &output);
    assert!(output.stderr.is_empty(), "it prints: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn threads_share_a_model_and_agree() {
    let dir = c::folder("threads");
    let Some(program) = c::compile(&dir, "tests/c/threads.c", &[]) else { return };
    c::run(c::command(&dir, &program).arg(c::root("tests/reference/llama.gguf")));
}

#[test]
fn misuse_touches_no_memory_it_should_not() {
    if !c::have("valgrind") {
        return;
    }
    let Some((dir, program)) = program("valgrind") else { return };
    let mut command = c::command(&dir, "valgrind");
    // valgrind knows no AVX-512.
    command.args(["-q", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect"]);
    command.env("QORUS_ISA", "avx2").arg(&program);
    args(&mut command, &dir);
    c::run(&mut command);
}
