//! Adapters made part of their base: a new GGUF file of `W + w s B A`, tensor by tensor in bounded memory.

use std::path::Path;

use super::quantize::{Converter, Planned, Recipe, plan};
use super::{OnProgress, Sink};
use crate::adapter::{Adapter, Kind, Pair};
use crate::engine::Runtime;
use crate::error::{Result, fail};
use crate::gguf::{Gguf, Writer};

/// An adapter, and how much of it.
pub type Weighted<'a> = (&'a Adapter, f32);

/// Writes `base` with the adapters in it to the file `output`, at the types of `recipe`, or each tensor at the type it has.
///
/// Products are taken in f32, an element's terms in the order of the ranks, adapter after adapter; the bits do not depend on the
/// number of threads. A head that shares the embedding's tensor gets one of its own when an adapter changes it. DoRA's rows are
/// brought to their magnitudes, of which a weight below 1 takes a part: `W + w (W' - W)`.
///
/// Errors: those of [`Adapter::check`] and [`super::quantize()`]; `Unsupported` for a type that cannot be written: name one.
/// Nothing is written then.
pub fn merge(
    base: &Gguf,
    adapters: &[Weighted],
    output: &Path,
    recipe: Option<Recipe>,
    runtime: &Runtime,
    progress: OnProgress,
) -> Result<()> {
    for (adapter, weight) in adapters {
        adapter.check(base, true)?;
        if !weight.is_finite() {
            fail!(InvalidArgument, "{}: its weight is {weight}: give a finite number", adapter.name);
        }
    }
    let head = base.tensor("output.weight").is_none()
        && adapters.iter().any(|(adapter, _)| adapter.pair("output.weight").is_some());
    let mut writer = Writer::new();
    let plan = plan(base, recipe, &runtime.kernels, &mut writer, head)?;
    for item in &plan {
        let Planned { name, from, ty } = *item;
        let changed = adapters.iter().any(|(adapter, _)| adapter.pair(name).is_some());
        if changed && !Converter::converts(&runtime.kernels, from.ty, ty) {
            fail!(
                Unsupported,
                "{}: the changed tensor {name:?} cannot be written as {}: name a type that can, as Q8_0",
                base.name(),
                ty.name()
            );
        }
        item.declare(&mut writer)?;
    }
    let mut sink = Sink::new(writer.create(output)?, progress);
    let mut convert = Converter::new(runtime);
    for Planned { name, from, ty } in plan {
        base.check_unchanged()?;
        sink.begin(name)?;
        let changes = adapters.iter().filter_map(|(a, w)| Some(Change::new(a, a.pair(name)?, *w)));
        let changes: Vec<Change> = changes.collect();
        let change = |first: usize, rows: &mut [f32]| changes.iter().for_each(|change| change.add(first, rows));
        let change = (!changes.is_empty()).then_some(&change as &(dyn Fn(usize, &mut [f32]) + Sync));
        convert.tensor(base.data(from), from, ty, change, &mut sink)?;
    }
    sink.output.save()
}

/// What a pair does to rows of its matrix.
struct Change<'a> {
    pair: &'a Pair,
    scale: f32,
    weight: f32,
}

impl<'a> Change<'a> {
    fn new(adapter: &Adapter, pair: &'a Pair, weight: f32) -> Change<'a> {
        let dora = adapter.kind == Kind::Dora;
        Change { pair, scale: adapter.scale(pair) * if dora { 1.0 } else { weight }, weight }
    }

    /// Changes rows from row `first` of the tensor on, experts one after another.
    fn add(&self, first: usize, rows: &mut [f32]) {
        let Pair { rank, rows: of_expert, cols, .. } = *self.pair;
        for (i, row) in rows.chunks_exact_mut(cols).enumerate() {
            let (row_no, expert) = (first + i, (first + i) / of_expert);
            let b = &self.pair.b[row_no * rank..][..rank];
            let a = &self.pair.a[expert * rank * cols..][..rank * cols];
            let add = |row: &mut [f32]| {
                for (b, a) in b.iter().zip(a.chunks_exact(cols)) {
                    let b = b * self.scale;
                    row.iter_mut().zip(a).for_each(|(y, a)| *y += b * a);
                }
            };
            match &self.pair.magnitude {
                None => add(row),
                Some(magnitude) => {
                    let before = row.to_vec();
                    add(row);
                    let norm = row.iter().map(|y| f64::from(*y).powi(2)).sum::<f64>().sqrt();
                    let factor = if norm > 0.0 { (f64::from(magnitude[row_no]) / norm) as f32 } else { 0.0 };
                    row.iter_mut().zip(&before).for_each(|(y, w)| *y = w + self.weight * (*y * factor - w));
                }
            }
        }
    }
}
