//! Any bytes as a GGUF file: `cargo +nightly fuzz run gguf_open`. Nothing may panic or read out of bounds, and the
//! memory that opening holds stays small.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qorus::gguf::{Gguf, Value};

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = Gguf::from_bytes(bytes.to_vec()) else { return };
    assert!(file.reserved() < 1000 + 20 * bytes.len(), "{} bytes for a file of {}", file.reserved(), bytes.len());
    for (key, value) in file.entries() {
        assert_eq!(file.get(key).map(|v| v.ty()), Some(value.ty()));
        if let Value::Array(array) = value {
            array.strings().map(Iterator::count);
            array.u32s().map(Iterator::count);
            array.i32s().map(Iterator::count);
            array.f32s().map(Iterator::count);
        }
        let _ = (file.u32(key), file.f32(key), file.str(key), file.array(key));
    }
    for tensor in file.tensors() {
        assert_eq!(file.data(tensor).len() as u64, tensor.bytes);
        assert_eq!(file.tensor(file.tensor_name(tensor)).map(|t| t.offset), Some(tensor.offset));
    }
});
