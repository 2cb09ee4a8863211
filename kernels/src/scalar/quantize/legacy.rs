//! The formats of one group of 32 with one scale, by their plain rule: the element of greatest magnitude becomes
//! the outermost integer. No search: the KV cache is written with it.

use super::{Encode, extreme, nearest, scale};
use crate::blocks::{Q4_0, Q8_0};

impl Encode for Q8_0 {
    /// Integers from -127 to 127, ties away from zero.
    #[inline(always)]
    fn encode(x: &[f32]) -> Self {
        let (d, inverse) = scale(extreme(x).abs(), 127.0);
        let mut block = Q8_0 { d, qs: [0; 32] };
        for (q, x) in block.qs.iter_mut().zip(x) {
            *q = nearest(x * inverse);
        }
        block
    }
}

impl Encode for Q4_0 {
    /// Integers from -8 to 7; the extreme becomes -8 by the sign of its scale, and what is as great with the other
    /// sign is cut to 7. Ties go up.
    #[inline(always)]
    fn encode(x: &[f32]) -> Self {
        let (d, inverse) = scale(extreme(x), -8.0);
        // Not below zero before the cast but for NaN, which it takes to zero.
        let code = |x: f32| ((x * inverse + 8.5) as u8).min(15);
        let (low, high) = x.split_at(16);
        let mut block = Q4_0 { d, qs: [0; 16] };
        for (q, (low, high)) in block.qs.iter_mut().zip(low.iter().zip(high)) {
            *q = code(*low) | code(*high) << 4;
        }
        block
    }
}
