//! To run any kernel of the table on made-up inputs: what the tests, the benches and `qorus kernels` share.
//!
//! An [`Exercise`] lays the arguments of one entry into the caller's memory, each slice followed by guard
//! bytes and every output poisoned, and runs the kernel as often as wanted. Two entries exercised with the same
//! shape and seed have the same memory before, and must have it after: outputs, guards and inputs alike.

pub mod bandwidth;
mod fill;
mod layout;
pub mod peak;

#[cfg(feature = "train")]
use crate::Mat;
use crate::act::ActQ8;
use crate::attend::{ATTEND_BLOCK, AttendBlock};
#[cfg(feature = "train")]
use crate::gemm::Stage;
#[cfg(feature = "train")]
use crate::loss::{Logits, Target, Weighting};
#[cfg(feature = "train")]
use crate::optim::{AdamStep, Intake, SgdStep};
use crate::table::{Entry, Func};
use crate::{Isa, TileMut};
use bytemuck::{cast_slice, cast_slice_mut};
use core::time::Duration;
use layout::{Access, Layout};
use std::time::Instant;

/// Sizes of an exercise.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Elements of a vector or of a weight row; of a head, for rope and attention.
    pub k: usize,
    /// Weight rows of a product; positions of attention, at most [`ATTEND_BLOCK`]. More than one is label smoothing of
    /// a loss, and Nesterov's momentum of an optimizer.
    pub rows: usize,
    /// Activation rows of a product; query vectors of attention. Of a loss, modulo 3, whether and where its gradient goes.
    pub tokens: usize,
    /// By how many elements each slice misses a multiple of 64 bytes.
    pub skew: usize,
    /// The other way of operations that have two: LayerNorm without bias, rope of half
    /// the head, attention with a soft cap and rows that see unlike positions, `gemm` with its first operand transposed
    /// and on top of what is there (else the second is, and it starts anew).
    /// the head, attention with a soft cap and rows that see unlike positions; losses of distributions, descent without
    /// momentum, penalties.
    pub other: bool,
}

impl Shape {
    /// The same with `k` rounded up to what the entry can take: whole blocks.
    pub fn fit(self, entry: &Entry) -> Shape {
        let step = match entry.func {
            Func::MatmulQ8(_) | Func::QuantizeAct(_) => entry.ty.block_len().max(32),
            #[cfg(feature = "qubo")]
            Func::RotateNear(_) => 16,
            _ => entry.ty.block_len(),
        };
        #[cfg(feature = "train")]
        if matches!(entry.func, Func::CrossEntropy(_)) {
            return Shape { k: self.k.max(1), ..self };
        }
        Shape { k: self.k.next_multiple_of(step), rows: self.rows, tokens: self.tokens, ..self }
    }

    /// Rows of attention: two heads each, if that comes out even.
    fn attend_rows(&self) -> usize {
        if self.tokens.is_multiple_of(2) { self.tokens / 2 } else { self.tokens }
    }
}

/// Shapes at which an entry is worth measuring: of products the decoding of one token and a batch, of
/// attention one token and a batch over a whole block, otherwise a vector of a model's width.
pub fn usual_shapes(entry: &Entry) -> &'static [Shape] {
    const fn shape(k: usize, rows: usize, tokens: usize) -> Shape {
        Shape { k, rows, tokens, skew: 0, other: false }
    }
    const PRODUCT: &[Shape] = &[shape(2048, 2048, 1), shape(2048, 512, 64)];
    const ATTEND: &[Shape] = &[shape(64, ATTEND_BLOCK, 3), shape(64, ATTEND_BLOCK, 48), shape(256, ATTEND_BLOCK, 48)];
    #[cfg(feature = "train")]
    const GEMM: &[Shape] = &[shape(32, 64, 64), shape(256, 688, 256)];
    const VECTOR: &[Shape] = &[shape(4096, 1, 1)];
    #[cfg(feature = "train")]
    const LOGITS: &[Shape] = &[shape(32_000, 1, 1)];
    match entry.func {
        Func::MatmulQ8(_) | Func::MatmulF32(_) => PRODUCT,
        Func::Attend(_) => ATTEND,
        #[cfg(feature = "train")]
        Func::Gemm(_) => GEMM,
        #[cfg(feature = "train")]
        Func::CrossEntropy(_) => LOGITS,
        _ => VECTOR,
    }
}

/// What one run does.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Bytes of the arguments, read and written; scratch does not count.
    pub bytes: u64,
    /// Multiplications and additions of the definition; a function such as exp counts as one.
    pub flops: u64,
}

/// One entry with its arguments.
pub struct Exercise<'a> {
    entry: Entry,
    shape: Shape,
    layout: Layout,
    memory: &'a mut [u8],
    seed: u64,
}

/// Runs between two restorations of arguments that are changed in place, so that they do not drift off to
/// where numbers are subnormal.
const RUNS_PER_FILL: u64 = 8;

impl<'a> Exercise<'a> {
    /// Bytes of memory that [`Exercise::new`] wants.
    pub fn bytes(entry: &Entry, shape: Shape) -> usize {
        Layout::new(entry, &shape.fit(entry)).bytes() + 64
    }

    /// The entry with arguments of that shape, fitted to it, made from the seed. None when the CPU lacks
    /// the entry's level; panics when `memory` is too small.
    pub fn new(entry: &Entry, shape: Shape, memory: &'a mut [u8], seed: u64) -> Option<Self> {
        if !entry.isa.available() {
            return None;
        }
        let shape = shape.fit(entry);
        assert!(!matches!(entry.func, Func::Attend(_)) || shape.rows <= ATTEND_BLOCK);
        let layout = Layout::new(entry, &shape);
        let start = memory.as_ptr().align_offset(64);
        let memory = &mut memory[start..][..layout.bytes()];
        let mut exercise = Exercise { entry: *entry, shape, layout, memory, seed };
        exercise.fill();
        Some(exercise)
    }

    /// The shape as fitted.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Poisons everything and makes the inputs anew.
    pub fn fill(&mut self) {
        self.memory.fill(fill::POISON);
        for (slot, bytes) in self.layout.split(self.memory) {
            fill::fill(slot, self.entry.ty, self.seed, bytes);
        }
    }

    /// Everything after a run but the scratch: inputs, outputs and guards.
    pub fn outcome(&mut self) -> &[u8] {
        for (slot, bytes) in self.layout.split(self.memory) {
            if slot.access == Access::Scratch {
                bytes.fill(fill::POISON);
            }
        }
        self.memory
    }

    /// The outputs after a run, in the order of the arguments.
    pub fn outputs(&mut self) -> impl Iterator<Item = &[u8]> {
        let written = |access| matches!(access, Access::Write | Access::Change);
        self.layout.split(self.memory).filter(move |(slot, _)| written(slot.access)).map(|(_, bytes)| &*bytes)
    }

    /// What one run does.
    pub fn work(&self) -> Work {
        Work { bytes: self.layout.bytes_moved(), flops: self.flops() }
    }

    /// The time of `runs` runs.
    pub fn time(&mut self, runs: u64) -> Duration {
        let (mut left, mut total) = (runs, Duration::ZERO);
        while left > 0 {
            let batch = if self.layout.changes() { left.min(RUNS_PER_FILL) } else { left };
            if self.layout.changes() {
                self.fill();
            }
            let start = Instant::now();
            for _ in 0..batch {
                self.run();
            }
            total += start.elapsed();
            left -= batch;
        }
        total
    }

    fn flops(&self) -> u64 {
        let Shape { k, rows, tokens, .. } = self.shape;
        (match (self.entry.func, self.entry.op) {
            (Func::MatmulQ8(_) | Func::MatmulF32(_), _) => 2 * k * rows * tokens,
            (Func::Attend(_), _) => (4 * k + 3) * rows * tokens,
            #[cfg(feature = "train")]
            (Func::Gemm(_), _) => 2 * k * rows * tokens,
            (Func::AttendMerge(_), _) => 3 * k * tokens,
            (Func::RmsNorm(_), _) => 4 * k,
            (Func::LayerNorm(_), _) => 7 * k,
            (Func::Rope(_), _) => 3 * k,
            (Func::Dot(_) | Func::Axpy(_), _) => 2 * k,
            (Func::Scaled(_), "softmax") => 5 * k,
            (Func::Unary(_), _) => k,
            (Func::Binary(_), "add" | "mul") => k,
            (Func::Binary(_), _) => 2 * k,
            (Func::Scaled(_), "scale") => k,
            (Func::Scaled(_), _) => 3 * k,
            #[cfg(feature = "train")]
            (Func::Reduce(_) | Func::MseGrad(_) | Func::Clamp(_), _) => 2 * k,
            #[cfg(feature = "train")]
            (Func::CrossEntropy(_), _) => 5 * k,
            #[cfg(feature = "train")]
            (Func::Sgd(_), _) => 8 * k,
            #[cfg(feature = "train")]
            (Func::Adam(_) | Func::Adam8(_), _) => 18 * k,
            #[cfg(feature = "train")]
            (Func::RmsNormBackward(_), _) => 11 * k,
            #[cfg(feature = "train")]
            (Func::LayerNormBackward(_), _) => 19 * k,
            #[cfg(feature = "train")]
            (Func::GatedBackward(_), _) => 6 * k,
            #[cfg(feature = "qubo")]
            (Func::NextFlip(_) | Func::BestFlip(_), _) => 3 * k,
            #[cfg(feature = "qubo")]
            (Func::AddRow(_), _) => 2 * k,
            #[cfg(feature = "qubo")]
            (Func::RotateNear(_), _) => 24 * k,
            #[cfg(feature = "qubo")]
            (Func::RotateFar(_), _) => 12 * k,
            #[cfg(feature = "qubo")]
            (Func::Phase(_), _) => 34 * k,
            (Func::QuantizeAct(_) | Func::Dequantize(_) | Func::Quantize(_), _) => k,
        }) as u64
    }

    /// Runs the kernel once.
    pub fn run(&mut self) {
        let Shape { k, rows, tokens, other, .. } = self.shape;
        let mut slots = self.layout.split(self.memory).map(|(_, bytes)| bytes);
        let mut next = || slots.next().unwrap_or_default();
        macro_rules! args {
            ($($arg:ident),*) => { $(let $arg = cast_slice_mut(next());)* };
        }
        // SAFETY: `new` found the level available, and `Layout` gives the slices the lengths that the methods of
        // `Kernels` demand.
        unsafe {
            match self.entry.func {
                Func::MatmulQ8(f) => {
                    args!(w, q, d, sums, y, panel);
                    let x = ActQ8::new(cast_slice::<u8, i8>(q), d, sums, tokens, k);
                    f(w, &x, &mut window(y, rows, tokens).cols_mut(layout::margin(rows)), panel);
                }
                Func::MatmulF32(f) => {
                    args!(w, x, y);
                    f(w, x, k, &mut window(y, rows, tokens).cols_mut(layout::margin(rows)));
                }
                Func::QuantizeAct(f) => {
                    args!(x, q, d, sums);
                    f(x, cast_slice_mut::<u8, i8>(q), d, sums);
                }
                Func::Dequantize(f) => {
                    args!(src, dst);
                    f(src, dst);
                }
                Func::Quantize(f) => {
                    args!(src, dst);
                    f(src, dst);
                }
                Func::RmsNorm(f) => {
                    args!(x, w, y);
                    f(x, w, 1e-5, y);
                }
                Func::LayerNorm(f) => {
                    args!(x, w, b, y);
                    f(x, w, (!other).then_some(&*b), 1e-5, y);
                }
                Func::Unary(f) => {
                    args!(x);
                    f(x);
                }
                Func::Scaled(f) => {
                    args!(x);
                    f(x, 2.5);
                }
                Func::Binary(f) => {
                    args!(y, x);
                    f(y, x);
                }
                Func::Axpy(f) => {
                    args!(y, x);
                    f(y, 0.75, x);
                }
                Func::Dot(f) => {
                    args!(a, b, sum);
                    sum[0] = f(a, b);
                }
                Func::Rope(f) => {
                    args!(x, cos, sin);
                    f(x, cos, sin);
                }
                Func::Attend(f) => {
                    args!(q, keys, values);
                    let seen = next().as_chunks::<2>().0;
                    args!(scratch, max, sum, out);
                    f(&mut AttendBlock {
                        q,
                        keys,
                        values,
                        seen,
                        head_dim: k,
                        scale: 0.125,
                        softcap: if other { 5.0 } else { 0.0 },
                        scratch,
                        max,
                        sum,
                        out,
                    });
                }
                #[cfg(feature = "train")]
                Func::Gemm(f) => {
                    args!(a, b, c, scratch);
                    let (a, b) = if other {
                        (Mat::new(a, k, tokens, tokens).t(), Mat::new(b, k, rows, rows))
                    } else {
                        (Mat::new(a, tokens, k, k), Mat::new(b, rows, k, k).t())
                    };
                    f(
                        &a,
                        &b,
                        other,
                        &mut window(c, rows, tokens).cols_mut(layout::margin(rows)),
                        Stage::Whole(scratch),
                    );
                }
                Func::AttendMerge(f) => {
                    args!(max, sum, out, max2, sum2, out2);
                    f(max, sum, out, max2, sum2, out2);
                }
                #[cfg(feature = "train")]
                Func::Reduce(f) => {
                    args!(x, sum);
                    sum[0] = f(x);
                }
                #[cfg(feature = "train")]
                Func::Clamp(f) => {
                    args!(x);
                    f(x, 1.5, 2.5);
                }
                #[cfg(feature = "train")]
                Func::MseGrad(f) => {
                    args!(p, t, g);
                    f(p, t, 0.75, g);
                }
                #[cfg(feature = "train")]
                Func::CrossEntropy(f) => {
                    args!(x, g, t, loss);
                    let target = if other { Target::Distribution(t) } else { Target::Class(k / 2) };
                    let logits = match layout::Gradient::of(&self.shape) {
                        layout::Gradient::InPlace => Logits::InPlace(x),
                        layout::Gradient::Apart => Logits::To(x, g),
                        layout::Gradient::None => Logits::Read(x),
                    };
                    let row =
                        f(logits, target, &Weighting { smoothing: if rows > 1 { 0.1 } else { 0.0 }, scale: 0.25 });
                    loss.copy_from_slice(&[row.loss, f32::from(row.hit)]);
                }
                #[cfg(feature = "train")]
                Func::Sgd(f) => {
                    args!(w, g, b);
                    let momentum = if other { 0.0 } else { 0.9 };
                    f(w, g, b, &SgdStep { intake: intake(other), rate: 0.01, momentum, nesterov: rows > 1 });
                }
                #[cfg(feature = "train")]
                Func::Adam(f) => {
                    args!(w, g, m, v);
                    f(w, g, m, v, &adam_step(other));
                }
                #[cfg(feature = "train")]
                Func::Adam8(f) => {
                    let (w, g) = (cast_slice_mut(next()), cast_slice_mut(next()));
                    let (m, v) = (next(), next());
                    f(w, g, m, v, cast_slice_mut(next()), &adam_step(other));
                }
                #[cfg(feature = "train")]
                Func::RmsNormBackward(f) => {
                    args!(x, w, dy, dx, dw);
                    f(x, w, 1e-5, dy, dx, dw);
                }
                #[cfg(feature = "train")]
                Func::LayerNormBackward(f) => {
                    args!(x, w, dy, dx, dw, db);
                    f(x, w, 1e-5, dy, dx, dw, db);
                }
                #[cfg(feature = "train")]
                Func::GatedBackward(f) => {
                    args!(gate, up, d);
                    f(gate, up, d);
                }
                #[cfg(feature = "qubo")]
                Func::RotateNear(f) => {
                    args!(re, im);
                    f(re, im, 0.8, 0.6);
                }
                #[cfg(feature = "qubo")]
                Func::RotateFar(f) => {
                    args!(re0, im0, re1, im1);
                    f(re0, im0, re1, im1, 0.8, 0.6);
                }
                #[cfg(feature = "qubo")]
                Func::Phase(f) => {
                    args!(re, im, cost);
                    f(re, im, cost, 0.7);
                }
                #[cfg(feature = "qubo")]
                Func::NextFlip(f) => {
                    args!(fields, masks, noise);
                    // Some that are soon found, and some that are not: each from behind the last one on.
                    let t = if other { -20.0 } else { -60.0 };
                    let mut from = 0;
                    for place in cast_slice_mut::<u8, u32>(next()) {
                        let found = f(fields, masks, noise, t, from);
                        (*place, from) = (found as u32, k.min(found + 1));
                    }
                }
                #[cfg(feature = "qubo")]
                Func::BestFlip(f) => {
                    args!(fields, masks, free);
                    let all = f(fields, masks, free, 100, i32::MIN);
                    let some = f(fields, masks, free, -70, if other { -90 } else { i32::MIN });
                    let found = [all.0, all.1 as i32, some.0, some.1 as i32];
                    cast_slice_mut::<u8, i32>(next()).copy_from_slice(&found);
                }
                #[cfg(feature = "qubo")]
                Func::AddRow(f) => {
                    args!(fields);
                    f(fields, next(), u32::from(other), rows > 1 || other);
                }
            }
        }
    }
}

#[cfg(feature = "train")]
fn intake(other: bool) -> Intake {
    let (l1, l2) = if other { (0.01, 0.1) } else { (0.0, 0.0) };
    Intake { scale: 0.5, limit: if other { 0.75 } else { f32::INFINITY }, l1, l2 }
}

#[cfg(feature = "train")]
fn adam_step(other: bool) -> AdamStep {
    AdamStep {
        intake: intake(other),
        rest1: 0.1,
        beta2: 0.95,
        rest2: 0.05,
        root: 1.25,
        eps: 1e-8,
        rate: 0.02,
        decay: 0.001,
    }
}

/// The output of a product: wider than it has columns, to see that others stay untouched.
fn window(y: &mut [f32], rows: usize, tokens: usize) -> TileMut<'_> {
    TileMut::new(y, tokens, rows + layout::MARGIN)
}

/// The scalar entry of the same operation and type.
pub fn definition(entry: &Entry) -> Option<&'static Entry> {
    crate::table::entries().find(|e| (e.op, e.ty, e.isa) == (entry.op, entry.ty, Isa::Scalar))
}
