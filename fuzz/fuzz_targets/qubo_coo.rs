//! Any bytes as a file of coo: `cargo +nightly fuzz run qubo_coo`.
#![no_main]

mod qubo;

use libfuzzer_sys::fuzz_target;
use qorus::qubo::format::Format;

fuzz_target!(|bytes: &[u8]| qubo::read(Format::Coo, bytes));
