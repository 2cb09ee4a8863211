//! The file of assignments that a run begins with: zeros and ones, or what `qorus qubo solve --json` printed.

use crate::failure::{Result, run};
use serde_json::Value;
use std::path::Path;

/// One assignment of `n` variables after another. Text is zeros and ones, apart or not; JSON is an object with `assignment`, or a list of
/// zeros and ones, or a list of such lists.
pub fn read(path: &Path, n: usize) -> Result<Vec<u8>> {
    let name = path.display();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) => return run(format!("{name}: {e}")),
    };
    let first = bytes.iter().copied().find(|b| !b.is_ascii_whitespace());
    let states = if matches!(first, Some(b'{' | b'[')) {
        let value: Value = match serde_json::from_slice(&bytes) {
            Ok(value) => value,
            Err(e) => return run(format!("{name}: not JSON that is whole: {e}")),
        };
        let mut states = Vec::new();
        let list = if value.is_object() { &value["assignment"] } else { &value };
        if !collect(list, &mut states) {
            return run(format!("{name}: give \"assignment\": [0, 1, ...], or a list of zeros and ones"));
        }
        states
    } else {
        let mut states = Vec::new();
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'0' | b'1' => states.push(byte - b'0'),
                b',' | b' ' | b'\t' | b'\r' | b'\n' => {}
                _ => return run(format!("{name}: byte {at} is {:?}: give zeros and ones", char::from(*byte))),
            }
        }
        states
    };
    if states.is_empty() || n == 0 || states.len() % n != 0 {
        return run(format!(
            "{name}: {} zeros and ones: the problem has {n} variables, give one for each",
            states.len()
        ));
    }
    Ok(states)
}

/// Zeros and ones of a list, or of lists within it; whether that is all there is.
fn collect(value: &Value, states: &mut Vec<u8>) -> bool {
    let Some(list) = value.as_array() else { return false };
    list.iter().all(|item| match item.as_u64() {
        Some(bit @ 0..=1) => {
            states.push(bit as u8);
            true
        }
        Some(_) => false,
        // One level of lists: what is nested deeper is no assignment.
        None => item.as_array().is_some_and(|inner| inner.iter().all(|i| i.is_u64()) && collect(item, states)),
    })
}
