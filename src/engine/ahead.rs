//! Guesses of the next tokens, for a pass that computes several rows instead of one: what follows where the text's end
//! stood before, or what a smaller model says. Whether a guess is right is found by choosing tokens as ever.

use super::batch::Token;
use super::context::Context;
use super::model::Model;
use super::sampler::{MAX_AHEAD, Sampler};
use crate::error::{Result, fail};
use crate::gguf::Value;

/// So many tokens must be the same before a guess is made: fewer are so by chance.
const LEAST_MATCH: usize = 3;

/// More of them say no more about what follows.
const MOST_MATCH: usize = 32;

/// How many guesses are worth their rows: each costs one, each that was right brings three.
///
/// So the number doubles and more from pass to pass while all are right, and is 0 soon when none is; then a few tokens
/// earn a row for another attempt. That bounds what is lost by guessing to one row in [`Credit::PAUSE`] tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Credit(f32);

impl Credit {
    /// Tokens that earn a row.
    const PAUSE: f32 = 16.0;

    pub fn new() -> Credit {
        Credit(2.0)
    }

    /// The most guesses of the next pass.
    pub fn rows(self) -> usize {
        self.0 as usize
    }

    /// Notes a token of the text.
    pub fn earn(&mut self) {
        self.add(1.0 / Credit::PAUSE);
    }

    /// Notes how many guesses of a pass were right.
    pub fn settle(&mut self, guessed: usize, right: usize) {
        self.add(3.0 * right as f32 - guessed as f32);
    }

    fn add(&mut self, rows: f32) {
        self.0 = (self.0 + rows).clamp(0.0, MAX_AHEAD as f32);
    }
}

/// Guesses what follows `text` and then `last`: what did so where the longest end of them occurred before, of equally long
/// ones the latest. Returns the number of guesses, all of `out` or none.
pub(super) fn lookup(text: &[u32], last: u32, out: &mut [u32]) -> usize {
    let (mut at, mut longest) = (0, LEAST_MATCH - 1);
    for (i, _) in text.iter().enumerate().rev().filter(|&(_, &token)| token == last) {
        let before = text[..i].iter().rev().zip(text.iter().rev());
        let same = 1 + before.take(MOST_MATCH).take_while(|(a, b)| a == b).count();
        if same > longest {
            (at, longest) = (i + 1, same);
        }
        if same > MOST_MATCH {
            break;
        }
    }
    if longest < LEAST_MATCH {
        return 0;
    }
    // What follows may reach the guesses themselves: then the text goes round in a circle.
    for i in 0..out.len() {
        out[i] = match (at + i).checked_sub(text.len()) {
            None => text[at + i],
            Some(0) => last,
            Some(beyond) => out[beyond - 1],
        };
    }
    out.len()
}

/// Guesses what follows `text` and then `last` by the draft's logits, chosen as `sampler` is going to choose, with the
/// same random numbers. Returns the number of guesses: none when the draft's context or vocabulary is too small.
pub(super) fn draft(
    draft: &mut Context,
    seq: usize,
    text: &[u32],
    last: u32,
    sampler: &mut Sampler,
    vocab: usize,
    out: &mut [u32],
) -> Result<usize> {
    let n_ctx = draft.params().n_ctx;
    let known = draft.model().graph.vocab().min(vocab);
    if out.is_empty() || text.len() + out.len() > n_ctx {
        return Ok(0);
    }
    let held = draft.tokens(seq).iter().zip(text).take_while(|(a, b)| a == b).count();
    if text[held..].iter().chain([&last]).any(|&id| id as usize >= known) {
        return Ok(0);
    }
    draft.truncate(seq, held)?;
    // Usually a few tokens: they go in one pass with the last one.
    let early = (text.len() - held).saturating_sub(MAX_AHEAD);
    if early > 0 {
        draft.append(seq, &text[held..held + early])?;
    }
    let mut batch = [Token { id: last, seq: seq as u32, pos: 0, logits: false }; MAX_AHEAD + 1];
    let n = text.len() - held - early;
    for (i, token) in batch[..=n].iter_mut().enumerate() {
        token.pos = (held + early + i) as u32;
        token.id = text.get(held + early + i).copied().unwrap_or(last);
        token.logits = i == n;
    }
    draft.decode(&batch[..=n])?;
    let mark = sampler.mark();
    let mut result = Ok(0);
    for i in 0..out.len() {
        let next = draft.logits(0).and_then(|logits| sampler.sample(&logits[..logits.len().min(vocab)]));
        match next {
            Ok(id) if (id as usize) < known => {
                sampler.accept(id);
                out[i] = id;
                result = Ok(i + 1);
            }
            Ok(_) => break,
            Err(e) => {
                result = Err(e);
                break;
            }
        }
        if i + 1 < out.len()
            && let Err(e) = draft.append(seq, &[out[i]])
        {
            result = Err(e);
            break;
        }
    }
    sampler.rewind(mark);
    result
}

/// `Shape` unless the shorter vocabulary is the beginning of the longer one.
pub(super) fn check_vocabularies(model: &Model, draft: &Model) -> Result<()> {
    let (Some(a), Some(b)) = (&model.gguf, &draft.gguf) else {
        fail!(Shape, "the model or the draft was built by hand: their vocabularies cannot be compared")
    };
    let key = "tokenizer.ggml.tokens";
    let (Some(Value::Array(x)), Some(Value::Array(y))) = (a.get(key), b.get(key)) else {
        fail!(Shape, "{} or {} has no vocabulary, so the one cannot be a draft of the other", a.name(), b.name())
    };
    let (mut x, mut y) = (x.strings().into_iter().flatten(), y.strings().into_iter().flatten());
    if let Some(i) = x.by_ref().zip(y.by_ref()).position(|(x, y)| x != y) {
        fail!(
            Shape,
            "{} cannot be a draft of {}: their vocabularies differ at token {i}: use models of one family",
            b.name(),
            a.name()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(text: &[u32], n: usize) -> Vec<u32> {
        let mut out = [0; 8];
        let (last, text) = text.split_last().unwrap();
        let n = lookup(text, *last, &mut out[..n]);
        out[..n].to_vec()
    }

    #[test]
    fn the_longest_and_then_the_latest_end_is_continued() {
        assert_eq!(guess(&[1, 2, 3, 4, 5, 9, 1, 2, 3], 2), [4, 5]);
        assert_eq!(guess(&[1, 2, 3, 4, 7, 2, 3, 5, 1, 2, 3], 1), [4], "the longest");
        assert_eq!(guess(&[1, 2, 3, 4, 7, 1, 2, 3, 5, 1, 2, 3], 1), [5], "the latest");
        assert_eq!(guess(&[1, 2, 3, 4, 9, 2, 3], 2), [0; 0], "two may be chance");
        assert_eq!(guess(&[1, 2, 3], 2), [0; 0]);
        assert_eq!(guess(&[5], 2), [0; 0]);
    }

    #[test]
    fn a_circle_is_followed() {
        assert_eq!(guess(&[7, 1, 2, 1, 2, 1, 2], 7), [1, 2, 1, 2, 1, 2, 1]);
        assert_eq!(guess(&[4, 4, 4, 4], 5), [4, 4, 4, 4, 4]);
    }

    #[test]
    fn guesses_grow_with_success_and_end_with_failure() {
        let mut credit = Credit::new();
        for _ in 0..6 {
            let n = credit.rows().min(15);
            credit.settle(n, n);
        }
        assert_eq!(credit.rows(), MAX_AHEAD);
        let mut wasted = 0;
        for _ in 0..1000 {
            let n = credit.rows().min(15);
            credit.settle(n, 0);
            credit.earn();
            wasted += n;
        }
        assert!(wasted <= MAX_AHEAD + 1000 / 16 + 1, "{wasted}");
    }
}
