//! `qorus bench` and `qorus kernels`: that they run and say what was promised, not what they measure.

use crate::{model, qorus};
use serde_json::Value;

fn positive(v: &Value) -> bool {
    v.as_f64().is_some_and(|x| x > 0.0 && x.is_finite())
}

#[test]
fn bench_measures_both_at_each_number_of_threads() {
    let args = ["bench", "-m", &model(), "-p", "20", "-n", "5", "-t", "1,2", "--isa", "scalar", "-r", "2", "--json"];
    let v = qorus(&args).json();
    let rows = v.as_array().unwrap();
    let tests: Vec<_> = rows.iter().map(|r| (r["test"].as_str().unwrap(), r["threads"].as_u64().unwrap())).collect();
    assert_eq!(tests, [("prefill", 1), ("decode", 1), ("prefill", 2), ("decode", 2)]);
    for row in rows {
        assert_eq!((&row["isa"], &row["allocations_after_setup"]), (&"scalar".into(), &0.into()));
        assert_eq!(row["tokens"], if row["test"] == "prefill" { 20 } else { 5 });
        assert!(["tokens_per_s", "bytes_per_token", "gb_per_s"].iter().all(|name| positive(&row[*name])), "{row}");
        assert!(row["test"] == "prefill" || positive(&row["share_of_limit"]), "{row}");
        assert!(row.get("peak_rss_bytes").is_some());
    }
    let text = qorus(&["bench", "-m", &model(), "-p", "0", "-n", "3", "-t", "1"]).text();
    assert!(text.contains("decode") && !text.contains("prefill"), "{text}");
}

#[test]
fn kernels_are_measured_against_scalar() {
    let done = qorus(&["kernels", "--json", "rmsnorm"]);
    assert_eq!(done.code, 0);
    let rows: Vec<Value> = serde_json::from_slice(&done.out).unwrap();
    assert_eq!(rows[0]["isa"], "scalar");
    assert_eq!(rows[0]["speedup_over_scalar"], 1.0);
    for row in &rows {
        assert!(row["op"].as_str().is_some_and(|op| op.starts_with("rmsnorm")), "{row}");
        assert_eq!(row["type"], "F32");
        assert!(
            ["ns", "gb_per_s", "gflop_per_s", "speedup_over_scalar"].iter().all(|name| positive(&row[*name])),
            "{row}"
        );
    }
    let scalar = qorus(&["kernels", "--json", "--isa", "scalar", "silu"]).json();
    assert!(scalar.as_array().unwrap().iter().all(|row| row["isa"] == "scalar"));
}
