//! Matrix products of activations with weights as they are stored.
//!
//! Weights are `[out][in]`, activations `[rows][in]`, results `[rows][out]`. Quantized weights meet
//! activations that are rounded to 8 bits once, whatever number of products reads them.

use super::{Exec, by_rows};
use crate::error::{Result, fail};
use crate::memory::{Frame, Need};
use crate::threads::{self, Shards};
use qorus_kernels::{ActQ8, Products, TileMut, Type};

/// Weight rows that one thread takes at a time: a multiple of every kernel's panel.
const UNIT: usize = 16;

/// The most products of one call: query, key and value.
pub const MAX_PRODUCTS: usize = 4;

/// A weight matrix as it is stored: `rows` outputs of `cols` inputs.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    /// Storage type.
    pub ty: Type,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// `rows` rows of `ty.row_bytes(cols)` bytes.
    pub bytes: &'a [u8],
    /// As [`Weight::exactly`](crate::layers::Weight::exactly).
    pub exact: bool,
}

impl Matrix<'_> {
    /// How the factors of its products are rounded.
    pub(super) fn products(&self, exec: &Exec) -> Products {
        if self.exact { Products::F32 } else { exec.kernels.products() }
    }
}

/// One product: y = x w^T (+ bias).
pub struct Product<'a> {
    /// The weights.
    pub w: Matrix<'a>,
    /// Added to every row: `w.rows` elements.
    pub bias: Option<&'a [f32]>,
    /// `[rows][w.rows]`.
    pub y: &'a mut [f32],
}

/// Activations, with their 8-bit form where a quantized matrix will read them.
pub struct Input<'a> {
    x: &'a [f32],
    q8: Option<ActQ8<'a>>,
    rows: usize,
    cols: usize,
}

impl<'a> Input<'a> {
    /// Bytes that [`Input::new`] takes.
    pub fn need(need: Need, rows: usize, cols: usize, quantized: bool) -> Need {
        if !quantized {
            return need;
        }
        let n = rows.saturating_mul(cols);
        need.take::<i8>(n).take::<f32>(n / 32).take::<i16>(n / 16)
    }

    /// Prepares `x`, `[rows][cols]`. `quantized`: some product's weights are.
    pub fn new(exec: &Exec, frame: &mut Frame<'a>, x: &'a [f32], cols: usize, quantized: bool) -> Result<Input<'a>> {
        let rows = x.len() / cols.max(1);
        if !quantized {
            return Ok(Input { x, q8: None, rows, cols });
        }
        let q = frame.take::<i8>(rows * cols)?;
        let d = frame.take::<f32>(rows * cols / 32)?;
        let sums = frame.take::<i16>(rows * cols / 16)?;
        {
            let (q, sums) = (Shards::new(q), Shards::new(sums));
            by_rows(exec, x, d, rows, |row, x, d| {
                // SAFETY: each row belongs to one thread.
                let (q, sums) = unsafe {
                    (q.part(row * cols..(row + 1) * cols), sums.part(row * cols / 16..(row + 1) * cols / 16))
                };
                exec.kernels.quantize_act(x, q, d, sums);
            })?;
        }
        Ok(Input { x, q8: Some(ActQ8 { q, d, sums, rows, k: cols }), rows, cols })
    }
}

/// Computes all `products` of one input in a single fork: the threads share their weight rows evenly.
pub fn matmul<const N: usize>(exec: &Exec, input: &Input, products: [Product<'_>; N]) -> Result<()> {
    const { assert!(N <= MAX_PRODUCTS) };
    let units = |rows: usize| rows.div_ceil(UNIT);
    let mut total = 0;
    for p in &products {
        let stored = p.w.ty.row_bytes(p.w.cols).and_then(|b| b.checked_mul(p.w.rows));
        if p.w.cols != input.cols
            || stored != Some(p.w.bytes.len())
            || p.y.len() != input.rows * p.w.rows
            || p.bias.is_some_and(|b| b.len() != p.w.rows)
            || (p.w.ty.is_quantized() && input.q8.is_none())
        {
            fail!(Shape, "a product of [{}][{}] with weights [{}][{}]", input.rows, input.cols, p.w.rows, p.w.cols);
        }
        total += units(p.w.rows);
    }
    let parts = products.map(|p| (p.w, p.bias, TileMut::new(p.y, input.rows, p.w.rows)));
    exec.pool.run(&|thread| {
        // SAFETY: this is part `thread` of the job, and it asks once.
        let panel = unsafe { exec.scratch_of(thread) };
        let mine = threads::part(total, 1, thread, exec.pool.len());
        let mut first = 0;
        for (w, bias, y) in &parts {
            let here = units(w.rows);
            let from = mine.start.clamp(first, first + here) - first;
            let to = mine.end.clamp(first, first + here) - first;
            first += here;
            let range = from * UNIT..(to * UNIT).min(w.rows);
            if range.is_empty() {
                continue;
            }
            let row_bytes = w.bytes.len() / w.rows;
            let bytes = &w.bytes[range.start * row_bytes..range.end * row_bytes];
            // SAFETY: the threads' ranges of weight rows, hence of columns of y, are disjoint.
            let mut y = unsafe { y.cols_shared(range.clone()) };
            match &input.q8 {
                Some(q8) if w.ty.is_quantized() => exec.kernels.matmul_q8(w.ty, bytes, q8, &mut y, panel),
                _ if w.ty == Type::BF16 && w.products(exec) == Products::Bf16 => {
                    exec.kernels.matmul_bf16(w.ty, bytes, input.x, w.cols, &mut y);
                }
                _ => exec.kernels.matmul_f32(w.ty, bytes, input.x, w.cols, &mut y),
            }
            if let Some(bias) = bias {
                for row in 0..input.rows {
                    exec.kernels.add(y.row_mut(row), &bias[range.clone()]);
                }
            }
        }
    })
}
