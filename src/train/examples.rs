//! The rows of a pass: memory for them, and what fills it: a text's batches, a table's, or a host's own.

use super::data::table::{Bound, TableBatch, TableBatches};
use super::data::{Batch, Batches, IGNORED, PairBatches, Place, Position, Teacher};
use super::distill::Top;
use crate::error::{Result, fail, try_vec};
use crate::models::Graph;
use std::sync::Arc;

/// The rows of a pass, and what is wanted of each.
#[derive(Clone, Copy, Debug, Default)]
pub struct Examples<'a> {
    /// A token each; none when rows of numbers go in.
    pub tokens: &'a [u32],
    /// `[rows][in_width]`; none when tokens go in.
    pub x: &'a [f32],
    /// Where each row stands: its sequence, its position there.
    pub places: &'a [Place],
    /// Rows of each sequence, one after another.
    pub lens: &'a [u32],
    /// The class of each row, or [`IGNORED`].
    pub targets: &'a [i32],
    /// `[rows][out_width]`, for an objective of values.
    pub values: &'a [f32],
    /// Of pairs of sequences, whether the first is good.
    pub labels: &'a [bool],
    /// A teacher's greatest logits for each row, `[rows][top]`.
    pub top: &'a [Top],
}

/// Memory for the rows of a pass, reserved once.
pub struct Slab {
    /// As [`Examples::tokens`].
    pub tokens: Vec<u32>,
    /// As [`Examples::x`].
    pub x: Vec<f32>,
    /// As [`Examples::places`].
    pub places: Vec<Place>,
    /// As [`Examples::targets`].
    pub targets: Vec<i32>,
    /// As [`Examples::values`].
    pub values: Vec<f32>,
    /// As [`Examples::labels`].
    pub labels: Vec<bool>,
    /// As [`Examples::top`].
    pub top: Vec<Top>,
    /// Rows that are filled; whoever fills sets it.
    pub rows: usize,
    lens: Vec<u32>,
}

fn filled<T: Clone + Default>(len: usize) -> Result<Vec<T>> {
    let mut v = try_vec(len, "rows of a batch")?;
    v.resize(len, T::default());
    Ok(v)
}

impl Slab {
    /// Memory for `rows` rows of a graph; with values for an objective that has them.
    pub fn new(graph: &Graph, rows: usize, values: bool) -> Result<Slab> {
        let (in_width, out) = (graph.in_width, if values { graph.out_width() } else { 0 });
        let (Some(x), Some(out)) = (rows.checked_mul(in_width), rows.checked_mul(out)) else {
            fail!(OutOfMemory, "{rows} rows of {in_width} elements do not fit the address space");
        };
        Ok(Slab {
            tokens: filled(if in_width == 0 { rows } else { 0 })?,
            x: filled(x)?,
            places: filled(rows)?,
            targets: filled(if values { 0 } else { rows })?,
            values: filled(out)?,
            labels: filled(rows / 2)?,
            top: Vec::new(),
            rows: 0,
            lens: filled(rows)?,
        })
    }

    /// With room for that many of a teacher's logits for each row.
    pub fn with_top(self, top: usize) -> Result<Slab> {
        let Some(len) = self.places.len().checked_mul(top) else {
            fail!(OutOfMemory, "{} rows of {top} logits do not fit the address space", self.places.len());
        };
        Ok(Slab { top: filled(len)?, ..self })
    }

    /// Bytes of memory for `rows` rows of a graph.
    pub fn bytes(graph: &Graph, rows: usize, values: bool) -> usize {
        let of_target = if values { graph.out_width() } else { 1 };
        let of_row = graph.in_width.max(1).saturating_add(of_target).saturating_mul(4).saturating_add(12);
        rows.saturating_mul(of_row).saturating_add(rows / 2)
    }

    /// The rows that are filled. Their sequences are counted from their places.
    pub fn examples(&mut self) -> Examples<'_> {
        let (rows, capacity) = (self.rows, self.places.len().max(1));
        let places = &self.places[..rows];
        let mut count = 0;
        for (i, place) in places.iter().enumerate() {
            if i == 0 || place.seq != places[i - 1].seq {
                self.lens[count] = 0;
                count += 1;
            }
            self.lens[count - 1] += 1;
        }
        let part = |len: usize| len / capacity * rows;
        Examples {
            tokens: &self.tokens[..part(self.tokens.len())],
            x: &self.x[..part(self.x.len())],
            places,
            lens: &self.lens[..count],
            targets: &self.targets[..part(self.targets.len())],
            values: &self.values[..part(self.values.len())],
            labels: &self.labels[..count / 2],
            top: &self.top[..part(self.top.len())],
        }
    }
}

/// What fills slabs, from a place in its data that can be written down.
pub trait Feed {
    /// Fills the slab's first rows and sets their number; false when the data has ended.
    fn next(&mut self, to: &mut Slab) -> Result<bool>;

    /// Where in the data the next rows begin.
    fn position(&self) -> Position;

    /// Goes on from `position`.
    fn seek(&mut self, position: Position) -> Result<()>;

    /// Epochs done, with the share of the one under way.
    fn epochs(&self) -> f64;

    /// Tells data and ways of going through it apart: a position means something only where this is the same. 0: unknown.
    fn fingerprint(&self) -> u32 {
        0
    }
}

impl Feed for Batches {
    fn next(&mut self, to: &mut Slab) -> Result<bool> {
        let mut batch = Batch { tokens: &mut to.tokens, targets: &mut to.targets, places: &mut to.places };
        let filled = Batches::next(self, &mut batch)?;
        to.rows = filled.map_or(0, |f| f.rows * self.row());
        Ok(filled.is_some())
    }

    fn position(&self) -> Position {
        Batches::position(self)
    }

    fn seek(&mut self, position: Position) -> Result<()> {
        Batches::seek(self, position)
    }

    fn epochs(&self) -> f64 {
        Batches::epochs(self)
    }

    fn fingerprint(&self) -> u32 {
        Batches::fingerprint(self)
    }
}

impl Feed for PairBatches {
    fn next(&mut self, to: &mut Slab) -> Result<bool> {
        let (rows, pairs) = PairBatches::next(self, (&mut to.tokens, &mut to.targets, &mut to.places), &mut to.labels)?;
        to.rows = rows;
        Ok(pairs > 0)
    }

    fn position(&self) -> Position {
        PairBatches::position(self)
    }

    fn seek(&mut self, position: Position) -> Result<()> {
        PairBatches::seek(self, position)
    }

    fn epochs(&self) -> f64 {
        PairBatches::epochs(self)
    }

    fn fingerprint(&self) -> u32 {
        PairBatches::fingerprint(self)
    }
}

/// A text's batches with a teacher's logits for each row.
pub struct DistillFeed {
    batches: Batches,
    teacher: Arc<Teacher>,
    origins: Vec<u64>,
}

impl DistillFeed {
    /// Batches of `rows` rows in all, and the logits of the ids they are made of.
    pub fn new(batches: Batches, teacher: &Arc<Teacher>, rows: usize) -> Result<DistillFeed> {
        Ok(DistillFeed { batches, teacher: Arc::clone(teacher), origins: filled(rows)? })
    }
}

impl Feed for DistillFeed {
    fn next(&mut self, to: &mut Slab) -> Result<bool> {
        let top = self.teacher.top();
        if to.top.len() < self.origins.len() * top {
            fail!(
                Shape,
                "{} rows of {top} logits of a teacher do not fit a batch without room for them",
                self.origins.len()
            );
        }
        let mut batch = Batch { tokens: &mut to.tokens, targets: &mut to.targets, places: &mut to.places };
        let filled = self.batches.next_from(&mut batch, &mut self.origins)?;
        to.rows = filled.map_or(0, |f| f.rows * self.batches.row());
        for (row, origin) in to.top.chunks_exact_mut(top).zip(&self.origins).take(to.rows) {
            match origin {
                &u64::MAX => row.fill(Top::default()),
                at => row.copy_from_slice(self.teacher.row(*at)?),
            }
        }
        Ok(filled.is_some())
    }

    fn position(&self) -> Position {
        Batches::position(&self.batches)
    }

    fn seek(&mut self, position: Position) -> Result<()> {
        Batches::seek(&mut self.batches, position)
    }

    fn epochs(&self) -> f64 {
        Batches::epochs(&self.batches)
    }

    fn fingerprint(&self) -> u32 {
        Batches::fingerprint(&self.batches)
    }
}

/// A table's rows as `[numbers | numbers of categories]`, each a sequence of its own.
pub struct TableFeed {
    batches: TableBatches,
    numbers: Vec<f32>,
    categories: Vec<u32>,
    classes: Vec<i32>,
    values: Vec<f32>,
    widths: (usize, usize),
    fingerprint: u32,
}

impl TableFeed {
    /// As [`TableBatches::new`].
    pub fn new(table: &Arc<Bound>, picked: Vec<u32>, size: usize, seed: Option<u64>) -> Result<TableFeed> {
        let widths = (table.description().numbers(), table.description().categories().count());
        let batches = TableBatches::new(Arc::clone(table), picked.clone(), size, seed)?;
        let (numbers, categories) = (filled(size * widths.0)?, filled(size * widths.1)?);
        let (classes, values) = (filled(size)?, filled(size)?);
        let mut feed = TableFeed { batches, numbers, categories, classes, values, widths, fingerprint: 0 };
        feed.fingerprint = feed.hash(table, &picked, size, seed)?;
        Ok(feed)
    }

    /// A checksum of the rows as a model sees them, and of the way through them.
    fn hash(&mut self, table: &Bound, picked: &[u32], size: usize, seed: Option<u64>) -> Result<u32> {
        let mut sum = crc32fast::Hasher::new();
        let way = [size as u64, picked.len() as u64, u64::from(seed.is_some()), seed.unwrap_or(0)];
        way.iter().for_each(|x| sum.update(&x.to_le_bytes()));
        let (numbers, categories) = (&mut self.numbers[..self.widths.0], &mut self.categories[..self.widths.1]);
        for &row in picked {
            table.row(row as usize, numbers, categories)?;
            sum.update(bytemuck::cast_slice(numbers));
            sum.update(bytemuck::cast_slice(categories));
            sum.update(&table.class(row as usize).unwrap_or(u32::MAX).to_le_bytes());
            sum.update(&table.value(row as usize).unwrap_or(0.0).to_le_bytes());
        }
        Ok(sum.finalize())
    }
}

impl Feed for TableFeed {
    fn next(&mut self, to: &mut Slab) -> Result<bool> {
        let TableFeed { batches, numbers, categories, classes, values, widths, .. } = self;
        let rows = batches.next(&mut TableBatch { numbers, categories, classes, values })?;
        let width = widths.0 + widths.1;
        if to.places.len() < rows || to.x.len() < rows * width {
            fail!(Shape, "{rows} rows of {width} columns do not fit a model that takes {} elements", to.x.len());
        }
        for row in 0..rows {
            let (x, categories_of) = to.x[row * width..(row + 1) * width].split_at_mut(widths.0);
            x.copy_from_slice(&numbers[row * widths.0..][..widths.0]);
            let ids = &categories[row * widths.1..][..widths.1];
            categories_of.iter_mut().zip(ids).for_each(|(x, id)| *x = *id as f32);
            to.places[row] = Place { seq: row as u32, pos: 0 };
            match to.targets.get_mut(row) {
                Some(target) => *target = classes[row],
                None => to.values[row] = values[row],
            }
        }
        to.rows = rows;
        Ok(rows > 0)
    }

    fn position(&self) -> Position {
        self.batches.position()
    }

    fn seek(&mut self, position: Position) -> Result<()> {
        self.batches.seek(position)
    }

    fn epochs(&self) -> f64 {
        self.batches.epochs()
    }

    fn fingerprint(&self) -> u32 {
        self.fingerprint
    }
}

/// Rows from a host's own source, which is told the number of the batch it is to give, from 0.
pub struct HostFeed<F: FnMut(u64, &mut Slab) -> Result<bool>> {
    give: F,
    next: u64,
    /// Batches of an epoch; 0: unknown.
    epoch: u64,
}

impl<F: FnMut(u64, &mut Slab) -> Result<bool>> HostFeed<F> {
    /// A source that has `epoch` batches before it comes round; 0 when that is not known.
    pub fn new(give: F, epoch: u64) -> HostFeed<F> {
        HostFeed { give, next: 0, epoch }
    }
}

impl<F: FnMut(u64, &mut Slab) -> Result<bool>> Feed for HostFeed<F> {
    fn next(&mut self, to: &mut Slab) -> Result<bool> {
        to.rows = 0;
        to.targets.fill(IGNORED);
        let more = (self.give)(self.next, to)?;
        if to.rows > to.places.len() {
            fail!(
                InvalidArgument,
                "batch {} was filled with {} rows, it has room for {}",
                self.next,
                to.rows,
                to.places.len()
            );
        }
        self.next += u64::from(more);
        Ok(more && to.rows > 0)
    }

    fn position(&self) -> Position {
        Position { unit: self.next, ..Position::default() }
    }

    fn seek(&mut self, position: Position) -> Result<()> {
        self.next = position.unit;
        Ok(())
    }

    fn epochs(&self) -> f64 {
        if self.epoch == 0 { 0.0 } else { self.next as f64 / self.epoch as f64 }
    }
}
