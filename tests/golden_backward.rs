//! Gradients against PyTorch's: single layers, attention, and two llamas with every weight.

mod golden;
#[path = "common/lesson.rs"]
mod lesson;
#[path = "common/run.rs"]
mod run;

use golden::llama::{llama, names};
use golden::{Golden, near, within};
use lesson::{Input, Lesson};
use qorus::engine::Runtime;
use qorus::gguf::Gguf;
use qorus::layers::keep::Keep;
use qorus::layers::trained::Param;
use qorus::layers::{Params, Store};
use qorus::memory::Region;
use qorus::models::Graph;
use qorus::models::hand::{AttentionValues, Hand, LinearValues, RopeValues, Values};
use qorus::models::rope::{self, Rope};
use qorus::ops::Exec;
use qorus::ops::activation::Activation;
use qorus::ops::attend::{AttendParams, Place};
use qorus::ops::attend_rows::{self, RowsShape};
use qorus::ops::rope::RopeStyle;
use qorus::threads::Shards;
use qorus::{Isa, Type};
use std::sync::atomic::AtomicBool;

/// A case of a file: its inputs, and what is expected.
struct Case<'a>(&'a Golden, &'a str);

impl Case<'_> {
    fn input(&self, name: &str) -> Vec<f32> {
        self.0.f32(&format!("{}/in/{name}", self.1))
    }

    fn shape(&self, name: &str) -> Vec<usize> {
        self.0.shape(&format!("{}/in/{name}", self.1))
    }

    fn near(&self, name: &str, found: &[f32]) {
        near(&format!("{} {name}", self.1), found, &self.0.f64(&format!("{}/f64/{name}", self.1)));
    }
}

fn hand(build: impl FnOnce(&mut Hand)) -> (Graph, Store) {
    let mut b = Hand::new(&qorus::kernels::Kernels::new(Isa::Scalar).unwrap());
    build(&mut b);
    b.finish().unwrap()
}

fn values(w: &[f32], cols: usize) -> Values<'_> {
    Values { ty: Type::F32, rows: w.len() / cols, cols, bytes: bytemuck::cast_slice(w) }
}

fn linear<'a>(w: &'a [f32], cols: usize, bias: Option<&'a [f32]>) -> LinearValues<'a> {
    LinearValues { w: values(w, cols), bias }
}

/// Runs a model on the rows `x` of the case and compares result and gradients, the parameters' in the order `names`.
fn check(case: &Case, lens: &[u32], names: &[&str], build: impl Fn(&mut Hand)) {
    for isa in run::levels() {
        let mut lesson = Lesson::new(2, isa, hand(&build), |_| true);
        lesson.dx = true;
        let mut room = lesson.room(lens);
        let (x, dy) = (case.input("x"), case.input(if case.0.has(&format!("{}/in/dy", case.1)) { "dy" } else { "do" }));
        let input = Input { tokens: &[], x: &x, lens };
        lesson.pass(&input, &mut room, |_, d| d.copy_from_slice(&dy));
        case.near("y", &room.y);
        case.near("grad_x", &room.dx);
        assert_eq!(lesson.trained.list().len(), names.len());
        for (i, name) in names.iter().enumerate() {
            case.near(&format!("grad_{name}"), lesson.grad(i));
        }
    }
}

#[test]
fn golden_layers() {
    let file = Golden::open("ops");
    for (name, act) in [
        ("relu", Activation::Relu),
        ("silu", Activation::Silu),
        ("gelu_tanh", Activation::Gelu),
        ("gelu_erf", Activation::GeluErf),
    ] {
        check(&Case(&file, name), &[7], &[], |b| {
            b.rows(33).unwrap();
            b.activation(act).unwrap();
        });
    }
    check(&Case(&file, "tanh"), &[7], &[], |b| {
        b.rows(33).unwrap();
        b.softcap(1.0).unwrap();
    });
    for (name, eps) in [("rmsnorm_64", 1e-5), ("rmsnorm_100", 1e-5), ("rmsnorm_33", 1e-5), ("rmsnorm_eps6_small", 1e-6)]
    {
        let case = Case(&file, name);
        let w = case.input("w");
        check(&case, &[case.shape("x")[0] as u32], &["w"], |b| {
            b.rows(w.len()).unwrap();
            b.rmsnorm(&w, eps).unwrap();
        });
    }
    for name in ["layernorm_64", "layernorm_100", "layernorm_33"] {
        let case = Case(&file, name);
        let (w, bias) = (case.input("w"), case.input("b"));
        check(&case, &[5], &["w", "b"], |b| {
            b.rows(w.len()).unwrap();
            b.layernorm(&w, Some(&bias), 1e-5).unwrap();
        });
    }
    for (name, lens, biased) in [("linear", [5, 5], true), ("linear_nobias", [10, 9], false)] {
        let case = Case(&file, name);
        let (w, cols) = (case.input("w"), case.shape("w")[1]);
        let bias = biased.then(|| case.input("b"));
        let names: &[&str] = if biased { &["w", "b"] } else { &["w"] };
        check(&case, &lens, names, |b| {
            b.rows(cols).unwrap();
            b.linear(&linear(&w, cols, bias.as_deref())).unwrap();
        });
    }
    let case = Case(&file, "swiglu");
    let (gate, up, down) = (case.input("w_gate"), case.input("w_up"), case.input("w_down"));
    check(&case, &[9], &["w_gate", "w_up", "w_down"], |b| {
        b.rows(32).unwrap();
        b.ffn(Activation::Silu, Some(&linear(&gate, 32, None)), &linear(&up, 32, None), &linear(&down, 56, None))
            .unwrap();
    });
    let case = Case(&file, "gelu_mlp");
    let [w1, b1, w2, b2] = ["w1", "b1", "w2", "b2"].map(|name| case.input(name));
    check(&case, &[9], &["w1", "b1", "w2", "b2"], |b| {
        b.rows(32).unwrap();
        b.ffn(Activation::Gelu, None, &linear(&w1, 32, Some(&b1)), &linear(&w2, 56, Some(&b2))).unwrap();
    });
}

#[test]
fn golden_embedding() {
    let file = Golden::open("ops");
    let case = Case(&file, "embedding");
    let (w, dy) = (case.input("w"), case.input("dy"));
    let ids: Vec<u32> = file.ints("embedding/in/ids").iter().map(|&id| id as u32).collect();
    for threads in [1, 2, 3] {
        let model = hand(|b| b.embedding(&values(&w, 24)).unwrap());
        let mut lesson = Lesson::new(threads, Isa::detect(), model, |_| true);
        let lens = [4, 4];
        let mut room = lesson.room(&lens);
        let input = Input { tokens: &ids, x: &[], lens: &lens };
        lesson.pass(&input, &mut room, |_, d| d.copy_from_slice(&dy));
        case.near("y", &room.y);
        case.near("grad_w", lesson.grad(0));
    }
}

#[test]
fn golden_attention_blocks() {
    let file = Golden::open("attention");
    for (name, style, biased) in [
        ("gqa_block_norm", RopeStyle::Norm, false),
        ("gqa_block_neox", RopeStyle::Neox, false),
        ("gqa_block_neox_qkvbias", RopeStyle::Neox, true),
    ] {
        let case = Case(&file, name);
        let [q, k, v, o] = ["wq", "wk", "wv", "wo"].map(|name| case.input(name));
        let biases = if biased { ["bq", "bk", "bv"].map(|name| case.input(name)) } else { Default::default() };
        let [bq, bk, bv] = &biases;
        let names: &[&str] =
            if biased { &["wq", "bq", "wk", "bk", "wv", "bv", "wo"] } else { &["wq", "wk", "wv", "wo"] };
        check(&case, &[12, 12], names, |b| {
            b.rows(64).unwrap();
            b.attention(&AttentionValues {
                n_head: 4,
                n_kv: 2,
                head_dim: 16,
                q: linear(&q, 64, biased.then_some(bq)),
                k: linear(&k, 64, biased.then_some(bk)),
                v: linear(&v, 64, biased.then_some(bv)),
                o: linear(&o, 64, None),
                q_norm: None,
                k_norm: None,
                rope: Some(RopeValues { style, dim: 16, base: 10000.0, scale: 1.0 }),
                window: 0,
                scale: 0.0,
                softcap: 0.0,
            })
            .unwrap();
        });
    }
}

/// The mean cross-entropy of logits `[rows][classes]`, and its gradient.
fn cross_entropy(logits: &[f32], targets: &[i64], d: &mut [f32]) -> f64 {
    let classes = logits.len() / targets.len();
    let mut loss = 0.0;
    for ((row, &target), d) in logits.chunks(classes).zip(targets).zip(d.chunks_mut(classes)) {
        let max = row.iter().fold(f64::NEG_INFINITY, |m, &x| m.max(x.into()));
        let sum: f64 = row.iter().map(|&x| (f64::from(x) - max).exp()).sum();
        loss += max + sum.ln() - f64::from(row[target as usize]);
        for (i, (d, &x)) in d.iter_mut().zip(row).enumerate() {
            let p = (f64::from(x) - max).exp() / sum;
            *d = ((p - f64::from(i == target as usize)) / targets.len() as f64) as f32;
        }
    }
    loss / targets.len() as f64
}

#[test]
fn golden_llamas() {
    for (name, tied) in [("llama2l_norm", false), ("llama2l_norm_tied", true), ("llama2l_neox", false)] {
        let file = Golden::open(name);
        let gguf = llama(&file, tied);
        let model = || {
            let mut graph = Graph::from_gguf(&gguf).unwrap();
            if name == "llama2l_neox" {
                graph.ropes.iter_mut().for_each(|rope| rope.style = RopeStyle::Neox);
            }
            let store = graph.load(&gguf).unwrap();
            (graph, store)
        };
        let tokens: Vec<u32> = file.ints("in/ids").iter().map(|&id| id as u32).collect();
        let targets = file.ints("in/targets");
        let lens = [24; 4];
        let mut bits: Option<Vec<u32>> = None;
        for (threads, keep) in [(1, Keep::F32), (2, Keep::F32), (3, Keep::Inputs)] {
            let mut lesson = Lesson::new(threads, Isa::detect(), model(), |_| true);
            lesson.mode.keep = keep;
            let mut room = lesson.room(&lens);
            let input = Input { tokens: &tokens, x: &[], lens: &lens };
            let loss = lesson.pass(&input, &mut room, |y, d| cross_entropy(y, &targets, d));
            within(&format!("{name} logits"), &golden::wide(&room.y), &file.f64("f64/logits"), 1e-5, 0.0);
            within(&format!("{name} loss"), &[loss], &file.f64("f64/loss"), 1e-5, 0.0);
            let names = names(tied);
            assert_eq!(lesson.trained.list().len(), names.len());
            for (i, t) in lesson.trained.list().iter().enumerate() {
                let ours = tensor_name(&gguf, &lesson, &t.param, i);
                let (_, theirs) = names.iter().find(|(name, _)| format!("{name}.weight") == ours).unwrap();
                near(&format!("{name} {theirs}"), lesson.grad(i), &file.f64(&format!("f64/grad/{theirs}")));
            }
            let found: Vec<u32> = lesson.grads.iter().chain(&room.y).map(|x| x.to_bits()).collect();
            assert!(*bits.get_or_insert_with(|| found.clone()) == found, "{threads} threads give other bits");
        }
    }
}

/// The name of a trained parameter in its file.
fn tensor_name(gguf: &Gguf, lesson: &Lesson, param: &Param, index: usize) -> String {
    let at = match param {
        Param::Matrix(w) => w.tensor(),
        Param::Vector(v) => lesson.graph.loads.iter().find(|load| load.at == v.start()).unwrap().tensor,
        Param::Factor(..) => panic!("there is no adapter"),
    };
    let name = gguf.tensor_name(&gguf.tensors()[at]);
    assert!(!name.is_empty(), "parameter {index}");
    name.to_owned()
}

#[test]
fn trained_values_take_the_place_of_the_stored() {
    let file = Golden::open("llama2l_norm");
    let gguf = llama(&file, false);
    let graph = Graph::from_gguf(&gguf).unwrap();
    let store = graph.load(&gguf).unwrap();
    let lesson = Lesson::new(1, Isa::Scalar, (graph, store), |p| matches!(p, Param::Matrix(_)));
    assert_eq!(lesson.trained.list().len(), 2 * 7 + 2);
    let changed: Vec<f32> = lesson.values.iter().map(|v| v + 1.0).collect();
    let params = Params::with(&lesson.store, qorus::layers::trained::Values::new(&lesson.trained, &changed).unwrap());
    for t in lesson.trained.list() {
        let Param::Matrix(w) = t.param else { panic!("vectors are frozen") };
        let m = params.matrix(&w).unwrap();
        assert_eq!(m.bytes, bytemuck::cast_slice::<f32, u8>(&changed[t.at..t.at + t.len]));
        assert_ne!(m.bytes, lesson.store.matrix(&w).unwrap().bytes);
    }
}

/// Runs `f` on two threads with that much scratch each.
fn with_exec(isa: Isa, each: usize, f: impl FnOnce(&Exec)) {
    let runtime = Runtime::new(2, Some(isa)).unwrap();
    let each = each.next_multiple_of(64);
    let (mut bytes, never) = (vec![0; 2 * each], AtomicBool::new(false));
    let scratch = Shards::new(&mut bytes);
    let (kernels, pool) = (&runtime.kernels, &runtime.pool);
    f(&Exec { kernels, pool, scratch: &scratch, scratch_bytes: each, cancel: &never });
}

#[test]
fn golden_attention_of_heads() {
    let file = Golden::open("attention");
    for isa in run::levels() {
        for name in ["sdpa_gqa_causal", "sdpa_mha_causal"] {
            let case = Case(&file, name);
            let [q, k, v, d_out] = ["q", "k", "v", "do"].map(|name| case.input(name));
            let (dims, n_kv) = (case.shape("q"), case.shape("k")[2]);
            let lens = vec![dims[1] as u32; dims[0]];
            let p = AttendParams { n_head: dims[2], scale: 1.0 / (dims[3] as f32).sqrt(), softcap: 0.0, window: 0 };
            let shape = RowsShape { n_kv, head_dim: dims[3], lens: &lens };
            let new = |x: &[f32]| vec![f32::NAN; x.len()];
            let (mut out, mut dq, mut dk, mut dv) = (new(&q), new(&q), new(&k), new(&v));
            with_exec(isa, attend_rows::scratch(&p, dims[3], dims[1]), |exec| {
                attend_rows::attend_rows(exec, &p, shape, (&q, &k, &v), &mut out).unwrap();
                let into = (&mut dq[..], &mut dk[..], &mut dv[..]);
                attend_rows::attend_rows_backward(exec, &p, shape, (&q, &k, &v), &d_out, into).unwrap();
            });
            case.near("o", &out);
            case.near("grad_q", &dq);
            case.near("grad_k", &dk);
            case.near("grad_v", &dv);
        }
    }
}

#[test]
fn golden_rotations() {
    let file = Golden::open("attention");
    for (name, style, base, first) in [
        ("rope_norm_base10000_pos0", RopeStyle::Norm, 1e4, 0),
        ("rope_norm_base1000000_pos37", RopeStyle::Norm, 1e6, 37),
        ("rope_neox_base10000_pos0", RopeStyle::Neox, 1e4, 0),
        ("rope_neox_base1000000_pos37", RopeStyle::Neox, 1e6, 37),
    ] {
        let case = Case(&file, name);
        let (mut x, mut dx, dims) = (case.input("x"), case.input("dy"), case.shape("x"));
        let table = Rope::plain(style, dims[3], base, 1.0);
        let places: Vec<Place> =
            (0..dims[0] * dims[1]).map(|i| Place { seq: 0, pos: first + (i % dims[1]) as u32 }).collect();
        let mut region = Region::new(rope::train_need(std::slice::from_ref(&table), places.len()).peak()).unwrap();
        region.with_frame(|frame| {
            let there = rope::rows(std::slice::from_ref(&table), 64, &places, frame).unwrap();
            let back = rope::back(&there, 1, frame).unwrap();
            with_exec(Isa::detect(), 0, |exec| {
                for (x, r) in [(&mut x, &there[0]), (&mut dx, &back[0])] {
                    qorus::ops::rope::rope(exec, style, x, dims[3], r.cos, r.sin, r.half).unwrap();
                }
            });
        });
        case.near("y", &x);
        case.near("grad_x", &dx);
    }
}

#[test]
fn golden_kernels() {
    let file = Golden::open("ops");
    for k in run::levels().into_iter().filter_map(qorus::kernels::Kernels::new) {
        let case = Case(&file, "softmax");
        let (mut y, mut d, width) = (case.input("x"), case.input("dy"), case.shape("x")[1]);
        for (y, d) in y.chunks_mut(width).zip(d.chunks_mut(width)) {
            k.softmax(y, 1.0);
            k.softmax_backward(d, 1.0, y);
        }
        case.near("y", &y);
        case.near("grad_x", &d);
        let case = Case(&file, "softmax_causal");
        let (mut y, mut d) = (case.input("x"), case.input("dy"));
        for (i, (y, d)) in y.chunks_mut(9).zip(d.chunks_mut(9)).enumerate() {
            let seen = i % 9 + 1;
            y[seen..].fill(0.0);
            d[seen..].fill(0.0);
            let (y, d) = (&mut y[..seen], &mut d[..seen]);
            k.scale(y, 0.25);
            k.softmax(y, 1.0);
            k.softmax_backward(d, 1.0, y);
            k.scale(d, 0.25);
        }
        case.near("y", &y);
        case.near("grad_x", &d);
        let case = Case(&file, "silu_mul");
        let (mut g, mut u, mut d) = (case.input("g"), case.input("u"), case.input("dy"));
        k.silu_mul_backward(&mut g, &mut u, &mut d);
        case.near("y", &d);
        case.near("grad_g", &g);
        case.near("grad_u", &u);
    }
}
