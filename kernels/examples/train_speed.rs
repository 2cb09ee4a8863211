//! Losses, norms and optimizer steps over data that no cache holds, beside what the memory gives.
//!
//! `cargo run --release -p qorus-kernels --features train --example train_speed [THREADS ...]`
//!
//! Bytes are those of the arguments: each read once, and written once where a kernel writes it. Reading alone is the one limit,
//! reading and writing back in place (`scale`) the other; optimizers do as much of both.

use qorus_kernels::exercise::bandwidth;
use qorus_kernels::loss::{Logits, Target, Weighting};
use qorus_kernels::optim::{AdamStep, Intake, SgdStep};
use qorus_kernels::{Isa, Kernels};
use std::hint::black_box;
use std::time::Instant;

/// Weights of the optimizers.
const N: usize = 50_000_000;
/// Logits of a row.
const CLASSES: usize = 32_000;

/// Seconds of the best of some runs.
fn seconds(mut f: impl FnMut()) -> f64 {
    f();
    let (begin, mut best) = (Instant::now(), f64::INFINITY);
    while begin.elapsed().as_secs_f64() < 0.6 {
        let start = Instant::now();
        f();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

/// Runs `f` on each thread with its share of each slice.
fn shared<const M: usize>(threads: usize, x: [&mut [f32]; M], f: impl Fn([&mut [f32]; M]) + Sync) {
    let mut shares = x.map(|x| {
        let len = (x.len() / threads).next_multiple_of(256).max(1);
        x.chunks_mut(len)
    });
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let share = shares.each_mut().map(|share| share.next().unwrap_or_default());
            scope.spawn(|| f(share));
        }
    });
}

fn main() {
    let threads: Vec<usize> = std::env::args().skip(1).filter_map(|n| n.parse().ok()).collect();
    let intake = Intake { scale: 0.9, limit: f32::INFINITY, l1: 0.0, l2: 0.0 };
    let sgd = SgdStep { intake, rate: 1e-3, momentum: 0.9, nesterov: false };
    let adam = AdamStep { intake, rest1: 0.1, beta2: 0.95, rest2: 0.05, root: 1.1, eps: 1e-8, rate: 1e-3, decay: 1e-4 };
    let weighting = Weighting { smoothing: 0.0, scale: 1e-3 };
    let mut state = [0.01f32, 0.02, 0.03, 0.04].map(|x| vec![x; N]);
    for threads in if threads.is_empty() { vec![1, 2] } else { threads } {
        for kernels in [Isa::Avx2, Isa::Avx512].into_iter().filter_map(Kernels::new) {
            let [w, g, m, v] = state.each_mut().map(|x| &mut x[..]);
            let all = N as f64 * 4e-9;
            let read = all
                / seconds(|| {
                    shared(threads, [w], |[w]| {
                        black_box(bandwidth::read(kernels.isa(), bytemuck::cast_slice(w)));
                    });
                });
            let change = 2.0 * all / seconds(|| shared(threads, [w], |[w]| kernels.scale(w, 1.0)));
            let name = kernels.isa().name();
            println!("{threads} threads, {name}: read {read:.1} GB/s, read and write {change:.1} GB/s");
            let report = |what: &str, bytes: f64, seconds: f64| {
                let speed = bytes / seconds;
                let (of_read, of_change) = (100.0 * speed / read, 100.0 * speed / change);
                println!("  {what:22} {speed:6.1} GB/s  {of_read:4.0} % of read  {of_change:4.0} % of read and write");
            };
            let t = seconds(|| {
                shared(threads, [g], |[g]| {
                    black_box(g.chunks(1 << 14).map(|g| kernels.sum_squares(g)).sum::<f32>());
                });
            });
            report("sum_squares", all, t);
            report("clamp", 2.0 * all, seconds(|| shared(threads, [g], |[g]| kernels.clamp(g, 1.0, 1e3))));
            report("zero", all, seconds(|| shared(threads, [g], |[g]| g.fill(0.0))));
            let t = seconds(|| shared(threads, [w, g], |[w, g]| kernels.sgd(w, g, &mut [], &sgd)));
            report("sgd", 4.0 * all, t);
            let t = seconds(|| shared(threads, [w, g, m], |[w, g, b]| kernels.sgd(w, g, b, &sgd)));
            report("sgd with momentum", 6.0 * all, t);
            let t = seconds(|| shared(threads, [w, g, m, v], |[w, g, m, v]| kernels.adam(w, g, m, v, &adam)));
            report("adam", 8.0 * all, t);
            let t = seconds(|| {
                shared(threads, [w, g, m, v], |[w, g, m, v]| {
                    let codes = bytemuck::cast_slice_mut::<f32, u8>(m);
                    let (m, v2) = codes.split_at_mut(w.len());
                    kernels.adam8(w, g, (m, &mut v2[..w.len()], &mut v[..2 * w.len().div_ceil(256)]), &adam);
                });
            });
            report("adam, 8-bit moments", (4.0 + 1.0 + 4.0 / 256.0) * all, t);
            v.fill(0.04);
            let rows = |x: &mut [f32], f: &(dyn Fn(&mut [f32]) + Sync)| x.chunks_exact_mut(CLASSES).for_each(f);
            let t = seconds(|| {
                shared(threads, [w], |[w]| {
                    rows(w, &|x| {
                        black_box(kernels.cross_entropy(Logits::Read(x), Target::Class(7), &weighting));
                    });
                });
            });
            report("cross_entropy, no grad", all, t);
            let t = seconds(|| {
                shared(threads, [w], |[w]| {
                    rows(w, &|x| {
                        black_box(kernels.cross_entropy(Logits::InPlace(x), Target::Class(7), &weighting));
                    });
                });
            });
            report("cross_entropy in place", 2.0 * all, t);
            let t = seconds(|| {
                shared(threads, [w, g], |[w, g]| {
                    for (x, g) in w.chunks_exact(CLASSES).zip(g.chunks_exact_mut(CLASSES)) {
                        black_box(kernels.cross_entropy(Logits::To(x, g), Target::Class(7), &weighting));
                    }
                });
            });
            report("cross_entropy apart", 2.0 * all, t);
            let t = seconds(|| {
                shared(threads, [w, g], |[p, t]| {
                    black_box(p.chunks(1 << 14).zip(t.chunks(1 << 14)).map(|(p, t)| kernels.mse(p, t)).sum::<f32>());
                });
            });
            report("mse", 2.0 * all, t);
            let t = seconds(|| shared(threads, [w, g, m], |[p, t, g]| kernels.mse_grad(p, t, 0.5, g)));
            report("mse_grad", 3.0 * all, t);
            for x in [&mut *w, g, m, v] {
                x.fill(0.01);
            }
        }
    }
}
