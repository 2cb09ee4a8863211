//! Values to begin with: the same for the same seed, spread as they should be, and models of them run.

mod common;

use common::dir::Dir;
use common::run::{context, logits};
use qorus::engine::{Model, Runtime};
use qorus::gguf::Gguf;
use qorus::train::data::vocab::{BpeParams, characters, train_bpe};
use qorus::train::init::{Draw, Shape, llama};
use qorus::{Code, Isa, Type};

const SHAPE: Shape = Shape {
    layers: 3,
    width: 48,
    heads: 4,
    kv_heads: 2,
    head_dim: 16,
    ffn: 80,
    ctx: 64,
    rope_base: 1e4,
    eps: 1e-5,
    tied: true,
};

fn moments(x: &[f32]) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    (mean, (x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n).sqrt())
}

#[test]
fn values_are_spread_as_asked() {
    let mut x = vec![0.0; 100_000];
    Draw::Normal(0.02).fill(1, 0, 0, &mut x);
    let (mean, deviation) = moments(&x);
    assert!(mean.abs() < 2e-4 && (deviation - 0.02).abs() < 2e-4, "{mean} {deviation}");
    let beyond = |k: f32| x.iter().filter(|x| x.abs() > k * 0.02).count() as f64 / x.len() as f64;
    assert!((beyond(1.0) - 0.3173).abs() < 0.006 && (beyond(2.0) - 0.0455).abs() < 0.003);
    Draw::kaiming(24).fill(1, 0, 0, &mut x);
    let (mean, deviation) = moments(&x);
    assert!(x.iter().all(|x| x.abs() <= 0.5) && x.iter().any(|x| x.abs() > 0.499));
    assert!(mean.abs() < 3e-3 && (deviation - 0.5 / 3f64.sqrt()).abs() < 2e-3);
    assert_eq!(Draw::xavier(10, 14), Draw::Uniform(0.5));
    Draw::Constant(3.0).fill(1, 0, 0, &mut x[..5]);
    assert_eq!(x[..5], [3.0; 5]);
}

#[test]
fn values_do_not_depend_on_cuts() {
    let mut whole = vec![0.0; 103];
    for draw in [Draw::Normal(1.0), Draw::Uniform(1.0)] {
        draw.fill(7, 2, 0, &mut whole);
        for step in [1, 3, 4, 50] {
            let mut cut = vec![0.0; 103];
            cut.chunks_mut(step).enumerate().for_each(|(i, part)| draw.fill(7, 2, (i * step) as u64, part));
            assert_eq!(cut, whole);
        }
        for (seed, tensor) in [(8, 2), (7, 3)] {
            let mut other = vec![0.0; 103];
            draw.fill(seed, tensor, 0, &mut other);
            assert!(other.iter().zip(&whole).all(|(a, b)| a != b));
        }
    }
}

#[test]
fn a_llama_of_random_values_runs() {
    let dir = Dir::new("init");
    let text = [dir.file("text", "To be, or not to be, that is the question. To be.".repeat(9).as_bytes())];
    let bytes = train_bpe(&text, &BpeParams::new(300), &mut |_, _| true).unwrap();
    let rt = Runtime::new(1, Some(Isa::Scalar)).unwrap();
    for (v, tied) in [(characters(&text).unwrap(), true), (bytes, false)] {
        let vocabulary = v.to_gguf().unwrap();
        let shape = Shape { tied, ..SHAPE };
        let path = dir.0.join("model.gguf");
        llama(&shape, &vocabulary, 5, &path).unwrap();
        let first = std::fs::read(&path).unwrap();
        let model = Model::open(&rt, &path).unwrap();
        let gguf = Gguf::open(&path).unwrap();
        let weights: u64 = gguf.tensors().iter().map(|t| t.bytes / 4).sum();
        assert_eq!(shape.parameters(v.len()).unwrap(), weights);
        assert_eq!((model.graph.vocab(), model.graph.ctx_train, model.graph.out_width()), (v.len(), 64, v.len()));
        // Nothing is learned: a model as unsure as can be, at any place.
        let mut ctx = context(&model, 8, 8, Type::F32);
        for row in logits(&mut ctx, &[3, 4, 5, 6, 3, 4, 5, 6]).chunks(v.len()) {
            let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            assert!((sum.ln() - (v.len() as f64).ln()).abs() < 0.2 && row.iter().all(|x| x.abs() < 1.5), "{row:?}");
        }
        let of = |name: &str| -> Vec<f32> {
            let bytes = gguf.data(gguf.tensor(name).unwrap()).chunks_exact(4);
            bytes.map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect()
        };
        for (name, want) in [("blk.1.attn_q", 0.02), ("blk.2.ffn_down", 0.02 / 6f64.sqrt()), ("token_embd", 0.02)] {
            let (mean, deviation) = moments(&of(&format!("{name}.weight")));
            assert!(mean.abs() < 0.1 * want && (deviation / want - 1.0).abs() < 0.06, "{name}: {mean} {deviation}");
        }
        assert!(of("blk.0.ffn_norm.weight").iter().all(|&x| x == 1.0));
        drop((ctx, model, gguf));
        llama(&shape, &vocabulary, 5, &path).unwrap();
        assert!(std::fs::read(&path).unwrap() == first);
        llama(&shape, &vocabulary, 6, &path).unwrap();
        assert!(std::fs::read(&path).unwrap() != first);
    }
}

#[test]
fn shapes_that_no_model_has_are_refused() {
    let dir = Dir::new("init-bad");
    let v = characters(&[dir.file("text", b"abc")]).unwrap().to_gguf().unwrap();
    let path = dir.0.join("model.gguf");
    for bad in [
        Shape { layers: 0, ..SHAPE },
        Shape { width: 1 << 25, ..SHAPE },
        Shape { kv_heads: 3, ..SHAPE },
        Shape { kv_heads: 8, ..SHAPE },
        Shape { head_dim: 7, ..SHAPE },
        Shape { heads: 1 << 20, kv_heads: 1, head_dim: 1 << 10, ..SHAPE },
        Shape { ctx: 0, ..SHAPE },
        Shape { rope_base: f32::NAN, ..SHAPE },
        Shape { rope_base: 0.0, ..SHAPE },
        Shape { eps: -1.0, ..SHAPE },
    ] {
        assert_eq!(llama(&bad, &v, 1, &path).unwrap_err().code(), Code::InvalidArgument, "{bad:?}");
        assert!(bad.parameters(10).is_err());
    }
    let none = qorus::gguf::Writer::new().begin(Vec::new()).unwrap().finish().unwrap();
    assert_eq!(llama(&SHAPE, &Gguf::from_bytes(none).unwrap(), 1, &path).unwrap_err().code(), Code::Format);
    assert!(!path.exists());
    assert_eq!(llama(&SHAPE, &v, 1, &dir.0.join("no/model.gguf")).unwrap_err().code(), Code::Io);
}

/// Any graph: files of each architecture, fused projections and experts among them, and a network that has no attention.
#[test]
fn any_graph_is_filled() {
    use qorus::kernels::Kernels;
    use qorus::layers::trained::{Param, Trained};
    use qorus::models::hand::{Hand, LinearValues, Values};
    use qorus::ops::activation::Activation;
    use qorus::train::init::graph;
    for name in ["llama.gguf", "llama-bias.gguf", "phi3.gguf", "qwen2moe.gguf", "qwen3.gguf", "gemma2.gguf"] {
        let model = common::run::open(&common::run::reference(name), 1, Isa::Scalar);
        let trained = Trained::new(&model.graph.layers, &model.store, |_| true).unwrap();
        let mut values = vec![f32::NAN; trained.len()];
        graph(&model.graph, &trained, 3, &mut values).unwrap();
        for t in trained.list() {
            let (part, (mean, deviation)) = (&values[t.at..t.at + t.len], moments(&values[t.at..t.at + t.len]));
            match t.param {
                Param::Vector(_) => assert!(part.iter().all(|&x| x == 0.0) || part.iter().all(|&x| x == 1.0), "{name}"),
                Param::Factor(..) => panic!("there is no adapter"),
                Param::Matrix(_) => {
                    assert!(mean.abs() < 4e-3 && (0.004..0.025).contains(&deviation), "{name}: {mean} {deviation}")
                }
            }
        }
        let mut again = vec![0.0; trained.len()];
        graph(&model.graph, &trained, 4, &mut again).unwrap();
        assert!(again != values);
        assert_eq!(graph(&model.graph, &trained, 4, &mut again[1..]).unwrap_err().code(), Code::Shape);
        // What is frozen changes nothing in the others.
        let some = Trained::new(&model.graph.layers, &model.store, |p| matches!(p, Param::Matrix(_))).unwrap();
        let mut few = vec![0.0; some.len()];
        graph(&model.graph, &some, 3, &mut few).unwrap();
        let (a, b) = (some.list().last().unwrap(), trained.list());
        let b = b.iter().rfind(|t| matches!(t.param, Param::Matrix(_))).unwrap();
        assert_eq!(few[a.at..a.at + a.len], values[b.at..b.at + b.len], "{name}");
    }
    let (w, bias) = (vec![0.0f32; 64 * 64], vec![9.0f32; 64]);
    let square = || Values { ty: Type::F32, rows: 64, cols: 64, bytes: bytemuck::cast_slice(&w) };
    let mut b = Hand::new(&Kernels::new(Isa::Scalar).unwrap());
    b.rows(64).unwrap();
    b.linear(&LinearValues { w: square(), bias: Some(&bias) }).unwrap();
    b.activation(Activation::Relu).unwrap();
    b.linear(&LinearValues { w: square(), bias: None }).unwrap();
    let (net, store) = b.finish().unwrap();
    let trained = Trained::new(&net.layers, &store, |_| true).unwrap();
    let mut values = vec![f32::NAN; trained.len()];
    graph(&net, &trained, 3, &mut values).unwrap();
    let spread = |i: usize| {
        let t = &trained.list()[i];
        values[t.at..t.at + t.len].iter().fold(0f32, |m, x| m.max(x.abs()))
    };
    let (he, glorot) = ((6f32 / 64.0).sqrt(), (6f32 / 128.0).sqrt());
    assert!((0.98 * he..=he).contains(&spread(0)) && spread(1) == 0.0 && (0.98 * glorot..=glorot).contains(&spread(2)));
}
