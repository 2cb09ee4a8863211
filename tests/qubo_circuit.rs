//! QAOA: the circuit that is written does what the solver simulates, and finds what such circuits find.

use qorus::qubo::{Method, Problem, Sense, Silent, SolveParams, Solver, write_qasm};

type Complex = (f64, f64);

fn times(a: Complex, b: Complex) -> Complex {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

/// The numbers in brackets and parentheses of a line.
fn numbers(line: &str) -> Vec<f64> {
    line.split(['(', ')', '[', ']', ',', ' ', ';']).filter_map(|word| word.parse().ok()).collect()
}

/// Runs the gates of an OpenQASM text.
fn run(text: &str, n: usize) -> Vec<Complex> {
    let mut state = vec![(0.0, 0.0); 1 << n];
    state[0] = (1.0, 0.0);
    let mut pair = |q: usize, gate: [[Complex; 2]; 2], when: usize| {
        for z in (0..1 << n).filter(|z| z >> q & 1 == 0 && z & when == when) {
            let (a, b) = (state[z], state[z | 1 << q]);
            let mix = |g: [Complex; 2]| {
                let (x, y) = (times(g[0], a), times(g[1], b));
                (x.0 + y.0, x.1 + y.1)
            };
            (state[z], state[z | 1 << q]) = (mix(gate[0]), mix(gate[1]));
        }
    };
    let r = 0.5f64.sqrt();
    for line in text.lines() {
        let args = numbers(line);
        match line.split(['(', ' ']).next().unwrap() {
            "h" => pair(args[0] as usize, [[(r, 0.0), (r, 0.0)], [(r, 0.0), (-r, 0.0)]], 0),
            "rz" => {
                let (s, c) = (args[0] / 2.0).sin_cos();
                pair(args[1] as usize, [[(c, -s), (0.0, 0.0)], [(0.0, 0.0), (c, s)]], 0);
            }
            "rx" => {
                let (s, c) = (args[0] / 2.0).sin_cos();
                pair(args[1] as usize, [[(c, 0.0), (0.0, -s)], [(0.0, -s), (c, 0.0)]], 0);
            }
            "cx" => {
                let flip = [[(0.0, 0.0), (1.0, 0.0)], [(1.0, 0.0), (0.0, 0.0)]];
                pair(args[1] as usize, flip, 1 << args[0] as usize);
            }
            _ => {}
        }
    }
    state
}

/// Max-Cut of a ring with chords: three neighbours each.
fn cubic(n: u32) -> Problem {
    let mut triplets = Vec::new();
    let mut edge = |i: u32, j: u32| triplets.extend([(i, i, 1), (j, j, 1), (i, j, -2)]);
    for i in 0..n {
        edge(i, (i + 1) % n);
        if i < n / 2 {
            edge(i, i + n / 2);
        }
    }
    Problem::from_triplets(n as usize, &triplets, 0.0, Sense::Maximize).unwrap()
}

#[test]
fn the_written_circuit_reaches_what_the_theory_promises() {
    let n = 10;
    let problem = cubic(n as u32);
    let edges = 1.5 * n as f64;
    for (layers, promised) in [(1, 0.6924), (2, 0.7559)] {
        let params = SolveParams { method: Method::Qaoa, layers, ..SolveParams::default() };
        let mut solver = Solver::new(&problem, &params).unwrap();
        solver.solve(&mut Silent).unwrap();
        let (gammas, betas) = solver.angles();
        let mut text = Vec::new();
        write_qasm(&problem, gammas, betas, &mut text).unwrap();
        let state = run(std::str::from_utf8(&text).unwrap(), n);
        let (mut mean, mut total) = (0.0, 0.0);
        for (z, amplitude) in state.iter().enumerate() {
            let x: Vec<u8> = (0..n).map(|i| (z >> i & 1) as u8).collect();
            let p = amplitude.0.powi(2) + amplitude.1.powi(2);
            mean += p * problem.energy(&x);
            total += p;
        }
        assert!((total - 1.0).abs() < 1e-9);
        // Angles are found to a hundredth.
        assert!(mean / edges >= promised - 0.002, "{layers} layers: {}", mean / edges);
    }
}

#[test]
fn angles_are_checked() {
    let problem = cubic(4);
    for (gammas, betas) in [(&[0.1][..], &[][..]), (&[f64::NAN], &[0.1])] {
        let error = write_qasm(&problem, gammas, betas, &mut Vec::new()).unwrap_err();
        assert_eq!(error.code(), qorus::Code::InvalidArgument);
    }
}
