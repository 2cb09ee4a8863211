//! What tokenizers promise of memory and time: what is reserved is planned, nothing is allocated after set-up, and the
//! time grows with the text and hardly faster.

mod common;

use std::sync::Arc;

use common::limits::{bytes_kept, within_limits, without_allocating};
use common::vocab::{CONTROL, NORMAL, SPECIAL, USER, Vocab, gguf};
use qorus::tokenizer::{Decoder, Encode, PIECE_BYTES, Tokenizer};

fn vocabularies() -> Vec<Vocab> {
    let mut spm = Vocab::spm();
    spm.pieces(&["▁", "a", "▁a", "aa", "aaaa", "▁▁"]);
    let mut raw = Vocab::raw();
    raw.token("▁", NORMAL).token("a", NORMAL).merges(&["a a", "▁ a", "aa aa"]);
    let mut all = vec![spm, raw];
    for pre in ["default", "llama-bpe", "gpt-4o", "gpt-2", "falcon", "deepseek-llm", "deepseek-coder", "deepseek-v3"] {
        let mut bpe = Vocab::bpe(pre);
        bpe.merges(&["a a", "Ġ a", "aa aa", "aaaa aaaa", "Ġ Ġ", "ĠĠ ĠĠ"]);
        all.push(bpe);
    }
    for v in &mut all {
        v.token("<|im_end|>", CONTROL).token("<a>", USER).token("<a><b>", USER);
    }
    all
}

#[test]
fn what_is_reserved_is_planned() {
    for v in vocabularies() {
        let file = gguf(v.writer());
        let plan = Tokenizer::plan(&file).unwrap();
        let (tokenizer, kept) = bytes_kept(|| Tokenizer::new(Arc::clone(&file)).unwrap());
        assert_eq!((tokenizer.reserved(), kept), (plan, plan));
        tokenizer.is_end(0); // fills the index
        assert_eq!(tokenizer.reserved(), plan);
    }
}

#[test]
fn nothing_is_allocated_after_set_up() {
    let long = "a".repeat(PIECE_BYTES - 1); // the space before it is part of the word
    let text = format!("{long} aaa <a><b>\n\n  é🦙 1234 don't <|im_end|> {long} ").repeat(20);
    for v in vocabularies() {
        let tokenizer = Tokenizer::new(gguf(v.writer())).unwrap();
        let mut ids = vec![0; text.len() * 2];
        let mut out = vec![0; 64];
        without_allocating(|| {
            for how in [SPECIAL, Encode { bos: true, special: false }] {
                let n = tokenizer.encode(&text, how, &mut ids).unwrap();
                let mut decoder = Decoder::new();
                for &id in &ids[..n] {
                    decoder.push(&tokenizer, id, true, &mut out).unwrap();
                }
                decoder.finish(&mut out).unwrap();
            }
        });
    }
}

#[test]
fn time_is_near_linear() {
    for v in vocabularies() {
        let tokenizer = Tokenizer::new(gguf(v.writer())).unwrap();
        let mut ids = vec![0; 100_000];
        for unit in ["a", " ", "\n", "é", "<", "<a><b", " a", "1", "'", "éA", "\r \n", "一", ".", "A"] {
            let text = unit.repeat(30_000 / unit.len());
            within_limits(|| tokenizer.encode(&text, SPECIAL, &mut ids).unwrap());
        }
    }
}
