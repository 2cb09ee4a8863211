//! Parameters: where a layer's weights lie, and the store that has them.

use super::adapters::Attached;
use crate::error::{Code, Error, Result, fail, try_vec};
use crate::gguf::Gguf;
use crate::ops::low_rank::LowRank;
use crate::ops::matmul::Matrix;
use qorus_kernels::Type;
use std::ops::Range;
use std::sync::Arc;

/// A weight matrix: `rows` outputs of `cols` inputs, stored as `ty`.
#[derive(Clone, Copy, Debug)]
pub struct Weight {
    /// Storage type.
    pub ty: Type,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// Index of the tensor in its file or in the store's own tensors.
    tensor: usize,
    /// First byte in the tensor.
    start: usize,
    exact: bool,
}

#[cfg(feature = "train")]
impl Vector {
    /// First element among the store's resident values.
    pub fn start(&self) -> usize {
        self.start
    }
}

impl Weight {
    /// The matrix that begins `start` bytes into tensor number `tensor` of the store.
    pub fn new(ty: Type, rows: usize, cols: usize, tensor: usize, start: usize) -> Weight {
        Weight { ty, rows, cols, tensor, start, exact: false }
    }

    /// The same, its products of f32 even where those of a runtime are of bf16: for scores by which something is chosen.
    pub fn exactly(self) -> Weight {
        Weight { exact: true, ..self }
    }

    /// Index of the tensor.
    pub fn tensor(&self) -> usize {
        self.tensor
    }

    /// The first row, counted in rows of the whole tensor.
    pub fn first_row(&self) -> usize {
        self.start.checked_div(self.row_bytes()).unwrap_or(0)
    }

    /// Bytes of one row. Checked when the weight was made.
    pub fn row_bytes(&self) -> usize {
        self.ty.row_bytes(self.cols).unwrap_or(0)
    }

    /// The rows `range` as a matrix of their own. Fused projections are parts of one tensor.
    pub fn part(&self, range: Range<usize>) -> Result<Weight> {
        if range.start > range.end || range.end > self.rows {
            fail!(Shape, "rows {}..{} of a matrix of {}", range.start, range.end, self.rows);
        }
        Ok(Weight { rows: range.len(), start: self.start + range.start * self.row_bytes(), ..*self })
    }
}

/// A small parameter kept as f32: the weight of a norm, or a bias.
#[derive(Clone, Copy, Debug)]
pub struct Vector {
    start: usize,
    /// Elements.
    pub len: usize,
}

impl Vector {
    /// The elements from `start` of the store's resident values.
    pub fn new(start: usize, len: usize) -> Vector {
        Vector { start, len }
    }

    /// The elements `range` as a vector of their own.
    pub fn part(&self, range: Range<usize>) -> Result<Vector> {
        if range.start > range.end || range.end > self.len {
            fail!(Shape, "elements {}..{} of a vector of {}", range.start, range.end, self.len);
        }
        Ok(Vector { start: self.start + range.start, len: range.len() })
    }
}

/// Bytes on cache lines of their own.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

// SAFETY: plain bytes, no padding, every pattern valid.
unsafe impl bytemuck::Zeroable for Line {}
// SAFETY: as above; `align(64)` with 64 bytes leaves no padding.
unsafe impl bytemuck::Pod for Line {}

/// A tensor the store owns: for models that were built by hand.
pub struct Owned {
    lines: Vec<Line>,
    len: usize,
}

impl Owned {
    /// `len` zero bytes, 64-byte aligned.
    pub fn new(len: usize) -> Result<Owned> {
        let n = len.div_ceil(64);
        let mut lines = try_vec(n, "64-byte lines of a weight")?;
        lines.resize(n, Line([0; 64]));
        Ok(Owned { lines, len })
    }

    /// Bytes in memory, whole lines.
    pub fn reserved(&self) -> usize {
        self.lines.len() * size_of::<Line>()
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }

    /// The bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

/// Where the bytes of the weights are.
pub enum Tensors {
    /// In a mapped file.
    File(Arc<Gguf>),
    /// In memory of their own.
    Own(Vec<Owned>),
}

/// The parameters that a pass reads: those of a store, or where they are trained, their trainer's copy; and what adapters add.
#[derive(Clone, Copy)]
pub struct Params<'a> {
    store: &'a Store,
    adapters: &'a [Attached],
    #[cfg(feature = "train")]
    trained: Option<super::trained::Values<'a>>,
}

impl<'a> Params<'a> {
    /// Those of a store.
    pub fn of(store: &'a Store) -> Params<'a> {
        Params {
            store,
            adapters: &[],
            #[cfg(feature = "train")]
            trained: None,
        }
    }

    /// The same, and what `adapters` add.
    pub fn adapted(self, adapters: &'a [Attached]) -> Params<'a> {
        Params { adapters, ..self }
    }

    /// The same, but `trained` in the place of those that are in it.
    #[cfg(feature = "train")]
    pub fn with(store: &'a Store, trained: super::trained::Values<'a>) -> Params<'a> {
        Params { trained: Some(trained), ..Params::of(store) }
    }

    /// A matrix; as f32 where it is trained.
    pub fn matrix(&self, w: &Weight) -> Result<Matrix<'a>> {
        #[cfg(feature = "train")]
        if let Some(values) = self.trained.and_then(|t| t.matrix(w)) {
            let bytes = bytemuck::cast_slice(values);
            return Ok(Matrix { ty: Type::F32, rows: w.rows, cols: w.cols, bytes, exact: w.exact });
        }
        self.store.matrix(w)
    }

    /// What is added to a matrix: by the adapters, as far as they weigh anything, and by the one that is trained.
    pub fn low_ranks<'b>(&self, w: &'b Weight) -> impl Iterator<Item = LowRank<'a>> + Clone + use<'a, 'b> {
        let attached = self.adapters.iter().filter(|a| a.weight != 0.0);
        let attached = attached.filter_map(|a| Some(LowRank { weight: a.weight, ..a.adapter.low_rank(w)? }));
        #[cfg(feature = "train")]
        let attached = attached.chain(self.trained.and_then(|t| t.low_rank(w)));
        attached
    }

    /// The greatest rank of what is added to any matrix.
    pub fn rank(&self) -> usize {
        let rank = self.adapters.iter().map(|a| a.adapter.sites().rank()).max().unwrap_or(0);
        #[cfg(feature = "train")]
        let rank = rank.max(self.trained.map_or(0, |t| t.rank()));
        rank
    }

    /// Whether anything is added to a matrix.
    pub fn is_adapted(&self, w: &Weight) -> bool {
        self.low_ranks(w).next().is_some()
    }

    /// A vector's elements.
    pub fn vector(&self, v: &Vector) -> Result<&'a [f32]> {
        #[cfg(feature = "train")]
        if let Some(values) = self.trained.and_then(|t| t.vector(v)) {
            return Ok(values);
        }
        self.store.vector(v)
    }

    /// The elements of an optional vector.
    pub fn vector_opt(&self, v: Option<&Vector>) -> Result<Option<&'a [f32]>> {
        v.map(|v| self.vector(v)).transpose()
    }
}

/// The parameters of a model.
pub struct Store {
    /// Matrices.
    pub tensors: Tensors,
    /// Vectors, one after another.
    pub resident: Vec<f32>,
}

impl Store {
    /// Bytes of all that is not in a file.
    pub fn reserved(&self) -> usize {
        let own = match &self.tensors {
            Tensors::File(_) => 0,
            Tensors::Own(own) => own.iter().map(Owned::reserved).sum(),
        };
        own + self.resident.len() * size_of::<f32>()
    }

    /// A weight's bytes. They were checked to be there when the weight was made.
    pub fn matrix(&self, w: &Weight) -> Result<Matrix<'_>> {
        let tensor = match &self.tensors {
            Tensors::File(gguf) => gguf.tensors().get(w.tensor).map(|info| gguf.data(info)),
            Tensors::Own(own) => own.get(w.tensor).map(Owned::bytes),
        };
        let bytes = tensor.and_then(|t| t.get(w.start..)?.get(..w.row_bytes() * w.rows));
        let bytes = bytes.ok_or_else(|| Error::new(Code::Internal, "a weight lies outside its tensor"))?;
        Ok(Matrix { ty: w.ty, rows: w.rows, cols: w.cols, bytes, exact: w.exact })
    }

    /// A vector's elements.
    pub fn vector(&self, v: &Vector) -> Result<&[f32]> {
        let found = self.resident.get(v.start..).and_then(|rest| rest.get(..v.len));
        found.ok_or_else(|| Error::new(Code::Internal, "a vector lies outside the store"))
    }
}
