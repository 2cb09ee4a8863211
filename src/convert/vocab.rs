//! `tokenizer.json` of Hugging Face's models, as the keys that GGUF has for it.
//!
//! Two kinds of byte-pair encoders are known: byte-level ones (`gpt2` in GGUF, whose regular expression must be one
//! that has a name there), and those made from SentencePiece with bytes to fall back on (`llama`).

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::json::{Json, shown};
use crate::error::{Result, fail, try_vec};
use crate::gguf::Writer;

/// Kinds of tokens in GGUF.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// How the regular expressions of published tokenizers are called in GGUF.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT_4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Writes the tokenizer in the directory `dir`, of a model with `len` tokens.
pub(super) fn put(dir: &Path, config: &Json, len: usize, w: &mut Writer) -> Result<()> {
    let json = Json::open(&dir.join("tokenizer.json"))?;
    let extra = Json::open_if_there(&dir.join("tokenizer_config.json"))?;
    let kind = json.str("model.type")?.unwrap_or("BPE");
    if kind != "BPE" {
        fail!(Unsupported, "{}: is of the kind {kind:?}; only BPE is converted", json.file);
    }
    let fallback = json.bool("model.byte_fallback")?.unwrap_or(false);
    let vocabulary = Vocabulary::read(&json, len, fallback)?;
    let merges = merges(&json)?;
    if fallback {
        w.put("tokenizer.ggml.model", "llama")?.put("tokenizer.ggml.pre", "default")?;
    } else {
        w.put("tokenizer.ggml.model", "gpt2")?.put("tokenizer.ggml.pre", pre_tokenizer(&json)?)?;
    }
    w.put_strings("tokenizer.ggml.tokens", &vocabulary.tokens)?;
    w.put("tokenizer.ggml.token_type", &vocabulary.types[..])?;
    if fallback {
        w.put("tokenizer.ggml.scores", &vocabulary.scores(&merges)[..])?;
        w.put("tokenizer.ggml.add_space_prefix", prefixes_space(&json))?;
    } else {
        w.put_strings("tokenizer.ggml.merges", merges.iter().map(|(a, b)| format!("{a} {b}")))?;
    }
    let special = |name: &str| special(name, &vocabulary, extra.as_ref(), config);
    let bos = special("bos")?;
    for (name, id) in
        [("bos", bos), ("eos", special("eos")?), ("unknown", special("unk")?), ("padding", special("pad")?)]
    {
        if let Some(id) = id {
            w.put(&format!("tokenizer.ggml.{name}_token_id"), id)?;
        }
    }
    let stated = match &extra {
        Some(extra) => extra.bool("add_bos_token")?,
        None => None,
    };
    let adds_bos = stated.unwrap_or_else(|| begins_with_bos(&json, bos, &vocabulary));
    w.put("tokenizer.ggml.add_bos_token", adds_bos && bos.is_some())?;
    if let Some(template) = template(dir, extra.as_ref())? {
        w.put("tokenizer.chat_template", &*template)?;
    }
    Ok(())
}

/// All tokens by id.
struct Vocabulary<'a> {
    ids: HashMap<&'a str, u32>,
    tokens: Vec<String>,
    types: Vec<i32>,
}

impl<'a> Vocabulary<'a> {
    fn read(json: &'a Json, len: usize, fallback: bool) -> Result<Vocabulary<'a>> {
        let mut v = Vocabulary { ids: HashMap::new(), tokens: try_vec(len, "tokens")?, types: try_vec(len, "tokens")? };
        // The embedding may have more rows than there are tokens.
        v.tokens.extend((0..len).map(|id| format!("[PAD{id}]")));
        v.types.resize(len, UNUSED);
        let normal = json.need("model.vocab", json.typed("model.vocab", "an object", Value::as_object)?)?;
        let unknown = json.str("model.unk_token")?;
        for (text, id) in normal {
            let is_byte = || text.len() == 6 && text.starts_with("<0x") && text.ends_with('>');
            let ty = match text {
                _ if fallback && is_byte() => BYTE,
                _ if fallback && Some(text.as_str()) == unknown => UNKNOWN,
                _ => NORMAL,
            };
            v.set(json, text, id, ty)?;
        }
        let added = json.typed("added_tokens", "a list", Value::as_array)?;
        for token in added.into_iter().flatten() {
            let special = token.get("special").and_then(Value::as_bool).unwrap_or(false);
            let (Some(text), Some(id)) = (token.get("content").and_then(Value::as_str), token.get("id")) else {
                fail!(Format, "{}: an added token has no content or no id", json.file);
            };
            let unknown = fallback && Some(text) == unknown;
            v.set(
                json,
                text,
                id,
                if unknown {
                    UNKNOWN
                } else if special {
                    CONTROL
                } else {
                    USER_DEFINED
                },
            )?;
        }
        Ok(v)
    }

    fn set(&mut self, json: &Json, text: &'a str, id: &Value, ty: i32) -> Result<()> {
        let at = id.as_u64().filter(|&id| id < self.tokens.len() as u64);
        let Some(at) = at else {
            fail!(
                Format,
                "{}: token {text:?} has the id {}, but the model has {} tokens",
                json.file,
                shown(id),
                self.tokens.len()
            );
        };
        self.ids.insert(text, at as u32);
        let at = at as usize;
        self.tokens[at] = text.to_owned();
        self.types[at] = ty;
        Ok(())
    }

    /// What makes an encoder of SentencePiece merge in the order of `merges`: of all pairs it merges the one whose
    /// result scores best, so a token scores the less the later it is made.
    fn scores(&self, merges: &[(&str, &str)]) -> Vec<f32> {
        let mut scores = vec![0.0; self.tokens.len()];
        for (rank, (a, b)) in merges.iter().enumerate().rev() {
            let made = self.ids.get([*a, *b].concat().as_str());
            if let Some(score) = made.and_then(|&id| scores.get_mut(id as usize)) {
                *score = -1.0 - rank as f32;
            }
        }
        scores
    }
}

/// The pairs, first to merge first: lists of two, or strings with a space between.
fn merges(json: &Json) -> Result<Vec<(&str, &str)>> {
    let list = json.need("model.merges", json.typed("model.merges", "a list", Value::as_array)?)?;
    let mut merges = try_vec(list.len(), "merges")?;
    for merge in list {
        let pair = match merge {
            Value::String(s) => s.split_once(' '),
            Value::Array(pair) => match &pair[..] {
                [Value::String(a), Value::String(b)] => Some((a.as_str(), b.as_str())),
                _ => None,
            },
            _ => None,
        };
        match pair {
            Some(pair) => merges.push(pair),
            None => fail!(Format, "{}: {} is no pair of tokens to merge", json.file, shown(merge)),
        }
    }
    Ok(merges)
}

/// The name in GGUF of how a byte-level encoder cuts text before it merges.
fn pre_tokenizer(json: &Json) -> Result<&'static str> {
    let whole = json.get("pre_tokenizer");
    let parts = match whole.and_then(|p| p.get("pretokenizers")).and_then(Value::as_array) {
        Some(parts) => parts.iter().collect(),
        None => Vec::from_iter(whole),
    };
    let (mut regex, mut digits, mut words) = (Vec::new(), None, false);
    for part in parts {
        match part.get("type").and_then(Value::as_str) {
            Some("Split") => regex.push(part.pointer("/pattern/Regex").and_then(Value::as_str).unwrap_or("?")),
            Some("Digits") => digits = part.get("individual_digits").and_then(Value::as_bool),
            Some("ByteLevel") => words |= part.get("use_regex").and_then(Value::as_bool).unwrap_or(true),
            _ => regex.push("?"),
        }
    }
    let ignores_merges = json.bool("model.ignore_merges")?.unwrap_or(false);
    Ok(match (&regex[..], digits, words) {
        ([], None, true) => "gpt-2",
        ([], Some(true), true) => "smollm",
        ([regex], None, false) if *regex == LLAMA3 => {
            if ignores_merges {
                "llama-bpe"
            } else {
                "dbrx"
            }
        }
        ([regex], None, false) if *regex == QWEN2 => "qwen2",
        ([regex], None, false) if *regex == GPT_4O => "gpt-4o",
        _ => fail!(
            Unsupported,
            "{}: cuts text in a way that has no known name: {}",
            json.file,
            whole.map_or("not at all".into(), |p| p.to_string().chars().take(200).collect::<String>())
        ),
    })
}

/// Whether an encoder of SentencePiece's kind puts a space before the text.
fn prefixes_space(json: &Json) -> bool {
    let normalizer = json.get("normalizer");
    let list = normalizer.and_then(|n| n.get("normalizers")).and_then(Value::as_array);
    let of_type = |v: &Value, ty: &str| v.get("type").and_then(Value::as_str) == Some(ty);
    if normalizer.is_some_and(|n| of_type(n, "Prepend"))
        || list.is_some_and(|l| l.iter().any(|n| of_type(n, "Prepend")))
    {
        return true;
    }
    match json.get("pre_tokenizer").filter(|p| of_type(p, "Metaspace")) {
        Some(p) => match p.get("prepend_scheme").and_then(Value::as_str) {
            Some(scheme) => scheme != "never",
            None => p.get("add_prefix_space").and_then(Value::as_bool).unwrap_or(true),
        },
        None => false,
    }
}

/// The id of `bos`, `eos`, `unk` or `pad`: by its text in `tokenizer_config.json`, else as `config.json` has it.
fn special(name: &str, v: &Vocabulary, extra: Option<&Json>, config: &Json) -> Result<Option<u32>> {
    if let Some(token) = extra.and_then(|extra| extra.get(&format!("{name}_token"))) {
        let text = token.as_str().or_else(|| token.get("content").and_then(Value::as_str));
        if let Some(&id) = text.and_then(|text| v.ids.get(text)) {
            return Ok(Some(id));
        }
    }
    let key = format!("{name}_token_id");
    let first = |v: &Value| v.as_u64().or_else(|| v.get(0).and_then(Value::as_u64));
    let id = config.typed(&key, "an id or a list of ids", first)?;
    Ok(id.and_then(|id| u32::try_from(id).ok()).filter(|&id| (id as usize) < v.tokens.len()))
}

/// Whether the template of one text begins with BOS.
fn begins_with_bos(json: &Json, bos: Option<u32>, v: &Vocabulary) -> bool {
    let post = json.get("post_processor");
    let list = post.and_then(|p| p.get("processors")).and_then(Value::as_array);
    let parts = list.map_or_else(|| Vec::from_iter(post), |list| list.iter().collect());
    parts.iter().any(|part| {
        let first = part.pointer("/single/0/SpecialToken/id").and_then(Value::as_str);
        bos.is_some() && first.and_then(|text| v.ids.get(text)).copied() == bos
    })
}

/// The chat template: a file of its own, or in `tokenizer_config.json`, alone or as the default among several.
fn template(dir: &Path, extra: Option<&Json>) -> Result<Option<String>> {
    let path = dir.join("chat_template.jinja");
    if path.is_file() {
        return match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(e) => fail!(Io, "{}: cannot be read: {e}", path.display()),
        };
    }
    let Some(value) = extra.and_then(|extra| extra.get("chat_template")) else { return Ok(None) };
    let is_default = |t: &&Value| t.get("name").and_then(Value::as_str) == Some("default");
    let default = || value.as_array()?.iter().find(is_default)?.get("template")?.as_str();
    Ok(value.as_str().or_else(default).map(str::to_owned))
}
