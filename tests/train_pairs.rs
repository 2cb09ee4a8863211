//! Preferences and a teacher on a small llama: what a run learns, gradients by finite differences, the same bits, no allocations.

mod common;

use common::dir::Dir;
use common::limits::without_allocating;
use common::small;
use qorus::engine::{Context, ContextParams, Model, Runtime};
use qorus::gguf::Gguf;
use qorus::train::clip::Clip;
use qorus::train::control::Control;
use qorus::train::data::{BatchParams, Batches, Fill, Ids, Kind, PairBatches, Part, Sift, Source, Teacher, prepare};
use qorus::train::distill::Distill;
use qorus::train::examples::{DistillFeed, Slab};
use qorus::train::optim::Outcome;
use qorus::train::preference::Preference;
use qorus::train::run::{Report, Run, RunParams, Watch};
use qorus::train::{AdapterParams, Feed, Objective, Passed, Trainer, TrainerParams};
use std::sync::Arc;

fn model(threads: usize) -> Arc<Model> {
    let gguf = Arc::new(Gguf::from_bytes(small::bytes()).unwrap());
    Model::new(&Runtime::new(threads, None).unwrap(), gguf).unwrap()
}

fn ids(dir: &Dir, model: &Model, kind: Kind) -> Arc<Ids> {
    let line = |i: usize| match kind {
        Kind::Preferences => format!("{{\"prompt\": \"a{i}\", \"chosen\": \"bb{}\", \"rejected\": \"a\"}}\n", i % 3),
        Kind::Judged => {
            format!("{{\"prompt\": \"a{i}\", \"completion\": \"{}\", \"label\": {}}}\n", ["b", "aa"][i % 2], i % 2 == 0)
        }
        _ => format!("{{\"prompt\": \"a{i}\", \"completion\": \"abab\"}}\n"),
    };
    let text: String = (0..12).map(line).collect();
    let source = Source { kind, sift: Sift::default(), ..Source::jsonl([dir.file("set.jsonl", text.as_bytes())]) };
    let to = dir.0.join("ids");
    Arc::new(prepare(&source, model.gguf.as_ref().unwrap(), model.tokenizer().unwrap(), &to, &mut |_, _| true).unwrap())
}

fn params(objective: Objective, rows: usize, longest: usize) -> TrainerParams {
    let adapter = Some(AdapterParams { rank: 2, alpha: 4.0, ..AdapterParams::default() });
    TrainerParams { rows, longest, slice: 7, objective, adapter, seed: 3, ..TrainerParams::default() }
}

fn trainer(model: &Arc<Model>, objective: Objective) -> Trainer {
    Trainer::new(model, &params(objective, 64, 16), |_| false).unwrap()
}

/// A batch of two pairs.
fn slab(model: &Model, ids: &Arc<Ids>) -> Slab {
    let mut slab = Slab::new(&model.graph, 64, false).unwrap();
    let mut feed = PairBatches::new(Arc::clone(ids), (2, 16), 0.0, Part::Train, 1).unwrap();
    assert!(Feed::next(&mut feed, &mut slab).unwrap());
    slab
}

fn loss(trainer: &mut Trainer, slab: &mut Slab) -> f64 {
    match trainer.judge(&slab.examples()).unwrap() {
        Passed::Total(total) => total.loss,
        Passed::Faulty(what) => panic!("{what}"),
    }
}

/// Values that are not those a fresh adapter has, so that nothing is 0.
fn stir(trainer: &mut Trainer) {
    let mut state = 1u32;
    for value in trainer.values_mut() {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        *value = ((state >> 8) as f32 / (1 << 24) as f32 - 0.5) * 0.6;
    }
}

#[test]
fn gradients_are_those_of_the_losses() {
    for (kind, preference) in [
        (Kind::Preferences, Preference::Dpo { beta: 0.5, smoothing: 0.1 }),
        (Kind::Judged, Preference::Kto { beta: 0.5, desirable: 1.0, undesirable: 1.2 }),
    ] {
        let dir = Dir::new(&format!("pairs-{kind:?}"));
        let model = model(2);
        let ids = ids(&dir, &model, kind);
        let mut slab = slab(&model, &ids);
        let mut trainer = trainer(&model, Objective::Preference(preference));
        // A fresh adapter changes nothing: both answers are as likely as under the base.
        let pairs = trainer.weight(&slab.examples()).unwrap();
        assert_eq!(pairs, 2.0);
        let fresh = if kind == Kind::Preferences { std::f64::consts::LN_2 } else { 0.0 };
        if fresh > 0.0 {
            assert!((loss(&mut trainer, &mut slab) / pairs - fresh).abs() < 1e-6);
        }
        stir(&mut trainer);
        let Passed::Total(total) = trainer.learn(&slab.examples(), pairs, 0).unwrap() else { panic!() };
        assert_eq!(total.loss, loss(&mut trainer, &mut slab), "the loss of learning is that of judging");
        let gradients = trainer.grads().to_vec();
        let scale = gradients.iter().fold(0f32, |m, g| m.max(g.abs()));
        let mut checked = 0;
        for i in (0..gradients.len()).step_by(gradients.len() / 60) {
            checked += usize::from(gradients[i] != 0.0);
            // KTO's point of reference moves with the values and no gradient goes through it, so differences are not its gradients:
            // `golden_preference` compares its formula with PyTorch's.
            if kind != Kind::Preferences {
                continue;
            }
            let before = trainer.values()[i];
            let mut at = |x: f32| {
                trainer.values_mut()[i] = x;
                loss(&mut trainer, &mut slab) / pairs
            };
            let h = 2e-2;
            let slope = (at(before + h) - at(before - h)) / (2.0 * f64::from(h));
            at(before);
            let g = f64::from(gradients[i]);
            assert!((slope - g).abs() < 0.03 * f64::from(scale), "{i}: {slope} {g}, the greatest is {scale}");
        }
        assert!(checked > 10, "{checked}");
    }
}

#[derive(Default)]
struct Margins(Vec<(f64, f64)>);

impl Watch for Margins {
    fn step(&mut self, report: &Report, _: &Trainer) -> qorus::Result<()> {
        self.0.push((report.loss, report.margin.unwrap_or(f64::NAN)));
        Ok(())
    }
}

#[test]
fn margins_grow_with_the_same_bits_on_any_threads() {
    for (kind, preference) in [(Kind::Preferences, Preference::dpo()), (Kind::Judged, Preference::kto())] {
        let mut results = Vec::new();
        for threads in [1, 3] {
            let dir = Dir::new(&format!("margins-{kind:?}-{threads}"));
            let model = model(threads);
            let ids = ids(&dir, &model, kind);
            let mut trainer = trainer(&model, Objective::Preference(preference));
            let mut feed = PairBatches::new(ids, (2, 16), 0.0, Part::Train, 1).unwrap();
            let mut margins = Margins::default();
            let mut run = Run::new(&mut trainer, &mut feed, None, &RunParams::new(120, 2e-2)).unwrap();
            run.go(&Control::new(), &mut margins).unwrap();
            let last: Vec<f64> = margins.0[110..].iter().map(|m| m.1).filter(|m| m.is_finite()).collect();
            assert!(last.iter().sum::<f64>() / last.len() as f64 > 0.01, "{kind:?}: {last:?}");
            results.push(trainer.values().to_vec());
        }
        assert!(results[0] == results[1], "{kind:?}: other bits");
    }
}

#[test]
fn a_step_of_pairs_allocates_nothing() {
    let dir = Dir::new("pairs-alloc");
    let model = model(1);
    let ids = ids(&dir, &model, Kind::Preferences);
    let mut slab = slab(&model, &ids);
    let mut trainer = trainer(&model, Objective::Preference(Preference::dpo()));
    let mut feed = PairBatches::new(ids, (2, 16), 0.0, Part::Train, 1).unwrap();
    for number in 0..3 {
        let taken = without_allocating(|| {
            Feed::next(&mut feed, &mut slab).unwrap();
            let done = trainer.learn(&slab.examples(), 2.0, number).unwrap();
            (done, trainer.step(1e-3, Clip::Norm(1.0)).unwrap())
        });
        assert!(matches!(taken, (Passed::Total(_), Outcome::Taken { .. })));
    }
    // Sequences that are no pairs, or have no labels, are refused.
    let mut examples = slab.examples();
    examples.labels = &[];
    assert!(trainer.learn(&examples, 2.0, 0).is_err());
}

#[test]
fn a_student_follows_its_teacher() {
    let dir = Dir::new("distill");
    let model = model(2);
    let ids = ids(&dir, &model, Kind::Jsonl);
    let path = dir.0.join("teacher.top");
    // A teacher of the same vocabulary: the model with an adapter that was stirred.
    let context =
        || Context::new(&model, &ContextParams { n_ctx: 16, n_outputs: 4, ..ContextParams::default() }).unwrap();
    let mut ctx = context();
    let mut master = Trainer::new(&model, &params(Objective::default(), 64, 16), |_| false).unwrap();
    stir(&mut master);
    let (rank, n_outputs) = (2, 4);
    let with_room = ContextParams { n_ctx: 16, n_outputs, rank, ..ContextParams::default() };
    let mut taught = Context::new(&model, &with_room).unwrap();
    taught.set_snapshot(Some(Arc::new(master.snapshot().unwrap()))).unwrap();
    let teacher = Arc::new(Teacher::prepare(&path, &ids, &mut taught, 8, &mut |_, _| true).unwrap());
    assert_eq!(teacher.top(), 8);
    for at in 0..ids.tokens() {
        let row = teacher.row(at).unwrap();
        assert!(row.windows(2).all(|w| w[0].logit >= w[1].logit) && row.iter().all(|t| t.id < ids.vocab()));
    }
    assert!(teacher.row(ids.tokens()).is_err());
    // Opened rather than made again, unless another number is asked for; cut or damaged, it is refused.
    let mut asked = 0;
    let mut count = |_, _| {
        asked += 1;
        true
    };
    Teacher::prepare(&path, &ids, &mut ctx, 8, &mut count).unwrap();
    assert_eq!(asked, 0);
    let mut bytes = std::fs::read(&path).unwrap();
    assert!(Teacher::open(&dir.file("cut", &bytes[..bytes.len() - 1])).is_err());
    bytes[100] ^= 1;
    assert!(Teacher::open(&dir.file("damaged", &bytes)).is_err());
    assert!(Teacher::prepare(&dir.0.join("x"), &ids, &mut ctx, 8, &mut |_, _| false).is_err());
    assert!(!dir.0.join("x").exists());

    let distill = Distill { temperature: 2.0, share: 0.9, top: 8 };
    let mut student = Trainer::new(&model, &params(Objective::Distill(distill), 32, 16), |_| false).unwrap();
    let batches = Batches::new(Arc::clone(&ids), &BatchParams::train(2, 16, Fill::Whole)).unwrap();
    let mut feed = DistillFeed::new(batches, &teacher, 32).unwrap();
    let mut losses = Margins::default();
    let mut run = Run::new(&mut student, &mut feed, None, &RunParams::new(300, 3e-2)).unwrap();
    run.go(&Control::new(), &mut losses).unwrap();
    let mean = |part: &[(f64, f64)]| part.iter().map(|l| l.0).sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&losses.0[..5]), mean(&losses.0[290..]));
    // The head is small and frozen: an adapter inside moves this loss by 0.04.
    assert!(last < first - 0.02, "{first} {last}");
}
