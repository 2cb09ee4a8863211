//! Adapters: small pairs of matrices that change what the linear layers of a model compute, and the files they are kept in.
//!
//! A [`Pair`] belongs to one matrix W of the base and makes of `y = W x` the sum `y = W x + s B (A x)` (LoRA, arXiv 2106.09685).
//! The scale `s` is `alpha / rank`, or `alpha / sqrt(rank)` for rsLoRA (arXiv 2312.03732). DoRA (arXiv 2402.09353) brings
//! each row of the changed matrix to a length of its own: `W' = m (W + s B A) / |W + s B A|`.

mod base;
mod file;
#[cfg(feature = "convert")]
mod names;
#[cfg(feature = "convert")]
mod peft;
#[cfg(feature = "convert")]
mod peft_config;

use crate::error::{Result, fail};
use crate::gguf::Gguf;
pub use base::base_hash;
use std::path::Path;

/// How a pair changes its matrix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Added at the scale `alpha / rank`.
    #[default]
    Lora,
    /// Added at the scale `alpha / sqrt(rank)`.
    RsLora,
    /// Added at the scale `alpha / rank`, then each row brought to its magnitude.
    Dora,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 3] = [Kind::Lora, Kind::RsLora, Kind::Dora];

    /// What it is called in files and arguments, as in `rslora`.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Lora => "lora",
            Kind::RsLora => "rslora",
            Kind::Dora => "dora",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What `B (A x)` is multiplied by.
    pub fn scale(self, alpha: f32, rank: usize) -> f32 {
        match self {
            Kind::Lora | Kind::Dora => alpha / rank as f32,
            Kind::RsLora => alpha / (rank as f32).sqrt(),
        }
    }
}

/// The pairs that belong together, as one training made them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adapter {
    /// The file or folder it was read from, for messages; empty for one that was made in memory.
    pub name: String,
    /// The architecture of the base, as `general.architecture` has it.
    pub arch: String,
    /// How its pairs change their matrices.
    pub kind: Kind,
    /// The numerator of the scale, the same for all pairs.
    pub alpha: f32,
    /// The hash of the base it was made for, where it is known.
    pub base: Option<[u8; 32]>,
    /// One for each matrix that is changed, in no particular order; no tensor twice.
    pub pairs: Vec<Pair>,
}

/// What is added to one matrix, or to the same matrix of each of several experts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pair {
    /// The base's tensor by its name in GGUF, as in `blk.0.attn_q.weight`; `output.weight` is the head, of a base whose head is
    /// its embedding too.
    pub tensor: String,
    /// Rows of A, which are the columns of B.
    pub rank: usize,
    /// Rows of the base's matrix and of B: elements of y.
    pub rows: usize,
    /// Columns of the base's matrix and of A: elements of x.
    pub cols: usize,
    /// Matrices in the base's tensor: 1, or the number of experts.
    pub experts: usize,
    /// A: `[experts][rank][cols]`.
    pub a: Vec<f32>,
    /// B: `[experts][rows][rank]`.
    pub b: Vec<f32>,
    /// The length of each row of the changed matrix, `[experts][rows]`, for DoRA.
    pub magnitude: Option<Vec<f32>>,
}

impl Adapter {
    /// Reads a GGUF adapter, or a folder that PEFT wrote (feature `convert`), for that base. Whether it was made for it is
    /// what [`check`](Adapter::check) says.
    ///
    /// Errors: those of opening; `Format` for what is damaged or no adapter, `Unsupported` for one that does what is not done
    /// here, `Shape` for one that is not of one piece.
    pub fn open(path: &Path, base: &Gguf) -> Result<Adapter> {
        #[cfg(feature = "convert")]
        if path.is_dir() {
            return peft::read(path, base);
        }
        #[cfg(not(feature = "convert"))]
        let _ = base;
        file::read(path)
    }

    /// Writes it as a GGUF adapter. What was at `path` stays until all is written.
    ///
    /// Errors: those of [`check_whole`](Adapter::check_whole); `Io`.
    pub fn write(&self, path: &Path) -> Result<()> {
        file::write(self, path)
    }

    /// Writes it into a folder as PEFT does: `adapter_config.json` and `adapter_model.safetensors`.
    ///
    /// Errors: those of [`check_whole`](Adapter::check_whole); `Unsupported` for a tensor that has no name there; `Io`.
    #[cfg(feature = "convert")]
    pub fn write_peft(&self, folder: &Path, base: &Gguf) -> Result<()> {
        peft::write(self, folder, base)
    }

    /// Whether it fits that base: the architecture, each tensor and its shape; and unless `force`, whether it was made for just
    /// this base, where it says for which. That reads the whole of the base once.
    ///
    /// Errors: `State` for another base of the same shape, `Shape`, `NotFound`, `Unsupported`.
    pub fn check(&self, base: &Gguf, force: bool) -> Result<()> {
        base::check(self, base, force)
    }

    /// What the product of that pair is multiplied by, before the weight that a user gives the adapter.
    pub fn scale(&self, pair: &Pair) -> f32 {
        self.kind.scale(self.alpha, pair.rank)
    }

    /// The pair of that tensor.
    pub fn pair(&self, tensor: &str) -> Option<&Pair> {
        self.pairs.iter().find(|p| p.tensor == tensor)
    }

    /// Numbers in all pairs.
    pub fn values(&self) -> usize {
        self.pairs.iter().map(|p| p.a.len() + p.b.len() + p.magnitude.as_ref().map_or(0, Vec::len)).sum()
    }

    /// Whether it is of one piece: lengths that fit the shapes, magnitudes where the kind has them, no tensor twice, finite numbers.
    ///
    /// Errors: `Shape`, `Format` or `NotFinite`, naming the tensor.
    pub fn check_whole(&self) -> Result<()> {
        let name = &self.name;
        if self.pairs.is_empty() {
            fail!(Format, "{name}: the adapter changes no tensor: it is not what it should be");
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            fail!(Format, "{name}: the adapter's alpha is {}, expected a number above 0", self.alpha);
        }
        let mut tensors: Vec<&str> = self.pairs.iter().map(|p| p.tensor.as_str()).collect();
        tensors.sort_unstable();
        if let Some(twice) = tensors.windows(2).find(|w| w[0] == w[1]) {
            fail!(Format, "{name}: has two pairs for the tensor {:?}", twice[0]);
        }
        self.pairs.iter().try_for_each(|pair| pair.check(name, self.kind))
    }
}

impl Pair {
    fn check(&self, name: &str, kind: Kind) -> Result<()> {
        let product = |of: &[usize]| of.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).unwrap_or(0);
        let (a, b) = (product(&[self.experts, self.rank, self.cols]), product(&[self.experts, self.rows, self.rank]));
        if a == 0 || b == 0 || self.a.len() != a || self.b.len() != b {
            fail!(
                Shape,
                "{name}: the pair of {:?} has {} and {} numbers, expected {} experts x rank {} x {} and {} experts x {} x rank {}",
                self.tensor,
                self.a.len(),
                self.b.len(),
                self.experts,
                self.rank,
                self.cols,
                self.experts,
                self.rows,
                self.rank
            );
        }
        let magnitudes = self.magnitude.as_ref().map(Vec::len);
        let expected = (kind == Kind::Dora).then(|| product(&[self.experts, self.rows]));
        if magnitudes != expected {
            fail!(
                Shape,
                "{name}: the pair of {:?} has {} magnitudes, expected {} for {}",
                self.tensor,
                magnitudes.unwrap_or(0),
                expected.unwrap_or(0),
                kind.name()
            );
        }
        let numbers = [("A", &self.a[..]), ("B", &self.b[..]), ("magnitude", self.magnitude.as_deref().unwrap_or(&[]))];
        for (part, numbers) in numbers {
            if let Some(i) = numbers.iter().position(|x| !x.is_finite()) {
                fail!(NotFinite, "{name}: {part} of {:?} has {} at element {i}", self.tensor, numbers[i]);
            }
        }
        Ok(())
    }
}
