//! Random numbers of one read: a fast generator, begun from the counted ones of the run's seed and the read's number.

use crate::rng::philox;

/// xoshiro256++ (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021).
pub(crate) struct Random {
    s: [u64; 4],
}

impl Random {
    /// The numbers of a read.
    pub fn new(seed: u64, read: u64) -> Random {
        let [a, b, c, d] = philox(seed, read, 0);
        let [e, f, g, h] = philox(seed, read, 1);
        let join = |x: u32, y: u32| u64::from(x) << 32 | u64::from(y);
        // Not all zeros.
        Random { s: [join(a, b), join(c, d), join(e, f), join(g, h) | 1] }
    }

    pub fn bits(&mut self) -> u64 {
        let s = &mut self.s;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Below `n`, which is not 0; nearly uniform.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// From 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
}
