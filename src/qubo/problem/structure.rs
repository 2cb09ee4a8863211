//! What kind of graph a problem's couplings make, which says what solves it well.

use super::Problem;
use crate::error::{Result, try_vec};

/// The kind of graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structure {
    /// No couplings: each variable is on its own.
    Free,
    /// Couplings are stored as a matrix.
    Dense,
    /// Few neighbours each, and a long way from one end to the other.
    Grid,
    /// Any other.
    Sparse,
}

/// Neighbours of a grid's variable at most.
const DEGREE: usize = 8;

impl Structure {
    /// That of a problem. `OutOfMemory`.
    pub fn of(problem: &Problem) -> Result<Structure> {
        if problem.couplings() == 0 {
            Ok(Structure::Free)
        } else if problem.is_dense() {
            Ok(Structure::Dense)
        } else if is_grid(problem)? {
            Ok(Structure::Grid)
        } else {
            Ok(Structure::Sparse)
        }
    }

    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Structure::Free => "no couplings",
            Structure::Dense => "dense",
            Structure::Grid => "grid",
            Structure::Sparse => "sparse",
        }
    }
}

/// Whether each variable has few neighbours, and there are many steps from the first one to the farthest, where a random graph has few.
fn is_grid(problem: &Problem) -> Result<bool> {
    let n = problem.len();
    if n < 64 || problem.couplings() < n / 2 || (0..n).any(|i| problem.degree(i) > DEGREE) {
        return Ok(false);
    }
    let mut seen: Vec<bool> = try_vec(n, "variables")?;
    seen.resize(n, false);
    let mut queue: Vec<usize> = try_vec(n, "variables")?;
    queue.push(0);
    seen[0] = true;
    let (mut next, mut steps) = (0, 0);
    while next < queue.len() {
        let end = queue.len();
        while next < end {
            for (j, _) in problem.neighbours(queue[next]) {
                if !std::mem::replace(&mut seen[j as usize], true) {
                    queue.push(j as usize);
                }
            }
            next += 1;
        }
        steps += 1;
    }
    // Of what hangs together, which is to be most of it.
    Ok(2 * queue.len() > n && f64::from(steps) > 2.2 * (queue.len() as f64).log2())
}
