//! The `qorus` command: everything the library does, to be tried without writing code.

fn main() {}
