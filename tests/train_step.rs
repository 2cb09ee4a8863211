//! A step of training: threads change no bit, bad numbers are named, options do what they say.

#[path = "common/exec.rs"]
mod exec;
#[path = "common/tensors.rs"]
mod tensors;

use exec::Bench;
use qorus::memory::{Need, Region};
use qorus::train::clip::{self, Clip};
use qorus::train::loss::{Reduction, mse, mse_grad, mse_need};
use qorus::train::optim::{Betas, Group, Method, Optimizer, Outcome};
use qorus::train::slots::{CHUNK, Slots};
use qorus::{Code, Isa};
use tensors::{methods, params, random};

/// Weights after some steps, and the norms on the way.
fn run(bench: &Bench, method: Method, steps: u32) -> (Vec<f32>, Vec<u8>, Vec<f64>) {
    let mut optimizer = Optimizer::new(method, &Group::pair(0.1), params()).unwrap();
    let n = optimizer.slots().elements();
    let (mut w, mut g, mut norms) = (random(1, 1.0, n), vec![0.0; n], Vec::new());
    for step in 0..steps {
        let new = random(2 + step, 0.1, n);
        for param in optimizer.slots().list() {
            g[param.range.clone()].copy_from_slice(&new[param.range.clone()]);
        }
        let outcome = bench.run(Optimizer::step_need(optimizer.slots()), |exec, frame| {
            optimizer.step(exec, frame, (&mut w, &mut g), (1e-2, 1.0, Clip::Norm(1.0))).unwrap()
        });
        let Outcome::Taken { norm } = outcome else { panic!("{outcome:?}") };
        norms.push(norm);
    }
    (w, optimizer.state().to_vec(), norms)
}

#[test]
fn threads_and_levels_change_no_bit() {
    for method in methods() {
        let first = run(&Bench::new(1, Isa::Scalar), method, 3);
        for (threads, isa) in [(1, Isa::detect()), (2, Isa::detect()), (3, Isa::detect()), (3, Isa::Scalar)] {
            assert!(
                run(&Bench::new(threads, isa), method, 3) == first,
                "{method:?}, {threads} threads, {}",
                isa.name()
            );
        }
    }
}

#[test]
fn the_first_bad_gradient_is_named_and_nothing_changes() {
    let bench = Bench::new(2, Isa::detect());
    let mut optimizer = Optimizer::new(methods()[4], &Group::pair(0.1), params()).unwrap();
    let n = optimizer.slots().elements();
    let (w, at) = (random(1, 1.0, n), optimizer.slots().list()[2].range.start + CHUNK + 5);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut g = random(2, 1.0, n);
        (g[at], g[n - 300]) = (bad, f32::NAN);
        let (mut w2, mut g2) = (w.clone(), g.clone());
        let outcome = bench.run(Optimizer::step_need(optimizer.slots()), |exec, frame| {
            optimizer.step(exec, frame, (&mut w2, &mut g2), (1e-2, 1.0, Clip::Norm(1.0))).unwrap()
        });
        let Outcome::Faulty(fault) = outcome else { panic!("{outcome:?}") };
        assert_eq!((fault.param, fault.element), (2, CHUNK + 5));
        let text = format!("the gradient of up is {bad} at element {}", CHUNK + 5);
        assert_eq!(fault.describe(optimizer.slots()), text);
        assert_eq!((w2, optimizer.taken()), (w.clone(), &[0; 5][..]));
        assert!(g2.iter().zip(&g).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
    // Too large to be squared in f32, and yet a number.
    let mut g = vec![0.0; n];
    (g[0], g[1]) = (3e30, 4e30);
    let norm = bench.run(clip::need(optimizer.slots()), |exec, frame| {
        clip::norm(exec, frame, optimizer.slots(), &g).unwrap().unwrap()
    });
    assert!((norm / 5e30 - 1.0).abs() < 1e-6, "{norm}");
}

#[test]
fn numbers_out_of_range_are_refused() {
    let bench = Bench::new(1, Isa::detect());
    let betas = Betas::default();
    for method in [
        Method::Sgd { momentum: f64::NAN, nesterov: false },
        Method::Sgd { momentum: 1.0, nesterov: false },
        Method::Sgd { momentum: 0.0, nesterov: true },
        Method::Adam(Betas { beta1: 1.0, ..betas }),
        Method::AdamW(Betas { beta2: -0.1, ..betas }),
        Method::AdamW8(Betas { eps: 0.0, ..betas }),
        Method::AdamW(Betas { eps: f64::NAN, ..betas }),
    ] {
        let error = Optimizer::new(method, &Group::pair(0.1), params()).err().expect("it was accepted");
        assert_eq!(error.code(), Code::InvalidArgument, "{method:?}");
    }
    for group in [
        Group { decay: f64::NAN, ..Group::default() },
        Group { l1: -1.0, ..Group::default() },
        Group { rate: f64::INFINITY, ..Group::default() },
    ] {
        assert!(Optimizer::new(methods()[0], &[group; 2], params()).is_err(), "{group:?}");
    }
    let error = Optimizer::new(methods()[0], &[Group::default()], params()).err().expect("there is no group 1");
    assert!(error.message().contains("norm is in group 1 of 1"), "{error}");
    let mut optimizer = Optimizer::new(methods()[4], &Group::pair(0.1), params()).unwrap();
    let n = optimizer.slots().elements();
    let (mut w, mut g) = (random(1, 1.0, n), random(2, 1.0, n));
    let before = (w.clone(), g.clone());
    let need = Optimizer::step_need(optimizer.slots());
    for (rate, scale, clip, word) in [
        (f64::NAN, 1.0, Clip::None, "learning rate is NaN"),
        (-1e-3, 1.0, Clip::None, "learning rate is -0.001"),
        (f64::INFINITY, 1.0, Clip::None, "learning rate is inf"),
        (1e-3, f64::NAN, Clip::None, "factor of the gradients is NaN"),
        (1e-3, 1.0, Clip::Norm(0.0), "limit of gradients is 0"),
        (1e-3, 1.0, Clip::Value(f64::NAN), "limit of gradients is NaN"),
    ] {
        let mut region = Region::new(need.peak()).unwrap();
        let error = bench
            .run_in(&mut region, |exec, frame| optimizer.step(exec, frame, (&mut w, &mut g), (rate, scale, clip)))
            .unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains(word), "{error}");
    }
    assert_eq!((&w, &g), (&before.0, &before.1));
    let error = bench.run(Need::new(), |exec, _| optimizer.update(exec, &mut w[1..], &mut g, 1e-3, (1.0, 1.0)));
    assert_eq!(error.unwrap_err().code(), Code::Shape);
    assert_eq!(optimizer.set_method(methods()[0]).unwrap_err().code(), Code::State);
    optimizer.set_method(Method::AdamW(Betas { beta1: 0.5, ..betas })).unwrap();
}

/// One step by hand, over the numbers that no trajectory of PyTorch has: the L1 penalty, limits, scale, groups.
#[test]
fn penalties_limits_and_groups_do_what_they_say() {
    let bench = Bench::new(1, Isa::detect());
    let mut list = Slots::default();
    list.add("w", 4, 0).unwrap();
    list.add("b", 4, 1).unwrap();
    let groups = [Group { rate: 2.0, decay: 0.5, l1: 0.25 }, Group::default()];
    let mut sgd = Optimizer::new(Method::Sgd { momentum: 0.0, nesterov: false }, &groups, list).unwrap();
    let (mut w, mut g) = (vec![0.0f32; 512], vec![0.0f32; 512]);
    for at in [0, 256] {
        w[at..at + 4].copy_from_slice(&[1.0, -1.0, 0.0, -0.0]);
        g[at..at + 4].copy_from_slice(&[8.0, -1.0, 0.5, 0.0]);
    }
    bench.run(clip::need(sgd.slots()), |exec, frame| {
        sgd.step(exec, frame, (&mut w, &mut g), (0.125, 0.5, Clip::Value(2.0))).unwrap();
    });
    // w: g = clamp(g / 2, 2) + w / 2 + sign(w) / 4, at twice the rate; b: g alone.
    assert_eq!(w[..4], [1.0 - 0.25 * 2.75, -1.0 + 0.25 * 1.25, -0.25 * 0.25, 0.0]);
    assert_eq!(w[256..260], [1.0 - 0.25, -1.0 + 0.0625, -0.03125, 0.0]);
    assert!(w[4..256].iter().chain(&w[260..]).all(|w| *w == 0.0), "what lies between tensors is left alone");
}

/// Half batches whose gradients are added make the step of the whole.
#[test]
fn accumulated_gradients_are_those_of_the_whole_batch() {
    let bench = Bench::new(2, Isa::detect());
    let n = params().elements();
    // Integers over powers of two: sums are exact, so that nothing hides behind a tolerance.
    let halves = [3, 4].map(|seed| random(seed, 8.0, n).iter().map(|x| x.round() / 4.0).collect::<Vec<f32>>());
    let step = |g: &mut [f32], scale| {
        let mut optimizer = Optimizer::new(methods()[4], &Group::pair(0.1), params()).unwrap();
        let mut w = random(1, 1.0, n);
        bench.run(Optimizer::step_need(optimizer.slots()), |exec, frame| {
            optimizer.step(exec, frame, (&mut w, g), (1e-2, scale, Clip::None)).unwrap()
        });
        w
    };
    let list = params();
    let inside = |i: usize| list.list().iter().any(|p| p.range.contains(&i));
    let mut whole: Vec<f32> = (0..n).map(|i| (halves[0][i] + halves[1][i]) / 2.0).collect();
    let mut sum = vec![0.0; n];
    bench.run(Need::new(), |exec, _| {
        halves.iter().for_each(|half| clip::accumulate(exec, &list, &mut sum, half).unwrap());
    });
    let (expected, found) = (step(&mut whole, 1.0), step(&mut sum, 0.5));
    assert!((0..n).filter(|i| inside(*i)).all(|i| expected[i] == found[i]));
}

/// With moments of 8 bits the loss in batches is at most 1 % above that of 32, also when the gradients that share a block differ a
/// thousandfold and their squares a millionfold.
#[test]
fn moments_of_eight_bits_learn_as_well() {
    for (decades, beta2) in [(0.0, 0.999), (1.0, 0.999), (3.0, 0.999), (0.0, 0.95), (1.0, 0.95), (3.0, 0.95)] {
        let betas = Betas { beta2, ..Betas::default() };
        let [full, eight] = [Method::AdamW(betas), Method::AdamW8(betas)].map(|method| regression(method, decades));
        println!("inputs over {decades} decades, beta2 {beta2}: loss {full} with moments of 32 bits, {eight} with 8");
        assert!(eight < 1.01 * full, "{full} with moments of 32 bits, {eight} with 8");
        assert_ne!(full, eight);
    }
}

/// The loss at the end of a linear regression whose inputs differ in size by so many decades.
fn regression(method: Method, decades: f32) -> f64 {
    let bench = Bench::new(1, Isa::detect());
    let (inputs, outputs, rows, batch, steps) = (64, 48, 256, 16, 600);
    // Targets have noise, so that there is a loss to end at.
    let x: Vec<f32> = random(1, 1.0, rows * inputs)
        .iter()
        .enumerate()
        .map(|(i, x)| x * 10f32.powf(-decades * (i % inputs) as f32 / inputs as f32))
        .collect();
    let truth = random(2, 1.0, outputs * inputs);
    let noise = random(3, 0.3, rows * outputs);
    let product = |w: &[f32]| -> Vec<f32> {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        (0..rows * outputs)
            .map(|i| dot(&x[i / outputs * inputs..][..inputs], &w[i % outputs * inputs..][..inputs]))
            .collect()
    };
    let targets: Vec<f32> = product(&truth).iter().zip(&noise).map(|(t, n)| t + n).collect();
    let mut list = Slots::default();
    list.add("w", outputs * inputs, 0).unwrap();
    let mut optimizer = Optimizer::new(method, &[Group::default()], list).unwrap();
    let mut w = random(4, 0.1, outputs * inputs);
    let mut losses = Vec::new();
    for step in 0..steps {
        let p = product(&w);
        let mut dp = vec![0.0; p.len()];
        let mut g = vec![0.0; w.len()];
        bench.run(mse_need(p.len()), |exec, frame| {
            losses.push(mse(exec, frame, &p, &targets, Reduction::Mean).unwrap());
            mse_grad(exec, &p, &targets, Reduction::Mean, &mut dp).unwrap();
        });
        let first = step * batch % rows * outputs;
        for (i, dp) in dp.iter().enumerate().skip(first).take(batch * outputs) {
            let (x, g) = (&x[i / outputs * inputs..][..inputs], &mut g[i % outputs * inputs..][..inputs]);
            g.iter_mut().zip(x).for_each(|(g, x)| *g += dp * x * (rows / batch) as f32);
        }
        bench.run(Optimizer::step_need(optimizer.slots()), |exec, frame| {
            optimizer.step(exec, frame, (&mut w, &mut g), (5e-3, 1.0, Clip::Norm(1.0))).unwrap()
        });
    }
    let last = losses[steps - 50..].iter().sum::<f64>() / 50.0;
    assert!(last < 0.5 * losses[0], "it learned: {} to {last}", losses[0]);
    last
}
