//! The small model that the command carries, so that it can do something on a machine that has no model yet.
//! Where it comes from stands in `cli/models/README.md`.

use qorus::gguf::Gguf;

/// Bytes that begin at a multiple of 64, so that the library computes on them where they lie.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

static MODEL: &Aligned<[u8]> = &Aligned(*include_bytes!("../models/stories15M-q8_0.gguf"));

/// The model; nothing is copied.
pub fn open() -> qorus::Result<Gguf> {
    Gguf::from_bytes(&MODEL.0)
}
