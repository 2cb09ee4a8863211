//! Adapters as GGUF files, as llama.cpp reads and its converter writes them.
//!
//! `general.type` is `adapter`, `adapter.type` is `lora`, and each tensor `NAME` of the base has `NAME.lora_a`, `[experts][rank][cols]`,
//! and `NAME.lora_b`, `[experts][rows][rank]`. Readers multiply their product by `adapter.lora.alpha / rank`, or by 1 where
//! that is 0 or missing. For rsLoRA alpha is written as `alpha sqrt(rank)`, so that they come to its scale; with several ranks
//! the scale goes into B and the file is one of plain LoRA. DoRA adds `NAME.lora_m`, `[experts][rows]`, a name that readers who do
//! not know it refuse. Keys of ours: `qorus.adapter.kind`, `qorus.adapter.alpha`, `qorus.adapter.base` (the hash, in hexadecimal).

use super::base::{from_hex, hex};
use super::{Adapter, Kind, Pair};
use crate::error::{Result, fail, try_vec};
use crate::gguf::{Gguf, TensorInfo, Writer};
use crate::{Isa, Type};
use qorus_kernels::Kernels;
use std::borrow::Cow;
use std::path::Path;

const KIND: &str = "qorus.adapter.kind";
const ALPHA: &str = "qorus.adapter.alpha";
const BASE: &str = "qorus.adapter.base";

/// See [`Adapter::open`].
pub(super) fn read(path: &Path) -> Result<Adapter> {
    let file = Gguf::open(path)?;
    let name = file.name();
    match (file.str("general.type")?, file.str("adapter.type")?) {
        (Some("adapter"), Some("lora")) => {}
        (Some("adapter"), other) => {
            fail!(Unsupported, "{name}: is an adapter of type {:?}; \"lora\" is read", other.unwrap_or(""))
        }
        (found, _) => fail!(
            Format,
            "{name}: is no adapter: general.type is {:?}, expected \"adapter\"; a model is given as such",
            found.unwrap_or("model")
        ),
    }
    if file.get("adapter.alora.invocation_tokens").is_some() {
        fail!(Unsupported, "{name}: is an adapter that only some tokens switch on (aLoRA); it is not read");
    }
    let kind = match file.str(KIND)? {
        None => Kind::Lora,
        Some(kind) => match Kind::from_name(kind) {
            Some(kind) => kind,
            None => fail!(Unsupported, "{name}: key {KIND:?} is {kind:?}; lora, rslora and dora are known"),
        },
    };
    let base = match file.str(BASE)? {
        None => None,
        Some(text) => match from_hex(text) {
            Some(hash) => Some(hash),
            None => fail!(Format, "{name}: key {BASE:?} is {text:?}, expected 64 hexadecimal digits"),
        },
    };
    let stated = if kind == Kind::RsLora { file.f32(ALPHA)? } else { file.f32("adapter.lora.alpha")? };
    let mut adapter = Adapter {
        name: name.to_owned(),
        arch: file.str("general.architecture")?.unwrap_or_default().to_owned(),
        kind,
        alpha: stated.unwrap_or(0.0),
        base,
        pairs: pairs(&file, kind)?,
    };
    if adapter.alpha == 0.0 {
        adapter.alpha = adapter.pairs.iter().map(|p| p.rank).max().unwrap_or(1) as f32;
        adapter.set_scales(|_| 1.0);
    }
    adapter.check_whole()?;
    Ok(adapter)
}

fn pairs(file: &Gguf, kind: Kind) -> Result<Vec<Pair>> {
    let name = file.name();
    let mut pairs = try_vec(file.tensors().len(), "pairs")?;
    for info in file.tensors() {
        let tensor = file.tensor_name(info);
        let part = |end: &str| tensor.strip_suffix(end);
        let Some(of) = part(".lora_a").or(part(".lora_b")).or(part(".lora_m")) else {
            fail!(
                Unsupported,
                "{name}: has the tensor {tensor:?}; pairs of matrices that end in .lora_a and .lora_b are read"
            );
        };
        let beside = |end: &str| file.tensor(&format!("{of}{end}"));
        let (Some(a), Some(b)) = (beside(".lora_a"), beside(".lora_b")) else {
            fail!(Format, "{name}: {tensor:?} lacks the other half of its pair: the file was written wrongly");
        };
        if tensor.ends_with(".lora_a") {
            pairs.push(pair(file, of, a, b, beside(".lora_m").filter(|_| kind == Kind::Dora))?);
        }
    }
    Ok(pairs)
}

/// One pair, its shapes compared with each other.
fn pair(file: &Gguf, of: &str, a: &TensorInfo, b: &TensorInfo, m: Option<&TensorInfo>) -> Result<Pair> {
    let ([cols, rank, experts, a3], [rank_b, rows, experts_b, b3]) = (a.dims, b.dims);
    let lengths = m.map_or([rows, experts], |m| [m.dims[0], m.dims[1]]);
    if rank != rank_b || experts != experts_b || a3 != 1 || b3 != 1 || lengths != [rows, experts] {
        fail!(
            Shape,
            "{}: the pair of {of:?} does not fit together: A is {:?}, B is {:?}, magnitudes are {:?}; expected [cols, rank], \
             [rank, rows] and [rows]",
            file.name(),
            &a.dims[..3],
            &b.dims[..3],
            lengths
        );
    }
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    Ok(Pair {
        tensor: of.to_owned(),
        rank: size(rank),
        rows: size(rows),
        cols: size(cols),
        experts: size(experts),
        a: values(file, a)?,
        b: values(file, b)?,
        magnitude: m.map(|m| values(file, m)).transpose()?,
    })
}

/// A tensor's elements, of any type that can be read.
fn values(file: &Gguf, t: &TensorInfo) -> Result<Vec<f32>> {
    let (data, len) = (file.data(t), usize::try_from(t.elements()).unwrap_or(usize::MAX));
    let mut values = try_vec(len, "an adapter's elements")?;
    if t.ty == Type::F32 {
        values.extend(data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)));
        return Ok(values);
    }
    let kernels = Kernels::new(Isa::Scalar).filter(|k| k.has("dequantize", t.ty));
    let Some(kernels) = kernels else {
        let tensor = file.tensor_name(t);
        fail!(Unsupported, "{}: tensor {tensor:?} is stored as {}, which is not read", file.name(), t.ty.name());
    };
    values.resize(len, 0.0);
    kernels.dequantize(t.ty, data, &mut values);
    Ok(values)
}

/// See [`Adapter::write`].
pub(super) fn write(adapter: &Adapter, path: &Path) -> Result<()> {
    adapter.check_whole()?;
    let adapter = portable(adapter);
    let mut w = Writer::new();
    w.put("general.type", "adapter")?.put("general.architecture", adapter.arch.as_str())?;
    w.put("general.file_type", 0u32)?.put("adapter.type", "lora")?;
    // All ranks of an rsLoRA are one here.
    let rank = adapter.pairs.first().map_or(1.0, |p| p.rank as f32);
    let alpha = if adapter.kind == Kind::RsLora { adapter.alpha * rank.sqrt() } else { adapter.alpha };
    w.put("adapter.lora.alpha", alpha)?.put(KIND, adapter.kind.name())?.put(ALPHA, adapter.alpha)?;
    if let Some(hash) = &adapter.base {
        w.put(BASE, hex(hash).as_str())?;
    }
    let dims = |of: &[usize], experts: usize| {
        let mut dims: Vec<u64> = of.iter().map(|&n| n as u64).collect();
        dims.extend((experts > 1).then_some(experts as u64));
        dims
    };
    for p in &adapter.pairs {
        w.tensor(&format!("{}.lora_a", p.tensor), Type::F32, &dims(&[p.cols, p.rank], p.experts))?;
        w.tensor(&format!("{}.lora_b", p.tensor), Type::F32, &dims(&[p.rank, p.rows], p.experts))?;
        if p.magnitude.is_some() {
            w.tensor(&format!("{}.lora_m", p.tensor), Type::F32, &dims(&[p.rows], p.experts))?;
        }
    }
    let mut out = w.create(path)?;
    for p in &adapter.pairs {
        for values in [Some(&p.a), Some(&p.b), p.magnitude.as_ref()].into_iter().flatten() {
            out.write(bytemuck::cast_slice(values))?;
        }
    }
    out.save()
}

/// The same adapter in a form that every reader comes to the same scales with.
fn portable(adapter: &Adapter) -> Cow<'_, Adapter> {
    let ranks = |p: &[Pair]| p.windows(2).any(|w| w[0].rank != w[1].rank);
    if adapter.kind != Kind::RsLora || !ranks(&adapter.pairs) {
        return Cow::Borrowed(adapter);
    }
    let mut plain = Adapter { kind: Kind::Lora, ..adapter.clone() };
    plain.set_scales(|p| adapter.scale(p));
    Cow::Owned(plain)
}

impl Adapter {
    /// Multiplies each B so that the pair's product comes to `wanted` times what it is now, at the scale it now has.
    pub(super) fn set_scales(&mut self, wanted: impl Fn(&Pair) -> f32) {
        for i in 0..self.pairs.len() {
            let factor = wanted(&self.pairs[i]) / self.scale(&self.pairs[i]);
            if factor != 1.0 {
                self.pairs[i].b.iter_mut().for_each(|b| *b *= factor);
            }
        }
    }
}
