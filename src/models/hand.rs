//! Models built by hand: a host adds layers one by one, each checked against the width of what comes before it.

use super::graph::{Graph, KvHeads};
use super::rope::Rope;
use crate::error::{Code, Error, Result, fail, try_vec};
use crate::layers::norm::NormKind;
use crate::layers::param::{Owned, Store, Tensors};
use crate::layers::{
    Attention, Dropout, Embedding, Features, Ffn, FfnKind, Layer, Linear, Norm, Residual, Scale, Softcap, Vector,
    Weight,
};
use crate::ops::activation::Activation;
use crate::ops::attend::AttendParams;
use crate::ops::rope::RopeStyle;
use qorus_kernels::{Kernels, Type};

/// The values of a matrix: `rows` outputs of `cols` inputs, stored as `ty`. They are copied.
#[derive(Clone, Copy)]
pub struct Values<'a> {
    /// Storage type.
    pub ty: Type,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// `rows` rows of `ty.row_bytes(cols)` bytes.
    pub bytes: &'a [u8],
}

/// A matrix and its bias.
#[derive(Clone, Copy)]
pub struct LinearValues<'a> {
    /// The matrix.
    pub w: Values<'a>,
    /// Added to each row.
    pub bias: Option<&'a [f32]>,
}

/// Which elements of a head turn, and how fast (Su et al., arXiv 2104.09864).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeValues {
    /// Which elements pair.
    pub style: RopeStyle,
    /// Elements that turn, from the first on.
    pub dim: usize,
    /// Base of the frequencies, 10000 in the paper.
    pub base: f64,
    /// Factor of the positions: 1 / n stretches a context n times.
    pub scale: f64,
}

/// Causal self-attention. Grouped-query when there are fewer key heads than query heads.
#[derive(Clone, Copy)]
pub struct AttentionValues<'a> {
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads.
    pub n_kv: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// `[n_head * head_dim][width]`
    pub q: LinearValues<'a>,
    /// `[n_kv * head_dim][width]`
    pub k: LinearValues<'a>,
    /// `[n_kv * head_dim][width]`
    pub v: LinearValues<'a>,
    /// `[any width][n_head * head_dim]`
    pub o: LinearValues<'a>,
    /// RMSNorm of each query head: weight and epsilon.
    pub q_norm: Option<(&'a [f32], f32)>,
    /// Likewise of each key head.
    pub k_norm: Option<(&'a [f32], f32)>,
    /// Rotary embedding.
    pub rope: Option<RopeValues>,
    /// Positions a row sees, its own included; 0: all before it.
    pub window: usize,
    /// Factor of the scores; 0: 1 / sqrt(head_dim).
    pub scale: f32,
    /// Soft-capping of the scores; 0: none.
    pub softcap: f32,
}

/// Layers that are open: those of the model, or of a residual branch.
struct Level {
    layers: Vec<Layer>,
    /// Width of the rows after them.
    width: usize,
}

/// A model under construction. A call that fails leaves it as it was.
pub struct Hand {
    kernels: Kernels,
    graph: Graph,
    tensors: Vec<Owned>,
    resident: Vec<f32>,
    ropes: Vec<RopeValues>,
    levels: Vec<Level>,
    /// Layers so far that drop elements.
    dropouts: u16,
    started: bool,
}

/// The largest width, number of heads or of rows: keeps products of two far from overflow.
const MAX: usize = 1 << 24;

/// Residual branches inside each other: forward passes recur that deep.
const MAX_DEPTH: usize = 64;

fn no_memory(what: &str) -> Error {
    Error::new(Code::OutOfMemory, format!("no memory for {what}"))
}

fn push<T>(list: &mut Vec<T>, item: T, what: &str) -> Result<()> {
    list.try_reserve(1).map_err(|_| no_memory(what))?;
    list.push(item);
    Ok(())
}

fn finite(what: &str, value: f32, low: f32) -> Result<f32> {
    if !(value >= low && value.is_finite()) {
        fail!(InvalidArgument, "{what} is {value}, expected a number from {low} on");
    }
    Ok(value)
}

impl Hand {
    /// Nothing yet, for kernels as these.
    pub fn new(kernels: &Kernels) -> Hand {
        let levels = vec![Level { layers: Vec::new(), width: 0 }];
        let graph = Graph { arch: "qorus".to_owned(), ..Graph::default() };
        let (tensors, resident, ropes) = (Vec::new(), Vec::new(), Vec::new());
        Hand { kernels: kernels.clone(), graph, tensors, resident, ropes, levels, dropouts: 0, started: false }
    }

    /// Width of the rows after the layers so far; 0 before the first.
    pub fn width(&self) -> usize {
        self.levels.last().map_or(0, |level| level.width)
    }

    fn ready(&self) -> Result<usize> {
        if !self.started {
            fail!(State, "the first layer takes what? begin with the width of the input's rows or with an embedding");
        }
        Ok(self.width())
    }

    fn begin(&self) -> Result<()> {
        if self.started {
            fail!(State, "the model's input is settled already");
        }
        Ok(())
    }

    /// Adds a layer whose rows have `width` elements.
    fn add(&mut self, layer: Layer, width: usize) -> Result<()> {
        if let Some(level) = self.levels.last_mut() {
            push(&mut level.layers, layer, "a layer")?;
            level.width = width;
        }
        Ok(())
    }

    /// `Shape` or `Unsupported` unless these values make a matrix that `op` can use.
    fn check(&self, name: &str, v: &Values, op: &str) -> Result<()> {
        if v.rows == 0 || v.cols == 0 || v.rows > MAX || v.cols > MAX {
            fail!(Shape, "{name} is [{}][{}]: give 1 to {MAX} of each", v.rows, v.cols);
        }
        let bytes = v.ty.row_bytes(v.cols).and_then(|row| row.checked_mul(v.rows));
        let Some(bytes) = bytes else {
            let (ty, block) = (v.ty.name(), v.ty.block_len());
            fail!(Shape, "{name}: rows of {} elements are no whole blocks of {ty}, which have {block}", v.cols)
        };
        if bytes != v.bytes.len() {
            fail!(Shape, "{name}: {} bytes, expected {bytes} for [{}][{}]", v.bytes.len(), v.rows, v.cols);
        }
        if !self.kernels.has(op, v.ty) {
            fail!(Unsupported, "{name}: there is no kernel {op} for {}", v.ty.name());
        }
        Ok(())
    }

    fn matrix(&mut self, name: &str, v: &Values, op: &str) -> Result<Weight> {
        self.check(name, v, op)?;
        let mut own = Owned::new(v.bytes.len())?;
        own.bytes_mut().copy_from_slice(v.bytes);
        push(&mut self.tensors, own, "a tensor")?;
        Ok(Weight::new(v.ty, v.rows, v.cols, self.tensors.len() - 1, 0))
    }

    fn vector(&mut self, values: &[f32]) -> Result<Vector> {
        self.resident.try_reserve(values.len()).map_err(|_| no_memory("a vector"))?;
        let at = self.resident.len();
        self.resident.extend_from_slice(values);
        Ok(Vector::new(at, values.len()))
    }

    /// A matrix of `cols` inputs and, unless it is 0, `rows` outputs.
    fn linear_of(&mut self, name: &str, v: &LinearValues, rows: usize, cols: usize) -> Result<Linear> {
        if v.w.cols != cols || (rows != 0 && v.w.rows != rows) {
            let rows = if rows == 0 { "any".to_owned() } else { rows.to_string() };
            fail!(Shape, "{name} is [{}][{}], expected [{rows}][{cols}]", v.w.rows, v.w.cols);
        }
        if let Some(bias) = v.bias
            && bias.len() != v.w.rows
        {
            fail!(Shape, "{name}: a bias of {} for {} outputs", bias.len(), v.w.rows);
        }
        let op = if v.w.ty.is_quantized() { "matmul_q8" } else { "matmul_f32" };
        let w = self.matrix(name, &v.w, op)?;
        let bias = v.bias.map(|bias| self.vector(bias)).transpose()?;
        Ok(Linear { w, bias })
    }

    /// Runs `f`; when it fails, the parameters it took are given back.
    fn whole<R>(&mut self, f: impl FnOnce(&mut Hand) -> Result<R>) -> Result<R> {
        let (tensors, resident) = (self.tensors.len(), self.resident.len());
        let (ropes, caches) = (self.ropes.len(), self.graph.caches.len());
        let result = f(self);
        if result.is_err() {
            self.tensors.truncate(tensors);
            self.resident.truncate(resident);
            self.ropes.truncate(ropes);
            self.graph.ropes.truncate(ropes);
            self.graph.caches.truncate(caches);
        }
        result
    }

    /// The model takes rows of `width` numbers.
    pub fn rows(&mut self, width: usize) -> Result<()> {
        self.begin()?;
        if width == 0 || width > MAX {
            fail!(Shape, "rows of {width} elements: give 1 to {MAX}");
        }
        self.graph.in_width = width;
        self.levels[0].width = width;
        self.started = true;
        Ok(())
    }

    /// The model takes tokens: `[vocab][width]`, a row for each.
    pub fn embedding(&mut self, table: &Values) -> Result<()> {
        self.begin()?;
        self.whole(|b| {
            let weight = b.matrix("the embedding", table, "dequantize")?;
            b.add(Layer::Embedding(Embedding { table: weight }), table.cols)
        })?;
        self.started = true;
        Ok(())
    }

    /// Rows of a table: the first elements are numbers, the others indices of categories, one for each of `tables`, of which a row
    /// `[categories][width]` takes the index's place. `tables` are in the order of the elements.
    pub fn features(&mut self, tables: &[Values]) -> Result<()> {
        let width = self.ready()?;
        let Some(numbers) = width.checked_sub(tables.len()) else {
            fail!(Shape, "{} categories in rows of {width} elements", tables.len());
        };
        let wide = tables.iter().fold(numbers, |sum, table| sum.saturating_add(table.cols));
        if wide > MAX || wide == 0 {
            fail!(Shape, "features of {wide} elements: give 1 to {MAX}");
        }
        self.whole(|b| {
            let mut weights = try_vec(tables.len(), "tables of categories")?;
            for table in tables {
                // Whole numbers up to 2^24 are exact in f32.
                weights.push(b.matrix("the categories' table", table, "dequantize")?);
            }
            b.add(Layer::Features(Features { numbers, tables: weights }), wide)
        })
    }

    /// y = x w^T + b
    pub fn linear(&mut self, v: &LinearValues) -> Result<()> {
        let width = self.ready()?;
        self.whole(|b| {
            let layer = b.linear_of("the matrix", v, 0, width)?;
            b.add(Layer::Linear(layer), v.w.rows)
        })
    }

    fn norm(&mut self, kind: NormKind, weight: &[f32], bias: Option<&[f32]>, eps: f32, width: usize) -> Result<Norm> {
        let eps = finite("epsilon", eps, 0.0)?;
        for (name, values) in [("weight", Some(weight)), ("bias", bias)] {
            if values.is_some_and(|v| v.len() != width) {
                fail!(Shape, "a norm's {name} of {} elements for rows of {width}", values.map_or(0, <[f32]>::len));
            }
        }
        let weight = self.vector(weight)?;
        let bias = bias.map(|bias| self.vector(bias)).transpose()?;
        Ok(Norm { kind, weight, bias, eps })
    }

    /// RMSNorm (Zhang and Sennrich, arXiv 1910.07467).
    pub fn rmsnorm(&mut self, weight: &[f32], eps: f32) -> Result<()> {
        let width = self.ready()?;
        self.whole(|b| {
            let norm = b.norm(NormKind::Rms, weight, None, eps, width)?;
            b.add(Layer::Norm(norm), width)
        })
    }

    /// LayerNorm (Ba et al., arXiv 1607.06450).
    pub fn layernorm(&mut self, weight: &[f32], bias: Option<&[f32]>, eps: f32) -> Result<()> {
        let width = self.ready()?;
        self.whole(|b| {
            let norm = b.norm(NormKind::Layer, weight, bias, eps, width)?;
            b.add(Layer::Norm(norm), width)
        })
    }

    /// An activation function.
    pub fn activation(&mut self, act: Activation) -> Result<()> {
        let width = self.ready()?;
        self.add(Layer::Activation(act), width)
    }

    /// y = factor * x
    pub fn scale(&mut self, factor: f32) -> Result<()> {
        let width = self.ready()?;
        let factor = finite("the factor", factor, f32::MIN)?;
        self.add(Layer::Scale(Scale { factor }), width)
    }

    /// y = cap * tanh(x / cap)
    pub fn softcap(&mut self, cap: f32) -> Result<()> {
        let width = self.ready()?;
        let cap = finite("the bound", cap, f32::MIN_POSITIVE)?;
        self.add(Layer::Softcap(Softcap { cap }), width)
    }

    /// Drops elements with probability `rate` while the model is trained, and makes the others larger; nothing in inference.
    pub fn dropout(&mut self, rate: f32) -> Result<()> {
        let width = self.ready()?;
        if !(0.0..1.0).contains(&rate) {
            fail!(InvalidArgument, "elements are dropped with probability {rate}, expected 0 to less than 1");
        }
        let Some(next) = self.dropouts.checked_add(1) else {
            fail!(Unsupported, "more than {} layers that drop elements", u16::MAX)
        };
        self.add(Layer::Dropout(Dropout { rate, stream: self.dropouts }), width)?;
        self.dropouts = next;
        Ok(())
    }

    fn rope(&mut self, v: &RopeValues, head_dim: usize) -> Result<usize> {
        if v.dim == 0 || v.dim % 2 != 0 || v.dim > head_dim {
            fail!(Shape, "{} elements of a head turn, expected an even number up to {head_dim}", v.dim);
        }
        if let Some(index) = self.ropes.iter().position(|known| known == v) {
            return Ok(index);
        }
        let rope = Rope::plain(v.style, v.dim, v.base, v.scale);
        if !v.base.is_finite() || v.base <= 0.0 || rope.check().is_err() {
            fail!(InvalidArgument, "a rotary embedding of base {} and scale {}", v.base, v.scale);
        }
        push(&mut self.ropes, *v, "a rotary embedding")?;
        push(&mut self.graph.ropes, rope, "a rotary embedding")?;
        Ok(self.ropes.len() - 1)
    }

    /// Causal self-attention with its projections.
    pub fn attention(&mut self, v: &AttentionValues) -> Result<()> {
        let width = self.ready()?;
        let (n_head, n_kv, head_dim) = (v.n_head, v.n_kv, v.head_dim);
        let limits = [n_head, n_kv, head_dim].iter().all(|n| (1..=MAX).contains(n));
        if !limits || n_head % n_kv != 0 || n_head.saturating_mul(head_dim) > MAX {
            fail!(Shape, "{n_head} query heads over {n_kv} key heads of {head_dim} elements");
        }
        let scale = match v.scale {
            0.0 => 1.0 / (head_dim as f32).sqrt(),
            scale => finite("the factor of the scores", scale, f32::MIN_POSITIVE)?,
        };
        let softcap = finite("the bound of the scores", v.softcap, 0.0)?;
        self.whole(|b| {
            let q = b.linear_of("q", &v.q, n_head * head_dim, width)?;
            let k = b.linear_of("k", &v.k, n_kv * head_dim, width)?;
            let value = b.linear_of("v", &v.v, n_kv * head_dim, width)?;
            let o = b.linear_of("o", &v.o, 0, n_head * head_dim)?;
            let mut head_norm = |norm: Option<(&[f32], f32)>| {
                norm.map(|(weight, eps)| b.norm(NormKind::Rms, weight, None, eps, head_dim)).transpose()
            };
            let (q_norm, k_norm) = (head_norm(v.q_norm)?, head_norm(v.k_norm)?);
            let rope = v.rope.map(|rope| b.rope(&rope, head_dim)).transpose()?;
            push(&mut b.graph.caches, KvHeads { n_kv, head_dim }, "a cache")?;
            let params = AttendParams { n_head, scale, softcap, window: v.window };
            let slot = b.graph.caches.len() - 1;
            let layer = Attention { q, k, v: value, o, q_norm, k_norm, rope, params, n_kv, head_dim, slot };
            b.add(Layer::Attention(layer), v.o.w.rows)
        })
    }

    /// down(act(up x)), or down(act(gate x) * up x) with a gate: SwiGLU and its kin (Shazeer, arXiv 2002.05202).
    pub fn ffn(
        &mut self,
        act: Activation,
        gate: Option<&LinearValues>,
        up: &LinearValues,
        down: &LinearValues,
    ) -> Result<()> {
        let width = self.ready()?;
        let hidden = up.w.rows;
        self.whole(|b| {
            let kind = match gate {
                Some(gate) => FfnKind::Gated(b.linear_of("gate", gate, hidden, width)?),
                None => FfnKind::Plain,
            };
            let up = b.linear_of("up", up, hidden, width)?;
            let layer = Ffn { kind, act, up, down: b.linear_of("down", down, 0, hidden)? };
            b.add(Layer::Ffn(layer), down.w.rows)
        })
    }

    /// Opens a residual branch: the layers up to [`Hand::residual_end`] are f in y = x + f(x).
    pub fn residual_begin(&mut self) -> Result<()> {
        let width = self.ready()?;
        if self.levels.len() > MAX_DEPTH {
            fail!(InvalidArgument, "more than {MAX_DEPTH} residual branches inside each other");
        }
        push(&mut self.levels, Level { layers: Vec::new(), width }, "a residual branch")
    }

    /// Closes the residual branch that was opened last. Its layers must have come back to the width they began with.
    pub fn residual_end(&mut self) -> Result<()> {
        let [.., outer, inner] = self.levels.as_mut_slice() else {
            fail!(State, "no residual branch is open");
        };
        if inner.layers.is_empty() {
            fail!(State, "the residual branch has no layers");
        }
        if inner.width != outer.width {
            fail!(Shape, "the residual branch leads from width {} to {}", outer.width, inner.width);
        }
        outer.layers.try_reserve(1).map_err(|_| no_memory("a layer"))?;
        let body = std::mem::take(&mut inner.layers);
        outer.layers.push(Layer::Residual(Residual { body }));
        self.levels.pop();
        Ok(())
    }

    /// The finished layers and their parameters. There are none afterwards.
    pub fn finish(&mut self) -> Result<(Graph, Store)> {
        self.ready()?;
        let [level] = self.levels.as_mut_slice() else {
            fail!(State, "{} residual branches are still open", self.levels.len() - 1)
        };
        if level.layers.is_empty() {
            fail!(State, "the model has no layers");
        }
        // Exactly what is needed: the plan counts it.
        let mut resident = try_vec(self.resident.len(), "resident weights")?;
        resident.append(&mut self.resident);
        let mut graph = std::mem::take(&mut self.graph);
        graph.layers = std::mem::take(&mut level.layers);
        graph.resident = resident.len();
        (self.started, self.dropouts, level.width) = (false, 0, 0);
        self.ropes.clear();
        Ok((graph, Store { tensors: Tensors::Own(std::mem::take(&mut self.tensors)), resident }))
    }
}
