//! What a file's metadata says of its vocabulary: the kind, the special tokens, and where the strings lie.

use super::pre::{self, Pre};
use crate::error::{Result, fail};
use crate::gguf::{Array, Gguf, Value, ValueType};

/// How text becomes tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Merges by the score of the token that results, spaces as U+2581, `<0xXX>` for bytes (SentencePiece's BPE).
    Spm,
    /// Merges by rank, in GPT-2's alphabet of bytes.
    Bpe,
    /// Merges by rank, on text as `Spm` has it (Gemma 4).
    RawBpe,
}

/// The counts that all sizes follow from.
#[derive(Clone, Copy)]
pub(super) struct Counts {
    pub tokens: usize,
    pub merges: usize,
    /// Tokens of a type that makes them special.
    pub specials: usize,
}

/// The vocabulary's own settings. Small; the strings stay in the file.
pub(super) struct Vocab {
    pub kind: Kind,
    pub pre: &'static Pre,
    pub counts: Counts,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub unknown: Option<u32>,
    /// Other tokens that end a turn or a text, and those around a hole to fill, where the file names them.
    pub eot: Option<u32>,
    pub eom: Option<u32>,
    pub fim: [Option<u32>; 6],
    pub add_bos: bool,
    pub add_eos: bool,
    /// Spm: a space goes before text at the start and after special tokens.
    pub space_prefix: bool,
    /// White space after a special token belongs to it (Phi-3).
    pub strip_after: bool,
    /// Special ids that the file names and the vocabulary lacks.
    pub bad: [Option<(&'static str, i128)>; SPECIAL_KEYS.len()],
}

/// Indices of `Vocab::fim`: of the tokens before, behind and in the hole, then padding, repository and file.
pub(super) const FIM: std::ops::Range<usize> = 0..6;
/// Those of them that end a text.
pub(super) const FIM_ENDS: std::ops::Range<usize> = 3..6;

const SPECIAL_KEYS: [&str; 17] = [
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.unknown_token_id",
    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.eom_token_id",
    "tokenizer.ggml.fim_pre_token_id",
    "tokenizer.ggml.fim_suf_token_id",
    "tokenizer.ggml.fim_mid_token_id",
    "tokenizer.ggml.fim_pad_token_id",
    "tokenizer.ggml.fim_rep_token_id",
    "tokenizer.ggml.fim_sep_token_id",
    // Older names.
    "tokenizer.ggml.prefix_token_id",
    "tokenizer.ggml.suffix_token_id",
    "tokenizer.ggml.middle_token_id",
    // Not used, but checked.
    "tokenizer.ggml.seperator_token_id",
    "tokenizer.ggml.padding_token_id",
    "tokenizer.ggml.mask_token_id",
];

impl Vocab {
    pub fn read(gguf: &Gguf) -> Result<Vocab> {
        let file = gguf.name();
        let Some(model) = gguf.str("tokenizer.ggml.model")? else {
            fail!(NotFound, "{file}: has no tokenizer (no key \"tokenizer.ggml.model\")");
        };
        let name = gguf.str("tokenizer.ggml.pre")?.filter(|n| !n.is_empty());
        let (kind, name) = match model {
            "llama" => (Kind::Spm, pre::MISSING), // which has no use for one
            "gpt2" => (Kind::Bpe, name.unwrap_or(pre::MISSING)),
            "gemma4" => (Kind::RawBpe, "gemma4"),
            _ => fail!(Unsupported, "{file}: the tokenizer model {model:?} is not known; llama, gpt2 and gemma4 are"),
        };
        let Some(pre) = pre::find(name.as_bytes()) else {
            fail!(
                Unsupported,
                "{file}: the pre-tokenizer {name:?} (\"tokenizer.ggml.pre\") is not known: its text would be split wrongly"
            );
        };
        let kind = if kind == Kind::Bpe && pre.raw { Kind::RawBpe } else { kind };
        let counts = Counts::read(gguf, kind)?;
        let mut vocab = Vocab {
            kind,
            pre,
            counts,
            bos: None,
            eos: None,
            unknown: None,
            eot: None,
            eom: None,
            fim: [None; 6],
            add_bos: gguf.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(kind == Kind::Spm || pre.bos),
            add_eos: gguf.bool("tokenizer.ggml.add_eos_token")?.unwrap_or(false),
            space_prefix: kind == Kind::Spm && gguf.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true),
            strip_after: strips_after(gguf),
            bad: [None; SPECIAL_KEYS.len()],
        };
        vocab.add_bos |= pre.raw;
        if kind == Kind::Spm {
            // What SentencePiece gives its first three ids to, unless the file says otherwise.
            let has = |id: u32| (id as usize) < counts.tokens;
            (vocab.unknown, vocab.bos, vocab.eos) =
                (Some(0).filter(|&i| has(i)), Some(1).filter(|&i| has(i)), Some(2).filter(|&i| has(i)));
        }
        vocab.read_specials(gguf)?;
        Ok(vocab)
    }

    fn read_specials(&mut self, gguf: &Gguf) -> Result<()> {
        for (no, key) in SPECIAL_KEYS.into_iter().enumerate() {
            let Some(value) = gguf.get(key) else { continue };
            let Some(id) = value.int() else {
                fail!(Format, "{}: key {key:?} is {value}, expected a token id", gguf.name());
            };
            if id < 0 || id >= self.counts.tokens as i128 {
                self.bad[no] = Some((key, id));
                continue;
            }
            let slot = match no {
                0 => &mut self.bos,
                1 => &mut self.eos,
                2 => &mut self.unknown,
                3 => &mut self.eot,
                4 => &mut self.eom,
                5..11 => &mut self.fim[no - 5],
                11..14 => &mut self.fim[no - 11],
                _ => continue,
            };
            *slot = Some(id as u32);
        }
        Ok(())
    }
}

/// Phi-3's files say nothing of it, so its name must.
fn strips_after(gguf: &Gguf) -> bool {
    let Some(Value::Str(name)) = gguf.get("general.name") else { return false };
    let has = |part: &[u8]| name.windows(part.len()).any(|w| w.eq_ignore_ascii_case(part));
    has(b"phi-3") || has(b"phi3")
}

impl Counts {
    fn read(gguf: &Gguf, kind: Kind) -> Result<Counts> {
        let file = gguf.name();
        let Some(tokens) = strings(gguf, TOKENS)? else {
            fail!(NotFound, "{file}: has no key {TOKENS:?}, the list of tokens");
        };
        if tokens.is_empty() {
            fail!(Format, "{file}: {TOKENS:?} is empty");
        }
        for (key, ty) in [(SCORES, ValueType::F32), (TYPES, ValueType::I32)] {
            let Some(array) = gguf.array(key)? else { continue };
            if array.ty() != ty || array.len() != tokens.len() {
                fail!(
                    Format,
                    "{file}: {key:?} has {} {}, expected {} {}, one for each token",
                    array.len(),
                    array.ty().name(),
                    tokens.len(),
                    ty.name()
                );
            }
        }
        let merges = match strings(gguf, MERGES)? {
            _ if kind == Kind::Spm => 0,
            Some(merges) => merges.len(),
            None => fail!(NotFound, "{file}: has no key {MERGES:?}, which a byte-pair vocabulary needs"),
        };
        let source = Source::of(gguf);
        let specials = (0..tokens.len()).filter(|&i| matches!(source.token_type(i), 2..=4)).count();
        Ok(Counts { tokens: tokens.len(), merges, specials })
    }
}

const TOKENS: &str = "tokenizer.ggml.tokens";
const SCORES: &str = "tokenizer.ggml.scores";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";

/// An array of strings that 32-bit offsets reach.
fn strings<'a>(gguf: &'a Gguf, key: &str) -> Result<Option<Array<'a>>> {
    let Some(array) = gguf.array(key)? else { return Ok(None) };
    if array.ty() != ValueType::Str {
        fail!(Format, "{}: {key:?} is an array of {}, expected strings", gguf.name(), array.ty().name());
    }
    if array.bytes().len() >= u32::MAX as usize {
        fail!(Unsupported, "{}: {key:?} takes {} bytes, at most 4 GiB are read", gguf.name(), array.bytes().len());
    }
    Ok(Some(array))
}

/// The arrays in the file. A string's offset is that of its length.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub tokens: &'a [u8],
    pub merges: &'a [u8],
    scores: &'a [u8],
    types: &'a [u8],
}

impl<'a> Source<'a> {
    pub fn of(gguf: &'a Gguf) -> Source<'a> {
        let bytes = |key: &str| gguf.array(key).ok().flatten().map_or(&[] as &[u8], |a| a.bytes());
        Source { tokens: bytes(TOKENS), merges: bytes(MERGES), scores: bytes(SCORES), types: bytes(TYPES) }
    }

    /// The score of that token, 0 without scores.
    pub fn score(&self, id: u32) -> f32 {
        four(self.scores, id as usize).map_or(0.0, f32::from_le_bytes)
    }

    /// The type of that token: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte; normal without types.
    pub fn token_type(&self, id: usize) -> i32 {
        four(self.types, id).map_or(1, i32::from_le_bytes)
    }
}

fn four(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at.checked_mul(4)?..)?.first_chunk().copied()
}

/// The string whose length is at `offset`. Empty outside the array: it was checked, but a mapped file can be written to.
pub(super) fn string_at(array: &[u8], offset: u32) -> &[u8] {
    let string = || {
        let (len, rest) = array.get(offset as usize..)?.split_first_chunk::<8>()?;
        rest.get(..usize::try_from(u64::from_le_bytes(*len)).ok()?)
    };
    string().unwrap_or(&[])
}

/// The strings of an array with their offsets.
pub(super) fn strings_of(array: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut at = 0usize;
    std::iter::from_fn(move || {
        let (len, rest) = array.get(at..)?.split_first_chunk::<8>()?;
        let string = rest.get(..usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
        let offset = at as u32;
        at += 8 + string.len();
        Some((offset, string))
    })
}
