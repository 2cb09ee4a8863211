//! Every kernel of the table that this CPU can run: `cargo bench --bench kernels -- 'attend F16'`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use qorus::kernels::exercise::{Exercise, usual_shapes};
use qorus::kernels::table::entries;

fn kernels(criterion: &mut Criterion) {
    for entry in entries() {
        if !entry.isa.available() {
            eprintln!("SKIPPED: {entry}: this CPU lacks the level");
            continue;
        }
        let mut group = criterion.benchmark_group(entry.to_string());
        for shape in usual_shapes(entry) {
            let mut memory = vec![0; Exercise::bytes(entry, *shape)];
            let Some(mut exercise) = Exercise::new(entry, *shape, &mut memory, 1) else { continue };
            group.throughput(Throughput::Bytes(exercise.work().bytes));
            let name = format!("{}x{}x{}", shape.k, shape.rows, shape.tokens);
            group.bench_function(BenchmarkId::from_parameter(name), |b| b.iter_custom(|runs| exercise.time(runs)));
        }
        group.finish();
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
