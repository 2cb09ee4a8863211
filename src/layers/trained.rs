//! The parameters that are trained: a list of them, their values and their gradients, each in one block of f32.
//!
//! A matrix is trained as the whole tensor it lies in, so that two layers which share a tensor (a tied embedding) share its
//! values and add up its gradient. Everything else stays frozen where the store has it.

use super::adapters::{Factor, Site, Sites};
use super::param::{Store, Tensors};
use super::{Layer, Vector, Weight};
use crate::error::{Result, fail, try_vec};
use crate::ops::low_rank::LowRank;
use crate::rng::uniform;
use qorus_kernels::Kernels;
use std::sync::Arc;

/// A parameter, as a layer names it.
#[derive(Clone, Copy, Debug)]
pub enum Param {
    /// A matrix, or the part of a tensor that one layer uses.
    Matrix(Weight),
    /// The weight of a norm, or a bias.
    Vector(Vector),
    /// A part of what an adapter adds to a matrix.
    Factor(Site, Factor),
}

/// One trained parameter: elements `at..at + len` of the values, and of the gradients.
#[derive(Clone, Copy, Debug)]
pub struct Trainee {
    /// What it is: the whole tensor, or the vector.
    pub param: Param,
    /// First element, a multiple of [`UNIT`].
    pub at: usize,
    /// Elements.
    pub len: usize,
}

/// Which parameters of a model are trained, and where each lies.
#[derive(Debug, Default)]
pub struct Trained {
    list: Vec<Trainee>,
    /// For each tensor of the store, where it is in the list.
    tensors: Vec<Option<u32>>,
    /// Where the vectors are in the list, by their place in the store.
    vectors: Vec<u32>,
    len: usize,
    /// The adapter that is trained, and the first of its elements.
    sites: Sites,
    sites_at: usize,
    /// What its inputs lose at random, and what its first values come from.
    dropout: f32,
    seed: u64,
}

pub use super::adapters::UNIT;

/// The elements of a parameter in the block.
fn padded(len: usize) -> Result<usize> {
    match len.checked_next_multiple_of(UNIT) {
        Some(n) => Ok(n),
        None => fail!(OutOfMemory, "a parameter of {len} elements does not fit the address space"),
    }
}

impl Trained {
    /// The parameters of `layers` that `wanted` names, in the order of the layers. A tensor is wanted when a part of it is.
    pub fn new(layers: &[Layer], store: &Store, wanted: impl Fn(&Param) -> bool) -> Result<Trained> {
        let count = match &store.tensors {
            Tensors::File(gguf) => gguf.tensors().len(),
            Tensors::Own(own) => own.len(),
        };
        Trained::of(layers, count, wanted)
    }

    /// The same from the number of tensors alone: for plans, before a weight is there.
    pub fn of(layers: &[Layer], tensors: usize, wanted: impl Fn(&Param) -> bool) -> Result<Trained> {
        let mut all: Vec<Param> = Vec::new();
        let mut failed = false;
        layers.iter().for_each(|layer| {
            layer.params(&mut |param| {
                failed |= all.try_reserve(1).is_err();
                if !failed && wanted(&param) {
                    all.push(param);
                }
            })
        });
        if failed {
            fail!(OutOfMemory, "no memory for a list of the parameters");
        }
        let count = tensors;
        let mut tensors: Vec<Option<u32>> = try_vec(count, "tensors")?;
        tensors.resize(count, None);
        let mut list: Vec<Trainee> = try_vec(all.len(), "trained parameters")?;
        for param in all {
            match param {
                Param::Matrix(w) => {
                    let rows = w.first_row() + w.rows;
                    let Some(slot) = tensors.get_mut(w.tensor()) else {
                        fail!(Internal, "a weight lies outside the store")
                    };
                    let at = *slot.get_or_insert(list.len() as u32) as usize;
                    let whole = |rows| Param::Matrix(Weight::new(w.ty, rows, w.cols, w.tensor(), 0));
                    match list.get_mut(at) {
                        // Layers that use unlike parts of a tensor: what reaches farthest counts.
                        Some(known) => match known.param {
                            Param::Matrix(k) if k.cols == w.cols && k.ty == w.ty => {
                                known.param = whole(rows.max(k.rows))
                            }
                            _ => fail!(Unsupported, "two layers see one tensor in unlike shapes: it cannot be trained"),
                        },
                        None => list.push(Trainee { param: whole(rows), at: 0, len: 0 }),
                    }
                }
                Param::Factor(..) => fail!(Internal, "a layer has no adapter of its own"),
                Param::Vector(v) => {
                    let same = |t: &&Trainee| matches!(t.param, Param::Vector(k) if k.start() == v.start());
                    if list.iter().find(same).is_none() {
                        list.push(Trainee { param, at: 0, len: 0 });
                    }
                }
            }
        }
        let mut len = 0usize;
        for trainee in &mut list {
            let elements = match trainee.param {
                Param::Matrix(w) => w.rows.checked_mul(w.cols),
                Param::Vector(v) => Some(v.len),
                Param::Factor(..) => None,
            };
            let end = elements.map(padded).transpose()?.and_then(|n| len.checked_add(n));
            let (Some(elements), Some(end)) = (elements, end) else {
                fail!(OutOfMemory, "the trained parameters do not fit the address space")
            };
            (trainee.at, trainee.len) = (len, elements);
            len = end;
        }
        let mut vectors = try_vec(list.len(), "trained vectors")?;
        vectors.extend((0..list.len() as u32).filter(|&i| matches!(list[i as usize].param, Param::Vector(_))));
        vectors.sort_by_key(|&i| match list[i as usize].param {
            Param::Vector(v) => v.start(),
            Param::Matrix(_) | Param::Factor(..) => 0,
        });
        Ok(Trained { list, tensors, vectors, sites_at: len, len, ..Trained::default() })
    }

    /// The same with an adapter, which [`Trained::load`] begins at nothing: `a` at random from `seed`, `b` at 0, and magnitudes at the
    /// lengths of rows. `dropout` is the probability that an element of its inputs is dropped.
    pub fn with_adapter(mut self, sites: Sites, dropout: f32, seed: u64) -> Result<Trained> {
        if !(0.0..1.0).contains(&dropout) {
            fail!(InvalidArgument, "the adapter's inputs are dropped with probability {dropout}: give 0 to below 1");
        }
        let Some(len) = self.len.checked_add(sites.len()) else {
            fail!(OutOfMemory, "the trained parameters do not fit the address space")
        };
        if self.list.try_reserve(3 * sites.list().len()).is_err() {
            fail!(OutOfMemory, "no memory for a list of the parameters");
        }
        for site in sites.list() {
            for factor in Factor::ALL {
                let (at, len) = site.factor(factor);
                if len > 0 {
                    self.list.push(Trainee { param: Param::Factor(*site, factor), at: self.len + at, len });
                }
            }
        }
        (self.sites_at, self.len, self.sites, self.dropout, self.seed) = (self.len, len, sites, dropout, seed);
        Ok(self)
    }

    /// The adapter that is trained.
    pub fn sites(&self) -> &Sites {
        &self.sites
    }

    /// The first element of the adapter's part.
    pub(super) fn sites_at(&self) -> usize {
        self.sites_at
    }

    /// The adapter's part of the values, or of the gradients.
    pub fn adapter<'a>(&self, values: &'a [f32]) -> &'a [f32] {
        &values[self.sites_at..][..self.sites.len()]
    }

    /// The same, to write.
    pub fn adapter_mut<'a>(&self, values: &'a mut [f32]) -> &'a mut [f32] {
        &mut values[self.sites_at..][..self.sites.len()]
    }

    /// The probability that an element of the adapter's inputs is dropped.
    pub fn dropout(&self) -> f32 {
        self.dropout
    }

    /// Whether anything of a layer is trained.
    pub fn reaches(&self, layer: &Layer) -> bool {
        let mut any = false;
        layer.params(&mut |param| {
            any |= self.has(&param) || matches!(param, Param::Matrix(w) if self.sites.touches(&w));
        });
        any
    }

    /// The first of the layers of which anything is trained; their number when none is.
    pub fn first(&self, layers: &[Layer]) -> usize {
        layers.iter().position(|layer| self.reaches(layer)).unwrap_or(layers.len())
    }

    /// The trained parameters, in the order of their places.
    pub fn list(&self) -> &[Trainee] {
        &self.list
    }

    /// Elements of the block of values, and of that of gradients.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The place of the second parameter.
    pub fn second(&self) -> usize {
        self.list.get(1).map_or(self.len, |second| second.at)
    }

    /// Whether nothing is trained.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Fills `values` with those of the store.
    pub fn load(&self, store: &Store, kernels: &Kernels, values: &mut [f32]) -> Result<()> {
        if values.len() != self.len {
            fail!(Shape, "{} elements for trained parameters of {}", values.len(), self.len);
        }
        values.fill(0.0);
        for t in &self.list {
            let out = &mut values[t.at..t.at + t.len];
            match &t.param {
                Param::Vector(v) => out.copy_from_slice(store.vector(v)?),
                Param::Matrix(w) => {
                    let m = store.matrix(w)?;
                    for (row, bytes) in out.chunks_exact_mut(w.cols).zip(m.bytes.chunks_exact(w.row_bytes())) {
                        kernels.dequantize(m.ty, bytes, row);
                    }
                }
                Param::Factor(_, Factor::B) => {}
                Param::Factor(site, Factor::A) => {
                    // Uniform with the variance 1 / (3 inputs), as PEFT begins it (He et al., arXiv 1502.01852, with a slope of sqrt 5).
                    let bound = 1.0 / (site.w.cols.max(1) as f64).sqrt();
                    let draw = |i: u64| (2.0 * uniform(self.seed, t.at as u64, i) - 1.0) * bound;
                    (0u64..).zip(out).for_each(|(i, out)| *out = draw(i) as f32);
                }
                Param::Factor(site, Factor::Magnitude) => lengths(store, kernels, &site.w, out)?,
            }
        }
        Ok(())
    }

    /// Whether a parameter is trained.
    pub fn has(&self, param: &Param) -> bool {
        match param {
            Param::Matrix(w) => self.matrix(w).is_some(),
            Param::Vector(v) => self.vector(v).is_some(),
            Param::Factor(site, _) => self.sites.find(&site.w).is_some(),
        }
    }

    /// Where a parameter lies, if it is trained: first element and number.
    pub fn place(&self, param: &Param) -> Option<(usize, usize)> {
        match param {
            Param::Matrix(w) => self.matrix(w),
            Param::Vector(v) => self.vector(v),
            Param::Factor(..) => None,
        }
    }

    /// Where a matrix lies, if it is trained: first element and number.
    pub(super) fn matrix(&self, w: &Weight) -> Option<(usize, usize)> {
        let t = self.list.get((*self.tensors.get(w.tensor())?)? as usize)?;
        Some((t.at + w.first_row() * w.cols, w.rows * w.cols))
    }

    /// Where a vector lies, or the part of one.
    pub(super) fn vector(&self, v: &Vector) -> Option<(usize, usize)> {
        let start = |i: u32| match self.list[i as usize].param {
            Param::Vector(v) => v.start(),
            Param::Matrix(_) | Param::Factor(..) => 0,
        };
        let behind = self.vectors.partition_point(|&i| start(i) <= v.start());
        let i = *self.vectors.get(behind.checked_sub(1)?)?;
        let t = &self.list[i as usize];
        let into = v.start() - start(i);
        (into + v.len <= t.len).then_some((t.at + into, v.len))
    }
}

/// The length of each row of a matrix.
fn lengths(store: &Store, kernels: &Kernels, w: &Weight, out: &mut [f32]) -> Result<()> {
    let m = store.matrix(w)?;
    let mut row = try_vec(w.cols, "a row of weights")?;
    row.resize(w.cols, 0.0);
    for (length, bytes) in out.iter_mut().zip(m.bytes.chunks_exact(w.row_bytes())) {
        kernels.dequantize(m.ty, bytes, &mut row);
        *length = kernels.dot(&row, &row).sqrt();
    }
    Ok(())
}

/// The values of trained parameters, to read.
#[derive(Clone, Copy)]
pub struct Values<'a> {
    trained: &'a Trained,
    values: &'a [f32],
    lengths: &'a [f32],
}

impl<'a> Values<'a> {
    /// `values` as [`Trained::load`] filled it, and training changed it since.
    pub fn new(trained: &'a Trained, values: &'a [f32]) -> Result<Values<'a>> {
        Values::with_lengths(trained, values, &[])
    }

    /// The same with the lengths that the rows of matrices have with the adapter, where it has magnitudes.
    pub fn with_lengths(trained: &'a Trained, values: &'a [f32], lengths: &'a [f32]) -> Result<Values<'a>> {
        if values.len() != trained.len {
            fail!(Shape, "{} values for trained parameters of {}", values.len(), trained.len);
        }
        if lengths.len() != trained.sites.rows() {
            fail!(Shape, "{} lengths for {} rows with magnitudes", lengths.len(), trained.sites.rows());
        }
        Ok(Values { trained, values, lengths })
    }

    pub(super) fn matrix(&self, w: &Weight) -> Option<&'a [f32]> {
        self.trained.matrix(w).and_then(|(at, len)| self.values.get(at..at + len))
    }

    pub(super) fn vector(&self, v: &Vector) -> Option<&'a [f32]> {
        self.trained.vector(v).and_then(|(at, len)| self.values.get(at..at + len))
    }

    pub(super) fn low_rank(&self, w: &Weight) -> Option<LowRank<'a>> {
        let found = self.trained.sites.find(w)?;
        Some(found.low_rank(self.trained.adapter(self.values), Some(self.lengths)))
    }

    /// The greatest rank of the adapter.
    pub fn rank(&self) -> usize {
        self.trained.sites.rank()
    }
}

/// Trained values as they were at a moment, for contexts to run on while training goes on.
pub struct Snapshot {
    trained: Arc<Trained>,
    values: Vec<f32>,
    lengths: Vec<f32>,
}

impl Snapshot {
    /// A copy of `values`, in the places of `trained`, and of `lengths` as in [`Values::with_lengths`].
    pub fn new(trained: &Arc<Trained>, values: &[f32], lengths: &[f32]) -> Result<Snapshot> {
        let copy = |of: &[f32]| -> Result<Vec<f32>> {
            let mut copy = try_vec(of.len(), "trained values")?;
            copy.extend_from_slice(of);
            Ok(copy)
        };
        let snapshot = Snapshot { trained: Arc::clone(trained), values: copy(values)?, lengths: copy(lengths)? };
        snapshot.values()?;
        Ok(snapshot)
    }

    /// Takes the values of another moment.
    pub fn update(&mut self, values: &[f32], lengths: &[f32]) -> Result<()> {
        if values.len() != self.values.len() || lengths.len() != self.lengths.len() {
            fail!(Shape, "{} values for a snapshot of {}", values.len(), self.values.len());
        }
        self.values.copy_from_slice(values);
        self.lengths.copy_from_slice(lengths);
        Ok(())
    }

    /// Tells snapshots of one model apart: BLAKE3 of what is trained and of its values.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = blake3::Hasher::new();
        for t in &self.trained.list {
            let (kind, from) = match t.param {
                Param::Matrix(w) => (0, w.tensor()),
                Param::Vector(v) => (1, v.start()),
                Param::Factor(site, factor) => (2 + factor as usize, site.w.tensor()),
            };
            for n in [kind, from, t.at, t.len] {
                hash.update(&(n as u64).to_le_bytes());
            }
        }
        hash.update(&self.trained.sites().digest(&self.values));
        *hash.finalize().as_bytes()
    }

    /// The values.
    pub fn values(&self) -> Result<Values<'_>> {
        Values::with_lengths(&self.trained, &self.values, &self.lengths)
    }
}
