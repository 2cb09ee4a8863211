//! The engine's promises: the plan is what is used, several sequences do not disturb each other, state comes back to the
//! bit, a cancelled call leaves nothing behind, misuse is an error.

mod common;

use common::run::{batch, bits, open, reference};
use qorus::engine::{Context, ContextParams, Model, Pooling, Token, plan};
use qorus::{Code, Isa, Type};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const MODELS: [&str; 6] = ["llama", "llama-moe", "qwen2moe", "phi3", "gemma3", "llama-q4_0"];

fn model(name: &str, threads: usize) -> Arc<Model> {
    open(&reference(&format!("{name}.gguf")), threads, Isa::detect())
}

fn params() -> ContextParams {
    ContextParams { n_ctx: 128, n_batch: 16, n_outputs: 8, n_seqs: 3, ..ContextParams::default() }
}

/// `n` tokens that every reference model has.
fn tokens(n: usize, seed: u32) -> Vec<u32> {
    (0..n as u32).map(|i| 3 + (i * 7 + seed * 13) % 50).collect()
}

fn err<T>(result: qorus::Result<T>) -> Code {
    result.err().expect("an error").code()
}

#[test]
fn the_plan_is_the_high_water_mark() {
    for name in MODELS {
        for (n_batch, n_outputs, kv) in [(1, 1, Type::F32), (7, 3, Type::F16), (64, 64, Type::F16)] {
            for pooling in [Pooling::None, Pooling::Mean] {
                for threads in [1, 2] {
                    let model = model(name, threads);
                    let p = ContextParams { n_ctx: 96, n_batch, n_outputs, kv, pooling, ..params() };
                    let planned = plan(model.gguf.as_ref().unwrap(), &model.graph, &p, threads).unwrap();
                    let mut ctx = Context::new(&model, &p).unwrap();
                    assert_eq!(planned, ctx.reserved(), "{name}: what is planned is reserved");
                    assert!(ctx.high_water() <= planned.activations);
                    // A full batch of the planned shape, and a single row at the end of a full context.
                    let rows = n_batch.min(90);
                    let mut b = batch(&tokens(rows, 0));
                    b.iter_mut().rev().skip(n_outputs).for_each(|t| t.logits = false);
                    ctx.decode(&b).unwrap();
                    ctx.append(0, &tokens(96 - rows, 1)).unwrap();
                    ctx.truncate(0, 95).unwrap();
                    ctx.append(0, &[5]).unwrap();
                    assert_eq!(
                        ctx.high_water(),
                        planned.activations,
                        "{name} batch {n_batch} outputs {n_outputs} {pooling:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_small_budget_is_refused_with_the_need() {
    let model = model("llama", 1);
    let need = plan(model.gguf.as_ref().unwrap(), &model.graph, &params(), 1).unwrap().total_without_mapped();
    assert!(Context::new(&model, &ContextParams { budget: need, ..params() }).is_ok());
    let e = Context::new(&model, &ContextParams { budget: need - 1, ..params() }).err().unwrap();
    assert_eq!(e.code(), Code::Budget);
    assert!(e.message().contains(&need.to_string()), "{e}");
}

#[test]
fn sequences_do_not_disturb_each_other() {
    for name in MODELS {
        let model = model(name, 2);
        let texts = [tokens(20, 1), tokens(31, 2), tokens(9, 3)];
        let alone: Vec<_> = texts
            .iter()
            .map(|text| {
                let mut ctx = Context::new(&model, &params()).unwrap();
                ctx.append(0, text).unwrap();
                bits(ctx.logits(0).unwrap())
            })
            .collect();
        // All three interleaved in one batch, the last token of each wants logits.
        let mut ctx = Context::new(&model, &params()).unwrap();
        let mut all = Vec::new();
        for pos in 0..31 {
            for (seq, text) in texts.iter().enumerate() {
                if let Some(&id) = text.get(pos) {
                    all.push(Token { id, seq: seq as u32, pos: pos as u32, logits: pos + 1 == text.len() });
                }
            }
        }
        ctx.decode(&all).unwrap();
        let order: Vec<u32> = all.iter().filter(|t| t.logits).map(|t| t.seq).collect();
        for (i, seq) in order.into_iter().enumerate() {
            assert!(bits(ctx.logits(i).unwrap()) == alone[seq as usize], "{name}: sequence {seq} in a shared batch");
        }
        // A copy continues as its original.
        ctx.truncate(1, 10).unwrap();
        ctx.copy_seq(1, 2).unwrap();
        assert_eq!(ctx.len(2), 10);
        ctx.append(2, &texts[1][10..]).unwrap();
        assert!(bits(ctx.logits(0).unwrap()) == alone[1], "{name}: a copied prefix");
    }
}

/// Over several blocks of the cache: a token alone, with its successors, and with other sequences, on any number of threads.
#[test]
fn a_long_context_has_the_same_bits_however_it_is_split() {
    for name in ["llama", "gemma3", "phi3-window"] {
        let mut expected: Option<Vec<_>> = None;
        for threads in [1, 2, 3] {
            let model = model(name, threads);
            let text = tokens(200, 6);
            for (n_batch, n) in [(200, 1), (50, 1), (200, 7), (33, 20)] {
                let p = ContextParams { n_ctx: 230, n_batch, n_outputs: 20, n_seqs: 3, ..params() };
                let mut ctx = Context::new(&model, &p).unwrap();
                ctx.append(0, &text[..200 - n]).unwrap();
                ctx.append(1, &text[..70]).unwrap();
                ctx.copy_seq(0, 2).unwrap();
                let mut found = Vec::new();
                for seq in [0, 2] {
                    let token = |i: usize| Token { id: text[i], seq, pos: i as u32, logits: i == 199 };
                    let mut batch: Vec<_> = (200 - n..200).map(token).collect();
                    batch.push(Token { id: 9, seq: 1, pos: ctx.len(1) as u32, logits: false });
                    ctx.decode(&batch).unwrap();
                    found.push(bits(ctx.logits(0).unwrap()));
                }
                assert!(found[0] == found[1], "{name}: a copied sequence, {threads} threads");
                let expected = expected.get_or_insert_with(|| found.clone());
                assert!(found == *expected, "{name}: {threads} threads, parts of {n_batch}, then {n} rows");
            }
        }
    }
}

#[test]
fn saved_state_comes_back_to_the_bit() {
    for kv in [Type::F32, Type::F16] {
        let model = model("qwen3", 2);
        let p = ContextParams { kv, ..params() };
        let (text, other) = (tokens(40, 4), tokens(12, 5));
        let mut ctx = Context::new(&model, &p).unwrap();
        ctx.append(0, &text).unwrap();
        ctx.append(2, &other).unwrap();
        let mut state = vec![0; ctx.state_bytes()];
        assert_eq!(err(ctx.save(&mut state[1..])), Code::BufferTooSmall);
        assert_eq!(ctx.save(&mut state).unwrap(), state.len());
        ctx.append(2, &[9]).unwrap();
        let expected = bits(ctx.logits(0).unwrap());
        // Into a longer context too.
        for n_ctx in [128, 200] {
            let mut fresh = Context::new(&model, &ContextParams { n_ctx, ..p }).unwrap();
            fresh.restore(&state).unwrap();
            assert_eq!((fresh.len(0), fresh.len(1), fresh.len(2)), (40, 0, 12));
            fresh.append(2, &[9]).unwrap();
            assert!(bits(fresh.logits(0).unwrap()) == expected);
        }
        let mut small = Context::new(&model, &ContextParams { n_ctx: 39, ..p }).unwrap();
        assert_eq!(err(small.restore(&state)), Code::ContextFull);
        for at in (0..state.len()).step_by(97) {
            let mut bad = state.clone();
            bad[at] ^= 0x10;
            assert_eq!(err(ctx.restore(&bad)), Code::Format, "byte {at}");
            assert_eq!(err(ctx.restore(&state[..at])), Code::Format, "cut at {at}");
        }
        assert_eq!((ctx.len(0), ctx.len(2)), (40, 13), "a refused state changes nothing");
        let mut another = Context::new(&open(&reference("qwen2.gguf"), 1, Isa::Scalar), &p).unwrap();
        assert_eq!(err(another.restore(&state)), Code::Format);
    }
}

#[test]
fn a_cancelled_call_leaves_the_sequences_as_they_were() {
    let model = model("llama", 2);
    let mut ctx = Context::new(&model, &ContextParams { n_ctx: 4096, ..params() }).unwrap();
    ctx.append(0, &tokens(5, 0)).unwrap();
    let flag = Arc::clone(ctx.cancel_flag());
    let long = tokens(4000, 1);
    let mut cancelled = false;
    // The other thread races with the call, which may end first: so try again.
    for wait in 1..200 {
        let theirs = Arc::clone(&flag);
        let other = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_micros(50 * wait));
            theirs.store(true, Ordering::Relaxed);
        });
        let result = ctx.append(0, &long);
        other.join().unwrap();
        flag.store(false, Ordering::Relaxed);
        if let Err(e) = result {
            assert_eq!(e.code(), Code::Cancelled);
            assert_eq!(ctx.len(0), 5);
            cancelled = true;
            break;
        }
        ctx.truncate(0, 5).unwrap();
    }
    assert!(cancelled, "no call could be cancelled");
    flag.store(true, Ordering::Relaxed);
    assert_eq!(ctx.append(0, &[4]).unwrap_err().code(), Code::Cancelled, "a cancel between two calls is not lost");
    assert_eq!(ctx.len(0), 5);
    ctx.append(0, &[4]).unwrap();
    let after = bits(ctx.logits(0).unwrap());
    let mut fresh = Context::new(&model, &params()).unwrap();
    fresh.append(0, &[&tokens(5, 0)[..], &[4]].concat()).unwrap();
    assert!(after == bits(fresh.logits(0).unwrap()));
}

#[test]
fn embeddings_are_pooled_rows() {
    for pooling in [Pooling::Mean, Pooling::Last] {
        let model = model("qwen2", 2);
        let mut one = Context::new(&model, &ContextParams { pooling, n_batch: 32, ..params() }).unwrap();
        one.append(0, &tokens(30, 0)).unwrap();
        let mut parts = Context::new(&model, &ContextParams { pooling, n_batch: 7, ..params() }).unwrap();
        assert_eq!(err(parts.embedding(0)), Code::InvalidArgument);
        parts.append(0, &tokens(30, 0)).unwrap();
        assert_eq!(bits(one.embedding(0).unwrap()), bits(parts.embedding(0).unwrap()));
        assert_eq!(bits(one.logits(0).unwrap()), bits(parts.logits(0).unwrap()));
        assert!(one.embedding(0).unwrap().iter().any(|v| *v != 0.0));
        let mut plain = Context::new(&model, &params()).unwrap();
        plain.append(0, &tokens(30, 0)).unwrap();
        assert_eq!(bits(plain.logits(0).unwrap()), bits(one.logits(0).unwrap()), "pooling changes no logits");
        assert_eq!(err(plain.embedding(0)), Code::State);
    }
}

#[test]
fn misuse_is_an_error_and_changes_nothing() {
    let model = model("llama", 1);
    for (name, bad) in [
        ("n_ctx", ContextParams { n_ctx: u32::MAX as usize, ..params() }),
        ("n_batch", ContextParams { n_batch: 0, ..params() }),
        ("n_seqs", ContextParams { n_seqs: 0, ..params() }),
        ("n_outputs", ContextParams { n_outputs: 0, ..params() }),
        ("kv", ContextParams { kv: Type::Q4_K, ..params() }),
        ("Q8_0", ContextParams { kv: Type::Q8_0, ..params() }), // heads of 16
    ] {
        let e = Context::new(&model, &bad).err().unwrap_or_else(|| panic!("{name} was accepted"));
        assert!(
            matches!(e.code(), Code::InvalidArgument | Code::Shape | Code::Budget | Code::OutOfMemory),
            "{name}: {e}"
        );
    }
    let mut ctx = Context::new(&model, &params()).unwrap();
    ctx.append(0, &tokens(10, 0)).unwrap();
    let t = |id, seq, pos, logits| Token { id, seq, pos, logits };
    for (what, bad, code) in [
        ("token", vec![t(98, 0, 10, false)], Code::InvalidArgument),
        ("sequence", vec![t(5, 3, 0, false)], Code::InvalidArgument),
        ("gap", vec![t(5, 0, 11, false)], Code::InvalidArgument),
        ("rewrite", vec![t(5, 0, 9, false)], Code::InvalidArgument),
        ("twice", vec![t(5, 0, 10, false), t(5, 0, 10, false)], Code::InvalidArgument),
        ("end", vec![t(5, 0, 128, false)], Code::ContextFull),
        ("outputs", (0..9).map(|i| t(5, 1, i, true)).collect(), Code::InvalidArgument),
    ] {
        assert_eq!(err(ctx.decode(&bad)), code, "{what}");
        assert_eq!((ctx.len(0), ctx.len(1)), (10, 0), "{what}");
    }
    assert_eq!(err(ctx.append(0, &tokens(119, 0))), Code::ContextFull);
    assert_eq!(err(ctx.append(0, &[98])), Code::InvalidArgument);
    assert_eq!(err(ctx.append(3, &[5])), Code::InvalidArgument);
    assert_eq!(err(ctx.truncate(0, 11)), Code::InvalidArgument);
    assert_eq!(err(ctx.copy_seq(0, 3)), Code::InvalidArgument);
    assert_eq!(err(ctx.forward_rows(&[0.0; 64])), Code::Shape);
    assert_eq!(ctx.len(0), 10);
    ctx.append(0, &tokens(118, 0)).unwrap();
    assert_eq!(err(ctx.append(0, &[5])), Code::ContextFull);
}
