//! Adapters that are trained: which matrices they are on, how they begin, and the way to and from files.

use super::layout::name_of;
use super::trainer::{Trainer, TrainerParams};
use crate::adapter::{Adapter, Kind, Pair};
use crate::engine::adapter as engine;
use crate::error::{Result, fail, try_vec};
use crate::gguf::Gguf;
use crate::layers::adapters::{Factor, Sites};
use crate::layers::trained::{Param, Trained};
use crate::models::Graph;

/// What an adapter to train is.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterParams {
    /// How it changes its matrices.
    pub kind: Kind,
    /// Rows of its factors.
    pub rank: usize,
    /// The numerator of the scale.
    pub alpha: f32,
    /// The probability that an element of its inputs is dropped, from 0 to below 1.
    pub dropout: f32,
    /// The matrices it is on, by words of [`TARGETS`]; none: all but the head.
    pub targets: Vec<String>,
}

impl Default for AdapterParams {
    fn default() -> Self {
        AdapterParams { kind: Kind::Lora, rank: 16, alpha: 32.0, dropout: 0.0, targets: Vec::new() }
    }
}

/// What matrices are called, and beginnings and ends of their names in a file, behind the block's number.
pub const TARGETS: [(&str, &[&str]); 10] = [
    ("q", &["attn_q.weight", "attn_qkv.weight"]),
    ("k", &["attn_k.weight", "attn_qkv.weight"]),
    ("v", &["attn_v.weight", "attn_qkv.weight"]),
    ("o", &["attn_output.weight"]),
    ("gate", &["ffn_gate.weight"]),
    ("up", &["ffn_up.weight"]),
    ("down", &["ffn_down.weight"]),
    ("experts", &["ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight"]),
    ("shared", &["ffn_gate_shexp.weight", "ffn_up_shexp.weight", "ffn_down_shexp.weight"]),
    ("head", &["output.weight"]),
];

impl AdapterParams {
    fn check(&self) -> Result<()> {
        if self.rank == 0 || !(self.alpha.is_finite() && self.alpha > 0.0) {
            fail!(InvalidArgument, "an adapter of rank {} and alpha {}: give both above 0", self.rank, self.alpha);
        }
        for word in &self.targets {
            if !TARGETS.iter().any(|(name, _)| name == word) {
                let names = TARGETS.map(|(name, _)| name).join(", ");
                fail!(InvalidArgument, "no matrices are called {word:?}: give some of {names}");
            }
        }
        Ok(())
    }

    /// Whether it is on a matrix of that name in the file.
    fn wants(&self, name: &str, head: bool) -> bool {
        if self.targets.is_empty() {
            return !head;
        }
        let is = |end: &&str| name.strip_suffix(end).is_some_and(|front| front.is_empty() || front.ends_with('.'));
        TARGETS.iter().any(|(word, ends)| self.targets.iter().any(|w| w == word) && ends.iter().any(is))
    }
}

/// What is trained, with the adapter that the parameters ask for.
pub(super) fn begin(
    trained: Trained,
    graph: &Graph,
    gguf: Option<&Gguf>,
    tensors: usize,
    params: &TrainerParams,
) -> Result<Trained> {
    let Some(p) = &params.adapter else { return Ok(trained) };
    p.check()?;
    let mut sites = Sites::new(tensors)?;
    for found in graph.adaptable(gguf)?.iter().filter(|found| p.wants(&found.name, found.head)) {
        if trained.has(&Param::Matrix(found.w)) {
            fail!(InvalidArgument, "{} is to be trained itself, and to have an adapter: choose one", found.name);
        }
        let scale = p.kind.scale(p.alpha, p.rank);
        sites.add(found.w, found.experts, p.rank, scale, p.kind == Kind::Dora)?;
    }
    if sites.is_empty() {
        fail!(InvalidArgument, "the model has none of the matrices that the adapter is to be on: {:?}", p.targets);
    }
    trained.with_adapter(sites, p.dropout, params.seed)
}

/// The name of a site's tensor.
fn tensor(trainer: &Trainer, site: usize) -> Result<String> {
    let (model, sites) = (trainer.model(), trainer.trained().sites().list());
    let all = model.graph.adaptable(model.gguf.as_deref())?;
    match all.into_iter().find(|found| found.w.tensor() == sites[site].w.tensor()) {
        Some(found) => Ok(found.name),
        None => fail!(Internal, "an adapter on {}, which is no matrix", name_of(model, &Param::Matrix(sites[site].w))),
    }
}

/// The adapter that a trainer trains.
pub(super) fn export(trainer: &Trainer) -> Result<Adapter> {
    let Some(p) = &trainer.params().adapter else { fail!(State, "no adapter is being trained") };
    let trained = trainer.trained();
    let (sites, values) = (trained.sites().list(), trained.adapter(trainer.values()));
    let mut pairs = try_vec(sites.len(), "pairs of an adapter")?;
    for (i, site) in sites.iter().enumerate() {
        let copy = |factor: Factor| -> Result<Vec<f32>> {
            let (at, len) = site.factor(factor);
            let mut copy = try_vec(len, "numbers of an adapter")?;
            copy.extend_from_slice(&values[at..at + len]);
            Ok(copy)
        };
        let (mut b, turned) = (copy(Factor::B)?, copy(Factor::B)?);
        let (rank, rows, whole) = (site.rank, site.rows(), site.rank * site.rows());
        for (to, from) in b.chunks_exact_mut(whole.max(1)).zip(turned.chunks_exact(whole.max(1))) {
            engine::transpose(from, rows, to);
        }
        pairs.push(Pair {
            tensor: tensor(trainer, i)?,
            rank,
            rows,
            cols: site.w.cols,
            experts: site.experts,
            a: copy(Factor::A)?,
            b,
            magnitude: if site.dora { Some(copy(Factor::Magnitude)?) } else { None },
        });
    }
    let arch = trainer.model().graph.arch.clone();
    Ok(Adapter { name: String::new(), arch, kind: p.kind, alpha: p.alpha, base: None, pairs })
}

/// Puts an adapter's numbers in the place of those that a trainer has.
pub(super) fn import(trainer: &mut Trainer, from: &Adapter) -> Result<()> {
    from.check_whole()?;
    let trained = std::sync::Arc::clone(trainer.trained());
    let sites = trained.sites().list();
    let mut places = try_vec(sites.len(), "pairs of an adapter")?;
    for (i, site) in sites.iter().enumerate() {
        let name = tensor(trainer, i)?;
        let Some(pair) = from.pair(&name) else {
            fail!(Shape, "{}: has nothing for {name}, which is to be trained", from.name)
        };
        let there = (pair.rank, pair.rows, pair.cols, pair.experts, pair.magnitude.is_some());
        if there != (site.rank, site.rows(), site.w.cols, site.experts, site.dora) || from.scale(pair) != site.scale {
            fail!(
                Shape,
                "{}: its pair of {name} has rank {}, scale {} and the shape [{}][{}], expected rank {}, scale {} and [{}][{}]",
                from.name,
                pair.rank,
                from.scale(pair),
                pair.rows,
                pair.cols,
                site.rank,
                site.scale,
                site.rows(),
                site.w.cols
            );
        }
        places.push(pair);
    }
    if places.len() != from.pairs.len() {
        fail!(Shape, "{}: changes {} tensors, {} are to be trained", from.name, from.pairs.len(), places.len());
    }
    let values = trained.adapter_mut(trainer.values_mut());
    for (site, pair) in sites.iter().zip(places) {
        engine::place(site, pair, values);
    }
    Ok(())
}
