//! Training data: what of a source becomes ids that count, files of ids that are stale or damaged, and batches that come again
//! from any position.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use common::dir::Dir;
use common::limits::{peak, without_allocating};
use common::vocab::{CONTROL, PLAIN, SPECIAL, Vocab, encode, gguf};
use qorus::gguf::Gguf;
use qorus::tokenizer::Tokenizer;
use qorus::train::data::{
    Batch, BatchParams, Batches, Fill, Filled, IGNORED, Ids, Part, Place, Position, Source, Split, prepare,
};
use qorus::{Code, Result};

/// The bytes, a few merges, ChatML's marks, and `<|end|>` as EOS.
fn vocabulary() -> (Arc<Gguf>, Tokenizer) {
    let mut v = Vocab::bpe("gpt-2");
    v.merges(&["h e", "l l", "he ll", "hell o", "Ġ w"]);
    v.token("<|im_start|>", CONTROL).token("<|im_end|>", CONTROL).token("<|end|>", CONTROL);
    let mut w = v.writer();
    w.put("tokenizer.chat_template", "chatml").unwrap();
    w.put("tokenizer.ggml.eos_token_id", v.id("<|end|>")).unwrap();
    let file = gguf(w);
    (file.clone(), Tokenizer::new(file).unwrap())
}

fn make(source: &Source, to: &Path) -> Result<Ids> {
    let (file, tokenizer) = vocabulary();
    prepare(source, &file, &tokenizer, to, &mut |_, _| true)
}

/// The ids of a sample, and those that count.
fn sample(ids: &Ids, no: u64) -> (Vec<u32>, Vec<bool>) {
    let s = ids.sample(no).unwrap();
    (s.start..s.start + s.len).map(|at| ids.token(at).unwrap()).unzip()
}

fn lines(dir: &Dir, text: &str) -> Source {
    Source::jsonl([dir.file("set.jsonl", text.as_bytes())])
}

#[test]
fn text_is_one_sample_however_it_is_read() {
    let dir = Dir::new("text");
    let (_, tokenizer) = vocabulary();
    // Longer than a stretch, with lines and without, and characters of several bytes at every offset.
    for (name, unit) in [("lines", "hello world, hello\n\nÄrger 一二三\n"), ("words", "hello w一 "), ("run", "x一ä")]
    {
        let text = unit.repeat((5 << 19) / unit.len());
        let ids = make(&Source::text([dir.file(name, text.as_bytes())]), &dir.0.join("ids")).unwrap();
        let mut expected = encode(&tokenizer, &text, PLAIN);
        expected.push(tokenizer.eos().unwrap());
        let (found, counts) = sample(&ids, 0);
        assert!(found == expected, "{name}: {} ids, expected {}", found.len(), expected.len());
        assert!(ids.samples() == 1 && counts.iter().all(|c| *c));
        ids.verify().unwrap();
    }
    let mut bare = Source::text([dir.file("a", b"\xef\xbb\xbfhello"), dir.file("empty", b""), dir.file("b", b" w")]);
    bare.end = false;
    let ids = make(&bare, &dir.0.join("ids")).unwrap();
    assert_eq!(ids.samples(), 2);
    assert_eq!(sample(&ids, 0).0, encode(&tokenizer, "hello", PLAIN));
    assert_eq!(sample(&ids, 1).0, encode(&tokenizer, " w", PLAIN));
    let left: Vec<_> = std::fs::read_dir(&dir.0).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|n| n.to_string_lossy().contains("tmp")), "{left:?}");
}

#[test]
fn the_answer_alone_counts() {
    let dir = Dir::new("answers");
    let (_, tokenizer) = vocabulary();
    let source = lines(
        &dir,
        concat!(
            "{\"text\": \"hello\\nhello\", \"id\": 7}\r\n\n",
            "{\"prompt\": \"he\", \"completion\": \"llo w\"}\n",
            "{\"messages\": [{\"role\": \"user\", \"content\": \"hello\"}, {\"role\": \"assistant\", \"content\": \"w\"}, ",
            "{\"role\": \"user\", \"content\": \"w\"}, {\"role\": \"assistant\", \"content\": \"hello\"}, ",
            "{\"role\": \"user\", \"content\": \"bye\"}]}",
        ),
    );
    let ids = make(&source, &dir.0.join("ids")).unwrap();
    assert_eq!(ids.samples(), 3);
    let eos = tokenizer.eos().unwrap();
    let ended = |text: &str| [encode(&tokenizer, text, PLAIN), vec![eos]].concat();
    assert_eq!(sample(&ids, 0), (ended("hello\nhello"), vec![true; 4]));
    // "hello" is one token over the seam: it is what the model is to answer with.
    let (found, counts) = sample(&ids, 1);
    assert_eq!(found, ended("hello w"));
    assert!(counts.iter().all(|c| *c));
    let text = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\nw<|im_end|>\n\
                <|im_start|>user\nw<|im_end|>\n<|im_start|>assistant\nhello<|im_end|>\n";
    let (found, counts) = sample(&ids, 2);
    assert_eq!(found, encode(&tokenizer, text, SPECIAL));
    let learned: Vec<u32> = found.iter().zip(&counts).filter(|(_, c)| **c).map(|(id, _)| *id).collect();
    assert_eq!(learned, encode(&tokenizer, "w<|im_end|>\nhello<|im_end|>\n", SPECIAL));
    assert_eq!(ids.sample(2).unwrap().counted as usize, learned.len());
}

#[test]
fn bad_lines_are_named() {
    let dir = Dir::new("bad-lines");
    let good = "{\"text\": \"hello\"}\n";
    for (line, code, words) in [
        ("{\"text\": \"hello\"", Code::Format, "is no JSON"),
        ("\"hello\"", Code::Format, "is a string, expected an object"),
        ("{\"txt\": \"hello\"}", Code::Format, "[\"txt\"]"),
        ("{\"text\": 7}", Code::Format, "the key \"text\" is a number, expected a string"),
        ("{\"prompt\": \"hello\"}", Code::Format, "has no key \"completion\""),
        ("{\"text\": \"a\", \"messages\": []}", Code::Format, "more than one"),
        ("{\"messages\": {}}", Code::Format, "\"messages\" is an object, expected a list"),
        ("{\"messages\": [7]}", Code::Format, "message 0 is a number"),
        ("{\"messages\": [{\"role\": \"user\"}]}", Code::Format, "message 0: has no key \"content\""),
        ("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}", Code::Format, "nothing to learn"),
        ("{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\"}]}", Code::Format, "begins with another role"),
    ] {
        let source = lines(&dir, &format!("{good}\n{line}\n{good}"));
        let e = make(&source, &dir.0.join("ids")).err().unwrap();
        assert_eq!(e.code(), code, "{line}: {e}");
        assert!(e.message().contains("set.jsonl:3: ") && e.message().contains(words), "{line}: {e}");
        assert!(!dir.0.join("ids").exists());
    }
    let mut source = lines(&dir, &format!("{good}{{\"text\": \"{}\"}}", "x".repeat(1000)));
    source.max_line = 1000;
    let e = make(&source, &dir.0.join("ids")).err().unwrap();
    assert!(e.message().contains("set.jsonl:2: the line has"), "{e}");
    let e = make(&lines(&dir, "\n \n"), &dir.0.join("ids")).err().unwrap();
    assert!(e.code() == Code::Format && e.message().contains("has no samples"), "{e}");
    let e = make(&Source::text([dir.file("latin", b"hello\nm\xfcll")]), &dir.0.join("ids")).err().unwrap();
    assert!(e.code() == Code::Format && e.message().contains("byte 7 is no UTF-8"), "{e}");
    let missing = make(&Source::text([dir.0.join("none")]), &dir.0.join("ids")).err().unwrap();
    assert_eq!(missing.code(), Code::NotFound);
    let none = make(&Source::text([] as [&str; 0]), &dir.0.join("ids")).err().unwrap();
    assert_eq!(none.code(), Code::InvalidArgument);
}

#[test]
fn a_stale_file_is_made_anew_and_a_fresh_one_kept() {
    let dir = Dir::new("stale");
    let to = dir.0.join("ids");
    let made = |to: &Path| std::fs::metadata(to).unwrap().modified().unwrap();
    let ids = make(&lines(&dir, "{\"text\": \"hello\"}"), &to).unwrap();
    let first = made(&to);
    make(&lines(&dir, "{\"text\": \"hello\"}"), &to).unwrap();
    assert_eq!(made(&to), first);
    make(&lines(&dir, "{\"text\": \"jello\"}"), &to).unwrap();
    assert_ne!(made(&to), first);
    assert_eq!(ids.check_unchanged().unwrap_err().code(), Code::FileChanged);
    // Another vocabulary.
    let mut v = Vocab::bpe("gpt-2");
    v.merges(&["j e"]);
    let file = gguf(v.writer());
    let tokenizer = Tokenizer::new(file.clone()).unwrap();
    let before = made(&to);
    prepare(&lines(&dir, "{\"text\": \"jello\"}"), &file, &tokenizer, &to, &mut |_, _| true).unwrap();
    assert_ne!(made(&to), before);
    // A file of someone else is not replaced, a source not written over, and a cancelled call leaves what there is.
    let other = dir.file("notes", b"my own notes, and more of them than a header has bytes".repeat(4).as_slice());
    let e = make(&lines(&dir, "{\"text\": \"hello\"}"), &other).err().unwrap();
    assert_eq!(e.code(), Code::Format);
    let source = lines(&dir, "{\"text\": \"hello\"}");
    assert_eq!(make(&source, &dir.0.join("set.jsonl")).err().unwrap().code(), Code::InvalidArgument);
    let e = prepare(&source, &file, &tokenizer, &to, &mut |_, _| false).err().unwrap();
    assert_eq!(e.code(), Code::Cancelled);
    Ids::open(&to).unwrap();
}

#[test]
fn a_damaged_file_is_refused() {
    let dir = Dir::new("damaged");
    let to = dir.0.join("ids");
    make(&lines(&dir, &"{\"text\": \"hello w\"}\n".repeat(5)), &to).unwrap();
    let good = std::fs::read(&to).unwrap();
    for len in 0..good.len() {
        dir.file("cut", &good[..len]);
        assert_eq!(Ids::open(&dir.0.join("cut")).err().unwrap().code(), Code::Format, "{len}");
    }
    for at in (0..good.len()).filter(|at| !(64..128).contains(at)) {
        let mut bad = good.clone();
        bad[at] ^= 0x41;
        let path = dir.file("flipped", &bad);
        let found = Ids::open(&path).and_then(|ids| ids.verify());
        let table = 128 + 4 * 5 * 3 + 4;
        let pad = table - 4..table;
        assert_eq!(found.is_err(), !pad.contains(&at), "byte {at}");
    }
    // What was cut short is made again.
    dir.file("ids", &good[..100]);
    make(&lines(&dir, &"{\"text\": \"hello w\"}\n".repeat(5)), &to).unwrap().verify().unwrap();
}

/// A set of samples of the given lengths, whose ids are those of bytes that tell samples apart.
fn set(dir: &Dir, lens: &[usize]) -> Arc<Ids> {
    let letters = "abcdefgijkmnopqrstuvxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut text = String::new();
    for (no, len) in lens.iter().enumerate() {
        let words: String = letters.chars().cycle().skip(no * 7).take(len - 1).collect();
        text += &format!("{{\"text\": \"{words}\"}}\n");
    }
    Arc::new(make(&lines(dir, &text), &dir.0.join("ids")).unwrap())
}

struct Memory {
    tokens: Vec<u32>,
    targets: Vec<i32>,
    places: Vec<Place>,
}

impl Memory {
    fn new(p: &BatchParams) -> Memory {
        let n = p.rows * p.row;
        Memory { tokens: vec![9; n], targets: vec![9; n], places: vec![Place::default(); n] }
    }

    fn next(&mut self, from: &mut Batches) -> Option<Filled> {
        let Memory { tokens, targets, places } = self;
        from.next(&mut Batch { tokens, targets, places }).unwrap()
    }

    /// Each segment's tokens, with the last one's target behind; padding left out.
    fn segments(&self) -> Vec<Vec<u32>> {
        let mut found: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let mut last = BTreeMap::new();
        for (i, place) in self.places.iter().enumerate() {
            if self.targets[i] == IGNORED {
                continue;
            }
            let segment = found.entry(place.seq).or_default();
            assert_eq!(place.pos as usize, segment.len(), "positions count from 0");
            if let Some(&target) = last.get(&place.seq) {
                assert_eq!(target, self.tokens[i], "a target is the next token");
            }
            segment.push(self.tokens[i]);
            last.insert(place.seq, self.targets[i] as u32);
        }
        for (seq, target) in last {
            found.get_mut(&seq).unwrap().push(target);
        }
        found.into_values().collect()
    }
}

#[test]
fn an_epoch_has_every_token_once() {
    let dir = Dir::new("epoch");
    let lens = [2, 3, 5, 8, 9, 10, 17, 40, 4, 4, 4, 7, 30];
    let ids = set(&dir, &lens);
    let pairs: usize = lens.iter().map(|l| l - 1).sum();
    for fill in [Fill::Cut, Fill::Whole, Fill::Windows] {
        for (rows, row) in [(1, 1), (1, 9), (3, 8), (2, 64)] {
            let p = BatchParams {
                repeat: false,
                shuffle: fill != Fill::Windows,
                seed: 5,
                ..BatchParams::train(rows, row, fill)
            };
            let mut batches = Batches::new(ids.clone(), &p).unwrap();
            let mut memory = Memory::new(&p);
            let (mut tokens, mut found) = (0, Vec::new());
            while let Some(filled) = memory.next(&mut batches) {
                tokens += filled.tokens;
                assert_eq!(filled.counted, memory.targets.iter().filter(|t| **t != IGNORED).count());
                let segments = memory.segments();
                assert_eq!(segments.len(), filled.segments as usize);
                found.extend(segments);
                for row in memory.places.chunks(row) {
                    assert!(row.windows(2).all(|w| w[0].seq <= w[1].seq));
                }
                for (a, b) in memory.places.iter().zip(&memory.places[row.min(rows * row - 1)..]) {
                    assert!(rows == 1 || a.seq < b.seq, "rows share no segment");
                }
            }
            let all = if fill == Fill::Windows { pairs + lens.len() - 1 } else { pairs };
            assert_eq!((tokens, batches.tokens()), (all, all as u64), "{fill:?} {rows}x{row}");
            if fill == Fill::Whole && row == 64 {
                let samples: BTreeSet<Vec<u32>> = (0..ids.samples()).map(|no| sample(&ids, no).0).collect();
                assert_eq!(found.iter().cloned().collect::<BTreeSet<_>>(), samples, "no sample is cut");
            }
        }
    }
}

#[test]
fn batches_come_again_from_every_position() {
    let dir = Dir::new("resume");
    let ids = set(&dir, &[5, 9, 30, 2, 12, 7, 7, 21, 3]);
    for fill in [Fill::Cut, Fill::Whole, Fill::Windows] {
        for split in [Split::None, Split::Tail { share: 0.3 }, Split::Hash { share: 0.4, seed: 3 }] {
            let p = BatchParams { seed: 11, split, ..BatchParams::train(2, 8, fill) };
            let mut batches = Batches::new(ids.clone(), &p).unwrap();
            let mut memory = Memory::new(&p);
            let mut seen = Vec::new();
            for _ in 0..40 {
                let at = batches.position();
                assert_eq!(Position::from_bytes(at.to_bytes()), at);
                let filled = memory.next(&mut batches).unwrap();
                assert!(filled.rows == 2, "batches that repeat are full");
                seen.push((at, filled, memory.tokens.clone(), memory.targets.clone(), memory.places.clone()));
            }
            assert!(batches.position().epoch >= 2);
            let mut other = Batches::new(ids.clone(), &p).unwrap();
            for (at, filled, tokens, targets, places) in seen.iter().rev() {
                other.seek(*at).unwrap();
                assert_eq!(memory.next(&mut other), Some(*filled));
                assert!(memory.tokens == *tokens && memory.targets == *targets && memory.places == *places);
            }
            let before = other.position();
            for bad in [(0, 1 << 40, 0), (1 << 40, 0, 0), (0, 0, 1 << 40)] {
                let bad = Position { epoch: bad.0, unit: bad.1, offset: bad.2 };
                assert_eq!(other.seek(bad).unwrap_err().code(), Code::InvalidArgument);
                assert_eq!(other.position(), before);
            }
            // Another seed, another order.
            let mut other = Batches::new(ids.clone(), &BatchParams { seed: 12, ..p }).unwrap();
            let differs = seen.iter().any(|s| memory.next(&mut other).is_some() && memory.tokens != s.2);
            assert!(differs, "{fill:?} {split:?}");
        }
    }
}

#[test]
fn a_batch_allocates_nothing() {
    let dir = Dir::new("alloc");
    let ids = set(&dir, &[5, 9, 30, 2, 12, 7, 7, 21, 3]);
    for fill in [Fill::Cut, Fill::Whole, Fill::Windows] {
        let p = BatchParams::train(2, 8, fill);
        let mut batches = Batches::new(ids.clone(), &p).unwrap();
        let mut memory = Memory::new(&p);
        let at = batches.position();
        without_allocating(|| {
            (0..50).for_each(|_| assert!(memory.next(&mut batches).is_some()));
            batches.seek(at).unwrap();
        });
    }
}

#[test]
fn preparing_takes_memory_by_the_line() {
    let dir = Dir::new("bounded");
    let line = format!("{{\"text\": \"{}\"}}\n", "hello w".repeat(20));
    let (file, tokenizer) = vocabulary();
    let most = |source: &Source| {
        let make = || prepare(source, &file, &tokenizer, &dir.0.join("ids"), &mut |_, _| true).unwrap();
        let (ids, bytes) = peak(make);
        (ids.tokens(), bytes)
    };
    most(&lines(&dir, &line.repeat(2))); // the tokenizer's index is filled at first use
    let ((few, small), (many, large)) = (most(&lines(&dir, &line)), most(&lines(&dir, &line.repeat(20_000))));
    assert!(many == 20_000 * few && large < small + 4096, "{small} bytes for a line, {large} for 20 000");
    let text = "hello world\n".repeat(1 << 19);
    let (tokens, bytes) = most(&Source::text([dir.file("text", text.as_bytes())]));
    assert!(tokens > 1 << 20 && bytes < 2 << 20, "{bytes} bytes for {tokens} tokens");
}

#[test]
fn the_split_is_stable_and_without_overlap() {
    let dir = Dir::new("split");
    let lens: Vec<usize> = (0..200).map(|i| 4 + i % 50).collect();
    let ids = set(&dir, &lens);
    for split in [Split::Hash { share: 0.2, seed: 1 }, Split::Tail { share: 0.2 }] {
        let train = BatchParams { split, repeat: false, ..BatchParams::train(4, 64, Fill::Whole) };
        let all = |p: &BatchParams, ids: &Arc<Ids>| {
            let mut batches = Batches::new(ids.clone(), p).unwrap();
            let (mut memory, mut found) = (Memory::new(p), Vec::new());
            while memory.next(&mut batches).is_some() {
                found.extend(memory.segments());
            }
            assert_eq!(found.len() as u64, batches.units());
            found.into_iter().collect::<BTreeSet<_>>()
        };
        let (learned, kept) = (all(&train, &ids), all(&train.validation(), &ids));
        assert!(learned.is_disjoint(&kept));
        assert!((20..=60).contains(&kept.len()), "{}", kept.len());
        if let Split::Hash { .. } = split {
            // More data, in another order: the old samples stay on their sides.
            let lens: Vec<usize> = (0..300).map(|i| 4 + i % 50).collect();
            let other = Dir::new("split-more");
            let more = set(&other, &lens);
            assert!(all(&train, &more).is_disjoint(&kept) && all(&train.validation(), &more).is_superset(&kept));
        }
    }
    let one = set(&dir, &[9]);
    let p = BatchParams { split: Split::Tail { share: 0.1 }, ..BatchParams::train(1, 8, Fill::Cut) };
    Batches::new(one.clone(), &p).unwrap();
    let e = Batches::new(one, &p.validation()).err().unwrap();
    assert!(e.code() == Code::Format && e.message().contains("the validation part has nothing"), "{e}");
}

#[test]
fn bad_parameters_are_errors() {
    let dir = Dir::new("params");
    let ids = set(&dir, &[9, 9]);
    let p = BatchParams::train(1, 8, Fill::Cut);
    for bad in [
        BatchParams { rows: 0, ..p },
        BatchParams { row: 0, ..p },
        BatchParams { rows: usize::MAX, ..p },
        BatchParams { pad: ids.vocab(), ..p },
        BatchParams { split: Split::Tail { share: f64::NAN }, ..p },
        BatchParams { split: Split::Hash { share: 1.5, seed: 0 }, ..p },
    ] {
        assert_eq!(Batches::new(ids.clone(), &bad).err().unwrap().code(), Code::InvalidArgument, "{bad:?}");
    }
    assert!(Batches::new(ids.clone(), &BatchParams { part: Part::Validation, ..p }).is_err());
    let mut batches = Batches::new(ids.clone(), &p).unwrap();
    let mut m = Memory::new(&BatchParams { row: 7, ..p });
    let mut short = Batch { tokens: &mut m.tokens, targets: &mut m.targets, places: &mut m.places };
    assert_eq!(batches.next(&mut short).unwrap_err().code(), Code::InvalidArgument);
    // A file that is replaced while it is read.
    let mut m = Memory::new(&p);
    m.next(&mut batches).unwrap();
    set(&dir, &[12, 4]);
    let mut batch = Batch { tokens: &mut m.tokens, targets: &mut m.targets, places: &mut m.places };
    assert_eq!(batches.next(&mut batch).unwrap_err().code(), Code::FileChanged);
}
