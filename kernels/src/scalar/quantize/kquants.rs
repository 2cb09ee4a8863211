//! The k-quants: 256 weights in groups of 16 or 32, the lines of which are small integers under two numbers in half
//! precision, `d * sc * q - dmin * mn`.
//!
//! 1. For each group by itself the best line is searched for (see [`search`](super::search)).
//! 2. `d` and `dmin` are such that the greatest of those lines just fit the integers.
//! 3. Each group takes the integers next to its line that leave the least error: the nearest, one less or one more.
//! 4. With all integers given, `d` and `dmin` are solved by least squares over the block,
//!    `Σ (x - d sc q + dmin mn)²`. From there 3 again, about the lines it has now, as long as the error falls.

use super::search::{self, Grid, Line, Offset};
use super::{Encode, Normal, Unit, extreme, normal};
use crate::blocks::{Q2_K, Q3_K, Q4_K, Q5_K, Q6_K};
use bytemuck::Zeroable;

/// Elements of a block.
const BLOCK: usize = 256;

/// How lines are made of integers.
trait Nested: Grid {
    /// Elements of a group.
    const GROUP: usize;
    /// The least and the greatest `sc`.
    const SCALES: (f32, f32);
    /// The greatest `mn`; the least is 0.
    const MINS: f32;
}

macro_rules! nested {
    ($($block:ident: codes $low:literal to $high:literal, $offset:ident; $group:literal elements,
       scales $sc_low:literal to $sc_high:literal, mins to $mins:literal;)*) => {$(
        impl Grid for $block {
            const LOW: f32 = $low as f32;
            const HIGH: f32 = $high as f32;
            const OFFSET: Offset = Offset::$offset;
        }
        impl Nested for $block {
            const GROUP: usize = $group;
            const SCALES: (f32, f32) = ($sc_low as f32, $sc_high as f32);
            const MINS: f32 = $mins as f32;
        }
    )*};
}

nested! {
    Q2_K: codes 0 to 3, NotPositive; 16 elements, scales 0 to 15, mins to 15;
    Q3_K: codes -4 to 3, None; 16 elements, scales -32 to 31, mins to 0;
    Q4_K: codes 0 to 15, NotPositive; 32 elements, scales 0 to 63, mins to 63;
    Q5_K: codes 0 to 31, NotPositive; 32 elements, scales 0 to 63, mins to 63;
    Q6_K: codes -32 to 31, None; 16 elements, scales -128 to 127, mins to 0;
}

/// The integers of all groups, of which there are 16 or 8, and what they are multiplied by.
#[derive(Clone, Copy)]
struct Fit {
    d: ([u8; 2], f32),
    dmin: ([u8; 2], f32),
    sc: [f32; 16],
    mn: [f32; 16],
    error: f32,
}

impl Fit {
    fn line(&self, group: usize) -> Line {
        Line { scale: self.d.1 * self.sc[group], offset: -self.dmin.1 * self.mn[group] }
    }

    /// The integers about the lines that leave the least error with that `d` and `dmin`.
    fn new<G: Nested>(x: &[f32; BLOCK], lines: &[Line; 16], d: ([u8; 2], f32), dmin: ([u8; 2], f32)) -> Fit {
        let mut fit = Fit { d, dmin, sc: [0.0; 16], mn: [0.0; 16], error: 0.0 };
        let about = |value: f32, unit: f32, (low, high): (f32, f32)| {
            let centre = if unit == 0.0 { 0.0 } else { (value / unit).round_ties_even() };
            [0.0, -1.0, 1.0].map(|step| (centre + step).max(low).min(high))
        };
        for (group, x) in x.chunks_exact(G::GROUP).enumerate() {
            let scales = about(lines[group].scale, d.1, G::SCALES);
            let mins = about(-lines[group].offset, dmin.1, (0.0, G::MINS));
            let mut least = f32::INFINITY;
            for sc in scales {
                for &mn in if G::MINS > 0.0 { &mins[..] } else { &[0.0] } {
                    let error = search::error::<G>(x, Line { scale: d.1 * sc, offset: -dmin.1 * mn });
                    if error < least {
                        (least, fit.sc[group], fit.mn[group]) = (error, sc, mn);
                    }
                }
            }
            fit.error += least;
        }
        fit
    }

    /// `d` and `dmin` of least squares for its codes and integers.
    fn solve<G: Nested>(&self, x: &[f32; BLOCK]) -> (f32, f32) {
        // x = d a - dmin b with a = sc q and b = mn, summed without loss.
        let [mut aa, mut ab, mut bb, mut xa, mut xb] = [0f64; 5];
        for (group, x) in x.chunks_exact(G::GROUP).enumerate() {
            let (line, sc, b) = (self.line(group), self.sc[group], f64::from(self.mn[group]));
            for &x in x {
                let a = f64::from(sc * line.code::<G>(x));
                let x = f64::from(x);
                aa += a * a;
                ab += a * b;
                bb += b * b;
                xa += x * a;
                xb += x * b;
            }
        }
        let det = aa * bb - ab * ab;
        if det > 0.0 {
            (((xa * bb - xb * ab) / det) as f32, ((xa * ab - xb * aa) / det) as f32)
        } else {
            (if aa > 0.0 { (xa / aa) as f32 } else { 0.0 }, self.dmin.1)
        }
    }
}

/// Times that the integers are chosen.
const ROUNDS: usize = 4;

/// The best integers found, and the codes of all elements less the least code; where there are none, what stands for `d`.
fn encode<G: Nested>(x: &[f32]) -> Result<(Fit, [u8; BLOCK]), [u8; 2]> {
    let Normal { x, unit } = normal::<BLOCK>(x)?;
    let mut lines = [Line::default(); 16];
    for (line, x) in lines.iter_mut().zip(x.chunks_exact(G::GROUP)) {
        *line = search::best::<G>(x);
    }
    let best = best::<G>(&x, &lines, unit);
    let mut codes = [0; BLOCK];
    for (group, (codes, x)) in codes.chunks_exact_mut(G::GROUP).zip(x.chunks_exact(G::GROUP)).enumerate() {
        let line = best.line(group);
        for (code, &x) in codes.iter_mut().zip(x) {
            *code = (line.code::<G>(x) - G::LOW) as u8;
        }
    }
    Ok((best, codes))
}

fn best<G: Nested>(x: &[f32; BLOCK], lines: &[Line; 16], unit: Unit) -> Fit {
    let outermost = if G::SCALES.0 < 0.0 { G::SCALES.0 } else { G::SCALES.1 };
    let scale = extreme(&lines.map(|line| line.scale)) / outermost;
    let min = if G::MINS > 0.0 { -extreme(&lines.map(|line| line.offset)) / G::MINS } else { 0.0 };
    // Away from zero, lest the greatest no longer fit, or everything vanish.
    let mut best = Fit::new::<G>(x, lines, unit.half_up(scale), unit.half_up(min));
    // What is beyond half precision stays so: with nothing to be fitted, the solution would be zero.
    let rounds = if best.error.is_finite() { ROUNDS } else { 0 };
    for _ in 1..rounds {
        let (d, dmin) = best.solve::<G>(x);
        let lines = core::array::from_fn(|group| best.line(group));
        let fit = Fit::new::<G>(x, &lines, unit.half(d), unit.half(dmin));
        if fit.error < best.error {
            best = fit;
        } else {
            break;
        }
    }
    best
}

/// `sc` and `mn` of eight groups as 6 bits each, as the reader of these blocks has it.
fn pack_6bit(fit: &Fit) -> [u8; 12] {
    let mut p = [0; 12];
    for sub in 0..8 {
        let (sc, mn) = (fit.sc[sub] as u8, fit.mn[sub] as u8);
        if sub < 4 {
            p[sub] = sc;
            p[sub + 4] = mn;
        } else {
            p[sub + 4] = sc & 15 | mn << 4;
            p[sub - 4] |= sc >> 4 << 6;
            p[sub] |= mn >> 4 << 6;
        }
    }
    p
}

/// Adds the field `field(code)`, shifted, of each code of group `sub` to the bytes it lies in.
fn put(bytes: &mut [u8], codes: &[u8; BLOCK], sub: usize, shift: usize, field: impl Fn(u8) -> u8) {
    for (byte, code) in bytes.iter_mut().zip(&codes[32 * sub..][..32]) {
        *byte |= field(*code) << shift;
    }
}

impl Encode for Q2_K {
    fn encode(x: &[f32]) -> Self {
        let mut block = Q2_K::zeroed();
        match encode::<Q2_K>(x) {
            Ok((fit, codes)) => {
                (block.d, block.dmin) = (fit.d.0, fit.dmin.0);
                block.scales = core::array::from_fn(|i| fit.sc[i] as u8 | (fit.mn[i] as u8) << 4);
                for sub in 0..8 {
                    put(&mut block.qs[sub / 4 * 32..], &codes, sub, 2 * (sub % 4), |q| q);
                }
            }
            Err(d) => block.d = d,
        }
        block
    }
}

impl Encode for Q3_K {
    fn encode(x: &[f32]) -> Self {
        let mut block = Q3_K::zeroed();
        match encode::<Q3_K>(x) {
            Ok((fit, codes)) => {
                block.d = fit.d.0;
                for (i, sc) in fit.sc.iter().enumerate() {
                    let sc = (sc + 32.0) as u8;
                    block.scales[i % 8] |= (sc & 15) << (4 * (i / 8));
                    block.scales[8 + i % 4] |= sc >> 4 << (2 * (i / 4));
                }
                for sub in 0..8 {
                    put(&mut block.qs[sub / 4 * 32..], &codes, sub, 2 * (sub % 4), |q| q & 3);
                    put(&mut block.hmask, &codes, sub, sub, |q| q >> 2);
                }
            }
            Err(d) => block.d = d,
        }
        block
    }
}

impl Encode for Q4_K {
    fn encode(x: &[f32]) -> Self {
        let mut block = Q4_K::zeroed();
        match encode::<Q4_K>(x) {
            Ok((fit, codes)) => {
                (block.d, block.dmin, block.scales) = (fit.d.0, fit.dmin.0, pack_6bit(&fit));
                for sub in 0..8 {
                    put(&mut block.qs[sub / 2 * 32..], &codes, sub, 4 * (sub % 2), |q| q);
                }
            }
            Err(d) => block.d = d,
        }
        block
    }
}

impl Encode for Q5_K {
    fn encode(x: &[f32]) -> Self {
        let mut block = Q5_K::zeroed();
        match encode::<Q5_K>(x) {
            Ok((fit, codes)) => {
                (block.d, block.dmin, block.scales) = (fit.d.0, fit.dmin.0, pack_6bit(&fit));
                for sub in 0..8 {
                    put(&mut block.qs[sub / 2 * 32..], &codes, sub, 4 * (sub % 2), |q| q & 15);
                    put(&mut block.qh, &codes, sub, sub, |q| q >> 4);
                }
            }
            Err(d) => block.d = d,
        }
        block
    }
}

impl Encode for Q6_K {
    fn encode(x: &[f32]) -> Self {
        let mut block = Q6_K::zeroed();
        match encode::<Q6_K>(x) {
            Ok((fit, codes)) => {
                block.d = fit.d.0;
                block.scales = fit.sc.map(|sc| sc as i8);
                for sub in 0..8 {
                    put(&mut block.ql[sub / 4 * 64 + sub % 2 * 32..], &codes, sub, 4 * (sub % 4 / 2), |q| q & 15);
                    put(&mut block.qh[sub / 4 * 32..], &codes, sub, 2 * (sub % 4), |q| q >> 4);
                }
            }
            Err(d) => block.d = d,
        }
        block
    }
}
