//! Choosing a diverse subset of rows under a budget: as much quality as can be had, less the similarity of those chosen to each other.

use super::model::{Formulated, Model};
use super::penalty::Slack;
use super::weights::Weights;
use crate::error::{Result, fail, try_vec};
use crate::qubo::problem::Sense;

/// Rows to choose from.
#[derive(Clone, Debug)]
pub struct Rows {
    /// What each is worth.
    pub quality: Vec<f64>,
    /// What each costs, and what they may cost together.
    pub cost: Weights,
    /// How alike two rows are, rows of a symmetric matrix; the diagonal is not looked at. Negative for those that are better together.
    pub similarity: Vec<f64>,
    /// What similarity is multiplied with before it is taken from quality.
    pub diversity: f64,
}

/// Similarities of rows of `width` numbers: their cosine, 0 where it is negative or a row has no length.
/// `InvalidArgument` unless there are whole rows.
pub fn cosine(rows: &[f64], width: usize) -> Result<Vec<f64>> {
    if width == 0 || !rows.len().is_multiple_of(width) {
        fail!(InvalidArgument, "{} numbers are no rows of {width}", rows.len());
    }
    let n = rows.len() / width;
    let row = |i: usize| &rows[i * width..][..width];
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let mut found: Vec<f64> = try_vec(n.saturating_mul(n), "similarities")?;
    found.resize(n * n, 0.0);
    for i in 0..n {
        for j in 0..=i {
            let length = (dot(row(i), row(i)) * dot(row(j), row(j))).sqrt();
            let like = if length > 0.0 { (dot(row(i), row(j)) / length).clamp(0.0, 1.0) } else { 0.0 };
            found[i * n + j] = like;
            found[j * n + i] = like;
        }
    }
    Ok(found)
}

impl Rows {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.quality.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.quality.is_empty()
    }

    /// The choice, to be maximised. `InvalidArgument` when the lists do not go together; `NotFinite`.
    pub fn choose(&self, slack: Slack) -> Result<Formulated> {
        let n = self.len();
        if self.cost.parts.len() != n || n.checked_mul(n) != Some(self.similarity.len()) {
            let (costs, alike) = (self.cost.parts.len(), self.similarity.len());
            fail!(InvalidArgument, "{n} rows with {costs} costs and {alike} similarities: give n of each, and n by n");
        }
        let mut model = Model::new(n, Sense::Maximize);
        for i in 0..n as u32 {
            model.term(i, i, self.quality[i as usize])?;
            for j in 0..i {
                let alike = self.diversity * self.similarity[i as usize * n + j as usize];
                if alike != 0.0 {
                    model.term(j, i, -alike)?;
                }
            }
        }
        model.budget((0..n as u32).zip(self.cost.parts.iter().copied()).collect(), self.cost.limit)?;
        model.formulate(slack)
    }

    /// The baseline: row after row that adds most for its cost and still fits, as long as one adds anything; or, where that is
    /// worth more, row after row that adds most at all.
    pub fn greedy(&self) -> Vec<u8> {
        let by = |ratio: bool| {
            let n = self.len();
            let (mut x, mut left, mut value) = (vec![0; n], self.cost.limit, 0.0);
            let mut gains = self.quality.clone();
            loop {
                let score = |i: usize| if ratio { gains[i] / (self.cost.parts[i].max(1)) as f64 } else { gains[i] };
                let fits = |&i: &usize| x[i] == 0 && self.cost.parts[i] <= left && gains[i] > 0.0;
                let next = (0..n).filter(fits).max_by(|&a, &b| score(a).total_cmp(&score(b)).then(b.cmp(&a)));
                let Some(next) = next else { return (x, value) };
                x[next] = 1;
                left -= self.cost.parts[next];
                value += gains[next];
                for (i, gain) in gains.iter_mut().enumerate() {
                    *gain -= self.diversity * self.similarity[i * n + next];
                }
            }
        };
        let (one, other) = (by(true), by(false));
        if other.1 > one.1 { other.0 } else { one.0 }
    }
}
