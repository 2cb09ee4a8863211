//! The line `scale * q + offset` that comes nearest to a few weights, `q` being integers of a few bits.
//!
//! For a given line each weight takes the code nearest to it, `q = nearest((x - offset) / scale)`; for given codes the
//! line of least squares is known in closed form. Each of the two lowers the error `Σ (x - scale q - offset)²`, so they
//! alternate, as in Lloyd's quantizer (IEEE Transactions on Information Theory 28, 1982). That ends in a minimum
//! near the start; therefore several starts are tried: lines that send the ends of the weights to the outermost
//! codes, a little inside or a little beyond them.
//!
//! All weights count alike: when nothing is known of the activations, the expected error of a product is the
//! weights' own.

/// What the offset of a line may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Offset {
    /// Always zero.
    None,
    /// Zero or below: formats that subtract a multiple of an unsigned integer.
    NotPositive,
    /// Any.
    Any,
}

/// The codes of a format.
pub trait Grid {
    /// The least code; not above zero.
    const LOW: f32;
    /// The greatest code.
    const HIGH: f32;
    /// What goes with them.
    const OFFSET: Offset;
    /// Distance of the outermost codes from their neighbours.
    const STEP: f32 = 1.0;

    /// The code nearest to `v`; `LOW` to NaN.
    #[inline(always)]
    fn nearest(v: f32) -> f32 {
        // Adding this leaves no bits for a fraction: to nearest, ties to even, and compilers make vectors of it.
        const SHIFT: f32 = 3.0 * (1 << 22) as f32;
        v.max(Self::LOW).min(Self::HIGH) + SHIFT - SHIFT
    }
}

/// A straight line over the codes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Line {
    pub scale: f32,
    pub offset: f32,
}

impl Line {
    /// What differences from the offset are multiplied by to become codes.
    #[inline(always)]
    fn inverse(self) -> f32 {
        if self.scale == 0.0 { 0.0 } else { 1.0 / self.scale }
    }

    /// The code of `x`.
    #[inline(always)]
    pub fn code<G: Grid>(self, x: f32) -> f32 {
        G::nearest((x - self.offset) * self.inverse())
    }
}

/// Partial sums, so that a loop over them becomes vectors.
const LANES: usize = 8;

/// The squared error of `x` on a line when each takes its nearest code, and the line of least squares for those codes.
#[inline(always)]
fn pass<G: Grid>(x: &[f32], line: Line) -> (f32, Line) {
    let inverse = line.inverse();
    // With t = x - offset: Σ (t - scale q)², Σ t, Σ q, Σ t q, Σ q².
    let [mut error, mut st, mut sq, mut stq, mut sqq] = [[0f32; LANES]; 5];
    for x in x.as_chunks::<LANES>().0 {
        for j in 0..LANES {
            let t = x[j] - line.offset;
            let q = G::nearest(t * inverse);
            let rest = t - line.scale * q;
            error[j] += rest * rest;
            st[j] += t;
            sq[j] += q;
            stq[j] += t * q;
            sqq[j] += q * q;
        }
    }
    let sum = |lanes: [f32; LANES]| lanes.iter().sum::<f32>();
    let [st, sq, stq, sqq, n] = [sum(st), sum(sq), sum(stq), sum(sqq), x.len() as f32];
    let ratio = |a: f32, b: f32| if b > 0.0 { a / b } else { 0.0 };
    let mut next = Line::default();
    if G::OFFSET != Offset::None {
        next.scale = ratio(n * stq - st * sq, n * sqq - sq * sq);
        next.offset = line.offset + (st - next.scale * sq) / n;
    }
    if G::OFFSET == Offset::None || (G::OFFSET == Offset::NotPositive && next.offset > 0.0) {
        next = Line { scale: ratio(stq + line.offset * sq, sqq), offset: 0.0 };
    }
    (sum(error), next)
}

/// The squared error of `x` on a line.
#[inline(always)]
pub fn error<G: Grid>(x: &[f32], line: Line) -> f32 {
    pass::<G>(x, line).0
}

/// Starts on each side of the line that sends the ends to the outermost codes.
const STARTS: i32 = 4;
/// Times that codes and line are fitted to each other from one start.
const ROUNDS: usize = 4;

/// The best line found for `x`, of which there are a multiple of 8, none of magnitude 2 or more.
pub fn best<G: Grid>(x: &[f32]) -> Line {
    let (min, max) = x.iter().fold((f32::MAX, f32::MIN), |(min, max), &x| (x.min(min), x.max(max)));
    let (mut best, mut least) = (Line::default(), f32::INFINITY);
    let mut descend = |mut line: Line| {
        for _ in 0..ROUNDS {
            let (error, next) = pass::<G>(x, line);
            if error < least {
                (best, least) = (line, error);
            }
            if next == line {
                break;
            }
            line = next;
        }
    };
    for start in -STARTS..=STARTS {
        let beyond = G::STEP * start as f32 / STARTS as f32;
        match G::OFFSET {
            // One end to the outermost code on either side: the range has one more below zero than above.
            Offset::None => {
                let extreme = if -min > max { min } else { max };
                descend(Line { scale: extreme / (G::LOW - beyond), offset: 0.0 });
                descend(Line { scale: extreme / (G::HIGH + beyond), offset: 0.0 });
            }
            // Beyond the codes both ends alike; within them the lower end stays, on a code.
            Offset::NotPositive | Offset::Any => {
                let min = if G::OFFSET == Offset::NotPositive { min.min(0.0) } else { min };
                let scale = (max - min) / (G::HIGH + beyond);
                descend(Line { scale, offset: min + scale * beyond.max(0.0) / 2.0 });
            }
        }
    }
    best
}
