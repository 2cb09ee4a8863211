//! Max-Cut in the form of rudy (G. Rinaldi's generator), which Gset and many collections since have: `n m`, then m lines `i j w`.
//!
//! The value is the weight of the edges between the two sides, sum of w (x_i + x_j - 2 x_i x_j), and the greatest is sought.

use std::io::Write;

use super::terms::{Terms, believable};
use super::text::Text;
use super::{Instance, Vartype, entries};
use crate::error::{Code, Error, Result, fail, try_vec};
use crate::qubo::problem::{Problem, Sense};

/// See [`super::read`].
pub(super) fn read(name: &str, bytes: &[u8]) -> Result<Instance> {
    let mut text = Text::new(name, bytes, b'#');
    let what = "the numbers of vertices and edges";
    let first = text.need(what)?;
    let [n, m] = first.exactly(what)?;
    let (vertices, edges) = (first.whole(n, "the number of vertices")?, first.whole(m, "the number of edges")?);
    if !believable(vertices, bytes.len()) {
        return first.fail("a number of vertices that a file of this size can have", n);
    }
    let n = vertices as usize;
    let mut terms = Terms::new(n, edges, text.left())?;
    let mut degree: Vec<f64> = try_vec(n, "vertices")?;
    degree.resize(n, 0.0);
    for edge in 1..=edges {
        let what = format!("edge {edge} of {edges}, i j w");
        let line = text.need(&what)?;
        let [i, j, w] = line.exactly(&what)?;
        let (i, j) = (line.index(i, 1, n)?, line.index(j, 1, n)?);
        let (w, exact) = line.value(w)?;
        if !exact {
            terms.rounded(line.number);
        }
        if i == j {
            return line.fail("an edge between two vertices", line.text);
        }
        degree[i as usize] += w;
        degree[j as usize] += w;
        terms.push(i, j, -2.0 * w)?;
    }
    text.end(&format!("its {edges} edges"))?;
    for (i, w) in degree.into_iter().enumerate().filter(|(_, w)| *w != 0.0) {
        terms.push(i as u32, i as u32, w)?;
    }
    terms.finish(name, Vartype::Binary, Sense::Maximize)
}

/// See [`super::write`]. `Unsupported` unless the problem is one of Max-Cut: maximised, without offset, each linear term minus half
/// the sum of its couplings.
pub(super) fn write(out: &mut dyn Write, problem: &Problem) -> Result<()> {
    let refuse = |why: &str| -> Result<()> {
        fail!(Unsupported, "gset holds Max-Cut alone, and this problem {why}: choose another form")
    };
    if problem.sense() != Sense::Maximize {
        return refuse("is minimised");
    }
    if problem.offset() != 0.0 {
        return refuse("has an offset");
    }
    let mut edges = 0;
    for i in 0..problem.len() {
        let sum: f64 = problem.neighbours(i).map(|(_, value)| value).sum();
        edges += problem.degree(i);
        if problem.linear(i) != -sum / 2.0 {
            return refuse("has linear terms that are no sums of edges");
        }
    }
    let io = |e: std::io::Error| Error::new(Code::Io, format!("the problem cannot be written: {e}"));
    writeln!(out, "{} {}", problem.len(), edges / 2).map_err(io)?;
    for (i, j, value) in entries(problem).filter(|(i, j, _)| i != j) {
        writeln!(out, "{} {} {}", i + 1, j + 1, -value / 2.0).map_err(io)?;
    }
    Ok(())
}
