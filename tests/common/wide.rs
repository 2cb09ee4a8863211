//! The forward pass of any graph in f64, plainly: what finite differences are taken on.

use super::lesson::Lesson;
use qorus::Isa;
use qorus::kernels::Kernels;
use qorus::kernels::scalar::{activation, norm, rope, softmax};
use qorus::layers::adapters::Factor;
use qorus::layers::norm::NormKind;
use qorus::layers::trained::Param;
use qorus::layers::{Attention, Ffn, FfnKind, Layer, Linear, Moe, Norm, Vector, Weight};
use qorus::ops::activation::Activation;
use qorus::ops::rope::RopeStyle;
use qorus::rng::philox;
use std::collections::BTreeMap;

/// A model whose parameters are numbers in f64: those that are trained, and the others as they are stored.
pub struct Wide<'a> {
    pub lesson: &'a Lesson,
    pub values: Vec<f64>,
    /// What is frozen, by tensor.
    frozen: BTreeMap<usize, Vec<f64>>,
    /// The lengths that rows of matrices with magnitudes are divided by, by tensor: constants.
    pub lengths: BTreeMap<usize, Vec<f64>>,
    pub tokens: &'a [u32],
    pub lens: &'a [u32],
}

impl<'a> Wide<'a> {
    pub fn new(lesson: &'a Lesson, tokens: &'a [u32], lens: &'a [u32]) -> Wide<'a> {
        let values = lesson.values.iter().map(|&v| v.into()).collect();
        let mut wide = Wide { lesson, values, frozen: BTreeMap::new(), lengths: BTreeMap::new(), tokens, lens };
        let mut all = Vec::new();
        lesson.graph.layers.iter().for_each(|layer| {
            layer.params(&mut |param| {
                if let Param::Matrix(w) = param {
                    all.push(w);
                }
            })
        });
        for w in all.iter().filter(|w| !lesson.trained.has(&Param::Matrix(**w))) {
            let kernels = Kernels::new(Isa::Scalar).unwrap();
            let m = lesson.store.matrix(w).unwrap();
            let mut values = vec![0.0; w.rows * w.cols];
            for (row, bytes) in values.chunks_mut(w.cols).zip(m.bytes.chunks(w.row_bytes())) {
                kernels.dequantize(m.ty, bytes, row);
            }
            let whole = wide.frozen.entry(w.tensor()).or_default();
            let at = w.first_row() * w.cols;
            whole.resize(whole.len().max(at + values.len()), 0.0);
            whole[at..at + values.len()].iter_mut().zip(&values).for_each(|(to, v)| *to = f64::from(*v));
        }
        for site in lesson.trained.sites().list().iter().filter(|site| site.dora) {
            let rows = site.rows();
            let of = |row: usize| {
                let w = wide.changed(&site.w.part(row..row + 1).unwrap(), row / rows).unwrap();
                w.iter().map(|w| w * w).sum::<f64>().sqrt()
            };
            let lengths: Vec<f64> = (0..site.w.rows).map(of).collect();
            wide.lengths.insert(site.w.tensor(), lengths);
        }
        wide
    }

    /// A matrix with what is added to it, before its rows are stretched; None when nothing is.
    fn changed(&self, w: &Weight, expert: usize) -> Option<Vec<f64>> {
        let trained = &self.lesson.trained;
        let site = trained.sites().list().iter().find(|site| site.w.tensor() == w.tensor())?;
        let (rows, own) = (site.rows(), trained.adapter(&self.lesson.values).as_ptr());
        let first = (own as usize - self.lesson.values.as_ptr() as usize) / 4;
        let part = |factor: Factor| first + site.factor(factor).0;
        let (a, b) = (part(Factor::A) + expert * site.rank * w.cols, part(Factor::B) + expert * site.rank * rows);
        let mut changed = self.matrix(w).to_vec();
        for (i, row) in changed.chunks_mut(w.cols).enumerate() {
            for j in 0..site.rank {
                let b = f64::from(site.scale) * self.values[b + j * rows + (w.first_row() + i) % rows];
                row.iter_mut().zip(&self.values[a + j * w.cols..][..w.cols]).for_each(|(w, a)| *w += b * a);
            }
        }
        if let (true, Some(lengths)) = (site.dora, self.lengths.get(&w.tensor())) {
            for (i, row) in changed.chunks_mut(w.cols).enumerate() {
                let at = w.first_row() + i;
                let factor = self.values[part(Factor::Magnitude) + at] / lengths[at];
                row.iter_mut().for_each(|w| *w *= factor);
            }
        }
        Some(changed)
    }

    fn rows(&self) -> usize {
        self.lens.iter().map(|&len| len as usize).sum()
    }

    fn matrix(&self, w: &Weight) -> &[f64] {
        let at = self.lesson.trained.list().iter().find_map(|t| match t.param {
            Param::Matrix(k) if k.tensor() == w.tensor() => Some(t.at),
            _ => None,
        });
        let part = w.first_row() * w.cols..(w.first_row() + w.rows) * w.cols;
        match at {
            Some(at) => &self.values[at..][part],
            None => &self.frozen[&w.tensor()][part],
        }
    }

    fn vector(&self, v: &Vector) -> Vec<f64> {
        let at = self.lesson.trained.list().iter().find_map(|t| match t.param {
            Param::Vector(k) if (k.start()..k.start() + k.len).contains(&v.start()) => {
                Some(t.at + v.start() - k.start())
            }
            _ => None,
        });
        match at {
            Some(at) => self.values[at..][..v.len].to_vec(),
            None => self.lesson.store.vector(v).unwrap().iter().map(|&v| f64::from(v)).collect(),
        }
    }

    /// The whole model on rows `x`.
    pub fn forward(&self, x: &[f64]) -> Vec<f64> {
        self.sequence(&self.lesson.graph.layers, x)
    }

    fn sequence(&self, layers: &[Layer], x: &[f64]) -> Vec<f64> {
        layers.iter().fold(x.to_vec(), |x, layer| self.layer(layer, x))
    }

    fn layer(&self, layer: &Layer, mut x: Vec<f64>) -> Vec<f64> {
        match layer {
            Layer::Embedding(l) => {
                let (table, width) = (self.matrix(&l.table), l.width());
                self.tokens.iter().flat_map(|&t| table[t as usize * width..][..width].to_vec()).collect()
            }
            Layer::Features(l) => {
                let row = |x: &[f64]| {
                    let (numbers, indices) = x.split_at(l.numbers);
                    let rows = l.tables.iter().zip(indices);
                    let rows = rows.flat_map(|(t, i)| self.matrix(t)[i.round() as usize * t.cols..][..t.cols].to_vec());
                    numbers.iter().copied().chain(rows).collect::<Vec<f64>>()
                };
                x.chunks(l.in_width()).flat_map(row).collect()
            }
            Layer::Norm(l) => self.norm(l, &x),
            Layer::Linear(l) => self.linear(l, &x),
            Layer::Activation(act) => {
                apply(*act, &mut x);
                x
            }
            Layer::Scale(l) => x.iter().map(|v| v * f64::from(l.factor)).collect(),
            Layer::Softcap(l) => {
                activation::softcap(&mut x, l.cap.into());
                x
            }
            Layer::Dropout(l) => {
                let noise = self.lesson.mode.noise;
                let below = (f64::from(l.rate) * 2f64.powi(32)) as u64;
                let kept = |i: usize| {
                    let drawn = philox(noise.seed, u64::from(l.stream) << 48 | noise.pass, i as u64 / 4);
                    u64::from(drawn[i % 4]) >= below
                };
                let factor = f64::from(1.0 / (1.0 - l.rate));
                x.iter().enumerate().map(|(i, v)| if kept(i) { v * factor } else { 0.0 }).collect()
            }
            Layer::Attention(l) => self.attention(l, &x),
            Layer::Ffn(l) => self.ffn(l, &x),
            Layer::Moe(l) => self.moe(l, &x),
            Layer::Residual(l) => self.sequence(&l.body, &x).iter().zip(&x).map(|(f, x)| f + x).collect(),
        }
    }

    fn norm(&self, l: &Norm, x: &[f64]) -> Vec<f64> {
        let (w, eps, mut y) = (self.vector(&l.weight), f64::from(l.eps), vec![0.0; x.len()]);
        for (x, y) in x.chunks(w.len()).zip(y.chunks_mut(w.len())) {
            match l.kind {
                NormKind::Rms => norm::rmsnorm(x, &w, eps, y),
                NormKind::Layer => norm::layernorm(x, &w, l.bias.as_ref().map(|b| self.vector(b)).as_deref(), eps, y),
            }
        }
        y
    }

    fn linear(&self, l: &Linear, x: &[f64]) -> Vec<f64> {
        let expert = self.lesson.trained.sites().find(&l.w).map_or(0, |_| {
            let sites = self.lesson.trained.sites().list();
            let rows = sites.iter().find(|site| site.w.tensor() == l.w.tensor()).map_or(1, |site| site.rows());
            l.w.first_row() / rows
        });
        let changed = self.lesson.trained.sites().find(&l.w).and_then(|_| self.changed(&l.w, expert));
        let (w, bias) = (changed.as_deref().unwrap_or(self.matrix(&l.w)), l.bias.as_ref().map(|b| self.vector(b)));
        let row = |x: &[f64]| -> Vec<f64> {
            let dot = |w: &[f64]| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
            w.chunks(l.w.cols).enumerate().map(|(i, w)| dot(w) + bias.as_ref().map_or(0.0, |b| b[i])).collect()
        };
        x.chunks(l.w.cols).flat_map(row).collect()
    }

    fn attention(&self, l: &Attention, x: &[f64]) -> Vec<f64> {
        let heads = |linear: &Linear, norm: &Option<Norm>, turn: bool| {
            let mut x = self.linear(linear, x);
            if let Some(norm) = norm {
                x = self.norm(norm, &x);
            }
            if let (Some(index), true) = (l.rope, turn) {
                self.turn(index, &mut x, l.head_dim);
            }
            x
        };
        let (q, k, v) = (heads(&l.q, &l.q_norm, true), heads(&l.k, &l.k_norm, true), heads(&l.v, &None, false));
        let (n_head, dim, group) = (l.params.n_head, l.head_dim, l.params.n_head / l.n_kv);
        let mut out = vec![0.0; q.len()];
        let mut first = 0;
        for &len in self.lens {
            for row in first..first + len as usize {
                let from =
                    if l.params.window == 0 { first } else { first.max((row + 1).saturating_sub(l.params.window)) };
                for head in 0..n_head {
                    let key = |j: usize| (j * l.n_kv + head / group) * dim..(j * l.n_kv + head / group + 1) * dim;
                    let at = (row * n_head + head) * dim..(row * n_head + head + 1) * dim;
                    let dot = |j: usize| q[at.clone()].iter().zip(&k[key(j)]).map(|(a, b)| a * b).sum::<f64>();
                    let mut p: Vec<f64> = (from..=row).map(|j| dot(j) * f64::from(l.params.scale)).collect();
                    if l.params.softcap > 0.0 {
                        activation::softcap(&mut p, l.params.softcap.into());
                    }
                    softmax::softmax(&mut p, 1.0);
                    for (p, j) in p.iter().zip(from..) {
                        out[at.clone()].iter_mut().zip(&v[key(j)]).for_each(|(o, v)| *o += p * v);
                    }
                }
            }
            first += len as usize;
        }
        self.linear(&l.o, &out)
    }

    fn turn(&self, index: usize, x: &mut [f64], head_dim: usize) {
        let r = &self.lesson.graph.ropes[index];
        let positions = self.lens.iter().flat_map(|&len| 0..len);
        let width = x.len() / self.rows();
        let longest = self.lens.iter().max().map_or(0, |&len| len as usize);
        for (pos, row) in positions.zip(x.chunks_mut(width)) {
            let (mut cos, mut sin) = (vec![0f32; r.half()], vec![0f32; r.half()]);
            r.fill(pos, longest, &mut cos, &mut sin);
            let [cos, sin] = [cos, sin].map(|x| x.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
            for head in row.chunks_mut(head_dim) {
                match r.style {
                    RopeStyle::Norm => rope::rope_norm(head, &cos, &sin),
                    RopeStyle::Neox => rope::rope_neox(head, &cos, &sin),
                }
            }
        }
    }

    fn ffn(&self, l: &Ffn, x: &[f64]) -> Vec<f64> {
        let mut hidden = self.linear(&l.up, x);
        match &l.kind {
            FfnKind::Plain => apply(l.act, &mut hidden),
            FfnKind::Gated(gate) => {
                let mut gate = self.linear(gate, x);
                apply(l.act, &mut gate);
                hidden.iter_mut().zip(gate).for_each(|(h, g)| *h *= g);
            }
        }
        self.linear(&l.down, &hidden)
    }

    fn moe(&self, l: &Moe, x: &[f64]) -> Vec<f64> {
        let width = x.len() / self.rows();
        let mut y = vec![0.0; x.len()];
        for (x, y) in x.chunks(width).zip(y.chunks_mut(width)) {
            let mut scores = self.linear(&l.router, x);
            softmax::softmax(&mut scores, 1.0);
            let mut order: Vec<usize> = (0..l.count).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
            let chosen = &order[..l.used];
            let sum: f64 = if l.renormalize { chosen.iter().map(|&e| scores[e]).sum() } else { 1.0 };
            for &e in chosen {
                let part = |w: &Weight| Linear { w: w.part(range(e, w.rows / l.count)).unwrap(), bias: None };
                let expert =
                    Ffn { kind: FfnKind::Gated(part(&l.gate)), act: l.act, up: part(&l.up), down: part(&l.down) };
                let result = self.ffn(&expert, x);
                y.iter_mut().zip(result).for_each(|(y, r)| *y += scores[e] / sum * r);
            }
            if let Some((ffn, gate)) = &l.shared {
                let open = gate.as_ref().map_or(1.0, |gate| 1.0 / (1.0 + (-self.linear(gate, x)[0]).exp()));
                y.iter_mut().zip(self.ffn(ffn, x)).for_each(|(y, r)| *y += open * r);
            }
        }
        y
    }
}

fn range(i: usize, n: usize) -> std::ops::Range<usize> {
    i * n..(i + 1) * n
}

fn apply(act: Activation, x: &mut [f64]) {
    match act {
        Activation::Relu => activation::relu(x),
        Activation::Silu => activation::silu(x),
        Activation::Gelu => activation::gelu(x),
        Activation::GeluErf => activation::gelu_erf(x),
    }
}
