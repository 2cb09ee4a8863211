//! Whole runs: they learn, the same bits come out however they are run and interrupted, and bad numbers do no harm.

mod common;

use common::dir::Dir;
use common::run::{levels, open, reference};
use qorus::layers::keep::Keep;
use qorus::train::checkpoint;
use qorus::train::control::{Control, Wish};
use qorus::train::data::Place;
use qorus::train::examples::{HostFeed, Slab};
use qorus::train::export::export;
use qorus::train::optim::{Betas, Method};
use qorus::train::run::{End, OnFault, Report, Run, RunParams, Summary, Unwatched, Watch, checkpoints};
use qorus::train::schedule::{EarlyStop, Fall, Plateau, Schedule};
use qorus::train::{Trainer, TrainerParams};
use qorus::{Code, Isa, Result};
use std::path::Path;
use std::sync::Arc;

/// Sequences of 12 and 8 tokens in which each token says the next.
fn give(number: u64, slab: &mut Slab) -> Result<bool> {
    let mut at = 0;
    for (seq, len) in [(0, 12), (1, 8)] {
        let mut token = (number * 7 + u64::from(seq)) % 31;
        for pos in 0..len {
            let next = (token * 5 + 3) % 31;
            (slab.tokens[at], slab.targets[at]) = (token as u32, if pos == 0 { -100 } else { next as i32 });
            slab.places[at] = Place { seq, pos };
            (token, at) = (next, at + 1);
        }
    }
    slab.rows = at;
    Ok(true)
}

fn feed() -> HostFeed<impl FnMut(u64, &mut Slab) -> Result<bool>> {
    HostFeed::new(give, 31)
}

/// Some batches that end.
fn validation() -> HostFeed<impl FnMut(u64, &mut Slab) -> Result<bool>> {
    HostFeed::new(|number, slab: &mut Slab| Ok(number < 3 && give(number + 100, slab)?), 3)
}

fn trainer(model: &str, threads: usize, isa: Isa, change: impl FnOnce(&mut TrainerParams)) -> Trainer {
    let mut params = TrainerParams { rows: 20, longest: 12, passes: 2, slice: 7, seed: 5, ..TrainerParams::default() };
    change(&mut params);
    Trainer::new(&open(&reference(model), threads, isa), &params, |_| true).unwrap_or_else(|e| panic!("{e}"))
}

fn params(steps: u64) -> RunParams {
    let schedule = Schedule {
        rate: 3e-3,
        floor: 3e-4,
        warmup: steps.min(8) / 2,
        total: steps,
        fall: Fall::Cosine,
        from_zero: false,
    };
    RunParams { schedule, accumulate: 2, validate_every: 5, ..RunParams::new(steps, 3e-3) }
}

fn run(trainer: &mut Trainer, params: &RunParams, watch: &mut dyn Watch) -> Result<Summary> {
    let (mut feed, mut validation) = (feed(), validation());
    Run::new(trainer, &mut feed, Some(&mut validation), params)?.go(&Control::new(), watch)
}

fn bits(trainer: &Trainer) -> Vec<u32> {
    trainer.values().iter().map(|x| x.to_bits()).collect()
}

#[derive(Default)]
struct Log(Vec<Report>, Vec<String>);

impl Watch for Log {
    fn step(&mut self, report: &Report, _: &Trainer) -> Result<()> {
        self.0.push(*report);
        Ok(())
    }

    fn fault(&mut self, step: u64, what: &str) {
        self.1.push(format!("{step}: {what}"));
    }
}

#[test]
fn a_model_learns_what_follows() {
    for model in ["llama.gguf", "llama-tied.gguf", "qwen3.gguf", "gemma3.gguf", "llama-moe.gguf", "llama-q8_0.gguf"] {
        let (mut trainer, mut log) = (trainer(model, 2, Isa::detect(), |_| {}), Log::default());
        let summary = run(&mut trainer, &params(60), &mut log).unwrap_or_else(|e| panic!("{model}: {e}"));
        assert_eq!((summary.end, summary.step), (End::Done, 60));
        let (first, last) = (log.0[0].loss, log.0[59].loss);
        println!("{model}: loss {first:.3} to {last:.3}, accuracy {:.2}", log.0[59].accuracy);
        assert!(last < 0.5 * first, "{model}: {first} to {last}");
        assert_eq!(trainer.high_water(), trainer.reserved().activations, "{model}: the plan is not what was taken");
        assert!(log.0[59].validation.is_some() && log.0[58].validation.is_none());
    }
}

#[test]
fn threads_and_levels_change_no_bit() {
    let result = |threads, isa| {
        let mut trainer = trainer("llama.gguf", threads, isa, |_| {});
        run(&mut trainer, &params(6), &mut Unwatched).unwrap();
        bits(&trainer)
    };
    let first = result(1, Isa::Scalar);
    for isa in levels() {
        for threads in [1, 2, 3] {
            assert!(result(threads, isa) == first, "{threads} threads, {}", isa.name());
        }
    }
}

#[test]
fn recomputation_changes_memory_and_no_bit() {
    let [kept, again] = [Keep::F32, Keep::Inputs].map(|keep| {
        let mut trainer = trainer("llama.gguf", 2, Isa::detect(), |p| p.keep = keep);
        run(&mut trainer, &params(6), &mut Unwatched).unwrap();
        (bits(&trainer), trainer.reserved().forward_cache)
    });
    assert!(kept.0 == again.0);
    assert!(again.1 < kept.1, "{} bytes kept, {} with recomputation", kept.1, again.1);
}

/// From every checkpoint of a run, the rest of it comes to the same bits.
#[test]
fn a_run_goes_on_to_the_same_bits() {
    for method in [Method::AdamW(Betas::default()), Method::AdamW8(Betas::default())] {
        let dir = Dir::new(if method == Method::AdamW(Betas::default()) { "resume" } else { "resume8" });
        let make = || trainer("llama.gguf", 2, Isa::detect(), |p| p.method = method);
        let mut rules = params(20);
        rules.plateau = Some(Plateau::new(0.5, 0.0, 0, 0.5).unwrap());
        let mut whole = make();
        run(&mut whole, &rules, &mut Unwatched).unwrap();
        let saved = RunParams { folder: Some(dir.0.clone()), save_every: 3, keep: 100, ..rules.clone() };
        run(&mut make(), &saved, &mut Unwatched).unwrap();
        let all = checkpoints(&dir.0).unwrap();
        assert_eq!(all.len(), 7);
        for path in all.iter().chain([&dir.0.join("best.qckpt")]) {
            let mut trainer = make();
            let (mut feed, mut validation) = (feed(), validation());
            let mut run = Run::new(&mut trainer, &mut feed, Some(&mut validation), &rules).unwrap();
            run.resume(path).unwrap();
            run.go(&Control::new(), &mut Unwatched).unwrap();
            assert!(bits(&trainer) == bits(&whole), "{}", path.display());
        }
    }
}

#[test]
fn old_checkpoints_go_and_a_stop_saves() {
    let dir = Dir::new("keep");
    let saved = RunParams { folder: Some(dir.0.clone()), save_every: 2, keep: 2, ..params(11) };
    run(&mut trainer("llama.gguf", 1, Isa::detect(), |_| {}), &saved, &mut Unwatched).unwrap();
    let names: Vec<_> = checkpoints(&dir.0).unwrap().iter().map(|p| p.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["step-0000000010.qckpt", "step-0000000011.qckpt"]);

    /// Stops after the third step.
    struct Third<'a>(&'a Control);
    impl Watch for Third<'_> {
        fn step(&mut self, report: &Report, _: &Trainer) -> Result<()> {
            if report.step == 3 {
                self.0.set(Wish::Stop);
            }
            Ok(())
        }
    }
    let (mut trainer, mut feed, mut kept) = (trainer("llama.gguf", 1, Isa::detect(), |_| {}), feed(), validation());
    let control = Control::new();
    let other = Dir::new("stop");
    let saved = RunParams { folder: Some(other.0.clone()), ..params(11) };
    let mut run = Run::new(&mut trainer, &mut feed, Some(&mut kept), &saved).unwrap();
    let summary = run.go(&control, &mut Third(&control)).unwrap();
    assert_eq!((summary.end, summary.step), (End::Stopped, 3));
    assert_eq!(summary.checkpoint.unwrap(), other.0.join("step-0000000003.qckpt"));
}

#[test]
fn patience_ends_a_run_for_good() {
    let dir = Dir::new("patience");
    let mut rules = RunParams { folder: Some(dir.0.clone()), ..params(1000) };
    rules.schedule = Schedule::constant(0.0);
    rules.early = Some(EarlyStop::new(2, 0.0).unwrap());
    let mut one = trainer("llama.gguf", 1, Isa::detect(), |_| {});
    let summary = run(&mut one, &rules, &mut Unwatched).unwrap();
    assert_eq!((summary.end, summary.step), (End::NoImprovement, 20));
    let (mut feed, mut kept) = (feed(), validation());
    let mut again = Run::new(&mut one, &mut feed, Some(&mut kept), &rules).unwrap();
    again.resume(&summary.checkpoint.unwrap()).unwrap();
    let summary = again.go(&Control::new(), &mut Unwatched).unwrap();
    assert_eq!((summary.end, summary.step), (End::NoImprovement, 20));
}

#[test]
fn damaged_and_foreign_checkpoints_are_refused() {
    let dir = Dir::new("bad");
    let mut one = trainer("llama.gguf", 1, Isa::detect(), |_| {});
    let saved = RunParams { folder: Some(dir.0.clone()), ..params(2) };
    run(&mut one, &saved, &mut Unwatched).unwrap();
    let good = dir.0.join("step-0000000002.qckpt");
    let bytes = std::fs::read(&good).unwrap();
    let before = bits(&one);
    let mut refuse = |what: &str, bytes: &[u8]| {
        let path = dir.file("bad.qckpt", bytes);
        let error = checkpoint::load(&path, &mut one).expect_err(what);
        assert!(error.code() == Code::Format && error.message().contains("bad.qckpt"), "{what}: {error}");
    };
    for len in [0, 7, 8, 19, 20, 100, bytes.len() / 2, bytes.len() - 1] {
        refuse("cut", &bytes[..len]);
    }
    for at in [0, 9, 20, 200, bytes.len() / 2, bytes.len() - 2] {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        refuse("a bit flipped", &bad);
    }
    assert!(bits(&one) == before, "a refused checkpoint changed the trainer");
    for (model, method) in [("qwen3.gguf", Betas::default()), ("llama-tied.gguf", Betas::default())] {
        let mut other = trainer(model, 1, Isa::detect(), |p| p.method = Method::AdamW(method));
        let error = checkpoint::load(&good, &mut other).unwrap_err();
        assert!(error.code() == Code::State && error.message().contains("another model"), "{error}");
    }
    let mut other = trainer("llama.gguf", 1, Isa::detect(), |p| p.method = Method::AdamW8(Betas::default()));
    assert!(checkpoint::load(&good, &mut other).unwrap_err().message().contains("another optimizer"));
    assert_eq!(checkpoint::load(Path::new("/nowhere/x.qckpt"), &mut other).unwrap_err().code(), Code::NotFound);
}

#[test]
fn a_bad_number_is_traced_and_never_saved() {
    for on_fault in [OnFault::Stop, OnFault::Skip] {
        let dir = Dir::new(if on_fault == OnFault::Stop { "fault" } else { "skip" });
        let mut trainer = trainer("llama.gguf", 2, Isa::detect(), |_| {});
        let index = trainer.optimizer().slots().list().iter().position(|p| p.name.contains("blk.1.ffn_norm")).unwrap();
        let at = trainer.optimizer().slots().list()[index].range.start + 3;
        let good = trainer.values()[at];
        trainer.values_mut()[at] = f32::NAN;
        let rules = RunParams { folder: Some(dir.0.clone()), on_fault, validate_every: 0, ..params(3) };
        let (mut feed, mut log) = (feed(), Log::default());
        let mut run = Run::new(&mut trainer, &mut feed, None, &rules).unwrap();
        let error = run.go(&Control::new(), &mut log).unwrap_err();
        assert_eq!(error.code(), Code::State);
        let expected = "the weight blk.1.ffn_norm.weight is NaN at element 3";
        match on_fault {
            OnFault::Stop => assert!(error.message().contains(expected), "{error}"),
            // Every step was left out; what cannot be saved is not.
            OnFault::Skip => assert!(log.1.len() == 3 && log.1[0].contains(expected), "{:?}", log.1),
        }
        assert!(checkpoints(&dir.0).unwrap().is_empty());
        drop(run);
        // A weight so large that a layer overflows.
        trainer.values_mut()[at] = 1e38;
        let mut run = Run::new(&mut trainer, &mut feed, None, &rules).unwrap();
        let message =
            run.go(&Control::new(), &mut log).map_or_else(|e| e.to_string(), |_| log.1.last().unwrap().clone());
        assert!(message.contains("layer") && message.contains("gave"), "{message}");
        drop(run);
        trainer.values_mut()[at] = good;
        run_alone(&mut trainer, &rules);
    }
}

fn run_alone(trainer: &mut Trainer, rules: &RunParams) {
    let mut feed = feed();
    Run::new(trainer, &mut feed, None, rules).unwrap().go(&Control::new(), &mut Unwatched).unwrap();
}

#[test]
fn a_small_budget_and_bad_sizes_are_refused() {
    let model = open(&reference("llama.gguf"), 1, Isa::detect());
    let params = TrainerParams { rows: 20, longest: 12, passes: 2, ..TrainerParams::default() };
    let need = Trainer::new(&model, &params, |_| true).unwrap().reserved().total_without_mapped();
    let with = |budget| Trainer::new(&model, &TrainerParams { budget, ..params.clone() }, |_| true).map(drop);
    assert_eq!(with(need - 1).unwrap_err().code(), Code::Budget);
    with(need).unwrap();
    for (rows, longest) in [(0, 0), (5, 6), (20, 0), (usize::MAX, 1)] {
        let params = TrainerParams { rows, longest, ..params.clone() };
        assert_eq!(Trainer::new(&model, &params, |_| true).err().unwrap().code(), Code::InvalidArgument);
    }
    let error = Trainer::new(&model, &params, |_| false).err().unwrap();
    assert!(error.message().contains("no parameter"), "{error}");
}

/// What is exported computes what the snapshot does, and a frozen tensor is as it was.
#[test]
fn an_exported_model_is_the_trained_one() {
    use qorus::engine::{Context, ContextParams, Model};
    let dir = Dir::new("export");
    let model = open(&reference("llama.gguf"), 2, Isa::detect());
    let params = TrainerParams { rows: 20, longest: 12, passes: 2, ..TrainerParams::default() };
    let mut trainer = Trainer::new(&model, &params, |name| name != "token_embd.weight").unwrap();
    run(&mut trainer, &self::params(5), &mut Unwatched).unwrap();
    let path = dir.0.join("model.gguf");
    export(&trainer, &path, None).unwrap();
    let exported = Model::open(&model.runtime, &path).unwrap();
    let logits = |model: &Arc<Model>, snapshot: bool| {
        let mut ctx = Context::new(model, &ContextParams { n_ctx: 16, ..ContextParams::default() }).unwrap();
        if snapshot {
            ctx.set_snapshot(Some(Arc::new(trainer.snapshot().unwrap()))).unwrap();
        }
        ctx.append(0, &[1, 2, 3, 4, 5]).unwrap();
        ctx.logits(0).unwrap().to_vec()
    };
    assert_eq!(logits(&exported, false), logits(&model, true));
    assert_ne!(logits(&exported, false), logits(&model, false));
    let table = |m: &Model| {
        let gguf = m.gguf.as_ref().unwrap();
        gguf.data(gguf.tensor("token_embd.weight").unwrap()).to_vec()
    };
    assert_eq!(table(&exported), table(&model));
}
