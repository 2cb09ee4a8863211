//! Measures of predictions as text, as JSON, and as pictures.

use crate::output;
use qorus::train::data::table::{Description, Target};
use qorus::train::metrics::{self, ClassMeasures, ValueMeasures};
use serde_json::{Value, json};
use std::fmt::Write;

/// Measures of what a description's target is.
pub enum Measures {
    Classes(ClassMeasures, Vec<String>),
    Values(ValueMeasures),
}

impl Measures {
    /// Of predictions `[rows][results]`: against classes, or against values.
    pub fn new(description: &Description, told: &[f32], classes: &[u32], values: &[f32]) -> qorus::Result<Measures> {
        match &description.target {
            Target::Classes { classes: names, .. } => {
                Ok(Measures::Classes(metrics::classes(told, names.len(), classes)?, names.clone()))
            }
            Target::Number { .. } => Ok(Measures::Values(metrics::values(told, values)?)),
        }
    }

    /// The one number that says most, and its name.
    pub fn chief(&self) -> (&'static str, f64) {
        match self {
            Measures::Classes(m, _) => ("ROC-AUC", m.auc.unwrap_or(f64::NAN)),
            Measures::Values(m) => ("R2", m.r2),
        }
    }

    /// All of them.
    pub fn json(&self) -> Value {
        match self {
            Measures::Values(m) => json!({"rows": m.rows, "mse": m.mse, "mae": m.mae, "r2": m.r2}),
            Measures::Classes(m, names) => json!({
                "rows": m.rows,
                "roc_auc": m.auc,
                "accuracy": m.accuracy,
                "log_loss": m.log_loss,
                "brier": m.brier,
                "ece": m.ece,
                "classes": names.iter().zip(&m.each).map(|(name, c)| json!({
                    "class": name, "rows": c.rows, "precision": c.precision, "recall": c.recall, "f1": c.f1,
                })).collect::<Vec<_>>(),
                "confusion": m.confusion,
                "calibration": m.bins.iter().map(|b| json!({"rows": b.rows, "told": b.told, "found": b.found}))
                    .collect::<Vec<_>>(),
            }),
        }
    }

    /// All of them, for people.
    pub fn text(&self) -> String {
        let (m, names) = match self {
            Measures::Values(m) => {
                return format!(
                    "{} rows: mean squared error {:.4}, mean absolute error {:.4}, R2 {:.4}\n",
                    m.rows, m.mse, m.mae, m.r2
                );
            }
            Measures::Classes(m, names) => (m, names),
        };
        let mut s = format!("{} rows: ", m.rows);
        // Writing to a string cannot fail.
        if let Some(auc) = m.auc {
            let _ = write!(s, "ROC-AUC {auc:.4}, ");
        }
        let _ = writeln!(
            s,
            "accuracy {:.4}, log loss {:.4}, Brier {:.4}, calibration error {:.4}\n",
            m.accuracy, m.log_loss, m.brier, m.ece
        );
        let mut rows = vec![["class", "rows", "precision", "recall", "F1"].map(String::from).to_vec()];
        rows.extend(names.iter().zip(&m.each).map(|(name, c)| {
            let [p, r, f] = [c.precision, c.recall, c.f1].map(|x| format!("{x:.3}"));
            vec![name.clone(), c.rows.to_string(), p, r, f]
        }));
        s += &columns(&rows);
        let heads = ["is \\ taken for".to_owned()].into_iter().chain(names.iter().cloned());
        let mut rows = vec![heads.collect::<Vec<_>>()];
        rows.extend(
            names
                .iter()
                .zip(&m.confusion)
                .map(|(name, row)| std::iter::once(name.clone()).chain(row.iter().map(u64::to_string)).collect()),
        );
        s += &format!("\n{}", columns(&rows));
        let of = if names.len() == 2 { format!("probability of {}", names[1]) } else { "greatest probability".into() };
        let mut rows = vec![vec![of, "rows".into(), "mean told".into(), "found".into()]];
        rows.extend(m.bins.iter().enumerate().filter(|(_, b)| b.rows > 0).map(|(i, b)| {
            let from = i as f64 / metrics::BINS as f64;
            let to = from + 1.0 / metrics::BINS as f64;
            vec![
                format!("{from:.1} to {to:.1}"),
                b.rows.to_string(),
                format!("{:.3}", b.told),
                format!("{:.3}", b.found),
            ]
        }));
        s + &format!("\n{}", columns(&rows))
    }

    /// Told and found probabilities beside each other, as SVG; nothing for values.
    pub fn calibration(&self) -> Option<String> {
        let Measures::Classes(m, _) = self else { return None };
        let points: Vec<_> = m.bins.iter().filter(|b| b.rows > 0).map(|b| (b.told, b.found)).collect();
        Some(square(&points, true, "probability that was told", "share that came true", &format!("ECE {:.3}", m.ece)))
    }
}

/// The ROC curve of probabilities of two classes, as SVG.
pub fn roc(told: &[f32], classes: &[u32]) -> qorus::Result<String> {
    let rows = || told.chunks_exact(2).map(|p| p[1]).zip(classes.iter().map(|c| *c == 1));
    let curve = metrics::roc_curve(rows())?;
    let area = metrics::roc_auc(rows())?.unwrap_or(f64::NAN);
    // A thousand points are more than are seen.
    let each = curve.len().div_ceil(1000).max(1);
    let last = curve.last().copied();
    let points: Vec<_> = curve.iter().copied().step_by(each).chain(last).collect();
    Ok(square(&points, false, "false positives, share", "true positives, share", &format!("AUC {area:.4}")))
}

/// Rows of cells: the first column begins at the left, the others end at the right.
fn columns(rows: &[Vec<String>]) -> String {
    let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(i, (cell, width))| {
            let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
            if i == 0 { format!("{cell}{gap}") } else { format!("{gap}{cell}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// A curve from 0 to 1 on both axes, over the diagonal.
fn square(points: &[(f64, f64)], dots: bool, x_name: &str, y_name: &str, title: &str) -> String {
    const SIZE: f64 = 420.0;
    const LEFT: f64 = 56.0;
    const EDGE: f64 = 16.0;
    const BELOW: f64 = 48.0;
    let px = |x: f64| LEFT + x * (SIZE - LEFT - EDGE);
    let py = |y: f64| SIZE - BELOW - y * (SIZE - BELOW - EDGE);
    let mut s = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {SIZE} {SIZE}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{SIZE}\" height=\"{SIZE}\" fill=\"white\"/>\n"
    );
    for tick in [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] {
        let (x, y) = (px(tick), py(tick));
        let _ = writeln!(
            s,
            "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e5e5e5\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}</text>",
            px(0.0),
            px(1.0),
            LEFT - 6.0,
            y + 4.0,
            SIZE - BELOW + 18.0
        );
    }
    let text: Vec<String> = points.iter().map(|(x, y)| format!("{:.1},{:.1}", px(*x), py(*y))).collect();
    let middle = py(0.5);
    let _ = writeln!(
        s,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#b0b0b0\" stroke-dasharray=\"4\"/>\n\
         <polyline fill=\"none\" stroke=\"#c44e52\" stroke-width=\"1.8\" points=\"{}\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{x_name}</text>\
         <text x=\"14\" y=\"{middle:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {middle:.1})\">{y_name}</text>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{title}</text>",
        px(0.0),
        py(0.0),
        px(1.0),
        py(1.0),
        text.join(" "),
        px(0.5),
        SIZE - 10.0,
        px(0.98),
        py(0.03)
    );
    for (x, y) in points.iter().filter(|_| dots) {
        let _ = writeln!(s, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"#c44e52\"/>", px(*x), py(*y));
    }
    s + "</svg>\n"
}

/// A number in JSON; null for what is none.
pub fn number(x: f32) -> Value {
    output::float(x)
}
