//! Temperatures: from where to where, derived from the coefficients, and what lies between.

use super::landscape::Landscape;
use crate::qubo::params::{Schedule, SolveParams};

/// The range of temperatures of a landscape, in its own units.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heat {
    pub hot: f64,
    pub cold: f64,
}

/// Rows that are looked at, evenly spread.
const ROWS: usize = 64;

impl Heat {
    /// A field of random neighbours deviates by half of its row's norm, and a glass of such rows freezes near a quarter of it:
    /// that is hot. Cold is where the smallest step of a typical row is hardly ever made, or a small part of the norm where rows are
    /// long and steps are many.
    pub fn of(landscape: &Landscape, params: &SolveParams) -> Heat {
        if let Some((first, last)) = params.beta_range {
            let scale = landscape.survey.scale;
            return Heat { hot: scale / first, cold: scale / last };
        }
        let (n, links) = (landscape.len(), landscape.links());
        let step = n.div_ceil(ROWS).max(1);
        let (mut colds, mut count) = ([0.0f64; ROWS], 0);
        let (mut squares, mut greatest) = (0.0, 0.0f64);
        for i in (0..n).step_by(step) {
            let (mut square, mut least) = (0.0, f64::INFINITY);
            links.each(i, n, |_, w| {
                let w = f64::from(w).abs();
                square += w * w;
                least = least.min(if w > 0.0 { w } else { f64::INFINITY });
            });
            if square == 0.0 {
                continue;
            }
            squares += square;
            greatest = greatest.max(square);
            colds[count] = (least / 12.0).max(square.sqrt() / 60.0);
            count += 1;
        }
        if count == 0 {
            // Variables by themselves: any temperature serves that is below the smallest coefficient.
            return Heat { hot: 1.0, cold: 0.05 };
        }
        let colds = &mut colds[..count];
        colds.sort_unstable_by(f64::total_cmp);
        let cold = colds[count / 10];
        let hot = (0.25 * (squares / count as f64).sqrt()).max(0.15 * greatest.sqrt()).max(2.0 * cold);
        Heat { hot, cold }
    }

    /// The temperature after a part of a read, from 0 to 1.
    pub fn at(&self, schedule: &Schedule, scale: f64, part: f64) -> f64 {
        match schedule {
            Schedule::Geometric => self.hot * (self.cold / self.hot).powf(part),
            Schedule::Linear => {
                let (first, last) = (1.0 / self.hot, 1.0 / self.cold);
                1.0 / (first + (last - first) * part)
            }
            Schedule::Custom(betas) => {
                let at = ((part * betas.len() as f64) as usize).min(betas.len() - 1);
                // At beta 0 everything is accepted.
                (scale / betas[at]).min(f64::from(f32::MAX) / 64.0)
            }
        }
    }
}
