//! A model's layers as keys and tensors of a file.

use super::{FUNCTIONS, STYLES, VERSION, name_in};
use crate::error::{Result, fail};
use crate::gguf::{Value, Writer};
use crate::layers::norm::NormKind;
use crate::layers::param::Params;
use crate::layers::{Attention, FfnKind, Layer, Linear, Norm, Vector, Weight};
use crate::memory::save::SaveFile;
use crate::models::Graph;
use std::io::Write;
use std::path::Path;

/// Writes a model that was built by hand, or read from a file of this architecture, to `path`: weights as `params` has them. `more`
/// adds keys beside those of the layers, such as a vocabulary or the description of a table. The file is there whole or not at all.
///
/// Errors: `Unsupported` for a graph with layers that cannot be added by hand; `Io`; those of `more`.
pub fn save(graph: &Graph, params: &Params, more: impl FnOnce(&mut Writer) -> Result<()>, path: &Path) -> Result<()> {
    write(graph, params, more, SaveFile::create(path)?)?.commit()
}

/// The same into whatever takes bytes. Errors: as [`save`].
pub fn write<W: Write>(
    graph: &Graph,
    params: &Params,
    more: impl FnOnce(&mut Writer) -> Result<()>,
    to: W,
) -> Result<W> {
    let mut w = Writer::new();
    w.put("general.architecture", "qorus")?.put("qorus.version", VERSION)?;
    if graph.in_width > 0 {
        w.put("qorus.input_width", small("the input", graph.in_width)?)?;
    }
    if graph.ctx_train > 0 {
        w.put("qorus.context_length", small("the context", graph.ctx_train)?)?;
    }
    let mut saved = Saved { graph, params, w, next: 0, data: Vec::new() };
    saved.layers(&graph.layers)?;
    let Saved { mut w, next, data, .. } = saved;
    w.put("qorus.layer_count", next)?;
    more(&mut w)?;
    let mut out = w.begin(to)?;
    for bytes in data {
        out.write(bytes)?;
    }
    out.finish()
}

fn small(what: &str, n: usize) -> Result<u32> {
    match u32::try_from(n) {
        Ok(n) => Ok(n),
        Err(_) => fail!(Unsupported, "{what} of {n} cannot be written: the format has 32 bits for it"),
    }
}

/// What is described so far.
struct Saved<'a> {
    graph: &'a Graph,
    params: &'a Params<'a>,
    w: Writer,
    /// The number of the next layer.
    next: u32,
    /// The bytes of each tensor that was declared.
    data: Vec<&'a [u8]>,
}

impl<'a> Saved<'a> {
    fn layers(&mut self, layers: &'a [Layer]) -> Result<()> {
        for layer in layers {
            let n = self.next;
            self.next += 1;
            self.layer(n, layer)?;
        }
        Ok(())
    }

    fn layer(&mut self, n: u32, layer: &'a Layer) -> Result<()> {
        match layer {
            Layer::Embedding(l) => {
                self.kind(n, "embedding")?;
                self.matrix(n, "weight", &l.table)
            }
            Layer::Features(l) => {
                self.kind(n, "features")?;
                self.key(n, "tables", small("a number of tables", l.tables.len())?)?;
                l.tables.iter().enumerate().try_for_each(|(i, table)| self.matrix(n, &format!("table.{i}"), table))
            }
            Layer::Linear(l) => {
                self.kind(n, "linear")?;
                self.matrix(n, "weight", &l.w)?;
                l.bias.iter().try_for_each(|bias| self.vector(n, "bias", bias))
            }
            Layer::Norm(l) => {
                self.kind(n, if l.kind == NormKind::Rms { "rmsnorm" } else { "layernorm" })?;
                self.key(n, "eps", l.eps)?;
                self.vector(n, "weight", &l.weight)?;
                l.bias.iter().try_for_each(|bias| self.vector(n, "bias", bias))
            }
            Layer::Activation(act) => {
                self.kind(n, "activation")?;
                self.key(n, "function", name_in(&FUNCTIONS, act))
            }
            Layer::Scale(l) => {
                self.kind(n, "scale")?;
                self.key(n, "factor", l.factor)
            }
            Layer::Softcap(l) => {
                self.kind(n, "softcap")?;
                self.key(n, "cap", l.cap)
            }
            Layer::Dropout(l) => {
                self.kind(n, "dropout")?;
                self.key(n, "rate", l.rate)
            }
            Layer::Attention(l) => self.attention(n, l),
            Layer::Ffn(l) => {
                self.kind(n, "ffn")?;
                self.key(n, "function", name_in(&FUNCTIONS, &l.act))?;
                match &l.kind {
                    FfnKind::Gated(gate) => self.linear(n, "gate", gate)?,
                    FfnKind::Plain => {}
                }
                self.linear(n, "up", &l.up)?;
                self.linear(n, "down", &l.down)
            }
            Layer::Residual(l) => {
                self.kind(n, "residual")?;
                self.key(n, "layers", small("a number of layers", l.body.len())?)?;
                self.layers(&l.body)
            }
            Layer::Moe(_) => {
                fail!(Unsupported, "layer {n}: mixtures of experts cannot be described in a file of this kind")
            }
        }
    }

    fn attention(&mut self, n: u32, l: &'a Attention) -> Result<()> {
        self.kind(n, "attention")?;
        self.key(n, "heads", small("a number of heads", l.params.n_head)?)?;
        self.key(n, "kv_heads", small("a number of heads", l.n_kv)?)?;
        self.key(n, "head_dim", small("a head", l.head_dim)?)?;
        self.key(n, "window", small("a window", l.params.window)?)?;
        self.key(n, "scale", l.params.scale)?;
        self.key(n, "softcap", l.params.softcap)?;
        if let Some(rope) = l.rope.and_then(|i| self.graph.ropes.get(i)) {
            let Some((base, scale)) = rope.formula() else {
                fail!(
                    Unsupported,
                    "layer {n}: a stretched rotary embedding cannot be described in a file of this kind"
                );
            };
            self.key(n, "rope.style", name_in(&STYLES, &rope.style))?;
            self.key(n, "rope.dim", small("a head", 2 * rope.half())?)?;
            self.key(n, "rope.base", base)?;
            self.key(n, "rope.scale", scale)?;
        }
        for (name, linear) in [("q", &l.q), ("k", &l.k), ("v", &l.v), ("o", &l.o)] {
            self.linear(n, name, linear)?;
        }
        for (name, norm) in [("q_norm", &l.q_norm), ("k_norm", &l.k_norm)] {
            if let Some(Norm { kind: NormKind::Rms, weight, bias: None, eps }) = norm {
                self.key(n, &format!("{name}.eps"), *eps)?;
                self.vector(n, &format!("{name}.weight"), weight)?;
            } else if norm.is_some() {
                fail!(Unsupported, "layer {n}: heads under another norm than RMSNorm cannot be described");
            }
        }
        Ok(())
    }

    fn kind(&mut self, n: u32, kind: &str) -> Result<()> {
        self.key(n, "kind", kind)
    }

    fn key<'v>(&mut self, n: u32, name: &str, value: impl Into<Value<'v>>) -> Result<()> {
        self.w.put(&format!("qorus.layer.{n}.{name}"), value).map(drop)
    }

    fn linear(&mut self, n: u32, name: &str, l: &Linear) -> Result<()> {
        self.matrix(n, &format!("{name}.weight"), &l.w)?;
        l.bias.iter().try_for_each(|bias| self.vector(n, &format!("{name}.bias"), bias))
    }

    fn matrix(&mut self, n: u32, name: &str, weight: &Weight) -> Result<()> {
        let m = self.params.matrix(weight)?;
        self.w.tensor(&format!("layer.{n}.{name}"), m.ty, &[m.cols as u64, m.rows as u64])?;
        self.data.push(m.bytes);
        Ok(())
    }

    fn vector(&mut self, n: u32, name: &str, vector: &Vector) -> Result<()> {
        let values = self.params.vector(vector)?;
        self.w.tensor(&format!("layer.{n}.{name}"), crate::Type::F32, &[values.len() as u64])?;
        self.data.push(bytemuck::cast_slice(values));
        Ok(())
    }
}
