//! Guessing ahead changes nothing but the speed: tokens, text, log-probabilities, what hooks see, how a run ends, and
//! what it leaves in the context are those of plain decoding, to the bit. And a reused prefix gives the bits of a fresh one.

mod common;

use common::run::{bits, open, reference};
use qorus::engine::{Context, ContextParams, Generate, Hooks, Model, Outcome, Piece, Pooling, SamplerParams};
use qorus::{Code, Isa, Type};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn stories() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cli/models/stories15M-q8_0.gguf")
}

/// All that a host can see of a run.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    tokens: Vec<u32>,
    text: String,
    log_probs: Vec<u32>,
    /// A sum over the logits of each call of the hook.
    logits: Vec<u32>,
    /// After so many pieces: stop, or cancel by the flag.
    halt_after: usize,
    cancel_after: usize,
    #[allow(clippy::type_complexity)]
    end: Option<Result<Outcome, Code>>,
    len: usize,
    held: Vec<u32>,
    after: Vec<u32>,
}

struct Watch<'a>(&'a mut Seen, Arc<AtomicBool>);

impl Hooks for Watch<'_> {
    fn logits(&mut self, logits: &mut [f32]) {
        logits[7] += 0.25;
        self.0.logits.push(logits.iter().sum::<f32>().to_bits());
    }

    fn piece(&mut self, piece: Piece<'_>) -> bool {
        self.0.tokens.push(piece.token);
        self.0.text.push_str(piece.text);
        self.0.log_probs.push(piece.log_prob().to_bits());
        if self.0.tokens.len() == self.0.cancel_after {
            self.1.store(true, Ordering::Relaxed);
        }
        self.0.tokens.len() != self.0.halt_after
    }

    fn rest(&mut self, text: &str) {
        self.0.text.push_str(text);
    }
}

/// How a text is generated.
#[derive(Clone, Copy)]
struct How<'a> {
    params: SamplerParams,
    lookup: usize,
    draft: Option<&'a Arc<Model>>,
    stops: &'a [&'a str],
    max: usize,
    n_ctx: usize,
    halt_after: usize,
    cancel_after: usize,
}

impl Default for How<'_> {
    fn default() -> Self {
        How {
            params: SamplerParams::greedy(),
            lookup: 0,
            draft: None,
            stops: &[],
            max: 60,
            n_ctx: 200,
            halt_after: 0,
            cancel_after: 0,
        }
    }
}

/// Two runs, one behind the other; also how many guesses were made and how many were right.
fn generate(model: &Arc<Model>, prompt: &[u32], how: How<'_>) -> (Vec<Seen>, usize, usize) {
    let ahead = how.lookup > 0 || how.draft.is_some();
    let params = ContextParams {
        n_ctx: how.n_ctx,
        n_batch: 32,
        n_outputs: if ahead { 16 } else { 1 },
        n_seqs: 2,
        ..ContextParams::default()
    };
    let mut ctx = Context::new(model, &params).unwrap();
    let mut draft = how.draft.map(|model| Context::new(model, &params).unwrap());
    let mut generate = Generate::new(model, how.params, how.stops).unwrap();
    generate.lookup = how.lookup;
    let (mut proposed, mut accepted) = (0, 0);
    let mut all = Vec::new();
    for prompt in [prompt, &[5, 6]] {
        let mut seen = Seen { halt_after: how.halt_after, cancel_after: how.cancel_after, ..Seen::default() };
        let flag = Arc::clone(ctx.cancel_flag());
        let result = generate.run_with(&mut ctx, draft.as_mut(), 1, prompt, how.max, &mut Watch(&mut seen, flag));
        if let Ok((_, timing)) = result {
            proposed += timing.proposed;
            accepted += timing.accepted;
            assert_eq!(timing.tokens, seen.tokens.len());
            assert!(timing.accepted <= timing.proposed && timing.accepted <= timing.tokens);
            seen.after = bits(ctx.logits(0).unwrap());
            assert_eq!(ctx.outputs(), 1);
        }
        seen.end = Some(result.map(|(outcome, _)| outcome).map_err(|e| e.code()));
        seen.len = ctx.len(1);
        seen.held = ctx.tokens(1).to_vec();
        all.push(seen);
    }
    (all, proposed, accepted)
}

const SAMPLED: SamplerParams = SamplerParams {
    temperature: 0.7,
    top_k: 8,
    top_p: 0.9,
    min_p: 0.02,
    repeat_penalty: 1.1,
    repeat_last: 20,
    seed: 11,
};

#[test]
fn tokens_are_those_of_plain_decoding() {
    let prompt: Vec<u32> = [1].into_iter().chain((0..24).map(|i| 5 + i % 8)).collect();
    let (mut proposed, mut accepted) = ([0; 3], [0; 3]);
    for name in ["llama", "llama-q4_0", "llama-q4_k", "llama-moe", "qwen3", "phi3", "gemma3"] {
        for threads in [1, 2, 3] {
            let model = open(&reference(&format!("{name}.gguf")), threads, Isa::detect());
            let Some(tokenizer) = &model.tokenizer else { continue };
            let other = open(&reference("llama-q2_k.gguf"), threads, Isa::detect());
            assert!(tokenizer.vocab_len() > 0);
            for params in [SamplerParams::greedy(), SAMPLED, SamplerParams { temperature: 2.0, seed: 3, ..SAMPLED }] {
                let how = How { params, ..How::default() };
                let (plain, none, _) = generate(&model, &prompt, how);
                assert_eq!(none, 0);
                let ways = [
                    How { lookup: 15, ..how },
                    How { draft: Some(&model), ..how },
                    How { lookup: 6, draft: Some(&other), ..how },
                ];
                for (i, way) in ways.into_iter().enumerate() {
                    let (seen, p, a) = generate(&model, &prompt, way);
                    assert!(seen == plain, "{name}, {threads} threads, {params:?}, way {i}: {seen:?} {plain:?}");
                    if params.temperature == 0.0 {
                        (proposed[i], accepted[i]) = (proposed[i] + p, accepted[i] + a);
                    }
                }
            }
        }
    }
    println!("proposed {proposed:?}, accepted {accepted:?}");
    // Small random models go round in circles; and a model agrees with itself, but for the last run of guesses.
    assert!(accepted[0] > 100 && accepted[1] * 10 > proposed[1] * 8 && accepted[2] > 0, "{proposed:?} {accepted:?}");
    assert!(accepted[0] < proposed[0] && accepted[2] < proposed[2], "nothing was ever guessed wrong");
}

#[test]
fn a_story_is_the_same_and_a_model_guesses_itself() {
    for threads in [1, 2] {
        let model = open(&stories(), threads, Isa::detect());
        let text = "Once upon a time there was a cat. The cat liked milk. Once upon a time there was a";
        let mut ids = [0; 64];
        let encode = qorus::tokenizer::Encode { bos: true, special: false };
        let n = model.tokenizer().unwrap().encode(text, encode, &mut ids).unwrap();
        for params in [SamplerParams::greedy(), SamplerParams { seed: 5, ..SamplerParams::default() }] {
            let how = How { params, max: 80, ..How::default() };
            let plain = generate(&model, &ids[..n], how).0;
            assert!(generate(&model, &ids[..n], How { lookup: 15, ..how }).0 == plain);
            let (seen, proposed, accepted) = generate(&model, &ids[..n], How { draft: Some(&model), ..how });
            assert!(seen == plain);
            // The same random numbers: drawn tokens are guessed as well as the most probable ones.
            assert!(proposed > 50 && accepted * 10 >= proposed * 8, "{accepted} of {proposed} with {params:?}");
        }
    }
}

#[test]
fn runs_end_as_without_guesses() {
    let model = open(&reference("llama-q4_0.gguf"), 2, Isa::detect());
    let prompt: Vec<u32> = (0..24).map(|i| 5 + i % 8).collect();
    let long = generate(&model, &prompt, How::default()).0;
    let text: Vec<char> = long[0].text.chars().collect();
    let stop: String = text[text.len() - 7..text.len() - 4].iter().collect();
    let mut ends = Vec::new();
    for how in [
        How { stops: &[&stop], ..How::default() },
        How { n_ctx: 70, ..How::default() },
        How { max: 0, ..How::default() },
        How { max: 1, ..How::default() },
        How { max: 2, ..How::default() },
        How { max: 33, ..How::default() },
    ]
    .into_iter()
    .chain((1..50).flat_map(|n| [How { halt_after: n, ..How::default() }, How { cancel_after: n, ..How::default() }]))
    {
        let plain = generate(&model, &prompt, how).0;
        ends.push(plain[0].end.unwrap());
        for (lookup, draft) in [(15, None), (64, None), (0, Some(&model))] {
            let seen = generate(&model, &prompt, How { lookup, draft, ..how }).0;
            assert!(seen == plain, "{lookup} {seen:?} {plain:?}");
        }
    }
    for end in
        [Ok(Outcome::Stop), Ok(Outcome::ContextFull), Ok(Outcome::Length), Ok(Outcome::Halted), Err(Code::Cancelled)]
    {
        assert!(ends.contains(&end), "no run ended with {end:?}: {ends:?}");
    }
}

#[test]
fn a_draft_of_another_vocabulary_is_refused() {
    let model = open(&reference("llama.gguf"), 1, Isa::detect());
    let story = open(&stories(), 1, Isa::detect());
    let params = ContextParams { n_ctx: 32, ..ContextParams::default() };
    let (mut ctx, mut draft) = (Context::new(&model, &params).unwrap(), Context::new(&story, &params).unwrap());
    let mut generate = Generate::new(&model, SamplerParams::greedy(), &[]).unwrap();
    let flag = Arc::clone(ctx.cancel_flag());
    let mut seen = Seen::default();
    let mut run = |draft: &mut Context, seq| {
        generate.run_with(&mut ctx, Some(draft), seq, &[5], 4, &mut Watch(&mut seen, flag.clone())).map(|_| ())
    };
    let e = run(&mut draft, 0).unwrap_err();
    assert!(e.code() == Code::Shape && e.message().contains("vocabularies differ at token"), "{e}");
    let mut draft = Context::new(&model, &params).unwrap();
    assert_eq!(run(&mut draft, 1).unwrap_err().code(), Code::InvalidArgument);
    run(&mut draft, 0).unwrap();
}

#[test]
fn a_reused_prefix_gives_the_bits_of_a_fresh_one() {
    for name in ["llama-q4_0", "gemma3", "phi3"] {
        let model = open(&reference(&format!("{name}.gguf")), 2, Isa::detect());
        let params = ContextParams { n_ctx: 128, n_batch: 16, n_seqs: 3, kv: Type::F16, ..ContextParams::default() };
        let mut ctx = Context::new(&model, &params).unwrap();
        let text = |n: u32, change: u32| -> Vec<u32> {
            (0..n).map(|i| if i == change { 50 } else { 5 + i * 7 % 40 }).collect()
        };
        let fresh = |ids: &[u32]| {
            let mut ctx = Context::new(&model, &params).unwrap();
            ctx.append(0, ids).unwrap();
            bits(ctx.logits(0).unwrap())
        };
        let mut state = vec![0; 1 << 20];
        // Longer, changed in the middle, shorter, the same again, and nothing in common.
        for (n, change, held) in [(40, 99, 0), (60, 99, 40), (50, 30, 30), (20, 99, 20 - 1), (20, 99, 19), (30, 0, 0)] {
            let ids = text(n, change);
            assert_eq!(ctx.reuse(1, &ids).unwrap(), held, "{name} {n} {change}");
            assert_eq!(ctx.tokens(1), &ids[..held]);
            ctx.append(1, &ids[held..]).unwrap();
            assert_eq!(ctx.tokens(1), ids);
            assert!(bits(ctx.logits(0).unwrap()) == fresh(&ids), "{name} {n} {change}");
            // Copies and saved states know their tokens too.
            ctx.copy_seq(1, 2).unwrap();
            assert_eq!((ctx.tokens(2), ctx.tokens(0), ctx.tokens(3)), (&ids[..], &[][..], &[][..]));
            let bytes = ctx.save(&mut state).unwrap();
            let mut other = Context::new(&model, &ContextParams { n_ctx: 90, ..params }).unwrap();
            other.restore(&state[..bytes]).unwrap();
            assert_eq!((other.tokens(1), other.tokens(2)), (&ids[..], &ids[..]));
            let more: Vec<u32> = ids.iter().copied().chain([9, 8]).collect();
            assert_eq!(other.reuse(2, &more).unwrap(), ids.len());
            other.append(2, &more[ids.len()..]).unwrap();
            assert!(bits(other.logits(0).unwrap()) == fresh(&more));
        }
        assert_eq!(ctx.reuse(1, &[]).unwrap(), 0);
        assert_eq!(ctx.len(1), 0);
        assert_eq!(ctx.reuse(3, &[5]).unwrap_err().code(), Code::InvalidArgument);
        // Embeddings are made of all rows.
        let mut pooled = Context::new(&model, &ContextParams { pooling: Pooling::Mean, ..params }).unwrap();
        pooled.append(0, &text(20, 99)).unwrap();
        assert_eq!((pooled.reuse(0, &text(30, 99)).unwrap(), pooled.len(0)), (0, 0));
    }
}

#[test]
fn an_answer_computes_only_what_is_new() {
    let model = open(&reference("llama-q4_0.gguf"), 1, Isa::detect());
    let params = ContextParams { n_ctx: 128, ..ContextParams::default() };
    let text: Vec<u32> = (0..50).map(|i| 5 + i * 11 % 50).collect();
    let mut tokens = Vec::new();
    // At once, and the beginning first.
    for first in [None, Some(20)] {
        let mut ctx = Context::new(&model, &params).unwrap();
        let mut generate = Generate::new(&model, SAMPLED, &[]).unwrap();
        if let Some(n) = first {
            ctx.append(0, &[&text[..n], &[60]].concat()).unwrap();
        }
        let (mut seen, flag) = (Seen::default(), Arc::clone(ctx.cancel_flag()));
        let (_, timing) = generate.answer(&mut ctx, None, 0, &text, 20, &mut Watch(&mut seen, flag)).unwrap();
        assert_eq!(timing.prompt_tokens, text.len() - first.unwrap_or(0));
        tokens.push(seen.tokens);
    }
    assert_eq!(tokens[0], tokens[1]);
}
