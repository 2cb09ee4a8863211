//! All that a run is at a step, as one file: weights, moments, its place in the data, what its rules have seen.
//!
//! Layout, little-endian: magic, `u64` length of a header in JSON, the header, zeros up to a multiple of 64, the trained values as
//! f32, the optimizer's state, the steps of each tensor as `u64`, a CRC-32 of all before it. The file is written beside its
//! destination, synced and renamed, so that a kill at any moment leaves the old one or the new one, whole.

use super::data::Position;
use super::schedule::PlateauState;
use super::trainer::Trainer;
use crate::error::{Code, Error, Result, fail};
use crate::layers::keep::Keep;
use crate::memory::map::Map;
use crate::memory::save::SaveFile;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

const MAGIC: [u8; 8] = *b"QORUSTR\x01";

/// Bytes of a header at most.
const MAX_HEADER: u64 = 1 << 16;

/// Bytes that are read before their memory is given back: a checkpoint is never in memory as a whole.
const PART: usize = 1 << 20;

/// What a run is beside its trainer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct State {
    /// Steps done.
    pub step: u64,
    /// Where in the data the next batch begins.
    pub position: Position,
    /// What that data is, as [`Feed::fingerprint`](super::Feed::fingerprint) says.
    pub data: u32,
    /// What the plateau rule has seen.
    pub plateau: Option<PlateauState>,
    /// The least loss of a validation so far, and validations since.
    pub best: Option<(f64, u32)>,
}

/// Writes the checkpoint of a trainer to `path`. Errors: `Io`; the file that was there is then as it was.
pub fn save(path: &Path, trainer: &Trainer, state: &State) -> Result<()> {
    if let Some(i) = trainer.values().iter().position(|x| !x.is_finite()) {
        fail!(State, "{}: not written: trained value {i} is {}", path.display(), trainer.values()[i]);
    }
    let header = header(trainer, state).to_string();
    let taken: Vec<u8> = trainer.optimizer().taken().iter().flat_map(|t| t.to_le_bytes()).collect();
    let parts: [&[u8]; 6] = [
        &MAGIC,
        &(header.len() as u64).to_le_bytes(),
        header.as_bytes(),
        &[0; 64][..padding(header.len())],
        bytemuck::cast_slice(trainer.values()),
        trainer.optimizer().state(),
    ];
    let mut crc = crc32fast::Hasher::new();
    let mut file = SaveFile::create(path)?;
    let mut put = |part: &[u8]| {
        crc.update(part);
        file.write_all(part)
    };
    let done = parts.into_iter().chain([&taken[..]]).try_for_each(&mut put);
    let done = done.and_then(|()| file.write_all(&crc.finalize().to_le_bytes()));
    if let Err(e) = done {
        fail!(Io, "{}: the checkpoint cannot be written: {e}", path.display());
    }
    file.commit()
}

/// Puts the checkpoint at `path` into a trainer of the same model, and says where the run stands.
///
/// Errors: those of opening; `Format` for a file that is cut, damaged or something else; `State` for one of another model or
/// optimizer. The trainer is then as it was.
pub fn load(path: &Path, trainer: &mut Trainer) -> Result<State> {
    let name = path.display();
    let map = Map::open(path)?;
    let bytes: &[u8] = &map;
    let damaged = |what: &str| Error::new(Code::Format, format!("{name}: {what}: take an older checkpoint"));
    if bytes.len() < 20 || bytes[..8] != MAGIC {
        fail!(Format, "{name}: is no checkpoint of a training run");
    }
    let (body, crc) = bytes.split_at(bytes.len() - 4);
    let mut found = crc32fast::Hasher::new();
    for part in body.chunks(PART) {
        found.update(part);
        map.release();
    }
    if found.finalize().to_le_bytes() != crc {
        return Err(damaged("the checkpoint is cut or damaged, its checksum does not match"));
    }
    let len = u64::from_le_bytes(body[8..16].try_into().unwrap_or_default());
    let header = body[16..].get(..len.min(MAX_HEADER) as usize).unwrap_or_default();
    let header: Value = serde_json::from_slice(header).map_err(|_| damaged("the header is no JSON"))?;
    let expected = self::header(trainer, &State::default());
    for (key, what) in [
        ("version", "is of another version"),
        ("model", "is of another model, or trains other parts of it"),
        ("method", "is of another optimizer"),
        ("products", "rounds the factors of products otherwise"),
        ("rounded", "keeps what the way back needs otherwise, in f32 or bf16"),
        ("eight", "rounds what goes into frozen products otherwise"),
        ("adapter", "trains another adapter"),
        ("values", "has other values"),
        ("state", "has another optimizer's state"),
    ] {
        if header[key] != expected[key] {
            let (found, expected) = (&header[key], &expected[key]);
            fail!(State, "{name}: {what}: {key} is {found}, this run has {expected}");
        }
    }
    let state = state_of(&header).ok_or_else(|| damaged("the header lacks numbers"))?;
    let rest = body.get(16 + len as usize + padding(len as usize)..).unwrap_or_default();
    let (values, moments) = (size_of_val(trainer.values()), trainer.optimizer().state().len());
    let taken = size_of_val(trainer.optimizer().taken());
    if rest.len() != values + moments + taken {
        return Err(damaged("the checkpoint has not the length that its header says"));
    }
    let (values, rest) = rest.split_at(values);
    let (moments, taken) = rest.split_at(moments);
    let copy = |to: &mut [u8], from: &[u8]| {
        for (to, from) in to.chunks_mut(PART).zip(from.chunks(PART)) {
            to.copy_from_slice(from);
            map.release();
        }
    };
    copy(bytemuck::cast_slice_mut(trainer.values_mut()), values);
    let optimizer = trainer.optimizer_mut();
    copy(optimizer.state_mut(), moments);
    for (to, from) in optimizer.taken_mut().iter_mut().zip(taken.as_chunks().0) {
        *to = u64::from_le_bytes(*from);
    }
    Ok(state)
}

/// Zeros after a header of that length.
fn padding(len: usize) -> usize {
    (16 + len).next_multiple_of(64) - (16 + len)
}

fn header(trainer: &Trainer, state: &State) -> Value {
    let optimizer = trainer.optimizer();
    let mut model = crc32fast::Hasher::new();
    model.update(trainer.model().graph.arch.as_bytes());
    for slot in optimizer.slots().list() {
        model.update(slot.name.as_bytes());
        model.update(&(slot.range.len() as u64).to_le_bytes());
    }
    let method = format!("{:?}", optimizer.method());
    let method = method.split(['(', '{', ' ']).next().unwrap_or_default();
    // Keys that were not always there are null where nothing is asked for.
    let adapter = trainer.params().adapter.as_ref().map(|adapter| format!("{adapter:?}"));
    let eight = trainer.params().eight.then_some(true);
    // Numbers that may be infinite, and must come back to the bit, as bits.
    let plateau = state.plateau.map(|p| [p.factor.to_bits(), p.best.to_bits(), p.waited.into()]);
    let best = state.best.map(|(loss, waited)| [loss.to_bits(), waited.into()]);
    json!({
        "version": 1,
        "model": model.finalize(),
        "method": method,
        "values": trainer.values().len(),
        "state": optimizer.state().len(),
        "isa": trainer.model().runtime.kernels.isa().name(),
        "products": format!("{:?}", trainer.model().runtime.kernels.products()),
        "rounded": trainer.params.keep == Keep::Bf16,
        "eight": eight,
        "adapter": adapter,
        "step": state.step,
        "position": [state.position.epoch, state.position.unit, state.position.offset],
        "data": state.data,
        "plateau": plateau,
        "best": best,
    })
}

fn state_of(header: &Value) -> Option<State> {
    let number = |value: &Value, i: usize| value.get(i)?.as_u64();
    let position = &header["position"];
    let [epoch, unit, offset] = [0, 1, 2].map(|i| number(position, i));
    let position = Position { epoch: epoch?, unit: unit?, offset: offset? };
    let plateau = &header["plateau"];
    let plateau = match plateau.is_null() {
        true => None,
        false => Some(PlateauState {
            factor: f64::from_bits(number(plateau, 0)?),
            best: f64::from_bits(number(plateau, 1)?),
            waited: u32::try_from(number(plateau, 2)?).ok()?,
        }),
    };
    let best = &header["best"];
    let best = match best.is_null() {
        true => None,
        false => Some((f64::from_bits(number(best, 0)?), u32::try_from(number(best, 1)?).ok()?)),
    };
    let data = u32::try_from(header["data"].as_u64()?).ok()?;
    Some(State { step: header["step"].as_u64()?, position, data, plateau, best })
}
