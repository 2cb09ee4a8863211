//! Training of a byte-level BPE vocabulary: the commonest pair of neighbours becomes a token, again and again.

use std::collections::HashMap;
use std::path::PathBuf;

use super::pairs::{Pairs, Word};
use super::{CONTROL, NORMAL, Vocabulary};
use crate::error::{Result, fail};
use crate::tokenizer::{each_word, in_letters};
use crate::train::data::stretch::stretches;

/// Words of more bytes (data rather than language) teach nothing: they would cost time in each merge.
const MAX_WORD_BYTES: usize = 256;
/// What a word takes beside its bytes, about.
const WORD_OVERHEAD: usize = 64;

/// What a vocabulary shall be.
#[derive(Clone, Debug)]
pub struct BpeParams {
    /// Tokens in all: 256 bytes, merges, special ones. Fewer come out when the text has no more pairs.
    pub size: usize,
    /// The text of the token that ends a text.
    pub end: String,
    /// Texts of further special tokens, such as `<|im_start|>`.
    pub specials: Vec<String>,
    /// The pre-tokenizer, by the name that files give it.
    pub pre: String,
    /// Pairs that come less often are not merged.
    pub min_count: u64,
    /// Bytes of memory for different words. Where they are more, words that came once so far are forgotten.
    pub max_bytes: usize,
}

impl BpeParams {
    /// A vocabulary of that size as GPT-2's is made, but numbers are split into digits.
    pub fn new(size: usize) -> BpeParams {
        BpeParams {
            size,
            end: "<|endoftext|>".into(),
            specials: Vec::new(),
            pre: "smollm".into(),
            min_count: 2,
            max_bytes: 1 << 28,
        }
    }
}

/// Trains a vocabulary on the text of some files: the same for the same text, on every machine. Ids: the bytes in order, the
/// merges as they were found, the token that ends a text, the further special ones. `progress` is told the merges done and
/// wanted, from 0 of 0 while texts are read, and cancels by saying false.
///
/// Errors: those of reading; `InvalidArgument` for a size that the bytes and special tokens exceed, or special tokens that are
/// empty or come twice; `Unsupported` for a pre-tokenizer that is not known, or words that exceed the memory; `Format` for
/// texts without a word; `Cancelled`.
pub fn train_bpe(
    files: &[PathBuf],
    params: &BpeParams,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Vocabulary> {
    let specials: Vec<&String> = std::iter::once(&params.end).chain(&params.specials).collect();
    let least = 256 + specials.len();
    if params.size < least || u32::try_from(params.size).is_err() {
        let n = specials.len();
        fail!(InvalidArgument, "a vocabulary of {} tokens: the bytes and {n} special tokens are {least}", params.size);
    }
    for (no, special) in specials.iter().enumerate() {
        if special.is_empty() || specials.iter().take(no).any(|s| s == special) {
            fail!(InvalidArgument, "the special token {special:?} is empty or comes twice");
        }
    }
    let mut tell = |done, all| match progress(done, all) {
        true => Ok(()),
        false => fail!(Cancelled, "training the vocabulary was cancelled"),
    };
    let mut pairs = Pairs::new(words(files, params, &mut tell)?);
    let (mut texts, mut merges) = ((0..=255u8).map(|b| vec![b]).collect::<Vec<_>>(), Vec::new());
    let wanted = params.size - least;
    while merges.len() < wanted {
        tell(merges.len() as u64, wanted as u64)?;
        let Some((pair, count)) = pairs.best() else { break };
        if count < params.min_count {
            break;
        }
        pairs.merge(pair, texts.len() as u32);
        let [left, right] = [pair.0, pair.1].map(|id| texts.get(id as usize).cloned().unwrap_or_default());
        merges.push([in_letters(&left), in_letters(&right)].join(&b' '));
        texts.push([left, right].concat());
    }
    let end = texts.len() as u32;
    let mut tokens: Vec<_> = texts.iter().map(|t| (in_letters(t), NORMAL)).collect();
    tokens.extend(specials.iter().map(|s| (s.as_bytes().to_vec(), CONTROL)));
    Ok(Vocabulary { model: "gpt2", pre: Some(params.pre.clone()), tokens, merges, end })
}

/// The different words of the texts, in order of their bytes.
fn words(files: &[PathBuf], params: &BpeParams, tell: &mut dyn FnMut(u64, u64) -> Result<()>) -> Result<Vec<Word>> {
    let mut counts: HashMap<Box<[u8]>, u64> = HashMap::new();
    let (mut bytes, mut buffer) = (0, Vec::new());
    for path in files {
        stretches(path, &mut buffer, &mut |_| Ok(()), &mut |text| {
            tell(0, 0)?;
            each_word(&params.pre, text, &mut |word| {
                let word = word.as_bytes();
                if let Some(count) = counts.get_mut(word) {
                    *count += 1;
                } else if word.len() <= MAX_WORD_BYTES {
                    counts.insert(word.into(), 1);
                    bytes += word.len() + WORD_OVERHEAD;
                }
                Ok(())
            })?;
            if bytes > params.max_bytes {
                counts.retain(|_, count| *count > 1);
                bytes = counts.keys().map(|word| word.len() + WORD_OVERHEAD).sum();
                if bytes > params.max_bytes || counts.is_empty() {
                    fail!(
                        Unsupported,
                        "{}: the different words take more than the {} bytes they may: raise the limit or take less text",
                        path.display(),
                        params.max_bytes
                    );
                }
            }
            Ok(())
        })?;
    }
    if counts.is_empty() {
        fail!(Format, "there is no text to train a vocabulary on");
    }
    let mut words: Vec<(Box<[u8]>, u64)> = counts.into_iter().collect();
    words.sort_unstable();
    let symbols = |word: &[u8]| word.iter().map(|&b| u32::from(b)).collect();
    Ok(words.iter().map(|(word, count)| Word { symbols: symbols(word), count: *count }).collect())
}
