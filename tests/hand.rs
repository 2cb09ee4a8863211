//! Models built by hand: a llama of a file built again layer by layer has the same bits, small networks have the values
//! that plain loops compute, and what does not fit is refused.

#[path = "common/run.rs"]
mod run;

use qorus::engine::{Context, ContextParams, Model, Runtime};
use qorus::gguf::Gguf;
use qorus::models::hand::{AttentionValues, Hand, LinearValues, RopeValues, Values};
use qorus::ops::activation::Activation;
use qorus::ops::rope::RopeStyle;
use qorus::{Code, Isa, Type};
use run::{bits, reference};
use std::sync::Arc;

/// The parameters of a file by name.
struct File(Arc<Gguf>);

impl File {
    fn matrix(&self, name: &str) -> Values<'_> {
        let info = self.0.tensor(name).unwrap_or_else(|| panic!("{name} is missing"));
        let [cols, rows, ..] = info.dims.map(|dim| dim as usize);
        Values { ty: info.ty, rows, cols, bytes: self.0.data(info) }
    }

    fn vector(&self, name: &str) -> Option<Vec<f32>> {
        let info = self.0.tensor(name)?;
        assert_eq!(info.ty, Type::F32);
        Some(self.0.data(info).chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    fn number(&self, key: &str) -> Option<usize> {
        self.0.u32(&format!("llama.{key}")).unwrap().map(|n| n as usize)
    }
}

/// The llama of a file, built again.
fn rebuild(runtime: &Arc<Runtime>, gguf: &Arc<Gguf>) -> Arc<Model> {
    let file = File(Arc::clone(gguf));
    let mut b = Hand::new(&runtime.kernels);
    let eps = gguf.f32("llama.attention.layer_norm_rms_epsilon").unwrap().unwrap();
    let n_head = file.number("attention.head_count").unwrap();
    let width = file.number("embedding_length").unwrap();
    let head_dim = file.number("attention.key_length").unwrap_or(width / n_head);
    b.embedding(&file.matrix("token_embd.weight")).unwrap();
    for i in 0..file.number("block_count").unwrap() {
        let name = |part: &str| format!("blk.{i}.{part}");
        let names = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
        let biases = names.map(|part| file.vector(&name(&format!("{part}.bias"))));
        let [q, k, v, o, gate, up, down] = std::array::from_fn(|i| LinearValues {
            w: file.matrix(&name(&format!("{}.weight", names[i]))),
            bias: biases[i].as_deref(),
        });
        b.residual_begin().unwrap();
        b.rmsnorm(&file.vector(&name("attn_norm.weight")).unwrap(), eps).unwrap();
        b.attention(&AttentionValues {
            n_head,
            n_kv: file.number("attention.head_count_kv").unwrap(),
            head_dim,
            q,
            k,
            v,
            o,
            q_norm: None,
            k_norm: None,
            rope: Some(RopeValues {
                style: RopeStyle::Norm,
                dim: head_dim,
                base: gguf.f32("llama.rope.freq_base").unwrap().unwrap_or(10000.0).into(),
                scale: 1.0,
            }),
            window: 0,
            scale: 0.0,
            softcap: 0.0,
        })
        .unwrap();
        b.residual_end().unwrap();
        b.residual_begin().unwrap();
        b.rmsnorm(&file.vector(&name("ffn_norm.weight")).unwrap(), eps).unwrap();
        b.ffn(Activation::Silu, Some(&gate), &up, &down).unwrap();
        b.residual_end().unwrap();
    }
    b.rmsnorm(&file.vector("output_norm.weight").unwrap(), eps).unwrap();
    let head = if gguf.tensor("output.weight").is_some() { "output.weight" } else { "token_embd.weight" };
    b.linear(&LinearValues { w: file.matrix(head), bias: None }).unwrap();
    let (graph, store) = b.finish().unwrap();
    Model::from_parts(runtime, graph, store)
}

#[test]
fn a_llama_built_by_hand_has_the_bits_of_its_file() {
    let runtime = Runtime::new(2, None).unwrap();
    let tokens: Vec<u32> = (0..20).map(|i| (i * 13 + 3) % 60).collect();
    for name in ["llama", "llama-tied", "llama-bias", "llama-q8_0", "llama-q4_k", "llama-iq2_xxs", "llama-bf16"] {
        let gguf = Arc::new(Gguf::open(&reference(&format!("{name}.gguf"))).unwrap());
        let models = [Model::new(&runtime, Arc::clone(&gguf)).unwrap(), rebuild(&runtime, &gguf)];
        let [expected, found] = models.map(|model| {
            let mut ctx = run::context(&model, 32, tokens.len(), Type::F16);
            bits(&run::logits(&mut ctx, &tokens))
        });
        assert!(expected.len() >= 20 * 64 && expected == found, "{name}");
    }
}

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

fn values(w: &[f32], rows: usize, cols: usize) -> Values<'_> {
    Values { ty: Type::F32, rows, cols, bytes: bytemuck::cast_slice(w) }
}

fn affine(x: &[f64], w: &[f32], b: &[f32], out: usize) -> Vec<f64> {
    let dot = |o: usize| w[o * x.len()..][..x.len()].iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum::<f64>();
    (0..out).map(|o| dot(o) + f64::from(b[o])).collect()
}

#[test]
fn a_small_network_computes_what_plain_loops_do() {
    let runtime = Runtime::new(1, None).unwrap();
    let (w1, b1, w2, b2) = (numbers(24 * 10, 1), numbers(24, 2), numbers(10 * 24, 3), numbers(10, 4));
    let (g, beta, w3, b3) = (numbers(10, 5), numbers(10, 6), numbers(3 * 10, 7), numbers(3, 8));
    let mut b = Hand::new(&runtime.kernels);
    b.rows(10).unwrap();
    b.residual_begin().unwrap();
    b.layernorm(&g, Some(&beta), 1e-5).unwrap();
    let up = LinearValues { w: values(&w1, 24, 10), bias: Some(&b1) };
    let down = LinearValues { w: values(&w2, 10, 24), bias: Some(&b2) };
    b.ffn(Activation::GeluErf, None, &up, &down).unwrap();
    b.residual_end().unwrap();
    b.activation(Activation::Relu).unwrap();
    b.linear(&LinearValues { w: values(&w3, 3, 10), bias: Some(&b3) }).unwrap();
    b.scale(2.0).unwrap();
    assert_eq!(b.width(), 3);
    let (graph, store) = b.finish().unwrap();
    let model = Model::from_parts(&runtime, graph, store);
    let rows = 5;
    let params = ContextParams { n_ctx: 8, n_batch: 2, n_outputs: rows, ..ContextParams::default() };
    let mut ctx = Context::new(&model, &params).unwrap();
    let x = numbers(rows * 10, 9);
    ctx.forward_rows(&x).unwrap();
    for (i, x) in x.chunks(10).enumerate() {
        let x: Vec<f64> = x.iter().map(|&v| v.into()).collect();
        let mean = x.iter().sum::<f64>() / 10.0;
        let deviation = (x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 10.0 + 1e-5).sqrt();
        let normed: Vec<f64> =
            (0..10).map(|j| (x[j] - mean) / deviation * f64::from(g[j]) + f64::from(beta[j])).collect();
        let gelu = |v: f64| 0.5 * v * (1.0 + erf(v / std::f64::consts::SQRT_2));
        let hidden: Vec<f64> = affine(&normed, &w1, &b1, 24).into_iter().map(gelu).collect();
        let sum = affine(&hidden, &w2, &b2, 10);
        let relu: Vec<f64> = x.iter().zip(sum).map(|(x, f)| (x + f).max(0.0)).collect();
        for (found, expected) in ctx.logits(i).unwrap().iter().zip(affine(&relu, &w3, &b3, 3)) {
            approx::assert_abs_diff_eq!(f64::from(*found), 2.0 * expected, epsilon = 2e-6);
        }
    }
    // The weights are in the plan: this model has nothing else.
    let floats = w1.len() + b1.len() + w2.len() + b2.len() + g.len() + beta.len() + w3.len() + b3.len();
    let resident = ctx.reserved().weights_resident;
    assert!((floats * 4..floats * 4 + 3 * 64).contains(&resident), "{resident} for {floats} floats");
}

/// The series of erf, for arguments of the size of this test's.
fn erf(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    for n in 1..60 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let runtime = Runtime::new(1, Some(Isa::Scalar)).unwrap();
    let w = numbers(64 * 64, 1);
    let mut b = Hand::new(&runtime.kernels);
    let code = |result: qorus::Result<()>| result.unwrap_err().code();
    let plain = |rows, cols| LinearValues { w: values(&w[..rows * cols], rows, cols), bias: None };
    assert_eq!(code(b.linear(&plain(4, 4))), Code::State);
    assert_eq!(b.finish().map(drop).unwrap_err().code(), Code::State);
    assert_eq!(code(b.rows(0)), Code::Shape);
    b.rows(16).unwrap();
    assert_eq!(code(b.rows(16)), Code::State);
    assert_eq!(code(b.embedding(&values(&w[..32], 2, 16))), Code::State);
    assert_eq!(b.finish().map(drop).unwrap_err().code(), Code::State);
    assert_eq!(code(b.linear(&plain(4, 15))), Code::Shape);
    assert_eq!(code(b.linear(&LinearValues { bias: Some(&w[..5]), ..plain(4, 16) })), Code::Shape);
    assert_eq!(code(b.linear(&LinearValues { w: values(&w[..63], 4, 16), bias: None })), Code::Shape);
    let blocks = Values { ty: Type::Q8_0, rows: 4, cols: 16, bytes: &[0; 64] };
    assert_eq!(code(b.linear(&LinearValues { w: blocks, bias: None })), Code::Shape);
    let integers = Values { ty: Type::I32, ..values(&w[..64], 4, 16) };
    assert_eq!(code(b.linear(&LinearValues { w: integers, bias: None })), Code::Unsupported);
    assert_eq!(code(b.rmsnorm(&w[..15], 1e-5)), Code::Shape);
    assert_eq!(code(b.rmsnorm(&w[..16], f32::NAN)), Code::InvalidArgument);
    assert_eq!(code(b.softcap(0.0)), Code::InvalidArgument);
    assert_eq!(code(b.residual_end()), Code::State);
    b.residual_begin().unwrap();
    assert_eq!(code(b.residual_end()), Code::State);
    b.linear(&plain(8, 16)).unwrap();
    assert_eq!(code(b.residual_end()), Code::Shape);
    assert_eq!(b.finish().map(drop).unwrap_err().code(), Code::State);
    b.linear(&plain(16, 8)).unwrap();
    b.residual_end().unwrap();
    let attention = AttentionValues {
        n_head: 4,
        n_kv: 2,
        head_dim: 4,
        q: plain(16, 16),
        k: plain(8, 16),
        v: plain(8, 16),
        o: plain(16, 16),
        q_norm: None,
        k_norm: None,
        rope: None,
        window: 0,
        scale: 0.0,
        softcap: 0.0,
    };
    assert_eq!(code(b.attention(&AttentionValues { n_kv: 3, ..attention })), Code::Shape);
    assert_eq!(code(b.attention(&AttentionValues { n_kv: 0, ..attention })), Code::Shape);
    assert_eq!(code(b.attention(&AttentionValues { k: plain(16, 16), ..attention })), Code::Shape);
    assert_eq!(code(b.attention(&AttentionValues { q_norm: Some((&w[..16], 1e-5)), ..attention })), Code::Shape);
    let rope = RopeValues { style: RopeStyle::Neox, dim: 6, base: 1e4, scale: 1.0 };
    assert_eq!(code(b.attention(&AttentionValues { rope: Some(rope), ..attention })), Code::Shape);
    let nan = RopeValues { dim: 4, base: f64::NAN, ..rope };
    assert_eq!(code(b.attention(&AttentionValues { rope: Some(nan), ..attention })), Code::InvalidArgument);
    b.attention(&AttentionValues { rope: Some(RopeValues { dim: 4, ..rope }), ..attention }).unwrap();
    let (graph, store) = b.finish().unwrap();
    // Of all that failed nothing is left: two matrices of the branch, four of the attention, one rope, one cache.
    assert_eq!((graph.ropes.len(), graph.caches.len(), graph.resident), (1, 1, 0));
    assert_eq!(store.reserved(), (2 * 16 * 8 + 2 * 16 * 16 + 2 * 8 * 16) * 4);
    assert_eq!(code(b.linear(&plain(4, 16))), Code::State);
    b.rows(4).unwrap();
}
