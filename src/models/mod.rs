//! Models: lists of layers, made from a file's metadata or by hand.

pub mod builder;
pub mod decoder;
pub mod gemma;
pub mod graph;
pub mod hand;
pub mod llama;
pub mod phi;
pub mod qorus;
pub mod qwen;
pub mod rope;
#[cfg(feature = "train")]
pub mod train;

pub use builder::Builder;
pub use graph::{Graph, Load};
pub use hand::Hand;

use crate::error::{Result, fail};
use crate::gguf::Gguf;

impl Graph {
    /// The graph of a file's model, by its `general.architecture`.
    pub fn from_gguf(gguf: &Gguf) -> Result<Graph> {
        let Some(arch) = gguf.str("general.architecture")? else {
            fail!(Format, "{}: the key general.architecture is missing: not a model", gguf.name())
        };
        let build = match arch {
            "llama" => llama::llama,
            "qwen2" | "qwen2moe" => qwen::qwen2,
            "qwen3" | "qwen3moe" => qwen::qwen3,
            "phi3" => phi::phi3,
            "gemma2" => gemma::gemma2,
            "gemma3" => gemma::gemma3,
            "qorus" => qorus::qorus,
            _ => fail!(
                Unsupported,
                "{}: architecture {arch:?} is not known; llama, qwen2, qwen2moe, qwen3, qwen3moe, phi3, gemma2, \
                 gemma3 and qorus are",
                gguf.name()
            ),
        };
        let mut b = Builder::new(gguf, arch)?;
        build(&mut b)?;
        Ok(b.finish())
    }
}
