//! Ends from outside: Ctrl-C, and a reader that goes away.
#![cfg(unix)]

use crate::{command, done, model, reference};
use std::io::Read;
use std::process::{Command, Stdio};

/// A generation that would take very long: this tiny model, always taking the best token, never comes to an end.
fn long() -> Command {
    let model = reference("qwen3.gguf");
    let mut command =
        command(&["run", "-m", &model, "-n", "100000000", "--ctx", "200000", "-t", "1", "--temp", "0", "ab"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn ctrl_c_ends_a_generation_with_what_there_is() {
    let mut child = long().spawn().unwrap();
    let mut first = [0; 16];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let end = done(child.wait_with_output().unwrap());
    assert_eq!((end.code, end.err.as_str()), (0, ""));
    assert!(std::str::from_utf8(&end.out).is_ok());
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let mut child = long().spawn().unwrap();
    let mut first = [0; 16];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    drop(child.stdout.take());
    let end = done(child.wait_with_output().unwrap());
    assert_eq!((end.code, end.err.as_str()), (0, ""));
}

#[test]
fn a_list_that_nobody_reads_is_no_failure() {
    let model = model();
    let tokenize = ["tokenize", "-m", &model, "some text"];
    for args in [&["inspect", &model][..], &["inspect", "--json", &model], &["plan", &model], &tokenize] {
        let mut child = command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let end = done(child.wait_with_output().unwrap());
        assert_eq!((end.code, end.err.as_str()), (0, ""), "{args:?}");
    }
}
