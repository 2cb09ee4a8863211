//! The quantum approximate optimization algorithm on a simulated state vector, for study (Farhi, Goldstone and Gutmann, arXiv 1411.4028).
//!
//! A layer multiplies the amplitude of every assignment by `exp(-i gamma cost)` and rotates every qubit by `exp(-i beta X)`. Qubits
//! are rotated in groups whose amplitudes fit the first cache, so that a layer passes over the state a few times rather than once for
//! each qubit.

use crate::error::Result;
use crate::memory::{Frame, Need};
use crate::qubo::search::random::Random;
use crate::qubo::search::run::Run;
use crate::qubo::search::state::{Best, Ground, State};
use qorus_kernels::Kernels;

/// The most variables: the state then takes 50 MB.
pub const MOST: usize = 22;
/// Qubits of a block that stays in the first cache while they are rotated.
const NEAR: usize = 11;
/// Qubits of a group beyond that: so many rows of a block are rotated together.
const GROUP: usize = 4;
/// Amplitudes of a row of such a block.
const ROW: usize = 1 << (NEAR - GROUP);
/// Assignments drawn in the end.
const SHOTS: usize = 256;
/// Amplitudes between two looks at the clock, and whose probability is summed.
const CHUNK: usize = 1 << 16;

/// Who is given what was drawn.
type End<'e> = &'e mut dyn FnMut(&Best);

/// A state vector with the cost of every assignment, in units of `unit` and about 0.
pub(crate) struct Circuit<'a> {
    re: &'a mut [f32],
    im: &'a mut [f32],
    cost: &'a mut [f32],
    /// The angles of all layers: gammas, then betas.
    angles: &'a mut [f64],
    trial: &'a mut [f64],
    n: usize,
}

/// Qubits of the vector: a few more than variables where there are few.
fn qubits(n: usize) -> usize {
    n.max(4)
}

impl<'a> Circuit<'a> {
    /// What [`take`](Circuit::take) takes.
    pub fn need(need: Need, n: usize, layers: usize) -> Need {
        let len = 1usize << qubits(n.min(MOST));
        need.take::<f32>(len).take::<f32>(len).take::<f32>(len).take::<f64>(2 * layers).take::<f64>(2 * layers)
    }

    pub fn take(frame: &mut Frame<'a>, n: usize, layers: usize) -> Result<Circuit<'a>> {
        let len = 1usize << qubits(n.min(MOST));
        let (re, im, cost) = (frame.take(len)?, frame.take(len)?, frame.take(len)?);
        Ok(Circuit { re, im, cost, angles: frame.take(2 * layers)?, trial: frame.take(2 * layers)?, n })
    }

    /// Finds angles, and draws assignments: each goes to `end`, the best of them last. The angles, in units of one over the
    /// objective (gammas) and of radians (betas), are written to `found`.
    pub fn read(
        &mut self,
        ground: &Ground,
        (state, best): (&mut State, &mut Best),
        random: &mut Random,
        run: &mut Run,
        (end, found): (End, &mut [f64]),
    ) -> bool {
        let (layers, mut stop) = (self.angles.len() / 2, false);
        let Some(unit) = self.costs(ground, state, run) else {
            best.see(state);
            end(best);
            return true;
        };
        // A ramp, as annealing would have it; then each angle by itself, in smaller and smaller steps.
        for l in 0..layers {
            let part = (l as f64 + 0.5) / layers as f64;
            self.angles[l] = 0.6 * part;
            self.angles[layers + l] = 0.6 * (1.0 - part);
        }
        let mut least = self.expectation(ground.kernels, false, run);
        let mut step = 0.3;
        while step > 0.01 && !stop {
            let mut better = false;
            for i in 0..2 * layers {
                for sign in [1.0, -1.0] {
                    self.trial.copy_from_slice(self.angles);
                    self.trial[i] += sign * step;
                    let value = self.expectation(ground.kernels, true, run);
                    if value < least - 1e-9 {
                        (least, better) = (value, true);
                        self.angles.copy_from_slice(self.trial);
                        break;
                    }
                }
                stop = run.look();
                if stop {
                    break;
                }
            }
            if !better {
                step *= 0.5;
            }
        }
        if !stop {
            self.expectation(ground.kernels, false, run);
        }
        for (l, angle) in self.angles.iter().enumerate() {
            found[l] = if l < layers { angle / unit * ground.scale } else { *angle };
        }
        let mut sums = [0.0; 1 << (MOST - 16)];
        for (sum, chunk) in sums.iter_mut().zip(0..self.re.len().div_ceil(CHUNK)) {
            *sum = self.weights(chunk * CHUNK).take(CHUNK).sum();
        }
        let mut top = i64::MAX;
        for shot in 0..SHOTS {
            let place = self.draw(&sums, random.unit());
            for (i, mask) in best.masks.iter_mut().enumerate() {
                *mask = -((place >> i & 1) as i32);
            }
            state.go(ground, best.masks);
            best.energy = state.energy;
            top = top.min(state.energy);
            end(best);
            if run.see(state.energy) || shot % 16 == 15 && run.look() {
                break;
            }
        }
        stop || top == i64::MAX
    }

    /// Costs of all assignments, by Gray code, in units in which angles are of order 1; the unit, or None when there was no time for it.
    fn costs(&mut self, ground: &Ground, state: &mut State, run: &mut Run) -> Option<f64> {
        let (n, kept) = (self.n, 1usize << self.n);
        state.clear(ground);
        let (mut sum, mut squares) = (0.0, 0.0);
        for k in 1..=kept {
            let gray = (k - 1) ^ ((k - 1) >> 1);
            self.cost[gray] = state.energy as f32;
            sum += state.energy as f64;
            squares += (state.energy as f64).powi(2);
            if k % 1024 == 0 && run.did(1024, 1024, 1024 * ground.flip_cost) {
                return None;
            }
            if k < kept {
                state.flip(ground, k.trailing_zeros() as usize);
            }
        }
        let mean = sum / kept as f64;
        let deviation = (squares / kept as f64 - mean * mean).max(0.0).sqrt();
        // The cost is a sum of about so many parts: each is to turn by about an angle.
        let unit = if deviation > 0.0 { deviation / (n as f64).sqrt() } else { 1.0 };
        for cost in &mut self.cost[..kept] {
            *cost = ((f64::from(*cost) - mean) / unit) as f32;
        }
        for start in (kept..self.cost.len()).step_by(kept) {
            self.cost.copy_within(0..kept, start);
        }
        Some(unit)
    }

    /// Runs the circuit with the angles, or those on trial; the mean cost, in units.
    fn expectation(&mut self, kernels: &Kernels, trial: bool, run: &mut Run) -> f64 {
        let layers = self.angles.len() / 2;
        self.re.fill((1.0 / self.re.len() as f64).sqrt() as f32);
        self.im.fill(0.0);
        for l in 0..layers {
            let angles = if trial { &*self.trial } else { &*self.angles };
            let (gamma, beta) = (angles[l], angles[layers + l]);
            let look = &mut || run.did(CHUNK as u64, 0, CHUNK as u64);
            if gates(kernels, (self.re, self.im), self.cost, (gamma, beta), look) {
                break;
            }
            run.swept();
        }
        let mean: f64 = self.weights(0).zip(self.cost.iter()).map(|(w, c)| w * f64::from(*c)).sum();
        mean / self.weights(0).sum::<f64>()
    }

    /// Probabilities of the assignments from `from` on.
    fn weights(&self, from: usize) -> impl Iterator<Item = f64> {
        self.re[from..].iter().zip(&self.im[from..]).map(|(re, im)| f64::from(re * re + im * im))
    }

    /// The assignment at which the sum of probabilities exceeds that part of their total; `sums` are those of chunks.
    fn draw(&self, sums: &[f64], part: f64) -> usize {
        let (mut left, mut chunk) = (part * sums.iter().sum::<f64>(), 0);
        while left >= sums[chunk] && (chunk + 1) * CHUNK < self.re.len() {
            left -= sums[chunk];
            chunk += 1;
        }
        let mut last = chunk * CHUNK;
        for (i, w) in self.weights(chunk * CHUNK).take(CHUNK).enumerate() {
            left -= w;
            last = chunk * CHUNK + i;
            if left < 0.0 {
                break;
            }
        }
        last
    }
}

/// One layer: phases of `gamma`, then a rotation of every qubit by `beta`. `re`, `im` and `cost` have one power of two as length, 16 or
/// more; `gamma * cost` is less than a million in magnitude.
pub fn layer(kernels: &Kernels, state: (&mut [f32], &mut [f32]), cost: &[f32], gamma: f64, beta: f64) {
    gates(kernels, state, cost, (gamma, beta), &mut || false);
}

/// The gates of a layer; `look` is asked after every [`CHUNK`] amplitudes, and may stop them. Whether it did.
fn gates(
    kernels: &Kernels,
    (re, im): (&mut [f32], &mut [f32]),
    cost: &[f32],
    (gamma, beta): (f64, f64),
    look: &mut dyn FnMut() -> bool,
) -> bool {
    let mut done = 0;
    let mut looked = |amplitudes: usize| {
        done += amplitudes;
        done >= CHUNK && {
            done = 0;
            look()
        }
    };
    let (c, s) = (beta.cos() as f32, beta.sin() as f32);
    let block = re.len().min(1 << NEAR);
    let turns = (gamma / std::f64::consts::TAU) as f32;
    for ((re, im), cost) in re.chunks_exact_mut(block).zip(im.chunks_exact_mut(block)).zip(cost.chunks_exact(block)) {
        kernels.phase(re, im, cost, turns);
        kernels.rotate_near(re, im, c, s);
        let mut half = 16;
        while half < block {
            for (re, im) in re.chunks_exact_mut(2 * half).zip(im.chunks_exact_mut(2 * half)) {
                let ((re0, re1), (im0, im1)) = (re.split_at_mut(half), im.split_at_mut(half));
                kernels.rotate_far((re0, im0), (re1, im1), c, s);
            }
            half *= 2;
        }
        if looked(block) {
            return true;
        }
    }
    let mut stride = block;
    while stride < re.len() {
        let rows = (re.len() / stride).min(1 << GROUP);
        for (re, im) in re.chunks_exact_mut(rows * stride).zip(im.chunks_exact_mut(rows * stride)) {
            for column in (0..stride).step_by(ROW) {
                group(kernels, (re, im), (rows, stride, column), c, s);
                if looked(rows * ROW) {
                    return true;
                }
            }
        }
        stride *= rows;
    }
    false
}

/// Rotates the qubits that tell `rows` rows apart, in the columns from `column` on.
fn group(
    kernels: &Kernels,
    (re, im): (&mut [f32], &mut [f32]),
    (rows, stride, column): (usize, usize, usize),
    c: f32,
    s: f32,
) {
    let mut half = 1;
    while half < rows {
        for row in (0..rows).filter(|row| row & half == 0) {
            let (zero, one) = (row * stride + column, (row + half) * stride + column);
            let ((re0, re1), (im0, im1)) = (re.split_at_mut(one), im.split_at_mut(one));
            let zero = zero..zero + ROW;
            kernels.rotate_far((&mut re0[zero.clone()], &mut im0[zero]), (&mut re1[..ROW], &mut im1[..ROW]), c, s);
        }
        half *= 2;
    }
}
