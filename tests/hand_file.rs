//! Models built by hand as files: what is saved and read again has the same bits, and a file whose description is wrong is refused.

mod common;

use common::dir::Dir;
use common::limits::{check, within_limits};
use common::run::bits;
use common::small::{patch, without};
use qorus::engine::{Context, ContextParams, Model, Runtime, plan};
use qorus::gguf::{Gguf, Writer};
use qorus::layers::Params;
use qorus::models::hand::{AttentionValues, Hand, LinearValues, RopeValues, Values};
use qorus::models::{Graph, qorus as file};
use qorus::ops::activation::Activation;
use qorus::ops::rope::RopeStyle;
use qorus::{Code, Isa, Type};
use std::sync::Arc;

/// Numbers that repeat late.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut x = seed.wrapping_mul(2654435761) | 1;
    (0..n)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            (x as f32 / u32::MAX as f32 - 0.5) * 0.8
        })
        .collect()
}

/// A matrix of made-up numbers in any type, and a bias.
struct Made {
    ty: Type,
    bytes: Vec<u8>,
    bias: Vec<f32>,
    cols: usize,
}

fn made(ty: Type, rows: usize, cols: usize, seed: u32) -> Made {
    let kernels = qorus::kernels::Kernels::new(Isa::Scalar).unwrap();
    let mut bytes = vec![0; rows * ty.row_bytes(cols).unwrap()];
    let row = ty.row_bytes(cols).unwrap();
    for (x, y) in numbers(rows * cols, seed).chunks(cols).zip(bytes.chunks_mut(row)) {
        kernels.quantize(ty, x, y);
    }
    Made { ty, bytes, bias: numbers(rows, seed + 1000), cols }
}

impl Made {
    fn w(&self) -> Values<'_> {
        Values { ty: self.ty, rows: self.bias.len(), cols: self.cols, bytes: &self.bytes }
    }
    fn plain(&self) -> LinearValues<'_> {
        LinearValues { w: self.w(), bias: None }
    }
    fn biased(&self) -> LinearValues<'_> {
        LinearValues { w: self.w(), bias: Some(&self.bias) }
    }
}

/// A model of every kind of layer that takes tokens.
fn transformer(rt: &Runtime) -> (Graph, qorus::layers::Store) {
    const W: usize = 32;
    let mut b = Hand::new(&rt.kernels);
    b.embedding(&made(Type::Q8_0, 40, W, 1).w()).unwrap();
    b.scale(-1.5).unwrap();
    let (q, k, v) = (made(Type::F32, 48, W, 2), made(Type::F16, 24, W, 4), made(Type::BF16, 24, W, 5));
    let o = made(Type::F32, W, 48, 7);
    let (qn, kn) = (numbers(12, 8), numbers(12, 9));
    for (i, rope) in [
        None,
        Some(RopeValues { style: RopeStyle::Norm, dim: 12, base: 1e4, scale: 1.0 }),
        Some(RopeValues { style: RopeStyle::Neox, dim: 8, base: 123.456, scale: 0.25 }),
        Some(RopeValues { style: RopeStyle::Norm, dim: 12, base: 1e4, scale: 1.0 }),
    ]
    .into_iter()
    .enumerate()
    {
        b.residual_begin().unwrap();
        b.layernorm(&numbers(W, 20), (i % 2 == 0).then_some(&numbers(W, 21)[..]), 1e-3).unwrap();
        b.attention(&AttentionValues {
            n_head: 4,
            n_kv: 2,
            head_dim: 12,
            q: q.biased(),
            k: k.plain(),
            v: if i == 1 { v.biased() } else { v.plain() },
            o: o.plain(),
            q_norm: (i > 1).then_some((&qn[..], 1e-5)),
            k_norm: (i > 0).then_some((&kn[..], 2e-5)),
            rope,
            window: 5 * i,
            scale: if i == 2 { 0.3 } else { 0.0 },
            softcap: if i == 3 { 4.0 } else { 0.0 },
        })
        .unwrap();
        b.dropout(0.1).unwrap();
        b.residual_end().unwrap();
        b.residual_begin().unwrap();
        b.rmsnorm(&numbers(W, 22), 1e-6).unwrap();
        b.residual_begin().unwrap();
        let (up, gate, down) = (made(Type::Q8_0, 64, W, 30), made(Type::F32, 64, W, 31), made(Type::Q4_0, W, 64, 32));
        b.ffn(Activation::Gelu, (i > 0).then_some(gate.biased()).as_ref(), &up.plain(), &down.biased()).unwrap();
        b.dropout(0.2).unwrap();
        b.residual_end().unwrap();
        b.residual_end().unwrap();
    }
    b.linear(&made(Type::Q8_0, 40, W, 40).biased()).unwrap();
    b.softcap(3.0).unwrap();
    b.finish().unwrap()
}

/// A model of a table's rows.
fn table(rt: &Runtime) -> (Graph, qorus::layers::Store) {
    let mut b = Hand::new(&rt.kernels);
    b.rows(5).unwrap();
    b.features(&[made(Type::F32, 4, 3, 1).w(), made(Type::F32, 9, 7, 2).w()]).unwrap();
    for act in [Activation::Relu, Activation::Silu, Activation::GeluErf] {
        b.linear(&made(Type::F32, 13, b.width(), 3).biased()).unwrap();
        b.activation(act).unwrap();
        b.dropout(0.5).unwrap();
    }
    b.linear(&made(Type::F32, 2, 13, 4).plain()).unwrap();
    b.finish().unwrap()
}

fn run(model: &Arc<Model>) -> Vec<u32> {
    let params = ContextParams { n_ctx: 16, n_batch: 16, n_outputs: 16, kv: Type::F32, ..ContextParams::default() };
    let mut ctx = Context::new(model, &params).unwrap();
    let rows = 6;
    if model.graph.in_width == 0 {
        let tokens = (0..rows as u32).map(|i| i * 7 % model.graph.vocab() as u32).collect::<Vec<_>>();
        ctx.append_all(0, &tokens).unwrap();
    } else {
        let (width, mut x) = (model.graph.in_width, numbers(rows * model.graph.in_width, 77));
        if width == 5 {
            x.chunks_mut(5)
                .enumerate()
                .for_each(|(i, x)| x[3..].copy_from_slice(&[(i % 4) as f32, (i * 2 % 9) as f32]));
        }
        ctx.forward_rows(&x).unwrap();
    }
    (0..rows).flat_map(|i| bits(ctx.logits(i).unwrap())).collect()
}

#[test]
fn what_is_read_again_has_the_same_bits() {
    let dir = Dir::new("hand-file");
    let rt = Runtime::new(2, None).unwrap();
    for build in [transformer, table] {
        let (graph, store) = build(&rt);
        let (path, again) = (dir.0.join("a.gguf"), dir.0.join("b.gguf"));
        file::save(&graph, &Params::of(&store), |w| w.put("general.name", "made").map(drop), &path).unwrap();
        let built = Model::from_parts(&rt, graph, store);
        let read = Model::open(&rt, &path).unwrap();
        let expected = run(&built);
        assert!(expected.iter().any(|b| *b != expected[0]) && run(&read) == expected);
        assert_eq!(format!("{:?}", shape(&read.graph)), format!("{:?}", shape(&built.graph)));
        assert_eq!(read.gguf.as_ref().unwrap().str("general.name").unwrap(), Some("made"));
        let more = |w: &mut Writer| w.put("general.name", "made").map(drop);
        file::save(&read.graph, &Params::of(&read.store), more, &again).unwrap();
        assert!(std::fs::read(&path).unwrap() == std::fs::read(&again).unwrap());
        let gguf = Gguf::open(&path).unwrap();
        let plan = plan(&gguf, &read.graph, &ContextParams { n_ctx: 16, ..ContextParams::default() }, 1).unwrap();
        assert!(plan.weights_mapped > 0 && plan.activations > 0);
    }
}

/// What a graph says, places of weights apart.
fn shape(graph: &Graph) -> String {
    let text = format!("{:?} {:?} {:?}", graph.layers, graph.caches, graph.ropes);
    let places = |s: &str| s.starts_with("tensor: ") || s.starts_with("start: ") || s.contains("Vector { start: ");
    text.split(", ").filter(|s| !places(s)).collect::<Vec<_>>().join(", ")
}

#[test]
fn graphs_that_no_hand_makes_are_refused() {
    let dir = Dir::new("hand-moe");
    let rt = Runtime::new(1, None).unwrap();
    for name in ["llama-moe.gguf", "phi3.gguf"] {
        let model = common::run::open(&common::run::reference(name), 1, Isa::Scalar);
        let e = file::save(&model.graph, &Params::of(&model.store), |_| Ok(()), &dir.0.join("x.gguf")).unwrap_err();
        assert_eq!(e.code(), Code::Unsupported, "{name}");
        assert!(!dir.0.join("x.gguf").exists());
    }
    let (graph, store) = table(&rt);
    let missing = dir.0.join("no/such/folder.gguf");
    assert_eq!(file::save(&graph, &Params::of(&store), |_| Ok(()), &missing).unwrap_err().code(), Code::Io);
}

fn bytes(dir: &Dir, rt: &Runtime, build: fn(&Runtime) -> (Graph, qorus::layers::Store)) -> Vec<u8> {
    let (graph, store) = build(rt);
    let path = dir.0.join("m.gguf");
    file::save(&graph, &Params::of(&store), |_| Ok(()), &path).unwrap();
    std::fs::read(&path).unwrap()
}

fn open(rt: &Arc<Runtime>, file: Vec<u8>) -> qorus::Result<Arc<Model>> {
    Gguf::from_bytes(file).and_then(|gguf| Model::new(rt, Arc::new(gguf)))
}

/// The file with another value for a key.
fn with<'a>(file: &[u8], key: &str, value: impl Into<qorus::gguf::Value<'a>>) -> Vec<u8> {
    let gguf = Gguf::from_bytes(file.to_vec()).unwrap();
    let mut w = Writer::new();
    gguf.entries().for_each(|(key, value)| _ = w.put(key, value).unwrap());
    assert!(gguf.get(key).is_some() || key.ends_with("width"), "{key}");
    w.put(key, value).unwrap();
    gguf.tensors().iter().for_each(|t| {
        w.tensor(gguf.tensor_name(t), t.ty, &t.dims[..t.n_dims as usize]).unwrap();
    });
    let mut out = w.begin(Vec::new()).unwrap();
    gguf.tensors().iter().for_each(|t| out.write(gguf.data(t)).unwrap());
    out.finish().unwrap()
}

#[test]
fn wrong_descriptions_are_refused() {
    let dir = Dir::new("hand-bad");
    let rt = Runtime::new(1, Some(Isa::Scalar)).unwrap();
    let (t, r) = (bytes(&dir, &rt, transformer), bytes(&dir, &rt, table));
    #[track_caller]
    fn refuse(rt: &Arc<Runtime>, file: Vec<u8>, code: Code, words: &[&str]) {
        let error = within_limits(|| open(rt, file)).err().expect("the model was accepted");
        check(&error, code, "memory: ", words);
    }
    refuse(&rt, with(&r, "qorus.version", 2u32), Code::Unsupported, &["version 2"]);
    refuse(&rt, without(&r, "qorus.version"), Code::Format, &["qorus.version"]);
    refuse(&rt, with(&r, "qorus.layer_count", 1000u32), Code::Format, &["qorus.layer_count", "1000"]);
    refuse(&rt, with(&r, "qorus.layer_count", 0u32), Code::Format, &["qorus.layer_count"]);
    refuse(&rt, with(&r, "qorus.layer.1.kind", "circle"), Code::Unsupported, &["layer 1", "circle"]);
    refuse(&rt, with(&r, "qorus.layer.1.kind", 1u32), Code::Format, &["qorus.layer.1.kind"]);
    refuse(&rt, with(&r, "qorus.layer.1.kind", "embedding"), Code::Format, &["layer 1"]);
    refuse(&rt, with(&r, "qorus.input_width", 1u32), Code::Format, &["qorus.layer.0.tables", "expected 0 to 1"]);
    refuse(&rt, with(&r, "qorus.input_width", 6u32), Code::Format, &["layer.1.weight"]);
    refuse(&rt, with(&r, "qorus.input_width", u32::MAX), Code::Format, &["qorus.input_width"]);
    refuse(&rt, without(&r, "qorus.input_width"), Code::Format, &["qorus.input_width"]);
    refuse(&rt, with(&t, "qorus.input_width", 4u32), Code::Format, &["embedding"]);
    refuse(&rt, with(&r, "qorus.layer.2.function", "tan"), Code::Unsupported, &["tan", "relu"]);
    for rate in [1.0, -0.1, f32::NAN] {
        refuse(&rt, with(&r, "qorus.layer.3.rate", rate), Code::Format, &["qorus.layer.3.rate"]);
    }
    refuse(&rt, without(&r, "layer.0.table.1"), Code::Format, &["layer.0.table.1"]);
    refuse(&rt, without(&r, "layer.1.weight"), Code::Format, &["layer.1.weight"]);
    // Layers of the transformer: embedding, scale, residual, layernorm, attention, ...
    for (key, value) in [("heads", 0), ("heads", 5), ("kv_heads", 3), ("head_dim", 1 << 23), ("head_dim", 0)] {
        let key = format!("qorus.layer.4.{key}");
        refuse(&rt, with(&t, &key, value as u32), Code::Format, &[]);
    }
    for (key, bad) in [("scale", 0.0), ("scale", f32::INFINITY), ("softcap", -1.0), ("softcap", f32::NAN)] {
        let key = format!("qorus.layer.4.{key}");
        refuse(&rt, with(&t, &key, bad), Code::Format, &[&key]);
    }
    let rope = Gguf::from_bytes(t.clone()).unwrap();
    let rope = rope.entries().find(|(key, _)| key.ends_with("rope.base")).unwrap().0.to_owned();
    for bad in [0.0, -3.0, f64::NAN, f64::INFINITY] {
        refuse(&rt, with(&t, &rope, bad), Code::Format, &["turn"]);
    }
    for bad in [0u32, 3, 14] {
        refuse(&rt, with(&t, &rope.replace("base", "dim"), bad), Code::Format, &[]);
    }
    refuse(&rt, with(&t, "qorus.layer.2.layers", 1000u32), Code::Format, &[]);
    refuse(&rt, with(&t, "qorus.layer.2.layers", 0u32), Code::Format, &[]);
    // A vocabulary of another length than the embedding.
    let gguf = Gguf::from_bytes(t.clone()).unwrap();
    let mut w = Writer::new();
    gguf.entries().for_each(|(key, value)| _ = w.put(key, value).unwrap());
    w.put_strings("tokenizer.ggml.tokens", ["a", "b"]).unwrap();
    gguf.tensors().iter().for_each(|t| {
        w.tensor(gguf.tensor_name(t), t.ty, &t.dims[..t.n_dims as usize]).unwrap();
    });
    let mut out = w.begin(Vec::new()).unwrap();
    gguf.tensors().iter().for_each(|t| out.write(gguf.data(t)).unwrap());
    refuse(&rt, out.finish().unwrap(), Code::Format, &["2 tokens", "40 rows"]);
    // Branches inside each other without end.
    let mut w = Writer::new();
    w.put("general.architecture", "qorus").unwrap().put("qorus.version", 1u32).unwrap();
    w.put("qorus.input_width", 3u32).unwrap().put("qorus.layer_count", 1000u32).unwrap();
    for n in 0..1000 {
        w.put(&format!("qorus.layer.{n}.kind"), "residual").unwrap();
        w.put(&format!("qorus.layer.{n}.layers"), 1u32).unwrap();
    }
    refuse(&rt, w.begin(Vec::new()).unwrap().finish().unwrap(), Code::Unsupported, &["inside each other"]);
    let bare = qorus_vocabulary();
    refuse(&rt, bare, Code::Format, &["qorus.version"]);
}

fn qorus_vocabulary() -> Vec<u8> {
    let mut w = Writer::new();
    w.put("general.architecture", "qorus").unwrap();
    w.begin(Vec::new()).unwrap().finish().unwrap()
}

/// Every key left out, and bytes of the description changed at random: an error, or a model that runs.
#[test]
fn damaged_files_do_no_harm() {
    let dir = Dir::new("hand-damage");
    let rt = Runtime::new(1, Some(Isa::Scalar)).unwrap();
    for build in [transformer, table] {
        let whole = bytes(&dir, &rt, build);
        let gguf = Gguf::from_bytes(whole.clone()).unwrap();
        let names: Vec<String> = gguf.entries().map(|(key, _)| key.to_owned()).collect();
        let tensors: Vec<String> = gguf.tensors().iter().map(|t| gguf.tensor_name(t).to_owned()).collect();
        for name in names.iter().chain(&tensors) {
            let optional = ["bias", "q_norm.weight", "k_norm.weight", "rope.style", "gate.weight", "norm.eps"];
            let opened = open(&rt, without(&whole, name));
            let may = optional.iter().any(|part| name.contains(part));
            assert!(opened.is_err() || may, "{name} is not missed");
        }
        let data = gguf.tensors().iter().map(|t| t.offset).min().unwrap() as usize;
        let (mut seed, mut good) = (7u64, 0);
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize % below
        };
        for _ in 0..3000 {
            let at = random(data);
            let value = if random(2) == 0 { whole[at] ^ (1 << random(8)) } else { random(256) as u8 };
            let damaged = patch(whole.clone(), at, &[value]);
            if let Ok(model) = within_limits(|| open(&rt, damaged)) {
                let params = ContextParams { n_ctx: 8, n_outputs: 8, ..ContextParams::default() };
                if let Ok(mut ctx) = Context::new(&model, &params) {
                    // Indices may be out of range, a context too small: an error is as good as a result.
                    let _ = match model.graph.in_width {
                        0 => ctx.append(0, &[1, 2, 3]),
                        width => ctx.forward_rows(&vec![0.0; 2 * width]),
                    };
                    good += 1;
                }
            }
        }
        assert!(good > 20, "only {good} of 3000 opened: nothing was tried");
    }
}
