//! Pre-tokenizers: how a text is split into words before byte-pair merges, which never cross a word's edge.
//!
//! A pre-tokenizer is a list of passes. Each pass splits every piece that the passes before it left into what it matches
//! and what lies between. Vocabularies publish their passes as regular expressions; each is written out here by hand,
//! with its expression above it. All run in time linear in the text and allocate nothing.

use super::cased_table::CASED;
use super::unicode::{Class, class, is_letter, is_number, is_punctuation, is_white};
use crate::error::Result;

/// A set of characters.
type Set = fn(char) -> bool;

/// One pass over a piece.
#[derive(Clone, Copy)]
pub(super) enum Pass {
    /// `[set]+`
    Run(Set),
    /// `[set]{1,n}`
    Chunks(Set, usize),
    /// `[0-9][0-9][0-9]`
    Three,
    /// `\s?[set]+`
    Spaced(Set),
    /// `\s+$`
    Trailing,
    /// `[^\n]+|[\n]+`
    Lines,
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Gpt2,
    /// The family that began with cl100k; see [`Words`].
    Words(Words),
    /// `[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    DeepSeek3,
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?WORD|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
#[derive(Clone, Copy)]
pub(super) struct Words {
    /// Where contractions are split off.
    pub contractions: Contractions,
    pub word: Word,
    pub digits: usize,
    /// What may follow punctuation: `[\r\n]*`, with a slash in the set or not.
    pub slash: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Contractions {
    None,
    /// As a word of their own, wherever an apostrophe stands.
    First,
    /// At the end of a word, as part of it.
    Last,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// `\p{L}+`
    Letters,
    /// `[\p{L}\p{M}]+`, and marks are not punctuation either.
    Marks,
    /// `X*Y+|X+Y*` where X are letters but a-z and Y are letters but A-Z: "camelCase" is two words.
    Cased,
}

/// Hands the words of `text` to `each`, in order; together they are the text.
pub(super) fn split(passes: &[Pass], text: &str, each: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    let Some((pass, rest)) = passes.split_first() else {
        return if text.is_empty() { Ok(()) } else { each(text) };
    };
    let mut done = 0;
    while let Some((from, to)) = pass.find(text, done) {
        split(rest, slice(text, done, from), each)?;
        split(rest, slice(text, from, to), each)?;
        done = to;
    }
    split(rest, slice(text, done, text.len()), each)
}

fn slice(text: &str, from: usize, to: usize) -> &str {
    text.get(from..to).unwrap_or("")
}

/// The character at `at`, `None` at the end.
fn peek(text: &str, at: usize) -> Option<char> {
    text.get(at..)?.chars().next()
}

/// Where the run of characters of `set` that begins at `at` ends.
fn run(text: &str, at: usize, set: impl Fn(char) -> bool) -> usize {
    let rest = text.get(at..).unwrap_or("");
    at + rest.find(|c| !set(c)).unwrap_or(rest.len())
}

impl Pass {
    /// The first match that begins at or after `at`. Not empty.
    fn find(&self, text: &str, at: usize) -> Option<(usize, usize)> {
        let rest = text.get(at..).filter(|r| !r.is_empty())?;
        match *self {
            Pass::Run(set) => {
                let from = at + rest.find(set)?;
                Some((from, run(text, from, set)))
            }
            Pass::Chunks(set, n) => {
                let from = at + rest.find(set)?;
                Some((from, chunk(text, from, set, n)))
            }
            Pass::Three => {
                let digits = |w: &[u8]| w.iter().all(u8::is_ascii_digit);
                let from = at + rest.as_bytes().windows(3).position(digits)?;
                Some((from, from + 3))
            }
            Pass::Spaced(set) => {
                let first = at + rest.find(set)?;
                // One white character before it belongs to it, if it was not matched before.
                let white = text.get(at..first)?.chars().next_back().filter(|&c| is_white(c));
                Some((first - white.map_or(0, char::len_utf8), run(text, first, set)))
            }
            Pass::Trailing => {
                let from = at + rest.trim_end_matches(is_white).len();
                (from < text.len()).then_some((from, text.len()))
            }
            Pass::Lines => {
                let newline = rest.starts_with('\n');
                Some((at, run(text, at, |c| (c == '\n') == newline)))
            }
            Pass::Gpt2 => Some((at, gpt2(text, at))),
            Pass::Words(words) => Some((at, words.end(text, at))),
            Pass::DeepSeek3 => deepseek3(text, at),
        }
    }
}

/// The end of at most `n` characters of `set` from `at`.
fn chunk(text: &str, at: usize, set: Set, n: usize) -> usize {
    let rest = text.get(at..).unwrap_or("");
    let last = rest.char_indices().take(n).take_while(|&(_, c)| set(c)).last();
    at + last.map_or(0, |(i, c)| i + c.len_utf8())
}

/// The length of the contraction at the head of `text`: `'s|'t|'re|'ve|'m|'ll|'d`.
fn contraction(text: &str, ignore_case: bool) -> Option<usize> {
    let fold = |b: Option<&u8>| b.map(|b| if ignore_case { b.to_ascii_lowercase() } else { *b });
    let mut bytes = text.as_bytes().iter();
    match (fold(bytes.next())?, fold(bytes.next())?, fold(bytes.next())) {
        (b'\'', b's' | b't' | b'm' | b'd', _) => Some(2),
        (b'\'', b'r' | b'v', Some(b'e')) | (b'\'', b'l', Some(b'l')) => Some(3),
        _ => None,
    }
}

/// `\s+(?!\S)|\s+` with at least one white character at `at`: all of the run, but for its last character when more than
/// one and text follows, which that character is left to lead.
fn white(text: &str, at: usize) -> usize {
    let end = run(text, at, is_white);
    let last = text.get(at..end).and_then(|s| s.chars().next_back()).map_or(0, char::len_utf8);
    if end < text.len() && end - last > at { end - last } else { end }
}

/// `\s*[\r\n]+`: the end of the last line break in the run of white characters at `at`.
fn line_breaks(text: &str, at: usize) -> Option<usize> {
    let end = run(text, at, is_white);
    Some(at + text.get(at..end)?.rfind(['\r', '\n'])? + 1)
}

/// The end of one character, so that every pass moves on.
fn one(text: &str, at: usize) -> usize {
    at + peek(text, at).map_or(1, char::len_utf8)
}

fn gpt2(text: &str, at: usize) -> usize {
    if let Some(n) = contraction(text.get(at..).unwrap_or(""), false) {
        return at + n;
    }
    let start = if peek(text, at) == Some(' ') { at + 1 } else { at };
    match peek(text, start).map(class) {
        Some(Class::Letter) => run(text, start, is_letter),
        Some(Class::Number) => run(text, start, is_number),
        Some(Class::White) | None => white(text, at),
        Some(_) => run(text, start, |c| !matches!(class(c), Class::Letter | Class::Number | Class::White)),
    }
}

impl Words {
    fn end(&self, text: &str, at: usize) -> usize {
        let Some(first) = peek(text, at) else { return text.len() };
        if self.contractions == Contractions::First
            && let Some(n) = contraction(text.get(at..).unwrap_or(""), true)
        {
            return at + n;
        }
        let of_word = |c| is_letter(c) || (self.word == Word::Marks && class(c) == Class::Mark);
        let second = at + first.len_utf8();
        if of_word(first) {
            return self.word_end(text, at);
        }
        if !matches!(first, '\r' | '\n') && !is_number(first) && peek(text, second).is_some_and(of_word) {
            return self.word_end(text, second);
        }
        if is_number(first) {
            return chunk(text, at, is_number, self.digits);
        }
        let start = if first == ' ' { second } else { at };
        let end =
            run(text, start, |c| !matches!(class(c), Class::Letter | Class::Number | Class::White) && !of_word(c));
        if end > start {
            return run(text, end, |c| matches!(c, '\r' | '\n') || (self.slash && c == '/'));
        }
        line_breaks(text, at).unwrap_or_else(|| white(text, at)).max(second)
    }

    /// The end of the word whose first letter is at `at`.
    fn word_end(&self, text: &str, at: usize) -> usize {
        let end = match self.word {
            Word::Letters => run(text, at, is_letter),
            Word::Marks => run(text, at, |c| is_letter(c) || class(c) == Class::Mark),
            Word::Cased => cased(text, at),
        };
        let suffix = text.get(end..).filter(|_| self.contractions == Contractions::Last);
        end + suffix.and_then(|s| contraction(s, true)).unwrap_or(0)
    }
}

/// `X*Y+|X+Y*` as [`Word::Cased`] has it. Letters that are neither a-z nor A-Z are both X and Y, and X* is greedy: if
/// no Y follows its run, the match goes back to the last Y in it, and without one it is the run.
fn cased(text: &str, at: usize) -> usize {
    let in_x = |c: char| is_letter(c) && !c.is_ascii_lowercase();
    let in_y = |c: char| is_letter(c) && !c.is_ascii_uppercase();
    let end = run(text, at, in_x);
    if peek(text, end).is_some_and(in_y) {
        return run(text, end, in_y);
    }
    let last_y = text.get(at..end).and_then(|x| x.rfind(in_y));
    last_y.map_or(end, |i| one(text, at + i))
}

fn deepseek3(text: &str, at: usize) -> Option<(usize, usize)> {
    let rest = text.get(at..)?;
    for (i, first) in rest.char_indices() {
        let from = at + i;
        let second = from + first.len_utf8();
        let to = if first.is_ascii_punctuation() && peek(text, second).is_some_and(|c| c.is_ascii_alphabetic()) {
            run(text, second, |c| c.is_ascii_alphabetic())
        } else {
            let of_word = |c| matches!(class(c), Class::Letter | Class::Mark);
            let symbol = |c| matches!(class(c), Class::Punctuation | Class::Symbol);
            let leads = !matches!(first, '\r' | '\n') && !is_letter(first) && !symbol(first);
            let symbols_at = if first == ' ' { second } else { from };
            if of_word(first) || (leads && peek(text, second).is_some_and(of_word)) {
                run(text, if of_word(first) { from } else { second }, of_word)
            } else if peek(text, symbols_at).is_some_and(symbol) {
                run(text, run(text, symbols_at, symbol), |c| matches!(c, '\r' | '\n'))
            } else if is_white(first) {
                line_breaks(text, from).unwrap_or_else(|| white(text, from))
            } else {
                continue;
            }
        };
        return Some((from, to));
    }
    None
}

/// `[\p{P}\$\+<=>\^~\|`]`
pub(super) fn falcon_punctuation(c: char) -> bool {
    default_punctuation(c) || c == '`'
}

/// `[\p{P}\$\+<=>\^~\|]`
pub(super) fn default_punctuation(c: char) -> bool {
    is_punctuation(c) || matches!(c, '$' | '+' | '<' | '=' | '>' | '^' | '~' | '|')
}

pub(super) fn line_break(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

/// The cased letters of DeepSeek's list.
pub(super) fn cased_letter(c: char) -> bool {
    let c = c as u32;
    let after = CASED.partition_point(|&(first, _)| first <= c);
    after > 0 && c <= CASED[after - 1].1
}

/// `[!-/:-~！-／：-～‘-‟　-。]`, where white space (U+3000) is not matched by a range that holds it.
pub(super) fn deepseek_punctuation(c: char) -> bool {
    matches!(c, '!'..='/' | ':'..='~' | '！'..='／' | '：'..='～' | '‘'..='‟' | '、'..='。')
}

/// `[一-龥ࠀ-一가-퟿]`, white space excepted as above.
pub(super) fn deepseek_asian(c: char) -> bool {
    matches!(c, '\u{800}'..='龥' | '가'..='\u{d7ff}') && !is_white(c)
}

/// `[一-龥぀-ゟ゠-ヿ]`
pub(super) fn han_kana(c: char) -> bool {
    matches!(c, '一'..='龥' | '\u{3040}'..='ヿ')
}
