//! Models that were built by hand, as GGUF files of architecture `qorus`: their layers are described by keys, a few for each.
//!
//! Version 1. `qorus.version` is 1. `qorus.input_width` is the width of the rows that go in; it is missing when tokens do.
//! `qorus.context_length` is the longest context of the training, where that is known. `qorus.layer_count` is the number of all layers;
//! they are numbered from 0 in the order in which they were added, those of a residual branch right behind the branch itself. Layer
//! `n` has the keys `qorus.layer.n.*` and the tensors `layer.n.*`, matrices as `[outputs][inputs]`:
//!
//! | `kind` | further keys | tensors |
//! | --- | --- | --- |
//! | `embedding` | | `weight` |
//! | `features` | `tables`: their number | `table.0`, `table.1`, ... |
//! | `linear` | | `weight`, `bias`? |
//! | `rmsnorm` | `eps` | `weight` |
//! | `layernorm` | `eps` | `weight`, `bias`? |
//! | `activation` | `function`: `relu`, `silu`, `gelu` (tanh) or `gelu_erf` | |
//! | `scale` | `factor` | |
//! | `softcap` | `cap` | |
//! | `dropout` | `rate` | |
//! | `attention` | `heads`, `kv_heads`, `head_dim`, `scale`, `softcap`, `window` (0: none), `rope.style`? (`norm` or `neox`) with `rope.dim`, `rope.base`, `rope.scale`; `q_norm.eps` and `k_norm.eps` beside their weights | `q.weight`, `q.bias`?, likewise `k`, `v`, `o`; `q_norm.weight`?, `k_norm.weight`? |
//! | `ffn` | `function` | `up.weight`, `up.bias`?, likewise `down`, and `gate`? |
//! | `residual` | `layers`: how many of those that follow are its own, not counting the layers inside them | |
//!
//! What has a question mark may be missing. A vocabulary has the usual keys `tokenizer.*`. A model of tables has the description of its
//! columns in `qorus.table`, as JSON.

mod read;
mod write;

pub use read::qorus;
pub use write::{save, write};

use crate::ops::activation::Activation;
use crate::ops::rope::RopeStyle;

/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;

/// The key of a table's description.
pub const TABLE: &str = "qorus.table";

/// The largest width, number of heads or of rows.
const MAX: usize = 1 << 24;

/// Residual branches inside each other.
const MAX_DEPTH: usize = 64;

const FUNCTIONS: [(&str, Activation); 4] = [
    ("relu", Activation::Relu),
    ("silu", Activation::Silu),
    ("gelu", Activation::Gelu),
    ("gelu_erf", Activation::GeluErf),
];

const STYLES: [(&str, RopeStyle); 2] = [("norm", RopeStyle::Norm), ("neox", RopeStyle::Neox)];

/// The name that a list has for a value.
fn name_in<T: PartialEq>(list: &[(&'static str, T)], value: &T) -> &'static str {
    list.iter().find(|(_, v)| v == value).map_or("", |(name, _)| name)
}
