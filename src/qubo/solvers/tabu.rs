//! One-flip tabu search: always the best flip that is not barred, however bad (Glover, Lu and Hao, 4OR 2010).

use crate::qubo::search::random::Random;
use crate::qubo::search::run::Run;
use crate::qubo::search::state::{Best, Ground, State};

/// The best flip, looked for from a random variable on, so that ties are broken at random.
pub(crate) fn best_flip(
    ground: &Ground,
    state: &State,
    free: &[i32],
    (now, aspire): (i32, i32),
    random: &mut Random,
) -> (i32, usize) {
    let n = free.len();
    let start = random.below(n) & !63;
    let look = |r: std::ops::Range<usize>| {
        ground.kernels.best_flip(&state.fields[r.clone()], &state.masks[r.clone()], &free[r], now, aspire)
    };
    let (a, at) = look(start..n);
    let (b, before) = look(0..start);
    if b < a { (b, before) } else { (a, start + at) }
}

/// Searches from the state on until `patience` flips have brought nothing new; the best is kept. `free` holds when each variable may
/// be flipped again. Whether to stop.
pub(crate) fn tabu(
    ground: &Ground,
    state: &mut State,
    best: &mut Best,
    free: &mut [i32],
    random: &mut Random,
    patience: u64,
    run: &mut Run,
) -> bool {
    let n = free.len();
    let cost = 20 + ground.flip_cost + n as u64 / 16;
    // Some variable must always be free.
    let (least, spread) = ((n / 100).min(200), 10.min(n / 2));
    free.fill(0);
    let (mut local, mut since, mut now) = (state.energy, 0, 0i32);
    best.see(state);
    while since < patience {
        now += 1;
        if now == i32::MAX / 2 {
            free.fill(0);
            now = 1;
        }
        let aspire = (local - state.energy).max(i64::from(i32::MIN)) as i32;
        let (_, i) = best_flip(ground, state, free, (now, aspire), random);
        if i >= n {
            since += 1;
            if run.did(n as u64, 0, cost) {
                return true;
            }
            continue;
        }
        state.flip(ground, i);
        free[i] = now + 1 + (least + random.below(spread + 1)) as i32;
        since += 1;
        let mut stop = run.did(n as u64, 1, cost);
        if state.energy < local {
            (local, since) = (state.energy, 0);
            // What follows may be better still: kept when it goes up again, or now if the run ends with it.
            stop |= best.see(state) && run.see(state.energy);
        }
        if stop {
            return true;
        }
    }
    false
}

/// Steepest descent; whether to stop.
pub(crate) fn descend(ground: &Ground, state: &mut State, free: &[i32], random: &mut Random, run: &mut Run) -> bool {
    let n = free.len();
    loop {
        let (delta, i) = best_flip(ground, state, free, (i32::MAX, i32::MIN), random);
        if delta >= 0 || i >= n {
            break;
        }
        state.flip(ground, i);
        if run.did(n as u64, 1, 20 + ground.flip_cost + n as u64 / 16) {
            return true;
        }
    }
    false
}
