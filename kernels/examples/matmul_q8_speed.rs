//! Speed of the quantized products on one core: one row of activations over weights from memory, and many rows.
//!
//! `cargo run --release -p qorus-kernels --example matmul_q8_speed [TYPE ...]`

use qorus_kernels::{ActQ8, Isa, Kernels, TileMut, Type, panel_bytes};
use std::hint::black_box;
use std::time::Instant;

/// The best of many runs of about a millisecond: on a busy machine some of them are not interrupted.
fn seconds(mut f: impl FnMut()) -> f64 {
    let (begin, mut best) = (Instant::now(), f64::INFINITY);
    while begin.elapsed().as_secs_f64() < 0.5 {
        let start = Instant::now();
        f();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

fn main() {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let types: Vec<Type> = if names.is_empty() {
        Type::all().filter(|ty| ty.is_quantized()).collect()
    } else {
        names.iter().map(|name| Type::from_name(name).expect("a type's name")).collect()
    };
    let bytes: Vec<u64> = vec![0x3c3c_3c3c_3c3c_3c3c; 32 << 20];
    let mut at = 0;
    let bandwidth = seconds(|| {
        at = (at + (1 << 20)) % (bytes.len() - (1 << 20));
        black_box(bytes[at..at + (1 << 20)].iter().fold(0u64, |a, b| a ^ b));
    });
    println!("read {:.1} GB/s", (8 << 20) as f64 * 1e-9 / bandwidth);
    let bytes: &[u8] = bytemuck::cast_slice(&bytes);
    for ty in types {
        print!("{:8}", ty.name());
        for kernels in [Isa::Avx2, Isa::AvxVnni, Isa::Avx512].into_iter().filter_map(Kernels::new) {
            if kernels.isa() == Isa::Avx512 && !qorus_kernels::table::entries().any(|e| e.isa == Isa::Avx512) {
                continue;
            }
            let run = |rows: usize, n: usize, k: usize| {
                let x: Vec<f32> = (0..rows * k).map(|i| (i as f32 * 0.7).sin()).collect();
                let (mut q, mut d, mut sums) = (vec![0; rows * k], vec![0.0; rows * k / 32], vec![0; rows * k / 16]);
                kernels.quantize_act(&x, &mut q, &mut d, &mut sums);
                let act = ActQ8::new(&q, &d, &sums, rows, k);
                let (mut y, mut panel) = (vec![0.0; rows * n], vec![0; panel_bytes(k)]);
                let size = n * ty.row_bytes(k).unwrap();
                let mut at = 0;
                seconds(|| {
                    // Other weights in each run, so that large ones come from memory.
                    at = if size < 4 << 20 { 0 } else { (at + size) % (bytes.len() - size) };
                    let w = &bytes[at..at + size];
                    kernels.matmul_q8(ty, w, &act, &mut TileMut::new(&mut y, rows, n), &mut panel)
                })
            };
            let (n, k) = (4 << 10, 2048);
            let decode = (n * ty.row_bytes(k).unwrap()) as f64 * 1e-9 / run(1, n, k);
            let cached = (1024 * ty.row_bytes(1024).unwrap()) as f64 * 1e-9 / run(1, 1024, 1024);
            let ops = |rows: usize, n: usize, k: usize| 2e-9 * (rows * n * k) as f64 / run(rows, n, k);
            print!(
                "  {}: 1 row {decode:5.1} GB/s ({cached:5.1} in cache), 4 rows {:5.0}, 16 {:5.0}, 128 rows {:5.0} Gop/s",
                kernels.isa().name(),
                ops(4, 1024, 2048),
                ops(16, 1024, 2048),
                ops(128, 320, 2048),
            );
        }
        println!();
    }
}
