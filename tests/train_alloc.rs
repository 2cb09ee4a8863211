//! Nothing allocates in a step of training, on any thread, and the plan is what is taken.

#[path = "common/counting.rs"]
mod counting;
#[path = "common/exec.rs"]
mod exec;
#[path = "common/tensors.rs"]
mod tensors;

use counting::{allocations, settle, start, stop};
use exec::Bench;
use qorus::adapter::Kind;
use qorus::engine::{Model, Runtime};
use qorus::layers::keep::Keep;
use qorus::memory::{Need, Region};
use qorus::train::clip::{self, Clip};
use qorus::train::control::Control;
use qorus::train::data::{BatchParams, Batches, Fill, Place, Source, Split, prepare};
use qorus::train::loss::{CrossEntropy, Logits, Reduction, Targets, Total, mse, mse_grad, mse_need};
use qorus::train::optim::{Group, Optimizer};
use qorus::train::run::{Report, Run, RunParams, Watch};
use qorus::train::{AdapterParams, Examples, Trainer, TrainerParams};
use qorus::{Isa, Result};
use std::sync::Arc;
use tensors::{methods, params, random};

// One test: others would allocate meanwhile.
#[test]
fn a_step_allocates_nothing() {
    settle();
    let (rows, classes) = (40, 1000);
    let (x, t) = (random(9, 1.0, rows * classes), random(10, 1.0, rows * classes));
    let targets: Vec<i32> = (0..rows as i32).collect();
    for threads in [1, 3] {
        let bench = Bench::new(threads, Isa::detect());
        for method in methods() {
            let mut optimizer = Optimizer::new(method, &Group::pair(0.1), params()).unwrap();
            let n = optimizer.slots().elements();
            let (mut w, mut g, mut sum) = (random(1, 1.0, n), random(2, 1.0, n), vec![0.0; n]);
            let mut logits = x.clone();
            let need = CrossEntropy::need(rows);
            let need = Need::new().sub(need).sub(mse_need(x.len())).sub(Optimizer::step_need(optimizer.slots()));
            let mut region = Region::new(need.peak()).unwrap();
            let mut gap = vec![0.0; x.len()];
            let (count, ()) = allocations(|| {
                bench.run_in(&mut region, |exec, frame| {
                    for step in 0..3 {
                        let (ce, targets) = (CrossEntropy::new(classes), Targets::Classes(&targets));
                        let scale = 1.0 / ce.count(targets).unwrap().weight;
                        let mut total = Total::default();
                        ce.rows(exec, frame, Logits::InPlace(&mut logits), targets, scale, &mut total).unwrap();
                        mse(exec, frame, &x, &t, Reduction::Mean).unwrap();
                        mse_grad(exec, &x, &t, Reduction::Mean, &mut gap).unwrap();
                        clip::accumulate(exec, optimizer.slots(), &mut sum, &g).unwrap();
                        let clip = [Clip::None, Clip::Norm(1.0), Clip::Value(0.1)][step];
                        optimizer.step(exec, frame, (&mut w, &mut sum), (1e-3, 0.5, clip)).unwrap();
                        optimizer.update_one(exec, 0, (&mut w[..40_000], &g[..40_000]), 1e-3, (1.0, 1.0)).unwrap();
                        clip::zero(exec, optimizer.slots(), &mut g).unwrap();
                    }
                });
            });
            assert_eq!(count, 0, "{method:?} on {threads} threads");
            assert_eq!(region.high_water(), need.peak(), "the plan is not what was taken");
            assert_eq!(optimizer.high_water(), Optimizer::need(&method, optimizer.slots()).peak());
            assert_eq!(optimizer.state().len(), optimizer.high_water());
        }
        assert_eq!(by_rows(threads), 0, "an embedding's gradient by rows on {threads} threads");
        for keep in [Keep::F32, Keep::Bf16, Keep::Inputs] {
            assert_eq!(a_run(threads, keep, None), 0, "a run on {threads} threads, {keep:?}");
            for (kind, dropout) in [(Kind::Lora, 0.0), (Kind::Dora, 0.1)] {
                let adapter = AdapterParams { kind, dropout, rank: 4, ..AdapterParams::default() };
                let count = a_run(threads, keep, Some(adapter));
                assert_eq!(count, 0, "an adapter ({kind:?}) on {threads} threads, {keep:?}");
            }
        }
    }
}

/// Counts from the end of the first step to that of the last.
struct Between {
    last: u64,
    count: usize,
}

impl Watch for Between {
    fn step(&mut self, report: &Report, trainer: &Trainer) -> Result<()> {
        assert!(report.loss.is_finite());
        if report.step == 1 {
            start();
        } else if report.step == self.last {
            self.count = stop();
            assert_eq!(trainer.high_water(), trainer.reserved().activations, "the plan is not what was taken");
        }
        Ok(())
    }
}

/// Allocations of a run's steps and validations, with a text as data.
fn a_run(threads: usize, keep: Keep, adapter: Option<AdapterParams>) -> usize {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let runtime = Runtime::new(threads, None).unwrap();
    let model = Model::open(&runtime, &root.join("tests/reference/llama.gguf")).unwrap();
    let dir = std::env::temp_dir().join(format!("qorus-train-alloc-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let text = dir.join("text.txt");
    std::fs::write(&text, "some text that comes again and again; ".repeat(50)).unwrap();
    let (gguf, tokenizer) = (model.gguf.as_ref().unwrap(), model.tokenizer().unwrap());
    let ids = prepare(&Source::text([&text]), gguf, tokenizer, &dir.join("ids"), &mut |_, _| true).unwrap();
    let ids = Arc::new(ids);
    let batches = BatchParams { split: Split::Tail { share: 0.2 }, ..BatchParams::train(3, 16, Fill::Windows) };
    let mut feed = Batches::new(Arc::clone(&ids), &batches).unwrap();
    let mut kept = Batches::new(Arc::clone(&ids), &batches.validation()).unwrap();
    let all = adapter.is_none();
    let params = TrainerParams { rows: 48, longest: 16, passes: 2, keep, adapter, ..TrainerParams::default() };
    let mut trainer = Trainer::new(&model, &params, |_| all).unwrap();
    let rules = RunParams { accumulate: 2, validate_every: 2, ..RunParams::new(6, 1e-3) };
    let mut between = Between { last: 6, count: usize::MAX };
    Run::new(&mut trainer, &mut feed, Some(&mut kept), &rules).unwrap().go(&Control::new(), &mut between).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    between.count
}

/// Allocations of a step in which an embedding's gradient is kept by rows.
fn by_rows(threads: usize) -> usize {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = Model::open(&Runtime::new(threads, None).unwrap(), &root.join("tests/reference/llama.gguf")).unwrap();
    let params = TrainerParams { rows: 20, longest: 20, sparse: true, ..TrainerParams::default() };
    let whole = TrainerParams { sparse: false, ..params.clone() };
    let [mut trainer, whole] = [params, whole].map(|params| Trainer::new(&model, &params, |_| true).unwrap());
    assert!(trainer.reserved().gradients < whole.reserved().gradients);
    let (tokens, targets) = ((0..20).collect::<Vec<u32>>(), (1..21).collect::<Vec<i32>>());
    let places: Vec<Place> = (0..20).map(|pos| Place { seq: 0, pos }).collect();
    let examples = Examples { tokens: &tokens, places: &places, lens: &[20], targets: &targets, ..Examples::default() };
    let mut step = || {
        trainer.learn(&examples, 20.0, 0).unwrap();
        trainer.zero_grad().unwrap();
        trainer.learn(&examples, 20.0, 1).unwrap();
        trainer.step(1e-3, Clip::Norm(1.0)).unwrap();
    };
    step();
    start();
    step();
    stop()
}
