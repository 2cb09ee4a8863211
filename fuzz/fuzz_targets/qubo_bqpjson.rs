//! Any bytes as a file of bqpjson: `cargo +nightly fuzz run qubo_bqpjson`.
#![no_main]

mod qubo;

use libfuzzer_sys::fuzz_target;
use qorus::qubo::format::Format;

fuzz_target!(|bytes: &[u8]| qubo::read(Format::Bqpjson, bytes));
