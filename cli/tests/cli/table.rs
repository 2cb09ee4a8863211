//! `qorus train` for tables, and `qorus predict`.

use crate::{model, qorus, scratch};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder of its own for a test, with a table whose answer and amount follow from a number and a category.
fn folder(name: &str, rows: usize) -> PathBuf {
    let dir = scratch(&format!("table-{name}"));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    let mut text = String::from("id,x,kind,bought,amount\n");
    for i in 0..rows {
        let (x, kind) = ((i * 37 % 101) as f64 / 10.0, ["red", "green, light", "blue"][i * 7 % 3]);
        let bought = if kind == "red" { x > 6.0 } else { x < 3.0 };
        let amount = 2.0 * x + if kind == "blue" { 10.0 } else { 0.0 };
        let x = if i % 40 == 11 { String::new() } else { x.to_string() };
        text += &format!("a{i},{x},\"{kind}\",{},{amount}\n", if bought { "yes" } else { "no" });
    }
    fs::write(dir.join("table.csv"), text).unwrap();
    dir
}

/// A description of a run in that folder, with texts replaced.
fn config(dir: &Path, changes: &[(&str, &str)]) -> String {
    let mut text = format!(
        "kind = \"table\"\nout = \"{0}/run\"\n[data]\nfiles = [\"{0}/table.csv\"]\nvalidation = 0.15\n\
         [table]\ntarget = \"bought\"\nignore = [\"id\", \"amount\"]\nfolds = 3\n[network]\nhidden = [16]\n\
         [train]\nsteps = 300\nbatch = 32\nrate = 1e-2\nwarmup = 10\nvalidate_every = 50\nsave_every = 100\nkeep = 9\nseed = 3\n\
         threads = 2\n",
        dir.display()
    );
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let path = dir.join("config.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn at(dir: &Path, name: &str) -> String {
    dir.join(name).to_str().unwrap().to_owned()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

#[test]
fn a_table_is_learned_and_told() {
    let dir = folder("classes", 600);
    let all = lines(&qorus(&["train", "--json", &config(&dir, &[])]).text());
    let folds: Vec<_> = all.iter().filter(|line| line.get("fold").is_some()).collect();
    assert_eq!(folds.len(), 3);
    assert!(folds.iter().all(|f| f["measures"]["rows"] == 200), "{folds:?}");
    let cross = &all[3]["cross_validation"];
    assert!(cross["mean"]["value"].as_f64().unwrap() > 0.95, "{cross}");
    assert_eq!(cross["measures"]["confusion"].as_array().unwrap().len(), 2);
    let end = all.last().unwrap();
    assert_eq!((&end["done"], end["step"].as_u64()), (&Value::Bool(true), Some(300)));
    let run = dir.join("run");
    for name in ["roc.svg", "calibration.svg", "loss.svg"] {
        assert!(fs::read_to_string(run.join(name)).unwrap().contains("polyline"), "{name}");
    }
    let measures: Value = serde_json::from_str(&fs::read_to_string(run.join("measures.json")).unwrap()).unwrap();
    assert_eq!(measures["cross_validation"]["measures"]["rows"], 600);
    // The rows again: with the target, the measures come too.
    let (model, table) = (at(&run, "model.gguf"), at(&dir, "table.csv"));
    let told = qorus(&["predict", "-m", &model, &table]);
    assert_eq!(told.code, 0);
    assert!(told.err.contains("ROC-AUC") && told.err.contains("taken for"), "{}", told.err);
    let text = String::from_utf8(told.out).unwrap();
    assert!(text.starts_with("row,bought,p(no),p(yes)\n1,") && text.lines().count() == 601, "{text}");
    // Other columns beside, another order, no target, a category that is not known; the same table to a file.
    let new = at(&dir, "new.csv");
    fs::write(&new, "kind,other,x\nred,1,9\n\"green, light\",2,9\nviolet,3,\n").unwrap();
    let told = qorus(&["predict", "-m", &model, "--json", &new]);
    let words = "new.csv: column \"kind\": a cell holds a category that the model does not know";
    assert!(told.code == 0 && told.err.contains(words), "{}", told.err);
    let told = lines(&String::from_utf8(told.out).unwrap());
    assert_eq!(told.len(), 3);
    assert_eq!((&told[0]["prediction"], &told[1]["prediction"]), (&"yes".into(), &"no".into()), "{told:?}");
    let p = |row: usize, class: &str| told[row]["probabilities"][class].as_f64().unwrap();
    assert!((0..3).all(|row| (p(row, "no") + p(row, "yes") - 1.0).abs() < 1e-6));
    let out = at(&dir, "out.csv");
    assert_eq!(qorus(&["predict", "-m", &model, "-o", &out, "-t", "1", &table]).code, 0);
    assert_eq!(fs::read_to_string(&out).unwrap(), text);
    // What such a model is to other commands.
    qorus(&["run", "-m", &model, "hello"]).refused(1, &["no tokenizer"]);
    let seen = qorus(&["inspect", "--json", &model]).json();
    assert_eq!(seen["metadata"]["qorus.layer.0.kind"], "features");
    assert!(qorus(&["plan", "--json", &model]).json()["total"].as_u64().unwrap() > 0);
}

#[test]
fn values_are_told_in_their_own_measure() {
    let dir = folder("values", 600);
    let changes =
        [("\"bought\"", "\"amount\""), ("[\"id\", \"amount\"]", "[\"id\", \"bought\"]"), ("folds = 3", "folds = 0")];
    let all = lines(&qorus(&["train", "--json", &config(&dir, &changes)]).text());
    let end = all.last().unwrap();
    assert!(end["measures"]["r2"].as_f64().unwrap() > 0.8, "{end}");
    assert!(!dir.join("run/measures.json").exists());
    let (model, new) = (at(&dir, "run/model.gguf"), at(&dir, "new.csv"));
    fs::write(&new, "x,kind\n5,blue\n5,red\n").unwrap();
    let text = qorus(&["predict", "-m", &model, &new]).text();
    let told: Vec<f64> = text.lines().skip(1).map(|l| l.split(',').nth(1).unwrap().parse().unwrap()).collect();
    assert!(text.starts_with("row,amount\n") && (told[0] - 20.0).abs() < 3.0 && (told[1] - 10.0).abs() < 3.0, "{text}");
}

#[test]
fn a_run_over_a_table_goes_on_to_the_same_bits() {
    let dir = folder("resume", 300);
    let config = config(&dir, &[("folds = 3", "folds = 0")]);
    assert_eq!(qorus(&["train", "--json", &config]).code, 0);
    let (model, run) = (dir.join("run/model.gguf"), dir.join("run"));
    let whole = fs::read(&model).unwrap();
    for step in [200, 300] {
        fs::remove_file(run.join(format!("step-{step:010}.qckpt"))).unwrap();
    }
    fs::remove_file(&model).unwrap();
    let all = lines(&qorus(&["train", "--json", "--resume", &config]).text());
    assert_eq!(all[0]["step"], 101);
    assert!(fs::read(&model).unwrap() == whole);
    // Other rows under the same name.
    let text = fs::read_to_string(dir.join("table.csv")).unwrap();
    let other = text.replacen("a5,8.4", "a5,8.5", 1);
    assert!(other != text);
    fs::write(dir.join("table.csv"), other).unwrap();
    qorus(&["train", "--resume", "--json", &config]).refused(1, &["other data"]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let dir = folder("bad", 60);
    let bad = |changes: &[(&str, &str)], words: &[&str]| {
        let config = config(&dir, changes);
        qorus(&["train", &config]).refused(1, words);
        assert!(!dir.join("run/model.gguf").exists());
    };
    bad(&[("target = \"bought\"", "target = \"sold\"")], &["table.csv", "no column \"sold\"", "kind"]);
    bad(&[("[table]\ntarget = \"bought\"", "[table]")], &["config.toml", "target"]);
    bad(&[("hidden", "hiden")], &["config.toml", "hiden"]);
    bad(&[("[16]", "[0]")], &["hidden layers of [0]"]);
    bad(&[("table.csv\"]", "table.csv\", \"b.csv\"]")], &["2 files"]);
    bad(&[("table.csv\"]", "none.csv\"]")], &["none.csv"]);
    bad(&[("folds = 3", "folds = 1")], &["1 folds"]);
    bad(&[("folds = 3", "folds = 61")], &["61 folds"]);
    bad(&[("validation = 0.15", "validation = 0.0")], &["data.validation"]);
    bad(&[("validation = 0.15", "validation = 1.5")], &["1.5"]);
    bad(&[("\"id\", \"amount\"", "\"amount\""), ("folds = 3", "max_categories = 50")], &["\"id\"", "categories"]);
    bad(&[("batch = 32", "batch = 0")], &["train.batch"]);
    bad(&[("rate = 1e-2", "rate = nan")], &["rate"]);
    bad(&[("target = \"bought\"", "target = \"kind\"\ntask = \"number\"")], &["no number"]);
    fs::write(dir.join("table.csv"), "id,x,kind,bought,amount\na,1,red,yes,2\n").unwrap();
    bad(&[("folds = 3", "folds = 0")], &["\"bought\"", "two at least"]);
    // Prediction.
    let table = at(&dir, "table.csv");
    qorus(&["predict", "-m", &model(), &table]).refused(1, &["no model of tables", "qorus.table"]);
    assert_eq!(qorus(&["predict", &table]).code, 2);
}
