//! Plans of models far larger than the tests could hold: sparse files that have the headers of real ones.

mod common;

use common::dir::Dir;
use common::limits::within_limits;
use qorus::engine::{ContextParams, plan};
use qorus::gguf::{Gguf, Writer};
use qorus::models::Graph;
use qorus::{Code, Type};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// The sizes of a decoder, as published in its config.json.
struct Shape {
    arch: &'static str,
    layers: u32,
    dim: u64,
    heads: u32,
    kv: u32,
    ffn: u64,
    vocab: u64,
    rope_base: f32,
}

/// Takes what is written and keeps it when the writer goes.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A file whose header describes the model with matrices of type `ty`, and whose weights are a hole.
fn sparse(dir: &Dir, s: &Shape, ty: Type) -> PathBuf {
    let mut w = Writer::new();
    let key = |name: &str| format!("{}.{name}", s.arch);
    w.put("general.architecture", s.arch).unwrap();
    for (name, value) in [
        ("context_length", 32768),
        ("embedding_length", s.dim as u32),
        ("block_count", s.layers),
        ("feed_forward_length", s.ffn as u32),
        ("attention.head_count", s.heads),
        ("attention.head_count_kv", s.kv),
    ] {
        w.put(&key(name), value).unwrap();
    }
    w.put(&key("attention.layer_norm_rms_epsilon"), 1e-6f32).unwrap();
    w.put(&key("rope.freq_base"), s.rope_base).unwrap();
    let mut bytes = 0;
    let mut tensor = |name: &str, ty: Type, dims: &[u64]| {
        w.tensor(name, ty, dims).unwrap();
        bytes += ty.row_bytes(dims[0] as usize).unwrap() as u64 * dims[1..].iter().product::<u64>();
        assert_eq!(bytes % 32, 0, "no padding between tensors");
    };
    let kv_dim = s.dim / u64::from(s.heads) * u64::from(s.kv);
    tensor("token_embd.weight", ty, &[s.dim, s.vocab]);
    tensor("output.weight", ty, &[s.dim, s.vocab]);
    tensor("output_norm.weight", Type::F32, &[s.dim]);
    for i in 0..s.layers {
        let mut block = |name: &str, ty: Type, dims: &[u64]| tensor(&format!("blk.{i}.{name}"), ty, dims);
        block("attn_norm.weight", Type::F32, &[s.dim]);
        block("ffn_norm.weight", Type::F32, &[s.dim]);
        if s.arch == "phi3" {
            block("attn_qkv.weight", ty, &[s.dim, s.dim + 2 * kv_dim]);
            block("ffn_up.weight", ty, &[s.dim, 2 * s.ffn]);
        } else {
            for (name, rows) in [("attn_q", s.dim), ("attn_k", kv_dim), ("attn_v", kv_dim)] {
                block(&format!("{name}.weight"), ty, &[s.dim, rows]);
                block(&format!("{name}.bias"), Type::F32, &[rows]);
            }
            block("ffn_gate.weight", ty, &[s.dim, s.ffn]);
            block("ffn_up.weight", ty, &[s.dim, s.ffn]);
        }
        block("attn_output.weight", ty, &[s.dim, s.dim]);
        block("ffn_down.weight", ty, &[s.ffn, s.dim]);
    }
    let kept = Kept::default();
    drop(w.begin(kept.clone()).unwrap());
    let header = kept.0.lock().unwrap().clone();
    let path = dir.file("sparse.gguf", &header);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(header.len() as u64 + bytes).unwrap();
    path
}

const SHAPES: [Shape; 3] = [
    // Qwen2.5-7B
    Shape { arch: "qwen2", layers: 28, dim: 3584, heads: 28, kv: 4, ffn: 18944, vocab: 152064, rope_base: 1e6 },
    // phi-4
    Shape { arch: "phi3", layers: 40, dim: 5120, heads: 40, kv: 10, ffn: 17920, vocab: 100352, rope_base: 250000.0 },
    // Qwen2.5-32B
    Shape { arch: "qwen2", layers: 64, dim: 5120, heads: 40, kv: 8, ffn: 27648, vocab: 152064, rope_base: 1e6 },
];

#[test]
fn great_models_are_planned_from_their_headers() {
    let dir = Dir::new("plan-sparse");
    for s in &SHAPES {
        let path = sparse(&dir, s, Type::Q4_0);
        let (gguf, graph) = within_limits(|| {
            let gguf = Gguf::open(&path).unwrap();
            let graph = Graph::from_gguf(&gguf).unwrap();
            (gguf, graph)
        });
        let p = ContextParams { n_ctx: 8192, n_batch: 128, kv: Type::F16, ..ContextParams::default() };
        let planned = within_limits(|| plan(&gguf, &graph, &p, 4)).unwrap();
        // By hand: two f16 rows of all key and value heads for each layer and position.
        let row = (s.dim / u64::from(s.heads) * u64::from(s.kv) * 2) as usize;
        assert_eq!(planned.kv_cache, 2 * row * s.layers as usize * 8192);
        assert_eq!(planned.weights_mapped as u64, std::fs::metadata(&path).unwrap().len());
        assert_eq!(planned.total(), planned.classes().iter().map(|c| c.1).sum::<usize>());
        assert!(planned.activations > 0 && planned.activations < 200 << 20, "{planned:?}");
        assert_eq!(planned.threads, 3 * 256 * 1024);
        // Twice the context takes twice the cache, a longer batch more activations.
        let longer = plan(&gguf, &graph, &ContextParams { n_ctx: 16384, ..p }, 4).unwrap();
        assert_eq!(longer.kv_cache, 2 * planned.kv_cache);
        let wider = plan(&gguf, &graph, &ContextParams { n_batch: 256, ..p }, 4).unwrap();
        assert!(wider.activations > planned.activations);
        let need = planned.total_without_mapped();
        assert!(planned.check(need).is_ok());
        let e = planned.check(need - 1).unwrap_err();
        assert_eq!(e.code(), Code::Budget);
        assert!(e.message().contains(&need.to_string()) && e.message().contains("kv_cache"), "{e}");
    }
}
