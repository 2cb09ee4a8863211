//! Products, norms, softmax and attention against the same in f64, with bounds from length and magnitude.

use qorus_kernels::{ATTEND_BLOCK, AttendBlock, Isa, Kernels, TileMut, Type, load_key, store_key};
use std::io::Write as _; // not held back by the test harness, as the print macros are

/// The kernels of every level that this CPU has.
fn levels() -> Vec<Kernels> {
    let skipped = Isa::ALL.into_iter().filter(|isa| !isa.available());
    skipped.for_each(|isa| drop(writeln!(std::io::stderr(), "SKIPPED: this CPU has no {}", isa.name())));
    Isa::ALL.into_iter().filter_map(Kernels::new).collect()
}

/// Numbers between -1 and 1.
fn random(seed: u32, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn wide(x: &[f32]) -> impl Iterator<Item = f64> {
    x.iter().map(|x| f64::from(*x))
}

/// What a dot product of that length may be off: each of the sixteen sums rounds once per element it takes,
/// and folding them adds four roundings; each is at most half a unit of the sum of magnitudes.
fn dot_bound(len: usize, magnitude: f64) -> f64 {
    (len.div_ceil(16) + 4) as f64 * f64::from(f32::EPSILON) / 2.0 * magnitude
}

#[test]
fn dot_products_are_within_their_bound() {
    for kernels in levels() {
        for len in [0, 1, 15, 16, 17, 100, 576, 4099, 100_003] {
            let (a, b) = (random(1, len), random(2, len));
            let exact: f64 = wide(&a).zip(wide(&b)).map(|(a, b)| a * b).sum();
            let magnitude: f64 = wide(&a).zip(wide(&b)).map(|(a, b)| (a * b).abs()).sum();
            let error = (f64::from(kernels.dot(&a, &b)) - exact).abs();
            assert!(error <= dot_bound(len, magnitude), "{} elements: {error:e}", len);
        }
    }
}

#[test]
fn products_are_dot_products_however_many_rows_there_are() {
    let (k, rows, tokens) = (203, 37, 29);
    let (w, x) = (random(3, rows * k), random(4, tokens * k));
    let bytes: Vec<u8> = w.iter().flat_map(|w| w.to_le_bytes()).collect();
    for kernels in levels() {
        let mut all = vec![f32::NAN; rows * tokens];
        kernels.matmul_f32(Type::F32, &bytes, &x, k, &mut TileMut::new(&mut all, tokens, rows));
        for t in 0..tokens {
            let x = &x[t * k..][..k];
            let mut alone = vec![f32::NAN; rows];
            kernels.matmul_f32(Type::F32, &bytes, x, k, &mut TileMut::new(&mut alone, 1, rows));
            assert_eq!(alone, all[t * rows..][..rows], "token {t} alone and among others");
            for r in 0..rows {
                assert_eq!(alone[r].to_bits(), kernels.dot(&w[r * k..][..k], x).to_bits(), "row {r}, token {t}");
            }
        }
    }
}

#[test]
fn norms_are_within_their_bounds() {
    for kernels in levels() {
        for len in [1, 7, 16, 100, 576, 5003] {
            let (x, w, b) = (random(5, len), random(6, len), random(7, len));
            let (n, eps) = (len as f64, 1e-5);
            let mut y = vec![f32::NAN; len];

            kernels.rmsnorm(&x, &w, eps, &mut y);
            let mean = wide(&x).map(|x| x * x).sum::<f64>() / n;
            let inverse = 1.0 / (mean + f64::from(eps)).sqrt();
            // Half the relative error of the sum of squares, and six roundings.
            let relative = dot_bound(len, 1.0) / 2.0 + 6.0 * f64::from(f32::EPSILON) / 2.0;
            for i in 0..len {
                let exact = f64::from(x[i]) * inverse * f64::from(w[i]);
                assert!((f64::from(y[i]) - exact).abs() <= relative * exact.abs(), "rmsnorm of {len}, element {i}");
            }

            let mean = wide(&x).sum::<f64>() / n;
            let variance = wide(&x).map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
            let inverse = 1.0 / (variance + f64::from(eps)).sqrt();
            // The mean's error moves every element, its square the variance.
            let magnitude = wide(&x).map(f64::abs).sum::<f64>();
            let shift = (dot_bound(len, magnitude) / n + 1.2e-7) * inverse;
            let relative = dot_bound(len, 1.0) / 2.0 + 8.0 * f64::from(f32::EPSILON) / 2.0 + shift * shift;
            for bias in [Some(&b[..]), None] {
                kernels.layernorm(&x, &w, bias, eps, &mut y);
                for i in 0..len {
                    let unit = (f64::from(x[i]) - mean) * inverse;
                    let exact = unit * f64::from(w[i]) + bias.map_or(0.0, |b| f64::from(b[i]));
                    let bound = (unit.abs() * relative + shift) * f64::from(w[i].abs()) + 1.2e-7 * exact.abs();
                    assert!((f64::from(y[i]) - exact).abs() <= bound, "layernorm of {len}, element {i}");
                }
            }
        }
    }
}

#[test]
fn softmax_sums_to_one_and_masks() {
    for kernels in levels() {
        for (len, scale) in [(1, 1.0), (2, 0.25), (17, 1.0), (31, 8.0), (300, 0.3), (32_003, 1.0)] {
            let mut x: Vec<f32> = random(8, len).iter().map(|x| 20.0 / scale * x).collect();
            if len > 2 {
                x[1] = f32::NEG_INFINITY;
            }
            let scaled = || wide(&x).map(|x| x * f64::from(scale));
            let max = scaled().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scaled().map(|x| (x - max).exp()).sum();
            let exact: Vec<f64> = scaled().map(|x| (x - max).exp() / sum).collect();
            kernels.softmax(&mut x, scale);
            // The roundings of scaling and of the difference become errors of exp; the sum, the quotient and the product round.
            let relative = 60.0 * f64::from(f32::EPSILON) + dot_bound(len, 1.0) + 4.0 * f64::from(f32::EPSILON);
            for i in 0..len {
                assert!((f64::from(x[i]) - exact[i]).abs() <= relative * exact[i] + 1e-38, "{len}, element {i}");
            }
            assert!(len <= 2 || x[1] == 0.0);
        }
    }
}

/// A cache of one head in f32, and heads that query it.
struct Heads {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    heads: usize,
    dim: usize,
    positions: usize,
}

/// What attention keeps between blocks.
#[derive(Clone, PartialEq, Debug)]
struct State {
    max: Vec<f32>,
    sum: Vec<f32>,
    out: Vec<f32>,
}

impl Heads {
    fn new(heads: usize, dim: usize, positions: usize) -> Heads {
        let times = |x: Vec<f32>, a: f32| x.iter().map(|x| a * x).collect();
        Heads {
            q: times(random(9, heads * dim), 4.0),
            k: random(10, positions * dim),
            v: random(11, positions * dim),
            heads,
            dim,
            positions,
        }
    }

    fn fresh(heads: usize, dim: usize) -> State {
        State { max: vec![f32::NEG_INFINITY; heads], sum: vec![f32::NAN; heads], out: vec![f32::NAN; heads * dim] }
    }

    /// The heads `which` over the blocks `blocks`, on top of `state`.
    fn attend(
        &self,
        kernels: &Kernels,
        which: std::ops::Range<usize>,
        blocks: std::ops::Range<usize>,
        state: &mut State,
    ) {
        let bytes = |x: &[f32]| -> Vec<u8> { x.iter().flat_map(|x| x.to_le_bytes()).collect() };
        let stride = 4 * self.dim;
        for block in blocks {
            let first = block * ATTEND_BLOCK;
            let len = ATTEND_BLOCK.min(self.positions - first);
            let rows = first * self.dim..(first + len) * self.dim;
            let mut keys = vec![0xff; ATTEND_BLOCK * stride];
            for (j, row) in bytes(&self.k[rows.clone()]).chunks_exact(stride).enumerate() {
                store_key(Type::F32, row, &mut keys, j);
            }
            kernels.attend(
                Type::F32,
                &mut AttendBlock {
                    q: &self.q[which.start * self.dim..which.end * self.dim],
                    keys: &keys,
                    values: &bytes(&self.v[rows]),
                    seen: &[[0, len as u8]],
                    head_dim: self.dim,
                    scale: 0.3,
                    softcap: 5.0,
                    scratch: &mut vec![f32::NAN; AttendBlock::scratch(self.dim)],
                    max: &mut state.max,
                    sum: &mut state.sum,
                    out: &mut state.out,
                },
            );
        }
    }

    fn blocks(&self) -> usize {
        self.positions.div_ceil(ATTEND_BLOCK)
    }
}

#[test]
fn attention_is_softmax_of_scores_times_values() {
    let h = Heads::new(5, 40, 3 * ATTEND_BLOCK + 17);
    for kernels in levels() {
        let mut state = Heads::fresh(h.heads, h.dim);
        h.attend(&kernels, 0..h.heads, 0..h.blocks(), &mut state);
        for head in 0..h.heads {
            let q = &h.q[head * h.dim..][..h.dim];
            let score = |j: usize| {
                let dot: f64 = wide(q).zip(wide(&h.k[j * h.dim..])).map(|(q, k)| q * k).sum();
                5.0 * (0.3 * dot / 5.0).tanh()
            };
            let weights: Vec<f64> = (0..h.positions).map(|j| score(j).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for i in 0..h.dim {
                let exact: f64 = weights.iter().enumerate().map(|(j, p)| p / sum * f64::from(h.v[j * h.dim + i])).sum();
                let found = state.out[head * h.dim + i] / state.sum[head];
                // Values are below 1, scores below 5: their errors are a few units, the sums add one per position.
                assert!((f64::from(found) - exact).abs() < 2e-6, "head {head}, element {i}: {found} and {exact}");
            }
        }
    }
}

/// What a row does not see may hold anything, and rows that see unlike positions go together.
#[test]
fn a_row_attends_to_what_it_sees_alone() {
    for (ty, dim, heads) in [
        (Type::F32, 40, 1),
        (Type::F32, 7, 2),
        (Type::F16, 64, 3),
        (Type::F16, 16, 1),
        (Type::F16, 100, 2),
        (Type::Q8_0, 64, 3),
        (Type::Q4_0, 96, 2),
    ] {
        let row_bytes = ty.row_bytes(dim).unwrap();
        let quantize = |kernels: &Kernels, seed| -> Vec<u8> {
            let mut bytes = vec![0; ATTEND_BLOCK * row_bytes];
            for (x, row) in random(seed, ATTEND_BLOCK * dim).chunks(dim).zip(bytes.chunks_mut(row_bytes)) {
                kernels.quantize(ty, x, row);
            }
            bytes
        };
        let scalar = Kernels::new(Isa::Scalar).unwrap();
        let (k, v) = (quantize(&scalar, 20), quantize(&scalar, 21));
        let seen: Vec<[u8; 2]> = (0..64u8).map(|i| [0, i + 1]).collect();
        let windows = vec![[3, 20], [4, 21], [5, 5], [6, 23], [40, 41], [0, 0], [9, 64], [0, 64], [17, 33]];
        let q = random(22, 64 * heads * dim);
        let attend = |kernels: &Kernels, seen: &[[u8; 2]], first: usize| {
            let queries = seen.len() * heads;
            // Nothing but NaN where no row looks.
            let (from, to) = (seen.iter().map(|s| s[0]).min().unwrap(), seen.iter().map(|s| s[1]).max().unwrap());
            let mut keys = vec![0xff; ATTEND_BLOCK * row_bytes];
            let mut values = vec![0xff; usize::from(to) * row_bytes];
            for j in usize::from(from)..usize::from(to) {
                let row = j * row_bytes..(j + 1) * row_bytes;
                store_key(ty, &k[row.clone()], &mut keys, j);
                let mut back = vec![0; row_bytes];
                load_key(ty, &keys, j, &mut back);
                assert_eq!(back, k[row.clone()]);
                values[row.clone()].copy_from_slice(&v[row]);
            }
            let mut state = Heads::fresh(queries, dim);
            kernels.attend(
                ty,
                &mut AttendBlock {
                    q: &q[first * heads * dim..][..queries * dim],
                    keys: &keys,
                    values: &values,
                    seen,
                    head_dim: dim,
                    scale: 0.3,
                    softcap: 0.0,
                    scratch: &mut vec![f32::NAN; AttendBlock::scratch(dim)],
                    max: &mut state.max,
                    sum: &mut state.sum,
                    out: &mut state.out,
                },
            );
            state
        };
        for seen in [seen, windows] {
            let definition: Vec<State> =
                seen.iter().enumerate().map(|(row, seen)| attend(&scalar, &[*seen], row)).collect();
            for kernels in levels() {
                let together = attend(&kernels, &seen, 0);
                for (row, expected) in definition.iter().enumerate() {
                    let alone = attend(&kernels, &seen[row..row + 1], row);
                    for (i, query) in (row * heads..(row + 1) * heads).enumerate() {
                        let out = |state: &State, query: usize| -> Vec<u32> {
                            let out = state.out[query * dim..][..dim].iter();
                            out.chain([&state.max[query], &state.sum[query]]).map(|x| x.to_bits()).collect()
                        };
                        let expected = out(expected, i);
                        assert_eq!(out(&alone, i), expected, "{ty:?} row {row}, head {i}, alone");
                        assert_eq!(out(&together, query), expected, "{ty:?} row {row}, head {i}, in company");
                        let [from, to] = seen[row];
                        assert!(from == to || expected.iter().all(|x| f32::from_bits(*x).is_finite()));
                    }
                }
            }
        }
    }
}

#[test]
fn a_head_attends_alone_as_in_company() {
    for heads in 2..=9 {
        let h = Heads::new(heads, 48, 2 * ATTEND_BLOCK + 5);
        for kernels in levels() {
            let mut together = Heads::fresh(heads, h.dim);
            h.attend(&kernels, 0..heads, 0..h.blocks(), &mut together);
            for head in 0..heads {
                let mut alone = Heads::fresh(1, h.dim);
                h.attend(&kernels, head..head + 1, 0..h.blocks(), &mut alone);
                assert_eq!(alone.max[0].to_bits(), together.max[head].to_bits());
                assert_eq!(alone.sum[0].to_bits(), together.sum[head].to_bits());
                assert_eq!(alone.out, together.out[head * h.dim..][..h.dim]);
            }
        }
    }
}

#[test]
fn blocks_may_be_spread_and_merged_in_order() {
    let h = Heads::new(3, 48, 4 * ATTEND_BLOCK + 1);
    for kernels in levels() {
        let mut at_once = Heads::fresh(h.heads, h.dim);
        h.attend(&kernels, 0..h.heads, 0..h.blocks(), &mut at_once);
        let mut merged = Heads::fresh(h.heads, h.dim);
        for block in 0..h.blocks() {
            let mut own = Heads::fresh(h.heads, h.dim);
            h.attend(&kernels, 0..h.heads, block..block + 1, &mut own);
            let State { max, sum, out } = &mut merged;
            kernels.attend_merge((max, sum, out), (&own.max, &own.sum, &own.out));
        }
        assert_eq!(at_once, merged);
    }
}

#[test]
fn the_scalar_kernels_compute_in_f64_too() {
    use qorus_kernels::scalar::{activation, norm};
    let x = random(12, 100);
    let (mut narrow, mut double): (Vec<f32>, Vec<f64>) = (x.clone(), wide(&x).collect());
    activation::gelu_erf(&mut narrow);
    activation::gelu_erf(&mut double);
    let (mut y, mut z) = (vec![0.0; 100], vec![0.0; 100]);
    norm::layernorm(&narrow, &x, None, 1e-5, &mut y);
    norm::layernorm(&double, &wide(&x).collect::<Vec<_>>(), None, 1e-5, &mut z);
    for (y, z) in y.iter().zip(&z) {
        assert!((f64::from(*y) - z).abs() < 2e-6);
    }
}
