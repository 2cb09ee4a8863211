//! Random values for any graph, by the kinds of its layers.

use super::{DEVIATION, Draw};
use crate::error::{Result, fail};
use crate::layers::trained::{Param, Trained};
use crate::layers::{FfnKind, Layer, Linear, Norm, Vector, Weight};
use crate::models::Graph;

/// Fills what is trained of a graph with values to begin with; `values` are those of `trained`, as a trainer has them. Graphs with
/// attention are drawn as transformers are, others as networks of linear layers.
///
/// Errors: `Shape` for another number of values.
pub fn graph(graph: &Graph, trained: &Trained, seed: u64, values: &mut [f32]) -> Result<()> {
    if values.len() != trained.len() {
        fail!(Shape, "{} values for trained parameters of {}", values.len(), trained.len());
    }
    let back = branches(&graph.layers).max(1) as f32;
    let transformer = graph.layers.iter().any(Layer::looks_back);
    let mut fill = Fill { trained, seed, values, next: 0, back: Draw::Normal(DEVIATION / back.sqrt()), transformer };
    fill.layers(&graph.layers, false);
    Ok(())
}

/// Residual branches, those inside others too.
fn branches(layers: &[Layer]) -> usize {
    let of = |layer: &Layer| if let Layer::Residual(l) = layer { 1 + branches(&l.body) } else { 0 };
    layers.iter().map(of).sum()
}

struct Fill<'a> {
    trained: &'a Trained,
    seed: u64,
    values: &'a mut [f32],
    /// The number of the next parameter.
    next: u32,
    /// For matrices that write to the residual stream of a transformer.
    back: Draw,
    transformer: bool,
}

impl Fill<'_> {
    /// `inside`: of a residual branch.
    fn layers(&mut self, layers: &[Layer], inside: bool) {
        for (i, layer) in layers.iter().enumerate() {
            let rectified = matches!(layers.get(i + 1), Some(Layer::Activation(_)));
            // What comes last in a branch is added to its input.
            let last = inside && !layers[i + 1..].iter().any(|l| l.kind() == "linear");
            self.layer(layer, rectified, last);
        }
    }

    fn layer(&mut self, layer: &Layer, rectified: bool, last: bool) {
        let normal = Draw::Normal(DEVIATION);
        match layer {
            Layer::Embedding(l) => self.matrix(&l.table, normal),
            Layer::Features(l) => l.tables.iter().for_each(|table| self.matrix(table, Draw::Normal(0.3))),
            Layer::Linear(l) => self.linear(l, rectified, last),
            Layer::Norm(l) => self.norm(l),
            Layer::Attention(l) => {
                [&l.q, &l.k, &l.v].into_iter().for_each(|l| self.linear(l, false, false));
                self.linear(&l.o, false, last);
                l.q_norm.iter().chain(&l.k_norm).for_each(|norm| self.norm(norm));
            }
            Layer::Ffn(l) => {
                if let FfnKind::Gated(gate) = &l.kind {
                    self.linear(gate, true, false);
                }
                self.linear(&l.up, true, false);
                self.linear(&l.down, false, last);
            }
            Layer::Moe(l) => {
                self.linear(&l.router, false, false);
                self.matrix(&l.gate, normal);
                self.matrix(&l.up, normal);
                self.matrix(&l.down, if last { self.back } else { normal });
                if let Some((ffn, open)) = &l.shared {
                    if let FfnKind::Gated(gate) = &ffn.kind {
                        self.linear(gate, true, false);
                    }
                    self.linear(&ffn.up, true, false);
                    self.linear(&ffn.down, false, last);
                    open.iter().for_each(|open| self.linear(open, false, false));
                }
            }
            Layer::Residual(l) => self.layers(&l.body, true),
            Layer::Activation(_) | Layer::Scale(_) | Layer::Softcap(_) | Layer::Dropout(_) => {}
        }
    }

    fn linear(&mut self, l: &Linear, rectified: bool, last: bool) {
        let draw = match (self.transformer, last, rectified) {
            (true, true, _) => self.back,
            (true, false, _) => Draw::Normal(DEVIATION),
            (false, _, true) => Draw::kaiming(l.w.cols),
            (false, _, false) => Draw::xavier(l.w.cols, l.w.rows),
        };
        self.matrix(&l.w, draw);
        l.bias.iter().for_each(|bias| self.vector(bias, 0.0));
    }

    fn norm(&mut self, norm: &Norm) {
        self.vector(&norm.weight, 1.0);
        norm.bias.iter().for_each(|bias| self.vector(bias, 0.0));
    }

    fn matrix(&mut self, w: &Weight, draw: Draw) {
        self.param(&Param::Matrix(*w), draw);
    }

    fn vector(&mut self, v: &Vector, value: f32) {
        self.param(&Param::Vector(*v), Draw::Constant(value));
    }

    /// What is frozen takes a number too, so that the others' values do not depend on it.
    fn param(&mut self, param: &Param, draw: Draw) {
        if let Some((at, len)) = self.trained.place(param)
            && let Some(values) = self.values.get_mut(at..at + len)
        {
            draw.fill(self.seed, self.next, 0, values);
        }
        self.next += 1;
    }
}
