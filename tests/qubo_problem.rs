//! Problems: what they keep, their values, and what they refuse.

use qorus::Code;
use qorus::qubo::{Method, Problem, Sense, Silent, SolveParams, Solver};

/// Numbers that look random.
fn noise(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    }
}

/// The value by the definition, of triplets.
fn value(triplets: &[(u32, u32, f64)], offset: f64, x: &[u8]) -> f64 {
    offset + triplets.iter().map(|t| t.2 * f64::from(x[t.0 as usize] * x[t.1 as usize])).sum::<f64>()
}

fn random(seed: u64, n: u32, m: usize, scale: f64) -> Vec<(u32, u32, f64)> {
    let mut next = noise(seed);
    (0..m)
        .map(|_| {
            let (i, j) = ((next() % u64::from(n)) as u32, (next() % u64::from(n)) as u32);
            (i, j, ((next() % 2001) as f64 - 1000.0) * scale)
        })
        .collect()
}

#[test]
fn values_are_those_of_the_triplets_in_every_storage() {
    for (n, m) in [(1, 3), (2, 5), (17, 40), (70, 3000), (300, 400)] {
        for scale in [1.0, 8.0, 1e9, 0.37] {
            for sense in [Sense::Minimize, Sense::Maximize] {
                let triplets = random(n.into(), n, m, scale);
                let problem = Problem::from_triplets(n as usize, &triplets, 2.5, sense).unwrap();
                assert_eq!(problem.is_exact(), scale != 0.37);
                let mut next = noise(7);
                for _ in 0..10 {
                    let x: Vec<u8> = (0..n).map(|_| (next() % 2) as u8).collect();
                    let (found, expected) = (problem.energy(&x), value(&triplets, 2.5, &x));
                    assert!((found - expected).abs() <= 1e-12 * scale * 1e3 * m as f64, "{found} {expected}");
                    if problem.is_exact() {
                        assert_eq!(found, expected);
                    }
                    let ising = problem.to_ising().unwrap();
                    let back = Problem::from_ising(&ising.h, &ising.j, ising.offset, sense).unwrap();
                    assert!((back.energy(&x) - expected).abs() <= 1e-10 * scale * 1e3 * m as f64);
                }
                for i in 0..n as usize {
                    assert_eq!(problem.degree(i), problem.neighbours(i).count());
                    for (j, v) in problem.neighbours(i) {
                        assert!(v != 0.0 && problem.neighbours(j as usize).any(|(k, w)| k as usize == i && w == v));
                    }
                }
            }
        }
    }
}

#[test]
fn a_matrix_is_the_same_problem() {
    let (n, mut next) = (40usize, noise(3));
    let q: Vec<f64> = (0..n * n).map(|_| (next() % 9) as f64 - 4.0).collect();
    let triplets: Vec<_> = (0..n * n).map(|at| ((at / n) as u32, (at % n) as u32, q[at])).collect();
    let [a, b] = [
        Problem::from_dense(n, &q, 0.0, Sense::Minimize).unwrap(),
        Problem::from_triplets(n, &triplets, 0.0, Sense::Minimize).unwrap(),
    ];
    assert!(a.is_dense() && b.is_dense());
    let x: Vec<u8> = (0..n).map(|_| (next() % 2) as u8).collect();
    assert_eq!((a.energy(&x), a.couplings()), (b.energy(&x), b.couplings()));
    assert_eq!(Problem::from_dense(3, &q, 0.0, Sense::Minimize).err().unwrap().code(), Code::Shape);
}

#[test]
fn a_view_is_the_same_problem_and_copies_nothing() {
    for (by, sense) in
        [(1.0, Sense::Minimize), (64.0, Sense::Maximize), (0.37, Sense::Maximize), (3e5, Sense::Minimize)]
    {
        let (n, mut next) = (75, noise(by as u64 + 9));
        let q: Vec<f64> = (0..n * n).map(|_| ((next() % 61) as f64 - 30.0) * by).collect();
        let copy = Problem::from_dense(n, &q, 2.0, sense).unwrap();
        let view = Problem::view::<f64, _>(n, q, 2.0, sense).unwrap();
        assert_eq!((view.bytes(), view.is_dense(), view.is_exact()), (8 * n, true, copy.is_exact()));
        assert_eq!(view.couplings(), copy.couplings());
        for i in 0..n {
            assert_eq!(view.linear(i), copy.linear(i));
            assert!(view.neighbours(i).eq(copy.neighbours(i)), "row {i}");
        }
        for _ in 0..20 {
            let x: Vec<u8> = (0..n).map(|_| (next() % 2) as u8).collect();
            let (a, b) = (view.energy(&x), copy.energy(&x));
            assert!(if view.is_exact() { a == b } else { (a - b).abs() < 1e-9 * by * 1e5 }, "{a} {b}");
        }
        // Solvers see the same in it.
        let params = SolveParams { method: Method::Anneal, num_reads: 3, num_sweeps: 50, ..SolveParams::default() };
        let [a, b] = [&view, &copy].map(|problem| {
            let mut solver = Solver::new(problem, &params).unwrap();
            let outcome = solver.solve(&mut Silent).unwrap();
            let x = solver.sample(0).unwrap().x.to_vec();
            assert_eq!(outcome.best, problem.energy(&x));
            outcome.best
        });
        assert!(if view.is_exact() { a == b } else { (a - b).abs() < 1e-6 * a.abs() }, "{a} {b}");
    }
    let short = Problem::view::<f32, _>(3, vec![0.0; 8], 0.0, Sense::Minimize);
    assert_eq!(short.err().unwrap().code(), Code::Shape);
    let bad = Problem::view::<f32, _>(1, vec![f32::NAN], 0.0, Sense::Minimize);
    assert_eq!(bad.err().unwrap().code(), Code::NotFinite);
    let none = Problem::view::<i8, _>(0, Vec::new(), 4.0, Sense::Minimize).unwrap();
    assert_eq!(none.energy(&[]), 4.0);
}

#[test]
fn fixed_variables_leave_the_same_values() {
    let triplets = random(5, 30, 200, 1.0);
    let problem = Problem::from_triplets(30, &triplets, 1.0, Sense::Maximize).unwrap();
    let (rest, fixed) = problem.fix(&[(3, 1), (7, 0), (29, 1), (3, 1)]).unwrap();
    assert_eq!(rest.len(), 27);
    let (mut next, mut whole) = (noise(1), vec![0; 30]);
    for _ in 0..20 {
        let x: Vec<u8> = (0..27).map(|_| (next() % 2) as u8).collect();
        fixed.expand(&x, &mut whole).unwrap();
        assert_eq!((whole[3], whole[7], whole[29]), (1, 0, 1));
        assert_eq!(rest.energy(&x), problem.energy(&whole));
    }
    for bad in [&[(30, 1)][..], &[(1, 2)], &[(1, 0), (1, 1)]] {
        assert_eq!(problem.fix(bad).err().unwrap().code(), Code::InvalidArgument);
    }
}

#[test]
fn bad_coefficients_are_errors_and_great_ones_are_floats() {
    let problem = |triplets: &[(u32, u32, f64)], offset| Problem::from_triplets(2, triplets, offset, Sense::Minimize);
    let code = |triplets: &[(u32, u32, f64)], offset| problem(triplets, offset).err().unwrap().code();
    assert_eq!(code(&[(0, 2, 1.0)], 0.0), Code::InvalidArgument);
    assert_eq!(code(&[(0, 1, f64::NAN)], 0.0), Code::NotFinite);
    assert_eq!(code(&[(0, 1, 1.0)], f64::INFINITY), Code::NotFinite);
    assert_eq!(code(&[(0, 1, f64::MAX), (0, 1, f64::MAX)], 0.0), Code::NotFinite);
    let great = Problem::from_triplets(2, &[(0, 1, i64::MAX), (1, 1, i64::MAX)], 0.0, Sense::Minimize).unwrap();
    assert!(!great.is_exact() && great.note().is_some());
    let great = problem(&[(0, 1, 1e300)], 0.0).unwrap();
    assert!(!great.is_exact() && great.note().is_some());
    // Duplicates are summed, in either order of the indices, and may vanish.
    let sums = problem(&[(0, 1, 2.0), (1, 0, -2.0), (0, 0, 3.0), (0, 0, 4.0)], 0.0).unwrap();
    assert_eq!((sums.couplings(), sums.linear(0), sums.energy(&[1, 1])), (0, 7.0, 7.0));
    let none = Problem::from_triplets::<f64>(0, &[], 4.0, Sense::Minimize).unwrap();
    assert_eq!((none.len(), none.energy(&[]), none.density()), (0, 4.0, 0.0));
}
