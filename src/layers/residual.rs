//! A residual branch: y = x + f(x).

use super::{Layer, Run, sequence};
use crate::error::Result;
use crate::memory::Frame;
use crate::ops::elementwise;

/// Layers whose result is added to their input. They keep its width.
#[derive(Debug)]
pub struct Residual {
    /// f, one layer after another.
    pub body: Vec<Layer>,
}

impl Residual {
    /// y = x + f(x), rows of `width`.
    pub fn forward(&self, run: &mut Run, frame: &mut Frame<'_>, x: &[f32], width: usize, y: &mut [f32]) -> Result<()> {
        let rows = x.len() / width.max(1);
        sequence(&self.body, run, frame, x, width, rows, y)?;
        elementwise::add(&run.exec, y, x, width)
    }
}
