//! Adapters at run time: what they add is what a merged model gives; weights and sets change from call to call; the same bits for any
//! number of threads and in any batch; the plan is what is taken.

mod common;

use common::run::{batch, bits, levels, open, reference};
use qorus::adapter::{Adapter, Kind, Pair};
use qorus::engine::{Context, ContextParams, LoadedAdapter, Model, Runtime};
use qorus::gguf::{Gguf, Writer};
use qorus::kernels::Kernels;
use qorus::{Code, Isa, Type};
use std::sync::Arc;

const TOKENS: [u32; 11] = [1, 5, 9, 2, 30, 7, 7, 41, 12, 3, 50];

/// Numbers between -limit and limit.
fn numbers(n: usize, limit: f32, seed: u32) -> Vec<f32> {
    (0..n).map(|i| ((i as f32 + seed as f32 * 0.37) * 1.7).sin() * limit).collect()
}

/// An adapter on every matrix of a model that it can be on.
fn adapter(model: &Model, kind: Kind, rank: usize, seed: u32) -> Adapter {
    let mut pairs = Vec::new();
    for found in model.graph.adaptable(model.gguf.as_deref()).unwrap() {
        let (rows, cols, experts) = (found.w.rows / found.experts, found.w.cols, found.experts);
        pairs.push(Pair {
            tensor: found.name.clone(),
            rank,
            rows,
            cols,
            experts,
            a: numbers(experts * rank * cols, 0.2, seed),
            b: numbers(experts * rows * rank, 0.2, seed + 1),
            magnitude: (kind == Kind::Dora)
                .then(|| numbers(experts * rows, 0.2, seed + 2).iter().map(|x| 0.6 + x).collect()),
        });
    }
    assert!(pairs.len() > 7);
    Adapter { name: "made".into(), arch: model.graph.arch.clone(), kind, alpha: 3.0, base: None, pairs }
}

/// The model's file with adapters worked into its matrices, all F32.
fn merged(model: &Model, adapters: &[(&Adapter, f32)]) -> Arc<Gguf> {
    let (gguf, kernels) = (model.gguf.as_ref().unwrap(), Kernels::new(Isa::Scalar).unwrap());
    let mut w = Writer::new();
    gguf.entries().for_each(|(key, value)| assert!(w.put(key, value).is_ok()));
    for t in gguf.tensors() {
        w.tensor(gguf.tensor_name(t), Type::F32, &t.dims[..t.n_dims as usize]).unwrap();
    }
    let mut out = w.begin(Vec::new()).unwrap();
    for t in gguf.tensors() {
        let (name, cols) = (gguf.tensor_name(t), t.dims[0] as usize);
        let mut values = vec![0f32; t.dims.iter().product::<u64>() as usize];
        kernels.dequantize(t.ty, gguf.data(t), &mut values);
        let base: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
        let mut sum = base.clone();
        for (adapter, weight) in adapters {
            let Some(pair) = adapter.pair(name) else { continue };
            for (i, row) in base.chunks(cols).enumerate() {
                let (expert, at) = (i / pair.rows, i % pair.rows);
                let mut changed = row.to_vec();
                for j in 0..pair.rank {
                    let b = f64::from(adapter.scale(pair) * pair.b[(expert * pair.rows + at) * pair.rank + j]);
                    let a = &pair.a[(expert * pair.rank + j) * cols..][..cols];
                    changed.iter_mut().zip(a).for_each(|(c, a)| *c += b * f64::from(*a));
                }
                if let Some(magnitude) = &pair.magnitude {
                    let factor = f64::from(magnitude[i]) / changed.iter().map(|c| c * c).sum::<f64>().sqrt();
                    changed.iter_mut().for_each(|c| *c *= factor);
                }
                let sum = &mut sum[i * cols..][..cols];
                (0..cols).for_each(|k| sum[k] += f64::from(*weight) * (changed[k] - row[k]));
            }
        }
        values.iter_mut().zip(sum).for_each(|(v, s)| *v = s as f32);
        out.write(bytemuck::cast_slice(&values)).unwrap();
    }
    Arc::new(Gguf::from_bytes(out.finish().unwrap()).unwrap())
}

fn context(model: &Arc<Model>, n_batch: usize, rank: usize) -> Context {
    let params = ContextParams {
        n_ctx: 32,
        n_batch,
        n_outputs: TOKENS.len(),
        kv: Type::F32,
        adapters: 2,
        rank,
        ..ContextParams::default()
    };
    Context::new(model, &params).unwrap_or_else(|e| panic!("{e}"))
}

fn logits(ctx: &mut Context) -> Vec<f32> {
    ctx.truncate(0, 0).unwrap();
    ctx.decode(&batch(&TOKENS)).unwrap_or_else(|e| panic!("{e}"));
    (0..TOKENS.len()).flat_map(|i| ctx.logits(i).unwrap().to_vec()).collect()
}

fn far(a: &[f32], b: &[f32]) -> f32 {
    let size = b.iter().fold(1f32, |max, x| max.max(x.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / size
}

/// Every architecture, experts and fused projections among them; two adapters at once, of both kinds and different ranks.
#[test]
fn an_adapted_model_gives_what_a_merged_one_does() {
    for name in [
        "llama",
        "llama-bias",
        "llama-moe",
        "llama-f16",
        "qwen2",
        "qwen2moe",
        "qwen3",
        "qwen3moe",
        "gemma2",
        "gemma3",
        "phi3",
    ] {
        let model = open(&reference(&format!("{name}.gguf")), 2, Isa::detect());
        let (one, two) = (adapter(&model, Kind::Lora, 3, 1), adapter(&model, Kind::Dora, 5, 7));
        let loaded = [&one, &two].map(|a| LoadedAdapter::new(&model, a).unwrap_or_else(|e| panic!("{e}")));
        let mut ctx = context(&model, 8, 5);
        let base = logits(&mut ctx);
        for (first, second) in [(1.0, 0.0), (0.0, 1.0), (0.75, 0.5), (-1.0, 0.25)] {
            ctx.set_adapters(&[(&loaded[0], first), (&loaded[1], second)]).unwrap();
            let found = logits(&mut ctx);
            let runtime = Runtime::new(2, None).unwrap();
            // A head that is the embedding has its adapter alone.
            let tied = model.gguf.as_ref().unwrap().tensor("output.weight").is_none();
            if tied {
                assert_ne!(bits(&found), bits(&base), "{name}");
                continue;
            }
            let whole = Model::new(&runtime, merged(&model, &[(&one, first), (&two, second)])).unwrap();
            let expected = logits(&mut context(&whole, 8, 0));
            let off = far(&found, &expected);
            println!("{name} {first} {second}: {off:.1e}, the base {:.1e}", far(&base, &expected));
            assert!(off < 2e-5 && far(&base, &expected) > 1e-2, "{name} {first} {second}: {off}");
        }
    }
}

#[test]
fn sets_and_weights_change_from_call_to_call() {
    let model = open(&reference("llama-q8_0.gguf"), 2, Isa::detect());
    let loaded = [1, 9].map(|seed| LoadedAdapter::new(&model, &adapter(&model, Kind::RsLora, 4, seed)).unwrap());
    let (mut ctx, mut other) = (context(&model, 4, 4), context(&model, 4, 4));
    let base = bits(&logits(&mut ctx));
    ctx.set_adapters(&[(&loaded[0], 1.0)]).unwrap();
    other.set_adapters(&[(&loaded[1], 0.5)]).unwrap();
    assert!(ctx.is_empty(), "what was computed without the adapter is forgotten");
    let (first, second) = (bits(&logits(&mut ctx)), bits(&logits(&mut other)));
    assert!(first != base && second != base && first != second);
    ctx.set_adapters(&[(&loaded[1], 0.5)]).unwrap();
    assert!(bits(&logits(&mut ctx)) == second, "each context has a set of its own");
    ctx.set_adapters(&[(&loaded[0], 1.0), (&loaded[1], 0.0)]).unwrap();
    assert!(bits(&logits(&mut ctx)) == first, "a weight of 0 is nothing");
    ctx.set_adapters(&[]).unwrap();
    assert!(bits(&logits(&mut ctx)) == base);
}

#[test]
fn levels_threads_and_batches_give_the_same_bits() {
    for (name, kind) in
        [("llama-q4_0", Kind::Dora), ("llama-q4_k", Kind::Lora), ("qwen2moe", Kind::Dora), ("phi3", Kind::Lora)]
    {
        let run = |threads: usize, isa: Isa, n_batch: usize| {
            let model = open(&reference(&format!("{name}.gguf")), threads, isa);
            let loaded = LoadedAdapter::new(&model, &adapter(&model, kind, 6, 3)).unwrap();
            let mut ctx = context(&model, n_batch, 6);
            ctx.set_adapters(&[(&loaded, 0.7)]).unwrap();
            bits(&logits(&mut ctx))
        };
        let expected = run(1, Isa::Scalar, 11);
        for isa in levels() {
            for (threads, n_batch) in [(1, 1), (2, 11), (3, 4), (2, 1)] {
                assert!(run(threads, isa, n_batch) == expected, "{name} {} {threads} {n_batch}", isa.name());
            }
        }
    }
}

#[test]
fn the_plan_is_what_is_taken() {
    for (name, kind) in [("llama-q8_0", Kind::Lora), ("llama-moe", Kind::Dora), ("phi3", Kind::Dora)] {
        let model = open(&reference(&format!("{name}.gguf")), 2, Isa::detect());
        let made = adapter(&model, kind, 7, 2);
        let loaded = LoadedAdapter::new(&model, &made).unwrap();
        let need = LoadedAdapter::need(model.gguf.as_ref().unwrap(), &model.graph, &made).unwrap();
        assert_eq!((need.bytes, need.rank), (loaded.reserved(), 7));
        let mut ctx = context(&model, TOKENS.len(), 7);
        ctx.set_adapters(&[(&loaded, 1.0)]).unwrap();
        logits(&mut ctx);
        assert_eq!(ctx.high_water(), ctx.reserved().activations, "{name}");
        assert_eq!(ctx.reserved().adapters, 0, "a context has no numbers of its own");
    }
}

#[test]
fn a_saved_state_wants_the_adapters_it_was_made_with() {
    let model = open(&reference("llama-q8_0.gguf"), 2, Isa::detect());
    let load = |seed| LoadedAdapter::new(&model, &adapter(&model, Kind::Lora, 4, seed)).unwrap();
    let [one, two] = [1, 9].map(load);
    let mut ctx = context(&model, 4, 4);
    let mut saved = |set: &[(&LoadedAdapter, f32)]| {
        ctx.set_adapters(set).unwrap();
        ctx.append(0, &TOKENS).unwrap();
        let mut state = vec![0; ctx.state_bytes()];
        ctx.save(&mut state).unwrap();
        ctx.append(0, &[8]).unwrap();
        (state, bits(ctx.logits(0).unwrap()))
    };
    let sets: [&[(&LoadedAdapter, f32)]; 6] =
        [&[], &[(&one, 1.0)], &[(&one, 0.5)], &[(&two, 1.0)], &[(&one, 1.0), (&two, 0.5)], &[(&two, 0.5), (&one, 1.0)]];
    let made = sets.map(&mut saved);
    let mut other = context(&model, 4, 4);
    for (i, (state, expected)) in made.iter().enumerate() {
        for (j, set) in sets.iter().enumerate() {
            other.set_adapters(set).unwrap();
            other.append(0, &TOKENS[..2]).unwrap();
            if i == j {
                other.restore(state).unwrap();
                other.append(0, &[8]).unwrap();
                assert!(bits(other.logits(0).unwrap()) == *expected, "{i}");
                continue;
            }
            let e = other.restore(state).unwrap_err();
            assert!(e.code() == Code::State && e.message().contains("other adapters"), "{i} {j}: {e}");
            assert_eq!(other.len(0), 2, "a refused state changes nothing");
        }
    }
    // What has no weight does nothing, and an adapter that is loaded again is the same.
    other.set_adapters(&[(&load(1), 1.0), (&two, 0.0)]).unwrap();
    other.restore(&made[1].0).unwrap();
    // A state of an older version says so.
    let mut old = made[0].0.clone();
    old[7] = 2;
    let e = other.restore(&old).unwrap_err();
    assert!(e.code() == Code::Format && e.message().contains("version 2"), "{e}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let model = open(&reference("llama.gguf"), 1, Isa::detect());
    let other = open(&reference("llama.gguf"), 1, Isa::detect());
    let good = adapter(&model, Kind::Lora, 4, 1);
    let refused = |change: &dyn Fn(&mut Adapter)| {
        let mut bad = good.clone();
        change(&mut bad);
        LoadedAdapter::new(&model, &bad).err().expect("it was accepted")
    };
    let e = refused(&|a| a.pairs[0].tensor = "blk.7.attn_q.weight".into());
    assert!(e.code() == Code::Shape && e.message().contains("blk.7.attn_q.weight"), "{e}");
    let e = refused(&|a| a.pairs[0].tensor = "token_embd.weight".into());
    assert!(e.message().contains("makes no product"), "{e}");
    let e = refused(&|a| {
        (a.pairs[0].cols, a.pairs[0].a) = (8, vec![0.0; 32]);
    });
    assert!(e.code() == Code::Shape && e.message().contains("another model"), "{e}");
    let loaded = LoadedAdapter::new(&model, &good).unwrap();
    let mut ctx = context(&model, 4, 3);
    let e = ctx.set_adapters(&[(&loaded, 1.0)]).unwrap_err();
    assert!(e.code() == Code::State && e.message().contains("rank 4"), "{e}");
    let mut ctx = context(&model, 4, 4);
    let e = ctx.set_adapters(&[(&loaded, 1.0); 3]).unwrap_err();
    assert!(e.code() == Code::State && e.message().contains("made for 2"), "{e}");
    let e = ctx.set_adapters(&[(&loaded, f32::NAN)]).unwrap_err();
    assert_eq!(e.code(), Code::InvalidArgument);
    let e = context(&other, 4, 4).set_adapters(&[(&loaded, 1.0)]).unwrap_err();
    assert!(e.message().contains("another model"), "{e}");
}
