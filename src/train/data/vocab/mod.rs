//! Vocabularies made from the user's text: byte-level BPE, and single characters for small texts.

mod bpe;
mod chars;
mod pairs;

use std::path::Path;

pub use bpe::{BpeParams, train_bpe};
pub use chars::characters;

use crate::error::Result;
use crate::gguf::{Gguf, Writer};

/// Types of tokens, as files have them.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;

/// A vocabulary as a model's file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary {
    /// `gpt2` for byte-level BPE, `llama` for characters.
    model: &'static str,
    /// The name of the pre-tokenizer, where there is one.
    pre: Option<String>,
    /// The tokens as the file writes them, and their types.
    tokens: Vec<(Vec<u8>, i32)>,
    merges: Vec<Vec<u8>>,
    /// The token that ends a text, which begins one too where a reader insists on it.
    end: u32,
}

impl Vocabulary {
    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are none: never.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The token that ends a text.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// Puts it into the file of a model. Errors: those of [`Writer::put`].
    pub fn put(&self, writer: &mut Writer) -> Result<()> {
        writer.put("tokenizer.ggml.model", self.model)?;
        if let Some(pre) = &self.pre {
            writer.put("tokenizer.ggml.pre", pre.as_str())?;
            writer.put_strings("tokenizer.ggml.merges", &self.merges)?;
        } else {
            writer.put("tokenizer.ggml.scores", &vec![0f32; self.len()][..])?;
            writer.put("tokenizer.ggml.add_space_prefix", false)?;
            writer.put("tokenizer.ggml.unknown_token_id", 0u32)?;
        }
        writer.put_strings("tokenizer.ggml.tokens", self.tokens.iter().map(|t| &t.0))?;
        let types: Vec<i32> = self.tokens.iter().map(|t| t.1).collect();
        writer.put("tokenizer.ggml.token_type", &types[..])?;
        // Readers have defaults of their own for what a file does not say.
        writer.put("tokenizer.ggml.bos_token_id", self.end)?.put("tokenizer.ggml.eos_token_id", self.end)?;
        writer.put("tokenizer.ggml.add_bos_token", false)?.put("tokenizer.ggml.add_eos_token", false)?;
        Ok(())
    }

    /// Writes it as a file of its own, without tensors. Errors: `Io`, and those of [`put`](Vocabulary::put).
    pub fn save(&self, path: &Path) -> Result<()> {
        self.writer()?.create(path)?.save()
    }

    /// The same file in memory. Errors: those of [`put`](Vocabulary::put).
    pub fn to_gguf(&self) -> Result<Gguf> {
        Gguf::from_bytes(self.writer()?.begin(Vec::new())?.finish()?)
    }

    fn writer(&self) -> Result<Writer> {
        let mut writer = Writer::new();
        writer.put("general.architecture", "qorus")?;
        self.put(&mut writer)?;
        Ok(writer)
    }
}
