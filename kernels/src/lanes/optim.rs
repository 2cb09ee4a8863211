//! Steps of optimizers, sixteen elements at a time.

use super::Simd;
use super::clip::within;
use super::map::padded;
use crate::dynamic::{self, BLOCK, Decade};
use crate::optim::{AdamStep, Intake, SgdStep};

/// [`Intake`] in registers.
#[derive(Clone, Copy)]
struct Take<S: Simd> {
    s: S,
    scale: S::V,
    limit: S::V,
    l1: S::V,
    l2: S::V,
}

impl<S: Simd> Take<S> {
    #[inline(always)]
    fn new(s: S, i: &Intake) -> Self {
        Take { s, scale: s.splat(i.scale), limit: s.splat(i.limit), l1: s.splat(i.l1), l2: s.splat(i.l2) }
    }

    #[inline(always)]
    fn take(&self, g: S::V, w: S::V) -> S::V {
        let s = self.s;
        let positive = s.if_negative(s.neg(w), self.l1, s.splat(0.0));
        let sign = s.if_negative(w, s.neg(self.l1), positive);
        s.add(s.mul_add(self.l2, w, within(s, s.mul(g, self.scale), self.limit)), sign)
    }
}

/// [`SgdStep`]; `b` is empty where there is no momentum.
#[inline(always)]
pub fn sgd<S: Simd>(s: S, w: &mut [f32], g: &mut [f32], b: &mut [f32], step: &SgdStep) {
    let (take, rate, momentum) = (Take::new(s, &step.intake), s.splat(-step.rate), s.splat(step.momentum));
    if b.is_empty() {
        update(
            s,
            w,
            g,
            [],
            #[inline(always)]
            |w, g, _| (s.mul_add(rate, take.take(g, w), w), []),
        );
    } else {
        update(
            s,
            w,
            g,
            [b],
            #[inline(always)]
            |w, g, [b]| {
                let g = take.take(g, w);
                let b = s.mul_add(momentum, b, g);
                let along = if step.nesterov { s.mul_add(momentum, b, g) } else { b };
                (s.mul_add(rate, along, w), [b])
            },
        );
    }
}

/// [`AdamStep`].
#[inline(always)]
pub fn adam<S: Simd>(s: S, w: &mut [f32], g: &mut [f32], m: &mut [f32], v: &mut [f32], step: &AdamStep) {
    let adam = Adam::new(s, step);
    update(
        s,
        w,
        g,
        [m, v],
        #[inline(always)]
        |w, g, [m, v]| adam.one(w, g, m, v),
    );
}

/// The same with moments in blocks of codes.
#[inline(always)]
pub fn adam8<S: Simd>(
    s: S,
    w: &mut [f32],
    g: &mut [f32],
    m: &mut [u8],
    v: &mut [u8],
    scales: &mut [f32],
    step: &AdamStep,
) {
    let adam = Adam::new(s, step);
    let blocks = w.chunks_mut(BLOCK).zip(g.chunks_mut(BLOCK)).zip(m.chunks_mut(BLOCK)).zip(v.chunks_mut(BLOCK));
    for ((((w, g), m), v), scales) in blocks.zip(scales.as_chunks_mut::<2>().0) {
        let whole = (w.first_chunk_mut(), g.first_chunk_mut(), m.first_chunk_mut(), v.first_chunk_mut());
        if let (Some(w), Some(g), Some(m), Some(v)) = whole {
            adam.block(w, g, m, v, scales);
            continue;
        }
        // The end of a tensor: zeros behind it keep zeros as moments.
        let len = w.len();
        let (mut w2, mut g2, mut m2, mut v2) = ([0.0; BLOCK], [0.0; BLOCK], [ZERO_CODE; BLOCK], [0; BLOCK]);
        w2[..len].copy_from_slice(w);
        g2[..len].copy_from_slice(g);
        m2[..len].copy_from_slice(m);
        v2[..len].copy_from_slice(v);
        adam.block(&mut w2, &mut g2, &mut m2, &mut v2, scales);
        w.copy_from_slice(&w2[..len]);
        g.copy_from_slice(&g2[..len]);
        m.copy_from_slice(&m2[..len]);
        v.copy_from_slice(&v2[..len]);
    }
}

/// [`AdamStep`] in registers.
#[derive(Clone, Copy)]
struct Adam<S: Simd> {
    s: S,
    take: Take<S>,
    rest1: S::V,
    beta2: S::V,
    rest2: S::V,
    root: S::V,
    eps: S::V,
    rate: S::V,
    decay: S::V,
}

impl<S: Simd> Adam<S> {
    #[inline(always)]
    fn new(s: S, step: &AdamStep) -> Self {
        Adam {
            s,
            take: Take::new(s, &step.intake),
            rest1: s.splat(step.rest1),
            beta2: s.splat(step.beta2),
            rest2: s.splat(step.rest2),
            root: s.splat(step.root),
            eps: s.splat(step.eps),
            rate: s.splat(-step.rate),
            decay: s.splat(-step.decay),
        }
    }

    #[inline(always)]
    fn one(&self, w: S::V, g: S::V, m: S::V, v: S::V) -> (S::V, [S::V; 2]) {
        let s = self.s;
        let g = self.take.take(g, w);
        let m = s.mul_add(self.rest1, s.sub(g, m), m);
        let v = s.mul_add(s.mul(self.rest2, g), g, s.mul(self.beta2, v));
        let along = s.div(m, s.mul_add(s.sqrt(v), self.root, self.eps));
        (s.mul_add(self.rate, along, s.mul_add(self.decay, w, w)), [m, v])
    }

    /// A block whose moments are codes.
    #[inline(always)]
    fn block(
        &self,
        w: &mut [f32; BLOCK],
        g: &mut [f32; BLOCK],
        m: &mut [u8; BLOCK],
        v: &mut [u8; BLOCK],
        scales: &mut [f32; 2],
    ) {
        let s = self.s;
        let (mut m32, mut v32) = ([[0.0f32; 16]; BLOCK / 16], [[0.0f32; 16]; BLOCK / 16]);
        let (scale_m, scale_v) = (s.splat(scales[0]), s.splat(scales[1]));
        let (mut max_m, mut max_v) = ([s.splat(0.0); 2], [s.splat(0.0); 2]);
        let w16 = w.as_chunks_mut::<16>().0.iter_mut().zip(g.as_chunks_mut::<16>().0);
        let codes = m.as_chunks::<16>().0.iter().zip(v.as_chunks::<16>().0);
        for (((w, g), (m, v)), (m32, v32)) in w16.zip(codes).zip(m32.iter_mut().zip(&mut v32)) {
            for part in 0..S::PARTS {
                let m = s.mul(s.lookup(&dynamic::SIGNED, m, part), scale_m);
                let v = s.mul(s.lookup(&dynamic::UNSIGNED, v, part), scale_v);
                let (new, [m, v]) = self.one(s.load(w, part), s.load(g, part), m, v);
                s.store(w, part, new);
                s.store(g, part, s.splat(0.0));
                s.store(m32, part, m);
                s.store(v32, part, v);
                max_m[part] = s.greater(s.abs(m), max_m[part]);
                max_v[part] = s.greater(s.abs(v), max_v[part]);
            }
        }
        *scales = [s.max(max_m), s.max(max_v)];
        let (inverse_m, inverse_v) = (s.splat(dynamic::inverse(scales[0])), s.splat(dynamic::inverse(scales[1])));
        for (x, codes) in m32.iter().zip(m.as_chunks_mut::<16>().0) {
            for part in 0..S::PARTS {
                let x = s.mul(s.load(x, part), inverse_m);
                let rank = s.with_sign(rank(s, &dynamic::SIGNED_DECADES, s.abs(x), 0.0), x);
                s.store_u8(codes, part, s.greater(s.add(s.splat(dynamic::ZERO), rank), s.splat(0.0)));
            }
        }
        for (x, codes) in v32.iter().zip(v.as_chunks_mut::<16>().0) {
            for part in 0..S::PARTS {
                let x = s.mul(s.load(x, part), inverse_v);
                let rank = rank(s, &dynamic::UNSIGNED_DECADES, x, 1.0);
                s.store_u8(codes, part, s.if_negative(s.neg(x), rank, s.splat(0.0)));
            }
        }
    }
}

/// The signed code of 0.
const ZERO_CODE: u8 = dynamic::ZERO as u8;

/// The rank of numbers that are not negative; `least` below the decades.
#[inline(always)]
fn rank<S: Simd>(s: S, decades: &[Decade; 7], x: S::V, least: f32) -> S::V {
    let (mut slope, mut offset) = (s.splat(0.0), s.splat(least));
    for decade in decades {
        let below = s.sub(x, s.splat(decade.from));
        slope = s.if_negative(below, slope, s.splat(decade.slope));
        offset = s.if_negative(below, offset, s.splat(decade.offset));
    }
    let round = s.splat(dynamic::ROUND);
    s.sub(s.add(s.mul_add(x, slope, offset), round), round)
}

/// `(w, state) = f(w, g, state)` and `g = 0`, for any number of slices of state; all of one length.
#[inline(always)]
fn update<S: Simd, const N: usize>(
    s: S,
    w: &mut [f32],
    g: &mut [f32],
    state: [&mut [f32]; N],
    f: impl Fn(S::V, S::V, [S::V; N]) -> (S::V, [S::V; N]),
) {
    let len = w.len();
    assert!(g.len() == len);
    for x in &state {
        assert!(x.len() == len);
    }
    let tail = len - len % 16;
    for at in (0..tail).step_by(16) {
        for part in 0..S::PARTS {
            let mut old = [s.splat(0.0); N];
            for i in 0..N {
                old[i] = s.load(sixteen(state[i], at), part);
            }
            let (new, state_new) = f(s.load(sixteen(w, at), part), s.load(sixteen(g, at), part), old);
            s.store(sixteen(w, at), part, new);
            s.store(sixteen(g, at), part, s.splat(0.0));
            for i in 0..N {
                s.store(sixteen(state[i], at), part, state_new[i]);
            }
        }
    }
    if tail < len {
        let (mut w2, g2, mut state2) = (padded(&w[tail..]), padded(&g[tail..]), [[0.0; 16]; N]);
        for i in 0..N {
            state2[i] = padded(&state[i][tail..]);
        }
        for part in 0..S::PARTS {
            let mut old = [s.splat(0.0); N];
            for i in 0..N {
                old[i] = s.load(&state2[i], part);
            }
            let (new, state_new) = f(s.load(&w2, part), s.load(&g2, part), old);
            s.store(&mut w2, part, new);
            for i in 0..N {
                s.store(&mut state2[i], part, state_new[i]);
            }
        }
        w[tail..].copy_from_slice(&w2[..len - tail]);
        g[tail..].fill(0.0);
        for i in 0..N {
            state[i][tail..].copy_from_slice(&state2[i][..len - tail]);
        }
    }
}

/// The sixteen elements from `at` on.
#[inline(always)]
fn sixteen(x: &mut [f32], at: usize) -> &mut [f32; 16] {
    let x = &mut x[at..at + 16];
    match x.first_chunk_mut() {
        Some(x) => x,
        None => unreachable!(),
    }
}
