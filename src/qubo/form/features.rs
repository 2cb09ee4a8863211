//! Feature selection by mutual information: k columns that say much of a target and little of each other.
//!
//! The value of a set S of k columns is the mean of I(column; target) less the mean of I(column; column) over its pairs: minimal redundancy,
//! maximal relevance (Peng, Long and Ding, IEEE TPAMI 27, 2005), here over all sets at once rather than column by column.

use super::model::{Formulated, Model};
use super::penalty::Slack;
use crate::error::{Result, fail, try_vec};
use crate::qubo::problem::Sense;

/// I(a; b) in nats of two columns of small numbers, from how often they come together. `InvalidArgument` unless they are
/// equally long and not empty, or when they have more than 2^20 pairs of values.
pub fn mutual_information(a: &[u32], b: &[u32]) -> Result<f64> {
    if a.len() != b.len() || a.is_empty() {
        fail!(InvalidArgument, "columns of {} and {} rows: give equally many, at least one", a.len(), b.len());
    }
    let count = |column: &[u32]| column.iter().max().map_or(0, |&m| m as usize + 1);
    let (na, nb) = (count(a), count(b));
    if na.saturating_mul(nb) > 1 << 20 {
        fail!(InvalidArgument, "columns of {na} and {nb} values: put them into fewer bins");
    }
    let (mut pa, mut pb, mut pab) = (vec![0u64; na], vec![0u64; nb], vec![0u64; na * nb]);
    for (&i, &j) in a.iter().zip(b) {
        pa[i as usize] += 1;
        pb[j as usize] += 1;
        pab[i as usize * nb + j as usize] += 1;
    }
    let n = a.len() as f64;
    let mut sum = 0.0;
    for (at, &both) in pab.iter().enumerate().filter(|(_, both)| **both > 0) {
        let both = both as f64;
        sum += both / n * (both * n / (pa[at / nb] as f64 * pb[at % nb] as f64)).ln();
    }
    Ok(sum.max(0.0))
}

/// Numbers put into at most `bins` bins of about equal counts; equal numbers share a bin. What is no number gets one of its own.
/// `InvalidArgument` for fewer than 2 bins or more than 1000.
pub fn binned(values: &[f64], bins: usize) -> Result<Vec<u32>> {
    if !(2..=1000).contains(&bins) {
        fail!(InvalidArgument, "{bins} bins: give 2 to 1000");
    }
    let mut sorted: Vec<f64> = try_vec(values.len(), "values")?;
    sorted.extend(values.iter().copied().filter(|v| !v.is_nan()));
    sorted.sort_unstable_by(f64::total_cmp);
    let mut edges: Vec<f64> = (1..bins).filter_map(|b| sorted.get(b * sorted.len() / bins).copied()).collect();
    edges.dedup();
    let mut found = try_vec(values.len(), "values")?;
    let bin = |v: &f64| if v.is_nan() { edges.len() + 1 } else { edges.partition_point(|e| e <= v) };
    found.extend(values.iter().map(|v| bin(v) as u32));
    Ok(found)
}

/// What columns say of the target and of each other, in nats.
#[derive(Clone, Debug)]
pub struct Information {
    /// I(column; target) of each.
    pub relevance: Vec<f64>,
    /// I(column; column), rows of a symmetric matrix; the diagonal is not looked at.
    pub redundancy: Vec<f64>,
}

impl Information {
    /// Of columns of small numbers and the target's. Errors: those of [`mutual_information`].
    pub fn of(columns: &[Vec<u32>], target: &[u32]) -> Result<Information> {
        let n = columns.len();
        let mut relevance = try_vec(n, "columns")?;
        let mut redundancy: Vec<f64> = try_vec(n.saturating_mul(n), "pairs of columns")?;
        redundancy.resize(n * n, 0.0);
        for (i, column) in columns.iter().enumerate() {
            relevance.push(mutual_information(column, target)?);
            for (j, other) in columns[..i].iter().enumerate() {
                let shared = mutual_information(column, other)?;
                redundancy[i * n + j] = shared;
                redundancy[j * n + i] = shared;
            }
        }
        Ok(Information { relevance, redundancy })
    }

    /// The choice of exactly `k` columns, to be maximised. `InvalidArgument` unless `k` is from 1 to their number.
    pub fn choose(&self, k: usize) -> Result<Formulated> {
        let n = self.relevance.len();
        if k == 0 || k > n {
            fail!(InvalidArgument, "{k} of {n} columns: give 1 to {n}");
        }
        let (mean, pairs) = (1.0 / k as f64, pairs(k));
        let mut model = Model::new(n, Sense::Maximize);
        for i in 0..n as u32 {
            model.term(i, i, mean * self.relevance[i as usize])?;
            for j in 0..i {
                model.term(j, i, -pairs * self.redundancy[i as usize * n + j as usize])?;
            }
        }
        let all: Vec<u32> = (0..n as u32).collect();
        model.exactly(&all, k as u64)?;
        model.formulate(Slack::Bits)
    }

    /// The usual way: the most relevant column, then one after another that adds most relevance less its mean redundancy with
    /// those chosen.
    pub fn greedy(&self, k: usize) -> Vec<u8> {
        let n = self.relevance.len();
        let mut x = vec![0; n];
        for chosen in 0..k.min(n) {
            let score = |i: usize| {
                let shared: f64 = (0..n).filter(|&j| x[j] != 0).map(|j| self.redundancy[i * n + j]).sum();
                self.relevance[i] - shared / chosen.max(1) as f64
            };
            let next = (0..n).filter(|&i| x[i] == 0).max_by(|&a, &b| score(a).total_cmp(&score(b)).then(b.cmp(&a)));
            if let Some(next) = next {
                x[next] = 1;
            }
        }
        x
    }
}

/// One over the number of pairs of k; 0 where there is none.
fn pairs(k: usize) -> f64 {
    if k < 2 { 0.0 } else { 2.0 / (k as f64 * (k - 1) as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn information_of_known_columns() {
        let (a, b) = ([0, 0, 1, 1], [0, 1, 0, 1]);
        assert_eq!(mutual_information(&a, &b).unwrap(), 0.0);
        assert!((mutual_information(&a, &a).unwrap() - 2f64.ln()).abs() < 1e-12);
        assert!(mutual_information(&a, &b[..3]).is_err() && mutual_information(&[], &[]).is_err());
        assert!(mutual_information(&[1 << 20], &[1 << 20]).is_err());
    }

    #[test]
    fn bins_are_of_about_equal_counts() {
        let values: Vec<f64> = (0..100).map(|i| ((i * 37) % 100) as f64).collect();
        let bins = binned(&values, 4).unwrap();
        for b in 0..4 {
            assert_eq!(bins.iter().filter(|&&x| x == b).count(), 25);
        }
        assert_eq!(binned(&[1.0, 1.0, f64::NAN, 1.0], 8).unwrap(), [1, 1, 2, 1]);
        assert!(binned(&[], 4).unwrap().is_empty() && binned(&[1.0], 1).is_err());
    }
}
