//! The JSON of Azure's quantum-inspired optimization: a cost function of type `ising` (spins) or `pubo` (bits) with terms
//! `{"c", "ids"}`; the types `_grouped` also have squares of sums. Terms of order three and more are told and refused. The least value
//! is sought.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};

use super::json::{self, List, Number, Written};
use super::terms::{Ids, Terms};
use super::{Instance, Vartype, entries, turned};
use crate::error::{Result, fail, try_vec};
use crate::qubo::problem::{Problem, Sense};

/// The variables of a term: the first two, and how many there are.
#[derive(Clone, Copy)]
struct Vars {
    ids: [u64; 2],
    count: usize,
}

impl<'de> Deserialize<'de> for Vars {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Vars, D::Error> {
        struct Two;

        impl<'de> Visitor<'de> for Two {
            type Value = Vars;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list of variables")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> std::result::Result<Vars, A::Error> {
                let mut vars = Vars { ids: [0; 2], count: 0 };
                while let Some(id) = from.next_element()? {
                    if let Some(place) = vars.ids.get_mut(vars.count) {
                        *place = id;
                    }
                    vars.count += 1;
                }
                Ok(vars)
            }
        }
        from.deserialize_seq(Two)
    }
}

impl Serialize for Vars {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(Some(self.count))?;
        for id in &self.ids[..self.count.min(2)] {
            list.serialize_element(id)?;
        }
        list.end()
    }
}

#[derive(Clone, Copy, Deserialize, Serialize)]
struct Term {
    c: Number,
    ids: Vars,
}

#[derive(Deserialize)]
struct Group {
    c: Number,
    terms: List<Term>,
}

#[derive(Deserialize)]
struct Cost {
    r#type: String,
    #[serde(default)]
    terms: List<Term>,
    #[serde(default)]
    terms_slc: List<Group>,
    initial_configuration: Option<BTreeMap<String, i64>>,
}

#[derive(Deserialize)]
struct File {
    cost_function: Cost,
}

/// See [`super::read`].
pub(super) fn read(name: &str, bytes: &[u8]) -> Result<Instance> {
    let File { cost_function: cost } = json::parse(name, bytes, "qio")?;
    let (vartype, grouped) = match cost.r#type.as_str() {
        "pubo" => (Vartype::Binary, false),
        "ising" => (Vartype::Spin, false),
        "pubo_grouped" => (Vartype::Binary, true),
        "ising_grouped" => (Vartype::Spin, true),
        other => fail!(
            Format,
            "{name}: the \"type\" of its cost function is {other:?}, expected \"ising\", \"pubo\", \"ising_grouped\" or \"pubo_grouped\""
        ),
    };
    if !grouped && !cost.terms_slc.0.is_empty() {
        fail!(Format, "{name}: has \"terms_slc\", but is of type {:?}, which has none", cost.r#type);
    }
    let (list, groups) = (cost.terms.0, cost.terms_slc.0);
    let all = || list.iter().chain(groups.iter().flat_map(|group| &group.terms.0));
    let mut ids: Vec<u64> = try_vec(all().map(|term| term.ids.count.min(2)).sum(), "names of variables")?;
    ids.extend(all().flat_map(|term| &term.ids.ids[..term.ids.count.min(2)]));
    let ids = Ids::new(ids);
    let place = |id: u64| ids.place(id).unwrap_or(0);
    let mut terms = Terms::new(ids.len(), list.len() as u64, bytes.len())?;
    for (at, term) in list.iter().enumerate() {
        terms.number(term.c);
        let (c, [i, j]) = (term.c.value, term.ids.ids.map(place));
        match term.ids.count {
            0 => terms.constant(c),
            1 => terms.push(i, i, c)?,
            2 if i != j => terms.push(i, j, c)?,
            // x x = x, s s = 1.
            2 if vartype == Vartype::Binary => terms.push(i, i, c)?,
            2 => terms.constant(c),
            order => fail!(
                Unsupported,
                "{name}: term {at} is of {order} variables; at most two can be solved: reduce its order with further variables"
            ),
        }
    }
    for (at, group) in groups.iter().enumerate() {
        let (mut sum, mut constant) = (try_vec(group.terms.0.len(), "a group's terms")?, 0.0);
        terms.number(group.c);
        for term in &group.terms.0 {
            terms.number(term.c);
            match term.ids.count {
                0 => constant += term.c.value,
                1 => sum.push((place(term.ids.ids[0]), term.c.value)),
                order => fail!(Format, "{name}: group {at} has a term of {order} variables, expected one or none"),
            }
        }
        terms.square(group.c.value, &sum, constant, vartype).map_err(|e| e.context(name))?;
    }
    let start = match &cost.initial_configuration {
        Some(states) => Some(start(name, states, &ids, vartype)?),
        None => None,
    };
    Ok(Instance { labels: ids.labels(), start, ..terms.finish(name, vartype, Sense::Minimize)? })
}

/// The state that a file begins with; variables it leaves out are 0.
fn start(name: &str, states: &BTreeMap<String, i64>, ids: &Ids, vartype: Vartype) -> Result<Vec<u8>> {
    let mut start: Vec<u8> = try_vec(ids.len(), "variables")?;
    start.resize(ids.len(), 0);
    let low = if vartype == Vartype::Spin { -1 } else { 0 };
    for (id, &value) in states {
        if value != low && value != 1 {
            fail!(Format, "{name}: variable {id:?} of \"initial_configuration\" is {value}, expected {low} or 1");
        }
        // A variable without a term is none.
        if let Some(place) = id.parse().ok().and_then(|id| ids.place(id)) {
            start[place as usize] = u8::from(value == 1);
        }
    }
    Ok(start)
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
    #[derive(Serialize)]
    struct Cost<T: Serialize> {
        version: &'static str,
        r#type: &'static str,
        terms: T,
    }
    #[derive(Serialize)]
    struct File<T: Serialize> {
        cost_function: Cost<T>,
    }
    let constant = Some(problem.offset()).filter(|c| *c != 0.0);
    let constant = || constant.map(|c| Term { c: Number::from(sign * c), ids: Vars { ids: [0; 2], count: 0 } });
    // The form knows a variable only by its terms, so each has a linear one.
    let linear = || {
        (0..problem.len())
            .map(|i| Term { c: Number::from(sign * problem.linear(i)), ids: Vars { ids: [id(i), 0], count: 1 } })
    };
    let couplings = || {
        entries(problem).filter(|(i, j, _)| i != j).map(|(i, j, value)| Term {
            c: Number::from(sign * value),
            ids: Vars { ids: [id(i as usize), id(j as usize)], count: 2 },
        })
    };
    let terms = Written(|| constant().into_iter().chain(linear()).chain(couplings()));
    json::write(out, &File { cost_function: Cost { version: "1.0", r#type: "pubo", terms } })
}
