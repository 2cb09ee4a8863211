//! `qorus qubo`: solve, info, convert, and questions of tables.

use crate::{command, done, file, qorus, scratch};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A wheel: its centre against its rim, and around the rim by turns: 8 spokes and 8 rim edges of weight 1.
///
/// Each test has a file of its own: one that is written anew while another reads it is refused.
fn wheel() -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let mut text = "9 16\n".to_owned();
    for i in 0..8 {
        text += &format!("1 {} 1\n{} {} 1\n", i + 2, i + 2, (i + 1) % 8 + 2);
    }
    file(&format!("wheel-{}.gset", NUMBER.fetch_add(1, Ordering::Relaxed)), text.as_bytes())
}

#[test]
fn a_cut_is_found_in_the_files_own_sense() {
    let wheel = wheel();
    for solver in ["auto", "anneal", "tabu", "enumerate"] {
        let args =
            ["qubo", "solve", &wheel, "--format", "gset", "--solver", solver, "--seed", "3", "-t", "1", "--json"];
        let found = qorus(&args).json();
        assert_eq!(found["objective"], 12, "{found}");
        assert_eq!(found["seed"], 3);
        let x: Vec<i64> = found["assignment"].as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect();
        let cut = (0..8).map(|i| (x[0] - x[i + 1]).abs() + (x[i + 1] - x[(i + 1) % 8 + 1]).abs()).sum::<i64>();
        assert_eq!((x.len(), cut), (9, 12));
        for key in ["time_to_best_s", "total_s", "proposals"] {
            assert!(found[key].is_number(), "{key}");
        }
        assert!(found["solver"].is_string() && found["samples"][0]["objective"] == 12);
    }
    let text = qorus(&["qubo", "solve", &wheel, "--format", "gset"]).text();
    assert!(text.starts_with("objective   12 (maximised)\n") && text.contains("assignment  "), "{text}");
}

#[test]
fn a_run_begins_where_it_is_told_to() {
    let wheel = wheel();
    // No time at all: what is evaluated is the assignment that was given. Of the wheel's 16 edges these cut 8, and 12.
    let args = |path: &str| {
        ["qubo", "solve", &wheel, "--format", "gset", "--time-limit", "0", "--initial", path, "--json"]
            .map(String::from)
    };
    let ask = |path: &str| qorus(&args(path).each_ref().map(String::as_str));
    let zeros = qorus(&["qubo", "solve", &wheel, "--format", "gset", "--time-limit", "0", "--json"]).json();
    assert_eq!(zeros["objective"], 0);
    let text = file("wheel-initial.txt", b"1 0 0 0 0 0 0 0 0\n");
    assert_eq!(ask(&text).json()["objective"], 8);
    let text = file("wheel-initial-apart.txt", b"110101010\n");
    let found = ask(&text).json();
    assert_eq!(found["objective"], 12);
    // What the command printed, and several in a list, of which the first is the first read's.
    let json = file("wheel-initial.json", found.to_string().as_bytes());
    assert_eq!(ask(&json).json()["objective"], 12);
    let list = file("wheel-initial-list.json", b"[[1,0,0,0,0,0,0,0,0],[0,0,0,0,0,0,0,0,0]]");
    assert_eq!(ask(&list).json()["objective"], 8);
    for (name, bytes, words) in [
        ("short", &b"0101"[..], "9 variables"),
        ("empty", b"", "9 variables"),
        ("other", b"012", "byte 2"),
        ("cut", b"{\"assignment\": [0, 1", "JSON"),
        ("two", b"[0, 2]", "zeros and ones"),
    ] {
        ask(&file(&format!("wheel-initial-{name}"), bytes)).refused(1, &[words]);
    }
    ask("no such file").refused(1, &["no such file"]);
}

#[test]
fn a_circuit_is_written() {
    let (wheel, qasm) = (wheel(), scratch("wheel.qasm"));
    let qasm = qasm.to_str().unwrap();
    let args = ["qubo", "solve", &wheel, "--format", "gset", "--qasm", qasm];
    qorus(&args).refused(2, &["--solver qaoa"]);
    let found = qorus(&[&args[..], &["--solver", "qaoa", "--layers", "2", "--json"]].concat()).json();
    assert_eq!((&found["objective"], &found["solver"]), (&12.into(), &"qaoa".into()));
    let text = std::fs::read_to_string(qasm).unwrap();
    assert!(text.starts_with("OPENQASM 3.0;") && text.contains("qubit[9] q;"), "{text}");
}

#[test]
fn a_target_and_a_limit_end_a_run_and_it_is_drawn() {
    let wheel = wheel();
    let plot = scratch("wheel.svg");
    let plot = plot.to_str().unwrap();
    let args =
        ["qubo", "solve", &wheel, "--format", "gset", "--target", "12", "--time-limit", "30", "--plot", plot, "--json"];
    let found = qorus(&args).json();
    assert_eq!((&found["stopped"], found["total_s"].as_f64().unwrap() < 10.0), (&"target".into(), true));
    let svg = std::fs::read_to_string(plot).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("best value"));
    let args = [
        "qubo",
        "solve",
        &wheel,
        "--format",
        "gset",
        "--target",
        "13",
        "--time-limit",
        "0.3",
        "--solver",
        "anneal",
        "--json",
    ];
    let found = qorus(&args).json();
    assert!((0.29..0.5).contains(&found["total_s"].as_f64().unwrap()), "{found}");
    let zero = qorus(&["qubo", "solve", &wheel, "--format", "gset", "--time-limit", "0", "--json"]).json();
    assert!(zero["objective"].is_number());
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_with_the_best_so_far() {
    let wheel = wheel();
    let args = [
        "qubo",
        "solve",
        &wheel,
        "--format",
        "gset",
        "--target",
        "13",
        "--time-limit",
        "60",
        "--solver",
        "anneal",
        "--json",
    ];
    let child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(700));
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let found = done(child.wait_with_output().unwrap()).json();
    assert_eq!((&found["objective"], &found["stopped"]), (&12.into(), &"cancelled".into()));
}

#[test]
fn problems_are_described_and_converted() {
    let wheel = wheel();
    let info = qorus(&["qubo", "info", &wheel, "--format", "gset", "--json"]).json();
    assert_eq!((&info["variables"], &info["couplings"], &info["sense"]), (&9.into(), &16.into(), &"maximize".into()));
    assert_eq!((&info["degree"]["max"], &info["exact"]), (&8.into(), &true.into()));
    assert!(info["total"].as_u64().unwrap() > 0 && info["auto"].is_array());
    assert!(qorus(&["qubo", "info", &wheel, "--format", "gset"]).text().contains("variables   9"));
    for form in ["orlib", "qbsolv", "coo", "bqm", "bqpjson", "qio"] {
        let out = scratch(&format!("wheel.{form}"));
        let out = out.to_str().unwrap();
        let made = qorus(&["qubo", "convert", &wheel, out, "--format", "gset", "--to", form]);
        assert_eq!(made.code, 0, "{}", made.err);
        assert_eq!(made.err.contains("opposite sign"), form != "orlib", "{}", made.err);
        // All but this one are told by what they look like.
        let given: &[&str] = if form == "orlib" { &["--format", "orlib"] } else { &[] };
        let found = qorus(&[&["qubo", "solve", out, "--json"], given].concat()).json();
        assert_eq!(found["objective"], if form == "orlib" { 12 } else { -12 }, "{form}");
    }
}

#[test]
fn wrong_files_and_wrong_usage_are_told() {
    let wheel = wheel();
    qorus(&["qubo", "solve", &wheel]).refused(1, &["--format gset"]);
    qorus(&["qubo", "solve", "nothing", "--format", "gset"]).refused(1, &["nothing: no such file"]);
    let cut = file("cut.gset", b"9 16\n1 2 1\n");
    qorus(&["qubo", "info", &cut, "--format", "gset"]).refused(1, &["cut.gset:2", "edge 2 of 16"]);
    qorus(&["qubo", "solve", &wheel, "--format", "gset", "--beta-range", "3,1"]).refused(2, &["beta_range"]);
    for wrong in
        [["--num-reads", "-1"], ["--time-limit", "-1"], ["--solver", "magic"], ["--format", "xml"], ["--target", "x"]]
    {
        let end = qorus(&[&["qubo", "solve", &wheel][..], &wrong].concat());
        assert_eq!((end.code, end.out.len()), (2, 0), "{wrong:?}: {}", end.err);
    }
}

#[test]
fn questions_of_tables_are_answered_beside_the_greedy_way() {
    let mut rows = String::from("a,b,copy,noise,y\n");
    for i in 0..200 {
        let (a, b) = (i % 4, i / 4 % 4);
        let copy = if i % 25 == 0 { 3 - a } else { a };
        rows += &format!("{a},{b},{copy},{},c{}\n", i * 7 % 5, 2 * a + b);
    }
    let table = file("features.csv", rows.as_bytes());
    let found =
        qorus(&["qubo", "features", &table, "--target", "y", "-k", "2", "--time-limit", "0.2", "--json"]).json();
    assert_eq!((&found["chosen"], &found["feasible"]), (&serde_json::json!(["a", "b"]), &true.into()), "{found}");
    assert!(found["greedy"]["objective"].as_f64().unwrap() <= found["objective"].as_f64().unwrap() + 1e-9);
    qorus(&["qubo", "features", &table, "--target", "z", "-k", "2"]).refused(1, &["no column \"z\""]);
    qorus(&["qubo", "features", &table, "--target", "y", "-k", "9"]).refused(2, &["4 columns"]);

    let table =
        file("items.csv", b"item,option,loss,cost\nl1,2,9,1\nl1,4,3,2\nl1,8,0,4\nl2,2,5,1\nl2,4,1,2.5\nl2,8,0,4\n");
    let found = qorus(&["qubo", "assign", &table, "--budget", "4.5", "--time-limit", "0.2", "--json"]).json();
    assert_eq!(found["chosen"], serde_json::json!(["l1=4", "l2=4"]), "{found}");
    assert_eq!((&found["objective"], &found["cost"]), (&4.into(), &serde_json::json!(4.5)));
    qorus(&["qubo", "assign", &table, "--budget", "1"]).refused(1, &["the cheapest options cost 2"]);

    let table = file("rows.csv", b"id,quality,price,u,v\nx,5,2,1,0\ny,4.9,2,1,0.01\nz,3,2,0,1\nw,1,9,1,1\n");
    let mut args =
        vec!["qubo", "subset", &table, "--cost", "price", "--budget", "4", "--vectors", "u,v", "--diversity", "3"];
    args.extend(["--name", "id", "--time-limit", "0.2"]);
    let found = qorus(&[&args[..], &["--json"]].concat()).json();
    assert_eq!((&found["chosen"], &found["objective"]), (&serde_json::json!(["x", "z"]), &8.into()), "{found}");
    let text = qorus(&args).text();
    assert!(text.contains("solved   8.000000, cost 4: x z") && text.contains("greedy"), "{text}");
}
