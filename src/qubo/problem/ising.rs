//! Spins of -1 and 1, and their way from and to bits: `s = 2x - 1`.

use super::{Problem, Sense};
use crate::error::{Result, fail, try_vec};

/// `offset + sum h_i s_i + sum_{i<j} J_ij s_i s_j` over spins of -1 and 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Ising {
    /// A field for each spin.
    pub h: Vec<f64>,
    /// Couplings `(i, j, J)`.
    pub j: Vec<(u32, u32, f64)>,
    /// What is added to every value.
    pub offset: f64,
    /// Which values are good.
    pub sense: Sense,
}

impl Problem {
    /// The problem whose value at x is the Ising model's at `2x - 1`. Errors as those of
    /// [`from_triplets`](Problem::from_triplets); a coupling of a spin with itself is a constant.
    pub fn from_ising(h: &[f64], j: &[(u32, u32, f64)], offset: f64, sense: Sense) -> Result<Problem> {
        let Some(room) = j.len().checked_mul(3).and_then(|len| len.checked_add(h.len())) else {
            fail!(OutOfMemory, "{} couplings do not fit the address space", j.len())
        };
        let mut triplets: Vec<(u32, u32, f64)> = try_vec(room, "coefficients")?;
        let mut offset = offset;
        for (i, &h) in h.iter().enumerate() {
            triplets.push((i as u32, i as u32, 2.0 * h));
            offset -= h;
        }
        for &(a, b, v) in j {
            if a == b {
                triplets.push((a, b, 0.0));
                offset += v;
                continue;
            }
            triplets.extend([(a, b, 4.0 * v), (a, a, -2.0 * v), (b, b, -2.0 * v)]);
            offset += v;
        }
        Problem::from_triplets(h.len(), &triplets, offset, sense)
    }

    /// The Ising model whose value at `2x - 1` is the problem's at x. `OutOfMemory`.
    pub fn to_ising(&self) -> Result<Ising> {
        let mut h: Vec<f64> = try_vec(self.len(), "fields")?;
        let mut j: Vec<(u32, u32, f64)> = try_vec(self.couplings(), "couplings")?;
        let mut offset = self.offset();
        for i in 0..self.len() {
            let mut field = 0.5 * self.linear(i);
            offset += field;
            for (k, v) in self.neighbours(i) {
                field += 0.25 * v;
                if (i as u32) < k {
                    offset += 0.25 * v;
                    j.push((i as u32, k, 0.25 * v));
                }
            }
            h.push(field);
        }
        Ok(Ising { h, j, offset, sense: self.sense() })
    }
}
