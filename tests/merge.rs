//! Adapters made part of their base: each element what the formula says, in every type, and nothing written that is half done.

mod common;

use common::dir::Dir;
use common::limits::peak;
use common::small::{self, DIM, FFN, VOCAB};
use qorus::adapter::{Adapter, Kind, Pair};
use qorus::convert::{Recipe, merge};
use qorus::engine::Runtime;
use qorus::gguf::{Gguf, Writer};
use qorus::{Code, Type};

fn numbers(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2654435761).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..len).map(|_| next()).collect()
}

fn pair(tensor: &str, rank: usize, [cols, rows, experts]: [u64; 3]) -> Pair {
    let [rows, cols, experts] = [rows, cols, experts].map(|n| n as usize);
    let (a, b) = (numbers(experts * rank * cols, 1), numbers(experts * rows * rank, 2));
    Pair { tensor: tensor.into(), rank, rows, cols, experts, a, b, magnitude: None }
}

fn adapter(kind: Kind, pairs: Vec<Pair>) -> Adapter {
    Adapter { arch: "llama".into(), kind, alpha: 3.0, pairs, ..Adapter::default() }
}

fn base() -> Gguf {
    let mut w = small::llama();
    w.tensor("blk.0.ffn_up_exps.weight", Type::F32, &[DIM, 6, 3]).unwrap();
    Gguf::from_bytes(small::finish(w)).unwrap()
}

fn values(file: &Gguf, name: &str, runtime: &Runtime) -> Vec<f32> {
    let t = file.tensor(name).unwrap_or_else(|| panic!("no tensor {name}"));
    let mut x = vec![0f32; t.elements() as usize];
    match t.ty {
        Type::F32 => x.copy_from_slice(bytemuck::cast_slice(file.data(t))),
        ty => runtime.kernels.dequantize(ty, file.data(t), &mut x),
    }
    x
}

/// `W + weight * (W' - W)` in f64.
fn expected(w: &[f32], adapter: &Adapter, p: &Pair, weight: f64) -> Vec<f64> {
    let mut result = Vec::new();
    for (i, row) in w.chunks(p.cols).enumerate() {
        let a = &p.a[i / p.rows * p.rank * p.cols..];
        let delta =
            |c: usize| (0..p.rank).map(|r| f64::from(p.b[i * p.rank + r]) * f64::from(a[r * p.cols + c])).sum::<f64>();
        let mut changed: Vec<f64> =
            (0..p.cols).map(|c| f64::from(row[c]) + f64::from(adapter.scale(p)) * delta(c)).collect();
        if let Some(m) = &p.magnitude {
            let norm = changed.iter().map(|x| x * x).sum::<f64>().sqrt();
            changed.iter_mut().for_each(|x| *x *= f64::from(m[i]) / norm);
        }
        result.extend(row.iter().zip(changed).map(|(w, x)| f64::from(*w) + weight * (x - f64::from(*w))));
    }
    result
}

#[test]
fn each_element_is_what_the_formula_says() {
    let (dir, base, runtime) = (Dir::new("merge"), base(), Runtime::new(2, None).unwrap());
    for kind in Kind::ALL {
        let mut pairs = vec![
            pair("blk.0.attn_q.weight", 4, [DIM, DIM, 1]),
            pair("blk.1.ffn_down.weight", 2, [FFN, DIM, 1]),
            pair("blk.0.ffn_up_exps.weight", 3, [DIM, 6, 3]),
            pair("output.weight", 4, [DIM, VOCAB, 1]),
        ];
        if kind == Kind::Dora {
            pairs.iter_mut().for_each(|p| p.magnitude = Some(numbers(p.experts * p.rows, 5)));
        }
        let made = adapter(kind, pairs);
        for weight in [1.0, 0.25] {
            let path = dir.0.join("merged.gguf");
            merge(&base, &[(&made, weight)], &path, None, &runtime, &mut |_| true).unwrap();
            let merged = Gguf::open(&path).unwrap();
            for p in &made.pairs {
                let of = if p.tensor == "output.weight" { "token_embd.weight" } else { &p.tensor };
                let wanted = expected(&values(&base, of, &runtime), &made, p, f64::from(weight));
                for (i, (x, y)) in values(&merged, &p.tensor, &runtime).iter().zip(wanted).enumerate() {
                    assert!((f64::from(*x) - y).abs() < 2e-6, "{} {i}: {x} {y}", p.tensor);
                }
            }
            // What nothing changes stays as it is, the embedding too.
            for t in base.tensors() {
                let name = base.tensor_name(t);
                if made.pair(name).is_none() {
                    assert_eq!(merged.data(merged.tensor(name).unwrap()), base.data(t), "{name}");
                }
            }
        }
    }
}

#[test]
fn adapters_add_up_and_types_are_those_asked_for() {
    let (dir, base) = (Dir::new("merge-types"), base());
    let one = adapter(Kind::Lora, vec![pair("blk.0.attn_q.weight", 4, [DIM, DIM, 1])]);
    let mut two = adapter(Kind::RsLora, vec![pair("blk.0.attn_q.weight", 2, [DIM, DIM, 1])]);
    two.pairs[0].b = numbers(two.pairs[0].b.len(), 77);
    let mut files = Vec::new();
    for threads in [1, 3] {
        let runtime = Runtime::new(threads, None).unwrap();
        let to = |name: &str, recipe: &str| {
            let path = dir.0.join(name);
            merge(&base, &[(&one, 0.5), (&two, -1.0)], &path, Recipe::from_name(recipe), &runtime, &mut |_| true)
                .unwrap();
            Gguf::open(&path).unwrap()
        };
        let (wide, narrow) = (to("wide.gguf", "F32"), to("narrow.gguf", "Q8_0"));
        let w = values(&base, "blk.0.attn_q.weight", &runtime);
        let first: Vec<f32> = expected(&w, &one, &one.pairs[0], 0.5).iter().map(|x| *x as f32).collect();
        let wanted = expected(&first, &two, &two.pairs[0], -1.0);
        let found = values(&wide, "blk.0.attn_q.weight", &runtime);
        assert!(found.iter().zip(&wanted).all(|(x, y)| (f64::from(*x) - y).abs() < 3e-6));
        let t = narrow.tensor("blk.0.attn_q.weight").unwrap();
        assert_eq!((t.ty, narrow.u32("general.file_type").unwrap()), (Type::Q8_0, Some(7)));
        let most = wanted.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        let found = values(&narrow, "blk.0.attn_q.weight", &runtime);
        assert!(found.iter().zip(&wanted).all(|(x, y)| (f64::from(*x) - y).abs() <= most / 127.0));
        files.push(std::fs::read(dir.0.join("narrow.gguf")).unwrap());
    }
    assert!(files[0] == files[1], "other bits for another number of threads");
}

/// A quantised base: its own blocks are taken apart, changed and made again.
#[test]
fn a_quantised_base_is_merged_at_its_own_type() {
    let (dir, runtime) = (Dir::new("merge-own"), Runtime::new(2, None).unwrap());
    let path = dir.0.join("q.gguf");
    let recipe = Recipe::from_name("Q4_1").unwrap();
    qorus::convert::quantize(&base(), &path, recipe, &runtime, &mut |_| true).unwrap();
    let base = Gguf::open(&path).unwrap();
    let made = adapter(Kind::Lora, vec![pair("blk.0.attn_q.weight", 4, [DIM, DIM, 1])]);
    let out = dir.0.join("merged.gguf");
    merge(&base, &[(&made, 1.0)], &out, None, &runtime, &mut |_| true).unwrap();
    let merged = Gguf::open(&out).unwrap();
    assert_eq!(merged.tensor("blk.0.attn_q.weight").unwrap().ty, Type::Q4_1);
    let wanted = expected(&values(&base, "blk.0.attn_q.weight", &runtime), &made, &made.pairs[0], 1.0);
    let found = values(&merged, "blk.0.attn_q.weight", &runtime);
    // Steps of a block are uniform: their error is 0.29 of a step in the mean.
    let (mut error, mut step) = (0.0, 0.0);
    for (found, wanted) in found.chunks(32).zip(wanted.chunks(32)) {
        let (min, max) = wanted.iter().fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(*x), b.max(*x)));
        error += found.iter().zip(wanted).map(|(x, y)| (f64::from(*x) - y).powi(2)).sum::<f64>();
        step += 32.0 * ((max - min) / 15.0).powi(2);
    }
    assert!((error / step).sqrt() < 0.32, "{}", (error / step).sqrt());
}

#[test]
fn what_cannot_be_merged_leaves_nothing() {
    let (dir, runtime) = (Dir::new("merge-bad"), Runtime::new(1, None).unwrap());
    let base = base();
    let out = dir.file("old.gguf", b"old");
    let good = adapter(Kind::Lora, vec![pair("blk.0.attn_q.weight", 4, [DIM, DIM, 1])]);
    let bad = adapter(Kind::Lora, vec![pair("blk.0.attn_q.weight", 4, [DIM, FFN, 1])]);
    let go = |base: &Gguf, adapter: &Adapter, weight: f32, on: bool| {
        merge(base, &[(adapter, weight)], &out, None, &runtime, &mut |_| on).unwrap_err().code()
    };
    assert_eq!(go(&base, &bad, 1.0, true), Code::Shape);
    assert_eq!(go(&base, &good, f32::NAN, true), Code::InvalidArgument);
    assert_eq!(go(&base, &good, 1.0, false), Code::Cancelled);
    // A type that no kernel writes.
    let mut w = Writer::new();
    w.put("general.architecture", "llama").unwrap();
    w.tensor("blk.0.attn_q.weight", Type::IQ2_XXS, &[256, 2]).unwrap();
    let fixed = Gguf::from_bytes(small::finish(w)).unwrap();
    let wide = adapter(Kind::Lora, vec![pair("blk.0.attn_q.weight", 4, [256, 2, 1])]);
    assert_eq!(go(&fixed, &wide, 1.0, true), Code::Unsupported);
    let left: Vec<_> = std::fs::read_dir(&dir.0).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!((left.len(), std::fs::read(&out).unwrap()), (1, b"old".to_vec()));
}

/// 64 MB of weights, and no more than a few MB to merge them.
#[test]
fn memory_does_not_grow_with_the_model() {
    let (dir, runtime) = (Dir::new("merge-memory"), Runtime::new(2, None).unwrap());
    let mut w = Writer::new();
    w.put("general.architecture", "llama").unwrap();
    for i in 0..4 {
        w.tensor(&format!("blk.{i}.attn_q.weight"), Type::F32, &[1024, 4096]).unwrap();
    }
    let mut output = w.create(&dir.0.join("big.gguf")).unwrap();
    while let Some(bytes) = output.lacks() {
        output.write(&vec![0; bytes as usize]).unwrap();
    }
    output.save().unwrap();
    let base = Gguf::open(&dir.0.join("big.gguf")).unwrap();
    let made = adapter(Kind::Lora, vec![pair("blk.2.attn_q.weight", 1, [1024, 4096, 1])]);
    let recipe = Recipe::from_name("Q8_0");
    let (result, most) =
        peak(|| merge(&base, &[(&made, 1.0)], &dir.0.join("out.gguf"), recipe, &runtime, &mut |_| true));
    result.unwrap();
    assert!(most < 8 << 20, "{most} bytes");
}
