//! The one list of kernels, and the choice among them.
//!
//! Each file of kernels declares its `ENTRIES`; [`entries`] walks them all, lowest level first. Tests,
//! benches and `qorus kernels` walk the same list. [`Kernels`] keeps for every operation and type the function
//! of the highest level it was allowed, and is the safe way to call it.

use crate::act::ActQ8;
use crate::attend::AttendBlock;
#[cfg(feature = "train")]
use crate::gemm::Stage;
#[cfg(feature = "train")]
use crate::loss::{Logits, RowLoss, Target, Weighting};
#[cfg(feature = "train")]
use crate::mat::Mat;
#[cfg(feature = "train")]
use crate::optim::{AdamStep, SgdStep};
use crate::{Isa, Products, TileMut, Type, scalar};
#[cfg(target_arch = "x86_64")]
use crate::{avx2, avx512, avx512bf16, avxvnni};
use core::fmt;

/// `(w, x, y, panel)`.
pub type MatmulQ8 = unsafe fn(&[u8], &ActQ8, &mut TileMut, &mut [u8]);
/// `(w, x, k, y)`.
pub type MatmulF32 = unsafe fn(&[u8], &[f32], usize, &mut TileMut);
/// `(x, q, d, sums)`.
pub type QuantizeAct = unsafe fn(&[f32], &mut [i8], &mut [f32], &mut [i16]);
/// `(src, dst)`.
pub type Dequantize = unsafe fn(&[u8], &mut [f32]);
/// `(src, dst)`.
pub type Quantize = unsafe fn(&[f32], &mut [u8]);
/// `(x, w, eps, y)`.
pub type RmsNorm = unsafe fn(&[f32], &[f32], f32, &mut [f32]);
/// `(x, w, b, eps, y)`.
pub type LayerNorm = unsafe fn(&[f32], &[f32], Option<&[f32]>, f32, &mut [f32]);
/// `(x)`, in place.
pub type Unary = unsafe fn(&mut [f32]);
/// `(x, a)`, in place with one number.
pub type Scaled = unsafe fn(&mut [f32], f32);
/// `(y, x)`, in place with another slice.
pub type Binary = unsafe fn(&mut [f32], &[f32]);
/// `(y, a, x)`.
pub type Axpy = unsafe fn(&mut [f32], f32, &[f32]);
/// `(a, b)`.
pub type Dot = unsafe fn(&[f32], &[f32]) -> f32;
/// `(x, cos, sin)`.
pub type Rope = unsafe fn(&mut [f32], &[f32], &[f32]);
/// `(block)`.
pub type Attend = unsafe fn(&mut AttendBlock);
/// `(max, sum, out, max2, sum2, out2)`.
pub type AttendMerge = unsafe fn(&mut [f32], &mut [f32], &mut [f32], &[f32], &[f32], &[f32]);

/// `(a, b, accumulate, c, stage)`.
#[cfg(feature = "train")]
pub type Gemm = unsafe fn(&Mat, &Mat, bool, &mut TileMut, Stage);
/// `(x)`, to one number.
#[cfg(feature = "train")]
pub type Reduce = unsafe fn(&[f32]) -> f32;
/// `(x, scale, limit)`.
#[cfg(feature = "train")]
pub type Clamp = unsafe fn(&mut [f32], f32, f32);
/// `(p, t, scale, g)`.
#[cfg(feature = "train")]
pub type MseGrad = unsafe fn(&[f32], &[f32], f32, &mut [f32]);
/// `(logits, target, weighting)`.
#[cfg(feature = "train")]
pub type CrossEntropy = unsafe fn(Logits, Target, &Weighting) -> RowLoss;
/// `(w, g, b, step)`.
#[cfg(feature = "train")]
pub type Sgd = unsafe fn(&mut [f32], &mut [f32], &mut [f32], &SgdStep);
/// `(w, g, m, v, step)`.
#[cfg(feature = "train")]
pub type Adam = unsafe fn(&mut [f32], &mut [f32], &mut [f32], &mut [f32], &AdamStep);
/// `(w, g, m, v, scales, step)`.
#[cfg(feature = "train")]
pub type Adam8 = unsafe fn(&mut [f32], &mut [f32], &mut [u8], &mut [u8], &mut [f32], &AdamStep);
/// `(x, w, eps, dy, dx, dw)`.
#[cfg(feature = "train")]
pub type RmsNormBackward = unsafe fn(&[f32], &[f32], f32, &[f32], &mut [f32], &mut [f32]);
/// `(x, w, eps, dy, dx, dw, db)`.
#[cfg(feature = "train")]
pub type LayerNormBackward = unsafe fn(&[f32], &[f32], f32, &[f32], &mut [f32], &mut [f32], &mut [f32]);
/// `(gate, up, d)`, in place.
#[cfg(feature = "train")]
pub type GatedBackward = unsafe fn(&mut [f32], &mut [f32], &mut [f32]);

/// `(fields, masks, noise, t, from)`.
#[cfg(feature = "qubo")]
pub type NextFlip = unsafe fn(&[i32], &[i32], &[f32], f32, usize) -> usize;
/// `(fields, masks, free, now, aspire)`.
#[cfg(feature = "qubo")]
pub type BestFlip = unsafe fn(&[i32], &[i32], &[i32], i32, i32) -> (i32, usize);
/// `(fields, row, shift, minus)`.
#[cfg(feature = "qubo")]
pub type AddRow = unsafe fn(&mut [i32], &[u8], u32, bool);
/// `(re, im, c, s)`.
#[cfg(feature = "qubo")]
pub type RotateNear = unsafe fn(&mut [f32], &mut [f32], f32, f32);
/// `(re0, im0, re1, im1, c, s)`.
#[cfg(feature = "qubo")]
pub type RotateFar = unsafe fn(&mut [f32], &mut [f32], &mut [f32], &mut [f32], f32, f32);
/// `(re, im, cost, turns)`.
#[cfg(feature = "qubo")]
pub type Phase = unsafe fn(&mut [f32], &mut [f32], &[f32], f32);

/// A kernel, by its signature. To call one is sound when the CPU has its level and the slices have the
/// lengths that the method of [`Kernels`] with the operation's name demands.
#[derive(Clone, Copy)]
#[allow(missing_docs)] // each is the type of its name
pub enum Func {
    MatmulQ8(MatmulQ8),
    MatmulF32(MatmulF32),
    QuantizeAct(QuantizeAct),
    Dequantize(Dequantize),
    Quantize(Quantize),
    RmsNorm(RmsNorm),
    LayerNorm(LayerNorm),
    Unary(Unary),
    Scaled(Scaled),
    Binary(Binary),
    Axpy(Axpy),
    Dot(Dot),
    Rope(Rope),
    Attend(Attend),
    AttendMerge(AttendMerge),
    #[cfg(feature = "train")]
    Gemm(Gemm),
    #[cfg(feature = "train")]
    Reduce(Reduce),
    #[cfg(feature = "train")]
    Clamp(Clamp),
    #[cfg(feature = "train")]
    MseGrad(MseGrad),
    #[cfg(feature = "train")]
    CrossEntropy(CrossEntropy),
    #[cfg(feature = "train")]
    Sgd(Sgd),
    #[cfg(feature = "train")]
    Adam(Adam),
    #[cfg(feature = "train")]
    Adam8(Adam8),
    #[cfg(feature = "train")]
    RmsNormBackward(RmsNormBackward),
    #[cfg(feature = "train")]
    LayerNormBackward(LayerNormBackward),
    #[cfg(feature = "train")]
    GatedBackward(GatedBackward),
    #[cfg(feature = "qubo")]
    NextFlip(NextFlip),
    #[cfg(feature = "qubo")]
    BestFlip(BestFlip),
    #[cfg(feature = "qubo")]
    AddRow(AddRow),
    #[cfg(feature = "qubo")]
    RotateNear(RotateNear),
    #[cfg(feature = "qubo")]
    RotateFar(RotateFar),
    #[cfg(feature = "qubo")]
    Phase(Phase),
}

/// One row of the list.
#[derive(Clone, Copy)]
pub struct Entry {
    /// The operation: the name of the method of [`Kernels`].
    pub op: &'static str,
    /// The storage type it reads or writes; F32 where there is none other.
    pub ty: Type,
    /// The level it needs.
    pub isa: Isa,
    /// The kernel.
    pub func: Func,
}

impl Entry {
    /// A row of the list.
    pub const fn new(op: &'static str, ty: Type, isa: Isa, func: Func) -> Self {
        Entry { op, ty, isa, func }
    }
}

impl fmt::Display for Entry {
    /// As in `matmul_f32 F16 avx2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.op, self.ty.name(), self.isa.name())
    }
}

/// The lists of all files, lowest level first.
const LISTS: &[&[Entry]] = &[
    scalar::activation::ENTRIES,
    scalar::attend::ENTRIES,
    scalar::dequantize::ENTRIES,
    scalar::dequantize::FLOAT_ENTRIES,
    #[cfg(feature = "train")]
    scalar::gemm::ENTRIES,
    scalar::matmul_bf16::ENTRIES,
    scalar::matmul_f32::ENTRIES,
    scalar::matmul_q8::ENTRIES,
    scalar::norm::ENTRIES,
    scalar::quantize::ENTRIES,
    scalar::quantize_act::ENTRIES,
    scalar::rope::ENTRIES,
    scalar::softmax::ENTRIES,
    scalar::vector::ENTRIES,
    #[cfg(feature = "train")]
    scalar::clip::ENTRIES,
    #[cfg(feature = "train")]
    scalar::loss::ENTRIES,
    #[cfg(feature = "train")]
    scalar::optim::ENTRIES,
    #[cfg(feature = "train")]
    scalar::activation::TRAIN_ENTRIES,
    #[cfg(feature = "train")]
    scalar::norm::TRAIN_ENTRIES,
    #[cfg(feature = "train")]
    scalar::softmax::TRAIN_ENTRIES,
    #[cfg(feature = "qubo")]
    scalar::qubo::ENTRIES,
    #[cfg(feature = "qubo")]
    scalar::qaoa::ENTRIES,
    #[cfg(all(target_arch = "x86_64", feature = "qubo"))]
    avx2::qubo::ENTRIES,
    #[cfg(all(target_arch = "x86_64", feature = "qubo"))]
    avx2::qaoa::ENTRIES,
    #[cfg(target_arch = "x86_64")]
    avx2::matmul_q8::ENTRIES,
    #[cfg(target_arch = "x86_64")]
    avx2::quantize::ENTRIES,
    #[cfg(target_arch = "x86_64")]
    avx2::quantize_act::ENTRIES,
    #[cfg(target_arch = "x86_64")]
    avx2::lanes::ENTRIES,
    #[cfg(target_arch = "x86_64")]
    avx2::lanes::BF16_ENTRIES,
    #[cfg(all(target_arch = "x86_64", feature = "train"))]
    avx2::lanes::TRAIN_ENTRIES,
    #[cfg(target_arch = "x86_64")]
    avxvnni::matmul_q8::ENTRIES,
    #[cfg(target_arch = "x86_64")]
    avx512::lanes::ENTRIES,
    #[cfg(all(target_arch = "x86_64", feature = "train"))]
    avx512::lanes::TRAIN_ENTRIES,
    #[cfg(target_arch = "x86_64")]
    avx512::matmul_q8::ENTRIES,
    #[cfg(all(target_arch = "x86_64", feature = "qubo"))]
    avx512::qubo::ENTRIES,
    #[cfg(all(target_arch = "x86_64", feature = "qubo"))]
    avx512::qaoa::ENTRIES,
    #[cfg(target_arch = "x86_64")]
    avx512bf16::lanes::BF16_ENTRIES,
    #[cfg(all(target_arch = "x86_64", feature = "train"))]
    avx512bf16::lanes::BF16_TRAIN_ENTRIES,
];

/// Every kernel there is for this architecture, also those that this CPU cannot run, lowest level first.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    LISTS.iter().flat_map(|list| list.iter())
}

/// The functions of one signature, by type.
pub(crate) type Slots<F> = [Option<F>; Type::COUNT];

/// Declares [`Kernels`]: a slot per operation and type, filled from the list by the operation's name.
macro_rules! kernels {
    ($($(#[$cfg:meta])* $op:ident: $signature:ident,)*) => {
        /// The kernels of one level: for each operation and type the function of the highest level that
        /// the cap allows.
        ///
        /// Its methods, in `calls.rs`, check the lengths of their slices and panic when these do not fit, or when there is no
        /// kernel of that type (see [`Kernels::has`]); nothing else can fail.
        #[derive(Clone)]
        pub struct Kernels {
            pub(crate) isa: Isa,
            pub(crate) products: Products,
            $($(#[$cfg])* pub(crate) $op: Slots<$signature>,)*
        }

        impl Kernels {
            /// The kernels for a CPU of level `isa`; None when this CPU does not reach it.
            pub fn new(isa: Isa) -> Option<Self> {
                if !isa.available() {
                    return None;
                }
                let mut kernels = Kernels { isa, products: Products::F32, $($(#[$cfg])* $op: [None; Type::COUNT],)* };
                for entry in entries().filter(|entry| entry.isa <= isa) {
                    let ty = entry.ty as usize;
                    match (entry.op, entry.func) {
                        $($(#[$cfg])* (stringify!($op), Func::$signature(f)) => kernels.$op[ty] = Some(f),)*
                        (op, _) => unreachable!("`{op}` is not an operation of that signature"),
                    }
                }
                Some(kernels)
            }

            /// Whether there is a kernel for that operation and type; F32 for operations without one.
            pub fn has(&self, op: &str, ty: Type) -> bool {
                match op {
                    $($(#[$cfg])* stringify!($op) => self.$op[ty as usize].is_some(),)*
                    _ => false,
                }
            }
        }
    };
}

kernels! {
    matmul_q8: MatmulQ8,
    matmul_f32: MatmulF32,
    matmul_bf16: MatmulF32,
    quantize_act: QuantizeAct,
    dequantize: Dequantize,
    quantize: Quantize,
    rmsnorm: RmsNorm,
    layernorm: LayerNorm,
    softmax: Scaled,
    silu: Unary,
    gelu: Unary,
    gelu_erf: Unary,
    relu: Unary,
    softcap: Scaled,
    silu_mul: Binary,
    gelu_mul: Binary,
    add: Binary,
    mul: Binary,
    scale: Scaled,
    axpy: Axpy,
    dot: Dot,
    rope_norm: Rope,
    rope_neox: Rope,
    attend: Attend,
    attend_merge: AttendMerge,
    #[cfg(feature = "train")]
    gemm: Gemm,
    #[cfg(feature = "train")]
    gemm_bf16: Gemm,
    #[cfg(feature = "train")]
    mse: Dot,
    #[cfg(feature = "train")]
    mse_grad: MseGrad,
    #[cfg(feature = "train")]
    cross_entropy: CrossEntropy,
    #[cfg(feature = "train")]
    sum_squares: Reduce,
    #[cfg(feature = "train")]
    clamp: Clamp,
    #[cfg(feature = "train")]
    zero: Unary,
    #[cfg(feature = "train")]
    sgd: Sgd,
    #[cfg(feature = "train")]
    adam: Adam,
    #[cfg(feature = "train")]
    adam8: Adam8,
    #[cfg(feature = "train")]
    rmsnorm_backward: RmsNormBackward,
    #[cfg(feature = "train")]
    layernorm_backward: LayerNormBackward,
    #[cfg(feature = "train")]
    softmax_backward: Axpy,
    #[cfg(feature = "train")]
    silu_backward: Binary,
    #[cfg(feature = "train")]
    gelu_backward: Binary,
    #[cfg(feature = "train")]
    gelu_erf_backward: Binary,
    #[cfg(feature = "train")]
    relu_backward: Binary,
    #[cfg(feature = "train")]
    softcap_backward: Axpy,
    #[cfg(feature = "train")]
    silu_mul_backward: GatedBackward,
    #[cfg(feature = "train")]
    gelu_mul_backward: GatedBackward,
    #[cfg(feature = "qubo")]
    next_flip: NextFlip,
    #[cfg(feature = "qubo")]
    best_flip: BestFlip,
    #[cfg(feature = "qubo")]
    add_row: AddRow,
    #[cfg(feature = "qubo")]
    rotate_near: RotateNear,
    #[cfg(feature = "qubo")]
    rotate_far: RotateFar,
    #[cfg(feature = "qubo")]
    phase: Phase,
}

/// The function of a slot, or a panic that names what is missing.
#[inline(always)]
pub(crate) fn found<F: Copy>(slots: &Slots<F>, op: &str, ty: Type) -> F {
    match slots[ty as usize] {
        Some(f) => f,
        None => panic!("there is no kernel `{op}` for {}", ty.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn every_level_resolves_and_has_the_scalar_kernels() {
        for isa in Isa::ALL {
            let Some(kernels) = Kernels::new(isa) else {
                drop(writeln!(std::io::stderr(), "SKIPPED: this CPU has no {}", isa.name()));
                continue;
            };
            for entry in entries().filter(|entry| entry.isa <= isa) {
                assert!(kernels.has(entry.op, entry.ty), "{entry}");
            }
        }
    }

    #[test]
    fn every_kernel_has_a_scalar_twin_and_stands_once_in_the_list() {
        for entry in entries() {
            let twins =
                |isa| entries().filter(|other| (other.op, other.ty, other.isa) == (entry.op, entry.ty, isa)).count();
            assert_eq!(twins(Isa::Scalar), 1, "scalar twins of {entry}");
            assert_eq!(twins(entry.isa), 1, "rows of {entry}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_had() {
        let kernels = Kernels::new(Isa::Scalar).unwrap();
        assert!(!kernels.has("rmsnorm", Type::I64));
        assert!(!kernels.has("nothing", Type::F32));
    }
}
