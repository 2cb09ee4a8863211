//! Gates on a state vector on AVX2: what the compiler makes of the definitions, whose loops run over whole registers.

use crate::scalar::qaoa as definition;
use crate::table::{Entry, Func};
use crate::{Isa, Type};

/// The kernels of this file.
pub const ENTRIES: &[Entry] = &[
    Entry::new("rotate_near", Type::F32, Isa::Avx2, Func::RotateNear(rotate_near)),
    Entry::new("rotate_far", Type::F32, Isa::Avx2, Func::RotateFar(rotate_far)),
    Entry::new("phase", Type::F32, Isa::Avx2, Func::Phase(phase)),
];

#[target_feature(enable = "avx2,fma,f16c")]
fn rotate_near(re: &mut [f32], im: &mut [f32], c: f32, s: f32) {
    definition::rotate_near(re, im, c, s);
}

#[target_feature(enable = "avx2,fma,f16c")]
fn rotate_far(re0: &mut [f32], im0: &mut [f32], re1: &mut [f32], im1: &mut [f32], c: f32, s: f32) {
    definition::rotate_far(re0, im0, re1, im1, c, s);
}

#[target_feature(enable = "avx2,fma,f16c")]
fn phase(re: &mut [f32], im: &mut [f32], cost: &[f32], turns: f32) {
    definition::phase(re, im, cost, turns);
}
