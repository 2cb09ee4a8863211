//! Adapters in training: the gradients of their factors against central differences of the forward pass in f64, on bases of every stored
//! type and architecture; the same bits for any number of threads; the plan is what is taken (see `Lesson`).

#[path = "common/lesson.rs"]
mod lesson;
#[path = "common/run.rs"]
mod run;
#[path = "common/wide.rs"]
mod wide;

use lesson::{Input, Lesson};
use qorus::Isa;
use qorus::gguf::Gguf;
use qorus::layers::Store;
use qorus::layers::adapters::Sites;
use qorus::layers::keep::Keep;
use qorus::layers::trained::{Param, Trained};
use qorus::models::Graph;
use std::sync::Arc;
use wide::Wide;

fn file(name: &str) -> (Graph, Store, Arc<Gguf>) {
    let gguf = Arc::new(Gguf::open(&run::reference(name)).unwrap_or_else(|e| panic!("{e}")));
    let graph = Graph::from_gguf(&gguf).unwrap();
    let store = graph.load(&gguf).unwrap();
    (graph, store, gguf)
}

/// What an adapter is made of: its rank, whether it stretches rows, and what it drops.
#[derive(Clone, Copy, Debug)]
struct Made {
    rank: usize,
    dora: bool,
    dropout: f32,
}

/// A lesson whose adapter, on all matrices, has numbers that are not 0.
fn lesson(name: &str, made: Made, threads: usize, isa: Isa) -> Lesson {
    let (graph, store, gguf) = file(name);
    let mut sites = Sites::new(gguf.tensors().len()).unwrap();
    for found in graph.adaptable(Some(&gguf)).unwrap() {
        sites.add(found.w, found.experts, made.rank, 0.5, made.dora).unwrap();
    }
    let trained = Trained::new(&graph.layers, &store, |_| false).unwrap();
    let trained = trained.with_adapter(sites, made.dropout, 3).unwrap();
    let mut lesson = Lesson::of(threads, isa, (graph, store), trained);
    for t in lesson.trained.list() {
        let all = &mut lesson.values[t.at..t.at + t.len];
        for (i, v) in all.iter_mut().enumerate() {
            let wave = ((t.at + i) as f32 * 0.7).sin();
            match t.param {
                Param::Factor(_, qorus::layers::adapters::Factor::Magnitude) => *v *= 1.0 + 0.2 * wave,
                _ => *v = 0.1 * wave,
            }
        }
    }
    let rows = lesson.trained.sites().rows();
    lesson.lengths = vec![0.0; rows];
    measure(&mut lesson);
    lesson
}

fn measure(lesson: &mut Lesson) {
    use qorus::ops::Exec;
    use qorus::threads::Shards;
    let each = 1 << 16;
    let mut scratch = vec![0; each * lesson.runtime.pool.len()];
    let scratch = Shards::new(&mut scratch);
    let never = std::sync::atomic::AtomicBool::new(false);
    let (kernels, pool) = (&lesson.runtime.kernels, &lesson.runtime.pool);
    let exec = Exec { kernels, pool, scratch: &scratch, scratch_bytes: each, cancel: &never };
    let values = lesson.trained.adapter(&lesson.values);
    lesson.trained.sites().measure(&exec, &lesson.store, values, &mut lesson.lengths).unwrap();
}

fn tokens(lesson: &Lesson, lens: &[u32]) -> Vec<u32> {
    let vocab = lesson.graph.vocab() as u32;
    (0..lens.iter().sum::<u32>()).map(|i| (i * 7 + 3) % vocab / 2).collect()
}

/// The gradient that a loss sends back: fixed numbers.
fn upstream(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * 1.3).sin()).collect()
}

fn check(name: &str, made: Made, bound: f64) {
    let lens = [6, 3];
    let mut lesson = lesson(name, made, 2, Isa::detect());
    let tokens = tokens(&lesson, &lens);
    let mut room = lesson.room(&lens);
    lesson
        .pass(&Input { tokens: &tokens, x: &[], lens: &lens }, &mut room, |y, d| d.copy_from_slice(&upstream(y.len())));
    let dy = upstream(room.y.len());
    let mut wide = Wide::new(&lesson, &tokens, &lens);
    let exact = wide.forward(&[]);
    let far = room.y.iter().zip(&exact).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    let size = exact.iter().fold(1.0f64, |max, y| max.max(y.abs()));
    if made.dropout == 0.0 {
        assert!(far < 1e-4 * size, "{name}: the forward pass is {far:e} off, of up to {size}");
    }
    let loss = |y: &[f64]| y.iter().zip(&dy).map(|(y, d)| y * f64::from(*d)).sum::<f64>();
    let (h, mut worst) = (1e-5, 0f64);
    for (n, t) in lesson.trained.list().iter().enumerate() {
        let found = lesson.grad(n);
        let most = found.iter().fold(0f64, |m, v| m.max(f64::from(*v).abs()));
        for i in (0..found.len()).step_by((found.len() / 5).max(1)).chain(found.len().checked_sub(1)) {
            let old = wide.values[t.at + i];
            wide.values[t.at + i] = old + h;
            let up = loss(&wide.forward(&[]));
            wide.values[t.at + i] = old - h;
            let down = loss(&wide.forward(&[]));
            wide.values[t.at + i] = old;
            let (a, b) = (f64::from(found[i]), (up - down) / (2.0 * h));
            let (off, limit) = ((a - b).abs(), bound * (1.0 + most));
            worst = worst.max(off / (1.0 + most));
            assert!(
                off <= limit,
                "{name} {made:?} {:?}, element {i}: {a} for {b}, {off:e} off, bound {limit:e}",
                t.param
            );
        }
    }
    println!("{name} {made:?}: {worst:.1e}");
}

const PLAIN: Made = Made { rank: 3, dora: false, dropout: 0.0 };
const DORA: Made = Made { rank: 3, dora: true, dropout: 0.0 };

/// Every type there is a file of.
#[test]
fn gradients_through_every_stored_type() {
    for ty in [
        "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq1_s",
        "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s", "iq4_nl", "iq4_xs",
    ] {
        check(&format!("llama-{ty}.gguf"), PLAIN, 5e-5);
    }
}

/// Fused projections, biases, norms of heads, experts and shared ones among them.
#[test]
fn gradients_on_every_architecture() {
    for name in [
        "llama.gguf",
        "llama-bias.gguf",
        "llama-tied.gguf",
        "llama-moe.gguf",
        "qwen2.gguf",
        "qwen2moe.gguf",
        "qwen3.gguf",
        "gemma2.gguf",
        "gemma3.gguf",
        "phi3.gguf",
    ] {
        check(name, PLAIN, 5e-5);
        check(name, DORA, 5e-5);
    }
    check("llama-q4_k.gguf", DORA, 5e-5);
}

/// The gradients and results of one pass.
fn pass(name: &str, made: Made, threads: usize, isa: Isa, (keep, eight): (Keep, bool)) -> (Vec<u32>, Vec<u32>) {
    let lens = [20, 7, 1];
    let mut lesson = lesson(name, made, threads, isa);
    (lesson.mode.keep, lesson.mode.eight) = (keep, eight);
    let tokens = tokens(&lesson, &lens);
    let mut room = lesson.room(&lens);
    lesson
        .pass(&Input { tokens: &tokens, x: &[], lens: &lens }, &mut room, |y, d| d.copy_from_slice(&upstream(y.len())));
    (run::bits(&lesson.grads), run::bits(&room.y))
}

#[test]
fn threads_levels_and_recomputation_give_the_same_bits() {
    let drops = Made { dropout: 0.3, ..DORA };
    for (name, made) in
        [("llama-q8_0.gguf", PLAIN), ("llama-q4_k.gguf", drops), ("qwen2moe.gguf", drops), ("phi3.gguf", DORA)]
    {
        for eight in [false, true] {
            let expected = pass(name, made, 1, Isa::Scalar, (Keep::F32, eight));
            for isa in run::levels() {
                for (threads, keep) in [(1, Keep::Inputs), (2, Keep::F32), (3, Keep::Inputs)] {
                    let found = pass(name, made, threads, isa, (keep, eight));
                    assert!(found == expected, "{name}: {threads} threads, {}, {keep:?}", isa.name());
                }
            }
        }
    }
}

/// What is dropped is drawn for each pass, and the gradient is that of what was kept: along it the loss falls as it says.
#[test]
fn dropped_inputs_have_no_share() {
    let made = Made { dropout: 0.5, ..PLAIN };
    let lens = [12];
    let mut lesson = lesson("llama.gguf", made, 2, Isa::detect());
    let tokens = tokens(&lesson, &lens);
    let mut room = lesson.room(&lens);
    let input = Input { tokens: &tokens, x: &[], lens: &lens };
    let mut run = |lesson: &mut Lesson| {
        lesson.pass(&input, &mut room, |y, d| d.copy_from_slice(&upstream(y.len())));
        room.y.iter().zip(upstream(room.y.len())).map(|(y, d)| f64::from(y * d)).sum::<f64>()
    };
    let before = run(&mut lesson);
    let grads = std::mem::replace(&mut lesson.grads, vec![0.0; lesson.values.len()]);
    let norm: f64 = grads.iter().map(|g| f64::from(*g).powi(2)).sum();
    let h = 1e-2 / norm.sqrt();
    let values = lesson.values.clone();
    let mut moved = |by: f64| {
        lesson
            .values
            .iter_mut()
            .zip(&values)
            .zip(&grads)
            .for_each(|((v, old), g)| *v = (f64::from(*old) + by * f64::from(*g)) as f32);
        run(&mut lesson)
    };
    let slope = (moved(h) - moved(-h)) / (2.0 * h);
    assert!((slope / norm - 1.0).abs() < 1e-2, "{slope} along a gradient of {norm}");
    lesson.values.copy_from_slice(&values);
    lesson.mode.noise.pass += 1;
    assert_ne!(run(&mut lesson), before, "another pass drops the same");
}
