//! bqpjson (Los Alamos National Laboratory): terms as objects, of variables with numbers of their own, spins or bits; everything is
//! multiplied by a scale. The least value is sought.

use std::io::Write;

use serde::{Deserialize, Serialize};

use super::json::{self, List, Number, Written};
use super::terms::{Ids, Terms};
use super::{Instance, Vartype, entries, turned};
use crate::error::{Result, fail};
use crate::qubo::problem::{Problem, Sense};

#[derive(Deserialize, Serialize)]
struct Linear {
    id: u64,
    coeff: Number,
}

#[derive(Deserialize, Serialize)]
struct Quadratic {
    id_head: u64,
    id_tail: u64,
    coeff: Number,
}

#[derive(Deserialize)]
struct File {
    variable_ids: List<u64>,
    variable_domain: String,
    scale: Number,
    offset: Number,
    linear_terms: List<Linear>,
    quadratic_terms: List<Quadratic>,
}

/// See [`super::read`].
pub(super) fn read(name: &str, bytes: &[u8]) -> Result<Instance> {
    let file: File = json::parse(name, bytes, "bqpjson")?;
    let vartype = match file.variable_domain.as_str() {
        "boolean" => Vartype::Binary,
        "spin" => Vartype::Spin,
        other => fail!(Format, "{name}: \"variable_domain\" is {other:?}, expected \"boolean\" or \"spin\""),
    };
    let count = file.variable_ids.0.len();
    let ids = Ids::new(file.variable_ids.0);
    if ids.len() != count {
        fail!(Format, "{name}: \"variable_ids\" has {count} numbers, but only {} different ones", ids.len());
    }
    let place = |id: u64, of: &str| match ids.place(id) {
        Some(place) => Ok(place),
        None => fail!(Format, "{name}: a term of {of:?} is of variable {id}, which is not among the \"variable_ids\""),
    };
    let scale = file.scale.value;
    let (linear, quadratic) = (file.linear_terms.0, file.quadratic_terms.0);
    let mut terms = Terms::new(count, (linear.len() + quadratic.len()) as u64, bytes.len())?;
    terms.constant(scale * file.offset.value);
    for term in &linear {
        let i = place(term.id, "linear_terms")?;
        terms.number(term.coeff);
        terms.push(i, i, scale * term.coeff.value)?;
    }
    for term in &quadratic {
        let (i, j) = (place(term.id_tail, "quadratic_terms")?, place(term.id_head, "quadratic_terms")?);
        if i == j {
            fail!(Format, "{name}: a term of \"quadratic_terms\" is of variable {} twice", term.id_head);
        }
        terms.number(term.coeff);
        terms.push(i, j, scale * term.coeff.value)?;
    }
    Ok(Instance { labels: ids.labels(), ..terms.finish(name, vartype, Sense::Minimize)? })
}

/// See [`super::write`].
pub(super) fn write(
    out: &mut dyn Write,
    problem: &Problem,
    labels: Option<&[String]>,
    notes: &mut Vec<String>,
) -> std::io::Result<()> {
    let sign = turned(problem, Sense::Minimize, true, notes);
    let ids = json::numbers(labels, problem.len(), notes);
    let id = |i: usize| ids.as_ref().map_or(i as u64, |ids| ids[i]);
    let linear = || (0..problem.len()).filter(|&i| problem.linear(i) != 0.0);
    #[derive(Serialize)]
    struct File<I: Serialize, L: Serialize, Q: Serialize> {
        version: &'static str,
        id: u64,
        metadata: serde_json::Map<String, serde_json::Value>,
        variable_ids: I,
        variable_domain: &'static str,
        scale: f64,
        offset: Number,
        linear_terms: L,
        quadratic_terms: Q,
    }
    let file = File {
        version: "1.0.0",
        id: 0,
        metadata: serde_json::Map::new(),
        variable_ids: Written(|| (0..problem.len()).map(id)),
        variable_domain: "boolean",
        scale: 1.0,
        offset: Number::from(sign * problem.offset()),
        linear_terms: Written(|| linear().map(|i| Linear { id: id(i), coeff: Number::from(sign * problem.linear(i)) })),
        quadratic_terms: Written(|| {
            entries(problem).filter(|(i, j, _)| i != j).map(|(i, j, value)| Quadratic {
                id_tail: id(i as usize),
                id_head: id(j as usize),
                coeff: Number::from(sign * value),
            })
        }),
    };
    json::write(out, &file)
}
