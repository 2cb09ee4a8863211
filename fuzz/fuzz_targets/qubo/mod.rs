//! Any bytes as a file of one form: nothing may panic, what is read is in range, and memory stays near the file's size.

use qorus::qubo::format::{Format, ReadParams, Vartype, parse, write};

/// Reads, and writes what could be read.
pub fn read(format: Format, bytes: &[u8]) {
    let params = ReadParams { format: Some(format), vartype: Some(Vartype::Binary), problem: None };
    let Ok(instance) = parse(bytes, "f", &params) else { return };
    assert!(instance.terms.iter().all(|t| (t.0.max(t.1) as usize) < instance.n && t.2.is_finite()));
    if instance.n > 1 << 12 {
        return;
    }
    if let Ok(problem) = instance.problem() {
        for form in Format::ALL {
            let _ = write(&mut Vec::new(), form, &problem, instance.labels.as_deref());
        }
    }
}
