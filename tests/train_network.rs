//! Networks for tables: what they learn, that what is saved tells the same, and how well real tables are told.

mod common;

use common::dir::{Dir, shared};
use qorus::engine::{Model, Runtime};
use qorus::gguf::Gguf;
use qorus::models::qorus::TABLE;
use qorus::train::control::{Control, Wish};
use qorus::train::data::table::{Bound, Description, FitParams, Rows, TableParams};
use qorus::train::examples::TableFeed;
use qorus::train::export::export;
use qorus::train::metrics;
use qorus::train::optim::Group;
use qorus::train::run::{Run, RunParams, Unwatched};
use qorus::train::schedule::{EarlyStop, Fall, Schedule};
use qorus::train::table::{Network, Predictor, Recipe, cross_validate, description, of_model, start};
use qorus::train::{Trainer, TrainerParams};
use qorus::{Code, Isa};
use std::sync::Arc;

fn recipe(steps: u64, batch: usize, rate: f64) -> Recipe {
    let schedule =
        Schedule { rate, floor: rate / 100.0, warmup: 20, total: steps, fall: Fall::Cosine, from_zero: false };
    let validate_every = (steps / 20).max(1);
    let early = Some(EarlyStop::new(5, 0.0).unwrap());
    Recipe {
        network: Network::default(),
        fit: FitParams { intervals: 32, ..FitParams::default() },
        batch,
        class_weights: false,
        validation: 0.1,
        trainer: TrainerParams { groups: Group::pair(0.05), seed: 1, ..TrainerParams::default() },
        rules: RunParams { schedule, validate_every, early, ..RunParams::new(steps, rate) },
    }
}

/// A table whose answer follows from a number and a category together, with some cells missing.
fn made(rows: usize) -> String {
    let mut text = String::from("x,noise,kind,more,answer,amount\n");
    let mut state = 3u64;
    let mut random = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f64 / (1u64 << 24) as f64
    };
    for row in 0..rows {
        let (x, noise, kind) = (random() * 10.0, random(), ["red", "green", "blue"][(random() * 3.0) as usize]);
        let yes = if kind == "red" { x > 7.0 } else { kind == "green" && x < 4.0 };
        let amount = 3.0 * x + if kind == "blue" { 20.0 } else { 0.0 };
        let x = if row % 50 == 7 { String::new() } else { format!("{x:.4}") };
        text += &format!("{x},{noise:.4},{kind},{},{},{amount:.4}\n", row % 4, if yes { "yes" } else { "no" });
    }
    text
}

#[test]
fn what_is_learned_is_saved_and_told_again() {
    let dir = Dir::new("network");
    let path = dir.file("made.csv", made(2000).as_bytes());
    let rt = Runtime::new(2, None).unwrap();
    for (target, ignore) in [("answer", "amount"), ("amount", "answer")] {
        let params =
            TableParams { ignore: vec![ignore.into()], categories: vec!["more".into()], ..TableParams::new(target) };
        let rows = Arc::new(Rows::read(&path, &params).unwrap());
        let recipe = recipe(800, 64, 5e-3);
        let all: Vec<u32> = (0..1600).collect();
        let (learned, kept) = recipe.split(&rows, &all).unwrap();
        assert!(kept.len().abs_diff(160) <= 1 && learned.len() + kept.len() == 1600);
        let d = Description::fit(&rows, |row| row < 1600, &recipe.fit).unwrap();
        let table = Arc::new(Bound::new(Arc::clone(&rows), d.clone()).unwrap());
        let first = dir.0.join("start.gguf");
        std::fs::write(&first, start(&d, &recipe.network, 1).unwrap()).unwrap();
        assert!(start(&d, &recipe.network, 1).unwrap() == std::fs::read(&first).unwrap());
        let model = Model::open(&rt, &first).unwrap();
        assert_eq!(description(model.gguf.as_ref().unwrap()).unwrap(), d);
        let mut trainer = Trainer::new(&model, &recipe.trainer(&table, &learned).unwrap(), |_| true).unwrap();
        let mut feed = TableFeed::new(&table, learned, recipe.batch, Some(1)).unwrap();
        let mut validation = TableFeed::new(&table, kept, recipe.batch, None).unwrap();
        let mut run = Run::new(&mut trainer, &mut feed, Some(&mut validation), &recipe.rules).unwrap();
        run.go(&Control::new(), &mut Unwatched).unwrap();
        // Rows that were not seen, through the trainer's values and through the file.
        let test: Vec<u32> = (1600..2000).collect();
        let mut predictor = Predictor::new(&model, d.clone()).unwrap();
        let before = predictor.all(&table, &test).unwrap();
        predictor.set_snapshot(Arc::new(trainer.snapshot().unwrap())).unwrap();
        let told = predictor.all(&table, &test).unwrap();
        assert!(before != told);
        let file = dir.0.join("model.gguf");
        export(&trainer, &file, None).unwrap();
        for (threads, isa) in [(1, Isa::Scalar), (3, Isa::detect())] {
            let rt = Runtime::new(threads, Some(isa)).unwrap();
            let mut predictor = of_model(&Model::open(&rt, &file).unwrap()).unwrap();
            let rows = Rows::read_for(&path, predictor.description(), 1 << 20).unwrap();
            let table = Bound::new(rows, predictor.description().clone()).unwrap();
            assert!(predictor.all(&table, &test).unwrap() == told, "{threads} threads");
        }
        if target == "answer" {
            let truth: Vec<u32> = test.iter().map(|&row| table.class(row as usize).unwrap()).collect();
            let m = metrics::classes(&told, 2, &truth).unwrap();
            println!("{m:?}");
            assert!(m.auc.unwrap() > 0.97 && m.accuracy > 0.93, "{m:?}");
            assert!(told.chunks(2).all(|p| (p[0] + p[1] - 1.0).abs() < 1e-6));
        } else {
            let truth: Vec<f32> = test.iter().map(|&row| table.raw(row as usize).unwrap()).collect();
            let m = metrics::values(&told, &truth).unwrap();
            println!("{m:?}");
            assert!(m.r2 > 0.9, "{m:?}");
        }
    }
}

#[test]
fn bad_networks_and_files_are_refused() {
    let dir = Dir::new("network-bad");
    let path = dir.file("made.csv", made(100).as_bytes());
    let rows = Arc::new(Rows::read(&path, &TableParams::new("answer")).unwrap());
    let d = Description::fit(&rows, |_| true, &FitParams::default()).unwrap();
    for bad in [
        Network { hidden: vec![8, 0], ..Network::default() },
        Network { hidden: vec![1 << 20], ..Network::default() },
        Network { embedding: 0, ..Network::default() },
        Network { dropout: 1.0, ..Network::default() },
    ] {
        assert_eq!(start(&d, &bad, 1).unwrap_err().code(), Code::InvalidArgument, "{bad:?}");
    }
    // A linear model is one too.
    let rt = Runtime::new(1, Some(Isa::Scalar)).unwrap();
    let linear = Network { hidden: Vec::new(), dropout: 0.0, ..Network::default() };
    let bytes = start(&d, &linear, 1).unwrap();
    let open = |bytes: Vec<u8>| Gguf::from_bytes(bytes).and_then(|g| Model::new(&rt, Arc::new(g)));
    let model = open(bytes.clone()).unwrap();
    let mut predictor = of_model(&model).unwrap();
    let other = Description::fit(&rows, |row| row < 50, &FitParams::default()).unwrap();
    let foreign = Bound::new(Arc::clone(&rows), other).unwrap();
    assert_eq!(predictor.all(&foreign, &[0]).unwrap_err().code(), Code::InvalidArgument);
    let own = Bound::new(Arc::clone(&rows), d.clone()).unwrap();
    assert_eq!(predictor.all(&own, &[0, 100]).unwrap_err().code(), Code::InvalidArgument);
    assert!(predictor.all(&own, &[]).unwrap().is_empty());
    // A description that is missing, damaged, or of another table.
    let e = of_model(&open(common::small::without(&bytes, TABLE)).unwrap()).err().unwrap();
    assert_eq!(e.code(), Code::State, "{e}");
    let at = bytes.windows(9).position(|w| w == b"\"columns\"").unwrap();
    let e = of_model(&open(common::small::patch(bytes.clone(), at + 1, b"k")).unwrap()).err().unwrap();
    assert_eq!(e.code(), Code::Format, "{e}");
    let at = bytes.windows(7).position(|w| w == b"\"noise\"").unwrap();
    let mut cut = bytes.clone();
    cut[at + 1] = b'N';
    assert!(of_model(&open(cut).unwrap()).is_ok(), "a name is not checked before a table is there");
    // Stopped from outside.
    let control = Control::new();
    control.set(Wish::Stop);
    let e = cross_validate(&rt, &rows, 2, &recipe(50, 16, 1e-3), &control, &mut |_, _, _| Ok(())).unwrap_err();
    assert_eq!(e.code(), Code::Cancelled);
}

/// Mean ROC-AUC over five stratified folds.
#[test]
fn real_tables_are_told() {
    for (name, target, ignore, categories, batch, goal) in [
        ("telco-customer-churn.csv", "Churn", "customerID", "SeniorCitizen", 64, 0.84),
        ("online_shoppers_intention.csv", "Revenue", "", "OperatingSystems,Browser,Region,TrafficType", 128, 0.90),
    ] {
        let Some(path) = shared(&format!("data/{name}")) else { continue };
        let list = |text: &str| text.split(',').filter(|t| !t.is_empty()).map(String::from).collect::<Vec<_>>();
        let params = TableParams { ignore: list(ignore), categories: list(categories), ..TableParams::new(target) };
        let rows = Arc::new(Rows::read(&path, &params).unwrap());
        let rt = Runtime::new(0, None).unwrap();
        let steps = 15 * rows.len() as u64 * 7 / 10 / batch as u64;
        let mut areas = Vec::new();
        let begun = std::time::Instant::now();
        let control = Control::new();
        let recipe = recipe(steps, batch, 2e-3);
        cross_validate(&rt, &rows, 5, &recipe, &control, &mut |no, fold, _| {
            let m = metrics::classes(&fold.told, 2, &fold.classes)?;
            eprintln!("{name} fold {no}: {} steps, auc {:?}, f1 {:.3}", fold.steps, m.auc, m.each[1].f1);
            areas.extend(m.auc);
            Ok(())
        })
        .unwrap();
        let mean = areas.iter().sum::<f64>() / 5.0;
        eprintln!("{name}: mean ROC-AUC {mean:.4}, {:?}", begun.elapsed());
        assert!(areas.len() == 5 && mean >= goal, "{name}: {mean}");
    }
}
