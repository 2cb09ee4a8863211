//! Nothing allocates while a problem is solved, on any thread, and the plan is what is taken.

#[path = "common/counting.rs"]
mod counting;

use counting::{allocations, settle};
use qorus::qubo::{Method, Problem, Sense, Silent, SolveParams, Solver};

fn problem(n: u32, every: u32, by: f64) -> Problem {
    let mut triplets = Vec::new();
    let mut state = 7u64;
    for i in 0..n {
        for j in i..n {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if i == j || (state >> 40) as u32 % every == 0 {
                triplets.push((i, j, ((state >> 33) % 201) as f64 * by - 100.0 * by));
            }
        }
    }
    Problem::from_triplets(n as usize, &triplets, 0.0, Sense::Minimize).unwrap()
}

/// A matrix that stays where it is: solvers pack it, in as many bytes as they plan.
fn view(n: usize, by: f64) -> Problem {
    let q: Vec<f64> = (0..n * n).map(|at| ((at * at % 203) as f64 - 101.0) * by).collect();
    let problem = Problem::view::<f64, _>(n, q, 0.0, Sense::Minimize).unwrap();
    assert_eq!(problem.bytes(), 8 * n);
    let packed = Solver::plan(&problem, &SolveParams::default()).unwrap().weights_resident;
    let row = n.next_multiple_of(64);
    assert_eq!(packed, 4 * n + n * row * if by == 1.0 { 2 } else { 4 });
    problem
}

// One test: others would allocate meanwhile.
#[test]
fn solving_allocates_nothing_and_takes_what_was_planned() {
    settle();
    for problem in [
        problem(14, 1, 1.0),
        problem(14, 2, 0.3),
        problem(150, 1, 1.0),
        problem(400, 40, 0.7),
        view(150, 1.0),
        view(70, 0.3),
    ] {
        for method in Method::ALL {
            if problem.len() > 22 && matches!(method, Method::Enumerate | Method::Qaoa) {
                continue;
            }
            for threads in [1, 3] {
                let params = SolveParams {
                    method,
                    threads,
                    num_reads: 5,
                    num_sweeps: 3,
                    layers: 1,
                    max_samples: 3,
                    ..SolveParams::default()
                };
                let plan = Solver::plan(&problem, &params).unwrap();
                let mut solver = Solver::new(&problem, &params).unwrap();
                assert_eq!(*solver.reserved(), plan);
                let (count, outcome) = allocations(|| solver.solve(&mut Silent).unwrap());
                assert_eq!(count, 0, "{method:?} on {threads} threads");
                assert!(outcome.best.is_finite());
                assert_eq!(solver.high_water(), plan.scratch, "{method:?} on {threads} threads");
            }
        }
    }
}
