//! The form of qbsolv (D-Wave): lines of comment that begin with `c`, the line `p qubo topology nodes diagonals couplers`, then
//! first the diagonal's and then the couplers' lines `i j q`, from 0, each coupler once and counted once. The least value is sought.

use std::io::Write;

use super::terms::{Terms, believable};
use super::text::Text;
use super::{Instance, Vartype, entries, turned};
use crate::error::Result;
use crate::qubo::problem::{Problem, Sense};

const PROGRAM: &str = "the line p qubo topology nodes diagonals couplers";

/// Whether a file begins so.
pub(super) fn header(text: &[u8]) -> bool {
    let line = Text::new("", text, b'c').next();
    line.is_some_and(|line| line.fields().take(2).eq([&b"p"[..], b"qubo"]))
}

/// See [`super::read`].
pub(super) fn read(name: &str, bytes: &[u8]) -> Result<Instance> {
    let mut text = Text::new(name, bytes, b'c');
    let line = text.need(PROGRAM)?;
    let [p, qubo, _, nodes, diagonals, couplers] = line.exactly(PROGRAM)?;
    if p != b"p" || qubo != b"qubo" {
        return line.fail(PROGRAM, line.text);
    }
    let variables = line.whole(nodes, "the number of nodes")?;
    if !believable(variables, bytes.len()) {
        return line.fail("a number of nodes that a file of this size can have", nodes);
    }
    let n = variables as usize;
    let diagonals = line.whole(diagonals, "the number of diagonal entries")?;
    let couplers = line.whole(couplers, "the number of couplers")?;
    let mut terms = Terms::new(n, diagonals.saturating_add(couplers), text.left())?;
    for (count, diagonal) in [(diagonals, true), (couplers, false)] {
        for at in 1..=count {
            let kind = if diagonal { "diagonal entry" } else { "coupler" };
            let what = format!("{kind} {at} of {count}, i j q");
            let line = text.need(&what)?;
            let [i, j, q] = line.exactly(&what)?;
            let (i, j) = (line.index(i, 0, n)?, line.index(j, 0, n)?);
            let (q, exact) = line.value(q)?;
            if !exact {
                terms.rounded(line.number);
            }
            if (i == j) != diagonal {
                return line.fail(&what, line.text);
            }
            terms.push(i, j, q)?;
        }
    }
    text.end(&format!("its {couplers} couplers"))?;
    terms.finish(name, Vartype::Binary, Sense::Minimize)
}

/// See [`super::write`]. Every node has its diagonal entry.
pub(super) fn write(out: &mut dyn Write, problem: &Problem, notes: &mut Vec<String>) -> std::io::Result<()> {
    let sign = turned(problem, Sense::Minimize, false, notes);
    for note in notes.iter() {
        writeln!(out, "c {note}")?;
    }
    let (n, couplers) = (problem.len(), entries(problem).filter(|(i, j, _)| i != j).count());
    writeln!(out, "p qubo 0 {n} {n} {couplers}")?;
    for i in 0..n {
        writeln!(out, "{i} {i} {}", sign * problem.linear(i))?;
    }
    for (i, j, value) in entries(problem).filter(|(i, j, _)| i != j) {
        writeln!(out, "{i} {j} {}", sign * value)?;
    }
    Ok(())
}
