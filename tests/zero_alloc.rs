//! Nothing allocates after set-up: every allocation of the process is counted, on all threads, while a context appends,
//! decodes, samples and generates. For every architecture and stored type, every cache type, one thread and three.

// Not all of common: `limits` there has an allocator of its own.
#[path = "common/counting.rs"]
mod counting;
#[path = "common/run.rs"]
mod run;

use counting::{allocations, bytes, settle};
use qorus::adapter::{Adapter, Kind, Pair};
use qorus::engine::LoadedAdapter;
use qorus::engine::{Context, ContextParams, Generate, Hooks, Model, Piece, Pooling, Runtime, Sampler, SamplerParams};
use qorus::engine::{Token, sampler};
use qorus::models::graph::Adaptable;
use qorus::models::hand::{AttentionValues, Hand, LinearValues, RopeValues, Values};
use qorus::ops::rope::RopeStyle;
use qorus::{Code, Type};
use run::reference;
use std::io::Write as _; // not held back by the test harness, as the print macros are
use std::sync::Arc;

struct Swallow(usize);

impl Hooks for Swallow {
    fn piece(&mut self, piece: Piece<'_>) -> bool {
        self.0 += piece.text.len();
        true
    }
}

/// All that may happen between two set-ups.
fn work(
    ctx: &mut Context,
    draft: &mut Context,
    sampler: &mut Sampler,
    generate: &mut Option<Generate>,
    state: &mut [u8],
    proposed: &mut usize,
    adapters: &[LoadedAdapter],
) {
    ctx.append(0, &[3, 4, 5, 6, 7, 8, 9, 10, 11]).unwrap();
    for _ in 0..4 {
        let token = sampler.sample(ctx.logits(0).unwrap()).unwrap();
        sampler::log_prob(ctx.logits(0).unwrap(), token).unwrap();
        sampler.accept(token);
        ctx.append(0, &[token]).unwrap();
    }
    ctx.copy_seq(0, 1).unwrap();
    let at = ctx.len(1) as u32;
    let mut batch = [0, 1, 0, 1, 1].map(|seq| Token { id: 5, seq, pos: 0, logits: false });
    let mut next = [at; 2];
    for token in &mut batch {
        token.pos = next[token.seq as usize];
        next[token.seq as usize] += 1;
    }
    batch[3].logits = true;
    ctx.decode(&batch).unwrap();
    assert_eq!(ctx.outputs(), 1);
    if ctx.params().pooling != Pooling::None {
        ctx.embedding(1).unwrap();
    }
    let bytes = ctx.save(state).unwrap();
    ctx.truncate(0, 2).unwrap();
    ctx.restore(&state[..bytes]).unwrap();
    ctx.truncate(1, 0).unwrap();
    if let Some(generate) = generate {
        ctx.truncate(0, 0).unwrap();
        generate.run(ctx, 0, &[3, 4, 5], 16, &mut Swallow(0)).unwrap();
        // Guesses, by the text that is a circle and by a draft; and a prefix that is there already.
        let text: [u32; 24] = std::array::from_fn(|i| 5 + (i % 4) as u32);
        assert_eq!(ctx.reuse(0, &text).unwrap(), 0);
        let (_, timing) = generate.answer(ctx, Some(draft), 0, &text, 20, &mut Swallow(0)).unwrap();
        *proposed += timing.proposed;
        generate.lookup = 0;
        generate.answer(ctx, Some(draft), 0, &text[..20], 20, &mut Swallow(0)).unwrap();
        generate.lookup = 3;
    }
    // Adapters put on, weighed anew, changed and taken off.
    if let [one, two] = adapters {
        ctx.attach(one, 0.5).unwrap();
        ctx.append(0, &[3, 4, 5, 6, 7, 8, 9]).unwrap();
        ctx.attach(one, 1.0).unwrap();
        ctx.append(0, &[3]).unwrap();
        ctx.set_adapters(&[(two, 1.0), (one, 0.2)]).unwrap();
        ctx.append(0, &[3, 4, 5]).unwrap();
        ctx.detach(two).unwrap();
        ctx.append(0, &[3]).unwrap();
    }
}

/// Adapters on all matrices of a model of a file, one of which brings rows to a length.
fn adapters(model: &Arc<Model>) -> Vec<LoadedAdapter> {
    let Some(gguf) = &model.gguf else { return Vec::new() };
    let load = |kind: Kind| {
        let pair = |found: Adaptable| {
            let (rows, cols, experts, rank) = (found.w.rows / found.experts, found.w.cols, found.experts, 3);
            let magnitude = (kind == Kind::Dora).then(|| vec![1.0; experts * rows]);
            let (a, b) = (vec![0.1; experts * rank * cols], vec![0.1; experts * rows * rank]);
            Pair { tensor: found.name, rank, rows, cols, experts, a, b, magnitude }
        };
        let pairs = model.graph.adaptable(Some(gguf)).unwrap().into_iter().map(pair).collect();
        LoadedAdapter::new(model, &Adapter { kind, alpha: 1.0, pairs, ..Adapter::default() }).unwrap()
    };
    vec![load(Kind::Lora), load(Kind::Dora)]
}

// One test: others would allocate meanwhile.
#[test]
fn nothing_allocates_after_set_up() {
    settle();
    let mut names: Vec<String> = std::fs::read_dir(reference(""))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter_map(|p| {
            let name = p.file_name()?.to_str()?.to_owned();
            name.ends_with(".gguf").then_some(name)
        })
        .collect();
    names.sort();
    assert!(names.len() > 30, "the reference models are missing");
    let (mut runs, mut skipped, mut proposed) = (0, Vec::new(), 0);
    for threads in [1, 3] {
        let runtime = Runtime::new(threads, None).unwrap();
        let open = |name: &String| Model::open(&runtime, &reference(name)).unwrap_or_else(|e| panic!("{e}"));
        let files = names.iter().map(|name| (name.clone(), open(name)));
        for (name, model) in files.chain([("by hand".to_owned(), by_hand(&runtime))]) {
            let adapters = adapters(&model);
            for kv in [Type::F32, Type::F16, Type::Q8_0] {
                let params = ContextParams {
                    n_ctx: 48,
                    n_batch: 4,
                    n_seqs: 2,
                    n_outputs: 4,
                    kv,
                    adapters: 2,
                    rank: 3,
                    // Embeddings leave no room for guesses.
                    pooling: if kv == Type::F16 { Pooling::None } else { Pooling::Mean },
                    ..Default::default()
                };
                let mut ctx = match Context::new(&model, &params) {
                    Ok(ctx) => ctx,
                    Err(e) if e.code() == Code::Shape => {
                        skipped.push(format!("{name} {}", kv.name()));
                        continue;
                    }
                    Err(e) => panic!("{name}: {e}"),
                };
                let sampling = SamplerParams { repeat_penalty: 1.1, seed: 7, ..SamplerParams::default() };
                let mut sampler = Sampler::new(sampling, model.graph.out_width()).unwrap();
                let stops = ["zz", "qxq"];
                let make = || model.tokenizer.as_ref().map(|_| Generate::new(&model, sampling, &stops).unwrap());
                let (_, mut generate) = allocations(make);
                let planned = if generate.is_some() { Generate::bytes(&sampling, &stops) } else { 0 };
                assert_eq!(bytes(), planned, "what a generation reserves");
                let mut state = vec![0; full_state(&model, &params)];
                let mut draft = Context::new(&model, &params).unwrap();
                let (count, ()) = allocations(|| {
                    work(&mut ctx, &mut draft, &mut sampler, &mut generate, &mut state, &mut proposed, &adapters)
                });
                assert_eq!(count, 0, "{name}, {} cache, {threads} threads: allocations after set-up", kv.name());
                runs += 1;
            }
        }
    }
    println!("{runs} runs");
    skipped.sort();
    skipped.dedup();
    skipped.iter().for_each(|case| {
        drop(writeln!(std::io::stderr(), "SKIPPED: {case} cache: the heads are shorter than its blocks"))
    });
    assert!(runs > 140 && proposed > 100, "{runs} runs, {proposed} guesses");
}

/// A model whose heads are as long as the blocks of every cache; its weights are zeros, in blocks of 8 bits.
fn by_hand(runtime: &Arc<Runtime>) -> Arc<Model> {
    let zeros = vec![0u8; 64 * Type::Q8_0.row_bytes(64).unwrap()];
    let linear = |rows: usize| {
        let bytes = &zeros[..rows * Type::Q8_0.row_bytes(64).unwrap()];
        LinearValues { w: Values { ty: Type::Q8_0, rows, cols: 64, bytes }, bias: None }
    };
    let mut b = Hand::new(&runtime.kernels);
    b.embedding(&linear(64).w).unwrap();
    b.residual_begin().unwrap();
    b.rmsnorm(&[1.0; 64], 1e-5).unwrap();
    b.attention(&AttentionValues {
        n_head: 2,
        n_kv: 1,
        head_dim: 32,
        q: linear(64),
        k: linear(32),
        v: linear(32),
        o: linear(64),
        q_norm: None,
        k_norm: Some((&[1.0; 32], 1e-5)),
        rope: Some(RopeValues { style: RopeStyle::Neox, dim: 16, base: 1e4, scale: 1.0 }),
        window: 20,
        scale: 0.0,
        softcap: 30.0,
    })
    .unwrap();
    b.residual_end().unwrap();
    b.linear(&linear(64)).unwrap();
    let (graph, store) = b.finish().unwrap();
    Model::from_parts(runtime, graph, store)
}

/// Bytes of the longest saved state.
fn full_state(model: &Arc<Model>, params: &ContextParams) -> usize {
    let mut ctx = Context::new(model, params).unwrap();
    ctx.append(0, &[5; 48]).unwrap();
    ctx.append(1, &[5; 48]).unwrap();
    ctx.state_bytes()
}
