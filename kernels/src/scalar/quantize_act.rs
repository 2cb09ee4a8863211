//! Activations to 8 bits, in blocks of 32.

use crate::table::{Entry, Func};
use crate::{Isa, Type};

/// The kernels of this file.
pub const ENTRIES: &[Entry] = &[Entry::new("quantize_act", Type::F32, Isa::Scalar, Func::QuantizeAct(quantize_act))];

/// Blocks whose greatest magnitude is below this are zero: their scale would leave the normal range.
pub const TINY: f32 = 1.0 / (1u128 << 100) as f32;

/// `x[i]` becomes `q[i] * d[i / 32]` with `d` the block's greatest magnitude over 127; integers are rounded to nearest,
/// ties to even. `sums` are those of 16 integers. A block with an infinity or a NaN has zeros and a NaN for scale,
/// so that every product with it is NaN.
///
/// Lengths: `x` and `q` a multiple of 32, `d` one 32nd of it, `sums` one 16th.
fn quantize_act(x: &[f32], q: &mut [i8], d: &mut [f32], sums: &mut [i16]) {
    let blocks = x.as_chunks::<32>().0.iter().zip(q.as_chunks_mut::<32>().0);
    for ((x, q), (d, sums)) in blocks.zip(d.iter_mut().zip(sums.as_chunks_mut::<2>().0)) {
        // Magnitudes compare as their bits do, and every NaN is above infinity.
        let bits = x.iter().fold(0, |max, x| u32::max(max, x.to_bits() & 0x7fff_ffff));
        let max = f32::from_bits(bits);
        let (scale, inverse) = match max {
            _ if !max.is_finite() => (f32::NAN, 0.0),
            _ if max < TINY => (0.0, 0.0),
            _ => (max / 127.0, 127.0 / max),
        };
        *d = scale;
        for (q, x) in q.iter_mut().zip(x) {
            // The cast takes NaN to zero; what is finite stays within 127.
            *q = (x * inverse).round_ties_even() as i8;
        }
        *sums = [0, 16].map(|half| q[half..half + 16].iter().map(|&q| i16::from(q)).sum());
    }
}
