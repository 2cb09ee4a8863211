//! The safe way to call a kernel: a method per operation, which checks the lengths of the slices.
//!
//! Every call below is sound for the same two reasons: [`Kernels::new`] took only functions of levels that
//! the CPU has, and the lengths have just been checked.

use crate::act::{ACT_BLOCK, ActQ8, panel_bytes};
use crate::attend::AttendBlock;
#[cfg(feature = "train")]
use crate::loss::{Logits, RowLoss, Target, Weighting};
#[cfg(feature = "train")]
use crate::optim::{AdamStep, SgdStep};
use crate::table::{Kernels, found};
use crate::{Isa, Products, TileMut, Type};

/// Calls the function in the slot of an operation.
macro_rules! call {
    ($kernels:ident.$op:ident[$ty:expr]($($arg:expr),*)) => {{
        let f = found(&$kernels.$op, stringify!($op), $ty);
        // SAFETY: see the head of this file.
        unsafe { f($($arg),*) }
    }};
}

#[cfg(feature = "train")]
mod backward;
#[cfg(feature = "train")]
mod gemm;
#[cfg(feature = "qubo")]
mod qubo;

/// Bytes of a row of `k` elements; panics when that is no whole number of blocks.
#[inline(always)]
fn row_bytes(ty: Type, k: usize) -> usize {
    match ty.row_bytes(k) {
        Some(bytes) => bytes,
        None => panic!("a row of {k} elements is not whole blocks of {}", ty.name()),
    }
}

impl Kernels {
    /// The level that was asked for.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Which float products operations should ask for: f32 unless it was set otherwise.
    pub fn products(&self) -> Products {
        self.products
    }

    /// The same kernels, of which operations should ask for products of that kind.
    pub fn with_products(self, products: Products) -> Self {
        Kernels { products, ..self }
    }

    /// `y[t][r] = w[r] . x[t]` for quantised weights: `w` holds `y.cols()` rows of `x.k` elements of type `ty`,
    /// `y` has `x.rows` rows, `panel` is scratch of at least [`panel_bytes`]`(x.k)`.
    pub fn matmul_q8(&self, ty: Type, w: &[u8], x: &ActQ8, y: &mut TileMut, panel: &mut [u8]) {
        x.check();
        assert_eq!(Some(w.len()), row_bytes(ty, x.k).checked_mul(y.cols()));
        assert_eq!(y.rows(), x.rows);
        assert!(panel.len() >= panel_bytes(x.k));
        call!(self.matmul_q8[ty](w, x, y, panel))
    }

    /// `y[t][r] = w[r] . x[t]` for weights of type F32, F16 or BF16: `w` holds `y.cols()` rows and `x`
    /// `y.rows()` rows of `k` elements.
    pub fn matmul_f32(&self, ty: Type, w: &[u8], x: &[f32], k: usize, y: &mut TileMut) {
        assert_eq!(Some(w.len()), row_bytes(ty, k).checked_mul(y.cols()));
        assert_eq!(Some(x.len()), k.checked_mul(y.rows()));
        call!(self.matmul_f32[ty](w, x, k, y))
    }

    /// `y[t][r] = w[r] . x[t]` for weights of type BF16, which meet activations rounded to bf16: sizes as those of
    /// [`Kernels::matmul_f32`].
    pub fn matmul_bf16(&self, ty: Type, w: &[u8], x: &[f32], k: usize, y: &mut TileMut) {
        assert_eq!(Some(w.len()), row_bytes(ty, k).checked_mul(y.cols()));
        assert_eq!(Some(x.len()), k.checked_mul(y.rows()));
        call!(self.matmul_bf16[ty](w, x, k, y))
    }

    /// Quantises one row of activations, as [`ActQ8`] has it: `q[k]`, `d[k / 32]`, `sums[k / 16]`, where k
    /// is `x.len()`, a multiple of 32.
    pub fn quantize_act(&self, x: &[f32], q: &mut [i8], d: &mut [f32], sums: &mut [i16]) {
        assert_eq!(x.len() % ACT_BLOCK, 0, "rows of activations are whole blocks");
        assert_eq!(q.len(), x.len());
        assert_eq!(d.len(), x.len() / ACT_BLOCK);
        assert_eq!(sums.len(), x.len() / 16);
        call!(self.quantize_act[Type::F32](x, q, d, sums))
    }

    /// Stored elements to f32: `src` holds `dst.len()` elements of type `ty`, whole blocks.
    pub fn dequantize(&self, ty: Type, src: &[u8], dst: &mut [f32]) {
        assert_eq!(src.len(), row_bytes(ty, dst.len()));
        call!(self.dequantize[ty](src, dst))
    }

    /// f32 to stored elements: `dst` has room for `src.len()` elements of type `ty`, whole blocks.
    pub fn quantize(&self, ty: Type, src: &[f32], dst: &mut [u8]) {
        assert_eq!(dst.len(), row_bytes(ty, src.len()));
        call!(self.quantize[ty](src, dst))
    }

    /// `y = x / sqrt(mean(x^2) + eps) * w`; all of one length.
    pub fn rmsnorm(&self, x: &[f32], w: &[f32], eps: f32, y: &mut [f32]) {
        assert_eq!(x.len(), y.len());
        assert_eq!(w.len(), y.len());
        call!(self.rmsnorm[Type::F32](x, w, eps, y))
    }

    /// `y = (x - mean(x)) / sqrt(var(x) + eps) * w + b`; all of one length.
    pub fn layernorm(&self, x: &[f32], w: &[f32], b: Option<&[f32]>, eps: f32, y: &mut [f32]) {
        assert_eq!(x.len(), y.len());
        assert_eq!(w.len(), y.len());
        assert!(b.is_none_or(|b| b.len() == y.len()));
        call!(self.layernorm[Type::F32](x, w, b, eps, y))
    }

    /// `x = exp(scale x - max(scale x)) / sum`; of a positive `scale`.
    pub fn softmax(&self, x: &mut [f32], scale: f32) {
        call!(self.softmax[Type::F32](x, scale))
    }

    /// `x = x / (1 + exp(-x))`.
    pub fn silu(&self, x: &mut [f32]) {
        call!(self.silu[Type::F32](x))
    }

    /// GELU in its tanh form.
    pub fn gelu(&self, x: &mut [f32]) {
        call!(self.gelu[Type::F32](x))
    }

    /// GELU by the normal distribution's integral.
    pub fn gelu_erf(&self, x: &mut [f32]) {
        call!(self.gelu_erf[Type::F32](x))
    }

    /// `x = max(x, 0)`.
    pub fn relu(&self, x: &mut [f32]) {
        call!(self.relu[Type::F32](x))
    }

    /// `x = cap * tanh(x / cap)`.
    pub fn softcap(&self, x: &mut [f32], cap: f32) {
        call!(self.softcap[Type::F32](x, cap))
    }

    /// `gate = silu(gate) * up`; of one length.
    pub fn silu_mul(&self, gate: &mut [f32], up: &[f32]) {
        assert_eq!(gate.len(), up.len());
        call!(self.silu_mul[Type::F32](gate, up))
    }

    /// `gate = gelu(gate) * up`, in the tanh form; of one length.
    pub fn gelu_mul(&self, gate: &mut [f32], up: &[f32]) {
        assert_eq!(gate.len(), up.len());
        call!(self.gelu_mul[Type::F32](gate, up))
    }

    /// `y += x`; of one length.
    pub fn add(&self, y: &mut [f32], x: &[f32]) {
        assert_eq!(y.len(), x.len());
        call!(self.add[Type::F32](y, x))
    }

    /// `y *= x`, element by element; of one length.
    pub fn mul(&self, y: &mut [f32], x: &[f32]) {
        assert_eq!(y.len(), x.len());
        call!(self.mul[Type::F32](y, x))
    }

    /// `y *= a`.
    pub fn scale(&self, y: &mut [f32], a: f32) {
        call!(self.scale[Type::F32](y, a))
    }

    /// `y += a * x`; of one length.
    pub fn axpy(&self, y: &mut [f32], a: f32, x: &[f32]) {
        assert_eq!(y.len(), x.len());
        call!(self.axpy[Type::F32](y, a, x))
    }

    /// The sum of `a * b`; of one length.
    pub fn dot(&self, a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        call!(self.dot[Type::F32](a, b))
    }

    /// Rotates the neighbours `(2i, 2i + 1)` of one head by the angles given as `cos` and `sin`, one for
    /// each of the first pairs; `x` may be longer than the pairs and then keeps the rest.
    pub fn rope_norm(&self, x: &mut [f32], cos: &[f32], sin: &[f32]) {
        assert_eq!(cos.len(), sin.len());
        assert!(cos.len() <= x.len() / 2);
        call!(self.rope_norm[Type::F32](x, cos, sin))
    }

    /// As [`Kernels::rope_norm`], rotating the pairs `(i, i + cos.len())`.
    pub fn rope_neox(&self, x: &mut [f32], cos: &[f32], sin: &[f32]) {
        assert_eq!(cos.len(), sin.len());
        assert!(cos.len() <= x.len() / 2);
        call!(self.rope_neox[Type::F32](x, cos, sin))
    }

    /// Attention of a few heads over one block of keys and values of type `ty`, merged into the running
    /// state: see [`AttendBlock`], which also gives the lengths.
    pub fn attend(&self, ty: Type, block: &mut AttendBlock) {
        block.check(ty);
        call!(self.attend[ty](block))
    }

    /// Merges the state of later blocks into that of earlier ones, as [`Kernels::attend`] does with its own
    /// block: `max` and `sum` are `[heads]`, `out` is `[heads][head_dim]`. To begin each block of positions with
    /// a fresh state and merge the states in order gives the bits of one run over all blocks.
    pub fn attend_merge(
        &self,
        (max, sum, out): (&mut [f32], &mut [f32], &mut [f32]),
        (max2, sum2, out2): (&[f32], &[f32], &[f32]),
    ) {
        let heads = max.len();
        assert!(sum.len() == heads && max2.len() == heads && sum2.len() == heads);
        assert_eq!(out.len(), out2.len());
        assert!(if heads == 0 { out.is_empty() } else { out.len().is_multiple_of(heads) });
        call!(self.attend_merge[Type::F32](max, sum, out, max2, sum2, out2))
    }
}

#[cfg(feature = "train")]
impl Kernels {
    /// The sum of `(p - t)^2`; of one length.
    pub fn mse(&self, p: &[f32], t: &[f32]) -> f32 {
        assert_eq!(p.len(), t.len());
        call!(self.mse[Type::F32](p, t))
    }

    /// `g = (p - t) * scale`; all of one length.
    pub fn mse_grad(&self, p: &[f32], t: &[f32], scale: f32, g: &mut [f32]) {
        assert_eq!(p.len(), g.len());
        assert_eq!(t.len(), g.len());
        call!(self.mse_grad[Type::F32](p, t, scale, g))
    }

    /// The cross-entropy of one row of logits, of which there is at least one, and its gradient if [`Logits`] wants it. The
    /// class is one of them, a distribution has as many.
    pub fn cross_entropy(&self, logits: Logits, target: Target, weighting: &Weighting) -> RowLoss {
        let classes = logits.read().len();
        if let Logits::To(_, g) = &logits {
            assert_eq!(g.len(), classes);
        }
        match target {
            Target::Class(class) => assert!(class < classes),
            Target::Distribution(t) => assert!(classes > 0 && t.len() == classes),
        }
        call!(self.cross_entropy[Type::F32](logits, target, weighting))
    }

    /// The sum of `x^2`.
    pub fn sum_squares(&self, x: &[f32]) -> f32 {
        call!(self.sum_squares[Type::F32](x))
    }

    /// `x = 0`, for gradients: past the caches.
    pub fn zero(&self, x: &mut [f32]) {
        call!(self.zero[Type::F32](x))
    }

    /// `x = clamp(x * scale, -limit, limit)`; a NaN stays one.
    pub fn clamp(&self, x: &mut [f32], scale: f32, limit: f32) {
        call!(self.clamp[Type::F32](x, scale, limit))
    }

    /// One [`SgdStep`], and `g = 0`; of one length, but `b` is empty where there is no momentum.
    pub fn sgd(&self, w: &mut [f32], g: &mut [f32], b: &mut [f32], step: &SgdStep) {
        assert_eq!(g.len(), w.len());
        assert!(b.is_empty() || b.len() == w.len());
        call!(self.sgd[Type::F32](w, g, b, step))
    }

    /// One [`AdamStep`], and `g = 0`; of one length.
    pub fn adam(&self, w: &mut [f32], g: &mut [f32], m: &mut [f32], v: &mut [f32], step: &AdamStep) {
        assert!(g.len() == w.len() && m.len() == w.len() && v.len() == w.len());
        call!(self.adam[Type::F32](w, g, m, v, step))
    }

    /// The same with moments as codes of 8 bits (see [`crate::dynamic`]), and two scales for each block of them, also the last
    /// that is not whole: those of `m` and of `v`.
    pub fn adam8(
        &self,
        w: &mut [f32],
        g: &mut [f32],
        (m, v, scales): (&mut [u8], &mut [u8], &mut [f32]),
        step: &AdamStep,
    ) {
        assert!(g.len() == w.len() && m.len() == w.len() && v.len() == w.len());
        assert_eq!(scales.len(), 2 * w.len().div_ceil(crate::dynamic::BLOCK));
        call!(self.adam8[Type::F32](w, g, m, v, scales, step))
    }
}
