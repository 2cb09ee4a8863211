//! Speed of products with float weights on one core, as shares of the arithmetic that the level has.
//!
//! `cargo run --release -p qorus-kernels --example matmul_f32_speed [PART OF A NAME]`

use qorus_kernels::exercise::peak::{Unit, peak};
use qorus_kernels::{Isa, Kernels, TileMut, Type};
use std::time::Instant;

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    for kernels in [Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16].into_iter().filter_map(Kernels::new) {
        let f32s = peak(kernels.isa(), Unit::F32);
        println!("{}: {:.0} Gflop/s on registers", kernels.isa().name(), f32s * 1e-9);
        for ty in [Type::F32, Type::F16, Type::BF16] {
            for (k, rows) in [(576, 576), (896, 4864), (2048, 2048), (4864, 896)] {
                let title = format!("{:4} {k:4} x {rows:4}", ty.name());
                if !format!("{} {title}", kernels.isa().name()).contains(&filter) {
                    continue;
                }
                // Halves of F16 and BF16 too.
                let w = [0, 0, 0x80, 0x3d].repeat(rows * k).split_off(rows * k * (4 - ty.block_bytes()));
                print!("  {title}  rows: Gflop/s");
                for tokens in [1, 2, 4, 8, 13, 64, 256] {
                    let (x, mut y) = (vec![0.5; tokens * k], vec![0.0; tokens * rows]);
                    let (begin, mut best) = (Instant::now(), f64::INFINITY);
                    while begin.elapsed().as_secs_f64() < 0.05 {
                        let start = Instant::now();
                        kernels.matmul_f32(ty, &w, &x, k, &mut TileMut::new(&mut y, tokens, rows));
                        best = best.min(start.elapsed().as_secs_f64());
                    }
                    print!("  {tokens}: {:.0}", (2 * k * rows * tokens) as f64 / best * 1e-9);
                }
                println!();
            }
        }
    }
}
