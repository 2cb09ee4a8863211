//! Adapters in their places: which matrices they add to, where their numbers lie, and how a linear layer finds them.
//!
//! The numbers of an adapter are one block of f32. Each [`Site`] is a tensor with an addition: `a` of `[experts][rank][cols]`, `b` of
//! `[experts][rank][rows]` (so that a row of the result is a sum of rows), and for DoRA the wanted length of each row. A linear layer that
//! uses part of a tensor, as of a fused projection or of all experts, finds its part by its weight.

use super::param::{Store, Weight};
use crate::error::{Result, fail, try_vec};
use crate::ops::Exec;
use crate::ops::low_rank::{self, LowRank};
use std::sync::Arc;

/// Numbers of a factor begin at multiples of so many: a block of 8-bit moments, and more than a cache line.
pub const UNIT: usize = 256;

/// A tensor with an addition.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// All of the tensor.
    pub w: Weight,
    /// Matrices in it, one after another.
    pub experts: usize,
    /// Rows of the factors.
    pub rank: usize,
    /// What the product of the factors is multiplied by.
    pub scale: f32,
    /// Whether rows are brought to lengths of their own.
    pub dora: bool,
    /// First number of each factor: see [`Site::factor`].
    at: [usize; 3],
    /// First of its rows among those that have lengths.
    row: usize,
}

/// A part of a site's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// What the input is multiplied by first.
    A,
    /// What that is multiplied by.
    B,
    /// The wanted length of each row.
    Magnitude,
}

impl Factor {
    /// All of them.
    pub const ALL: [Factor; 3] = [Factor::A, Factor::B, Factor::Magnitude];
}

impl Site {
    /// Rows of one of its matrices.
    pub fn rows(&self) -> usize {
        self.w.rows / self.experts.max(1)
    }

    /// The shape of a factor, the matrices' one after another: rows and their elements; none has no rows.
    pub fn shape(&self, factor: Factor) -> [usize; 2] {
        match factor {
            Factor::A => [self.experts * self.rank, self.w.cols],
            Factor::B => [self.experts * self.rank, self.rows()],
            Factor::Magnitude => [usize::from(self.dora), self.w.rows],
        }
    }

    /// First number and length of a factor.
    pub fn factor(&self, factor: Factor) -> (usize, usize) {
        let [rows, cols] = self.shape(factor);
        (self.at[factor as usize], rows * cols)
    }
}

/// The part of a site that a weight is: whose expert's, and from which of its rows.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The site.
    pub site: &'a Site,
    /// Its number.
    pub index: usize,
    expert: usize,
    from: usize,
    rows: usize,
}

impl Found<'_> {
    /// Where the weight's part of `a` lies among the numbers: `[rank][cols]`.
    pub fn a(&self) -> std::ops::Range<usize> {
        let len = self.site.rank * self.site.w.cols;
        let at = self.site.at[0] + self.expert * len;
        at..at + len
    }

    /// Likewise `b`: `[rank][site.rows()]`, of which the elements from [`Found::from`] on are the weight's.
    pub fn b(&self) -> std::ops::Range<usize> {
        let len = self.site.rank * self.site.rows();
        let at = self.site.at[1] + self.expert * len;
        at..at + len
    }

    /// See [`Found::b`].
    pub fn from(&self) -> usize {
        self.from
    }

    /// The magnitudes of the weight's rows among the numbers, where the site has any.
    pub fn magnitudes(&self) -> Option<std::ops::Range<usize>> {
        let at = self.site.at[2] + self.expert * self.site.rows() + self.from;
        self.site.dora.then_some(at..at + self.rows)
    }

    /// The weight's rows among those that have lengths.
    pub fn lengths(&self) -> std::ops::Range<usize> {
        let at = self.site.row + self.expert * self.site.rows() + self.from;
        at..at + self.rows
    }

    /// The addition, of the numbers of all sites and the lengths of all rows; without those it stretches nothing.
    pub fn low_rank<'a>(&self, values: &'a [f32], lengths: Option<&'a [f32]>) -> LowRank<'a> {
        LowRank {
            rank: self.site.rank,
            a: &values[self.a()],
            b: &values[self.b()],
            width: self.site.rows(),
            from: self.from,
            scale: self.site.scale,
            weight: 1.0,
            lengths: self.magnitudes().zip(lengths).map(|(wanted, all)| (&values[wanted], &all[self.lengths()])),
        }
    }
}

/// The places of an adapter's numbers.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    list: Vec<Site>,
    /// For each tensor of the store, where it is in the list.
    tensors: Vec<Option<u32>>,
    len: usize,
    rows: usize,
}

impl Sites {
    /// None yet, of a store of so many tensors.
    pub fn new(tensors: usize) -> Result<Sites> {
        let mut places = try_vec(tensors, "tensors")?;
        places.resize(tensors, None);
        Ok(Sites { tensors: places, ..Sites::default() })
    }

    /// Adds a tensor, as [`Site`] describes it. `InvalidArgument` for a rank of 0 and for a tensor that is there already.
    pub fn add(&mut self, w: Weight, experts: usize, rank: usize, scale: f32, dora: bool) -> Result<()> {
        if rank == 0 || experts == 0 || !w.rows.is_multiple_of(experts) {
            fail!(InvalidArgument, "an addition of rank {rank} to {experts} matrices of together {} rows", w.rows);
        }
        let mut site = Site { w, experts, rank, scale, dora, at: [0; 3], row: self.rows };
        let mut end = Some(self.len);
        for factor in Factor::ALL {
            site.at[factor as usize] = end.unwrap_or(0);
            let rows = if factor == Factor::Magnitude { Some(usize::from(dora)) } else { experts.checked_mul(rank) };
            let cols = [w.cols, w.rows / experts, w.rows][factor as usize];
            let len = rows.and_then(|rows| rows.checked_mul(cols)?.checked_next_multiple_of(UNIT));
            end = end.zip(len).and_then(|(end, len)| end.checked_add(len));
        }
        let Some(len) = end else { fail!(OutOfMemory, "an addition of rank {rank} does not fit the address space") };
        let index = self.list.len();
        match self.tensors.get_mut(w.tensor()) {
            Some(place @ None) => *place = Some(index as u32),
            Some(_) => fail!(InvalidArgument, "two additions to one tensor by one adapter"),
            None => fail!(Internal, "a weight lies outside the store"),
        }
        if self.list.try_reserve(1).is_err() {
            fail!(OutOfMemory, "no memory for a list of {index} additions");
        }
        self.list.push(site);
        (self.len, self.rows) = (len, self.rows + if dora { w.rows } else { 0 });
        Ok(())
    }

    /// The tensors, in the order of their numbers.
    pub fn list(&self) -> &[Site] {
        &self.list
    }

    /// Numbers in all, what lies between factors included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no tensor has an addition.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Rows that have lengths.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The greatest rank.
    pub fn rank(&self) -> usize {
        self.list.iter().map(|site| site.rank).max().unwrap_or(0)
    }

    /// Writes to `lengths` the one that each row has with the addition, where there are wanted ones.
    pub fn measure(&self, exec: &Exec, store: &Store, values: &[f32], lengths: &mut [f32]) -> Result<()> {
        for site in self.list.iter().filter(|site| site.dora) {
            for expert in 0..site.experts {
                let w = site.w.part(expert * site.rows()..(expert + 1) * site.rows())?;
                let Some(found) = self.find(&w) else { fail!(Internal, "a site cannot be found") };
                let to = &mut lengths[found.lengths()];
                low_rank::lengths(exec, &store.matrix(&w)?, &found.low_rank(values, None), to)?;
            }
        }
        Ok(())
    }

    /// BLAKE3 of the places and the numbers that lie there.
    pub fn digest(&self, values: &[f32]) -> [u8; 32] {
        let mut hash = blake3::Hasher::new();
        for site in &self.list {
            let places = [site.w.tensor(), site.experts, site.rank, usize::from(site.dora)];
            for n in places {
                hash.update(&(n as u64).to_le_bytes());
            }
            hash.update(&site.scale.to_le_bytes());
        }
        hash.update(bytemuck::cast_slice(values));
        *hash.finalize().as_bytes()
    }

    /// Whether anything is added to a tensor.
    pub fn touches(&self, w: &Weight) -> bool {
        matches!(self.tensors.get(w.tensor()), Some(Some(_)))
    }

    /// What a weight is of the sites.
    pub fn find(&self, w: &Weight) -> Option<Found<'_>> {
        let index = (*self.tensors.get(w.tensor())?)? as usize;
        let site = self.list.get(index)?;
        let (expert, from) = (w.first_row() / site.rows().max(1), w.first_row() % site.rows().max(1));
        // All experts at once are none of them.
        (from + w.rows <= site.rows()).then_some(Found { site, index, expert, from, rows: w.rows })
    }
}

/// An adapter's numbers in their places: immutable, shared by any number of contexts.
pub struct Placed {
    sites: Sites,
    values: Vec<f32>,
    lengths: Vec<f32>,
    digest: [u8; 32],
}

impl Placed {
    /// The numbers of all sites, and the length that each row has with the addition where there are wanted ones.
    pub fn new(sites: Sites, values: Vec<f32>, lengths: Vec<f32>) -> Result<Placed> {
        if values.len() != sites.len() || lengths.len() != sites.rows() {
            fail!(Internal, "{} numbers for an adapter of {}", values.len(), sites.len());
        }
        let digest = sites.digest(&values);
        Ok(Placed { sites, values, lengths, digest })
    }

    /// Tells adapters apart that are loaded for one model: BLAKE3 of places and numbers.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The places.
    pub fn sites(&self) -> &Sites {
        &self.sites
    }

    /// Bytes in memory.
    pub fn reserved(&self) -> usize {
        Placed::bytes(&self.sites)
    }

    /// The same from the places alone.
    pub fn bytes(sites: &Sites) -> usize {
        (sites.len() + sites.rows()).saturating_mul(size_of::<f32>())
    }

    /// The addition to a weight.
    pub fn low_rank(&self, w: &Weight) -> Option<LowRank<'_>> {
        Some(self.sites.find(w)?.low_rank(&self.values, Some(&self.lengths)))
    }
}

/// An adapter that a context runs with.
#[derive(Clone)]
pub struct Attached {
    /// The adapter.
    pub adapter: Arc<Placed>,
    /// How much of it: 1 for all, 0 for nothing.
    pub weight: f32,
}
