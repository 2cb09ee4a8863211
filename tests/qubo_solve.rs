//! Solvers against enumeration, and the rules they keep: limits, targets, seeds, bad input.

use qorus::qubo::{Control, Host, Method, Problem, Progress, Schedule, Sense, Silent, SolveParams, Solver, Stopped};
use qorus::{Code, Result};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Numbers that look random.
fn noise(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    }
}

/// Coefficients from -100 to 100 times a factor, for a share of all pairs.
fn random(seed: u64, n: u32, percent: u64, by: f64, sense: Sense) -> Problem {
    let mut next = noise(seed);
    let mut triplets = Vec::new();
    for i in 0..n {
        for j in i..n {
            if i == j || next() % 100 < percent {
                triplets.push((i, j, ((next() % 201) as f64 - 100.0) * by));
            }
        }
    }
    Problem::from_triplets(n as usize, &triplets, 1.0, sense).unwrap()
}

/// The best value of all assignments.
fn best(problem: &Problem) -> f64 {
    let (n, sense) = (problem.len(), problem.sense());
    let values = (0..1u32 << n).map(|bits| {
        let x: Vec<u8> = (0..n).map(|i| (bits >> i & 1) as u8).collect();
        problem.energy(&x)
    });
    values.reduce(|a, b| if sense.better(b, a) { b } else { a }).unwrap()
}

/// Every method that searches.
fn methods() -> impl Iterator<Item = Method> {
    Method::ALL.into_iter().filter(|m| *m != Method::Host)
}

fn small() -> Vec<Problem> {
    let mut problems = Vec::new();
    for (seed, n) in [1, 2, 3, 5, 8, 11].into_iter().enumerate() {
        for (percent, by) in [(100, 1.0), (30, 1.0), (100, 0.123), (60, 3e12), (100, 1e-7)] {
            let sense = if seed % 2 == 0 { Sense::Minimize } else { Sense::Maximize };
            problems.push(random(seed as u64, n, percent, by, sense));
        }
    }
    // Plateaus: all cuts of a complete graph that halve it are best; and nothing at all.
    let mut cut = Vec::new();
    for i in 0..10 {
        for j in i + 1..10 {
            cut.extend([(i, i, 1), (j, j, 1), (i, j, -2)]);
        }
    }
    problems.push(Problem::from_triplets(10, &cut, 0.0, Sense::Maximize).unwrap());
    problems.push(Problem::from_triplets::<i32>(6, &[], 3.0, Sense::Minimize).unwrap());
    // A penalty that dwarfs what it guards.
    let mut guarded = vec![(0, 0, -1e6), (1, 1, -1e6), (0, 1, 2e6)];
    guarded.extend((2..9).map(|i| (i, i % 2, f64::from(i) - 5.0)));
    problems.push(Problem::from_triplets(9, &guarded, 0.0, Sense::Minimize).unwrap());
    problems
}

#[test]
fn every_method_finds_what_enumeration_finds() {
    for problem in small() {
        let expected = best(&problem);
        for method in methods() {
            let params = SolveParams { method, num_reads: 12, num_sweeps: 300, layers: 2, ..SolveParams::default() };
            let params = match method {
                Method::Auto => SolveParams { num_reads: 1, num_sweeps: 2, ..params },
                Method::Relink | Method::Contract => SolveParams { num_reads: 2, num_sweeps: 2, ..params },
                Method::Quantum => SolveParams { replicas: 8, ..params },
                Method::Population => SolveParams { replicas: 16, num_reads: 4, ..params },
                Method::Qaoa => SolveParams { num_reads: 1, ..params },
                _ => params,
            };
            let mut solver = Solver::new(&problem, &params).unwrap();
            let outcome = solver.solve(&mut Silent).unwrap();
            let sample = solver.sample(0).unwrap();
            assert_eq!(problem.energy(sample.x), sample.energy);
            assert_eq!(outcome.best, sample.energy);
            let near = 1e-12 * expected.abs();
            assert!((outcome.best - expected).abs() <= near, "{method:?} of {}: {outcome:?} {expected}", problem.len());
            let energies: Vec<f64> = solver.samples().iter().map(|s| problem.sense().sign() * s.energy).collect();
            assert!(energies.is_sorted());
        }
    }
}

#[test]
fn reads_do_not_depend_on_threads() {
    for (n, percent) in [(40, 100), (200, 3)] {
        let problem = random(9, n, percent, 1.0, Sense::Maximize);
        for method in methods().filter(|m| !matches!(m, Method::Enumerate | Method::Qaoa)) {
            let run = |threads| {
                let sweeps = if matches!(method, Method::Auto | Method::Relink | Method::Contract) { 1 } else { 20 };
                let params = SolveParams {
                    method,
                    threads,
                    seed: 5,
                    num_reads: 7,
                    num_sweeps: sweeps,
                    max_samples: 4,
                    ..SolveParams::default()
                };
                let mut solver = Solver::new(&problem, &params).unwrap();
                let outcome = solver.solve(&mut Silent).unwrap();
                assert_eq!(outcome.stopped, Stopped::Sweeps);
                let samples: Vec<_> = solver.samples().iter().map(|s| (s.x.to_vec(), s.energy, s.count)).collect();
                (samples, outcome.proposals, outcome.flips, outcome.sweeps, outcome.reads)
            };
            let expected = run(1);
            assert_eq!(expected.4, 7);
            for threads in [1, 2, 3] {
                assert_eq!(run(threads), expected, "{method:?} on {threads} threads");
            }
        }
    }
}

#[test]
fn levels_give_the_same_reads() {
    for (n, percent) in [(90, 100), (300, 2)] {
        let problem = random(4, n, percent, 1.0, Sense::Minimize);
        let run = |isa| {
            let params = SolveParams { isa: Some(isa), num_sweeps: 1, ..SolveParams::default() };
            let mut solver = Solver::new(&problem, &params).unwrap();
            let outcome = solver.solve(&mut Silent).unwrap();
            (outcome.best, outcome.flips, solver.sample(0).unwrap().x.to_vec())
        };
        let expected = run(qorus::Isa::Scalar);
        for isa in qorus::Isa::ALL {
            if isa.available() {
                assert_eq!(run(isa), expected, "{isa:?}");
            } else {
                eprintln!("SKIPPED: this CPU has no {}", isa.name());
            }
        }
    }
}

#[test]
fn time_limits_are_kept() {
    let limit = Duration::from_millis(60);
    for (n, percent) in [(2, 100), (22, 100), (1500, 100), (3000, 1)] {
        let problem = random(2, n, percent, 1.0, Sense::Minimize);
        for method in methods() {
            let fits = match method {
                Method::Enumerate => n <= 30,
                Method::Qaoa => n <= 22,
                _ => true,
            };
            if !fits {
                assert_eq!(
                    Solver::new(&problem, &SolveParams { method, ..SolveParams::default() }).err().unwrap().code(),
                    Code::Unsupported
                );
                continue;
            }
            let params =
                SolveParams { method, time_limit: Some(limit), target_energy: Some(-1e15), ..SolveParams::default() };
            let mut solver = Solver::new(&problem, &params).unwrap();
            // Somebody else may have the core meanwhile: one try of a few must keep it.
            let kept = (0..8).any(|_| {
                let start = Instant::now();
                let outcome = solver.solve(&mut Silent).unwrap();
                let exhaustive = matches!(outcome.stopped, Stopped::Proven | Stopped::Sweeps);
                assert!(outcome.stopped == Stopped::Time || exhaustive, "{method:?}: {outcome:?}");
                assert!(outcome.best.is_finite());
                start.elapsed() <= limit + Duration::from_millis(10)
            });
            assert!(kept, "{method:?} of {n} variables took longer than {limit:?}");
        }
    }
}

#[test]
fn no_time_is_an_evaluation() {
    let problem = random(3, 20, 50, 1.0, Sense::Maximize);
    for method in methods() {
        let params = SolveParams { method, time_limit: Some(Duration::ZERO), ..SolveParams::default() };
        let mut solver = Solver::new(&problem, &params).unwrap();
        let outcome = solver.solve(&mut Silent).unwrap();
        assert!(outcome.best.is_finite() && outcome.total < Duration::from_millis(500), "{method:?} {outcome:?}");
    }
    let given = SolveParams {
        method: Method::Anneal,
        initial_states: vec![1; 20],
        time_limit: Some(Duration::ZERO),
        ..SolveParams::default()
    };
    let outcome = Solver::new(&problem, &given).unwrap().solve(&mut Silent).unwrap();
    assert_eq!((outcome.best, outcome.stopped), (problem.energy(&[1; 20]), Stopped::Time));
}

#[test]
fn runs_end_when_told() {
    let problem = random(6, 400, 100, 1.0, Sense::Minimize);
    let forever = SolveParams { time_limit: Some(Duration::from_secs(60)), ..SolveParams::default() };
    for method in methods().filter(|m| !matches!(m, Method::Enumerate | Method::Qaoa)) {
        let params = SolveParams { method, ..forever.clone() };
        let mut calls = 0;
        let mut stop = |progress: &Progress| {
            calls += 1;
            assert!(progress.proposals > 0);
            if calls < 3 { Control::Continue } else { Control::Stop }
        };
        let outcome = Solver::new(&problem, &params).unwrap().solve(&mut stop).unwrap();
        assert_eq!((outcome.stopped, calls), (Stopped::Cancelled, 3), "{method:?}");
        assert!(outcome.best.is_finite());
    }
    let params = SolveParams { threads: 2, ..forever };
    let cancel = params.cancel.clone();
    let mut solver = Solver::new(&problem, &params).unwrap();
    let waiting = std::thread::spawn(move || solver.solve(&mut Silent).unwrap());
    std::thread::sleep(Duration::from_millis(30));
    cancel.store(true, Ordering::Relaxed);
    assert_eq!(waiting.join().unwrap().stopped, Stopped::Cancelled);
    // A target that is reached ends the run; its value is what was asked for or better.
    let easy = SolveParams {
        method: Method::Anneal,
        target_energy: Some(-1000.0),
        time_limit: Some(Duration::from_secs(60)),
        ..SolveParams::default()
    };
    let outcome = Solver::new(&problem, &easy).unwrap().solve(&mut Silent).unwrap();
    assert!(outcome.stopped == Stopped::Target && outcome.best <= -1000.0 && outcome.time_to_best <= outcome.total);
}

#[test]
fn targets_of_floats_are_exact() {
    let problem = random(8, 14, 100, 0.123, Sense::Maximize);
    let (most, found) = (best(&problem), SolveParams { target_energy: Some(best(&problem)), ..SolveParams::default() });
    for method in [Method::Auto, Method::Anneal, Method::Tabu, Method::Tempering] {
        let params = SolveParams { method, time_limit: Some(Duration::from_secs(20)), ..found.clone() };
        let outcome = Solver::new(&problem, &params).unwrap().solve(&mut Silent).unwrap();
        assert!(matches!(outcome.stopped, Stopped::Proven | Stopped::Target), "{method:?} {outcome:?}");
        assert!((outcome.best - most).abs() < 1e-9);
    }
    // A little more than there is, is not there.
    let params = SolveParams {
        method: Method::Anneal,
        target_energy: Some(most + 1e-6),
        time_limit: Some(Duration::from_millis(100)),
        ..SolveParams::default()
    };
    let outcome = Solver::new(&problem, &params).unwrap().solve(&mut Silent).unwrap();
    assert_eq!(outcome.stopped, Stopped::Time);
}

#[test]
fn bad_parameters_are_errors() {
    let problem = random(1, 5, 100, 1.0, Sense::Minimize);
    let base = SolveParams::default;
    for (params, code) in [
        (SolveParams { num_reads: -1i64 as usize, ..base() }, Code::InvalidArgument),
        (SolveParams { beta_range: Some((2.0, 1.0)), ..base() }, Code::InvalidArgument),
        (SolveParams { beta_range: Some((f64::NAN, 1.0)), ..base() }, Code::InvalidArgument),
        (SolveParams { beta_schedule: Schedule::Custom(vec![]), ..base() }, Code::InvalidArgument),
        (SolveParams { beta_schedule: Schedule::Custom(vec![-1.0]), ..base() }, Code::InvalidArgument),
        (SolveParams { target_energy: Some(f64::NAN), ..base() }, Code::InvalidArgument),
        (SolveParams { initial_states: vec![0; 4], ..base() }, Code::InvalidArgument),
        (SolveParams { initial_states: vec![2; 5], ..base() }, Code::InvalidArgument),
        (SolveParams { max_samples: 0, ..base() }, Code::InvalidArgument),
        (SolveParams { threads: 1 << 20, ..base() }, Code::InvalidArgument),
        (SolveParams { budget: Some(100), ..base() }, Code::Budget),
    ] {
        assert_eq!(Solver::new(&problem, &params).err().unwrap().code(), code, "{params:?}");
    }
    let schedules = [Schedule::Linear, Schedule::Custom(vec![0.0, 0.01, 0.1, 1.0])];
    for beta_schedule in schedules {
        let params = SolveParams { method: Method::Anneal, beta_schedule, num_reads: 20, ..base() };
        let outcome = Solver::new(&problem, &params).unwrap().solve(&mut Silent).unwrap();
        assert_eq!(outcome.best, best(&problem));
    }
    for method in Method::ALL {
        assert_eq!(Method::from_name(method.name()), Some(method));
        let none = Problem::from_triplets::<f64>(0, &[], 4.0, Sense::Minimize).unwrap();
        let params = SolveParams { method, time_limit: Some(Duration::from_secs(9)), ..base() };
        let outcome = Solver::new(&none, &params).unwrap().solve(&mut Silent).unwrap();
        assert_eq!((outcome.best, outcome.stopped), (4.0, Stopped::Proven));
    }
}

/// What a host does.
struct Does(u32);

impl Host for Does {
    fn solve(&mut self, problem: &Problem, timeout: Duration, x: &mut [u8]) -> Result<()> {
        match self.0 {
            0 => x.fill(1),
            1 => x[1..].fill(0),
            2 => return Err(qorus::Error::new(Code::Io, "the line is dead")),
            _ => {
                std::thread::sleep(timeout * 3 / 2);
                x.fill(0);
            }
        }
        assert_eq!(problem.len(), x.len());
        Ok(())
    }
}

#[test]
fn a_host_that_fails_is_replaced() {
    let problem = random(1, 12, 100, 1.0, Sense::Minimize);
    let limit = Some(Duration::from_millis(400));
    let params = SolveParams { method: Method::Host, time_limit: limit, ..SolveParams::default() };
    for does in 0..4 {
        let mut solver = Solver::new(&problem, &params).unwrap();
        solver.register(Box::new(Does(does))).unwrap();
        let outcome = solver.solve(&mut Silent).unwrap();
        if does == 0 {
            assert_eq!((outcome.best, outcome.solver), (problem.energy(&[1; 12]), "host"));
            assert!(solver.refused().is_none());
        } else {
            assert!(outcome.best == best(&problem) && outcome.solver != "host");
            assert!(solver.refused().is_some(), "{does}");
        }
    }
    let mut alone = Solver::new(&problem, &params).unwrap();
    assert_eq!(alone.solve(&mut Silent).unwrap().best, best(&problem));
    assert_eq!(alone.refused().unwrap().code(), Code::State);
}

/// A host that answers when it is let go.
struct Hangs(std::sync::mpsc::Receiver<()>);

impl Host for Hangs {
    fn solve(&mut self, _: &Problem, _: Duration, x: &mut [u8]) -> Result<()> {
        let _ = self.0.recv();
        x.fill(0);
        Ok(())
    }
}

#[test]
fn a_host_that_never_answers_costs_half_of_the_time() {
    let problem = random(1, 40, 100, 1.0, Sense::Minimize);
    let limit = Duration::from_millis(400);
    let params = SolveParams { method: Method::Host, time_limit: Some(limit), ..SolveParams::default() };
    let mut solver = Solver::new(&problem, &params).unwrap();
    let (release, held) = std::sync::mpsc::channel();
    solver.register(Box::new(Hangs(held))).unwrap();
    let start = Instant::now();
    let outcome = solver.solve(&mut Silent).unwrap();
    let took = start.elapsed();
    // A busy machine may take its time, but not for ever.
    assert!(took >= limit / 2 && took < limit * 3, "{took:?}");
    assert!(outcome.total <= limit + Duration::from_millis(if took < limit * 11 / 10 { 10 } else { 800 }));
    assert!(outcome.solver != "host" && outcome.best == problem.energy(solver.sample(0).unwrap().x));
    assert_eq!(solver.refused().unwrap().code(), Code::State);
    // It is still away: nobody asks again, and the whole time is there for others.
    let again = solver.solve(&mut Silent).unwrap();
    assert!(solver.refused().unwrap().to_string().contains("earlier run") && again.best <= outcome.best);
    // The solver goes while its host hangs, and the host comes back to nobody.
    drop(solver);
    release.send(()).unwrap();

    // A cancelled run does not wait either, and one that answers after all is asked again.
    let params = SolveParams { time_limit: None, num_sweeps: 1, ..params };
    let mut solver = Solver::new(&problem, &params).unwrap();
    let (release, held) = std::sync::mpsc::channel();
    solver.register(Box::new(Hangs(held))).unwrap();
    let outcome = solver.solve(&mut |_: &Progress| Control::Stop).unwrap();
    assert!(outcome.total < Duration::from_secs(30) && outcome.stopped == Stopped::Cancelled);
    release.send(()).unwrap();
    release.send(()).unwrap();
    let mut outcome = None;
    for _ in 0..500 {
        outcome = Some(solver.solve(&mut Silent).unwrap());
        if solver.refused().is_none() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(outcome.unwrap().solver, "host");
}

#[test]
fn a_hidden_state_of_a_grid_is_found() {
    // A torus of couplings that one state satisfies all, hidden by turning variables around.
    let (side, mut next) = (24u32, noise(8));
    let hidden: Vec<i32> = (0..side * side).map(|_| (next() % 2) as i32 * 2 - 1).collect();
    let mut couplings = Vec::new();
    for a in 0..side {
        for b in 0..side {
            let i = a * side + b;
            for j in [(a + 1) % side * side + b, a * side + (b + 1) % side] {
                couplings.push((i, j, f64::from(-hidden[i as usize] * hidden[j as usize])));
            }
        }
    }
    let n = (side * side) as usize;
    let problem = Problem::from_ising(&vec![0.0; n], &couplings, 0.0, Sense::Minimize).unwrap();
    for method in [Method::Auto, Method::Tempering] {
        let params = SolveParams {
            method,
            target_energy: Some(-2.0 * n as f64),
            time_limit: Some(Duration::from_secs(30)),
            ..SolveParams::default()
        };
        let outcome = Solver::new(&problem, &params).unwrap().solve(&mut Silent).unwrap();
        assert_eq!(outcome.stopped, Stopped::Target, "{method:?}");
    }
}

#[test]
fn the_portfolio_goes_by_structure() {
    // What the watcher is told to be under way on a torus of random signs, a random graph and a matrix, until all that is awaited was.
    let under_way = |triplets: &[(u32, u32, f64)], n: usize, awaited: &[&str]| {
        let problem = Problem::from_triplets(n, triplets, 0.0, Sense::Minimize).unwrap();
        let params = SolveParams { time_limit: Some(Duration::from_secs(30)), ..SolveParams::default() };
        let mut seen = Vec::new();
        let mut watch = |progress: &Progress| {
            seen.push(progress.solver);
            if awaited.iter().all(|name| seen.contains(name)) { Control::Stop } else { Control::Continue }
        };
        Solver::new(&problem, &params).unwrap().solve(&mut watch).unwrap();
        assert!(awaited.iter().all(|name| seen.contains(name)), "{seen:?}");
        seen
    };
    let (side, mut next) = (40u32, noise(3));
    let mut sign = move || (next() % 2) as f64 * 2.0 - 1.0;
    let mut torus = Vec::new();
    for i in 0..side * side {
        torus.push((i, (i / side * side) + (i + 1) % side, sign()));
        torus.push((i, (i + side) % (side * side), sign()));
    }
    under_way(&torus, (side * side) as usize, &["tempering"]);
    let mut next = noise(4);
    let graph: Vec<_> = (0..3200).map(|_| ((next() % 1600) as u32, (next() % 1600) as u32, sign())).collect();
    assert!(!under_way(&graph, 1600, &["anneal", "contract"]).contains(&"tempering"));
    let matrix: Vec<_> = (0..300u32).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| (i, j, sign())).collect();
    under_way(&matrix, 300, &["anneal", "relink"]);
}
