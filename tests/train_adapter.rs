//! Runs that train an adapter: on every architecture and on blocks; planned to the byte; resumed to the bit; used at once, and again from
//! what was written.

mod common;

use common::dir::Dir;
use common::run::{bits, levels, open, reference};
use qorus::adapter::{Adapter, Kind};
use qorus::engine::{Context, ContextParams, LoadedAdapter, plan};
use qorus::layers::keep::Keep;
use qorus::train::control::Control;
use qorus::train::data::Place;
use qorus::train::examples::{HostFeed, Slab};
use qorus::train::fit::Task;
use qorus::train::run::{End, Report, Run, RunParams, Unwatched, Watch};
use qorus::train::{AdapterParams, Feed, Passed, Trainer, TrainerParams, layout};
use qorus::{Code, Isa, Result, Type};
use std::sync::Arc;

/// Sequences that count up, which a model can learn.
fn give(number: u64, slab: &mut Slab) -> Result<bool> {
    slab.rows = 20;
    for i in 0..20 {
        let start = (number as usize * 7 + i / 10 * 13) % 40;
        (slab.tokens[i], slab.targets[i]) = ((start + i % 10) as u32, (start + i % 10 + 1) as i32);
        slab.places[i] = Place { seq: (i / 10) as u32, pos: (i % 10) as u32 };
    }
    Ok(true)
}

fn params(adapter: AdapterParams) -> TrainerParams {
    TrainerParams {
        rows: 20,
        longest: 12,
        passes: 1,
        slice: 7,
        seed: 5,
        adapter: Some(adapter),
        ..TrainerParams::default()
    }
}

fn trainer(model: &str, threads: usize, isa: Isa, params: &TrainerParams) -> Trainer {
    let model = open(&reference(model), threads, isa);
    Trainer::new(&model, params, |_| false).unwrap_or_else(|e| panic!("{e}"))
}

#[derive(Default)]
struct Losses(Vec<f64>);

impl Watch for Losses {
    fn step(&mut self, report: &Report, _: &Trainer) -> Result<()> {
        self.0.push(report.loss);
        Ok(())
    }
}

fn run(trainer: &mut Trainer, rules: &RunParams, watch: &mut dyn Watch) {
    let mut feed = HostFeed::new(give, 9);
    let summary = Run::new(trainer, &mut feed, None, rules).unwrap().go(&Control::new(), watch).unwrap();
    assert_eq!(summary.end, End::Done);
}

const KINDS: [Kind; 3] = Kind::ALL;

fn made(kind: Kind, dropout: f32) -> AdapterParams {
    AdapterParams { kind, rank: 4, alpha: 8.0, dropout, ..AdapterParams::default() }
}

#[test]
fn an_adapter_learns_and_the_plan_is_what_is_taken() {
    for (i, model) in [
        "llama",
        "llama-tied",
        "llama-bias",
        "llama-moe",
        "qwen2moe",
        "qwen3",
        "gemma2",
        "gemma3",
        "phi3",
        "llama-q8_0",
        "llama-q4_0",
        "llama-q4_k",
        "llama-q6_k",
        "llama-iq4_xs",
    ]
    .into_iter()
    .enumerate()
    {
        for keep in [Keep::F32, Keep::Inputs, Keep::Bf16] {
            let name = format!("{model}.gguf");
            let params = TrainerParams { keep, eight: i % 2 == 1, ..params(made(KINDS[i % 3], 0.1 * (i % 2) as f32)) };
            let mut trainer = trainer(&name, 2, Isa::detect(), &params);
            let before = trainer.model().store.resident.clone();
            let mut losses = Losses::default();
            run(&mut trainer, &RunParams::new(40, 1e-2), &mut losses);
            let (first, last) = (losses.0[0], losses.0[39]);
            println!("{model} {:?}: loss {first:.3} to {last:.3}", KINDS[i % 3]);
            assert!(last < 0.85 * first, "{model}: {first} to {last}");
            assert_eq!(trainer.high_water(), trainer.reserved().activations, "{model}: the plan is not what was taken");
            assert!(before == trainer.model().store.resident, "the base was touched");
            // From metadata alone, the same.
            let model = trainer.model();
            let (gguf, graph) = (model.gguf.as_ref().unwrap(), &model.graph);
            let base = plan(gguf, graph, &ContextParams::default(), 2).unwrap();
            let planned = layout::plan(graph, gguf, base, &params, 2, |_| false).unwrap();
            assert_eq!(planned, trainer.reserved(), "{name}");
            assert!(planned.adapters > 0 && planned.gradients < planned.adapters + 4096);
        }
    }
}

#[test]
fn threads_and_levels_change_no_bit() {
    for (kind, eight) in [(Kind::Lora, false), (Kind::Dora, true)] {
        let result = |threads, isa| {
            let params = TrainerParams { eight, ..params(made(kind, 0.2)) };
            let mut trainer = trainer("llama-q4_k.gguf", threads, isa, &params);
            run(&mut trainer, &RunParams::new(4, 1e-2), &mut Unwatched);
            bits(trainer.values())
        };
        let expected = result(1, Isa::Scalar);
        for isa in levels() {
            for threads in [1, 2, 3] {
                assert!(result(threads, isa) == expected, "{kind:?}, {threads} threads, {}", isa.name());
            }
        }
    }
}

#[test]
fn a_run_goes_on_to_the_same_bits() {
    let dir = Dir::new("adapter-resume");
    let rules = RunParams { folder: Some(dir.0.clone()), save_every: 3, keep: 9, ..RunParams::new(7, 1e-2) };
    let params = params(made(Kind::Dora, 0.3));
    let mut whole = trainer("llama-q8_0.gguf", 2, Isa::detect(), &params);
    run(&mut whole, &rules, &mut Unwatched);
    let mut again = trainer("llama-q8_0.gguf", 3, Isa::detect(), &params);
    let mut feed = HostFeed::new(give, 9);
    let mut second = Run::new(&mut again, &mut feed, None, &rules).unwrap();
    second.resume(&dir.0.join("step-0000000003.qckpt")).unwrap();
    second.go(&Control::new(), &mut Unwatched).unwrap();
    assert!(bits(whole.values()) == bits(again.values()));
    // Of another scale the checkpoint is none.
    let other = AdapterParams { alpha: 16.0, ..made(Kind::Dora, 0.3) };
    let mut other = trainer("llama-q8_0.gguf", 2, Isa::detect(), &TrainerParams { adapter: Some(other), ..params });
    let mut feed = HostFeed::new(give, 9);
    let e = Run::new(&mut other, &mut feed, None, &rules)
        .unwrap()
        .resume(&dir.0.join("step-0000000003.qckpt"))
        .unwrap_err();
    assert!(e.code() == Code::State && e.message().contains("another adapter"), "{e}");
}

/// Logits of a text.
fn logits(ctx: &mut Context) -> Vec<u32> {
    ctx.append(0, &[3, 4, 5, 6]).unwrap();
    bits(ctx.logits(0).unwrap())
}

#[test]
fn what_was_trained_runs_at_once_and_from_a_file() {
    for kind in KINDS {
        let dir = Dir::new(&format!("adapter-{}", kind.name()));
        let mut trainer = trainer("qwen2moe.gguf", 2, Isa::detect(), &params(made(kind, 0.0)));
        let model = Arc::clone(trainer.model());
        let params_ctx = ContextParams { n_ctx: 16, kv: Type::F32, adapters: 1, rank: 4, ..ContextParams::default() };
        let mut ctx = Context::new(&model, &params_ctx).unwrap();
        let base = logits(&mut ctx);
        let mut snapshot = trainer.snapshot().unwrap();
        run(&mut trainer, &RunParams::new(5, 1e-2), &mut Unwatched);
        trainer.update(&mut snapshot).unwrap();
        ctx.set_snapshot(Some(Arc::new(snapshot))).unwrap();
        let trained = logits(&mut ctx);
        assert!(trained != base, "{kind:?}");
        // A state that was saved on these values is restored on no others.
        let mut state = vec![0; ctx.state_bytes()];
        ctx.save(&mut state).unwrap();
        ctx.restore(&state).unwrap();
        let whole = ctx.set_snapshot(None).unwrap();
        let refused = |ctx: &mut Context| {
            let e = ctx.restore(&state).unwrap_err();
            assert!(e.code() == Code::State && e.message().contains("trained values"), "{e}");
        };
        refused(&mut ctx);
        let before = std::mem::replace(&mut trainer.values_mut()[0], 0.5);
        ctx.set_snapshot(Some(Arc::new(trainer.snapshot().unwrap()))).unwrap();
        refused(&mut ctx);
        trainer.values_mut()[0] = before;
        ctx.set_snapshot(whole).unwrap();
        ctx.restore(&state).unwrap();
        // Written, read, and put on the model: the same.
        let path = dir.0.join("adapter.gguf");
        trainer.adapter().unwrap().write(&path).unwrap();
        let read = Adapter::open(&path, model.gguf.as_ref().unwrap()).unwrap();
        read.check(model.gguf.as_ref().unwrap(), false).unwrap();
        ctx.set_snapshot(None).unwrap();
        ctx.set_adapters(&[(&LoadedAdapter::new(&model, &read).unwrap(), 1.0)]).unwrap();
        assert!(logits(&mut ctx) == trained, "{kind:?}");
        // And trained on.
        let mut second = Trainer::new(&model, trainer.params(), |_| false).unwrap();
        second.set_adapter(&read).unwrap();
        assert!(bits(second.values()) == bits(trainer.values()));
        // A context without room for it says so.
        let mut small = Context::new(&model, &ContextParams { n_ctx: 16, ..ContextParams::default() }).unwrap();
        let e = small.set_snapshot(Some(Arc::new(trainer.snapshot().unwrap()))).err().unwrap();
        assert!(e.code() == Code::State && e.message().contains("rank 4"), "{e}");
    }
}

/// With the adapter left out a pass is that of the base, as it is also before anything is learned.
#[test]
fn passes_can_leave_the_adapter_out() {
    let mut trainer = trainer("llama.gguf", 2, Isa::detect(), &params(made(Kind::Lora, 0.0)));
    let judge = |trainer: &mut Trainer| {
        let mut slab = Slab::new(&trainer.model().graph, 20, false).unwrap();
        assert!(HostFeed::new(give, 9).next(&mut slab).unwrap());
        let Passed::Total(total) = trainer.judge(&slab.examples()).unwrap() else { panic!("no number") };
        total.loss
    };
    let base = judge(&mut trainer);
    run(&mut trainer, &RunParams::new(5, 1e-2), &mut Unwatched);
    let learned = judge(&mut trainer);
    assert!(learned < base);
    trainer.set_plain(true);
    assert_eq!(judge(&mut trainer), base);
    trainer.set_plain(false);
    assert_eq!(judge(&mut trainer), learned);
}

#[test]
fn what_cannot_be_is_refused() {
    let model = open(&reference("llama.gguf"), 1, Isa::detect());
    let refused = |change: &dyn Fn(&mut AdapterParams), all: bool| {
        let mut adapter = made(Kind::Lora, 0.0);
        change(&mut adapter);
        Trainer::new(&model, &params(adapter), |_| all).err().expect("it was accepted")
    };
    for (change, word) in [
        (&(|a: &mut AdapterParams| a.rank = 0) as &dyn Fn(&mut AdapterParams), "rank 0"),
        (&|a| a.alpha = f32::NAN, "alpha NaN"),
        (&|a| a.dropout = 1.0, "probability 1"),
        (&|a| a.targets = vec!["nose".into()], "called \"nose\""),
        (&|a| a.targets = vec!["experts".into()], "none of the matrices"),
    ] {
        let e = refused(change, false);
        assert!(e.code() == Code::InvalidArgument && e.message().contains(word), "{e}");
    }
    let e = refused(&|_| {}, true);
    assert!(e.message().contains("to be trained itself"), "{e}");
}

#[test]
fn targets_are_chosen_by_their_names() {
    for (model, words, count) in [
        ("llama.gguf", &["q", "v"][..], 4),
        ("llama.gguf", &["down"], 2),
        ("llama.gguf", &["head"], 1),
        ("llama-tied.gguf", &["head"], 1),
        ("phi3.gguf", &["q"], 2),
        ("llama-moe.gguf", &["experts"], 6),
        ("qwen2moe.gguf", &["shared", "o"], 8),
    ] {
        let adapter =
            AdapterParams { targets: words.iter().map(|w| (*w).to_owned()).collect(), ..made(Kind::Lora, 0.0) };
        let mut trainer = trainer(model, 1, Isa::detect(), &params(adapter));
        assert_eq!(trainer.trained().sites().list().len(), count, "{model} {words:?}");
        run(&mut trainer, &RunParams::new(2, 1e-2), &mut Unwatched);
        let b = trainer.optimizer().slots().list().iter().filter(|slot| slot.name.ends_with(".lora_b"));
        for slot in b {
            assert!(
                trainer.values()[slot.range.clone()].iter().any(|v| *v != 0.0),
                "{}: nothing was learned",
                slot.name
            );
        }
    }
}

#[test]
fn a_budget_chooses_what_fits_or_says_what_would() {
    let model = open(&reference("llama-q8_0.gguf"), 2, Isa::detect());
    let (gguf, graph) = (model.gguf.as_ref().unwrap(), &model.graph);
    let base = plan(gguf, graph, &ContextParams::default(), 2).unwrap();
    let task = Task { gguf, graph, base, threads: 2, batch: 8, counts: 0 };
    let params = TrainerParams { longest: 48, slice: 0, ..params(made(Kind::Lora, 0.0)) };
    let free = task.fit(&params, |_| false).unwrap();
    assert_eq!((free.micro, free.params.passes, free.params.rows, free.params.keep), (8, 1, 384, Keep::F32));
    let (mut budget, mut seen, mut last) = (free.plan.total_without_mapped(), Vec::new(), None);
    let e = loop {
        match task.fit(&TrainerParams { budget, ..params.clone() }, |_| false) {
            Err(e) => break e,
            Ok(found) => {
                let need = found.plan.total_without_mapped();
                assert!(need <= budget && found.micro * found.params.passes >= 8);
                // What was chosen is what a trainer reserves.
                let of = TrainerParams { budget: 0, ..found.params.clone() };
                assert_eq!(Trainer::new(&model, &of, |_| false).unwrap().reserved(), found.plan);
                seen.push((found.micro, found.params.keep));
                (budget, last) = (need - 1, Some(need));
            }
        }
    };
    println!("{seen:?}");
    assert!(seen.contains(&(1, Keep::F32)) && seen.contains(&(1, Keep::Inputs)), "{seen:?}");
    let short = last.unwrap() - budget;
    assert!(e.code() == Code::Budget && e.message().contains(&format!("give {short} bytes more")), "{e}");
    assert!(e.message().contains("sequences of 4") && e.message().contains("would fit"), "{e}");
    let e = task.fit(&TrainerParams { budget: 1000, ..params }, |_| false).unwrap_err();
    assert!(e.message().contains("not even sequences of 1 token"), "{e}");
}
