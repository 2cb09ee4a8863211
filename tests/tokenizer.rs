//! Tokenizers over vocabularies made here: what becomes of a text is worked out by hand.

mod common;

use common::limits::check;
use common::vocab::{BYTE, CONTROL, NORMAL, PLAIN, SPECIAL, USER, Vocab, decode, encode, gguf, letter, tokenizer};
use qorus::Code;
use qorus::tokenizer::{Decoder, Encode, Tokenizer};

const BOS: Encode = Encode { bos: true, special: false };

fn words_spm() -> Vocab {
    let mut v = Vocab::spm();
    v.pieces(&["▁hello", "▁h", "el", "lo", "h", "e", "l", "o", "▁", "▁▁"]);
    v
}

#[test]
fn spm_merges_by_score() {
    let v = words_spm();
    let t = v.open();
    let ids = |pieces: &[&str]| -> Vec<u32> { pieces.iter().map(|p| v.id(p)).collect() };
    // "▁h" is better than "el", which is better than "lo"; no two of them join, so the best token of all is not reached.
    assert_eq!(encode(&t, "hello", PLAIN), ids(&["▁h", "el", "lo"]));
    assert_eq!(encode(&t, "hello hello", PLAIN), ids(&["▁h", "el", "lo", "▁h", "el", "lo"]));
    assert!(encode(&t, "", PLAIN).is_empty());
    // Three spaces, and the one before the text: "▁▁" twice, from the left.
    assert_eq!(encode(&t, "   ", PLAIN), ids(&["▁▁", "▁▁"]));
    // No token for é: its bytes.
    assert_eq!(encode(&t, "é", PLAIN), ids(&["▁", "<0xC3>", "<0xA9>"]));
    assert_eq!(encode(&t, "hello", BOS), [&[1], &ids(&["▁h", "el", "lo"])[..]].concat());
    // Special text is text, or a token, behind which a space goes again.
    assert_eq!(encode(&t, "h</s>h", SPECIAL), ids(&["▁h", "</s>", "▁h"]));
    assert_ne!(encode(&t, "h</s>h", PLAIN), encode(&t, "h</s>h", SPECIAL));
    for text in ["hello hello", "  x é 🦙\n", " ", "h</s>h", "▁"] {
        let ids = encode(&t, text, BOS);
        assert_eq!(decode(&t, &ids, false), if text == "▁" { " " } else { text });
    }
}

#[test]
fn spm_without_prefix_and_with_eos() {
    let v = words_spm();
    let mut w = v.writer();
    w.put("tokenizer.ggml.add_space_prefix", false).unwrap();
    w.put("tokenizer.ggml.add_eos_token", true).unwrap().put("tokenizer.ggml.add_bos_token", false).unwrap();
    let t = tokenizer(w).unwrap();
    assert_eq!(encode(&t, "h", BOS), [v.id("h"), 2]);
    assert_eq!(decode(&t, &encode(&t, " h", PLAIN), false), " h");
    assert_eq!((t.adds_bos(), t.adds_eos(), t.bos(), t.eos(), t.is_end(2)), (false, true, Some(1), Some(2), true));
}

#[test]
fn words_are_split_only_where_no_token_reaches() {
    // A token reaches over "a▁", so "a b" must not be split there.
    let mut v = Vocab::spm();
    v.pieces(&["a▁b", "a▁", "▁", "a", "b", "▁a"]);
    assert_eq!(encode(&v.open(), "a b a b", PLAIN), [v.id("▁"), v.id("a▁b"), v.id("▁"), v.id("a▁b")]);
}

#[test]
fn bpe_merges_by_rank_inside_words() {
    let mut v = Vocab::bpe("gpt-2");
    v.merges(&["a b", "b c", "ab c", "Ġ ab", "c c"]);
    let t = v.open();
    let ids = |pieces: &[&str]| -> Vec<u32> { pieces.iter().map(|p| v.id(p)).collect() };
    assert_eq!(encode(&t, "abc", PLAIN), ids(&["abc"]));
    assert_eq!(encode(&t, "bcc", PLAIN), ids(&["bc", "c"]));
    assert_eq!(encode(&t, "cc ab", PLAIN), ids(&["cc", "Ġab"]));
    // "ab c" comes before "Ġ ab".
    assert_eq!(encode(&t, "x abc", PLAIN), ids(&["x", "Ġ", "abc"]));
    // Merges do not cross words: two spaces leave the first alone.
    assert_eq!(encode(&t, "a  ab", PLAIN), ids(&["a", "Ġ", "Ġab"]));
    for text in ["a é\u{0}\u{7f}\u{ad}🦙 \r\n\t", "Ġ", "\u{100}ÿ"] {
        let ids = encode(&t, text, PLAIN);
        assert_eq!(ids.len(), text.len());
        assert_eq!(decode(&t, &ids, false), text);
    }
    for b in 0..=255u8 {
        let mut piece = [0; 1];
        assert_eq!((t.piece(v.id(&letter(b).to_string()), false, &mut piece).unwrap(), piece), (1, [b]));
    }
}

#[test]
fn whole_words_win_where_the_name_says_so() {
    // No merges lead to "abc".
    for (pre, whole) in [("llama-bpe", true), ("qwen2", false)] {
        let mut v = Vocab::bpe(pre);
        v.merges(&["b c"]).token("abc", NORMAL);
        let expected = if whole { vec![v.id("abc")] } else { vec![v.id("a"), v.id("bc")] };
        assert_eq!(encode(&v.open(), "abc", PLAIN), expected, "{pre}");
    }
}

#[test]
fn merges_of_what_is_no_token_are_never_matched() {
    let mut v = Vocab::bpe("gpt-2");
    // "ab" is no token, so neither is "ab c" a merge; "zz" names a merge twice, the first counts.
    v.merges.extend(["a b", "ab c", "nothing here", "nospace", "", " ", "b c"].map(String::from));
    v.token("abc", NORMAL).token("bc", NORMAL);
    assert_eq!(encode(&v.open(), "abc", PLAIN), [v.id("a"), v.id("bc")]);
}

#[test]
fn raw_bpe_takes_lines_and_bytes() {
    let mut v = Vocab::raw();
    v.token("a", NORMAL).token("▁", NORMAL).token("\n", NORMAL).token("\n\n", NORMAL).token("\n\n\n", NORMAL);
    v.merges(&["▁ a", "a a"]);
    let t = v.open();
    let ids = |pieces: &[&str]| -> Vec<u32> { pieces.iter().map(|p| v.id(p)).collect() };
    assert_eq!(encode(&t, "a aa\n\n\naé", PLAIN), ids(&["a", "▁a", "a", "\n\n\n", "a", "<0xC3>", "<0xA9>"]));
    assert_eq!(decode(&t, &encode(&t, " a\n\né", PLAIN), false), " a\n\né");
    assert!(!t.adds_bos(), "there is no BOS to add");
}

#[test]
fn special_tokens() {
    let mut v = Vocab::bpe("qwen2");
    v.token("<|im_end|>", CONTROL).token("<tool>", USER).token("<too", USER).token("l>>", USER).token("<a", CONTROL);
    let t = v.open();
    let (end, tool, l, a) = (v.id("<|im_end|>"), v.id("<tool>"), v.id("l>>"), v.id("<a"));
    assert_eq!(encode(&t, "x<|im_end|>y<tool>", SPECIAL), [v.id("x"), end, v.id("y"), tool]);
    // In plain text user-defined tokens are read, control tokens not.
    let plain = encode(&t, "<|im_end|><tool>", PLAIN);
    assert_eq!((plain.len(), plain.last()), (11, Some(&tool)));
    // The longest goes first, wherever it begins; of "<tool>>" that leaves ">".
    assert_eq!(encode(&t, "<tool>>", PLAIN), [tool, v.id(">")]);
    assert_eq!(encode(&t, "<tol>><a", SPECIAL), [v.id("<"), v.id("t"), v.id("o"), l, a]);
    // Control tokens have no text unless asked for; user-defined ones always have.
    assert_eq!(decode(&t, &[end, tool, a], false), "<tool>");
    assert_eq!(decode(&t, &[end, tool, a], true), "<|im_end|><tool><a");
    assert_eq!((t.is_end(end), t.is_end(tool), t.ends()), (true, false, &[end][..]));
    assert_eq!((t.find_special("<tool>"), t.find_special("<to"), t.raw(tool)), (Some(tool), None, &b"<tool>"[..]));
}

#[test]
fn types_are_corrected_by_text() {
    let mut v = Vocab::bpe("gpt-4o");
    for name in ["<|end|>", "<|return|>", "<|call|>", "<|start|>", "<|endoftext|>"] {
        v.token(name, NORMAL);
    }
    let t = v.open();
    // With call and return, "<|end|>" ends but a part of a message, and is shown as "<|start|>" is.
    assert!(!t.is_end(v.id("<|end|>")) && t.is_end(v.id("<|return|>")) && t.is_end(v.id("<|endoftext|>")));
    let all = encode(&t, "<|start|><|end|><|return|>", SPECIAL);
    assert_eq!(all, [v.id("<|start|>"), v.id("<|end|>"), v.id("<|return|>")]);
    assert_eq!(decode(&t, &all, false), "<|start|><|end|>");
}

#[test]
fn phi3_strips_white_space_behind_special_tokens() {
    let mut v = Vocab::spm();
    v.token("<|user|>", CONTROL).token("a", NORMAL).token("▁", NORMAL);
    let mut w = v.writer();
    w.put("general.name", "Phi-3 mini").unwrap();
    let t = tokenizer(w).unwrap();
    let (user, a, space) = (v.id("<|user|>"), v.id("a"), v.id("▁"));
    assert_eq!(encode(&t, "<|user|> \n\ta<s> a", SPECIAL), [user, space, a, 1, space, space, a]);
}

#[test]
fn streams_whole_characters() {
    let v = Vocab::bpe("gpt-2");
    let t = v.open();
    let stream = |bytes: &[u8]| -> Vec<String> {
        let mut decoder = Decoder::new();
        let mut out = [0; 8];
        let mut parts: Vec<String> = bytes
            .iter()
            .map(|&b| {
                let n = decoder.push(&t, v.id(&letter(b).to_string()), false, &mut out).unwrap();
                String::from_utf8(out[..n].to_vec()).unwrap()
            })
            .collect();
        let n = decoder.finish(&mut out).unwrap();
        parts.push(String::from_utf8(out[..n].to_vec()).unwrap());
        parts
    };
    assert_eq!(stream("aé🦙".as_bytes()), ["a", "", "é", "", "", "", "🦙", ""]);
    assert_eq!(stream(b"\xc3a\xff"), ["", "\u{fffd}a", "\u{fffd}", ""]);
    assert_eq!(stream(b"\xf0\x9f\xa6"), ["", "", "", "\u{fffd}"]);
    assert_eq!(stream(b"\xe2\xe2\x82\xac"), ["", "\u{fffd}", "", "€", ""]);
    for bytes in [&b"\xf0\x9fz\xc3\xa9\xed\xa0\x80\xc0\x80"[..], b"\xf4\x90\x80\x80", b"\x80\xf8"] {
        assert_eq!(stream(bytes).concat(), String::from_utf8_lossy(bytes), "{bytes:x?}");
    }

    // A buffer that is too small changes nothing.
    let mut decoder = Decoder::new();
    let a = v.id("a");
    let error = decoder.push(&t, a, false, &mut []).unwrap_err();
    assert_eq!(error.code(), Code::BufferTooSmall);
    assert_eq!(decoder.push(&t, a, false, &mut [0]).unwrap(), 1);
}

#[test]
fn a_continuation_keeps_its_space() {
    let v = words_spm();
    let t = v.open();
    let mut out = [0; 8];
    let h = v.id("▁h");
    assert_eq!(Decoder::new().push(&t, h, false, &mut out).unwrap(), 1);
    assert_eq!(Decoder::continuing().push(&t, h, false, &mut out).unwrap(), 2);
    let mut decoder = Decoder::new();
    // BOS has no text, so the text still starts behind it; one space of two goes.
    assert_eq!(decoder.push(&t, 1, false, &mut out).unwrap(), 0);
    assert_eq!(decoder.push(&t, v.id("▁▁"), false, &mut out).unwrap(), 1);
}

#[test]
fn bad_calls() {
    let v = Vocab::bpe("gpt-2");
    let t = v.open();
    let error = t.encode("abc", PLAIN, &mut [0; 2]).unwrap_err();
    check(&error, Code::BufferTooSmall, "", &["3 tokens", "room for 2"]);
    for id in [256, u32::MAX] {
        let error = t.piece(id, true, &mut [0; 8]).unwrap_err();
        check(&error, Code::InvalidArgument, "", &[&id.to_string(), "256"]);
        assert_eq!((t.is_end(id), t.raw(id)), (false, &b""[..]));
    }
    check(&t.piece(0, true, &mut []).unwrap_err(), Code::BufferTooSmall, "", &["token 0 has 1 bytes"]);
    check(&t.decode(&[65, 66], true, &mut [0]).unwrap_err(), Code::BufferTooSmall, "", &["2 bytes", "buffer 1"]);
}

#[test]
fn bad_vocabularies() {
    let refused = |change: &dyn Fn(&mut qorus::gguf::Writer), code, words: &[&str]| {
        let mut w = Vocab::bpe("gpt-2").writer();
        change(&mut w);
        let file = gguf(w);
        check(&Tokenizer::plan(&file).unwrap_err(), code, "memory: ", words);
        check(&Tokenizer::new(file).err().unwrap(), code, "memory: ", words);
    };
    let model = "tokenizer.ggml.model";
    refused(
        &|w| {
            w.put(model, "bert").unwrap();
        },
        Code::Unsupported,
        &["\"bert\""],
    );
    refused(
        &|w| {
            w.put(model, 7u32).unwrap();
        },
        Code::Format,
        &[model],
    );
    refused(
        &|w| {
            w.put("tokenizer.ggml.pre", "klingon").unwrap();
        },
        Code::Unsupported,
        &["\"klingon\""],
    );
    refused(
        &|w| {
            w.put("tokenizer.ggml.scores", &[1f32; 255][..]).unwrap();
        },
        Code::Format,
        &["255", "256"],
    );
    refused(
        &|w| {
            w.put("tokenizer.ggml.scores", &[1u8; 256][..]).unwrap();
        },
        Code::Format,
        &["uint8", "float32"],
    );
    refused(
        &|w| {
            w.put("tokenizer.ggml.token_type", &[1i32; 257][..]).unwrap();
        },
        Code::Format,
        &["257", "256"],
    );
    refused(
        &|w| {
            w.put("tokenizer.ggml.merges", &[1i32; 2][..]).unwrap();
        },
        Code::Format,
        &["merges", "strings"],
    );
    refused(
        &|w| {
            w.put("tokenizer.ggml.tokens", "x").unwrap();
        },
        Code::Format,
        &["tokens"],
    );
    refused(
        &|w| {
            w.put_strings("tokenizer.ggml.tokens", [""; 0]).unwrap();
        },
        Code::Format,
        &["tokens", "empty"],
    );
    refused(
        &|w| {
            w.put("tokenizer.ggml.bos_token_id", "x").unwrap();
        },
        Code::Format,
        &["bos_token_id"],
    );
    refused(
        &|w| {
            w.put("tokenizer.ggml.add_bos_token", 1u32).unwrap();
        },
        Code::Format,
        &["add_bos_token", "bool"],
    );

    let empty = gguf(qorus::gguf::Writer::new());
    check(&Tokenizer::new(empty).err().unwrap(), Code::NotFound, "memory: ", &["no tokenizer"]);
}

#[test]
fn special_ids_outside_the_vocabulary_are_ignored() {
    let mut w = Vocab::bpe("gpt-2").writer();
    w.put("tokenizer.ggml.bos_token_id", 256u32).unwrap().put("tokenizer.ggml.eos_token_id", 255u32).unwrap();
    w.put("tokenizer.ggml.padding_token_id", -1i32).unwrap().put("tokenizer.ggml.add_bos_token", true).unwrap();
    let t = tokenizer(w).unwrap();
    assert_eq!((t.bos(), t.eos(), t.adds_bos()), (None, Some(255), false));
    let ignored: Vec<_> = t.ignored().collect();
    assert_eq!(ignored, [("tokenizer.ggml.bos_token_id", 256), ("tokenizer.ggml.padding_token_id", -1)]);
    assert_eq!(encode(&t, "a", BOS), encode(&t, "a", PLAIN));
}

#[test]
fn strange_tokens_do_no_harm() {
    // Empty, repeated, not UTF-8, half a byte's name: none of them is reached, all of them decode to something.
    let mut v = Vocab::spm();
    v.token("", NORMAL)
        .token("", CONTROL)
        .token("a", NORMAL)
        .token("a", NORMAL)
        .token("<0xZZ>", BYTE)
        .token("<0x4", BYTE);
    let mut w = v.writer();
    let mut tokens: Vec<Vec<u8>> = v.tokens.iter().map(|t| t.0.clone().into_bytes()).collect();
    tokens[5] = vec![0xff, 0xfe];
    w.put_strings("tokenizer.ggml.tokens", &tokens).unwrap();
    let t = tokenizer(w).unwrap();
    assert_eq!(encode(&t, "a", SPECIAL).last(), Some(&v.id("a")));
    for id in 0..t.vocab_len() as u32 {
        t.piece(id, true, &mut [0; 16]).unwrap();
    }
}

#[test]
fn pre_tokenizers() {
    // Merges of every stretch of the text make each word one token, so the tokens show the split.
    let text = "Don't STOP é1234 x's\n\n  A/B!! ";
    for (pre, expected) in [
        ("gpt-2", "Don|'t| STOP| é|1234| x|'s|\n\n | A|/|B|!!| "),
        ("llama-bpe", "Don|'t| STOP| é|123|4| x|'s|\n\n| | A|/B|!!| "),
        ("qwen2", "Don|'t| STOP| é|1|2|3|4| x|'s|\n\n| | A|/B|!!| "),
        ("gpt-4o", "Don't| STOP| é|123|4| x's|\n\n| | A|/B|!!| "),
        ("tekken", "Don|'t| STOP| é|1|2|3|4| x|'s|\n\n| | A|/B|!!| "),
        ("smollm", "Don|'t| STOP| é|1|2|3|4| x|'s|\n\n | A|/|B|!!| "),
        ("falcon", "Don|'|t| STOP| é|123|4| x|'|s|\n\n | A|/|B|!!| "),
        ("deepseek-llm", "Don|'|t| STOP| é|1234| x|'|s|\n|\n| | A|/|B|!!| "),
        ("deepseek-coder", "Don|'|t| STOP| é|1|2|3|4| x|'|s|\n|\n| | A|/|B|!!| "),
        ("deepseek-v3", "Don|'t| STOP| é|123|4| x|'s|\n\n| | A|/B|!!| "),
    ] {
        let words: Vec<&str> = expected.split('|').collect();
        assert_eq!(words.concat(), text, "{pre}");
        let mut v = Vocab::bpe(pre);
        // Chains of merges that build every stretch of the text from its left end.
        let bytes: Vec<char> = text.bytes().map(letter).collect();
        for from in 0..bytes.len() {
            for to in from + 2..=bytes.len() {
                let left: String = bytes[from..to - 1].iter().collect();
                v.merges(&[&format!("{left} {}", bytes[to - 1])]);
            }
        }
        let t = v.open();
        let found: Vec<String> = encode(&t, text, PLAIN).iter().map(|&id| decode_raw(&t, id)).collect();
        assert_eq!(found, words, "{pre}");
    }
}

fn decode_raw(t: &Tokenizer, id: u32) -> String {
    let mut out = [0; 64];
    let n = t.piece(id, false, &mut out).unwrap();
    String::from_utf8_lossy(&out[..n]).into_owned()
}
