//! Networks for tables: embeddings of categories beside the numbers, hidden layers, and a result for each class, or one value.
//!
//! A network begins as a file ([`start`]) that holds the table's description too; it is trained like any model, and what is exported
//! is applied by a [`Predictor`]. [`cross_validate`] says how well all this does on rows that it has not seen.

mod cross;
mod predict;

pub use cross::{Fold, Recipe, cross_validate};
pub use predict::{Predictor, of_model};

use super::data::table::{Description, Target};
use super::init::Draw;
use crate::error::{Result, fail, try_vec};
use crate::gguf::Gguf;
use crate::layers::Params;
use crate::models::hand::{Hand, LinearValues, Values};
use crate::models::qorus;
use crate::ops::activation::Activation;
use qorus_kernels::{Isa, Kernels, Type};
use std::borrow::Cow;

/// The shape of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Widths of the hidden layers; none: a linear model.
    pub hidden: Vec<usize>,
    /// Between them.
    pub activation: Activation,
    /// Elements of a category's embedding at most; a column of `n` categories has `n / 2`, rounded up.
    pub embedding: usize,
    /// Probability that an element is dropped behind the features and behind each hidden layer.
    pub dropout: f32,
}

impl Default for Network {
    fn default() -> Network {
        Network { hidden: vec![64, 32], activation: Activation::Relu, embedding: 16, dropout: 0.1 }
    }
}

/// Values of one tensor, drawn.
fn drawn(draw: Draw, seed: u64, next: &mut u32, len: usize) -> Result<Vec<f32>> {
    let mut values = try_vec(len, "weights")?;
    values.resize(len, 0.0);
    draw.fill(seed, *next, 0, &mut values);
    *next += 1;
    Ok(values)
}

/// A network of random values for rows as `description` sees them, as the bytes of a GGUF file of architecture `qorus`. Categories that
/// are missing or unknown begin with an embedding of zeros, so that they say nothing until they are learned.
///
/// Errors: `InvalidArgument` for sizes that no network has.
pub fn start(description: &Description, network: &Network, seed: u64) -> Result<Vec<u8>> {
    const MAX: usize = 1 << 16;
    if network.hidden.iter().chain([&network.embedding]).any(|n| !(1..=MAX).contains(n)) {
        let (hidden, embedding) = (&network.hidden, network.embedding);
        fail!(InvalidArgument, "hidden layers of {hidden:?} and embeddings of {embedding}: give 1 to {MAX}");
    }
    let Some(kernels) = Kernels::new(Isa::Scalar) else {
        fail!(Internal, "there are no scalar kernels");
    };
    let (mut hand, mut next) = (Hand::new(&kernels), 0);
    let mut tables = Vec::new();
    for count in description.categories() {
        let width = count.saturating_sub(2).div_ceil(2).clamp(1, network.embedding);
        let mut values = drawn(Draw::Normal(0.3), seed, &mut next, count * width)?;
        values[..2 * width].fill(0.0);
        tables.push((count, width, values));
    }
    hand.rows(description.numbers() + tables.len())?;
    if !tables.is_empty() {
        let tables: Vec<_> = tables.iter().map(|(rows, cols, w)| values(*rows, *cols, w)).collect();
        hand.features(&tables)?;
    }
    let drop_some = |hand: &mut Hand| if network.dropout > 0.0 { hand.dropout(network.dropout) } else { Ok(()) };
    for &width in &network.hidden {
        drop_some(&mut hand)?;
        let inputs = hand.width();
        linear(&mut hand, Draw::kaiming(inputs), seed, &mut next, width)?;
        hand.activation(network.activation)?;
    }
    drop_some(&mut hand)?;
    let results = match &description.target {
        Target::Classes { classes, .. } => classes.len(),
        Target::Number { .. } => 1,
    };
    let inputs = hand.width();
    linear(&mut hand, Draw::xavier(inputs, results), seed, &mut next, results)?;
    let (graph, store) = hand.finish()?;
    let json = description.to_json();
    qorus::write(&graph, &Params::of(&store), |w| w.put(qorus::TABLE, json.as_str()).map(drop), Vec::new())
}

fn values(rows: usize, cols: usize, w: &[f32]) -> Values<'_> {
    Values { ty: Type::F32, rows, cols, bytes: bytemuck::cast_slice(w) }
}

/// Adds a matrix of `outputs` rows that are drawn, and a bias of zeros.
fn linear(hand: &mut Hand, draw: Draw, seed: u64, next: &mut u32, outputs: usize) -> Result<()> {
    let inputs = hand.width();
    let w = drawn(draw, seed, next, inputs * outputs)?;
    let bias = drawn(Draw::Constant(0.0), seed, next, outputs)?;
    hand.linear(&LinearValues { w: values(outputs, inputs, &w), bias: Some(&bias) })
}

/// The description of the table that a file's model was trained on. Errors: `State` for a model of something else; `Format`.
pub fn description(gguf: &Gguf) -> Result<Description> {
    match gguf.str(qorus::TABLE)? {
        Some(text) => Description::from_json(text).map_err(|e| e.context(gguf.name())),
        None => fail!(State, "{}: is no model of tables (the key {} is missing)", gguf.name(), qorus::TABLE),
    }
}

/// A file in memory, as [`start`] gives it.
fn gguf(bytes: Vec<u8>) -> Result<Gguf> {
    Gguf::from_bytes(Cow::Owned(bytes))
}
