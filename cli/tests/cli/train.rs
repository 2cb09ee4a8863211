//! `qorus train`: runs that end, go on, are killed, and are refused.

use crate::{command, done, qorus, scratch};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A folder of its own for a test, with a text of so many lines.
fn folder(name: &str, lines: usize) -> PathBuf {
    let dir = scratch(&format!("train-{name}"));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    let text: String =
        (0..lines).map(|i| format!("line {i} of {lines}: {}\n", ["one", "two", "three"][i * i % 3])).collect();
    fs::write(dir.join("text.txt"), text).unwrap();
    dir
}

/// A description of a small run in that folder, with lines replaced.
fn config(dir: &Path, changes: &[(&str, &str)]) -> String {
    let mut text = format!(
        "kind = \"text\"\nout = \"{0}/run\"\n[model]\nlayers = 1\nwidth = 32\nheads = 2\nffn = 64\ncontext = 32\ndropout = 0.1\n\
         [vocabulary]\nkind = \"characters\"\n[data]\nfiles = [\"{0}/text.txt\"]\nvalidation = 0.1\n\
         [train]\nsteps = 40\nbatch = 4\nmicro_batch = 2\nrate = 1e-2\nwarmup = 4\nclip_norm = 1.0\nvalidate_every = 10\n\
         save_every = 1\nseed = 3\nthreads = 2\n",
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

fn model(dir: &Path) -> Vec<u8> {
    fs::read(dir.join("run/model.gguf")).unwrap()
}

/// Step and loss of each line of the log.
fn log(dir: &Path) -> Vec<(u64, String)> {
    let text = fs::read_to_string(dir.join("run/log.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| (line["step"].as_u64().unwrap(), line["loss"].to_string())).collect()
}

#[test]
fn a_run_leaves_log_curve_checkpoints_and_a_model_that_runs() {
    let dir = folder("whole", 200);
    let end = qorus(&["train", "--json", &config(&dir, &[])]);
    assert_eq!((end.code, end.err.as_str()), (0, ""), "{}", end.err);
    let text = String::from_utf8(end.out).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 41);
    let (first, last, end) = (&lines[0], &lines[39], &lines[40]);
    for key in ["step", "loss", "lr", "grad_norm", "tokens_per_s"] {
        assert!(first[key].is_number(), "{key} in {first}");
    }
    assert!(first.get("val_loss").is_none() && last["val_loss"].is_number(), "{last}");
    assert!(last["loss"].as_f64() < first["loss"].as_f64().map(|x| 0.8 * x), "{first} {last}");
    assert_eq!((&end["done"], end["step"].as_u64()), (&Value::Bool(true), Some(40)));
    assert!(end["checkpoint"].as_str().unwrap().ends_with("step-0000000040.qckpt"), "{end}");
    assert!(end["val_bits_per_byte"].is_number());
    let run = dir.join("run");
    assert!(fs::read_to_string(run.join("loss.svg")).unwrap().contains("polyline"));
    assert_eq!(log(&dir).len(), 40);
    let checkpoints =
        fs::read_dir(&run).unwrap().filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "qckpt"));
    assert_eq!(checkpoints.count(), 3, "two and the best");
    let path = run.join("model.gguf");
    let text = qorus(&["run", "-m", path.to_str().unwrap(), "-n", "20", "--temp", "0", "line 1"]).text();
    assert!(text.len() >= 10, "{text:?}");
    // What is there is neither thrown away nor mixed with something else by accident.
    let config = config(&dir, &[]);
    qorus(&["train", &config]).refused(1, &["a run is there", "step-0000000040", "--resume", "--restart"]);
    let before = model(&dir);
    assert_eq!(qorus(&["train", "--resume", "--json", &config]).code, 0);
    assert!(model(&dir) == before, "going on with a run that is done changed it");
}

#[test]
fn killed_a_hundred_times_it_ends_with_the_same_bits() {
    let whole = folder("calm", 200);
    assert_eq!(qorus(&["train", "--json", &config(&whole, &[("steps = 40", "steps = 1500")])]).code, 0);
    let dir = folder("killed", 200);
    let text = fs::read(whole.join("text.txt")).unwrap();
    fs::write(dir.join("text.txt"), text).unwrap();
    let config = config(&dir, &[("steps = 40", "steps = 1500")]);
    let (mut state, mut kills) = (1u64, 0);
    for _ in 0..100 {
        let mut child = command(&["train", "--resume", "--json", &config]).stdout(Stdio::null()).spawn().unwrap();
        // Knuth's MMIX generator; any would do.
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        std::thread::sleep(Duration::from_micros(5_000 + (state >> 33) % 45_000));
        kills += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let end = qorus(&["train", "--resume", "--json", &config]);
    assert_eq!(end.code, 0, "{}", end.err);
    println!("{kills} of 100 kills hit a run that was under way");
    assert!(kills >= 80, "only {kills} kills hit a run that was under way");
    assert!(model(&dir) == model(&whole), "the model differs");
    assert!(log(&dir) == log(&whole), "the log differs");
}

#[test]
fn ctrl_c_finishes_the_step_and_saves() {
    let dir = folder("stop", 200);
    let config = config(&dir, &[("steps = 40", "steps = 100000000"), ("save_every = 1", "save_every = 0")]);
    let child = command(&["train", &config]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    for _ in 0..1000 {
        std::thread::sleep(Duration::from_millis(10));
        if fs::read_to_string(dir.join("run/log.jsonl")).is_ok_and(|log| log.lines().count() > 3) {
            break;
        }
    }
    // Paused it stands still; then it goes on.
    let signal =
        |name: &str| assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
    signal("-USR1");
    std::thread::sleep(Duration::from_millis(300));
    let before = log(&dir).len();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(log(&dir).len(), before, "a pause does not hold the run");
    signal("-USR2");
    std::thread::sleep(Duration::from_millis(300));
    assert!(log(&dir).len() > before, "it did not go on");
    signal("-INT");
    let end = done(child.wait_with_output().unwrap());
    assert_eq!(end.code, 0, "{}", end.err);
    assert!(end.err.contains("stopped at step"), "{}", end.err);
    let steps = log(&dir).last().unwrap().0;
    assert!(dir.join(format!("run/step-{steps:010}.qckpt")).exists());
}

#[test]
fn what_cannot_be_learned_is_refused_in_one_line() {
    let dir = folder("bad", 200);
    for (from, to, words) in [
        ("text.txt", "none.txt", &["none.txt"][..]),
        ("rate = 1e-2", "rate = nan", &["learning rate", "NaN"]),
        ("batch = 4", "batch = 0", &["batch"]),
        ("micro_batch = 2", "micro_batch = 3", &["micro_batch", "dividing"]),
        ("warmup = 4", "length = 33", &["train.length = 33", "32"]),
        ("warmup = 4", "warmup = 41", &["warm-up", "41"]),
        ("warmup = 4", "wramup = 4", &["config.toml:", "wramup"]),
        ("steps = 40", "steps = 0", &["steps"]),
        ("kind = \"text\"", "kind = \"sound\"", &["config.toml:1", "sound"]),
        ("layers = 1\n", "", &["model.layers"]),
        ("heads = 2", "heads = 3", &["model.heads = 3"]),
        ("validation = 0.1", "validation = 1.5", &["1.5"]),
        ("validation = 0.1", "validation = 0.0", &["validations are asked for"]),
        ("seed = 3", "budget = \"1k\"", &["budget", "1024"]),
        ("dropout = 0.1", "dropout = 1.0", &["probability 1"]),
        ("width = 32", "base = \"none.gguf\"", &["none.gguf"]),
    ] {
        let path = config(&dir, &[(from, to)]);
        qorus(&["train", "--restart", "--json", &path]).refused(1, words);
        assert!(!dir.join("run/model.gguf").exists(), "{to}");
    }
    for (text, words) in [("", &["text.txt"][..]), ("one line\n", &["validation"])] {
        fs::write(dir.join("text.txt"), text).unwrap();
        qorus(&["train", "--restart", "--json", &config(&dir, &[])]).refused(1, words);
    }
    qorus(&["train", "/none.toml"]).refused(1, &["/none.toml"]);
}

/// A run is not gone on with on other data; and where the disk is full, the checkpoint that was there stays.
#[test]
fn other_data_and_a_full_disk_leave_the_checkpoint_alone() {
    let dir = folder("full", 200);
    let path = config(&dir, &[("steps = 40", "steps = 5")]);
    assert_eq!(qorus(&["train", "--json", &path]).code, 0);
    let kept = dir.join("run/step-0000000005.qckpt");
    let before = fs::read(&kept).unwrap();
    let path = config(&dir, &[("steps = 40", "steps = 9")]);
    let text = fs::read(dir.join("text.txt")).unwrap();
    fs::write(dir.join("text.txt"), &text[..text.len() - 100]).unwrap();
    let other = qorus(&["train", "--resume", "--json", &path]);
    assert_eq!(other.code, 1);
    assert!(other.err.contains("other data") && other.err.lines().count() == 1, "{}", other.err);
    fs::write(dir.join("text.txt"), &text).unwrap();
    // Files may grow to half of a checkpoint, and no further.
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" train --resume --json \"$1\"", before.len() / 1024);
    let full = Command::new("bash").args(["-c", &script, env!("CARGO_BIN_EXE_qorus"), &path]).output().unwrap();
    let full = done(full);
    assert_eq!(full.code, 1, "{}", full.err);
    assert!(full.err.contains("cannot be") && full.err.lines().count() == 1, "{}", full.err);
    assert!(fs::read(&kept).unwrap() == before, "the checkpoint changed");
    assert!(
        fs::read_dir(dir.join("run")).unwrap().all(|e| !e.unwrap().file_name().to_str().unwrap().ends_with(".tmp"))
    );
    assert_eq!(qorus(&["train", "--resume", "--json", &path]).code, 0);
}

#[test]
fn a_plan_of_training_says_what_each_choice_costs() {
    let model = crate::model();
    let plan = |more: &[&str]| {
        qorus(&[&["plan", &model, "--json", "--train", "full", "--ctx", "32", "-t", "2"], more].concat()).json()
    };
    let bytes = |plan: &Value, class: &str| plan[class].as_u64().unwrap();
    let (plain, recompute, rounded) =
        (plan(&[]), plan(&["--activations", "recompute"]), plan(&["--activations", "bf16"]));
    let (eight, batch, sgd) =
        (plan(&["--optimizer", "adamw8"]), plan(&["--batch", "4"]), plan(&["--optimizer", "sgd"]));
    assert!(bytes(&recompute, "forward_cache") < bytes(&rounded, "forward_cache"));
    assert!(bytes(&rounded, "forward_cache") < bytes(&plain, "forward_cache"));
    assert!(bytes(&eight, "optimizer") * 3 < bytes(&plain, "optimizer") && bytes(&sgd, "optimizer") == 0);
    assert!(bytes(&batch, "forward_cache") > 3 * bytes(&plain, "forward_cache"));
    // Of the embedding's 98 rows a step of 32 tokens reads less than half, one of 128 may read all.
    assert!(bytes(&plain, "gradients") * 2 < bytes(&plain, "optimizer"));
    assert_eq!(bytes(&batch, "gradients") * 2, bytes(&batch, "optimizer"));
    // The bytes a trainer then reserves.
    use qorus::engine::{Model, Runtime};
    use qorus::train::{Trainer, TrainerParams};
    let opened = Model::open(&Runtime::new(2, None).unwrap(), Path::new(&model)).unwrap();
    let params = TrainerParams { rows: 32, longest: 32, sparse: true, ..TrainerParams::default() };
    let reserved = Trainer::new(&opened, &params, |_| true).unwrap().reserved();
    for (class, expected) in reserved.classes() {
        assert_eq!(bytes(&plain, class), expected as u64, "{class}");
    }
    qorus(&["plan", &model, "--train", "full", "--budget", "1k"]).code.eq(&1).then_some(()).unwrap();
}
