//! dimod's JSON of a binary quadratic model, schema 2 and 3: lists of linear biases, and of quadratic ones with the places of their
//! two variables. The least value is sought.

use std::io::Write;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::json::{self, List, Number, Written};
use super::terms::Terms;
use super::{Instance, Vartype, entries, turned};
use crate::error::{Result, fail, try_vec};
use crate::qubo::problem::{Problem, Sense};

#[derive(Deserialize, Serialize)]
struct Version {
    bqm_schema: String,
}

#[derive(Deserialize)]
struct File {
    version: Option<Version>,
    #[serde(default)]
    use_bytes: bool,
    variable_type: String,
    variable_labels: Option<List<Value>>,
    num_variables: Option<u64>,
    num_interactions: Option<u64>,
    #[serde(default)]
    offset: Number,
    linear_biases: List<Number>,
    quadratic_biases: List<Number>,
    quadratic_head: List<u64>,
    quadratic_tail: List<u64>,
}

/// See [`super::read`].
pub(super) fn read(name: &str, bytes: &[u8]) -> Result<Instance> {
    let file: File = json::parse(name, bytes, "bqm")?;
    if let Some(Version { bqm_schema }) = &file.version
        && !["2.", "3."].iter().any(|major| bqm_schema.starts_with(major))
    {
        fail!(
            Unsupported,
            "{name}: is of bqm_schema {bqm_schema:?}, 2 and 3 can be read: write it anew with a newer dimod"
        );
    }
    if file.use_bytes {
        fail!(Unsupported, "{name}: holds its numbers as bytes: write it with to_serializable(use_bytes=False)");
    }
    let vartype = match file.variable_type.as_str() {
        "BINARY" => Vartype::Binary,
        "SPIN" => Vartype::Spin,
        other => fail!(Format, "{name}: \"variable_type\" is {other:?}, expected \"BINARY\" or \"SPIN\""),
    };
    let (linear, quadratic) = (file.linear_biases.0, file.quadratic_biases.0);
    let (head, tail) = (file.quadratic_head.0, file.quadratic_tail.0);
    let n = linear.len();
    let lengths = [
        ("num_variables", file.num_variables, n, "linear_biases"),
        ("variable_labels", file.variable_labels.as_ref().map(|l| l.0.len() as u64), n, "linear_biases"),
        ("num_interactions", file.num_interactions, quadratic.len(), "quadratic_biases"),
        ("quadratic_head", Some(head.len() as u64), quadratic.len(), "quadratic_biases"),
        ("quadratic_tail", Some(tail.len() as u64), quadratic.len(), "quadratic_biases"),
    ];
    for (key, found, want, list) in lengths {
        if let Some(found) = found.filter(|&found| found != want as u64) {
            fail!(Format, "{name}: {key:?} is, or has, {found}, but {list:?} has {want}");
        }
    }
    let mut terms = Terms::new(n, (n + quadratic.len()) as u64, bytes.len())?;
    terms.constant(file.offset.value);
    for (i, bias) in linear.iter().enumerate() {
        terms.number(*bias);
        terms.push(i as u32, i as u32, bias.value)?;
    }
    for (at, ((&i, &j), bias)) in head.iter().zip(&tail).zip(&quadratic).enumerate() {
        if i >= n as u64 || j >= n as u64 || i == j {
            fail!(
                Format,
                "{name}: interaction {at} is of variables {i} and {j}, expected two from 0 to {}",
                n as i64 - 1
            );
        }
        terms.number(*bias);
        terms.push(i as u32, j as u32, bias.value)?;
    }
    let labels = match file.variable_labels {
        Some(List(list)) if list.iter().enumerate().any(|(i, label)| *label != json!(i)) => {
            let mut labels = try_vec(n, "labels")?;
            labels.extend(list.into_iter().map(|label| match label {
                Value::String(text) => text,
                other => other.to_string(),
            }));
            Some(labels)
        }
        _ => None,
    };
    Ok(Instance { labels, ..terms.finish(name, vartype, Sense::Minimize)? })
}

/// See [`super::write`].
pub(super) fn write(
    out: &mut dyn Write,
    problem: &Problem,
    labels: Option<&[String]>,
    notes: &mut Vec<String>,
) -> std::io::Result<()> {
    let sign = turned(problem, Sense::Minimize, true, notes);
    let couplings = || entries(problem).filter(|(i, j, _)| i != j);
    let n = problem.len();
    #[derive(Serialize)]
    struct File<L: Serialize, B: Serialize, Q: Serialize, H: Serialize, T: Serialize> {
        r#type: &'static str,
        version: Version,
        use_bytes: bool,
        index_type: &'static str,
        bias_type: &'static str,
        num_variables: usize,
        num_interactions: usize,
        variable_labels: L,
        variable_type: &'static str,
        offset: Number,
        info: serde_json::Map<String, Value>,
        linear_biases: B,
        quadratic_biases: Q,
        quadratic_head: H,
        quadratic_tail: T,
    }
    let names = labels.filter(|labels| labels.len() == n);
    let file = File {
        r#type: "BinaryQuadraticModel",
        version: Version { bqm_schema: "3.0.0".into() },
        use_bytes: false,
        index_type: "int32",
        bias_type: "float64",
        num_variables: n,
        num_interactions: couplings().count(),
        variable_labels: Written(|| (0..n).map(|i| names.map_or_else(|| json!(i), |names| label(&names[i])))),
        variable_type: "BINARY",
        offset: Number::from(sign * problem.offset()),
        info: serde_json::Map::new(),
        linear_biases: Written(|| (0..n).map(|i| Number::from(sign * problem.linear(i)))),
        quadratic_biases: Written(|| couplings().map(|c| Number::from(sign * c.2))),
        quadratic_head: Written(|| couplings().map(|c| c.0)),
        quadratic_tail: Written(|| couplings().map(|c| c.1)),
    };
    json::write(out, &file)
}

/// A name as it was in a file: whole numbers and lists as such, all else as text.
fn label(name: &str) -> Value {
    match serde_json::from_str(name) {
        Ok(value @ Value::Number(_)) => value,
        Ok(value @ Value::Array(_)) => value,
        _ => Value::from(name),
    }
}
