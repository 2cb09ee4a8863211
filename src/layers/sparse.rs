//! The gradient of a table by rows: of a large vocabulary a step reads few, and all others have the gradient 0.

use crate::error::{Result, fail, try_vec};
use crate::memory::{Need, Region};
use crate::ops::Exec;
use crate::ops::embedding::embedding_backward;
use std::ops::Range;

/// What such a gradient is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Rows of the table.
    pub rows: usize,
    /// Elements of a row.
    pub width: usize,
    /// Elements that it takes of a flat buffer, up to where the next tensor begins.
    pub elements: usize,
    /// Unlike rows that a step reads at most.
    pub most: usize,
    /// Rows that a pass reads at most, like ones too.
    pub tokens: usize,
}

impl Table {
    /// Bytes of the gradient: exactly what [`SparseRows::new`] reserves.
    pub fn bytes(&self) -> usize {
        let numbers = self.rows.saturating_add(self.most).saturating_add(self.tokens);
        numbers.saturating_mul(size_of::<u32>()).saturating_add(self.values().peak())
    }

    fn values(&self) -> Need {
        Need::new().take::<f32>(self.most.saturating_mul(self.width))
    }
}

/// See the module. To begin with it is 0.
pub struct SparseRows {
    table: Table,
    /// For each row of the table one more than its place, or 0.
    places: Vec<u32>,
    /// The rows that have places, in their order.
    read: Vec<u32>,
    /// The places of a pass's tokens.
    tokens: Vec<u32>,
    values: Region,
}

impl SparseRows {
    /// Reserves all memory.
    pub fn new(table: Table) -> Result<SparseRows> {
        let mut places = try_vec(table.rows, "rows of an embedding")?;
        places.resize(table.rows, 0);
        let read = try_vec(table.most, "rows of an embedding that a step reads")?;
        let tokens = try_vec(table.tokens, "tokens of a pass")?;
        Ok(SparseRows { table, places, read, tokens, values: Region::large(table.values().peak())? })
    }

    /// Elements that the whole gradient would take of a flat buffer.
    pub fn elements(&self) -> usize {
        self.table.elements
    }

    /// `dw[tokens[i]] += dy[i]`. `State` when a step reads more rows than it was to.
    pub fn add(&mut self, exec: &Exec, tokens: &[u32], dy: &[f32]) -> Result<()> {
        let Table { rows, width, most, tokens: longest, .. } = self.table;
        if tokens.len() > longest || tokens.iter().any(|&t| t as usize >= rows) {
            fail!(Shape, "{} tokens for {longest} of a table of {rows}", tokens.len());
        }
        let values: &mut [f32] = bytemuck::cast_slice_mut(self.values.bytes_mut());
        self.tokens.clear();
        for &token in tokens {
            let place = &mut self.places[token as usize];
            if *place == 0 {
                if self.read.len() == most {
                    fail!(
                        State,
                        "a step reads more than {most} rows of the embedding: make the trainer for more passes"
                    );
                }
                values[self.read.len() * width..][..width].fill(0.0);
                self.read.push(token);
                *place = self.read.len() as u32;
            }
            self.tokens.push(*place - 1);
        }
        embedding_backward(exec, &self.tokens, dy, width, &mut values[..most * width])
    }

    /// Some elements of the whole gradient.
    pub fn dense(&self, elements: Range<usize>, out: &mut [f32]) {
        let (width, values) = (self.table.width, bytemuck::cast_slice::<u8, f32>(self.values.bytes()));
        let mut at = elements.start;
        while at < elements.end {
            let (row, from) = (at / width, at % width);
            let len = (width - from).min(elements.end - at);
            let out = &mut out[at - elements.start..][..len];
            match self.places[row] as usize {
                0 => out.fill(0.0),
                place => out.copy_from_slice(&values[(place - 1) * width + from..][..len]),
            }
            at += len;
        }
    }

    /// Makes all of it 0.
    pub fn clear(&mut self) {
        self.read.iter().for_each(|&row| self.places[row as usize] = 0);
        self.read.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_of_the_whole_can_be_had() {
        let table = Table { rows: 7, width: 5, elements: 35, most: 3, tokens: 4 };
        let mut sparse = SparseRows::new(table).unwrap();
        let mut whole = vec![0.0; 35];
        for row in [4, 1, 6] {
            sparse.read.push(row);
            sparse.places[row as usize] = sparse.read.len() as u32;
            let at = (sparse.read.len() - 1) * 5;
            for i in 0..5 {
                let x = row as f32 + i as f32 / 10.0;
                bytemuck::cast_slice_mut::<u8, f32>(sparse.values.bytes_mut())[at + i] = x;
                whole[row as usize * 5 + i] = x;
            }
        }
        for from in 0..35 {
            for to in from..=35 {
                let mut part = vec![f32::NAN; to - from];
                sparse.dense(from..to, &mut part);
                assert_eq!(part, whole[from..to]);
            }
        }
        sparse.clear();
        sparse.dense(0..35, &mut whole);
        assert_eq!(whole, [0.0; 35]);
    }
}
