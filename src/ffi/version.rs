//! Versions: of the ABI and of the release, both from Cargo.toml.

use std::ffi::{CStr, c_char};

const fn number(text: &str) -> u32 {
    let (bytes, mut value, mut i) = (text.as_bytes(), 0, 0);
    while i < bytes.len() {
        value = value * 10 + (bytes[i] - b'0') as u32;
        i += 1;
    }
    value
}

/// Major version times 65536 plus, before 1.0, the minor one: build.rs writes the same number into the header.
const ABI_VERSION: u32 = match number(env!("CARGO_PKG_VERSION_MAJOR")) {
    0 => number(env!("CARGO_PKG_VERSION_MINOR")),
    major => major << 16,
};

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => c"",
};

/// The ABI version of the library. A host goes with it when this equals the Q_ABI_VERSION it was compiled with: within
/// one number functions and fields are only added.
#[unsafe(no_mangle)]
pub extern "C" fn q_abi_version() -> u32 {
    ABI_VERSION
}

/// The release, as in "0.1.0". Static text, never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn q_version_string() -> *const c_char {
    VERSION.as_ptr()
}
