//! The trained model as a GGUF file: the metadata of the one it came from, with the trained tensors in the place of the old.

use super::trainer::Trainer;
use crate::Type;
use crate::error::{Result, fail, try_vec};
use crate::gguf::Writer;
use crate::layers::Params;
use crate::layers::trained::{Param, Values};
use std::path::Path;

/// Elements that are converted at a time, at least a row.
const CHUNK: usize = 1 << 20;

/// Writes the model with its trained values to `path`. A trained matrix keeps the storage type it had, or takes `ty`, where its rows
/// are whole blocks of that; everything else is as it was. A model that was built by hand becomes a file of architecture `qorus`, whose
/// trained values are F32.
///
/// Errors: `Unsupported` for a type that no kernel writes, or another than F32 for a model built by hand; `Io`.
pub fn export(trainer: &Trainer, path: &Path, ty: Option<Type>) -> Result<()> {
    let model = trainer.model();
    let Some(gguf) = &model.gguf else {
        if ty.is_some_and(|ty| ty != Type::F32) {
            fail!(Unsupported, "the model was built by hand: it is saved with the values as they were trained");
        }
        let params =
            Params::with(&model.store, Values::with_lengths(trainer.trained(), trainer.values(), &trainer.lengths)?);
        return crate::models::qorus::save(&model.graph, &params, |_| Ok(()), path);
    };
    let kernels = &model.runtime.kernels;
    let mut writer = Writer::new();
    for (key, value) in gguf.entries().filter(|(key, _)| !key.starts_with("split.")) {
        writer.put(key, value)?;
    }
    if let Some(number) = ty.and_then(file_type) {
        writer.put("general.file_type", number)?;
    }
    // Where each tensor of the file is among the trained.
    let mut places: Vec<Option<usize>> = try_vec(gguf.tensors().len(), "tensors")?;
    places.resize(gguf.tensors().len(), None);
    for t in trainer.trained().list() {
        let tensor = match t.param {
            Param::Matrix(w) => Some(w.tensor()),
            // An adapter is a file of its own.
            Param::Factor(..) => continue,
            Param::Vector(v) => model.graph.loads.iter().find(|l| l.at == v.start()).map(|l| l.tensor),
        };
        match tensor.and_then(|i| places.get_mut(i)) {
            Some(place) => *place = Some(t.at),
            None => fail!(Internal, "a trained parameter is no tensor of the file"),
        }
    }
    let mut types: Vec<Type> = try_vec(gguf.tensors().len(), "tensors")?;
    for (info, place) in gguf.tensors().iter().zip(&places) {
        let matrix = info.n_dims > 1 && info.rows() > 1;
        let wanted = ty.filter(|ty| place.is_some() && matrix && info.dims[0].is_multiple_of(ty.block_len() as u64));
        let ty = wanted.unwrap_or(info.ty);
        let name = gguf.tensor_name(info);
        if place.is_some() && ty != Type::F32 && !kernels.has("quantize", ty) {
            fail!(Unsupported, "tensor {name}: nothing writes {}: ask for another type", ty.name());
        }
        writer.tensor(name, ty, info.dims.get(..info.n_dims.max(1) as usize).unwrap_or_default())?;
        types.push(ty);
    }
    let mut output = writer.create(path)?;
    let mut bytes: Vec<u8> = Vec::new();
    for ((info, place), ty) in gguf.tensors().iter().zip(&places).zip(types) {
        let Some(at) = *place else {
            output.write(gguf.data(info))?;
            continue;
        };
        let (row, count) = (info.dims[0] as usize, info.rows() as usize);
        let Some(row_bytes) = ty.row_bytes(row) else {
            fail!(Shape, "rows of {row} elements are not whole blocks of {}", ty.name());
        };
        let values = &trainer.values()[at..at + row * count];
        for part in values.chunks((CHUNK / row.max(1)).max(1) * row) {
            match ty {
                Type::F32 => output.write(bytemuck::cast_slice(part))?,
                ty => {
                    bytes.resize(part.len() / row * row_bytes, 0);
                    kernels.quantize(ty, part, &mut bytes);
                    output.write(&bytes)?;
                }
            }
        }
    }
    output.save()
}

/// `general.file_type` of files whose matrices have that type (the format's enumeration).
fn file_type(ty: Type) -> Option<u32> {
    Some(match ty {
        Type::F32 => 0,
        Type::F16 => 1,
        Type::Q4_0 => 2,
        Type::Q4_1 => 3,
        Type::Q8_0 => 7,
        Type::BF16 => 32,
        _ => return None,
    })
}
