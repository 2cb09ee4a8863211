//! Preferences and a teacher on a small llama: what a run learns, gradients by finite differences, the same bits, no allocations.

mod common;

use common::dir::Dir;
use common::limits::without_allocating;
use common::small;
use qorus::Type;
use qorus::engine::{Context, ContextParams, Model, Runtime};
use qorus::gguf::Gguf;
use qorus::train::clip::Clip;
use qorus::train::control::Control;
use qorus::train::data::{
    BatchParams, Batches, Fill, IGNORED, Ids, Kind, PairBatches, Part, Sift, Source, Teacher, prepare,
};
use qorus::train::distill::Distill;
use qorus::train::examples::{DistillFeed, Slab};
use qorus::train::optim::Outcome;
use qorus::train::preference::Preference;
use qorus::train::run::{Report, Run, RunParams, Watch};
use qorus::train::{AdapterParams, Feed, Objective, Passed, Trainer, TrainerParams};
use std::sync::Arc;

/// The small llama with a head of its own, norms of 1 and weights five times as great, so that answers differ.
fn bytes() -> Vec<u8> {
    let mut w = small::llama();
    w.tensor("output.weight", Type::F32, &[small::DIM, small::VOCAB]).unwrap();
    let mut file = small::finish(w);
    let gguf = Gguf::from_bytes(file.clone()).unwrap();
    for t in gguf.tensors() {
        let (at, norm) = (t.offset as usize, gguf.tensor_name(t).contains("norm"));
        for x in file[at..at + t.bytes as usize].as_chunks_mut().0 {
            *x = if norm { 1.0 } else { 5.0 * f32::from_le_bytes(*x) }.to_le_bytes();
        }
    }
    file
}

fn model(threads: usize) -> Arc<Model> {
    let gguf = Arc::new(Gguf::from_bytes(bytes()).unwrap());
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
    let targets = ["q", "k", "v", "o", "gate", "up", "down", "head"].map(String::from).into();
    let adapter = Some(AdapterParams { rank: 2, alpha: 4.0, targets, ..AdapterParams::default() });
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

/// That gradients are those of the loss by its values: along themselves, where the slope is their norm, and along four directions at random.
/// Both from logits of f32, hence the 0.3 %.
fn check_gradients(trainer: &mut Trainer, slab: &mut Slab, what: &str) {
    let weight = trainer.weight(&slab.examples()).unwrap();
    trainer.zero_grad().unwrap();
    let Passed::Total(total) = trainer.learn(&slab.examples(), weight, 0).unwrap() else { panic!("{what}") };
    assert_eq!(total.loss, loss(trainer, slab), "{what}: the loss of learning is that of judging");
    let (gradients, values) = (trainer.grads().to_vec(), trainer.values().to_vec());
    let norm = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let greatest = norm(&gradients);
    assert!(greatest > 1e-2, "{what}: {greatest}");
    for seed in 0..5u32 {
        let mut state = seed;
        let mut draw = || {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        let along: Vec<f32> = match seed {
            0 => gradients.clone(),
            // Not at right angles to the gradient, where there is little to be seen.
            _ => gradients
                .iter()
                .map(|g| g + draw() * (greatest / (gradients.len() as f64).sqrt()) as f32 * 3.0)
                .collect(),
        };
        let (length, h) = (norm(&along), 1e-3);
        let mut at = |h: f64| {
            let to = trainer.values_mut();
            for ((to, from), d) in to.iter_mut().zip(&values).zip(&along) {
                *to = (f64::from(*from) + h * f64::from(*d) / length) as f32;
            }
            loss(trainer, slab) / weight
        };
        let slope = (at(h) - at(-h)) / (2.0 * h);
        at(0.0);
        let expected = gradients.iter().zip(&along).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum::<f64>() / length;
        println!("{what} {seed}: {slope} {expected}");
        assert!(
            (slope - expected).abs() < 3e-3 * greatest,
            "{what} {seed}: {slope}, by gradients {expected} of {greatest}"
        );
    }
}

#[test]
fn gradients_of_pairs_are_those_of_the_losses() {
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
        if kind == Kind::Preferences {
            assert!((loss(&mut trainer, &mut slab) / pairs - std::f64::consts::LN_2).abs() < 1e-6);
        }
        stir(&mut trainer);
        if kind == Kind::Judged {
            // KTO's point of reference moves with the values and no gradient goes through it. Without another prompt's answers it
            // stays where it is; that its value is right, `golden_preference` says.
            for (target, place) in slab.targets.iter_mut().zip(&slab.places).filter(|(_, place)| place.seq % 2 == 1) {
                assert!(place.seq < 4);
                *target = IGNORED;
            }
        }
        check_gradients(&mut trainer, &mut slab, &format!("{kind:?}"));
    }
}

#[test]
fn gradients_of_a_student_are_those_of_its_loss() {
    let dir = Dir::new("distill-gradients");
    let model = model(2);
    let ids = ids(&dir, &model, Kind::Jsonl);
    let params_ctx = ContextParams { n_ctx: 16, n_outputs: 4, ..ContextParams::default() };
    let mut ctx = Context::new(&model, &params_ctx).unwrap();
    let teacher = Teacher::prepare(&dir.0.join("top"), &ids, &mut ctx, 8, &mut |_, _| true).unwrap();
    let teacher = Arc::new(teacher);
    for (temperature, share) in [(1.0, 0.9), (2.0, 0.7), (1.5, 1.0)] {
        let objective = Objective::Distill(Distill { temperature, share, top: 8 });
        let mut slab = Slab::new(&model.graph, 64, false).unwrap().with_top(8).unwrap();
        let batches = Batches::new(Arc::clone(&ids), &BatchParams::train(4, 16, Fill::Whole)).unwrap();
        assert!(Feed::next(&mut DistillFeed::new(batches, &teacher, 64).unwrap(), &mut slab).unwrap());
        let counted = slab.examples().targets.iter().filter(|target| **target != IGNORED).count();
        assert!(
            counted > 7 && counted < slab.rows,
            "{counted}: some rows have no target, and there are several slices"
        );
        let mut trainer = trainer(&model, objective);
        stir(&mut trainer);
        check_gradients(&mut trainer, &mut slab, &format!("temperature {temperature}, share {share}"));
    }
}

/// Where the logits of all answers are there at once the head goes over them once, to the same gradients; and what is in places without a
/// target changes nothing.
#[test]
fn slices_and_rows_without_a_target_change_nothing() {
    let dir = Dir::new("pairs-slices");
    let model = model(2);
    let ids = ids(&dir, &model, Kind::Preferences);
    let mut slab = slab(&model, &ids);
    let mut gradients = |slice: usize, counts: usize| {
        let of = params(Objective::Preference(Preference::dpo()), 64, 16);
        let mut trainer = Trainer::new(&model, &TrainerParams { slice, counts, ..of }, |_| false).unwrap();
        stir(&mut trainer);
        let Passed::Total(total) = trainer.learn(&slab.examples(), 2.0, 0).unwrap() else { panic!() };
        (trainer.grads().to_vec(), total.loss, trainer.reserved().activations)
    };
    let (whole, few, known) = (gradients(64, 0), gradients(3, 0), gradients(64, 12));
    let greatest = whole.0.iter().fold(0f32, |m, g| m.max(g.abs()));
    let off = whole.0.iter().zip(&few.0).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(off < 1e-5 * greatest && (whole.1 - few.1).abs() < 1e-9, "{off} of {greatest}");
    assert!(known.0 == whole.0 && known.2 < whole.2, "as few logits as can count");
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
            let margin = last.iter().sum::<f64>() / last.len() as f64;
            println!("{kind:?}: {margin}");
            assert!(margin > 3.0, "{kind:?}: {margin}, {last:?}");
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
    println!("{first} {last}");
    assert!(last < 0.35 * first, "{first} {last}");
}
