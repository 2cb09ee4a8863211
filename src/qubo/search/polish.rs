//! The last steps downhill in a problem's own numbers, where the search saw rounded ones.

use crate::qubo::problem::Inner;

/// Passes at most: rounding could make two flips take turns.
const PASSES: usize = 64;

/// Flips variables while that lowers the cost, in f64; `fields` is scratch of as many elements.
pub(crate) fn polish(inner: &Inner, x: &mut [u8], fields: &mut [f64]) {
    for (i, field) in fields.iter_mut().enumerate() {
        *field = inner.linear(i);
    }
    for i in (0..inner.n).filter(|&i| x[i] != 0) {
        inner.add_row(i, 1.0, fields);
    }
    for _ in 0..PASSES {
        let mut flipped = false;
        for i in 0..inner.n {
            let delta = if x[i] != 0 { -fields[i] } else { fields[i] };
            if delta < 0.0 {
                x[i] ^= 1;
                inner.add_row(i, if x[i] != 0 { 1.0 } else { -1.0 }, fields);
                flipped = true;
            }
        }
        if !flipped {
            break;
        }
    }
}
