//! The gradient of an embedding by rows: the bits of the whole one, in less memory.

mod common;

use common::run::{open, reference};
use qorus::train::clip::Clip;
use qorus::train::data::Place;
use qorus::train::optim::{Betas, Method, Outcome};
use qorus::train::{Examples, Trainer, TrainerParams};
use qorus::{Code, Isa};

/// A trainer of steps of two passes of 20 rows: the vocabularies here have 98.
fn trainer(model: &str, threads: usize, sparse: bool, method: Method) -> Trainer {
    let params =
        TrainerParams { rows: 20, longest: 20, passes: 2, slice: 7, sparse, method, ..TrainerParams::default() };
    Trainer::new(&open(&reference(model), threads, Isa::detect()), &params, |_| true).unwrap_or_else(|e| panic!("{e}"))
}

/// Passes with the gradients of sequences that differ, of which some tokens come again.
fn learn(trainer: &mut Trainer, passes: std::ops::Range<u32>, weight: f64) -> qorus::Result<()> {
    for pass in passes {
        let tokens: Vec<u32> = (0..20).map(|i| (pass * 31 + i * i) % 97).collect();
        let targets: Vec<i32> = tokens.iter().map(|&t| (t as i32 * 7 + 1) % 97).collect();
        let places: Vec<Place> = (0..20).map(|pos| Place { seq: 0, pos }).collect();
        let examples =
            Examples { tokens: &tokens, places: &places, lens: &[20], targets: &targets, ..Examples::default() };
        trainer.learn(&examples, weight, u64::from(pass))?;
    }
    Ok(())
}

#[test]
fn rows_have_the_bits_of_the_whole_gradient() {
    let methods = [Method::AdamW(Betas::default()), Method::AdamW8(Betas::default())];
    for (method, clip) in
        methods.into_iter().flat_map(|m| [Clip::None, Clip::Norm(0.1), Clip::Value(0.01)].map(|c| (m, c)))
    {
        let steps = |threads, sparse| {
            let mut trainer = trainer("llama.gguf", threads, sparse, method);
            let norms: Vec<Outcome> = (0..5)
                .map(|step| {
                    learn(&mut trainer, 2 * step..2 * step + 2, 40.0).unwrap();
                    if step == 3 {
                        // What was added so far counts no more.
                        trainer.zero_grad().unwrap();
                        learn(&mut trainer, 90..91, 20.0).unwrap();
                    }
                    trainer.step(1e-2, clip).unwrap()
                })
                .collect();
            (norms, trainer.values().iter().map(|x| x.to_bits()).collect::<Vec<u32>>())
        };
        let whole = steps(2, false);
        for threads in [1, 2, 3] {
            assert!(steps(threads, true) == whole, "{method:?}, {clip:?}, {threads} threads");
        }
    }
}

#[test]
fn they_take_less_memory_where_that_is_so() {
    let method = Method::AdamW(Betas::default());
    let gradients = |model, sparse| trainer(model, 1, sparse, method).reserved().gradients;
    let (whole, rows) = (gradients("llama.gguf", false), gradients("llama.gguf", true));
    // The whole one ends where a block of 8-bit moments does; 40 rows, and the numbers that say which.
    let padded = (98usize * 64).next_multiple_of(256);
    assert_eq!(whole - rows, (padded - 40 * 64) * 4 - (98 + 40 + 20) * 4);
    assert_eq!(gradients("llama-tied.gguf", true), gradients("llama-tied.gguf", false), "the head needs all rows");
}

#[test]
fn what_is_no_number_is_found_and_what_was_not_planned_is_refused() {
    let method = Method::AdamW(Betas::default());
    let fault = |sparse| {
        let mut trainer = trainer("llama.gguf", 2, sparse, method);
        learn(&mut trainer, 0..1, f64::MIN_POSITIVE).unwrap();
        let Outcome::Faulty(fault) = trainer.step(1e-2, Clip::None).unwrap() else { panic!("nothing is wrong") };
        (fault.param, fault.element, fault.describe(trainer.optimizer().slots()))
    };
    assert_eq!(fault(true), fault(false));
    assert!(fault(true).2.contains("token_embd"), "{}", fault(true).2);
    let mut trainer = trainer("llama.gguf", 2, true, method);
    let error = learn(&mut trainer, 0..9, 20.0).unwrap_err();
    assert_eq!(error.code(), Code::State);
    assert!(error.message().contains("more passes"), "{error}");
}
