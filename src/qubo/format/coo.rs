//! dimod's coordinate form: `# vartype=BINARY` or `# vartype=SPIN`, then lines `i j q` of any whole numbers as names, each pair once
//! counted once. The least value is sought.

use std::io::Write;

use super::terms::{Ids, Terms};
use super::text::Text;
use super::{Instance, Vartype, entries, turned};
use crate::error::{Result, fail, try_vec};
use crate::qubo::problem::{Problem, Sense};

/// What a comment says of the variables: the word after `vartype=` or `vartype:`.
fn vartype(comment: &[u8]) -> Option<&[u8]> {
    let at = comment.windows(8).position(|w| w == b"vartype=" || w == b"vartype:")?;
    let rest = comment[at + 8..].trim_ascii_start();
    Some(&rest[..rest.iter().position(|b| !b.is_ascii_alphanumeric()).unwrap_or(rest.len())])
}

/// Whether a file begins with the header.
pub(super) fn header(text: &[u8]) -> bool {
    let line = &text[..text.iter().position(|&b| b == b'\n').unwrap_or(text.len())];
    line.starts_with(b"#") && vartype(line).is_some()
}

/// See [`super::read`]. `given` is for files without the header.
pub(super) fn read(name: &str, bytes: &[u8], given: Option<Vartype>) -> Result<Instance> {
    let mut text = Text::new(name, bytes, b'#');
    let (mut said, mut wrong) = (given, None);
    // Names first: they may be far apart.
    let mut list: Vec<(u64, u64, f64)> = try_vec(bytes.len() / 8, "terms")?;
    let mut rounded = None;
    loop {
        let line = text.next_with(|line| match vartype(line.text) {
            Some(b"BINARY") if said != Some(Vartype::Spin) => said = Some(Vartype::Binary),
            Some(b"SPIN") if said != Some(Vartype::Binary) => said = Some(Vartype::Spin),
            Some(_) => wrong = wrong.or(Some(line)),
            None => {}
        });
        if let Some(line) = wrong {
            let want = match said {
                Some(Vartype::Binary) => "vartype=BINARY, as was said before",
                Some(Vartype::Spin) => "vartype=SPIN, as was said before",
                None => "vartype=BINARY or vartype=SPIN",
            };
            return line.fail(want, line.text);
        }
        let Some(line) = line else { break };
        let [i, j, q] = line.exactly("i j q")?;
        let (i, j) = (line.whole(i, "a whole number as a name")?, line.whole(j, "a whole number as a name")?);
        let (q, exact) = line.value(q)?;
        if !exact {
            rounded.get_or_insert(line.number);
        }
        if list.len() == list.capacity() && list.try_reserve(1024).is_err() {
            fail!(OutOfMemory, "{name}: no memory for more than {} terms", list.len());
        }
        list.push((i, j, q));
    }
    let Some(vartype) = said else {
        fail!(
            InvalidArgument,
            "{name}: does not say what its variables are: begin it with \"# vartype=BINARY\" or \"# vartype=SPIN\", or add \
             --vartype binary or spin"
        );
    };
    let mut names: Vec<u64> = try_vec(2 * list.len(), "names of variables")?;
    names.extend(list.iter().flat_map(|term| [term.0, term.1]));
    let names = Ids::new(names);
    let mut terms = Terms::new(names.len(), list.len() as u64, bytes.len())?;
    for (i, j, q) in list {
        if let (Some(i), Some(j)) = (names.place(i), names.place(j)) {
            terms.push(i, j, q)?;
        }
    }
    if let Some(line) = rounded {
        terms.rounded(line);
    }
    Ok(Instance { labels: names.labels(), ..terms.finish(name, vartype, Sense::Minimize)? })
}

/// See [`super::write`]. The form knows a variable only by its terms, so one that has none gets a term 0.
pub(super) fn write(out: &mut dyn Write, problem: &Problem, notes: &mut Vec<String>) -> std::io::Result<()> {
    let sign = turned(problem, Sense::Minimize, false, notes);
    writeln!(out, "# vartype=BINARY")?;
    for i in (0..problem.len()).filter(|&i| problem.degree(i) == 0 && problem.linear(i) == 0.0) {
        writeln!(out, "{i} {i} 0")?;
    }
    for (i, j, value) in entries(problem) {
        writeln!(out, "{i} {j} {}", sign * value)?;
    }
    Ok(())
}
