//! The gradients of every layer and architecture against central differences of the forward pass in f64; the same bits for any
//! number of threads; packed sequences as if alone; no allocation; the plan is what is taken (see `Lesson`).

#[path = "common/lesson.rs"]
mod lesson;
#[path = "common/run.rs"]
mod run;
#[path = "common/wide.rs"]
mod wide;

use lesson::{Input, Lesson};
use qorus::engine::Runtime;
use qorus::gguf::Gguf;
use qorus::kernels::Kernels;
use qorus::layers::keep::Keep;
use qorus::layers::sequence;
use qorus::layers::trained::Param;
use qorus::layers::{Dropout, Layer, Residual, Store};
use qorus::models::Graph;
use qorus::models::hand::{AttentionValues, Hand, LinearValues, RopeValues, Values};
use qorus::ops::activation::Activation;
use qorus::ops::rope::RopeStyle;
use qorus::{Isa, Products, Type};
use std::ops::Range;
use std::sync::Arc;
use wide::Wide;

/// f32 against f64: the README of the goldens has the same form. Of a gradient, the relative part is of the greatest of its
/// tensor.
const BOUND: (f64, f64) = (1e-5, 1e-5);

/// Numbers between -limit and limit.
fn numbers(n: usize, limit: f32, seed: u32) -> Vec<f32> {
    let mut x = seed.wrapping_mul(2654435761) | 1;
    (0..n)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            ((x >> 8) as f32 / (1 << 23) as f32 - 1.0) * limit
        })
        .collect()
}

/// What goes in.
struct Given {
    tokens: Vec<u32>,
    x: Vec<f32>,
    lens: Vec<u32>,
}

impl Given {
    fn new(graph: &Graph, lens: &[u32]) -> Given {
        let rows = lens.iter().sum::<u32>();
        let tokens = (0..rows).map(|i| (i * 7 + 3) % (graph.vocab() as u32).max(1) / 2).collect();
        let mut x = numbers(rows as usize * graph.in_width, 1.5, 11);
        if let Some(Layer::Features(l)) = graph.layers.first() {
            for (i, x) in x.chunks_mut(graph.in_width).enumerate() {
                x[l.numbers..].iter_mut().zip(&l.tables).for_each(|(x, table)| *x = (i * 5 % table.rows) as f32);
            }
        }
        Given { tokens, x, lens: lens.to_vec() }
    }

    fn input(&self) -> Input<'_> {
        Input { tokens: &self.tokens, x: &self.x, lens: &self.lens }
    }
}

/// The gradient that a loss sends back: fixed numbers.
fn upstream(n: usize) -> Vec<f32> {
    numbers(n, 1.0, 5)
}

/// Compares some elements of every gradient with differences.
fn check(name: &str, build: impl Fn() -> (Graph, Store), lens: &[u32], bound: (f64, f64)) {
    let mut worst: f64 = 0.0;
    for (threads, keep) in [(1, Keep::F32), (2, Keep::Inputs)] {
        let mut lesson = Lesson::new(threads, Isa::detect(), build(), |_| true);
        lesson.mode.keep = keep;
        lesson.dx = lesson.graph.in_width > 0;
        let given = Given::new(&lesson.graph, lens);
        let mut room = lesson.room(lens);
        lesson.pass(&given.input(), &mut room, |y, d| d.copy_from_slice(&upstream(y.len())));
        let (dy, x) = (upstream(room.y.len()), given.x.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
        let mut wide = Wide::new(&lesson, &given.tokens, lens);
        let exact = wide.forward(&x);
        let far = room.y.iter().zip(&exact).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        assert!(far < 1e-4, "{name}: the forward pass is {far:e} off");
        let loss = |y: &[f64]| y.iter().zip(&dy).map(|(y, d)| y * f64::from(*d)).sum::<f64>();
        let h = 1e-5;
        let mut compare = |what: &str, found: &[f32], slope: &mut dyn FnMut(usize) -> f64| {
            let most = found.iter().fold(0.0f64, |m, v| m.max(f64::from(*v).abs()));
            // First, last, and some between.
            let step = (found.len() / 17).max(1);
            for i in (0..found.len()).step_by(step).chain(found.len().checked_sub(1)) {
                let (a, b) = (f64::from(found[i]), slope(i));
                let (off, limit) = ((a - b).abs(), bound.0 + bound.1 * most);
                worst = worst.max(off / most.max(1.0));
                assert!(off <= limit, "{name} {what}, element {i}: {a} for {b}, {off:e} off, bound {limit:e}");
            }
        };
        for (n, t) in lesson.trained.list().iter().enumerate() {
            let kind = if matches!(t.param, Param::Matrix(_)) { "matrix" } else { "vector" };
            compare(&format!("{kind} {n}"), lesson.grad(n), &mut |i| {
                let old = wide.values[t.at + i];
                wide.values[t.at + i] = old + h;
                let up = loss(&wide.forward(&x));
                wide.values[t.at + i] = old - h;
                let down = loss(&wide.forward(&x));
                wide.values[t.at + i] = old;
                (up - down) / (2.0 * h)
            });
        }
        if lesson.dx {
            compare("dx", &room.dx, &mut |i| {
                let mut at = x.clone();
                at[i] = x[i] + h;
                let up = loss(&wide.forward(&at));
                at[i] = x[i] - h;
                (up - loss(&wide.forward(&at))) / (2.0 * h)
            });
        }
    }
    println!("{name} {lens:?}: {worst:.1e}");
}

fn hand(build: impl Fn(&mut Hand)) -> (Graph, Store) {
    let mut b = Hand::new(&Kernels::new(Isa::Scalar).unwrap());
    build(&mut b);
    b.finish().unwrap()
}

/// A matrix of made-up numbers, and a bias of the second part where it is wanted.
struct Made(Vec<f32>, Vec<f32>, usize);

impl Made {
    fn new(rows: usize, cols: usize, seed: u32) -> Made {
        Made(numbers(rows * cols, 1.0 / (cols as f32).sqrt(), seed), numbers(rows, 0.5, seed + 100), cols)
    }

    fn w(&self) -> Values<'_> {
        Values { ty: Type::F32, rows: self.1.len(), cols: self.2, bytes: bytemuck::cast_slice(&self.0) }
    }

    fn plain(&self) -> LinearValues<'_> {
        LinearValues { w: self.w(), bias: None }
    }

    fn biased(&self) -> LinearValues<'_> {
        LinearValues { w: self.w(), bias: Some(&self.1) }
    }
}

const ACTIVATIONS: [Activation; 4] = [Activation::Relu, Activation::Silu, Activation::Gelu, Activation::GeluErf];

#[test]
fn simple_layers() {
    for (width, lens) in [(5, &[3u32, 1][..]), (16, &[7]), (33, &[4, 40])] {
        let (g, beta, m) = (numbers(width, 1.0, 1), numbers(width, 1.0, 2), Made::new(width + 3, width, 3));
        for act in ACTIVATIONS {
            check(
                &format!("{act:?}"),
                || {
                    hand(|b| {
                        b.rows(width).unwrap();
                        b.activation(act).unwrap()
                    })
                },
                lens,
                BOUND,
            );
        }
        check(
            "scale",
            || {
                hand(|b| {
                    b.rows(width).unwrap();
                    b.scale(-1.5).unwrap()
                })
            },
            lens,
            BOUND,
        );
        check(
            "softcap",
            || {
                hand(|b| {
                    b.rows(width).unwrap();
                    b.softcap(0.75).unwrap()
                })
            },
            lens,
            BOUND,
        );
        check(
            "rmsnorm",
            || {
                hand(|b| {
                    b.rows(width).unwrap();
                    b.rmsnorm(&g, 1e-3).unwrap()
                })
            },
            lens,
            BOUND,
        );
        let layernorm = |bias: bool| {
            hand(|b| {
                b.rows(width).unwrap();
                b.layernorm(&g, bias.then_some(&beta[..]), 1e-3).unwrap();
            })
        };
        check("layernorm", || layernorm(true), lens, BOUND);
        check("layernorm without bias", || layernorm(false), lens, BOUND);
        check(
            "linear",
            || {
                hand(|b| {
                    b.rows(width).unwrap();
                    b.linear(&m.biased()).unwrap()
                })
            },
            lens,
            BOUND,
        );
        check("embedding", || hand(|b| b.embedding(&m.w()).unwrap()), lens, BOUND);
        for rate in [0.0, 0.4] {
            let dropped = || {
                let (mut graph, store) = hand(|b| {
                    b.rows(width).unwrap();
                    b.linear(&m.plain()).unwrap()
                });
                graph.layers.push(Layer::Dropout(Dropout { rate, stream: 2 }));
                graph
                    .layers
                    .insert(0, Layer::Residual(Residual { body: vec![Layer::Dropout(Dropout { rate, stream: 1 })] }));
                (graph, store)
            };
            check("dropout", dropped, lens, BOUND);
        }
    }
}

#[test]
fn features() {
    for (numbers, tables, lens) in
        [(3, &[(2, 1)][..], &[4u32][..]), (0, &[(7, 5), (3, 2), (9, 17)], &[20, 3]), (5, &[], &[3])]
    {
        let made: Vec<Made> = (0..).zip(tables).map(|(i, (rows, cols))| Made::new(*rows, *cols, i)).collect();
        let wide = numbers + tables.iter().map(|t| t.1).sum::<usize>();
        let (up, out) = (Made::new(6, wide, 50), Made::new(2, 6, 51));
        let build = || {
            hand(|b| {
                b.rows(numbers + tables.len()).unwrap();
                b.features(&made.iter().map(Made::w).collect::<Vec<_>>()).unwrap();
                assert_eq!(b.width(), wide);
                b.linear(&up.biased()).unwrap();
                b.activation(Activation::Silu).unwrap();
                b.linear(&out.biased()).unwrap();
            })
        };
        check("features", build, lens, BOUND);
    }
    // Indices that no table has.
    let made = Made::new(3, 4, 1);
    let build = || {
        hand(|b| {
            assert_eq!(b.features(&[made.w()]).unwrap_err().code(), qorus::Code::State);
            b.rows(2).unwrap();
            assert_eq!(b.features(&[made.w(), made.w(), made.w()]).unwrap_err().code(), qorus::Code::Shape);
            b.features(&[made.w()]).unwrap()
        })
    };
    for bad in [3.0, -1.0, 0.5, f32::NAN, f32::INFINITY] {
        let mut lesson = Lesson::new(1, Isa::Scalar, build(), |_| true);
        lesson.in_pass(&Input { tokens: &[], x: &[], lens: &[2] }, |pass, frame, layers, _| {
            let (x, mut y) = ([1.5, 2.0, 0.5, bad], [0.0; 10]);
            let s = pass.sizes(2);
            let e = sequence::forward_train(layers.0, pass, frame, s, &x, 2, &mut y, &mut []).unwrap_err();
            assert!(e.code() == qorus::Code::InvalidArgument && e.message().starts_with("row 1, category 0"), "{e}");
        });
    }
}

#[test]
fn networks() {
    for (width, hidden, lens) in [(4, 7, &[5u32][..]), (24, 40, &[3, 9]), (16, 64, &[70])] {
        let (up, gate, down) = (Made::new(hidden, width, 1), Made::new(hidden, width, 2), Made::new(width, hidden, 3));
        for act in ACTIVATIONS {
            let plain = || {
                hand(|b| {
                    b.rows(width).unwrap();
                    b.ffn(act, None, &up.biased(), &down.biased()).unwrap()
                })
            };
            check(&format!("plain {act:?}"), plain, lens, BOUND);
            let gated = || {
                hand(|b| {
                    b.rows(width).unwrap();
                    b.residual_begin().unwrap();
                    b.ffn(act, Some(&gate.biased()), &up.plain(), &down.plain()).unwrap();
                    b.scale(0.5).unwrap();
                    b.residual_end().unwrap();
                })
            };
            check(&format!("gated {act:?}"), gated, lens, BOUND);
        }
    }
}

#[test]
fn attention() {
    // Heads, heads of keys, their elements, turning elements, window, cap, norms, sequences: shorter and longer than a strip.
    for (n_head, n_kv, dim, turn, window, softcap, norms, lens) in [
        (1, 1, 2, 2, 0, 0.0, false, &[1u32][..]),
        (4, 2, 8, 8, 0, 0.0, false, &[5, 1, 9]),
        (4, 1, 6, 4, 3, 0.0, true, &[11, 4]),
        (2, 2, 16, 0, 0, 2.0, false, &[13]),
        (6, 3, 4, 4, 20, 1.5, true, &[90, 3]),
        (2, 1, 8, 8, 0, 0.0, false, &[130]),
        (2, 1, 40, 8, 37, 0.0, false, &[150]),
    ] {
        for style in [RopeStyle::Norm, RopeStyle::Neox] {
            let width = 12;
            let (q, k) = (Made::new(n_head * dim, width, 1), Made::new(n_kv * dim, width, 2));
            let (v, o) = (Made::new(n_kv * dim, width, 3), Made::new(width, n_head * dim, 4));
            let (qn, kn) = (numbers(dim, 2.0, 5), numbers(dim, 2.0, 6));
            let build = || {
                hand(|b| {
                    b.rows(width).unwrap();
                    b.residual_begin().unwrap();
                    b.attention(&AttentionValues {
                        n_head,
                        n_kv,
                        head_dim: dim,
                        q: q.biased(),
                        k: k.biased(),
                        v: v.biased(),
                        o: o.biased(),
                        q_norm: norms.then_some((&qn[..], 1e-4)),
                        k_norm: norms.then_some((&kn[..], 1e-4)),
                        rope: (turn > 0).then_some(RopeValues { style, dim: turn, base: 100.0, scale: 1.0 }),
                        window,
                        scale: 0.0,
                        softcap,
                    })
                    .unwrap();
                    b.residual_end().unwrap();
                })
            };
            check(&format!("attention {n_head}/{n_kv} of {dim}, window {window}, cap {softcap}"), build, lens, BOUND);
        }
    }
}

fn file(name: &str) -> (Graph, Store) {
    let gguf = Arc::new(Gguf::open(&run::reference(name)).unwrap_or_else(|e| panic!("{e}")));
    let graph = Graph::from_gguf(&gguf).unwrap();
    let store = graph.load(&gguf).unwrap();
    (graph, store)
}

/// One file of each.
const ARCHITECTURES: [&str; 12] = [
    "llama.gguf",
    "llama-tied.gguf",
    "llama-bias.gguf",
    "llama-moe.gguf",
    "qwen2.gguf",
    "qwen2moe.gguf",
    "qwen3.gguf",
    "qwen3moe.gguf",
    "gemma2.gguf",
    "gemma3.gguf",
    "phi3.gguf",
    "phi3-window.gguf",
];

/// Every architecture there is, experts and fused projections among them.
#[test]
fn architectures() {
    for name in ARCHITECTURES {
        check(name, || file(name), &[6, 3], (2e-5, 2e-5));
    }
}

/// The gradients of one pass.
fn gradients(threads: usize, isa: Isa, model: (Graph, Store), lens: &[u32], keep: Keep) -> (Vec<u32>, Vec<u32>) {
    let mut lesson = Lesson::new(threads, isa, model, |_| true);
    lesson.mode.keep = keep;
    let given = Given::new(&lesson.graph, lens);
    let mut room = lesson.room(lens);
    lesson.pass(&given.input(), &mut room, |y, d| d.copy_from_slice(&upstream(y.len())));
    (run::bits(&lesson.grads), run::bits(&room.y))
}

#[test]
fn threads_levels_and_recomputation_give_the_same_bits() {
    for name in ARCHITECTURES {
        let lens = [20, 7, 1];
        let expected = gradients(1, Isa::Scalar, file(name), &lens, Keep::F32);
        for isa in run::levels() {
            for (threads, keep) in [(1, Keep::Inputs), (2, Keep::F32), (3, Keep::Inputs)] {
                let found = gradients(threads, isa, file(name), &lens, keep);
                assert!(found == expected, "{name}: {threads} threads, {}, {keep:?}", isa.name());
            }
        }
    }
}

/// Both factors of each product lose all but 8 bits, half a unit of which is 2^-9, and a gradient has a chain of some twenty products
/// behind it: at worst 2 * 20 * 2^-9 = 8 % of the greatest of its tensor, which cancellation in these small random models doubles.
#[test]
fn products_of_bf16_give_nearly_the_same_gradients_and_the_same_bits_everywhere() {
    let lens = [20, 7, 1];
    for name in ARCHITECTURES {
        let run = |threads, isa, products| {
            let mut lesson = Lesson::new(threads, isa, file(name), |_| true);
            lesson.runtime = Runtime::with_products(threads, Some(isa), products).unwrap();
            let given = Given::new(&lesson.graph, &lens);
            let mut room = lesson.room(&lens);
            lesson.pass(&given.input(), &mut room, |y, d| d.copy_from_slice(&upstream(y.len())));
            let ranges: Vec<_> = lesson.trained.list().iter().map(|t| t.at..t.at + t.len).collect();
            (lesson.grads, ranges)
        };
        let (exact, ranges) = run(2, Isa::detect(), Products::F32);
        let (found, _) = run(1, Isa::Scalar, Products::Bf16);
        for isa in run::levels() {
            assert!(run::bits(&run(3, isa, Products::Bf16).0) == run::bits(&found), "{name} {}", isa.name());
        }
        let worst = farthest(&exact, &found, &ranges);
        println!("{name}: {worst}");
        assert!(worst > 1e-4 && worst < 0.16, "{name}: {worst}");
    }
}

/// How far gradients are from others, in units of the greatest of their tensor.
fn farthest(exact: &[f32], found: &[f32], tensors: &[Range<usize>]) -> f32 {
    tensors.iter().fold(0.0, |worst, range| {
        let greatest = exact[range.clone()].iter().fold(0f32, |max, g| max.max(g.abs()));
        let off = range.clone().map(|i| (exact[i] - found[i]).abs()).fold(0f32, f32::max);
        worst.max(off / greatest.max(f32::MIN_POSITIVE))
    })
}

/// What is kept is rounded once, by half of 2^-8 at most, and a gradient has a handful of such factors behind it: 2 %, which large scores of
/// attention raise in their softmax and cancellation in these small random models doubles.
#[test]
fn what_is_kept_in_bf16_gives_nearly_the_same_gradients_and_the_same_bits_everywhere() {
    let lens = [20, 7, 1];
    for name in ARCHITECTURES {
        let (exact, y) = gradients(2, Isa::detect(), file(name), &lens, Keep::F32);
        let expected = gradients(1, Isa::Scalar, file(name), &lens, Keep::Bf16);
        assert!(expected.1 == y, "{name}: the forward pass is that of f32");
        for isa in run::levels() {
            assert!(gradients(3, isa, file(name), &lens, Keep::Bf16) == expected, "{name} {}", isa.name());
        }
        let lesson = Lesson::new(1, Isa::Scalar, file(name), |_| true);
        let tensors: Vec<_> = lesson.trained.list().iter().map(|t| t.at..t.at + t.len).collect();
        let [exact, found] = [exact, expected.0].map(|bits| bits.into_iter().map(f32::from_bits).collect::<Vec<_>>());
        let worst = farthest(&exact, &found, &tensors);
        println!("{name}: {worst}");
        assert!(worst > 1e-5 && worst < 0.09, "{name}: {worst}");
    }
}

#[test]
fn packed_sequences_do_not_see_each_other() {
    let (name, lens) = ("llama.gguf", [9, 5]);
    let mut lesson = Lesson::new(2, Isa::detect(), file(name), |_| true);
    let given = Given::new(&lesson.graph, &lens);
    let mut room = lesson.room(&lens);
    lesson.pass(&given.input(), &mut room, |y, d| d.copy_from_slice(&upstream(y.len())));
    let (together, y) = (lesson.grads.clone(), room.y.clone());
    lesson.grads.fill(0.0);
    let dy = upstream(y.len());
    let mut at = 0;
    for len in lens {
        let part = at as usize..(at + len) as usize;
        let mut room = lesson.room(&[len]);
        let input = Input { tokens: &given.tokens[part.clone()], x: &[], lens: &[len] };
        let width = y.len() / given.tokens.len();
        let elements = part.start * width..part.end * width;
        lesson.pass(&input, &mut room, |_, d| d.copy_from_slice(&dy[elements.clone()]));
        assert_eq!(room.y, y[elements]);
        at += len;
    }
    // The sums over rows are taken in another order.
    for (a, b) in lesson.grads.iter().zip(&together) {
        assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{a} for {b}");
    }
}

#[test]
fn frozen_parameters_and_layers_left_out() {
    let build = || file("llama.gguf");
    let lens = [8, 3];
    let whole = {
        let mut lesson = Lesson::new(2, Isa::detect(), build(), |_| true);
        let (given, mut room) = (Given::new(&lesson.graph, &lens), lesson.room(&lens));
        lesson.pass(&given.input(), &mut room, |y, d| d.copy_from_slice(&upstream(y.len())));
        lesson
    };
    // Of some parameters alone the gradients are the same.
    let mut some = Lesson::new(2, Isa::detect(), build(), |p| matches!(p, Param::Vector(_)));
    let (given, mut room) = (Given::new(&some.graph, &lens), some.room(&lens));
    some.pass(&given.input(), &mut room, |y, d| d.copy_from_slice(&upstream(y.len())));
    let vectors: Vec<_> = (0..whole.trained.list().len())
        .filter(|&i| matches!(whole.trained.list()[i].param, Param::Vector(_)))
        .map(|i| whole.grad(i))
        .collect();
    assert_eq!(vectors.len(), some.trained.list().len());
    vectors.iter().enumerate().for_each(|(i, grad)| assert_eq!(*grad, some.grad(i)));
    // Layers before the one where the way back ends have none, the others the same.
    let stop = whole.graph.layers.len() - 3;
    let mut part = Lesson::new(2, Isa::detect(), build(), |_| true);
    part.stop = stop;
    let mut room = part.room(&lens);
    part.pass(&given.input(), &mut room, |y, d| d.copy_from_slice(&upstream(y.len())));
    let mut before = 0;
    part.graph.layers[..stop].iter().for_each(|l| l.params(&mut |_| before += 1));
    assert!(before > 0 && before < part.trained.list().len());
    for i in 0..part.trained.list().len() {
        match i < before {
            true => assert!(part.grad(i).iter().all(|&g| g == 0.0), "parameter {i}"),
            false => assert_eq!(part.grad(i), whole.grad(i), "parameter {i}"),
        }
    }
}

/// The layers behind [`Graph::embedding_end`] may take a few rows at a time, there and back, so that the logits of all rows are
/// never there at once: to the same bits.
#[test]
fn the_head_takes_its_rows_in_slices() {
    for name in ["llama.gguf", "llama-tied.gguf", "gemma2.gguf"] {
        let lens = [7, 4];
        let mut whole = Lesson::new(2, Isa::detect(), file(name), |_| true);
        let (given, mut room) = (Given::new(&whole.graph, &lens), whole.room(&lens));
        whole.pass(&given.input(), &mut room, |y, d| d.copy_from_slice(&upstream(y.len())));
        let (dy, rows) = (upstream(room.y.len()), 11);
        let mut part = Lesson::new(3, Isa::detect(), file(name), |_| true);
        part.in_pass(&given.input(), |pass, frame, layers, grads| {
            let end = layers.1;
            let (body, head) = layers.0.split_at(end);
            let width = layers.2;
            let out = dy.len() / rows;
            let all = pass.sizes(rows);
            let cache = frame.take::<f32>(sequence::cache_len(body, all, 0)).unwrap();
            let (mid, d_mid) = (frame.take::<f32>(rows * width).unwrap(), frame.take::<f32>(rows * width).unwrap());
            sequence::forward_train(body, pass, frame, all, &[], 0, mid, cache).unwrap();
            for from in (0..rows).step_by(3) {
                let n = 3.min(rows - from);
                let (s, mut frame) = (pass.sizes(n), frame.sub());
                let (x, d_x) = (&mid[from * width..][..n * width], &mut d_mid[from * width..][..n * width]);
                let cache = frame.take::<f32>(sequence::cache_len(head, s, width)).unwrap();
                let y = frame.take::<f32>(n * out).unwrap();
                sequence::forward_train(head, pass, &mut frame, s, x, width, y, cache).unwrap();
                assert_eq!(y, &room.y[from * out..][..n * out]);
                let dy = &dy[from * out..][..n * out];
                sequence::backward(head, pass, &mut frame, s, x, width, dy, Some(d_x), cache, grads, 0).unwrap();
            }
            sequence::backward(body, pass, frame, all, &[], 0, d_mid, None, cache, grads, 0).unwrap();
        });
        assert!(run::bits(&part.grads) == run::bits(&whole.grads), "{name}");
    }
}

/// A frozen matrix of any storage type sends back what it sends as f32, to the bit.
#[test]
fn frozen_stored_weights_pass_gradients_on() {
    let (rows, cols, lens) = (600, 256, [7u32]);
    let (kernels, w) = (Kernels::new(Isa::Scalar).unwrap(), numbers(rows * cols, 1.0, 1));
    for ty in [Type::F32, Type::F16, Type::BF16, Type::Q8_0, Type::Q4_0, Type::Q4_K, Type::Q6_K] {
        let row_bytes = ty.row_bytes(cols).unwrap();
        let mut bytes = vec![0; rows * row_bytes];
        for (w, bytes) in w.chunks(cols).zip(bytes.chunks_mut(row_bytes)) {
            kernels.quantize(ty, w, bytes);
        }
        let run = |trained: bool| {
            let build = hand(|b| {
                b.rows(cols).unwrap();
                b.linear(&LinearValues { w: Values { ty, rows, cols, bytes: &bytes }, bias: None }).unwrap();
            });
            let mut lesson = Lesson::new(2, Isa::detect(), build, |_| trained);
            lesson.dx = true;
            let (given, mut room) = (Given::new(&lesson.graph, &lens), lesson.room(&lens));
            lesson.pass(&given.input(), &mut room, |y, d| d.copy_from_slice(&upstream(y.len())));
            assert_eq!(lesson.grads.is_empty(), !trained);
            room
        };
        let (frozen, trained) = (run(false), run(true));
        assert!(
            run::bits(&frozen.dx) == run::bits(&trained.dx) && frozen.dx.iter().any(|d| *d != 0.0),
            "{}",
            ty.name()
        );
        // The results are those of the same weights; blocks meet activations rounded to 8 bits.
        let far = frozen.y.iter().zip(&trained.y).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < if ty.is_quantized() { 0.5 } else { 1e-4 }, "{}: {far}", ty.name());
    }
}

/// A whole model of halves, frozen but for its norms.
#[test]
fn frozen_models_train_what_is_not() {
    for name in ["llama-f16.gguf", "llama-bf16.gguf"] {
        let lens = [6, 2];
        let vectors = |p: &Param| matches!(p, Param::Vector(_));
        let [frozen, free] = [false, true].map(|all| {
            let mut lesson = Lesson::new(2, Isa::detect(), file(name), |p| all || vectors(p));
            let (given, mut room) = (Given::new(&lesson.graph, &lens), lesson.room(&lens));
            lesson.pass(&given.input(), &mut room, |y, d| d.copy_from_slice(&upstream(y.len())));
            lesson
        });
        let mut n = 0;
        for i in (0..free.trained.list().len()).filter(|&i| vectors(&free.trained.list()[i].param)) {
            let (a, b) = (frozen.grad(n), free.grad(i));
            let size = b.iter().fold(0f32, |m, v| m.max(v.abs()));
            assert!(
                size > 0.0 && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * (1.0 + size)),
                "{name}, vector {n}"
            );
            n += 1;
        }
        assert_eq!(n, frozen.trained.list().len());
    }
}

#[test]
fn dropout_drops_its_share_and_draws_anew_for_each_pass() {
    let build = || {
        hand(|b| {
            b.rows(50).unwrap();
            assert_eq!(b.dropout(1.0).unwrap_err().code(), qorus::Code::InvalidArgument);
            b.dropout(0.25).unwrap()
        })
    };
    let (lens, x) = ([400u32], vec![1.0; 20_000]);
    let mut seen: Vec<Vec<f32>> = Vec::new();
    for (threads, pass) in [(1, 1), (3, 1), (1, 2)] {
        let mut lesson = Lesson::new(threads, Isa::detect(), build(), |_| true);
        lesson.mode.noise.pass = pass;
        let mut room = lesson.room(&lens);
        lesson.pass(&Input { tokens: &[], x: &x, lens: &lens }, &mut room, |_, d| d.fill(1.0));
        let dropped = room.y.iter().filter(|y| **y == 0.0).count();
        assert!((4750..5250).contains(&dropped), "{dropped} of 20000");
        assert!(room.y.iter().all(|y| *y == 0.0 || *y == 1.0 / 0.75));
        seen.push(room.y);
    }
    assert!(seen[0] == seen[1] && seen[0] != seen[2]);
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let (graph, store) = file("llama.gguf");
    let kernels = Kernels::new(Isa::Scalar).unwrap();
    let trained = qorus::layers::trained::Trained::new(&graph.layers, &store, |_| true).unwrap();
    let mut short = vec![0.0; trained.len() - 1];
    assert_eq!(trained.load(&store, &kernels, &mut short).unwrap_err().code(), qorus::Code::Shape);
    assert!(qorus::layers::trained::Values::new(&trained, &short).is_err());
    assert!(qorus::layers::grads::Grads::new(&trained, &mut short).is_err());
}
