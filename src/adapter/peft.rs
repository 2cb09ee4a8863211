//! Adapters as folders that PEFT writes and reads: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! A tensor there is `base_model.model.MODULE.lora_A.weight`, `[rank][cols]`, `...lora_B.weight`, `[rows][rank]`, and for DoRA
//! `...lora_magnitude_vector`, `[rows]`; each expert has its own. Rows of q and k of the architecture `llama` stand in GGUF in
//! another order (halves of a head become pairs), and those of B and of the magnitudes with them.

use super::base::{from_hex, hex};
use super::peft_config::{Config, Scales};
use super::{Adapter, Kind, Pair, names};
use crate::error::{Result, fail, try_vec};
use crate::gguf::Gguf;
use crate::memory::map::Map;
use crate::memory::save::SaveFile;
use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;

const PREFIX: &str = "base_model.model.";
const BASE: &str = "qorus.adapter.base";

/// The parts of a module's pair.
#[derive(Default)]
struct Parts<'a> {
    a: Option<TensorView<'a>>,
    b: Option<TensorView<'a>>,
    magnitude: Option<TensorView<'a>>,
}

/// See [`Adapter::open`].
pub(super) fn read(folder: &Path, base: &Gguf) -> Result<Adapter> {
    let config = Config::read(&folder.join("adapter_config.json"))?;
    let path = folder.join("adapter_model.safetensors");
    let (map, name) = (Map::open(&path)?, path.display().to_string());
    let damaged = |e| {
        crate::Error::new(crate::Code::Format, format!("{name}: is no whole safetensors file ({e}): fetch it again"))
    };
    let file = SafeTensors::deserialize(&map).map_err(damaged)?;
    let (_, header) = SafeTensors::read_metadata(&map).map_err(damaged)?;
    let mut modules: BTreeMap<String, Parts> = BTreeMap::new();
    // Of a head or an embedding PEFT also stores what it was before: the base has that.
    for (tensor, view) in file.tensors().into_iter().filter(|(name, _)| !name.ends_with(".base_layer.weight")) {
        let inner = tensor.strip_prefix(PREFIX).unwrap_or(&tensor);
        let inner = inner.strip_suffix(".weight").unwrap_or(inner);
        let Some((module, part)) = inner.rsplit_once('.') else {
            fail!(Unsupported, "{name}: has the tensor {tensor:?}, which is no part of a LoRA pair");
        };
        let parts = modules.entry(module.to_owned()).or_default();
        match part {
            "lora_A" => parts.a = Some(view),
            "lora_B" => parts.b = Some(view),
            "lora_magnitude_vector" if config.kind == Kind::Dora => parts.magnitude = Some(view),
            _ => fail!(Unsupported, "{name}: has the tensor {tensor:?}; pairs lora_A and lora_B of matrices are read"),
        }
    }
    let arch = base.str("general.architecture")?.unwrap_or_default();
    let mut adapter = Adapter {
        name: folder.display().to_string(),
        arch: arch.to_owned(),
        kind: config.kind,
        alpha: config.alpha,
        base: header.metadata().as_ref().and_then(|m| m.get(BASE)).and_then(|text| from_hex(text)),
        pairs: Vec::new(),
    };
    let mut at: HashMap<String, usize> = HashMap::new();
    for (module, parts) in &modules {
        let Some((tensor, expert)) = names::tensor(module) else {
            fail!(Unsupported, "{name}: changes {module:?}, which has no counterpart among a GGUF file's matrices");
        };
        let mut one = pair(&name, module, &tensor, parts)?;
        if let Some(order) = Order::of(&tensor, base)? {
            order.forth(&mut one.b, one.rank);
            one.magnitude.iter_mut().for_each(|m| order.forth(m, 1));
        }
        let wanted = config.scale(module, one.rank).map_err(|e| e.context(&name))?;
        let factor = wanted / adapter.scale(&one);
        if factor != 1.0 {
            one.b.iter_mut().for_each(|b| *b *= factor);
        }
        match expert {
            None => adapter.pairs.push(one),
            Some(no) => {
                let i = *at.entry(tensor.clone()).or_insert_with(|| {
                    adapter.pairs.push(Pair { tensor, ..Pair::default() });
                    adapter.pairs.len() - 1
                });
                put_expert(&mut adapter.pairs[i], one, no, base, &name)?;
            }
        }
    }
    adapter.check_whole()?;
    Ok(adapter)
}

/// The pair of one module, its rows in the file's order.
fn pair(name: &str, module: &str, tensor: &str, parts: &Parts) -> Result<Pair> {
    let (Some(a), Some(b)) = (&parts.a, &parts.b) else {
        fail!(Format, "{name}: {module:?} lacks lora_A or lora_B: the file is cut or was written wrongly");
    };
    let (&[rank, cols], &[rows, rank_b]) = (a.shape(), b.shape()) else {
        fail!(
            Shape,
            "{name}: {module:?} has lora_A of {:?} and lora_B of {:?}; matrices are read",
            a.shape(),
            b.shape()
        );
    };
    let lengths = parts.magnitude.as_ref().map(|m| m.shape().iter().product::<usize>());
    if rank != rank_b || rank == 0 || lengths.is_some_and(|n| n != rows) {
        fail!(
            Shape,
            "{name}: {module:?} does not fit together: lora_A is {:?}, lora_B {:?}, magnitudes {}; expected [rank, cols], \
             [rows, rank] and rows",
            a.shape(),
            b.shape(),
            lengths.map_or("none".into(), |n| n.to_string())
        );
    }
    let magnitude = parts.magnitude.as_ref().map(|m| values(name, module, m)).transpose()?;
    let (a, b) = (values(name, module, a)?, values(name, module, b)?);
    Ok(Pair { tensor: tensor.to_owned(), rank, rows, cols, experts: 1, a, b, magnitude })
}

/// A tensor's elements.
fn values(name: &str, module: &str, view: &TensorView) -> Result<Vec<f32>> {
    let (bytes, len) = (view.data(), view.shape().iter().product());
    let mut values = try_vec(len, "an adapter's elements")?;
    match view.dtype() {
        Dtype::F32 => values.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
        Dtype::F16 => values.extend(bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32())),
        Dtype::BF16 => values.extend(bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32())),
        other => fail!(Unsupported, "{name}: {module:?} is stored as {other:?}; F32, F16 and BF16 are read"),
    }
    Ok(values)
}

/// Puts the pair of one expert among those of all; experts that have none get pairs that change nothing.
fn put_expert(all: &mut Pair, one: Pair, no: usize, base: &Gguf, name: &str) -> Result<()> {
    let experts = base.tensor(&all.tensor).map_or(0, |t| t.dims[2] as usize);
    if no >= experts {
        fail!(Shape, "{name}: changes expert {no} of {:?}, which has {experts} in {}", all.tensor, base.name());
    }
    if all.experts == 0 {
        let zeros = |len: usize| -> Result<Vec<f32>> {
            let mut zeros = try_vec(len.saturating_mul(experts), "an adapter's elements")?;
            zeros.resize(len * experts, 0.0);
            Ok(zeros)
        };
        if one.magnitude.is_some() {
            fail!(Unsupported, "{name}: has DoRA's magnitudes for experts; LoRA and rsLoRA of experts are read");
        }
        let (a, b) = (zeros(one.a.len())?, zeros(one.b.len())?);
        *all = Pair { tensor: std::mem::take(&mut all.tensor), experts, a, b, ..one };
        all.a[no * one.a.len()..][..one.a.len()].copy_from_slice(&one.a);
        all.b[no * one.b.len()..][..one.b.len()].copy_from_slice(&one.b);
        return Ok(());
    }
    if [one.rank, one.rows, one.cols] != [all.rank, all.rows, all.cols] {
        fail!(
            Shape,
            "{name}: expert {no} of {:?} has rank {} for {} x {}, another {} for {} x {}; all need the same",
            all.tensor,
            one.rank,
            one.rows,
            one.cols,
            all.rank,
            all.rows,
            all.cols
        );
    }
    all.a[no * one.a.len()..][..one.a.len()].copy_from_slice(&one.a);
    all.b[no * one.b.len()..][..one.b.len()].copy_from_slice(&one.b);
    Ok(())
}

/// The two orders of the rows of q or k: in each head of `n` rows, row `2i` of GGUF is row `i` of the others', and row
/// `2i + 1` row `i + n/2`.
struct Order {
    head: usize,
}

impl Order {
    /// That of a tensor, where they differ.
    fn of(tensor: &str, base: &Gguf) -> Result<Option<Order>> {
        let is = |stem: &str| tensor.ends_with(&format!(".{stem}.weight"));
        if base.str("general.architecture")? != Some("llama") || !(is("attn_q") || is("attn_k")) {
            return Ok(None);
        }
        let (heads, width) = (base.u32("llama.attention.head_count")?, base.u32("llama.embedding_length")?);
        let head = match (base.u32("llama.attention.key_length")?, heads, width) {
            (Some(head), ..) => head,
            (None, Some(heads), Some(width)) if heads > 0 => width / heads,
            _ => fail!(NotFound, "{}: does not say how many heads it has", base.name()),
        } as usize;
        if head == 0 || head % 2 != 0 {
            fail!(Format, "{}: has heads of {head} elements, expected an even number", base.name());
        }
        Ok(Some(Order { head }))
    }

    fn forth(&self, rows: &mut [f32], row: usize) {
        self.each(rows, row, |i, half| (i % 2) * half + i / 2);
    }

    fn back(&self, rows: &mut [f32], row: usize) {
        self.each(rows, row, |i, half| 2 * (i % half) + i / half);
    }

    /// Puts at place `i` of each head the row that `from` says.
    fn each(&self, rows: &mut [f32], row: usize, from: impl Fn(usize, usize) -> usize) {
        for head in rows.chunks_exact_mut(self.head * row) {
            let before = head.to_vec();
            for (i, to) in head.chunks_exact_mut(row).enumerate() {
                to.copy_from_slice(&before[from(i, self.head / 2) * row..][..row]);
            }
        }
    }
}

/// See [`Adapter::write_peft`].
pub(super) fn write(adapter: &Adapter, folder: &Path, base: &Gguf) -> Result<()> {
    adapter.check_whole()?;
    adapter.check(base, true)?;
    let name = folder.display();
    let mut scales = Scales::new(adapter);
    let mut tensors: Vec<(String, TensorData)> = Vec::new();
    for p in &adapter.pairs {
        let order = Order::of(&p.tensor, base)?;
        for expert in 0..p.experts {
            let Some(module) = names::module(&p.tensor, expert, &adapter.arch) else {
                fail!(Unsupported, "{name}: {:?} has no name in PEFT's files: keep it as a GGUF adapter", p.tensor);
            };
            let part =
                |values: &[f32]| values[expert * values.len() / p.experts..][..values.len() / p.experts].to_vec();
            let (a, mut b, mut m) = (part(&p.a), part(&p.b), p.magnitude.as_deref().map(part));
            if let Some(order) = &order {
                order.back(&mut b, p.rank);
                m.iter_mut().for_each(|m| order.back(m, 1));
            }
            let mut put = |end: &str, shape: Vec<usize>, values| {
                tensors.push((format!("{PREFIX}{module}.{end}"), TensorData { shape, values }));
            };
            put("lora_A.weight", vec![p.rank, p.cols], a);
            put("lora_B.weight", vec![p.rows, p.rank], b);
            if let Some(m) = m {
                put("lora_magnitude_vector", vec![p.rows], m);
            }
            scales.module(module, p.rank);
        }
    }
    let mut metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    if let Some(hash) = &adapter.base {
        metadata.insert(BASE.to_owned(), hex(hash));
    }
    let bytes = match safetensors::serialize(tensors, Some(metadata)) {
        Ok(bytes) => bytes,
        Err(e) => fail!(Internal, "{name}: the adapter makes no safetensors file: {e}"),
    };
    if let Err(e) = std::fs::create_dir_all(folder) {
        fail!(Io, "{name}: the folder cannot be made: {e}");
    }
    save(&folder.join("adapter_model.safetensors"), &bytes)?;
    save(&folder.join("adapter_config.json"), scales.config().as_bytes())
}

fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = SaveFile::create(path)?;
    match file.write_all(bytes) {
        Ok(()) => file.commit(),
        Err(e) => fail!(Io, "{}: cannot be written: {e}", path.display()),
    }
}

/// A tensor on its way to a file.
struct TensorData {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl safetensors::View for TensorData {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        bytemuck::cast_slice(&self.values).into()
    }

    fn data_len(&self) -> usize {
        self.values.len() * size_of::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_to_pairs_and_back() {
        let order = Order { head: 4 };
        // Two heads of four rows of two elements.
        let rows: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let mut there = rows.clone();
        order.forth(&mut there, 2);
        assert_eq!(there, [0., 1., 4., 5., 2., 3., 6., 7., 8., 9., 12., 13., 10., 11., 14., 15.]);
        order.back(&mut there, 2);
        assert_eq!(there, rows);
    }
}
