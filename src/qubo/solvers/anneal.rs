//! Simulated annealing: sweeps at falling temperatures, in the order of the variables.

use crate::qubo::params::Schedule;
use crate::qubo::search::heat::Heat;
use crate::qubo::search::random::Random;
use crate::qubo::search::run::Run;
use crate::qubo::search::state::{Best, DOWNHILL, Ground, SPAN, State};

/// Proposals between two looks at the clock.
const CHUNK: usize = 1 << 15;

/// One sweep at temperature `t`; whether to stop.
pub(crate) fn sweep(ground: &Ground, state: &mut State, random: &mut Random, t: f32, run: &mut Run) -> bool {
    let n = ground.len();
    let ones = ground.noise.len() - n;
    let noise = if t < 0.0 { &ground.noise[ones..] } else { &ground.noise[random.below(SPAN)..][..n] };
    run.swept();
    for start in (0..n).step_by(CHUNK) {
        let range = start..n.min(start + CHUNK);
        let proposals = range.len() as u64;
        let flips = state.sweep(ground, noise, t, range);
        if run.did(proposals, flips, 20 + proposals / 4 + flips * ground.flip_cost) {
            return true;
        }
    }
    false
}

/// Flips variables in turn while that lowers the energy; whether to stop.
pub(crate) fn descend(ground: &Ground, state: &mut State, random: &mut Random, run: &mut Run) -> bool {
    loop {
        let before = state.energy;
        if sweep(ground, state, random, DOWNHILL, run) {
            return true;
        }
        if state.energy == before {
            return false;
        }
    }
}

/// A read of `sweeps` sweeps from the state on, through the range of temperatures; the best is kept. With a time limit the
/// temperature falls fast enough to be low when it ends. Whether to stop.
pub(crate) fn anneal(
    ground: &Ground,
    state: &mut State,
    best: &mut Best,
    random: &mut Random,
    (heat, sweeps): (&Heat, u64),
    run: &mut Run,
) -> bool {
    cool(ground, state, best, random, (heat, &run.shared.params.beta_schedule, sweeps), run)
}

/// The same by any schedule.
pub(crate) fn cool(
    ground: &Ground,
    state: &mut State,
    best: &mut Best,
    random: &mut Random,
    (heat, schedule, sweeps): (&Heat, &Schedule, u64),
    run: &mut Run,
) -> bool {
    let (scale, since) = (ground.scale, run.now);
    let last = (sweeps.max(2) - 1) as f64;
    for i in 0..sweeps {
        let part = (i as f64 / last).max(run.part(since));
        let t = heat.at(schedule, scale, part) as f32;
        let stop = sweep(ground, state, random, t, run);
        if best.see(state) && run.see(state.energy) || stop {
            return true;
        }
    }
    let stop = descend(ground, state, random, run);
    best.see(state) && run.see(state.energy) || stop
}
