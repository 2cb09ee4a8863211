//! A file's keys and tensors as layers.

use super::{FUNCTIONS, MAX, MAX_DEPTH, STYLES, VERSION};
use crate::error::{Result, fail};
use crate::gguf::Value;
use crate::layers::norm::NormKind;
use crate::layers::{
    Attention, Dropout, Embedding, Features, Ffn, FfnKind, Layer, Linear, Norm, Residual, Scale, Softcap,
};
use crate::models::Builder;
use crate::models::graph::KvHeads;
use crate::models::rope::Rope;
use crate::ops::attend::AttendParams;

/// Appends the layers that the file describes.
pub fn qorus(b: &mut Builder) -> Result<()> {
    let file = b.gguf.name();
    match b.gguf.u32("qorus.version")? {
        Some(VERSION) => {}
        Some(v) => fail!(Unsupported, "{file}: describes its layers in version {v}; version {VERSION} is read"),
        None => fail!(Format, "{file}: the key qorus.version is missing: it has no description of layers"),
    }
    let width = match b.count_opt("input_width")? {
        Some(_) => b.count("input_width", MAX)?,
        None => 0,
    };
    b.set_in_width(width);
    if let Some(ctx) = b.count_opt("context_length")? {
        b.set_ctx_train(ctx);
    }
    // Each layer has a key of its own.
    let count = b.count("layer_count", b.gguf.entries().len())?;
    let (mut read, mut width) = (Described { b, next: 0, count, dropouts: 0 }, width);
    while read.next < count {
        let (layer, next) = read.layer(width, 0)?;
        if let Layer::Embedding(l) = &layer {
            let (rows, listed) = (l.table.rows, read.b.gguf.array("tokenizer.ggml.tokens")?.map(|tokens| tokens.len()));
            if listed.is_some_and(|listed| listed != rows) {
                let listed = listed.unwrap_or(0);
                fail!(Format, "{file}: {listed} tokens in the vocabulary, but layer.0.weight has {rows} rows");
            }
        }
        read.b.push(layer);
        width = next;
    }
    Ok(())
}

/// What is read so far.
struct Described<'a, 'g> {
    b: &'a mut Builder<'g>,
    next: usize,
    count: usize,
    dropouts: u16,
}

/// A layer's number, and the width of the rows that go into it.
#[derive(Clone, Copy)]
struct At {
    n: usize,
    width: usize,
}

impl At {
    fn key(&self, name: &str) -> String {
        format!("layer.{}.{name}", self.n)
    }
}

impl Described<'_, '_> {
    fn file(&self) -> &str {
        self.b.gguf.name()
    }

    /// Reads the next layer, with those inside it, behind rows of `width`; the layer, and the width of its rows.
    fn layer(&mut self, width: usize, depth: usize) -> Result<(Layer, usize)> {
        let at = At { n: self.next, width };
        if self.next >= self.count {
            fail!(Format, "{}: layer {} is missing: only {} are described", self.file(), at.n, self.count);
        }
        self.next += 1;
        let kind = self.text(at, "kind")?;
        // Tokens have no width.
        if (kind == "embedding") != (at.width == 0) || (kind == "embedding" && at.n > 0) {
            fail!(
                Format,
                "{}: layer {} is of kind {kind:?}: an embedding is the first layer of a model without qorus.input_width, and only that",
                self.file(),
                at.n
            );
        }
        let layer = match kind {
            "embedding" => Layer::Embedding(Embedding { table: self.b.any_matrix(&at.key("weight"), MAX)? }),
            "features" => self.features(at)?,
            "linear" => Layer::Linear(self.linear(at, "", None, width)?),
            "rmsnorm" => Layer::Norm(self.norm(at, NormKind::Rms, "", width)?),
            "layernorm" => Layer::Norm(self.norm(at, NormKind::Layer, "", width)?),
            "activation" => Layer::Activation(self.one_of(at, "function", &FUNCTIONS)?),
            "scale" => Layer::Scale(Scale { factor: self.number(at, "factor", f32::MIN, f32::MAX)? }),
            "softcap" => Layer::Softcap(Softcap { cap: self.number(at, "cap", f32::MIN_POSITIVE, f32::MAX)? }),
            "dropout" => self.dropout(at)?,
            "attention" => self.attention(at)?,
            "ffn" => self.ffn(at)?,
            "residual" => self.residual(at, depth)?,
            _ => fail!(
                Unsupported,
                "{}: layer {} is of kind {kind:?}, which is not known to this version",
                self.file(),
                at.n
            ),
        };
        let width = layer.out_width(width);
        Ok((layer, width))
    }

    fn features(&mut self, at: At) -> Result<Layer> {
        let count = self.count_in(at, "tables", 0, at.width)?;
        let (mut tables, mut wide) = (Vec::new(), at.width - count);
        for i in 0..count {
            let table = self.b.any_matrix(&at.key(&format!("table.{i}")), MAX)?;
            wide += table.cols;
            if wide > MAX {
                fail!(Format, "{}: layer {}: features of more than {MAX} elements", self.file(), at.n);
            }
            tables.push(table);
        }
        Ok(Layer::Features(Features { numbers: at.width - count, tables }))
    }

    fn dropout(&mut self, at: At) -> Result<Layer> {
        let stream = self.dropouts;
        let Some(next) = stream.checked_add(1) else {
            fail!(Unsupported, "{}: more than {} layers that drop elements", self.file(), u16::MAX)
        };
        self.dropouts = next;
        let below_one = 1.0 - f32::EPSILON / 2.0;
        Ok(Layer::Dropout(Dropout { rate: self.number(at, "rate", 0.0, below_one)?, stream }))
    }

    fn attention(&mut self, at: At) -> Result<Layer> {
        let n_head = self.count_in(at, "heads", 1, MAX)?;
        let n_kv = self.count_in(at, "kv_heads", 1, n_head)?;
        let head_dim = self.count_in(at, "head_dim", 1, MAX / n_head)?;
        if n_head % n_kv != 0 {
            let file = self.file();
            fail!(Format, "{file}: layer {}: {n_head} query heads cannot share {n_kv} heads of keys evenly", at.n);
        }
        let window = self.count_in(at, "window", 0, u32::MAX as usize)?;
        let scale = self.number(at, "scale", f32::MIN_POSITIVE, f32::MAX)?;
        let softcap = self.number(at, "softcap", 0.0, f32::MAX)?;
        let rope = self.rope(at, head_dim)?;
        let q = self.linear(at, "q.", Some(n_head * head_dim), at.width)?;
        let k = self.linear(at, "k.", Some(n_kv * head_dim), at.width)?;
        let v = self.linear(at, "v.", Some(n_kv * head_dim), at.width)?;
        let o = self.linear(at, "o.", None, n_head * head_dim)?;
        let mut head_norm = |name: &str| match self.b.gguf.tensor(&at.key(&format!("{name}weight"))) {
            Some(_) => self.norm(at, NormKind::Rms, name, head_dim).map(Some),
            None => Ok(None),
        };
        let (q_norm, k_norm) = (head_norm("q_norm.")?, head_norm("k_norm.")?);
        let slot = self.b.cache(KvHeads { n_kv, head_dim });
        let params = AttendParams { n_head, scale, softcap, window };
        Ok(Layer::Attention(Attention { q, k, v, o, q_norm, k_norm, rope, params, n_kv, head_dim, slot }))
    }

    /// The index of a rotary embedding, which layers may share.
    fn rope(&mut self, at: At, head_dim: usize) -> Result<Option<usize>> {
        if self.b.gguf.get(&self.b.key(&at.key("rope.style"))).is_none() {
            return Ok(None);
        }
        let style = self.one_of(at, "rope.style", &STYLES)?;
        let dim = self.count_in(at, "rope.dim", 1, head_dim)?;
        let (base, scale) = (self.double(at, "rope.base")?, self.double(at, "rope.scale")?);
        let rope = Rope::plain(style, dim, base, scale);
        if dim % 2 != 0 || !base.is_finite() || base <= 0.0 || rope.check().is_err() {
            let file = self.file();
            fail!(Format, "{file}: layer {}: {dim} elements cannot turn by base {base} and scale {scale}", at.n);
        }
        Ok(Some(self.b.shared_rope(rope)))
    }

    fn ffn(&mut self, at: At) -> Result<Layer> {
        let act = self.one_of(at, "function", &FUNCTIONS)?;
        let up = self.linear(at, "up.", None, at.width)?;
        let kind = match self.b.gguf.tensor(&at.key("gate.weight")) {
            Some(_) => FfnKind::Gated(self.linear(at, "gate.", Some(up.w.rows), at.width)?),
            None => FfnKind::Plain,
        };
        let down = self.linear(at, "down.", None, up.w.rows)?;
        Ok(Layer::Ffn(Ffn { kind, act, up, down }))
    }

    fn residual(&mut self, at: At, depth: usize) -> Result<Layer> {
        if depth >= MAX_DEPTH {
            fail!(Unsupported, "{}: more than {MAX_DEPTH} residual branches inside each other", self.file());
        }
        let count = self.count_in(at, "layers", 1, self.count)?;
        let (mut body, mut width) = (Vec::new(), at.width);
        for _ in 0..count {
            let (layer, next) = self.layer(width, depth + 1)?;
            body.push(layer);
            width = next;
        }
        if width != at.width {
            let (file, n, from) = (self.file(), at.n, at.width);
            fail!(Format, "{file}: the residual branch of layer {n} leads from width {from} to {width}");
        }
        Ok(Layer::Residual(Residual { body }))
    }

    /// `{name}weight` and, where it is there, `{name}bias`.
    fn linear(&mut self, at: At, name: &str, rows: Option<usize>, cols: usize) -> Result<Linear> {
        let key = at.key(&format!("{name}weight"));
        let rows = match rows {
            Some(rows) => rows,
            None => self.b.any_matrix(&key, MAX)?.rows,
        };
        let w = self.b.matrix(&key, rows, cols)?;
        Ok(Linear { w, bias: self.b.vector_opt(&at.key(&format!("{name}bias")), rows)? })
    }

    fn norm(&mut self, at: At, kind: NormKind, name: &str, width: usize) -> Result<Norm> {
        let eps = self.number(at, &format!("{name}eps"), 0.0, f32::MAX)?;
        let weight = self.b.vector(&at.key(&format!("{name}weight")), width)?;
        let bias = match kind {
            NormKind::Layer => self.b.vector_opt(&at.key(&format!("{name}bias")), width)?,
            NormKind::Rms => None,
        };
        Ok(Norm { kind, weight, bias, eps })
    }

    fn missing<T>(&self, at: At, name: &str) -> Result<T> {
        fail!(Format, "{}: the key {} is missing", self.file(), self.b.key(&at.key(name)))
    }

    fn text(&self, at: At, name: &str) -> Result<&str> {
        match self.b.gguf.str(&self.b.key(&at.key(name)))? {
            Some(text) => Ok(text),
            None => self.missing(at, name),
        }
    }

    fn one_of<T: Copy>(&self, at: At, name: &str, list: &[(&str, T)]) -> Result<T> {
        let text = self.text(at, name)?;
        match list.iter().find(|(known, _)| *known == text) {
            Some((_, value)) => Ok(*value),
            None => {
                let (key, known): (_, Vec<_>) = (self.b.key(&at.key(name)), list.iter().map(|(n, _)| n).collect());
                fail!(Unsupported, "{}: {key} is {text:?}; {known:?} are known", self.file())
            }
        }
    }

    fn count_in(&self, at: At, name: &str, least: usize, most: usize) -> Result<usize> {
        match self.b.count_opt(&at.key(name))? {
            Some(n) if (least..=most).contains(&n) => Ok(n),
            Some(n) => {
                let key = self.b.key(&at.key(name));
                fail!(Format, "{}: {key} is {n}, expected {least} to {most}", self.file())
            }
            None => self.missing(at, name),
        }
    }

    fn number(&self, at: At, name: &str, least: f32, most: f32) -> Result<f32> {
        match self.b.number_opt(&at.key(name))? {
            Some(x) if (least..=most).contains(&x) => Ok(x),
            Some(x) => {
                let key = self.b.key(&at.key(name));
                fail!(Format, "{}: {key} is {x}, expected {least} to {most}", self.file())
            }
            None => self.missing(at, name),
        }
    }

    fn double(&self, at: At, name: &str) -> Result<f64> {
        match self.b.gguf.get(&self.b.key(&at.key(name))) {
            Some(Value::F64(x)) => Ok(x),
            Some(Value::F32(x)) => Ok(x.into()),
            Some(other) => {
                let key = self.b.key(&at.key(name));
                fail!(Format, "{}: {key} is {other}, expected a float", self.file())
            }
            None => self.missing(at, name),
        }
    }
}
