//! QUBO solvers on made-up problems: reads of each method, and a layer of QAOA on 20 qubits.
//!
//!     cargo bench --features qubo --bench qubo
//!
//! Time to given values on published instances: `benches/qubo.sh`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use qorus::qubo::{Method, Problem, Sense, Silent, SolveParams, Solver};

/// Coefficients from -100 to 100 for one pair in `every`.
fn problem(n: u32, every: u64) -> Problem {
    let (mut triplets, mut state) = (Vec::new(), 1u64);
    for i in 0..n {
        for j in i..n {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if i == j || (state >> 40) % every == 0 {
                triplets.push((i, j, ((state >> 33) % 201) as i32 - 100));
            }
        }
    }
    Problem::from_triplets(n as usize, &triplets, 0.0, Sense::Maximize).unwrap_or_else(|e| panic!("{e}"))
}

fn reads(criterion: &mut Criterion) {
    for (n, every) in [(200, 1), (1000, 10), (2000, 200)] {
        let problem = problem(n, every);
        let mut group = criterion.benchmark_group(format!("{n} variables, one pair in {every}"));
        group.sample_size(10);
        for method in [Method::Anneal, Method::Tabu, Method::Tempering, Method::Population, Method::Quantum] {
            let params = SolveParams { method, num_reads: 1, num_sweeps: 50, ..SolveParams::default() };
            let mut solver = Solver::new(&problem, &params).unwrap_or_else(|e| panic!("{e}"));
            let mut run = || solver.solve(&mut Silent).unwrap_or_else(|e| panic!("{e}"));
            group.throughput(Throughput::Elements(run().proposals));
            group.bench_function(BenchmarkId::from_parameter(method.name()), |b| b.iter(&mut run));
        }
    }
}

fn layers(criterion: &mut Criterion) {
    let kernels = qorus::kernels::Kernels::new(qorus::Isa::detect()).unwrap_or_else(|| panic!("no kernels"));
    for qubits in [16, 20] {
        let len = 1usize << qubits;
        let (mut re, mut im) = (vec![(1.0 / len as f32).sqrt(); len], vec![0.0; len]);
        let cost: Vec<f32> = (0..len).map(|i| i.count_ones() as f32 - 0.5 * qubits as f32).collect();
        criterion.bench_function(&format!("a layer of QAOA on {qubits} qubits"), |b| {
            b.iter(|| qorus::qubo::layer(&kernels, (&mut re, &mut im), &cost, 0.3, 0.4));
        });
    }
}

criterion_group!(benches, reads, layers);
criterion_main!(benches);
