//! Speed of the products of training, of f32 and of bf16, on one core, as shares of the arithmetic of f32 that the level has.
//!
//! `cargo run --release -p qorus-kernels --features train --example gemm_speed [PART OF A NAME]`

use qorus_kernels::exercise::peak::{Unit, peak};
use qorus_kernels::{Isa, Kernels, Mat, Products, TileMut, gemm_bytes};
use std::time::Instant;

/// The best of many runs: on a busy machine some of them are not interrupted.
fn seconds(mut f: impl FnMut()) -> f64 {
    // Its pages come into being.
    f();
    let (begin, mut best) = (Instant::now(), f64::INFINITY);
    while begin.elapsed().as_secs_f64() < 0.4 {
        let start = Instant::now();
        f();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    // Rows, columns and depth of the result: a layer forward, backward to its input and to its weights; the same of
    // an output head; tiles of attention.
    let shapes = [
        ("forward", 2048, 688, 256),
        ("input", 2048, 256, 688),
        ("weights", 688, 256, 2048),
        ("forward", 2048, 32000, 288),
        ("input", 2048, 288, 32000),
        ("weights", 32000, 288, 2048),
        ("forward", 256, 256, 256),
        ("forward", 64, 64, 32),
        ("input", 64, 32, 64),
        ("weights", 64, 32, 64),
    ];
    let levels = [Isa::Avx2, Isa::Avx512].into_iter().filter_map(Kernels::new);
    for (kernels, products) in levels.flat_map(|k| [(k.clone(), Products::F32), (k, Products::Bf16)]) {
        let limit = peak(kernels.isa(), Unit::F32);
        println!("{}, {}: {:.0} Gflop/s on registers", kernels.isa().name(), products.name(), limit * 1e-9);
        for (name, m, n, k) in shapes {
            let title = format!("{name:8} {m:6} x {n:5} x {k:5}");
            if !format!("{} {title}", kernels.isa().name()).contains(&filter) {
                continue;
            }
            let (a, b): (Vec<f32>, Vec<f32>) = (vec![0.5; m * k], vec![0.25; k * n]);
            let (mut c, mut scratch) = (vec![0.0; m * n], vec![0; gemm_bytes()]);
            // y = x w^T, dx = dy w, dw += dy^T x.
            let (a, b, accumulate) = match name {
                "forward" => (Mat::new(&a, m, k, k), Mat::new(&b, n, k, k).t(), false),
                "input" => (Mat::new(&a, m, k, k), Mat::new(&b, k, n, n), false),
                _ => (Mat::new(&a, k, m, m).t(), Mat::new(&b, k, n, n), true),
            };
            let best = seconds(|| {
                let c = &mut TileMut::new(&mut c, m, n);
                match products {
                    Products::F32 => kernels.gemm(a, b, accumulate, c, &mut scratch),
                    Products::Bf16 => kernels.gemm_bf16(a, b, accumulate, c, &mut scratch),
                }
            });
            let speed = (2 * m * n * k) as f64 / best;
            println!("  {title}  {:6.1} Gflop/s {:3.0} %", speed * 1e-9, speed / limit * 100.0);
        }
    }
}
