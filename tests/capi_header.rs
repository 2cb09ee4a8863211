//! The checked-in header: made from the sources, naming what the library exports, and valid as strict C99 and C++11.
//!
//! `QORUS_WRITE_HEADER=1 cargo test --features capi --test capi_header` writes it.

#![cfg(all(feature = "capi", unix))]

#[path = "common/c.rs"]
mod c;

use std::collections::BTreeSet;
use std::process::Command;

fn header() -> String {
    std::fs::read_to_string(c::root("include/qorus.h")).unwrap()
}

/// The header without what this library was built without.
fn enabled(text: &str) -> String {
    let (mut depth, mut left_out, mut kept) = (0, None, String::new());
    for line in text.lines() {
        let inside = left_out.is_some();
        if line.starts_with("#if") {
            depth += 1;
            let lacks = |name: &str, has: bool| line.contains(name) && !has;
            if lacks("Q_ENABLE_TRAINING", cfg!(feature = "train")) || lacks("Q_ENABLE_QUBO", cfg!(feature = "qubo")) {
                left_out.get_or_insert(depth);
            }
        } else if line.starts_with("#endif") {
            left_out = left_out.filter(|at| *at != depth);
            depth -= 1;
        }
        if !inside && left_out.is_none() {
            kept += line;
            kept.push('\n');
        }
    }
    assert_eq!((depth, left_out), (0, None));
    kept
}

/// The functions it declares: a name that begins with `q_` before a parenthesis, outside of comments and of types.
fn functions() -> BTreeSet<String> {
    let text = enabled(&header());
    let mut code = String::new();
    for (i, part) in text.split("/*").enumerate() {
        code.push_str(if i == 0 { part } else { part.split_once("*/").unwrap().1 });
    }
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices('(') {
        let before = &code[..at];
        let start = before.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(0, |i| i + 1);
        if before[start..].starts_with("q_") {
            names.insert(before[start..].to_owned());
        }
    }
    names
}

#[test]
fn the_header_is_what_the_sources_make() {
    let made = std::fs::read_to_string(env!("QORUS_MADE_HEADER")).unwrap();
    if std::env::var_os("QORUS_WRITE_HEADER").is_some() {
        std::fs::write(c::root("include/qorus.h"), &made).unwrap();
    }
    assert!(
        made == header(),
        "include/qorus.h is old: QORUS_WRITE_HEADER=1 cargo test --features capi --test capi_header"
    );
}

#[test]
fn the_library_exports_what_the_header_declares_and_nothing_else() {
    if !c::have("nm") || !c::have("readelf") {
        return;
    }
    let library = c::library();
    let listed = c::run(Command::new("nm").args(["-D", "--defined-only"]).arg(&library));
    let exported: BTreeSet<String> =
        listed.lines().map(|line| line.split_whitespace().last().unwrap().to_owned()).collect();
    assert!(exported.len() > 40);
    assert_eq!(exported, functions());
    let dynamic = c::run(Command::new("readelf").arg("-d").arg(&library));
    let soname = format!("[libqorus.so.0.{}]", env!("CARGO_PKG_VERSION_MINOR"));
    assert!(dynamic.lines().any(|line| line.contains("SONAME") && line.ends_with(&soname)), "{dynamic}");
}

#[test]
fn the_header_stands_alone_as_c99_and_cpp11() {
    let dir = c::folder("header");
    let languages = [("gcc", "c", "c99"), ("gcc", "c", "c11"), ("g++", "c++", "c++11"), ("g++", "c++", "c++20")];
    for (compiler, language, standard) in languages {
        if !c::have(compiler) {
            continue;
        }
        let source = dir.join(format!("alone.{language}"));
        let abi = "int abi(void); int abi(void) { return Q_ABI_VERSION; }\n";
        std::fs::write(&source, format!("#include \"qorus.h\"\n#include \"qorus.h\"\n{abi}")).unwrap();
        for defines in
            [&[][..], &["-DQ_ENABLE_TRAINING"], &["-DQ_ENABLE_QUBO"], &["-DQ_ENABLE_TRAINING", "-DQ_ENABLE_QUBO"]]
        {
            let mut command = Command::new(compiler);
            command.args(["-x", language, &format!("-std={standard}"), "-Wall", "-Wextra", "-pedantic", "-Werror"]);
            let wanted = ["-Wstrict-prototypes", "-Wmissing-prototypes"];
            command.args(if language == "c" { &wanted[..] } else { &[] }).args(defines);
            command.arg("-I").arg(c::root("include")).arg("-c").arg(&source).arg("-o").arg(dir.join("alone.o"));
            c::run(&mut command);
        }
    }
}

#[test]
fn every_function_is_misused_somewhere() {
    let misuse = std::fs::read_to_string(c::root("tests/c/misuse.c")).unwrap();
    let lacking: Vec<String> = functions().into_iter().filter(|name| !misuse.contains(&format!("{name}("))).collect();
    assert!(lacking.is_empty(), "tests/c/misuse.c does not call {lacking:?}");
}
