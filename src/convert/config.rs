//! `config.json` of Hugging Face's models: sizes and switches, and what they are called in GGUF.

use super::json::Json;
use super::rope;
use crate::error::{Result, fail};
use crate::gguf::Writer;

/// A model's sizes.
pub(super) struct Config {
    /// Its name in GGUF.
    pub arch: &'static str,
    /// q and k lie in halves (i, i + n) and GGUF wants pairs (2i, 2i + 1).
    pub interleave: bool,
    pub layers: u32,
    pub dim: u32,
    pub ffn: u32,
    pub heads: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
    pub vocab: u32,
    pub tied: bool,
    /// What each frequency of the rotary embedding is divided by (Llama 3).
    pub rope_factors: Option<Vec<f32>>,
}

impl Config {
    /// Reads the sizes, and checks them against each other.
    pub fn read(json: &Json) -> Result<Config> {
        let model = json.need("model_type", json.str("model_type")?)?;
        let (arch, interleave) = match model {
            "llama" | "mistral" => ("llama", true),
            "qwen2" => ("qwen2", false),
            "qwen3" => ("qwen3", false),
            other => {
                fail!(
                    Unsupported,
                    "{}: is a model of type {other:?}; llama, mistral, qwen2 and qwen3 are converted",
                    json.file
                )
            }
        };
        let need = |key: &str| json.need(key, json.u32(key)?);
        let (heads, dim) = (need("num_attention_heads")?, need("hidden_size")?);
        let head_dim = match json.u32("head_dim")? {
            Some(n) => n,
            None => dim.checked_div(heads).unwrap_or(0),
        };
        let config = Config {
            arch,
            interleave,
            layers: need("num_hidden_layers")?,
            dim,
            ffn: need("intermediate_size")?,
            heads,
            kv_heads: json.u32("num_key_value_heads")?.unwrap_or(heads),
            head_dim,
            vocab: need("vocab_size")?,
            tied: json.bool("tie_word_embeddings")?.unwrap_or(false),
            rope_factors: rope::factors(json, head_dim)?,
        };
        let Config { layers, ffn, kv_heads, vocab, .. } = config;
        for (key, n) in [
            ("hidden_size", dim),
            ("intermediate_size", ffn),
            ("num_attention_heads", heads),
            ("num_key_value_heads", kv_heads),
            ("num_hidden_layers", layers),
            ("vocab_size", vocab),
        ] {
            if n == 0 || n > 1 << 24 {
                fail!(Format, "{}: {key:?} is {n}, expected 1 to 2^24", json.file);
            }
        }
        if head_dim == 0 || head_dim % 2 != 0 || head_dim > 1 << 16 || heads % kv_heads != 0 {
            fail!(
                Format,
                "{}: has {heads} heads of {head_dim}, {kv_heads} for keys: expected an even size and a divisor",
                json.file
            );
        }
        if json.bool("use_sliding_window")? == Some(true)
            || (model == "mistral" && json.get("sliding_window").is_some())
        {
            fail!(Unsupported, "{}: attends through a sliding window, which its kind does not have in GGUF", json.file);
        }
        Ok(config)
    }

    /// Writes the sizes and switches.
    pub fn put(&self, json: &Json, w: &mut Writer) -> Result<()> {
        let key = |name: &str| format!("{}.{name}", self.arch);
        let positions = json.need("max_position_embeddings", json.u32("max_position_embeddings")?)?;
        w.put(&key("context_length"), positions)?.put(&key("embedding_length"), self.dim)?;
        w.put(&key("block_count"), self.layers)?.put(&key("feed_forward_length"), self.ffn)?;
        w.put(&key("attention.head_count"), self.heads)?.put(&key("attention.head_count_kv"), self.kv_heads)?;
        if self.head_dim.checked_mul(self.heads) != Some(self.dim) {
            w.put(&key("attention.key_length"), self.head_dim)?.put(&key("attention.value_length"), self.head_dim)?;
        }
        let eps = json.need("rms_norm_eps", json.f64("rms_norm_eps")?)?;
        w.put(&key("attention.layer_norm_rms_epsilon"), eps as f32)?;
        w.put(&key("rope.dimension_count"), self.head_dim)?;
        rope::put(json, positions, &key, w)?;
        w.put(&key("vocab_size"), self.vocab)?;
        Ok(())
    }
}
