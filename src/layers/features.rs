//! Features of a table's rows: numbers as they are, and for each category a row of an embedding (Guo and Berkhahn,
//! arXiv 1604.06737).

#[cfg(feature = "train")]
use super::grads::Grads;
#[cfg(feature = "train")]
use super::train::Pass;
#[cfg(feature = "train")]
use super::trained::Param;
use super::{Run, Weight};
use crate::error::{Result, fail};

/// `[numbers | an index for each table]` to `[numbers | a row of each table]`. Indices are whole numbers, held as f32.
#[derive(Clone, Debug)]
pub struct Features {
    /// Elements that pass as they are.
    pub numbers: usize,
    /// `[categories][width]` each, stored in any type.
    pub tables: Vec<Weight>,
}

impl Features {
    /// Width of the rows that go in.
    pub fn in_width(&self) -> usize {
        self.numbers + self.tables.len()
    }

    /// Width of the rows that come out.
    pub fn out_width(&self) -> usize {
        self.tables.iter().fold(self.numbers, |width, table| width.saturating_add(table.cols))
    }

    /// `y[i] = [numbers of x[i] | table[index] ...]`. Errors: `InvalidArgument` for an index that its table does not have.
    pub fn forward(&self, run: &Run, x: &[f32], y: &mut [f32]) -> Result<()> {
        let (w_in, w_out) = (self.in_width().max(1), self.out_width().max(1));
        if x.len() / w_in * w_out != y.len() {
            fail!(Shape, "{} elements in rows of {w_in} for {} in rows of {w_out}", x.len(), y.len());
        }
        for (x, y) in x.chunks_exact(w_in).zip(y.chunks_exact_mut(w_out)) {
            y[..self.numbers].copy_from_slice(&x[..self.numbers]);
        }
        let mut from = self.numbers;
        for (column, table) in self.tables.iter().enumerate() {
            let matrix = run.params.matrix(table)?;
            let row_bytes = matrix.bytes.len() / table.rows.max(1);
            for (row, (x, y)) in x.chunks_exact(w_in).zip(y.chunks_exact_mut(w_out)).enumerate() {
                let index = x[self.numbers + column];
                // NaN is no index either.
                if !(index >= 0.0 && index < table.rows as f32 && index.fract() == 0.0) {
                    let rows = table.rows;
                    fail!(InvalidArgument, "row {row}, category {column}: {index} is no whole number below {rows}");
                }
                let bytes = &matrix.bytes[index as usize * row_bytes..][..row_bytes];
                run.exec.kernels.dequantize(matrix.ty, bytes, &mut y[from..from + table.cols]);
            }
            from += table.cols;
        }
        Ok(())
    }
}

#[cfg(feature = "train")]
impl Features {
    /// Calls `f` with each parameter.
    pub fn params(&self, f: &mut dyn FnMut(Param)) {
        self.tables.iter().for_each(|table| f(Param::Matrix(*table)));
    }

    /// The gradients of the tables: `dtable[index] += dy[i]`, row after row. Numbers send theirs on; indices have none, 0.
    pub fn backward(
        &self,
        pass: &Pass,
        x: &[f32],
        dy: &[f32],
        dx: Option<&mut [f32]>,
        grads: &mut Grads,
    ) -> Result<()> {
        let (w_in, w_out) = (self.in_width(), self.out_width());
        if let Some(dx) = dx {
            for (dx, dy) in dx.chunks_exact_mut(w_in).zip(dy.chunks_exact(w_out)) {
                let (numbers, indices) = dx.split_at_mut(self.numbers);
                numbers.copy_from_slice(&dy[..self.numbers]);
                indices.fill(0.0);
            }
        }
        let mut from = self.numbers;
        for (column, table) in self.tables.iter().enumerate() {
            if let Some(dw) = grads.matrix(table) {
                for (x, dy) in x.chunks_exact(w_in).zip(dy.chunks_exact(w_out)) {
                    // The forward pass saw to it that the table has it.
                    let row = x[self.numbers + column] as usize * table.cols;
                    pass.run.exec.kernels.add(&mut dw[row..row + table.cols], &dy[from..from + table.cols]);
                }
            }
            from += table.cols;
        }
        Ok(())
    }
}
