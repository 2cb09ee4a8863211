//! The OR-Library's files of binary quadratic programs (Beasley): `n nnz`, then nnz lines `i j q`, of a symmetric matrix of which an
//! entry stands for both places. x'Qx is maximised, so entries beside the diagonal count twice. A file may hold several problems: its
//! first line is then their number.

use std::io::Write;

use super::terms::{Terms, believable};
use super::text::Text;
use super::{Instance, Vartype, entries, turned};
use crate::error::{Result, fail};
use crate::qubo::problem::{Problem, Sense};

const SIZES: &str = "the numbers of variables and entries";

/// See [`super::read`]. `problem` counts from 1.
pub(super) fn read(name: &str, bytes: &[u8], problem: Option<usize>) -> Result<Instance> {
    let mut text = Text::new(name, bytes, b'#');
    let mut line = text.need(SIZES)?;
    let mut problems = 1;
    if line.fields().count() == 1 {
        problems = line.whole(line.text, "the number of problems, or of variables and entries")?;
        if problems == 0 {
            return line.fail("at least one problem", line.text);
        }
        line = text.need(SIZES)?;
    }
    let wanted = match problem {
        None if problems == 1 => 1,
        None => fail!(InvalidArgument, "{name}: has {problems} problems: choose one with --problem 1 to {problems}"),
        Some(at) if at as u64 >= 1 && at as u64 <= problems => at as u64,
        Some(at) => fail!(InvalidArgument, "{name}: has {problems} problems, and no number {at}"),
    };
    for number in 1..=problems {
        if number > 1 {
            line = text.need(SIZES)?;
        }
        let [n, count] = line.exactly(SIZES)?;
        let (variables, entries) =
            (line.whole(n, "the number of variables")?, line.whole(count, "the number of entries")?);
        if !believable(variables, bytes.len()) {
            return line.fail("a number of variables that a file of this size can have", n);
        }
        let n = variables as usize;
        let keep = number == wanted;
        let mut terms = Terms::new(n, if keep { entries } else { 0 }, text.left())?;
        for entry in 1..=entries {
            let what = format!("entry {entry} of {entries}, i j q");
            let line = text.need(&what)?;
            if !keep {
                continue;
            }
            let [i, j, q] = line.exactly(&what)?;
            let (i, j) = (line.index(i, 1, n)?, line.index(j, 1, n)?);
            let (q, exact) = line.value(q)?;
            if !exact {
                terms.rounded(line.number);
            }
            terms.push(i, j, if i == j { q } else { 2.0 * q })?;
        }
        if number == problems {
            text.end(&format!("its {entries} entries"))?;
        }
        if keep && (number == problems || problem.is_some()) {
            return terms.finish(name, Vartype::Binary, Sense::Maximize);
        }
    }
    fail!(Format, "{name}: has no problem {wanted}")
}

/// See [`super::write`]; without the number of problems.
pub(super) fn write(out: &mut dyn Write, problem: &Problem, notes: &mut Vec<String>) -> std::io::Result<()> {
    let sign = turned(problem, Sense::Maximize, false, notes);
    writeln!(out, "{} {}", problem.len(), entries(problem).count())?;
    for (i, j, value) in entries(problem) {
        let q = if i == j { value } else { value / 2.0 };
        writeln!(out, "{} {} {}", i + 1, j + 1, sign * q)?;
    }
    Ok(())
}
