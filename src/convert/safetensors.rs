//! Directories of Hugging Face's models: `config.json`, `tokenizer.json`, and weights as safetensors in one file or
//! several.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::config::Config;
use super::json::{Json, shown};
use super::names::LAYER;
use super::{Data, OnProgress, Tensor, quantize, save, vocab};
use crate::Type;
use crate::error::{Result, fail};
use crate::gguf::Writer;
use crate::memory::map::Map;

/// Names of tensors that are computed rather than learned.
const IGNORED: [&str; 2] = [".rotary_emb.inv_freq", ".attention.masked_bias"];

pub(super) fn convert(input: &Path, output: &Path, progress: OnProgress) -> Result<()> {
    let json = Json::open(&input.join("config.json"))?;
    let mut w = Writer::new();
    let title = std::path::absolute(input).ok();
    let title = title.as_deref().and_then(Path::file_name).map(|s| s.to_string_lossy()).unwrap_or_default();
    let config = Config::read(&json)?;
    w.put("general.architecture", config.arch)?.put("general.name", &*title)?;
    config.put(&json, &mut w)?;

    let files = files(input)?;
    let mut maps = Vec::new();
    for path in &files {
        maps.push((path.display().to_string(), Map::open(path)?));
    }
    let mut source = Source { stored: BTreeMap::new(), config: &config };
    for (file, map) in &maps {
        let parsed = match SafeTensors::deserialize(map) {
            Ok(parsed) => parsed,
            Err(e) => fail!(Format, "{file}: is no whole safetensors file ({e}): fetch it again"),
        };
        for (name, view) in parsed.tensors() {
            if source.stored.insert(name.clone(), (view, file.as_str())).is_some() {
                fail!(Format, "{file}: has the tensor {name:?}, which another file has too");
            }
        }
    }
    let tensors = source.tensors(input)?;
    let matrix = tensors.iter().find(|t| t.name.ends_with("attn_q.weight")).map_or(Type::F32, |t| t.ty);
    w.put("general.file_type", quantize::file_type(matrix))?;
    vocab::put(input, &json, config.vocab as usize, &mut w)?;
    save(w, &tensors, output, progress)
}

/// The files of weights: those that the index names, or the only one.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let Some(index) = Json::open_if_there(&dir.join("model.safetensors.index.json"))? else {
        return Ok(vec![dir.join("model.safetensors")]);
    };
    let map = index.typed("weight_map", "an object", |v| v.as_object())?;
    let mut names = BTreeSet::new();
    for value in index.need("weight_map", map)?.values() {
        // A name, and no path to somewhere else.
        match value.as_str() {
            Some(name) if Path::new(name).file_name() == Some(name.as_ref()) => drop(names.insert(name)),
            _ => fail!(Format, "{}: {} is no name of a file in its directory", index.file, shown(value)),
        }
    }
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

/// The tensors that were found, by their own names, with the file's.
struct Source<'a> {
    stored: BTreeMap<String, (TensorView<'a>, &'a str)>,
    config: &'a Config,
}

impl<'a> Source<'a> {
    /// All tensors in GGUF's order and under its names. Each must be there, of the shape that the sizes ask for, and
    /// none may be left over.
    fn tensors(&mut self, dir: &Path) -> Result<Vec<Tensor<'a>>> {
        let c = self.config;
        let [dim, ffn, vocab] = [c.dim, c.ffn, c.vocab].map(u64::from);
        let [q, kv] = [c.heads, c.kv_heads].map(|n| u64::from(n) * u64::from(c.head_dim));
        let mut list = Vec::new();
        let embedding = self.take("token_embd.weight", "model.embed_tokens.weight", &[dim, vocab])?;
        list.push(self.need(embedding, "model.embed_tokens.weight", dir)?);
        if let Some(factors) = &c.rope_factors {
            let bytes: Vec<u8> = factors.iter().flat_map(|f| f.to_le_bytes()).collect();
            let dims = vec![factors.len() as u64];
            list.push(Tensor {
                name: "rope_freqs.weight".into(),
                ty: Type::F32,
                dims,
                data: Data::Bytes(bytes.into()),
            });
        }
        for i in 0..c.layers {
            for (gguf, stored) in LAYER {
                let dims: &[u64] = match gguf {
                    "attn_q" => &[dim, q],
                    "attn_k" | "attn_v" => &[dim, kv],
                    "attn_output" => &[q, dim],
                    "ffn_gate" | "ffn_up" => &[dim, ffn],
                    "ffn_down" => &[ffn, dim],
                    "attn_q_norm" | "attn_k_norm" => &[u64::from(c.head_dim)],
                    _ => &[dim],
                };
                for kind in ["weight", "bias"] {
                    let stored = format!("model.layers.{i}.{stored}.{kind}");
                    let shape = if kind == "bias" { &dims[dims.len() - 1..] } else { dims };
                    let tensor = self.take(&format!("blk.{i}.{gguf}.{kind}"), &stored, shape)?;
                    let optional =
                        kind == "bias" || (c.arch != "qwen3" && matches!(gguf, "attn_q_norm" | "attn_k_norm"));
                    if tensor.is_none() && optional {
                        continue;
                    }
                    let tensor = self.need(tensor, &stored, dir)?;
                    let turned = c.interleave && matches!(gguf, "attn_q" | "attn_k");
                    list.push(if turned { interleaved(tensor, c.head_dim) } else { tensor });
                }
            }
        }
        let norm = self.take("output_norm.weight", "model.norm.weight", &[dim])?;
        list.push(self.need(norm, "model.norm.weight", dir)?);
        let head = self.take("output.weight", "lm_head.weight", &[dim, vocab])?;
        if !c.tied {
            list.push(self.need(head, "lm_head.weight", dir)?);
        }
        let left = self.stored.iter().find(|(name, _)| !IGNORED.iter().any(|end| name.ends_with(end)));
        if let Some((name, (_, file))) = left {
            fail!(
                Unsupported,
                "{file}: has the tensor {name:?}, which a {} of {} layers does not know",
                c.arch,
                c.layers
            );
        }
        Ok(list)
    }

    /// The tensor stored under that name. Matrices keep their type; vectors, which cost nothing, become F32.
    fn take(&mut self, name: &str, stored: &str, dims: &[u64]) -> Result<Option<Tensor<'a>>> {
        let Some((view, file)) = self.stored.remove(stored) else { return Ok(None) };
        let shape: Vec<u64> = view.shape().iter().rev().map(|&n| n as u64).collect();
        if shape != dims {
            fail!(
                Shape,
                "{file}: tensor {stored:?} has the shape {:?}, expected {:?} by config.json",
                view.shape(),
                dims.iter().rev().collect::<Vec<_>>()
            );
        }
        let ty = match view.dtype() {
            Dtype::F32 => Type::F32,
            Dtype::F16 => Type::F16,
            Dtype::BF16 => Type::BF16,
            other => {
                fail!(Unsupported, "{file}: tensor {stored:?} is stored as {other:?}; F32, F16 and BF16 are converted")
            }
        };
        let bytes = view.data();
        let (ty, bytes) = if dims.len() > 1 { (ty, bytes.into()) } else { (Type::F32, widened(ty, bytes)) };
        Ok(Some(Tensor { name: name.to_owned(), ty, dims: shape, data: Data::Bytes(bytes) }))
    }

    fn need(&self, tensor: Option<Tensor<'a>>, stored: &str, dir: &Path) -> Result<Tensor<'a>> {
        match tensor {
            Some(tensor) => Ok(tensor),
            None => {
                fail!(NotFound, "{}: has no tensor {stored:?}: a file of weights is missing or damaged", dir.display())
            }
        }
    }
}

/// Numbers as F32.
fn widened(ty: Type, bytes: &[u8]) -> Cow<'_, [u8]> {
    let wide = |pair: &[u8]| match (ty, pair) {
        (Type::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f32(),
        (_, &[a, b]) => bf16::from_le_bytes([a, b]).to_f32(),
        _ => 0.0,
    };
    match ty {
        Type::F32 => bytes.into(),
        _ => bytes.chunks_exact(2).flat_map(|pair| wide(pair).to_le_bytes()).collect::<Vec<u8>>().into(),
    }
}

/// The rows of q or k, or its bias, from halves to pairs.
fn interleaved(tensor: Tensor, head_dim: u32) -> Tensor {
    let row = if tensor.dims.len() > 1 { tensor.dims[0] as usize } else { 1 } * tensor.ty.block_bytes();
    let data = match tensor.data {
        Data::Bytes(bytes) => Data::Interleaved { bytes, row, head_rows: head_dim as usize },
        done => done,
    };
    Tensor { data, ..tensor }
}
