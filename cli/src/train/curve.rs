//! A loss over the steps, or anything over time, as SVG and as characters.

use std::fmt::Write;

/// Points of a curve: steps, and what was measured there.
#[derive(Default)]
pub struct Series(Vec<(u64, f64)>);

impl Series {
    /// Adds a point; what is no number is none.
    pub fn push(&mut self, step: u64, value: Option<f64>) {
        self.0.extend(value.filter(|v| v.is_finite()).map(|v| (step, v)));
    }

    /// The number of points.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The last value.
    pub fn last(&self) -> Option<f64> {
        self.0.last().map(|p| p.1)
    }

    /// At most `count` points, each the mean of those beside it.
    fn thinned(&self, count: usize) -> Vec<(f64, f64)> {
        let each = self.0.len().div_ceil(count.max(1)).max(1);
        let mean = |part: &[(u64, f64)]| {
            let n = part.len() as f64;
            (part.iter().map(|p| p.0 as f64).sum::<f64>() / n, part.iter().map(|p| p.1).sum::<f64>() / n)
        };
        self.0.chunks(each).map(mean).collect()
    }
}

/// Least and greatest of both axes.
struct Range {
    x: (f64, f64),
    y: (f64, f64),
}

fn range(curves: &[Vec<(f64, f64)>]) -> Range {
    let all = || curves.iter().flatten();
    let of = |f: fn(&(f64, f64)) -> f64| {
        let (low, high) = all().map(f).fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        if low < high {
            (low, high)
        } else if low.is_finite() {
            (low - 0.5, high + 0.5)
        } else {
            (0.0, 1.0)
        }
    };
    Range { x: of(|p| p.0), y: of(|p| p.1) }
}

/// Numbers for an axis: about `count`, at round places.
fn ticks((low, high): (f64, f64), count: usize) -> Vec<f64> {
    let rough = (high - low) / count as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough).unwrap_or(power);
    let first = (low / step).ceil() as i64;
    (first..).map(|i| i as f64 * step).take_while(|t| *t <= high).collect()
}

const COLOURS: [&str; 4] = ["#9db8d9", "#c44e52", "#55a868", "#8172b3"];

/// A picture of the curves, each with its name. Steps go right, the loss up.
pub fn svg(series: &[(&str, &Series)]) -> String {
    svg_over(series, ("step", "loss"))
}

/// The same with other names of what goes right and up.
pub fn svg_over(series: &[(&str, &Series)], (right, up): (&str, &str)) -> String {
    const WIDTH: f64 = 760.0;
    const HEIGHT: f64 = 420.0;
    const LEFT: f64 = 60.0;
    const BELOW: f64 = 44.0;
    const EDGE: f64 = 16.0;
    let curves: Vec<_> = series.iter().map(|(_, s)| s.thinned(1000)).collect();
    let Range { x, y } = range(&curves);
    let px = |v: f64| LEFT + (v - x.0) / (x.1 - x.0) * (WIDTH - LEFT - EDGE);
    let py = |v: f64| HEIGHT - BELOW - (v - y.0) / (y.1 - y.0) * (HEIGHT - BELOW - EDGE);
    let mut s = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        s,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    for t in ticks(y, 6) {
        let at = py(t);
        let _ = writeln!(
            s,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#e5e5e5\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - EDGE,
            LEFT - 6.0,
            at + 4.0,
            short(t)
        );
    }
    for t in ticks(x, 8) {
        let at = px(t);
        let _ = writeln!(
            s,
            "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - BELOW + 18.0,
            short(t)
        );
    }
    let middle = HEIGHT / 2.0;
    let _ = writeln!(
        s,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{right}</text>\
         <text x=\"14\" y=\"{middle}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {middle})\">{up}</text>",
        (WIDTH + LEFT) / 2.0,
        HEIGHT - 8.0
    );
    for (i, ((name, _), curve)) in series.iter().zip(&curves).enumerate().filter(|(_, (_, c))| !c.is_empty()) {
        let colour = COLOURS[i % COLOURS.len()];
        let points: Vec<String> = curve.iter().map(|p| format!("{:.1},{:.1}", px(p.0), py(p.1))).collect();
        let at = EDGE + 14.0 + 18.0 * i as f64;
        let _ = writeln!(
            s,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\" points=\"{}\"/>\
             <line x1=\"{}\" x2=\"{}\" y1=\"{at}\" y2=\"{at}\" stroke=\"{colour}\" stroke-width=\"3\"/>\
             <text x=\"{}\" y=\"{}\">{name}</text>",
            points.join(" "),
            WIDTH - 130.0,
            WIDTH - 106.0,
            WIDTH - 100.0,
            at + 4.0
        );
    }
    s + "</svg>\n"
}

/// The curves in lines of characters: a letter each, the first of its name.
pub fn terminal(series: &[(&str, &Series)], width: usize, height: usize) -> String {
    terminal_over(series, width, height, "step")
}

/// The same with another name of what goes right.
pub fn terminal_over(series: &[(&str, &Series)], width: usize, height: usize, right: &str) -> String {
    let curves: Vec<_> = series.iter().map(|(_, s)| s.thinned(width)).collect();
    let Range { x, y } = range(&curves);
    let mut grid = vec![vec![' '; width]; height];
    for ((name, _), curve) in series.iter().zip(&curves) {
        for p in curve {
            let column = ((p.0 - x.0) / (x.1 - x.0) * (width - 1) as f64).round() as usize;
            let row = ((y.1 - p.1) / (y.1 - y.0) * (height - 1) as f64).round() as usize;
            grid[row.min(height - 1)][column.min(width - 1)] = name.chars().next().unwrap_or('*');
        }
    }
    let mut s = String::new();
    for (i, row) in grid.iter().enumerate() {
        let value = y.1 - (y.1 - y.0) * i as f64 / (height - 1) as f64;
        let digits = if y.0.abs().max(y.1.abs()) < 1e4 { 3 } else { 0 };
        let label = if i % 4 == 0 || i + 1 == height { format!("{value:8.digits$}") } else { " ".repeat(8) };
        let line: String = row.iter().collect();
        let _ = writeln!(s, "{label} |{}", line.trim_end());
    }
    let _ = writeln!(s, "{:8} +{}", "", "-".repeat(width));
    let names: Vec<String> = series.iter().map(|(n, _)| format!("{} {n}", n.chars().next().unwrap_or('*'))).collect();
    let _ = writeln!(s, "{:9} {right} {} to {}; {}", "", x.0.round(), x.1.round(), names.join(", "));
    s
}

/// A number without zeros at its end.
fn short(x: f64) -> String {
    let text = format!("{x:.4}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_drawn_whatever_there_is() {
        let mut falling = Series::default();
        for step in 1..=5000u64 {
            falling.push(step, Some(4.0 / step as f64));
        }
        falling.push(5001, Some(f64::NAN));
        let (mut one, none) = (Series::default(), Series::default());
        one.push(3, Some(2.5));
        for series in [&falling, &one, &none] {
            let text = svg(&[("training", series), ("validation", &none)]);
            assert!(text.starts_with("<svg") && text.ends_with("</svg>\n") && !text.contains("NaN"), "{text}");
            assert_eq!(text.contains("polyline"), series.last().is_some());
            assert_eq!(terminal(&[("training", series)], 40, 8).lines().count(), 10);
        }
        assert!(svg(&[("training", &falling)]).len() < 40_000);
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks((0.0, 10.0), 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks((1.03, 1.37), 4).len(), 3);
        assert_eq!([short(0.25), short(100.0), short(2.0)], ["0.25", "100", "2"]);
    }
}
