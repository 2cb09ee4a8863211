//! Any bytes as a file of qbsolv: `cargo +nightly fuzz run qubo_qbsolv`.
#![no_main]

mod qubo;

use libfuzzer_sys::fuzz_target;
use qorus::qubo::format::Format;

fuzz_target!(|bytes: &[u8]| qubo::read(Format::Qbsolv, bytes));
