//! Every assignment, each one flip from the last: Gray code.

use crate::qubo::problem::{Cost, Inner};
use crate::qubo::search::run::Run;
use crate::qubo::search::state::{Best, Ground, State};

/// The most variables: 2^30 flips take seconds.
pub const MOST: usize = 30;

/// Goes through all assignments from zeros on; the best is kept, the first of equals. Of a landscape that is rounded, whatever might
/// be best is evaluated in the problem's own numbers, with `x` as scratch. Whether to stop before the end.
pub(crate) fn enumerate(
    ground: &Ground,
    inner: &Inner,
    state: &mut State,
    best: &mut Best,
    x: &mut [u8],
    run: &mut Run,
) -> bool {
    let n = ground.len();
    state.clear(ground);
    best.clear();
    best.see(state);
    let faithful = ground.faithful;
    // Each coefficient is rounded by half a unit at most.
    let slack = if faithful { 0 } else { (n + inner.pairs) as i64 + 1 };
    let mut exact = f64::INFINITY;
    let mut cost = |state: &State| {
        state.write(x);
        match inner.cost(x) {
            Cost::Exact(v) => v as f64,
            Cost::Float(v) => v,
        }
    };
    if !faithful {
        exact = cost(state);
    }
    let mut least = state.energy;
    for k in 1..1u64 << n {
        state.flip(ground, k.trailing_zeros() as usize);
        let mut stop = k % 512 == 0 && run.did(512, 512, 512 * ground.flip_cost);
        if faithful {
            stop |= best.see(state) && run.see(state.energy);
        } else if state.energy <= least.saturating_add(slack) {
            least = least.min(state.energy);
            let value = cost(state);
            if value < exact {
                exact = value;
                best.masks.copy_from_slice(state.masks);
                best.energy = state.energy;
                // Rounded, it says nothing about a target.
                run.see(state.energy);
            }
        }
        if stop {
            return true;
        }
    }
    run.did((1u64 << n) % 512, (1u64 << n) % 512, 0);
    false
}
