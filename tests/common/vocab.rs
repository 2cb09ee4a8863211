//! Small vocabularies, written as files that hold nothing else.

use std::sync::Arc;

use qorus::gguf::{Gguf, Writer};
use qorus::tokenizer::{Encode, Tokenizer};

pub const NORMAL: i32 = 1;
pub const UNKNOWN: i32 = 2;
pub const CONTROL: i32 = 3;
pub const USER: i32 = 4;
pub const BYTE: i32 = 6;

/// A vocabulary to be: tokens with types and scores, and merges.
#[derive(Clone, Default)]
pub struct Vocab {
    pub model: &'static str,
    pub pre: Option<&'static str>,
    pub tokens: Vec<(String, i32, f32)>,
    pub merges: Vec<String>,
}

impl Vocab {
    /// SPM: `<unk>`, `<s>`, `</s>`, the 256 bytes.
    pub fn spm() -> Vocab {
        let mut v = Vocab { model: "llama", ..Vocab::default() };
        v.token("<unk>", UNKNOWN).token("<s>", CONTROL).token("</s>", CONTROL);
        v.hex_bytes();
        v
    }

    /// BPE in the alphabet of bytes: the 256 bytes.
    pub fn bpe(pre: &'static str) -> Vocab {
        let mut v = Vocab { model: "gpt2", pre: Some(pre), ..Vocab::default() };
        for b in 0..=255 {
            v.token(&letter(b).to_string(), NORMAL);
        }
        v
    }

    /// BPE on text itself: the 256 bytes as `<0xXX>`.
    pub fn raw() -> Vocab {
        let mut v = Vocab { model: "gemma4", ..Vocab::default() };
        v.hex_bytes();
        v
    }

    fn hex_bytes(&mut self) {
        for b in 0..=255 {
            self.token(&format!("<0x{b:02X}>"), BYTE);
        }
    }

    pub fn token(&mut self, text: &str, ty: i32) -> &mut Vocab {
        self.tokens.push((text.into(), ty, 0.0));
        self
    }

    /// Tokens of falling scores, the first the best.
    pub fn pieces(&mut self, pieces: &[&str]) -> &mut Vocab {
        for piece in pieces {
            let score = -(self.tokens.len() as f32);
            self.tokens.push((piece.to_string(), NORMAL, score));
        }
        self
    }

    /// Merges, each with its result as a token.
    pub fn merges(&mut self, merges: &[&str]) -> &mut Vocab {
        for merge in merges {
            self.merges.push(merge.to_string());
            self.token(&merge.replacen(' ', "", 1), NORMAL);
        }
        self
    }

    pub fn id(&self, text: &str) -> u32 {
        self.tokens.iter().position(|(t, ..)| t == text).unwrap_or_else(|| panic!("no token {text:?}")) as u32
    }

    pub fn writer(&self) -> Writer {
        let mut w = Writer::new();
        w.put("general.architecture", "llama").unwrap().put("tokenizer.ggml.model", self.model).unwrap();
        if let Some(pre) = self.pre {
            w.put("tokenizer.ggml.pre", pre).unwrap();
        }
        w.put_strings("tokenizer.ggml.tokens", self.tokens.iter().map(|t| &t.0)).unwrap();
        let types: Vec<i32> = self.tokens.iter().map(|t| t.1).collect();
        let scores: Vec<f32> = self.tokens.iter().map(|t| t.2).collect();
        w.put("tokenizer.ggml.token_type", &types[..]).unwrap().put("tokenizer.ggml.scores", &scores[..]).unwrap();
        if self.model != "llama" {
            w.put_strings("tokenizer.ggml.merges", &self.merges).unwrap();
        }
        w
    }

    pub fn open(&self) -> Tokenizer {
        tokenizer(self.writer()).unwrap()
    }
}

/// The character of a byte in GPT-2's alphabet, by its definition.
pub fn letter(byte: u8) -> char {
    let prints = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let byte = byte as u32;
    let code = if prints(byte) { byte } else { 256 + (0..byte).filter(|&b| !prints(b)).count() as u32 };
    char::from_u32(code).unwrap()
}

/// The file of a writer without tensors.
pub fn gguf(writer: Writer) -> Arc<Gguf> {
    Arc::new(Gguf::from_bytes(writer.begin(Vec::new()).unwrap().finish().unwrap()).unwrap())
}

pub fn tokenizer(writer: Writer) -> qorus::Result<Tokenizer> {
    Tokenizer::new(gguf(writer))
}

pub const PLAIN: Encode = Encode { bos: false, special: false };
pub const SPECIAL: Encode = Encode { bos: false, special: true };

pub fn encode(tokenizer: &Tokenizer, text: &str, how: Encode) -> Vec<u32> {
    let mut ids = vec![0; text.len() * 2 + 8];
    let n = tokenizer.encode(text, how, &mut ids).unwrap();
    ids.truncate(n);
    assert_eq!(tokenizer.count(text, how).unwrap(), n);
    ids
}

pub fn decode(tokenizer: &Tokenizer, ids: &[u32], special: bool) -> String {
    let mut text = vec![0; 4096];
    let n = tokenizer.decode(ids, special, &mut text).unwrap();
    text.truncate(n);
    String::from_utf8(text).unwrap()
}
