//! A GGUF file again at another storage type, tensor by tensor in bounded memory.

use std::path::Path;

use qorus_kernels::Kernels;

use super::{OnProgress, Sink};
use crate::Type;
use crate::engine::Runtime;
use crate::error::{Result, fail, try_vec};
use crate::gguf::{Gguf, TensorInfo, Writer};
use crate::threads::Shards;

/// Which tensor gets which type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    name: &'static str,
    /// The type of most matrices.
    ty: Type,
    /// Whether those matrices that matter most take Q6_K: half of `attn_v` and `ffn_down`.
    mixed: bool,
    /// `general.file_type`.
    number: u32,
}

const fn recipe(name: &'static str, ty: Type, mixed: bool, number: u32) -> Recipe {
    Recipe { name, ty, mixed, number }
}

const RECIPES: [Recipe; 13] = [
    recipe("F32", Type::F32, false, 0),
    recipe("F16", Type::F16, false, 1),
    recipe("Q4_0", Type::Q4_0, false, 2),
    recipe("Q4_1", Type::Q4_1, false, 3),
    recipe("Q8_0", Type::Q8_0, false, 7),
    recipe("Q5_0", Type::Q5_0, false, 8),
    recipe("Q5_1", Type::Q5_1, false, 9),
    recipe("Q4_K", Type::Q4_K, false, 14),
    recipe("Q4_K_M", Type::Q4_K, true, 15),
    recipe("Q5_K", Type::Q5_K, false, 16),
    recipe("Q5_K_M", Type::Q5_K, true, 17),
    recipe("Q6_K", Type::Q6_K, false, 18),
    recipe("BF16", Type::BF16, false, 32),
];

impl Recipe {
    /// All recipes.
    pub fn all() -> impl Iterator<Item = Recipe> {
        RECIPES.into_iter()
    }

    /// What it is called, as in `Q4_K_M`.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// The recipe of that name, in any case of letters.
    pub fn from_name(name: &str) -> Option<Recipe> {
        Recipe::all().find(|r| r.name.eq_ignore_ascii_case(name))
    }

    /// The type of the matrix `name` in a model of that many layers. The head, which decides about each token, has 6
    /// bits at least.
    fn ty_of(self, name: &str, layers: u64, tied: bool) -> Type {
        let head = name == "output.weight" || (tied && name == "token_embd.weight");
        let small = self.ty.is_quantized() && !matches!(self.ty, Type::Q8_0 | Type::Q6_K);
        match layer(name) {
            _ if head && small => Type::Q6_K,
            Some(i) if self.mixed && (name.contains(".attn_v.") || name.contains(".ffn_down")) => {
                // The first and the last eighth, and each third between.
                let eighth = layers / 8;
                let matters = i < eighth || i >= 7 * layers / 8 || (i - eighth) % 3 == 2;
                if matters { Type::Q6_K } else { self.ty }
            }
            Some(_) if self.mixed && name.contains(".attn_qkv.") => Type::Q5_K,
            _ => self.ty,
        }
    }
}

/// The number that `general.file_type` has for a model of that type.
pub(super) fn file_type(ty: Type) -> u32 {
    Recipe::all().find(|r| r.ty == ty).map_or(0, |r| r.number)
}

/// Elements that are converted at a time, at least one row.
const CHUNK: usize = 1 << 20;

/// Writes `input` at the types of `recipe` to the file `output`. Vectors become F32; so do, unchanged in value, tensors
/// that are none of a model's matrices (rope factors, routers of experts). Rows that are no multiple of 256 take Q5_0
/// for Q4_K, Q5_1 for Q5_K and Q8_0 for Q6_K; those that are no multiple of 32 stay F16.
///
/// The bits do not depend on the number of threads. `output` may be the file that is read.
///
/// Errors: `Unsupported` when no kernel writes or reads a type, `Cancelled`, `Io`, `FileChanged`.
pub fn quantize(input: &Gguf, output: &Path, recipe: Recipe, runtime: &Runtime, progress: OnProgress) -> Result<()> {
    let mut writer = Writer::new();
    let plan = plan(input, Some(recipe), &runtime.kernels, &mut writer, false)?;
    for item in &plan {
        item.declare(&mut writer)?;
    }
    let mut sink = Sink::new(writer.create(output)?, progress);
    let mut convert = Converter::new(runtime);
    for Planned { name, from, ty } in plan {
        input.check_unchanged()?;
        sink.begin(name)?;
        convert.tensor(input.data(from), from, ty, None, &mut sink)?;
    }
    sink.output.save()
}

/// A tensor of the file that is written.
pub(super) struct Planned<'a> {
    pub name: &'a str,
    /// What it is made of.
    pub from: &'a TensorInfo,
    pub ty: Type,
}

impl Planned<'_> {
    pub fn declare(&self, writer: &mut Writer) -> Result<()> {
        let dims = self.from.dims.get(..self.from.n_dims.max(1) as usize).unwrap_or_default();
        writer.tensor(self.name, self.ty, dims).map(drop)
    }
}

/// The tensors at the types of `recipe`, or at their own; the keys go to `writer`. With `head` the embedding comes again, as the
/// head.
pub(super) fn plan<'a>(
    input: &'a Gguf,
    recipe: Option<Recipe>,
    kernels: &Kernels,
    writer: &mut Writer,
    head: bool,
) -> Result<Vec<Planned<'a>>> {
    let arch = input.str("general.architecture")?.unwrap_or_default();
    let layers = input.u32(&format!("{arch}.block_count"))?.unwrap_or(0).into();
    let tied = input.tensor("output.weight").is_none() && !head;
    for (key, value) in input.entries().filter(|(key, _)| !key.starts_with("split.")) {
        writer.put(key, value)?;
    }
    if let Some(recipe) = recipe {
        writer.put("general.file_type", recipe.number)?;
        if recipe.ty.is_quantized() {
            writer.put("general.quantization_version", 2u32)?;
        }
    }
    let mut plan = try_vec(input.tensors().len() + 1, "tensors")?;
    let mut add = |name: &'a str, from: &'a TensorInfo| {
        let ty = match recipe {
            None => from.ty,
            Some(recipe) if is_matrix(name, from) => fitting(recipe.ty_of(name, layers, tied), from.dims[0]),
            Some(_) if from.ty == Type::F16 || from.ty == Type::BF16 => Type::F32,
            Some(_) => from.ty,
        };
        if ty != from.ty && !Converter::converts(kernels, from.ty, ty) {
            fail!(
                Unsupported,
                "{}: tensor {name:?} cannot be converted from {} to {}",
                input.name(),
                from.ty.name(),
                ty.name()
            );
        }
        plan.push(Planned { name, from, ty });
        Ok(())
    };
    for t in input.tensors() {
        add(input.tensor_name(t), t)?;
    }
    if let Some(embedding) = input.tensor("token_embd.weight").filter(|_| head) {
        add("output.weight", embedding)?;
    }
    Ok(plan)
}

/// Whether there is a kernel to or from that type; F32 needs none.
fn can(kernels: &Kernels, op: &str, ty: Type) -> bool {
    ty == Type::F32 || kernels.has(op, ty)
}

/// Whether the storage type is free: matrices of weights, but not those that are small and decide much.
fn is_matrix(name: &str, t: &TensorInfo) -> bool {
    t.rows() > 1
        && t.n_dims > 1
        && name.ends_with(".weight")
        && !name.contains("_norm")
        && !name.contains("ffn_gate_inp")
        && !matches!(t.ty, Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::F64)
}

/// The number N of a tensor `blk.N.`.
fn layer(name: &str) -> Option<u64> {
    name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}

/// The type, or the next larger one whose blocks divide a row of `len`.
fn fitting(ty: Type, len: u64) -> Type {
    let fits = |ty: Type| len.is_multiple_of(ty.block_len() as u64);
    let narrow = match ty {
        Type::Q4_K => Type::Q5_0,
        Type::Q5_K => Type::Q5_1,
        Type::Q6_K => Type::Q8_0,
        other => other,
    };
    [ty, narrow].into_iter().find(|&ty| fits(ty)).unwrap_or(Type::F16)
}

/// What is done to rows of a tensor on their way: the number of the first, and the rows.
pub(super) type OnRows<'a> = Option<&'a (dyn Fn(usize, &mut [f32]) + Sync)>;

/// Its two buffers, as large as one chunk.
pub(super) struct Converter<'a> {
    runtime: &'a Runtime,
    wide: Vec<f32>,
    narrow: Vec<u8>,
}

impl<'a> Converter<'a> {
    pub fn new(runtime: &'a Runtime) -> Converter<'a> {
        Converter { runtime, wide: Vec::new(), narrow: Vec::new() }
    }

    /// Whether there are kernels from one type to the other.
    pub fn converts(kernels: &Kernels, from: Type, to: Type) -> bool {
        can(kernels, "dequantize", from) && can(kernels, "quantize", to)
    }

    /// Writes a tensor at the type `ty`, its rows changed by `change`.
    pub fn tensor(&mut self, from: &[u8], t: &TensorInfo, ty: Type, change: OnRows, sink: &mut Sink) -> Result<()> {
        if t.ty == ty && change.is_none() {
            return sink.write(from);
        }
        let row = t.dims[0] as usize; // it is in the file
        let (Some(row_from), Some(row_to)) = (t.ty.row_bytes(row), ty.row_bytes(row)) else {
            fail!(Shape, "rows of {row} elements are not whole blocks of {}", ty.name());
        };
        let rows = (CHUNK / row).max(1);
        resize(&mut self.wide, rows * row)?;
        resize(&mut self.narrow, rows * row_to)?;
        for (no, from) in from.chunks(rows * row_from).enumerate() {
            let first = no * rows;
            let rows = from.len() / row_from;
            let (wide, narrow) = (&mut self.wide[..rows * row], &mut self.narrow[..rows * row_to]);
            let kernels = &self.runtime.kernels;
            let (wides, narrows) = (Shards::new(wide), Shards::new(narrow));
            self.runtime.pool.split(rows, 1, |part| {
                // SAFETY: the parts of `split` are disjoint, so the rows of each thread are its own.
                let wide = unsafe { wides.part(part.start * row..part.end * row) };
                // SAFETY: as above.
                let narrow = unsafe { narrows.part(part.start * row_to..part.end * row_to) };
                let from = &from[part.start * row_from..part.end * row_from];
                match t.ty {
                    Type::F32 => bytemuck::cast_slice_mut(wide).copy_from_slice(from),
                    ty => kernels.dequantize(ty, from, wide),
                }
                if let Some(change) = change {
                    change(first + part.start, wide);
                }
                match ty {
                    Type::F32 => narrow.copy_from_slice(bytemuck::cast_slice(wide)),
                    ty => kernels.quantize(ty, wide, narrow),
                }
            })?;
            sink.write(&self.narrow[..rows * row_to])?;
        }
        Ok(())
    }
}

fn resize<T: Clone + Default>(v: &mut Vec<T>, len: usize) -> Result<()> {
    if v.len() < len {
        if v.try_reserve_exact(len - v.len()).is_err() {
            fail!(OutOfMemory, "no memory for {len} elements of a tensor");
        }
        v.resize(len, T::default());
    }
    Ok(())
}
