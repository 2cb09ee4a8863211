//! Max-Cut: two sides of a graph with as much weight as can be between them.

use crate::error::{Result, fail, try_vec};
use crate::qubo::problem::{Problem, Sense};

/// The problem whose value is the weight of the edges (i, j, weight) between the vertices at 0 and those at 1, to be maximised.
/// Edges between the same vertices add up. Errors: `InvalidArgument` for an edge that joins a vertex with itself; those of
/// [`Problem::from_triplets`].
pub fn maxcut(n: usize, edges: &[(u32, u32, f64)]) -> Result<Problem> {
    let mut terms = try_vec(edges.len().saturating_mul(3), "edges")?;
    for (at, &(i, j, weight)) in edges.iter().enumerate() {
        if i == j {
            fail!(InvalidArgument, "edge {at} joins vertex {i} with itself: leave it out, it is never cut");
        }
        terms.extend([(i, i, weight), (j, j, weight), (i, j, -2.0 * weight)]);
    }
    Problem::from_triplets(n, &terms, 0.0, Sense::Maximize)
}
