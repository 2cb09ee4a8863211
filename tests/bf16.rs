//! Products of bf16, where a runtime is asked for them: near those of f32, and again the same bits at every level, for any number of
//! threads and rows. They are for weights stored as BF16; others have no part in it.

mod common;

use common::run::{Golden, bits, context, levels, logits, reference};
use qorus::engine::{Model, Runtime};
use qorus::{Isa, Products, Type};

const FILE: &str = "llama-bf16";

/// The logits of a reference model's tokens, computed together or one after another.
fn run(file: &str, isa: Isa, threads: usize, products: Products, together: bool) -> Vec<f32> {
    let golden = Golden::read(&reference(&format!("{file}.logits")));
    let runtime = Runtime::with_products(threads, Some(isa), products).unwrap();
    assert_eq!(runtime.kernels.products(), products);
    let model = Model::open(&runtime, &reference(&format!("{file}.gguf"))).unwrap();
    let mut ctx = context(&model, golden.n_ctx, golden.tokens.len(), Type::F32);
    if together {
        return logits(&mut ctx, &golden.tokens);
    }
    let mut all = Vec::new();
    for token in golden.tokens {
        ctx.append(0, &[token]).unwrap();
        all.extend_from_slice(ctx.logits(0).unwrap());
    }
    all
}

#[test]
fn levels_threads_and_batches_give_the_same_bits() {
    let expected = run(FILE, Isa::Scalar, 1, Products::Bf16, true);
    assert_ne!(bits(&expected), bits(&run(FILE, Isa::Scalar, 1, Products::F32, true)), "nothing was rounded");
    for isa in levels() {
        for threads in [1, 2, 3] {
            assert!(
                bits(&run(FILE, isa, threads, Products::Bf16, true)) == bits(&expected),
                "{} {threads}",
                isa.name()
            );
        }
        assert!(bits(&run(FILE, isa, 2, Products::Bf16, false)) == bits(&expected), "{} one by one", isa.name());
    }
}

/// Logits up to 20 from activations of 8 bits; those of f32 come within 1e-4.
#[test]
fn logits_are_near_those_of_f32() {
    let golden = Golden::read(&reference(&format!("{FILE}.logits")));
    let found = run(FILE, Isa::detect(), 2, Products::Bf16, true);
    let worst = found.iter().zip(&golden.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{worst} at most");
    assert!(worst > 1e-4 && worst < 0.1, "{worst}");
}

#[test]
fn other_weights_are_left_alone() {
    for file in ["llama-f16", "llama-q4_0"] {
        let [a, b] = [Products::F32, Products::Bf16].map(|products| run(file, Isa::detect(), 1, products, true));
        assert_eq!(bits(&a), bits(&b), "{file}");
    }
}
