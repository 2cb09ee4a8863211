//! Tables: what is fitted on the rows that are learned from, what a model sees of others, and what is wrong with a file.

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use common::dir::{Dir, shared};
use qorus::Code;
use qorus::train::data::IGNORED;
use qorus::train::data::table::{
    Bound, Description, Feature, FitParams, MISSING, Rows, TableBatch, TableBatches, TableParams, Target, Task,
    UNKNOWN, class_weights, folds,
};

const SHOPS: &str = "\u{feff}id,age, city ,spent,left\n\
                     a1,20,Ulm,1e1,no\r\n\
                     a2,30,\"Bad\nOrb, Hesse\",?,yes\n\
                     a3,,Ulm,30,no\n\
                     a4,40,,50,yes\n\
                     a5,1000,Paris,70,no\n";

fn params() -> TableParams {
    TableParams { ignore: vec!["id".into()], ..TableParams::new("left") }
}

fn shops(dir: &Dir) -> (PathBuf, Bound) {
    let path = dir.file("shops.csv", SHOPS.as_bytes());
    let rows = Rows::read(&path, &params()).unwrap();
    let description = Description::fit(&rows, |row| row < 4, &FitParams::default()).unwrap();
    (path, Bound::new(rows, description).unwrap())
}

fn row(table: &Bound, row: usize) -> (Vec<f32>, Vec<u32>) {
    let d = table.description();
    let (mut numbers, mut categories) = (vec![9.0; d.numbers()], vec![9; d.categories().count()]);
    table.row(row, &mut numbers, &mut categories).unwrap();
    (numbers, categories)
}

#[test]
fn only_what_is_learned_from_is_fitted() {
    let dir = Dir::new("table-fit");
    let (_, table) = shops(&dir);
    let d = table.description();
    let names: Vec<&str> = d.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["age", "city", "spent"]);
    let third = (200f32 / 3.0).sqrt();
    assert_eq!(d.columns[0].feature, Feature::Number { knots: vec![], mean: 30.0, deviation: third, missing: true });
    let Feature::Category { values } = &d.columns[1].feature else { panic!() };
    assert_eq!(values, &["Bad\nOrb, Hesse", "Ulm"], "Paris was not learned");
    assert_eq!(d.target, Target::Classes { name: "left".into(), classes: vec!["no".into(), "yes".into()] });
    assert_eq!((d.numbers(), d.categories().collect::<Vec<_>>()), (4, vec![4]));
    let spent = (800f32 / 3.0).sqrt();
    assert_eq!(row(&table, 0), (vec![-10.0 / third, 0.0, -20.0 / spent, 0.0], vec![3]));
    assert_eq!(row(&table, 1), (vec![0.0, 0.0, 0.0, 1.0], vec![2]));
    assert_eq!(row(&table, 2), (vec![0.0, 1.0, 0.0, 0.0], vec![3]));
    assert_eq!(row(&table, 3).1, [MISSING]);
    assert_eq!(row(&table, 4), (vec![970.0 / third, 0.0, 40.0 / spent, 0.0], vec![UNKNOWN]));
    assert_eq!((0..5).map(|r| table.class(r).unwrap()).collect::<Vec<_>>(), [0, 1, 0, 1, 0]);
    assert!(table.value(0).is_none() && table.class(5).is_none());
    assert!(table.row(5, &mut [0.0; 4], &mut [0]).is_err() && table.row(0, &mut [0.0; 3], &mut [0]).is_err());
}

#[test]
fn a_description_is_saved_and_applied() {
    let dir = Dir::new("table-json");
    let (_, table) = shops(&dir);
    let d = table.description();
    let again = Description::from_json(&d.to_json()).unwrap();
    assert_eq!(&again, d);
    // Columns in another order, others beside, no target, and texts where all were numbers by chance.
    let path = dir.file("new.csv", b"city,more,spent,age\n7,x,10,20\nUlm,y,NA,nan\n");
    let rows = Rows::read_for(&path, &again, 1 << 20).unwrap();
    let new = Bound::new(rows, again.clone()).unwrap();
    assert_eq!(row(&new, 0).0, row(&table, 0).0);
    assert_eq!((row(&new, 0).1, row(&new, 1)), (vec![UNKNOWN], (vec![0.0, 1.0, 0.0, 1.0], vec![3])));
    assert_eq!(new.class(0), None);
    for (text, code, words) in [
        ("city,age\nUlm,1\n", Code::NotFound, "no column \"spent\""),
        ("city,age,spent\nUlm,1,2\nUlm,old,2\n", Code::Format, ":3: \"old\" in column \"age\""),
        ("city,age,spent,left\nUlm,1,2,no\nUlm,2,2,maybe\n", Code::Format, ":3: the target \"left\" is \"maybe\""),
    ] {
        let path = dir.file("bad.csv", text.as_bytes());
        let e = Rows::read_for(&path, &again, 1 << 20).and_then(|rows| Bound::new(rows, again.clone())).err().unwrap();
        assert!(e.code() == code && e.message().contains(words), "{e}");
    }
    let json = d.to_json();
    for (from, to) in [("\"version\":1", "\"version\":2"), ("\"mean\":30.0", "\"mean\":\"x\""), ("\"name\"", "\"nam\"")]
    {
        assert!(json.contains(from), "{json}");
        assert!(Description::from_json(&json.replacen(from, to, 1)).is_err(), "{from}");
    }
    assert!((0..json.len()).filter(|i| json.is_char_boundary(*i)).all(|i| Description::from_json(&json[..i]).is_err()));
}

#[test]
fn kinds_are_seen_or_told() {
    let dir = Dir::new("table-kinds");
    let text: String = (0..40).map(|i| format!("{},{},{}\n", i % 3, i % 2, f64::from(i) / 4.0)).collect();
    let path = dir.file("t.csv", format!("code,yes,x\n{text}").as_bytes());
    let fit = |p: &TableParams| {
        let rows = Rows::read(&path, p).unwrap();
        let d = Description::fit(&rows, |_| true, &FitParams::default()).unwrap();
        (rows, d)
    };
    let (rows, d) = fit(&TableParams::new("yes"));
    assert!(matches!(d.target, Target::Classes { ref classes, .. } if *classes == ["0", "1"]));
    assert!(d.columns.iter().all(|c| matches!(c.feature, Feature::Number { missing: false, .. })));
    assert_eq!(rows.strata()[..3], [1, 2, 1]);
    let (_, d) = fit(&TableParams { categories: vec!["code".into()], ..TableParams::new("yes") });
    assert!(matches!(&d.columns[0].feature, Feature::Category { values } if *values == ["0", "1", "2"]));
    let (_, d) = fit(&TableParams { task: Some(Task::Number), ..TableParams::new("yes") });
    assert_eq!(d.target, Target::Number { name: "yes".into(), mean: 0.5, deviation: 0.5 });
    let (rows, d) = fit(&TableParams::new("x"));
    assert!(matches!(d.target, Target::Number { .. }));
    let table = Bound::new(rows, d).unwrap();
    let values: Vec<f32> = (0..40).map(|r| table.value(r).unwrap()).collect();
    assert!(values.iter().sum::<f32>().abs() < 1e-4 && (values.iter().map(|v| v * v).sum::<f32>() - 40.0).abs() < 1e-3);
    // A category of few rows teaches what to make of unknown ones.
    let rows = Rows::read(&dir.file("rare.csv", b"c,y\na,0\na,1\nb,0\n"), &TableParams::new("y")).unwrap();
    let d = Description::fit(&rows, |_| true, &FitParams { min_count: 2, ..FitParams::default() }).unwrap();
    let table = Bound::new(rows, d).unwrap();
    assert_eq!((row(&table, 0).1, row(&table, 2).1), (vec![2], vec![UNKNOWN]));
    // A column of one value.
    let rows = Rows::read(&dir.file("one.csv", b"x,y\n3e9,0\n3e9,1\n"), &TableParams::new("y")).unwrap();
    let d = Description::fit(&rows, |_| true, &FitParams::default()).unwrap();
    assert_eq!(d.columns[0].feature, Feature::Number { knots: vec![], mean: 3e9, deviation: 1.0, missing: false });
}

/// Heavy tails are drawn in: what counts is the place among the values that were learned from.
#[test]
fn numbers_may_stand_for_their_places() {
    let dir = Dir::new("table-knots");
    let text: String = [0, 0, 0, 0, 1, 2, 4, 1000, 3].iter().map(|x| format!("{x},{},7\n", x % 2)).collect();
    let path = dir.file("t.csv", format!("x,y,z\n{text},1,7\n-9,1,8\n9999,0,\n").as_bytes());
    let rows = Rows::read(&path, &TableParams::new("y")).unwrap();
    let params = FitParams { intervals: 4, ..FitParams::default() };
    let d = Description::fit(&rows, |row| row < 8, &params).unwrap();
    let Feature::Number { knots, mean, deviation, missing: false } = &d.columns[0].feature else { panic!("{d:?}") };
    assert_eq!(knots, &[0.0, 2.0, 1000.0], "quantiles 0, 0, 0, 2 and 1000 of eight");
    assert!(
        matches!(&d.columns[1].feature, Feature::Number { knots, mean: 7.0, deviation: 1.0, .. } if knots.is_empty())
    );
    let table = Bound::new(rows, d.clone()).unwrap();
    let found: Vec<f32> = (0..12).map(|r| row(&table, r).0[0] * deviation + mean).collect();
    let expected = [0.0, 0.0, 0.0, 0.0, 0.25, 0.5, 0.5 + 1.0 / 998.0, 1.0, 0.5 + 0.5 / 998.0, *mean, 0.0, 1.0];
    assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
    let learned: Vec<f32> = (0..8).map(|r| row(&table, r).0[0]).collect();
    assert!(
        learned.iter().sum::<f32>().abs() < 1e-5 && (learned.iter().map(|v| v * v).sum::<f32>() - 8.0).abs() < 1e-4
    );
    assert_eq!(Description::from_json(&d.to_json()).unwrap(), d);
    for bad in ["[0.0,1000.0,2.0]", "[0.0,0.0]", "[null]", "3"] {
        assert!(Description::from_json(&d.to_json().replacen("[0.0,2.0,1000.0]", bad, 1)).is_err(), "{bad}");
    }
}

#[test]
fn bad_tables_are_named() {
    let dir = Dir::new("table-bad");
    for (text, code, words) in [
        ("", Code::Format, "is empty"),
        ("age,left\n", Code::Format, "has no rows"),
        ("age,gone\n1,no\n", Code::NotFound, "no column \"left\""),
        ("age,left\n1,no\n2\n", Code::Format, "t.csv:3: the row has 1 cells, the header 2"),
        ("age,left\n1,no\n2,no,3\n", Code::Format, "t.csv:3: the row has 3 cells"),
        ("age,left\n1,no\n2, \n", Code::Format, "t.csv:3: the target \"left\" is missing"),
        ("age,age,left\n1,1,no\n", Code::Format, "two columns with the name \"age\""),
    ] {
        let e = Rows::read(&dir.file("t.csv", text.as_bytes()), &TableParams::new("left")).err().unwrap();
        assert!(e.code() == code && e.message().contains(words), "{text:?}: {e}");
    }
    let path = dir.file("t.csv", b"age,left\n1,no\nold,yes\n\xff,no\n");
    let e = Rows::read(&path, &TableParams::new("left")).err().unwrap();
    assert!(e.message().contains("t.csv:4: cell 1 is no UTF-8"), "{e}");
    let path = dir.file("t.csv", b"age,left\n1,no\nold,yes\n");
    let e = Rows::read(&path, &TableParams { numbers: vec!["age".into()], ..TableParams::new("left") }).err().unwrap();
    assert!(e.message().contains("t.csv:3: \"old\" in column \"age\" is no number"), "{e}");
    let e = Rows::read(&path, &TableParams { max_bytes: 31, ..TableParams::new("left") }).err().unwrap();
    assert_eq!(e.code(), Code::Unsupported);
    let e = Rows::read(&path, &TableParams { ignore: vec!["left".into()], ..TableParams::new("left") }).err().unwrap();
    assert_eq!(e.code(), Code::InvalidArgument);
    let rows = Rows::read(&path, &TableParams::new("left")).unwrap();
    let fit = |learned: &dyn Fn(usize) -> bool, p| Description::fit(&rows, learned, &p).err().unwrap();
    assert_eq!(fit(&|_| false, FitParams::default()).code(), Code::InvalidArgument);
    assert!(fit(&|row| row == 0, FitParams::default()).message().contains("two at least are needed"));
    let few = FitParams { max_categories: 1, ..FitParams::default() };
    assert!(fit(&|_| true, few).message().contains("column \"age\" has 2 categories"));
    assert_eq!(Rows::read(&dir.0.join("none"), &TableParams::new("y")).err().unwrap().code(), Code::NotFound);
}

#[test]
fn batches_come_again() {
    let dir = Dir::new("table-batches");
    let (_, table) = shops(&dir);
    let table = Arc::new(table);
    let mut once = TableBatches::new(table.clone(), vec![4, 0, 2], 2, None).unwrap();
    let (mut n, mut c, mut k, mut v) = (vec![0.0; 8], vec![0; 2], vec![0; 2], vec![0.0; 2]);
    let mut next = |from: &mut TableBatches| {
        let mut batch = TableBatch { numbers: &mut n, categories: &mut c, classes: &mut k, values: &mut v };
        let rows = from.next(&mut batch).unwrap();
        (rows, n[..rows * 4].to_vec(), c[..rows].to_vec(), k[..rows].to_vec())
    };
    let (rows, numbers, categories, classes) = next(&mut once);
    assert_eq!((rows, &numbers[4..], classes), (2, &row(&table, 0).0[..], vec![0, 0]));
    assert_eq!(categories, [UNKNOWN, 3]);
    assert_eq!((next(&mut once).0, next(&mut once).0), (1, 0));
    let mut batches = TableBatches::new(table.clone(), (0..5).collect(), 2, Some(7)).unwrap();
    let seen: Vec<_> = (0..20).map(|_| (batches.position(), next(&mut batches))).collect();
    assert_eq!(batches.position().epoch, 7, "40 rows of 5 end the eighth epoch");
    let mut other = TableBatches::new(table.clone(), (0..5).collect(), 2, Some(7)).unwrap();
    for (at, batch) in seen.iter().rev() {
        other.seek(*at).unwrap();
        assert_eq!(next(&mut other), *batch);
    }
    let mut all: Vec<f32> = seen[..5].iter().flat_map(|s| s.1.1.chunks(4).map(|r| r[0])).collect();
    all.sort_by(f32::total_cmp);
    assert!(all.chunks(2).all(|pair| pair[0] == pair[1]), "two epochs have each row twice: {all:?}");
    assert!(
        TableBatches::new(table.clone(), vec![5], 2, None).is_err()
            && TableBatches::new(table.clone(), vec![], 2, None).is_err()
    );
    // Without a target there is nothing to tell.
    let path = dir.file("new.csv", b"city,spent,age\nUlm,10,20\n");
    let rows = Rows::read_for(&path, table.description(), 1 << 20).unwrap();
    let new = Arc::new(Bound::new(rows, table.description().clone()).unwrap());
    let mut one = TableBatches::new(new, vec![0], 2, Some(1)).unwrap();
    assert_eq!(next(&mut one).3, [IGNORED; 2]);
}

/// Tables as they come: what is missing, what only names rows, and the classes in each fold.
#[test]
fn real_tables_are_read() {
    for (name, target, ignore, rows_of, numbers, categories) in [
        ("telco-customer-churn.csv", "Churn", "customerID", 7043, 5, 15),
        ("online_shoppers_intention.csv", "Revenue", "", 12359, 14, 3),
    ] {
        let Some(path) = shared(&format!("data/{name}")) else { continue };
        let ignore: Vec<String> = Some(ignore).filter(|i| !i.is_empty()).map(String::from).into_iter().collect();
        let p = TableParams { ignore: ignore.clone(), ..TableParams::new(target) };
        let rows = Rows::read(&path, &p).unwrap();
        assert_eq!(rows.len(), rows_of);
        let strata = rows.strata();
        let fold = folds(&strata, 5, 1).unwrap();
        let d = Description::fit(&rows, |row| fold[row] != 0, &FitParams::default()).unwrap();
        assert_eq!((d.numbers(), d.categories().count()), (numbers, categories), "{d:?}");
        let table = Bound::new(rows, d).unwrap();
        let class = |row| table.class(row).unwrap();
        let ones = |f: u32| (0..rows_of).filter(|&r| fold[r] == f && class(r) == 1).count();
        assert!((1..5).all(|f| ones(f).abs_diff(ones(0)) <= 1));
        let w = class_weights(2, (0..rows_of).map(class)).unwrap();
        assert!(w[0] < 1.0 && w[1] > 1.0, "{w:?}");
        assert!((0..rows_of).all(|r| row(&table, r).0.iter().all(|x| x.is_finite())));
        if !ignore.is_empty() {
            let rows = Rows::read(&path, &TableParams::new(target)).unwrap();
            let e = Description::fit(&rows, |_| true, &FitParams::default()).unwrap_err();
            assert!(e.message().contains("column \"customerID\" has 7043 categories"), "{e}");
        }
    }
}
