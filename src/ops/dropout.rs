//! Dropout: which elements go is a function of seed, pass, layer and place alone, so the backward pass, a recomputation and a run that
//! is resumed drop the same ones (Srivastava et al., JMLR 15, 2014).

use super::{Exec, by_rows};
use crate::error::Result;
use crate::rng::philox;

/// Where the random numbers of a pass come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noise {
    /// Of the whole run.
    pub seed: u64,
    /// The number of the pass, below 2^48: forward and backward share it.
    pub pass: u64,
}

/// y = x / (1 - rate) where an element is kept, else 0; rows of `width`. Its own gradient is the same function of `dy`. `stream`
/// tells layers apart.
pub fn dropout(
    exec: &Exec,
    noise: Noise,
    stream: u16,
    rate: f32,
    x: &[f32],
    width: usize,
    y: &mut [f32],
) -> Result<()> {
    let stream = u64::from(stream) << 48 | noise.pass;
    // An element is dropped when its 32 random bits are below this.
    let below = (f64::from(rate) * f64::from(1u32 << 31) * 2.0) as u64;
    let factor = 1.0 / (1.0 - rate);
    by_rows(exec, x, y, x.len() / width.max(1), |row, x, y| {
        let first = (row * width) as u64;
        let mut drawn = [0; 4];
        for (i, (x, y)) in (first..).zip(x.iter().zip(y)) {
            if i == first || i % 4 == 0 {
                drawn = philox(noise.seed, stream, i / 4);
            }
            *y = if u64::from(drawn[(i % 4) as usize]) < below { 0.0 } else { *x * factor };
        }
    })
}
