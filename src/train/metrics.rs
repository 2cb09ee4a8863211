//! Measures of predictions: how well classes are told and ranked, how true the probabilities are, how far values are off.

use crate::error::{Result, fail, try_vec};

/// Intervals of probability that calibration is measured in.
pub const BINS: usize = 10;

/// How well classes are told.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassMeasures {
    /// Rows that were measured.
    pub rows: usize,
    /// Share of rows whose class had the greatest probability.
    pub accuracy: f64,
    /// Mean of -ln of the true class's probability.
    pub log_loss: f64,
    /// Mean squared error of the probability of the second of two classes; of more, the sum over the classes.
    pub brier: f64,
    /// Area under the ROC curve of the second of two classes; of more, the mean of each against the rest. None when a class has no
    /// or all rows.
    pub auc: Option<f64>,
    /// Expected calibration error: the mean distance of told and found in [`ClassMeasures::bins`], by rows (Naeini et al., AAAI 2015).
    pub ece: f64,
    /// Rows of each class (first index) that were taken for each class (second).
    pub confusion: Vec<Vec<u64>>,
    /// Of each class.
    pub each: Vec<ClassMeasure>,
    /// [`BINS`] even intervals of the second class's probability; of more than two classes, of the greatest probability.
    pub bins: Vec<Bin>,
}

/// How well one class is told. A share of nothing is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassMeasure {
    /// Share of right ones among the rows taken for it.
    pub precision: f64,
    /// Share found of its rows.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
    /// Its rows.
    pub rows: u64,
}

/// An interval of probability.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// Rows in it.
    pub rows: usize,
    /// Their mean probability.
    pub told: f64,
    /// The share of them for which it came true.
    pub found: f64,
}

/// How far values are off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValueMeasures {
    /// Rows that were measured.
    pub rows: usize,
    /// Mean squared error.
    pub mse: f64,
    /// Mean absolute error.
    pub mae: f64,
    /// Share of the variance that is explained; 0 for a constant.
    pub r2: f64,
}

/// Measures probabilities `[rows][classes]` against the true class of each row.
///
/// Errors: `Shape` for other lengths; `InvalidArgument` for no rows, fewer than two classes, a class that there is not, or a
/// probability that is no number from 0 to 1.
pub fn classes(probabilities: &[f32], count: usize, truth: &[u32]) -> Result<ClassMeasures> {
    if count < 2 || truth.is_empty() || probabilities.len() != truth.len().saturating_mul(count) {
        fail!(
            Shape,
            "{} probabilities for {} rows of {count} classes: give 1 row and 2 classes at least",
            probabilities.len(),
            truth.len()
        );
    }
    if let Some(bad) = truth.iter().find(|&&class| class as usize >= count) {
        fail!(InvalidArgument, "class {bad} of {count}");
    }
    if let Some(bad) = probabilities.iter().find(|p| !(0.0..=1.0).contains(*p)) {
        fail!(InvalidArgument, "a probability of {bad}");
    }
    let n = truth.len() as f64;
    let (mut log_loss, mut brier, mut hits) = (0.0, 0.0, 0usize);
    let mut confusion = vec![vec![0u64; count]; count];
    let mut bins = vec![Bin::default(); BINS];
    for (p, &class) in probabilities.chunks_exact(count).zip(truth) {
        let class = class as usize;
        let told = (1..count).fold(0, |best, i| if p[i] > p[best] { i } else { best });
        confusion[class][told] += 1;
        hits += usize::from(told == class);
        log_loss -= f64::from(p[class]).max(1e-12).ln();
        let error = |i: usize| (f64::from(p[i]) - f64::from(u8::from(i == class))).powi(2);
        brier += if count == 2 { error(1) } else { (0..count).map(error).sum() };
        let (chance, true_) = if count == 2 { (p[1], class == 1) } else { (p[told], told == class) };
        let bin = &mut bins[((chance * BINS as f32) as usize).min(BINS - 1)];
        bin.rows += 1;
        bin.told += f64::from(chance);
        bin.found += f64::from(u8::from(true_));
    }
    for bin in bins.iter_mut().filter(|bin| bin.rows > 0) {
        bin.told /= bin.rows as f64;
        bin.found /= bin.rows as f64;
    }
    let of = |class: usize| {
        let scores = probabilities.chunks_exact(count).map(move |p| p[class]);
        roc_auc(scores.zip(truth.iter().map(move |&t| t as usize == class)))
    };
    let auc = match count {
        2 => of(1)?,
        _ => {
            let all = (0..count).map(of).collect::<Result<Option<Vec<f64>>>>()?;
            all.map(|all| all.iter().sum::<f64>() / count as f64)
        }
    };
    Ok(ClassMeasures {
        rows: truth.len(),
        accuracy: hits as f64 / n,
        log_loss: log_loss / n,
        brier: brier / n,
        auc,
        ece: bins.iter().map(|bin| bin.rows as f64 * (bin.told - bin.found).abs()).sum::<f64>() / n,
        each: (0..count).map(|class| class_measure(&confusion, class)).collect(),
        confusion,
        bins,
    })
}

fn class_measure(confusion: &[Vec<u64>], class: usize) -> ClassMeasure {
    let share = |a: u64, b: u64| if b == 0 { 0.0 } else { a as f64 / b as f64 };
    let right = confusion[class][class];
    let (rows, taken) = (confusion[class].iter().sum(), confusion.iter().map(|row| row[class]).sum());
    let (precision, recall) = (share(right, taken), share(right, rows));
    ClassMeasure { precision, recall, f1: share(2 * right, taken + rows), rows }
}

/// Scores in rising order, each with whether its row is one of those sought.
fn ranked(rows: impl Iterator<Item = (f32, bool)>) -> Result<Vec<(f32, bool)>> {
    let mut all = try_vec(rows.size_hint().0, "scores")?;
    all.extend(rows);
    all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    Ok(all)
}

/// The probability that a row which is sought has a greater score than one which is not, ties counting half: the area under the ROC
/// curve (Mann and Whitney, 1947). None without rows of both kinds.
pub fn roc_auc(rows: impl Iterator<Item = (f32, bool)>) -> Result<Option<f64>> {
    let all = ranked(rows)?;
    // Counted in halves, exactly.
    let (mut below, mut sum) = (0u64, 0u128);
    for tied in all.chunk_by(|a, b| a.0 == b.0) {
        let sought = tied.iter().filter(|row| row.1).count() as u64;
        let others = tied.len() as u64 - sought;
        sum += u128::from(sought) * u128::from(2 * below + others);
        below += others;
    }
    let sought = all.len() as u64 - below;
    let pairs = 2.0 * sought as f64 * below as f64;
    Ok((pairs > 0.0).then(|| sum as f64 / pairs))
}

/// The ROC curve: for each different score, from the greatest down, the share of rows not sought that have it or a greater one, and the
/// same of rows that are sought. It begins at (0, 0) and ends at (1, 1). Empty without rows of both kinds.
pub fn roc_curve(rows: impl Iterator<Item = (f32, bool)>) -> Result<Vec<(f64, f64)>> {
    let all = ranked(rows)?;
    let sought = all.iter().filter(|row| row.1).count();
    let others = all.len() - sought;
    if sought == 0 || others == 0 {
        return Ok(Vec::new());
    }
    let (mut hits, mut misses, mut curve) = (0, 0, vec![(0.0, 0.0)]);
    for tied in all.chunk_by(|a, b| a.0 == b.0).rev() {
        let n = tied.iter().filter(|row| row.1).count();
        (hits, misses) = (hits + n, misses + tied.len() - n);
        curve.push((misses as f64 / others as f64, hits as f64 / sought as f64));
    }
    Ok(curve)
}

/// Measures values against the true ones. Errors: `Shape` for no rows or other lengths.
pub fn values(told: &[f32], truth: &[f32]) -> Result<ValueMeasures> {
    if truth.is_empty() || told.len() != truth.len() {
        fail!(Shape, "{} values for {} rows: give as many, at least 1", told.len(), truth.len());
    }
    let n = truth.len() as f64;
    let mean = truth.iter().map(|&y| f64::from(y)).sum::<f64>() / n;
    let error = || told.iter().zip(truth).map(|(&p, &y)| f64::from(p) - f64::from(y));
    let mse = error().map(|e| e * e).sum::<f64>() / n;
    let variance = truth.iter().map(|&y| (f64::from(y) - mean).powi(2)).sum::<f64>() / n;
    Ok(ValueMeasures {
        rows: truth.len(),
        mse,
        mae: error().map(f64::abs).sum::<f64>() / n,
        r2: if variance > 0.0 { 1.0 - mse / variance } else { 0.0 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;

    fn auc(scores: &[f32], sought: &[u8]) -> Option<f64> {
        roc_auc(scores.iter().copied().zip(sought.iter().map(|s| *s == 1))).unwrap()
    }

    #[test]
    fn the_area_counts_ties_half() {
        assert_eq!(auc(&[0.1, 0.4, 0.35, 0.8], &[0, 0, 1, 1]), Some(0.75));
        assert_eq!(auc(&[0.5; 6], &[0, 1, 1, 0, 1, 0]), Some(0.5));
        assert_eq!(auc(&[0.1, 0.2, 0.3], &[0, 0, 1]), Some(1.0));
        assert_eq!(auc(&[0.1, 0.2, 0.3], &[1, 0, 0]), Some(0.0));
        // Pairs: 0.2 against 0.2 half, against 0.7 lost; 0.7 against 0.2 won, against 0.7 half.
        assert_eq!(auc(&[0.2, 0.2, 0.7, 0.7], &[0, 1, 0, 1]), Some(0.5));
        assert_eq!((auc(&[0.1, 0.2], &[1, 1]), auc(&[], &[])), (None, None));
        // The same by counting pairs, and under the curve.
        let scores: Vec<f32> = (0..200).map(|i| ((i * 37) % 50) as f32 / 50.0).collect();
        let sought: Vec<u8> = (0..200).map(|i| u8::from((i * i) % 7 < 3)).collect();
        let (mut won, mut all) = (0.0, 0.0);
        for (a, _) in scores.iter().zip(&sought).filter(|s| *s.1 == 1) {
            for (b, _) in scores.iter().zip(&sought).filter(|s| *s.1 == 0) {
                won += if a > b {
                    1.0
                } else if a == b {
                    0.5
                } else {
                    0.0
                };
                all += 1.0;
            }
        }
        assert_relative_eq!(auc(&scores, &sought).unwrap(), won / all, epsilon = 1e-12);
        let curve = roc_curve(scores.iter().copied().zip(sought.iter().map(|s| *s == 1))).unwrap();
        let under: f64 = curve.windows(2).map(|w| (w[1].0 - w[0].0) * (w[1].1 + w[0].1) / 2.0).sum();
        assert_relative_eq!(under, won / all, epsilon = 1e-12);
        assert_eq!((curve[0], curve[curve.len() - 1], curve.len()), ((0.0, 0.0), (1.0, 1.0), 51));
    }

    #[test]
    fn two_classes() {
        let p = [0.9, 0.1, 0.2, 0.8, 0.6, 0.4, 0.45, 0.55];
        let m = classes(&p, 2, &[0, 1, 1, 0]).unwrap();
        assert_eq!(m.confusion, [[1, 1], [1, 1]]);
        assert_eq!((m.rows, m.accuracy, m.auc), (4, 0.5, Some(0.75)));
        assert_relative_eq!(m.log_loss, -(0.9f64 * 0.8 * 0.4 * 0.45).ln() / 4.0, epsilon = 1e-6);
        assert_relative_eq!(m.brier, (0.01 + 0.04 + 0.36 + 0.3025) / 4.0, epsilon = 1e-6);
        assert_relative_eq!(m.ece, (0.1 + 0.2 + 0.6 + 0.55) / 4.0, epsilon = 1e-6);
        assert_eq!((m.bins[8].rows, m.bins[8].found), (1, 1.0));
        assert_eq!(m.each[1], ClassMeasure { precision: 0.5, recall: 0.5, f1: 0.5, rows: 2 });
        // A class that nobody takes.
        let m = classes(&[1.0, 0.0, 1.0, 0.0], 2, &[0, 1]).unwrap();
        assert_eq!(m.each[1], ClassMeasure { precision: 0.0, recall: 0.0, f1: 0.0, rows: 1 });
        assert!(m.log_loss.is_finite());
    }

    #[test]
    fn three_classes() {
        let m = classes(&[0.5, 0.3, 0.2, 0.1, 0.6, 0.3, 0.2, 0.5, 0.3, 0.1, 0.1, 0.8], 3, &[0, 1, 2, 2]).unwrap();
        assert_eq!(m.confusion, [[1, 0, 0], [0, 1, 0], [0, 1, 1]]);
        assert_eq!(m.each[2].recall, 0.5);
        assert_relative_eq!(m.auc.unwrap(), (1.0 + 1.0 + 3.5 / 4.0) / 3.0, epsilon = 1e-12);
        assert_eq!(m.bins.iter().map(|b| b.rows).sum::<usize>(), 4);
    }

    #[test]
    fn distances() {
        let m = values(&[1.0, 2.0, 4.0], &[1.0, 3.0, 2.0]).unwrap();
        assert_relative_eq!(m.mse, 5.0 / 3.0);
        assert_relative_eq!(m.mae, 1.0);
        assert_relative_eq!(m.r2, 1.0 - (5.0 / 3.0) / (2.0 / 3.0), epsilon = 1e-12);
        assert_eq!(values(&[1.0], &[1.0]).unwrap().r2, 0.0);
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        assert!(classes(&[], 2, &[]).is_err() && classes(&[1.0], 1, &[0]).is_err());
        assert!(classes(&[0.5, 0.5], 2, &[2]).is_err() && classes(&[0.5, f32::NAN], 2, &[0]).is_err());
        assert!(values(&[], &[]).is_err() && values(&[1.0], &[1.0, 2.0]).is_err());
    }
}
