//! Every SIMD kernel of the table against its scalar definition: the same bits in the outputs, and not a
//! byte touched elsewhere, over odd lengths and slices that are not aligned.

use proptest::prelude::*;
use proptest::sample::Index;
use qorus_kernels::Isa;
use qorus_kernels::exercise::{Exercise, Shape, definition};
use qorus_kernels::table::{Entry, Func, entries};
use std::io::Write as _; // not held back by the test harness, as the print macros are

/// Memory for one exercise, reused from run to run.
#[derive(Default)]
struct Memory(Vec<u8>);

impl Memory {
    fn outcome(&mut self, entry: &Entry, shape: Shape, seed: u64) -> Option<&[u8]> {
        self.0.resize(Exercise::bytes(entry, shape), 0);
        let mut exercise = Exercise::new(entry, shape, &mut self.0, seed)?;
        exercise.run();
        // Copied out, because the exercise borrows the memory it lies in.
        let outcome = exercise.outcome().to_vec();
        self.0.clear();
        self.0.extend(outcome);
        Some(&self.0)
    }
}

/// Lengths around every multiple that a kernel may step by, and a few long ones.
fn lengths() -> impl Iterator<Item = usize> {
    (0..=70).chain([95, 96, 127, 128, 129, 255, 256, 257, 511, 577, 1031])
}

/// Shapes for an entry: for products and attention also over rows and tokens, around their tiles.
fn shapes(entry: &Entry) -> Vec<Shape> {
    let mut shapes = Vec::new();
    let mut add = |k, rows, tokens| {
        for (skew, other) in [(0, false), (1, true)] {
            shapes.push(Shape { k, rows, tokens, skew, other });
        }
    };
    match entry.func {
        Func::MatmulF32(_) | Func::MatmulQ8(_) => {
            for k in [1, 15, 16, 17, 32, 40, 64, 100, 256, 300, 512] {
                for (rows, tokens) in
                    [(1, 1), (3, 1), (9, 2), (5, 3), (17, 1), (16, 8), (19, 7), (33, 13), (8, 0), (0, 2)]
                {
                    add(k, rows, tokens);
                }
            }
            // Beyond one strip of weight rows and one block of activation rows.
            add(1031, 40, 150);
        }
        Func::Attend(_) => {
            for k in [1, 7, 16, 24, 32, 48, 64, 80, 96, 100, 128, 144, 256] {
                for (rows, tokens) in
                    [(1, 1), (2, 1), (7, 1), (64, 1), (5, 2), (64, 3), (13, 4), (31, 5), (64, 9), (0, 2)]
                {
                    add(k, rows, tokens);
                }
            }
        }
        #[cfg(feature = "train")]
        Func::Gemm(_) => {
            for k in [0, 1, 7, 8, 9, 33, 64] {
                for (rows, tokens) in [(1, 1), (3, 14), (31, 6), (32, 13), (33, 15), (64, 29), (16, 7), (8, 0), (0, 2)]
                {
                    add(k, rows, tokens);
                }
            }
            // Beyond one block along each side.
            for (k, rows, tokens) in [(259, 35, 20), (1031, 19, 17), (9, 1100, 20), (11, 20, 400), (300, 530, 200)] {
                add(k, rows, tokens);
            }
        }
        #[cfg(feature = "train")]
        Func::CrossEntropy(_) | Func::Sgd(_) => {
            lengths().for_each(|k| (0..6).for_each(|way| add(k, 1 + way % 2, way / 2)));
        }
        #[cfg(feature = "qubo")]
        Func::AddRow(_) => lengths().for_each(|k| (1..3).for_each(|rows| add(k, rows, 3))),
        _ => lengths().for_each(|k| add(k, 1, 3)),
    }
    shapes.dedup_by_key(|s| format!("{:?}", s.fit(entry)));
    shapes
}

fn differential(isa: Isa) {
    if !isa.available() {
        drop(writeln!(std::io::stderr(), "SKIPPED: this CPU has no {}", isa.name()));
        return;
    }
    let (mut expected, mut found) = (Memory::default(), Memory::default());
    let mut count = 0;
    for entry in entries().filter(|entry| entry.isa == isa) {
        let scalar = definition(entry).expect("every kernel has a definition");
        for (seed, shape) in shapes(entry).into_iter().enumerate() {
            let expected = expected.outcome(scalar, shape, seed as u64).expect("scalar runs everywhere");
            let found = found.outcome(entry, shape, seed as u64).expect("the level is available");
            if expected != found {
                let at = expected.iter().zip(found).position(|(a, b)| a != b);
                panic!("{entry} differs from scalar at byte {at:?} of its memory, {:?}", shape.fit(entry));
            }
            count += 1;
        }
    }
    assert!(count > 0, "the table has no kernels for {}", isa.name());
    println!("{}: {count} comparisons", isa.name());
}

#[test]
fn avx2_gives_the_bits_of_scalar() {
    differential(Isa::Avx2);
}

#[test]
fn avxvnni_gives_the_bits_of_scalar() {
    differential(Isa::AvxVnni);
}

#[test]
fn avx512_gives_the_bits_of_scalar() {
    differential(Isa::Avx512);
}

#[test]
fn avx512bf16_gives_the_bits_of_scalar() {
    differential(Isa::Avx512Bf16);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 400 }))]

    /// Any kernel, any shape, any alignment, other numbers each time.
    #[test]
    fn any_shape_gives_the_bits_of_scalar(
        pick: Index,
        k in 0..600usize,
        rows in 0..=64usize,
        tokens in 0..12usize,
        skew in 0..16usize,
        other: bool,
        seed: u64,
    ) {
        let twins: Vec<&Entry> = entries().filter(|entry| entry.isa > Isa::Scalar && entry.isa.available()).collect();
        if twins.is_empty() {
            drop(writeln!(std::io::stderr(), "SKIPPED: this CPU has no level above scalar"));
            return Ok(());
        }
        let entry = pick.get(&twins);
        let scalar = definition(entry).expect("every kernel has a definition");
        let shape = Shape { k, rows, tokens, skew, other };
        let (mut expected, mut found) = (Memory::default(), Memory::default());
        prop_assert!(expected.outcome(scalar, shape, seed) == found.outcome(entry, shape, seed), "{entry}");
    }
}

/// The comparison itself must be able to fail: a run leaves outputs that differ from the poison, and another
/// seed leaves others.
#[test]
fn exercises_write_their_outputs() {
    for entry in entries().filter(|entry| entry.isa == Isa::Scalar) {
        let shape = Shape { k: 64, rows: 5, tokens: 3, skew: 0, other: false };
        let mut memory = vec![0; Exercise::bytes(entry, shape)];
        let mut run = |seed| {
            let mut exercise = Exercise::new(entry, shape, &mut memory, seed).expect("scalar runs everywhere");
            let before: Vec<u8> = exercise.outputs().flatten().copied().collect();
            exercise.run();
            let after: Vec<u8> = exercise.outputs().flatten().copied().collect();
            assert_ne!(before, after, "{entry}");
            after
        };
        // Nothing is seen in zeros of what was there.
        assert_eq!(run(1) == run(2), entry.op == "zero", "{entry}");
        assert_eq!(run(3), run(3), "{entry}");
    }
}
