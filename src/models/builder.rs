//! Reads a model's numbers and tensors by name, each checked against what the architecture expects.

use super::graph::{Graph, KvHeads, Load};
use super::rope::Rope;
use crate::error::{Result, fail};
use crate::gguf::{Gguf, TensorInfo};
use crate::layers::norm::NormKind;
use crate::layers::{Layer, Linear, Norm, Vector, Weight};

/// Builds a [`Graph`] from a file's metadata.
pub struct Builder<'g> {
    /// The file.
    pub gguf: &'g Gguf,
    arch: &'g str,
    graph: Graph,
}

impl<'g> Builder<'g> {
    /// A builder for the file's model of architecture `arch`.
    pub fn new(gguf: &'g Gguf, arch: &'g str) -> Result<Self> {
        Ok(Builder { gguf, arch, graph: Graph { arch: arch.to_owned(), ..Graph::default() } })
    }

    /// The finished graph.
    pub fn finish(self) -> Graph {
        self.graph
    }

    /// Appends a layer.
    pub fn push(&mut self, layer: Layer) {
        self.graph.layers.push(layer);
    }

    /// Says the longest context of the training.
    pub fn set_ctx_train(&mut self, ctx: usize) {
        self.graph.ctx_train = ctx;
    }

    /// Says the width of the rows that go in; 0 when tokens do.
    pub fn set_in_width(&mut self, width: usize) {
        self.graph.in_width = width;
    }

    /// The index of a rotary embedding like this one, which is appended when there is none.
    pub fn shared_rope(&mut self, rope: Rope) -> usize {
        match self.graph.ropes.iter().position(|known| *known == rope) {
            Some(index) => index,
            None => self.rope(rope),
        }
    }

    /// Appends a rotary embedding; its index.
    pub fn rope(&mut self, rope: Rope) -> usize {
        self.graph.ropes.push(rope);
        self.graph.ropes.len() - 1
    }

    /// Appends a cache; its index.
    pub fn cache(&mut self, heads: KvHeads) -> usize {
        self.graph.caches.push(heads);
        self.graph.caches.len() - 1
    }

    /// The key `name` of this architecture.
    pub fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.arch)
    }

    /// An optional count.
    pub fn count_opt(&self, name: &str) -> Result<Option<usize>> {
        Ok(self.gguf.u32(&self.key(name))?.map(|v| v as usize))
    }

    /// A count that must be there, in `1..=max`.
    pub fn count(&self, name: &str, max: usize) -> Result<usize> {
        match self.count_opt(name)? {
            Some(v) if (1..=max).contains(&v) => Ok(v),
            Some(v) => fail!(Format, "{}: {} is {v}, expected 1 to {max}", self.gguf.name(), self.key(name)),
            None => fail!(Format, "{}: the key {} is missing", self.gguf.name(), self.key(name)),
        }
    }

    /// An optional number, finite.
    pub fn number_opt(&self, name: &str) -> Result<Option<f32>> {
        match self.gguf.f32(&self.key(name))? {
            Some(v) if !v.is_finite() => fail!(Format, "{}: {} is {v}", self.gguf.name(), self.key(name)),
            v => Ok(v),
        }
    }

    fn find(&self, name: &str) -> Option<(usize, &'g TensorInfo)> {
        let info = self.gguf.tensor(name)?;
        let index = self.gguf.tensors().iter().position(|t| std::ptr::eq(t, info))?;
        Some((index, info))
    }

    fn missing<T>(&self, name: &str) -> Result<T> {
        fail!(Format, "{}: tensor {name} is missing", self.gguf.name())
    }

    /// A matrix of `rows` outputs and `cols` inputs, if the tensor is there. `experts` of them may lie one after
    /// another in a third dimension; they come as one matrix of `experts * rows` rows.
    pub fn matrices_opt(&self, name: &str, experts: usize, rows: usize, cols: usize) -> Result<Option<Weight>> {
        let Some((index, info)) = self.find(name) else { return Ok(None) };
        if info.dims != [cols as u64, rows as u64, experts as u64, 1] {
            fail!(
                Format,
                "{}: tensor {name} has the shape {:?}, expected [{cols}, {rows}, {experts}]",
                self.gguf.name(),
                &info.dims[..3]
            );
        }
        if matches!(info.ty.name(), "I8" | "I16" | "I32" | "I64" | "F64") {
            fail!(Unsupported, "{}: tensor {name} is stored as {}", self.gguf.name(), info.ty.name());
        }
        Ok(Some(Weight::new(info.ty, rows * experts, cols, index, 0)))
    }

    /// A matrix, if it is there.
    pub fn matrix_opt(&self, name: &str, rows: usize, cols: usize) -> Result<Option<Weight>> {
        self.matrices_opt(name, 1, rows, cols)
    }

    /// A matrix that must be there.
    pub fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Weight> {
        self.matrices(name, 1, rows, cols)
    }

    /// Matrices of several experts that must be there.
    pub fn matrices(&self, name: &str, experts: usize, rows: usize, cols: usize) -> Result<Weight> {
        match self.matrices_opt(name, experts, rows, cols)? {
            Some(w) => Ok(w),
            None => self.missing(name),
        }
    }

    /// A matrix of any shape that must be there, with 1 to `max` rows and columns.
    pub fn any_matrix(&self, name: &str, max: usize) -> Result<Weight> {
        match self.find(name) {
            Some((_, info)) if info.dims[..2].iter().all(|d| (1..=max as u64).contains(d)) => {
                self.matrix(name, info.dims[1] as usize, info.dims[0] as usize)
            }
            Some((_, info)) => fail!(
                Format,
                "{}: tensor {name} is [{}][{}], expected 1 to {max} of each",
                self.gguf.name(),
                info.dims[1],
                info.dims[0]
            ),
            None => self.missing(name),
        }
    }

    /// The rows of a matrix of `cols` columns that must be there.
    pub fn rows(&self, name: &str, cols: usize) -> Result<usize> {
        match self.find(name) {
            Some((_, info)) if info.dims[0] == cols as u64 && info.dims[2..] == [1, 1] => Ok(info.dims[1] as usize),
            Some((_, info)) => fail!(
                Format,
                "{}: tensor {name} has rows of {} elements, expected {cols}",
                self.gguf.name(),
                info.dims[0]
            ),
            None => self.missing(name),
        }
    }

    /// A vector of `len` elements, if it is there; kept as f32.
    pub fn vector_opt(&mut self, name: &str, len: usize) -> Result<Option<Vector>> {
        let Some((tensor, info)) = self.find(name) else { return Ok(None) };
        if info.dims != [len as u64, 1, 1, 1] || info.ty.is_quantized() {
            fail!(
                Format,
                "{}: tensor {name} is {} {:?}, expected {len} floating-point numbers",
                self.gguf.name(),
                info.ty.name(),
                info.dims
            );
        }
        let at = self.graph.resident;
        self.graph.loads.push(Load { tensor, at, len });
        self.graph.resident += len;
        Ok(Some(Vector::new(at, len)))
    }

    /// A vector that must be there.
    pub fn vector(&mut self, name: &str, len: usize) -> Result<Vector> {
        match self.vector_opt(name, len)? {
            Some(v) => Ok(v),
            None => self.missing(name),
        }
    }

    /// `{prefix}.weight` as `[outputs][inputs]`, with `{prefix}.bias` if that is there.
    pub fn linear(&mut self, prefix: &str, outputs: usize, inputs: usize) -> Result<Linear> {
        let w = self.matrix(&format!("{prefix}.weight"), outputs, inputs)?;
        Ok(Linear { w, bias: self.vector_opt(&format!("{prefix}.bias"), outputs)? })
    }

    /// The RMSNorm `{prefix}.weight`.
    pub fn rmsnorm(&mut self, prefix: &str, len: usize, eps: f32) -> Result<Norm> {
        let weight = self.vector(&format!("{prefix}.weight"), len)?;
        Ok(Norm { kind: NormKind::Rms, weight, bias: None, eps })
    }
}
