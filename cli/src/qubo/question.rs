//! A formulated question: solved from the greedy answer on, and both answers told.

use super::solve::{found, number, report};
use super::solving::Solving;
use crate::failure::Result;
use crate::output;
use qorus::qubo::SolveParams;
use qorus::qubo::form::Formulated;
use serde_json::{Value, json};
use std::time::Duration;

/// Seconds where nothing else bounds the run.
const TIME: Duration = Duration::from_secs(2);

/// What an answer comes to beside its value: a name, and a number.
pub type Measure = (&'static str, f64);

/// Solves and prints. `names` are the variables'; `extra` says what else an answer comes to.
pub fn answer(
    solving: &Solving,
    formulated: &Formulated,
    greedy: &[u8],
    names: &[String],
    extra: &dyn Fn(&[u8]) -> Vec<Measure>,
) -> Result {
    let model = &formulated.model;
    let mut params = SolveParams { initial_states: formulated.complete(greedy)?, ..solving.params() };
    if !solving.is_bounded() {
        params.time_limit = Some(TIME);
    }
    let (mut solver, outcome) = solving.run(&formulated.problem, &params)?;
    let picked = formulated.pick(solver.samples());
    let kept = picked.is_some();
    // An answer that keeps the constraints is there in any case.
    let (x, value) = picked.unwrap_or((greedy, model.value(greedy)));
    let chosen = |x: &[u8]| -> Vec<&str> {
        names.iter().zip(x).filter(|(_, v)| **v != 0).map(|(name, _)| name.as_str()).collect()
    };
    let greedy_value = model.value(greedy);
    if solving.json {
        let also =
            |x: &[u8]| extra(x).into_iter().map(|(k, v)| (k.to_owned(), number(v))).collect::<serde_json::Map<_, _>>();
        let mut object = found(&outcome, value, solving.seed);
        object["assignment"] = json!(x);
        object["chosen"] = json!(chosen(x));
        object["feasible"] = json!(kept);
        object["greedy"] = json!({"objective": number(greedy_value), "assignment": greedy, "chosen": chosen(greedy)});
        if let Value::Object(object) = &mut object {
            object.extend(also(x));
        }
        if let Value::Object(object) = &mut object["greedy"] {
            object.extend(also(greedy));
        }
        return output::json(&object);
    }
    for (name, x, value) in [("solved", x, value), ("greedy", greedy, greedy_value)] {
        let more: String = extra(x).into_iter().map(|(name, v)| format!(", {name} {v}")).collect();
        output::line(&format!("{name:8} {value:.6}{more}: {}", chosen(x).join(" ")))?;
    }
    if !kept {
        output::line("no sample kept the constraints: the greedy answer stands; give it more time or sweeps")?;
    }
    report(&outcome)
}
