//! What good assignments disagree about: where several of them agree on how neighbours stand to each other, those are bound together,
//! and what is left is a smaller problem, annealed by itself (Houdayer and Martin, "Renormalization for discrete optimization",
//! PRL 83, 1999).
//!
//! What comes of that is warmed up again and cooled; where it then differs from before, each connected piece is judged by
//! itself, so that what was gained in one place is not lost with what was spoiled in another (as partition crossover does: Tinós, Whitley
//! and Chicano, FOGA 2015).

use super::anneal::cool;
use super::relink::Elite;
use crate::error::Result;
use crate::memory::{Frame, Need};
use crate::qubo::params::Schedule;
use crate::qubo::search::heat::Heat;
use crate::qubo::search::landscape::Links;
use crate::qubo::search::random::Random;
use crate::qubo::search::run::Run;
use crate::qubo::search::state::{Best, Ground, State};

/// Parents at most.
const PARENTS: usize = 4;
/// No field of a smaller problem may exceed this.
const LIMIT: i64 = 1 << 30;
/// A variable that is in no cluster yet.
const NOBODY: u32 = u32::MAX;

/// Room for a smaller problem of at most as many variables and couplings.
pub(crate) struct Contract<'a> {
    state: State<'a>,
    local: Best<'a>,
    /// The assignment before it was warmed up.
    before: &'a mut [i32],
    /// For each variable a bit for each parent: whether that one differs from the first.
    signs: &'a mut [u8],
    /// The cluster of each variable.
    ids: &'a mut [u32],
    /// Variables, cluster by cluster.
    order: &'a mut [u32],
    /// Where each cluster begins there.
    bounds: &'a mut [usize],
    linear: &'a mut [i32],
    starts: &'a mut [usize],
    cols: &'a mut [u32],
    weights: &'a mut [i32],
    /// Couplings of the cluster at hand.
    sums: &'a mut [i64],
}

impl<'a> Contract<'a> {
    /// What [`take`](Contract::take) takes, for `halves` couplings in lists, each counted in both.
    pub fn need(need: Need, n: usize, halves: usize) -> Need {
        let need = Best::need(State::need(need, n), n).take::<i32>(n).take::<u8>(n);
        let need = need.take::<u32>(n).take::<u32>(n).take::<usize>(n + 1).take::<i32>(n).take::<usize>(n + 1);
        need.take::<u32>(halves).take::<i32>(halves).take::<i64>(n)
    }

    pub fn take(frame: &mut Frame<'a>, n: usize, halves: usize) -> Result<Contract<'a>> {
        Ok(Contract {
            state: State::take(frame, n)?,
            local: Best::take(frame, n)?,
            before: frame.take(n)?,
            signs: frame.take(n)?,
            ids: frame.take(n)?,
            order: frame.take(n)?,
            bounds: frame.take(n + 1)?,
            linear: frame.take(n)?,
            starts: frame.take(n + 1)?,
            cols: frame.take(halves)?,
            weights: frame.take(halves)?,
            sums: frame.take(n)?,
        })
    }

    /// A child of a few members of the elite, which takes the place of the parent that it is nearest to if it is not worse. The best is
    /// kept. The smaller problem is annealed for `sweeps` sweeps, and the whole one for half as many. Whether to stop.
    pub fn mate(
        &mut self,
        ground: &Ground,
        elite: &mut Elite,
        (heat, sweeps): (&Heat, u64),
        (state, best): (&mut State, &mut Best),
        random: &mut Random,
        run: &mut Run,
    ) -> bool {
        // What follows goes over all couplings a few times without a look at the clock, and so does what comes after warming up.
        let pass = 16 * (self.cols.len() + 2 * ground.len()) as u64;
        if !run.has(pass) {
            return true;
        }
        let (parents, count) = choose(elite, random);
        let parents = &parents[..count];
        state.go(ground, elite.member(parents[0]));
        let clusters = self.bind(ground, elite, parents);
        if let Some(end) = self.smaller(ground, state, clusters) {
            let (starts, cols, weights) = (&self.starts[..=clusters], &self.cols[..end], &self.weights[..end]);
            let links = Links::Sparse { starts, cols, weights };
            let small = Ground { base: state.energy, linear: &self.linear[..clusters], links, ..*ground };
            let small_heat = Heat { hot: warmth(links, clusters).max(2.0 * heat.cold), cold: heat.cold };
            let mut inner = State {
                fields: &mut self.state.fields[..clusters],
                masks: &mut self.state.masks[..clusters],
                energy: 0,
            };
            let mut found = Best { masks: &mut self.local.masks[..clusters], energy: i64::MAX };
            inner.clear(&small);
            found.see(&inner);
            inner.shuffle(&small, random);
            let work = (&small_heat, &Schedule::Geometric, sweeps);
            let stop = cool(&small, &mut inner, &mut found, random, work, run);
            for i in 0..ground.len() {
                if found.masks[self.ids[i] as usize] != 0 {
                    state.flip(ground, i);
                }
            }
            best.see(state);
            if stop {
                return true;
            }
        }
        self.before.copy_from_slice(state.masks);
        let warm = Heat { hot: heat.hot * 0.35 * 2.2f64.powf(random.unit()), cold: heat.cold };
        let stop = cool(ground, state, best, random, (&warm, &Schedule::Geometric, sweeps / 2), run);
        if stop || !run.has(pass) {
            return true;
        }
        let work = self.judge(ground, state);
        let stop = best.see(state) && run.see(state.energy);
        if run.did(0, work, pass) || stop {
            return true;
        }
        place(elite, parents, state);
        false
    }

    /// Binds neighbours together that stand to each other in all parents as in the first; the number of clusters.
    fn bind(&mut self, ground: &Ground, elite: &Elite, parents: &[usize]) -> usize {
        let Links::Sparse { starts, cols, .. } = ground.links else { return 0 };
        self.signs.fill(0);
        let first = elite.member(parents[0]);
        for (k, &parent) in parents[1..].iter().enumerate() {
            for ((sign, a), b) in self.signs.iter_mut().zip(first).zip(elite.member(parent)) {
                *sign |= u8::from(a != b) << k;
            }
        }
        self.ids.fill(NOBODY);
        let (mut len, mut next, mut clusters) = (0, 0, 0);
        for seed in 0..ground.len() {
            if self.ids[seed] != NOBODY {
                continue;
            }
            self.bounds[clusters] = len;
            self.ids[seed] = clusters as u32;
            self.order[len] = seed as u32;
            len += 1;
            while next < len {
                let i = self.order[next] as usize;
                next += 1;
                for &j in &cols[starts[i]..starts[i + 1]] {
                    let at = j as usize;
                    if self.ids[at] == NOBODY && self.signs[at] == self.signs[i] {
                        self.ids[at] = clusters as u32;
                        self.order[len] = j;
                        len += 1;
                    }
                }
            }
            clusters += 1;
        }
        self.bounds[clusters] = len;
        clusters
    }

    /// The smaller problem: whether to flip each cluster as a whole; how many couplings it has in its lists. None where there is nothing to decide, or its fields might be too
    /// great.
    fn smaller(&mut self, ground: &Ground, state: &State, clusters: usize) -> Option<usize> {
        let Links::Sparse { starts, cols, weights } = ground.links else { return None };
        if clusters < 3 {
            return None;
        }
        let turn = |i: usize| 1 | state.masks[i];
        self.sums[..clusters].fill(0);
        let mut end = 0;
        for cluster in 0..clusters {
            let members = &self.order[self.bounds[cluster]..self.bounds[cluster + 1]];
            let (begin, mut own, mut inside) = (end, 0, 0);
            self.starts[cluster] = end;
            for &i in members {
                let i = i as usize;
                own += i64::from(state.delta(i));
                for at in starts[i]..starts[i + 1] {
                    let j = cols[at] as usize;
                    let other = self.ids[j] as usize;
                    let weight = i64::from(weights[at]) * i64::from(turn(i) * turn(j));
                    if other == cluster {
                        inside += weight;
                    } else {
                        // A coupling may come to nothing in between: then its column stands twice, which does no harm.
                        if self.sums[other] == 0 && weight != 0 {
                            self.cols[end] = other as u32;
                            end += 1;
                        }
                        self.sums[other] += weight;
                    }
                }
            }
            own += inside / 2;
            let mut reach = own.abs();
            for at in begin..end {
                let weight = std::mem::take(&mut self.sums[self.cols[at] as usize]);
                reach += weight.abs();
                if reach >= LIMIT {
                    return None;
                }
                self.weights[at] = weight as i32;
            }
            if reach >= LIMIT {
                return None;
            }
            self.linear[cluster] = own as i32;
        }
        self.starts[clusters] = end;
        Some(end)
    }

    /// Takes back each connected piece of what has changed that has made things worse; the number of flips.
    fn judge(&mut self, ground: &Ground, state: &mut State) -> u64 {
        let Links::Sparse { starts, cols, .. } = ground.links else { return 0 };
        for ((sign, a), b) in self.signs.iter_mut().zip(self.before.iter()).zip(state.masks.iter()) {
            *sign = u8::from(a != b);
        }
        let mut flips = 0;
        for seed in 0..ground.len() {
            if self.signs[seed] == 0 {
                continue;
            }
            let (mut len, mut next) = (1, 0);
            (self.order[0], self.signs[seed]) = (seed as u32, 0);
            while next < len {
                let i = self.order[next] as usize;
                next += 1;
                for &j in &cols[starts[i]..starts[i + 1]] {
                    if std::mem::take(&mut self.signs[j as usize]) != 0 {
                        self.order[len] = j;
                        len += 1;
                    }
                }
            }
            let energy = state.energy;
            let piece = &self.order[..len];
            piece.iter().for_each(|&i| state.flip(ground, i as usize));
            flips += len as u64;
            // What makes no difference stays changed.
            if state.energy >= energy {
                piece.iter().for_each(|&i| state.flip(ground, i as usize));
                flips += len as u64;
            }
        }
        flips
    }
}

/// A few distinct members, each the better of two.
fn choose(elite: &Elite, random: &mut Random) -> ([usize; PARENTS], usize) {
    let count = (2 + random.below(PARENTS - 1)).min(elite.len());
    let (mut parents, mut taken) = ([0; PARENTS], 0);
    while taken < count {
        let (a, b) = (random.below(elite.len()), random.below(elite.len()));
        let better = if elite.energy(b) < elite.energy(a) { b } else { a };
        // The better one may be taken; then the other is.
        for i in [better, a + b - better] {
            if taken < count && !parents[..taken].contains(&i) {
                parents[taken] = i;
                taken += 1;
                break;
            }
        }
    }
    (parents, count)
}

/// Puts a child in the place of the nearest parent, unless that one is better or the child is there already, as it is or with all
/// variables turned around.
fn place(elite: &mut Elite, parents: &[usize], child: &State) {
    let n = child.masks.len();
    let distance = |i: usize| {
        let differ = elite.member(i).iter().zip(child.masks.iter()).filter(|(a, b)| a != b).count();
        differ.min(n - differ)
    };
    let nearest = parents.iter().copied().min_by_key(|&i| distance(i)).unwrap_or(0);
    let known = (0..elite.len()).any(|i| elite.energy(i) == child.energy && distance(i) == 0);
    if !known && child.energy <= elite.energy(nearest) {
        elite.replace(nearest, child.masks, child.energy);
    }
}

/// Where a smaller problem begins to freeze: see [`Heat::of`].
fn warmth(links: Links, n: usize) -> f64 {
    let Links::Sparse { weights, .. } = links else { return 0.0 };
    0.25 * (weights.iter().map(|&w| f64::from(w) * f64::from(w)).sum::<f64>() / n as f64).sqrt()
}
