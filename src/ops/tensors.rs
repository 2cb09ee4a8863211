//! The operations on tensors of a host: any dimensions, rows that lie where their strides say.
//!
//! Activations are F32. An operation may write the tensor it reads, row over row, where that is said.

use super::attend::{self, AttendParams, CacheShape, Place};
use super::matmul::{Input, Matrix, Product, matmul as product};
use super::rope::{RopeStyle, rope as turn};
use super::{Exec, activation::Activation};
use crate::error::{Result, fail};
use crate::memory::{Frame, Need, align_up};
use crate::tensor::{View, ViewMut, convert};
use qorus_kernels::{Type, panel_bytes};

/// Calls `f` for each row, split over the threads when that is worth a fork.
fn each_row(exec: &Exec, rows: usize, width: usize, f: impl Fn(usize) + Sync) -> Result<()> {
    const WORTH: usize = 16 * 1024;
    if rows.saturating_mul(width) < WORTH || exec.pool.is_empty() {
        (0..rows).for_each(f);
        return Ok(());
    }
    exec.pool.split(rows, 1, |part| part.for_each(&f))
}

/// `Shape` unless the rows are dense and F32.
fn f32_rows(x: &View, name: &str) -> Result<()> {
    x.is(Type::F32, name)?;
    if !x.rows_are_dense() {
        fail!(Shape, "{name}: the elements of a row do not lie one after another: convert it to a dense tensor first");
    }
    Ok(())
}

/// # Safety
/// [`f32_rows`] passed, and nobody writes the row meanwhile.
unsafe fn row<'a>(x: &View<'a>, row: usize) -> &'a [f32] {
    // SAFETY: elements of a view, aligned, one after another.
    unsafe { std::slice::from_raw_parts(x.row(row).cast::<f32>(), x.width()) }
}

/// # Safety
/// [`f32_rows`] passed, and nobody else uses the row meanwhile.
unsafe fn row_mut<'a>(y: &ViewMut<'a>, row: usize) -> &'a mut [f32] {
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts_mut(y.row(row).cast::<f32>(), y.view().width()) }
}

/// dst = src in dst's type; strides may be any.
pub fn convert(exec: &Exec, src: &View, dst: &ViewMut) -> Result<()> {
    convert::check(exec.kernels, src, dst)?;
    // SAFETY: checked, and each row is converted once.
    each_row(exec, src.rows(), src.width(), |i| unsafe { convert::row(exec.kernels, src, dst, i) })
}

/// An operation on each row alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// An activation function.
    Activation(Activation),
    /// exp(x - max) / sum
    Softmax,
    /// factor * x
    Scale(f32),
    /// cap * tanh(x / cap)
    Softcap(f32),
}

/// y = op(x); y may be x.
pub fn unary(exec: &Exec, op: Unary, x: &View, y: &ViewMut) -> Result<()> {
    f32_rows(x, "x")?;
    f32_rows(y.view(), "y")?;
    x.same_dims(y.view(), "x and y")?;
    y.same_or_apart(x, "x and y")?;
    let k = exec.kernels;
    each_row(exec, x.rows(), x.width(), |i| {
        // SAFETY: row i of y is this thread's alone; what of x may be written meanwhile is row i itself.
        let y = unsafe {
            std::ptr::copy(x.row(i), y.row(i), x.row_bytes());
            row_mut(y, i)
        };
        match op {
            Unary::Activation(Activation::Relu) => k.relu(y),
            Unary::Activation(Activation::Silu) => k.silu(y),
            Unary::Activation(Activation::Gelu) => k.gelu(y),
            Unary::Activation(Activation::GeluErf) => k.gelu_erf(y),
            Unary::Softmax if y.is_empty() => {}
            Unary::Softmax => k.softmax(y, 1.0),
            Unary::Scale(factor) => k.scale(y, factor),
            Unary::Softcap(cap) => k.softcap(y, cap),
        }
    })
}

/// An operation on two tensors, element by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// a + b
    Add,
    /// a * b
    Mul,
    /// silu(a) * b
    SiluMul,
    /// gelu(a) * b, the tanh form
    GeluMul,
}

/// y = op(a, b); y may be a, and for sums and products b. `b` may be one row that serves all rows.
pub fn binary(exec: &Exec, op: Binary, a: &View, b: &View, y: &ViewMut) -> Result<()> {
    f32_rows(a, "a")?;
    f32_rows(b, "b")?;
    f32_rows(y.view(), "y")?;
    a.same_dims(y.view(), "a and y")?;
    let broadcast = b.dims().len() == 1 && b.dims() != a.dims();
    if b.width() != a.width() || !broadcast && b.dims() != a.dims() {
        fail!(Shape, "a and b have different dimensions: {:?} and {:?}", a.dims(), b.dims());
    }
    // The first operand is copied to y before the second is read, so that must not be y.
    let commutes = matches!(op, Binary::Add | Binary::Mul) && !broadcast;
    let (a, b) = if commutes && y.same_row(b) { (b, a) } else { (a, b) };
    y.same_or_apart(a, "a and y")?;
    if broadcast {
        y.apart(b, "b and y")?
    } else {
        y.rows_apart(b, "b and y")?
    };
    let k = exec.kernels;
    each_row(exec, a.rows(), a.width(), |i| {
        // SAFETY: row i of y is this thread's alone; a's may be the same one, b's is apart.
        let (y, b) = unsafe {
            std::ptr::copy(a.row(i), y.row(i), a.row_bytes());
            (row_mut(y, i), row(b, if broadcast { 0 } else { i }))
        };
        match op {
            Binary::Add => k.add(y, b),
            Binary::Mul => k.mul(y, b),
            Binary::SiluMul => k.silu_mul(y, b),
            Binary::GeluMul => k.gelu_mul(y, b),
        }
    })
}

/// y += a * x
pub fn axpy(exec: &Exec, a: f32, x: &View, y: &ViewMut) -> Result<()> {
    f32_rows(x, "x")?;
    f32_rows(y.view(), "y")?;
    x.same_dims(y.view(), "x and y")?;
    y.rows_apart(x, "x and y")?;
    each_row(exec, x.rows(), x.width(), |i| {
        // SAFETY: row i of y is this thread's alone, and apart from x's.
        let (x, y) = unsafe { (row(x, i), row_mut(y, i)) };
        exec.kernels.axpy(y, a, x);
    })
}

/// The sum of a * b over all elements: rows as the kernel adds them, their sums in order, in f64.
pub fn dot(exec: &Exec, a: &View, b: &View) -> Result<f32> {
    f32_rows(a, "a")?;
    f32_rows(b, "b")?;
    a.same_dims(b, "a and b")?;
    // SAFETY: nobody writes them, by the word of who made the views.
    let of_row = |i| f64::from(exec.kernels.dot(unsafe { row(a, i) }, unsafe { row(b, i) }));
    Ok((0..a.rows()).map(of_row).sum::<f64>() as f32)
}

fn vector<'a>(v: &View<'a>, width: usize, name: &str) -> Result<&'a [f32]> {
    if v.dims() != [width as u64] {
        fail!(Shape, "{name} has the dimensions {:?}, expected [{width}]", v.dims());
    }
    v.f32s(name)
}

/// y = x / sqrt(mean(x^2) + eps) * weight, each row alone; y is not x.
pub fn rmsnorm(exec: &Exec, x: &View, weight: &View, eps: f32, y: &ViewMut) -> Result<()> {
    let weight = normed(x, weight, y)?;
    each_row(exec, x.rows(), x.width(), |i| {
        // SAFETY: row i of y is this thread's alone, and apart from x's.
        let (x, y) = unsafe { (row(x, i), row_mut(y, i)) };
        exec.kernels.rmsnorm(x, weight, eps, y);
    })
}

/// y = (x - mean) / sqrt(variance + eps) * weight + bias, each row alone; y is not x.
pub fn layernorm(exec: &Exec, x: &View, weight: &View, bias: Option<&View>, eps: f32, y: &ViewMut) -> Result<()> {
    let weight = normed(x, weight, y)?;
    if let Some(bias) = bias {
        y.apart(bias, "bias and y")?;
    }
    let bias = bias.map(|bias| vector(bias, x.width(), "bias")).transpose()?;
    each_row(exec, x.rows(), x.width(), |i| {
        // SAFETY: row i of y is this thread's alone, and apart from x's.
        let (x, y) = unsafe { (row(x, i), row_mut(y, i)) };
        exec.kernels.layernorm(x, weight, bias, eps, y);
    })
}

fn normed<'a>(x: &View, weight: &View<'a>, y: &ViewMut) -> Result<&'a [f32]> {
    f32_rows(x, "x")?;
    f32_rows(y.view(), "y")?;
    x.same_dims(y.view(), "x and y")?;
    y.rows_apart(x, "x and y")?;
    y.apart(weight, "weight and y")?;
    if x.width() == 0 {
        fail!(Shape, "rows without elements have no norm");
    }
    vector(weight, x.width(), "weight")
}

/// Bytes of scratch for each thread and of work for [`matmul`] of rows `[rows][cols]`.
pub fn matmul_need(threads: usize, w: &View, rows: usize) -> (usize, Need) {
    let scratch = align_up(panel_bytes(w.width())).unwrap_or(usize::MAX);
    let need = Need::new().take::<u8>(scratch.saturating_mul(threads));
    (scratch, need.sub(Input::need(Need::new(), rows, w.width(), w.ty().is_quantized())))
}

/// y = x w^T (+ bias): rows `[..][in]` of dense x, weights `[out][in]` of any type that products have, rows `[..][out]` of
/// dense y. Quantized weights meet x rounded to 8 bits.
pub fn matmul<'a>(
    exec: &Exec,
    frame: &mut Frame<'a>,
    x: &View<'a>,
    w: &View,
    bias: Option<&View>,
    y: &mut ViewMut,
) -> Result<()> {
    let [out, cols] = *w.dims() else { fail!(Shape, "w has the dimensions {:?}, expected [out][in]", w.dims()) };
    let (out, cols) = (out as usize, cols as usize);
    let op = if w.ty().is_quantized() { "matmul_q8" } else { "matmul_f32" };
    if !exec.kernels.has(op, w.ty()) {
        fail!(Unsupported, "w is stored as {}, for which there is no product", w.ty().name());
    }
    if x.width() != cols || y.view().width() != out || x.rows() != y.view().rows() || out == 0 || cols == 0 {
        let y = y.view();
        fail!(Shape, "x {:?} times w {:?} transposed does not make y {:?}", x.dims(), w.dims(), y.dims());
    }
    for (view, names) in [(x, "x and y"), (w, "w and y")].into_iter().chain(bias.map(|b| (b, "bias and y"))) {
        y.apart(view, names)?;
    }
    let bias = bias.map(|bias| vector(bias, out, "bias")).transpose()?;
    let w = Matrix { ty: w.ty(), rows: out, cols, bytes: w.bytes("w")?, exact: false };
    // SAFETY: nothing else that is read here shares its memory.
    let y = unsafe { y.f32s("y") }?;
    let x = Input::new(exec, frame, x.f32s("x")?, cols, w.ty.is_quantized())?;
    product(exec, &x, [Product { w, bias, y }])
}

/// Turns the heads of dense x `[..][heads][head_dim]` by the angles of their rows, cosines and sines `[..][half]`, into
/// dense y, which may be x.
pub fn rope(exec: &Exec, style: RopeStyle, x: &View, cos: &View, sin: &View, y: &mut ViewMut) -> Result<()> {
    x.same_dims(y.view(), "x and y")?;
    cos.same_dims(sin, "cos and sin")?;
    let n = x.dims().len();
    if n < 2 || x.width() == 0 || cos.width() == 0 || cos.width() > x.width() / 2 {
        fail!(Shape, "heads {:?} are turned by angles {:?}: give [rows][heads][head_dim]", x.dims(), cos.dims());
    }
    let heads = x.dims()[n - 2] as usize;
    if cos.rows().checked_mul(heads) != Some(x.rows()) {
        fail!(Shape, "{} rows of angles for {} heads, {heads} in a row", cos.rows(), x.rows());
    }
    y.same_or_apart(x, "x and y")?;
    y.apart(cos, "cos and y")?;
    y.apart(sin, "sin and y")?;
    let from = x.f32s("x")?.as_ptr();
    // SAFETY: apart from the angles; x is only copied, before.
    let y = unsafe {
        let y = y.f32s("y")?;
        std::ptr::copy(from, y.as_mut_ptr(), y.len());
        y
    };
    turn(exec, style, y, x.width(), cos.f32s("cos")?, sin.f32s("sin")?, cos.width())
}

/// Heads, types and lengths of [`attention`], checked.
pub struct Attention {
    shape: CacheShape,
    params: AttendParams,
    first: u32,
    rows: usize,
}

impl Attention {
    /// For queries `[rows][n_head][head_dim]` from position `first` on over keys and values `[n_kv][len][head_dim]` of
    /// the types a cache may have. `params.n_head` is taken from `q`.
    pub fn new(q: &View, k: &View, v: &View, first: u32, mut params: AttendParams) -> Result<Attention> {
        k.same_dims(v, "k and v")?;
        v.is(k.ty(), "v")?;
        let (&[rows, n_head, head_dim], &[n_kv, len, width]) = (q.dims(), k.dims()) else {
            fail!(
                Shape,
                "q {:?} and k {:?}: give [rows][n_head][head_dim] and [n_kv][len][head_dim]",
                q.dims(),
                k.dims()
            )
        };
        params.n_head = n_head as usize;
        let shape =
            CacheShape { ty: k.ty(), seqs: 1, ctx: len as usize, n_kv: n_kv as usize, head_dim: head_dim as usize };
        if width != head_dim || head_dim == 0 || !shape.serves(params.n_head) {
            fail!(Shape, "{n_head} heads of {head_dim} elements over {n_kv} of {width}");
        }
        let end = u64::from(first).checked_add(rows);
        if end.is_none_or(|end| end > len || end > u64::from(u32::MAX)) {
            fail!(Shape, "{rows} rows from position {first} on need as many keys; there are {len}");
        }
        Ok(Attention { shape, params, first, rows: rows as usize })
    }

    /// Bytes of scratch for each thread, and of work.
    pub fn need(&self, threads: usize) -> (usize, Need) {
        let scratch = align_up(attend::scratch(self.params.n_head, &self.shape)).unwrap_or(usize::MAX);
        let cache = self.shape.bytes().unwrap_or(usize::MAX);
        let need = Need::new().take::<u8>(scratch.saturating_mul(threads)).take::<Place>(self.rows);
        (scratch, need.take::<u8>(cache).take::<u8>(cache))
    }
}

/// y = softmax(scale q k^T) v, each row seeing the positions up to its own; y is dense, as q.
pub fn attention(
    exec: &Exec,
    frame: &mut Frame,
    a: &Attention,
    q: &View,
    k: &View,
    v: &View,
    y: &mut ViewMut,
) -> Result<()> {
    if !exec.kernels.has("attend", k.ty()) {
        fail!(Unsupported, "k is stored as {}, over which there is no attention", k.ty().name());
    }
    q.same_dims(y.view(), "q and y")?;
    for (view, names) in [(q, "q and y"), (k, "k and y"), (v, "v and y")] {
        y.apart(view, names)?;
    }
    let places = frame.take::<Place>(a.rows)?;
    places.iter_mut().zip(a.first..).for_each(|(place, pos)| *place = Place { seq: 0, pos });
    let (q, k, v) = (q.f32s("q")?, k.bytes("k")?, v.bytes("v")?);
    if q.is_empty() {
        return Ok(());
    }
    // SAFETY: nothing else that is read here shares its memory.
    let y = unsafe { y.f32s("y") }?;
    let cache = a.shape.bytes().unwrap_or(usize::MAX);
    let (keys, values) = (frame.take::<u8>(cache)?, frame.take::<u8>(cache)?);
    attend::load(&a.shape, (k, v), (&mut *keys, &mut *values));
    attend::attend(exec, &a.params, &a.shape, q, places, (keys, values), y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;
    use crate::memory::with_bytes;
    use crate::tensor::Tensor;
    use crate::threads::{Pool, Shards};
    use qorus_kernels::{Isa, Kernels};
    use std::sync::atomic::AtomicBool;

    fn run<R>(scratch: &mut [u8], each: usize, f: impl FnOnce(&Exec) -> R) -> R {
        let (kernels, pool) = (Kernels::new(Isa::Scalar).unwrap(), Pool::new(2).unwrap());
        let (scratch, cancel) = (Shards::new(scratch), AtomicBool::new(false));
        f(&Exec { kernels: &kernels, pool: &pool, scratch: &scratch, scratch_bytes: each, cancel: &cancel })
    }

    fn tensor(x: &mut [f32], dims: &[u64]) -> Tensor {
        assert_eq!(dims.iter().product::<u64>(), x.len() as u64);
        Tensor::dense(Type::F32, dims, x.as_mut_ptr().cast()).unwrap()
    }

    // SAFETY (of all views below): they lie in vectors of the test, which nothing else uses meanwhile.
    fn view(t: &Tensor) -> View<'static> {
        // SAFETY: as above.
        unsafe { t.view("t") }.unwrap()
    }

    fn view_mut(t: &Tensor) -> ViewMut<'static> {
        // SAFETY: as above.
        unsafe { t.view_mut("t") }.unwrap()
    }

    fn numbers(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 29 + 7) % 61) as f32 / 20.0 - 1.5).collect()
    }

    #[test]
    fn fused_halves_are_gated_where_they_lie() {
        let (mut fused, k) = (numbers(7 * 20), Kernels::new(Isa::Scalar).unwrap());
        let (mut expected, original) = (fused.clone(), fused.clone());
        for (row, original) in expected.chunks_mut(20).zip(original.chunks(20)) {
            k.silu_mul(&mut row[..10], &original[10..]);
        }
        let t = tensor(&mut fused, &[7, 20]);
        let (gate, up) = (t.slice(1, 0, 10).unwrap(), t.slice(1, 10, 10).unwrap());
        run(&mut [], 0, |e| binary(e, Binary::SiluMul, &view(&gate), &view(&up), &view_mut(&gate))).unwrap();
        assert_eq!(fused, expected);
        let bad = run(&mut [], 0, |e| binary(e, Binary::SiluMul, &view(&gate), &view(&up), &view_mut(&up)));
        assert_eq!(bad.unwrap_err().code(), Code::InvalidArgument);
    }

    #[test]
    fn sums_take_either_operand_as_their_place() {
        let (mut a, mut b) = (numbers(12), vec![1.0; 12]);
        let (ta, tb) = (tensor(&mut a, &[3, 4]), tensor(&mut b, &[3, 4]));
        run(&mut [], 0, |e| binary(e, Binary::Add, &view(&ta), &view(&tb), &view_mut(&tb))).unwrap();
        assert_eq!(b, numbers(12).iter().map(|x| x + 1.0).collect::<Vec<_>>());
        let mut one = vec![10.0, 20.0, 30.0, 40.0];
        let row = tensor(&mut one, &[4]);
        run(&mut [], 0, |e| binary(e, Binary::Mul, &view(&ta), &view(&row), &view_mut(&ta))).unwrap();
        assert_eq!(a, numbers(12).iter().enumerate().map(|(i, x)| x * one[i % 4]).collect::<Vec<_>>());
        let itself = run(&mut [], 0, |e| binary(e, Binary::Add, &view(&ta), &view(&ta), &view_mut(&ta)));
        assert_eq!(itself.unwrap_err().code(), Code::InvalidArgument);
    }

    #[test]
    fn many_rows_on_two_threads_are_those_of_one() {
        let mut x = numbers(300 * 100);
        let mut expected = x.clone();
        let k = Kernels::new(Isa::Scalar).unwrap();
        expected.chunks_mut(100).for_each(|row| k.softmax(row, 1.0));
        let t = tensor(&mut x, &[3, 100, 100]);
        run(&mut [], 0, |e| unary(e, Unary::Softmax, &view(&t), &view_mut(&t))).unwrap();
        assert_eq!(x, expected);
    }

    #[test]
    fn products_need_the_work_they_say() {
        let (mut x, w, mut y) = (numbers(5 * 64), numbers(33 * 64), vec![0.0; 5 * 33]);
        let k = Kernels::new(Isa::Scalar).unwrap();
        let mut stored = vec![0u8; 33 * Type::Q8_0.row_bytes(64).unwrap()];
        k.quantize(Type::Q8_0, &w, &mut stored);
        let tw = Tensor::dense(Type::Q8_0, &[33, 64], stored.as_mut_ptr().cast()).unwrap();
        let (tx, ty) = (tensor(&mut x, &[5, 64]), tensor(&mut y, &[5, 33]));
        let (each, need) = matmul_need(2, &view(&tw), 5);
        let mut work = vec![0u8; need.peak() + 63];
        with_bytes(&mut work, |frame| {
            let scratch = frame.take::<u8>(2 * each).unwrap();
            run(scratch, each, |e| matmul(e, frame, &view(&tx), &view(&tw), None, &mut view_mut(&ty)))
        })
        .unwrap();
        for (i, y) in y.iter().enumerate() {
            let (row, out) = (&x[i / 33 * 64..][..64], &w[i % 33 * 64..][..64]);
            let exact: f32 = row.iter().zip(out).map(|(a, b)| a * b).sum();
            assert!((y - exact).abs() < 0.5, "{i}: {y} for {exact}");
        }
        assert!(y.iter().any(|y| y.abs() > 1.0));
        let bad = run(&mut [], 0, |e| {
            with_bytes(&mut [], |f| matmul(e, f, &view(&ty), &view(&tw), None, &mut view_mut(&tx)))
        });
        assert_eq!(bad.unwrap_err().code(), Code::Shape);
    }

    #[test]
    fn attention_weighs_what_lies_before() {
        // One head of two elements: with equal keys a row is the mean of the values it sees.
        let (mut q, mut k, mut v, mut y) = (numbers(6), vec![1.0; 10], numbers(10), vec![0.0; 6]);
        let (tq, ty) = (tensor(&mut q, &[3, 1, 2]), tensor(&mut y, &[3, 1, 2]));
        let (tk, tv) = (tensor(&mut k, &[1, 5, 2]), tensor(&mut v, &[1, 5, 2]));
        let params = AttendParams { n_head: 0, scale: 1.0, softcap: 0.0, window: 2 };
        let job = |first| Attention::new(&view(&tq), &view(&tk), &view(&tv), first, params);
        assert_eq!(job(3).map(drop).unwrap_err().code(), Code::Shape);
        let job = job(2).unwrap();
        let (each, need) = job.need(2);
        let mut work = vec![0u8; need.peak() + 63];
        with_bytes(&mut work, |frame| {
            let scratch = frame.take::<u8>(2 * each).unwrap();
            run(scratch, each, |e| attention(e, frame, &job, &view(&tq), &view(&tk), &view(&tv), &mut view_mut(&ty)))
        })
        .unwrap();
        for i in 0..6 {
            let pos = 2 + i / 2;
            let mean = (v[pos * 2 + i % 2] + v[(pos - 1) * 2 + i % 2]) / 2.0;
            assert!((y[i] - mean).abs() < 1e-6, "{y:?}");
        }
    }
}
