//! Some tensors to train, and every method to train them with.

use qorus::train::optim::{Betas, Method};
use qorus::train::slots::{Slots, group_of};

/// Numbers between -limit and limit.
pub fn random(seed: u32, limit: f32, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * limit
    };
    std::iter::repeat_with(next).take(len).collect()
}

pub const SHAPES: [(&str, [usize; 2]); 5] =
    [("embd", [1000, 40]), ("norm", [40, 1]), ("up", [300, 131]), ("bias", [1, 131]), ("down", [7, 5])];

pub fn params() -> Slots {
    let mut params = Slots::with_capacity(SHAPES.len()).unwrap();
    for (name, dims) in SHAPES {
        params.add(name, dims[0] * dims[1], group_of(&dims)).unwrap();
    }
    assert!(params.chunks() > SHAPES.len());
    params
}

pub fn methods() -> [Method; 6] {
    let betas = Betas::default();
    [
        Method::Sgd { momentum: 0.0, nesterov: false },
        Method::Sgd { momentum: 0.9, nesterov: false },
        Method::Sgd { momentum: 0.9, nesterov: true },
        Method::Adam(betas),
        Method::AdamW(betas),
        Method::AdamW8(betas),
    ]
}
