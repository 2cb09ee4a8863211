//! Losses and their gradients: PyTorch's values, finite differences in f64, the same bits however rows are shared out.

#[path = "common/exec.rs"]
mod exec;
mod golden;
#[path = "common/run.rs"]
mod run;

use exec::Bench;
use golden::{Golden, near, wide, within};
use qorus::kernels::loss::{Target, Weighting};
use qorus::kernels::scalar;
use qorus::train::loss::{CrossEntropy, Logits, Reduction, Targets, Total, mse, mse_grad, mse_need};
use qorus::{Code, Isa, Result};

/// Numbers between -limit and limit.
fn random(seed: u32, limit: f32, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * limit
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Loss and gradient, in place; the gradient to another slice and the loss alone must have the same bits.
fn all_ways(bench: &Bench, ce: &CrossEntropy, x: &[f32], targets: Targets, mean: bool) -> Result<(Total, Vec<f32>)> {
    let rows = x.len() / ce.classes;
    let count = ce.count(targets)?;
    let scale = if mean { 1.0 / count.weight } else { 1.0 };
    let run = |logits: Logits| {
        bench.run(CrossEntropy::need(rows), |exec, frame| {
            let mut total = Total::default();
            ce.rows(exec, frame, logits, targets, scale, &mut total).map(|()| total)
        })
    };
    let (mut in_place, mut apart) = (x.to_vec(), vec![f32::NAN; x.len()]);
    let total = run(Logits::InPlace(&mut in_place))?;
    assert_eq!(run(Logits::To(x, &mut apart))?, total);
    assert_eq!(run(Logits::Read(x))?, total);
    assert_eq!(in_place, apart);
    assert_eq!((total.rows, total.weight), (count.rows, count.weight));
    Ok((total, in_place))
}

#[test]
fn golden_squares() {
    let file = Golden::open("ops");
    for isa in run::levels() {
        let bench = Bench::new(2, isa);
        for (case, reduction) in [("mse_mean", Reduction::Mean), ("mse_sum", Reduction::Sum)] {
            let what = format!("{case} {}", isa.name());
            let (x, t) = (file.f32(&format!("{case}/in/x")), file.f32(&format!("{case}/in/t")));
            let (loss, g) = bench.run(mse_need(x.len()), |exec, frame| {
                let mut g = vec![f32::NAN; x.len()];
                mse_grad(exec, &x, &t, reduction, &mut g).unwrap();
                (mse(exec, frame, &x, &t, reduction).unwrap(), g)
            });
            within(&format!("{what} loss"), &[loss], &file.f64(&format!("{case}/f64/loss")), 1e-5, 1e-5);
            near(&format!("{what} gradient"), &g, &file.f64(&format!("{case}/f64/grad_x")));
            let g: Vec<f32> = g.iter().map(|g| -g).collect();
            near(&format!("{what} gradient of targets"), &g, &file.f64(&format!("{case}/f64/grad_t")));
        }
    }
}

#[test]
fn golden_cross_entropy() {
    let file = Golden::open("ops");
    for isa in run::levels() {
        let bench = Bench::new(2, isa);
        for case in ["ce_mean", "ce_ignore", "ce_sum", "ce_smooth", "ce_extreme"] {
            let what = format!("{case} {}", isa.name());
            let x = file.f32(&format!("{case}/in/logits"));
            let classes = file.shape(&format!("{case}/in/logits"))[1];
            let targets: Vec<i32> = file.ints(&format!("{case}/in/target")).iter().map(|t| *t as i32).collect();
            let smoothing = if case == "ce_smooth" { 0.1 } else { 0.0 };
            let ce = CrossEntropy { smoothing, ..CrossEntropy::new(classes) };
            let mean = case != "ce_sum";
            let (total, g) = all_ways(&bench, &ce, &x, Targets::Classes(&targets), mean).unwrap();
            let counted = targets.iter().filter(|t| **t != -100).count();
            assert_eq!(total.rows, counted);
            let loss = if mean { total.mean().unwrap() } else { total.loss };
            within(&format!("{what} loss"), &[loss], &file.f64(&format!("{case}/f64/loss")), 1e-5, 1e-5);
            near(&format!("{what} gradient"), &g, &file.f64(&format!("{case}/f64/grad_logits")));
            for (row, target) in targets.iter().enumerate().filter(|(_, t)| **t == -100) {
                assert!(g[row * classes..][..classes].iter().all(|g| *g == 0.0), "row {row}, target {target}");
            }
        }
    }
}

/// The scalar definitions in f64 are the reference of finite differences: they must be right themselves.
#[test]
fn golden_definitions_in_f64() {
    let file = Golden::open("ops");
    let (x, targets) = (file.f64("ce_smooth/in/logits"), file.ints("ce_smooth/in/target"));
    let classes = file.shape("ce_smooth/in/logits")[1];
    let weighting = Weighting { smoothing: 0.1, scale: 1.0 / targets.len() as f64 };
    let (mut loss, mut g) = (0.0, x.clone());
    for (row, target) in targets.iter().enumerate() {
        let logits = Logits::InPlace(&mut g[row * classes..][..classes]);
        loss += scalar::loss::cross_entropy(logits, Target::Class(*target as usize), &weighting).loss;
    }
    within("f64 loss", &[loss * weighting.scale], &file.f64("ce_smooth/f64/loss"), 1e-12, 0.0);
    within("f64 gradient", &g, &file.f64("ce_smooth/f64/grad_logits"), 1e-14, 0.0);
}

/// `(f(x + h) - f(x - h)) / 2h` for each element, whose error is about h^2 + 1e-16 / h.
fn differences(x: &[f32], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const H: f64 = 1e-5;
    let mut x = wide(x);
    (0..x.len())
        .map(|i| {
            let old = x[i];
            x[i] = old + H;
            let above = f(&x);
            x[i] = old - H;
            let below = f(&x);
            x[i] = old;
            (above - below) / (2.0 * H)
        })
        .collect()
}

/// Gradients of f32 round each factor once or twice: some units of the last place of the greatest.
const GRADIENT: (f64, f64) = (2e-9, 1e-6);

#[test]
fn squares_agree_with_finite_differences() {
    for isa in run::levels() {
        let bench = Bench::new(1, isa);
        for len in [1, 5, 16, 33, 130] {
            let (x, t) = (random(1, 3.0, len), random(2, 2.0, len));
            for (reduction, scale) in [(Reduction::Mean, 1.0 / len as f64), (Reduction::Sum, 1.0)] {
                let mut g = vec![f32::NAN; len];
                let done = bench.run(Default::default(), |exec, _| mse_grad(exec, &x, &t, reduction, &mut g));
                done.unwrap();
                let expected = differences(&x, |x| scalar::loss::mse(x, &wide(&t)) * scale);
                within(&format!("{len} squares"), &wide(&g), &expected, GRADIENT.0, GRADIENT.1);
            }
        }
    }
}

#[test]
fn cross_entropy_agrees_with_finite_differences() {
    for isa in run::levels() {
        let bench = Bench::new(1, isa);
        for (rows, classes) in [(1, 1), (3, 2), (2, 16), (4, 37), (2, 131)] {
            for (smoothing, as_distribution) in [(0.0, false), (0.2, false), (0.0, true), (0.3, true), (1.0, false)] {
                let x = random(3, 4.0, rows * classes);
                let classes_of: Vec<i32> = (0..rows).map(|row| (row * 7 % classes) as i32).collect();
                // Weights that do not add up to 1 are targets too.
                let weights: Vec<f32> = random(4, 1.0, rows * classes).iter().map(|w| w.abs()).collect();
                let targets =
                    if as_distribution { Targets::Distributions(&weights) } else { Targets::Classes(&classes_of) };
                let ce = CrossEntropy { smoothing, ..CrossEntropy::new(classes) };
                let (total, g) = all_ways(&bench, &ce, &x, targets, true).unwrap();
                let smoothing = f64::from(smoothing);
                let weights = wide(&weights);
                let reference = |x: &[f64]| {
                    let rows = x.chunks(classes).enumerate().map(|(row, x)| {
                        let target = match as_distribution {
                            true => Target::Distribution(&weights[row * classes..][..classes]),
                            false => Target::Class(classes_of[row] as usize),
                        };
                        scalar::loss::cross_entropy(Logits::Read(x), target, &Weighting { smoothing, scale: 1.0 }).loss
                    });
                    rows.sum::<f64>() / total.weight
                };
                let what = format!("{rows} x {classes}, smoothing {smoothing}, distribution {as_distribution}");
                within(&what, &[total.mean().unwrap()], &[reference(&wide(&x))], 1e-6, 1e-6);
                let scale = if as_distribution { classes as f64 } else { 1.0 };
                within(&what, &wide(&g), &differences(&x, reference), GRADIENT.0 * scale, GRADIENT.1 * scale);
            }
        }
    }
}

/// Rows of one class have no loss; rows whose logits are all alike lose the logarithm of the classes.
#[test]
fn cross_entropy_has_the_values_that_are_known() {
    let bench = Bench::new(1, Isa::detect());
    let one = CrossEntropy::new(1);
    let (total, g) = all_ways(&bench, &one, &[3.0, -8.0], Targets::Classes(&[0, 0]), true).unwrap();
    assert_eq!((total.loss, total.hits, g), (0.0, 2, vec![0.0, 0.0]));
    let (total, _) = all_ways(&bench, &CrossEntropy::new(50), &[1e4; 100], Targets::Classes(&[7, 49]), true).unwrap();
    assert!((total.mean().unwrap() - 50f64.ln()).abs() < 1e-6);
    // A class that cannot be has no probability and no gradient; as a target it costs everything.
    let x = [f32::NEG_INFINITY, 0.0, 1.0];
    let (total, g) = all_ways(&bench, &CrossEntropy::new(3), &x, Targets::Classes(&[2]), true).unwrap();
    assert!((total.loss - (1.0 + (-1f64).exp()).ln()).abs() < 1e-6);
    assert_eq!((g[0], total.hits), (0.0, 1));
    let (total, _) = all_ways(&bench, &CrossEntropy::new(3), &x, Targets::Classes(&[0]), true).unwrap();
    assert_eq!((total.loss, total.hits), (f64::INFINITY, 0));
    // Nothing counts: no mean, no gradient.
    let (total, g) = all_ways(&bench, &CrossEntropy::new(3), &x, Targets::Classes(&[-100]), false).unwrap();
    assert_eq!((total.mean(), g), (None, vec![0.0; 3]));
}

#[test]
fn weights_of_classes_multiply_their_rows() {
    let bench = Bench::new(2, Isa::detect());
    let (x, targets, weights) = (random(5, 2.0, 4 * 3), [0, 2, -100, 2], [3.0, 1.0, 0.5]);
    let plain = CrossEntropy::new(3);
    let weighted = CrossEntropy { weights: Some(&weights), ..plain };
    let (total, g) = all_ways(&bench, &weighted, &x, Targets::Classes(&targets), true).unwrap();
    assert_eq!((total.rows, total.weight), (3, 4.0));
    let mut loss = 0.0;
    for (row, target) in targets.iter().enumerate().filter(|(_, t)| **t >= 0) {
        let (alone, alone_g) =
            all_ways(&bench, &plain, &x[row * 3..][..3], Targets::Classes(&[*target]), false).unwrap();
        let weight = f64::from(weights[*target as usize]);
        loss += weight * alone.loss;
        let expected: Vec<f64> = alone_g.iter().map(|g| f64::from(*g) * weight / 4.0).collect();
        within("row", &wide(&g[row * 3..][..3]), &expected, 1e-7, 0.0);
    }
    assert!((total.mean().unwrap() - loss / 4.0).abs() < 1e-6);
}

/// Threads and slices of rows share the work out otherwise, and change no bit.
#[test]
fn losses_have_the_same_bits_on_any_threads_and_in_slices() {
    let (rows, classes) = (57, 501);
    let x = random(6, 9.0, rows * classes);
    let targets: Vec<i32> = (0..rows as i32).map(|row| if row % 9 == 0 { -100 } else { row * 13 % 501 }).collect();
    let ce = CrossEntropy { smoothing: 0.05, ..CrossEntropy::new(classes) };
    let t = random(7, 9.0, x.len());
    let mut first = None;
    for threads in [1, 2, 3] {
        let bench = Bench::new(threads, Isa::detect());
        let whole = all_ways(&bench, &ce, &x, Targets::Classes(&targets), true).unwrap();
        let squares = bench.run(mse_need(x.len()), |exec, frame| {
            let mut g = vec![0.0; x.len()];
            mse_grad(exec, &x, &t, Reduction::Mean, &mut g).unwrap();
            (mse(exec, frame, &x, &t, Reduction::Mean).unwrap(), g)
        });
        let (mut total, mut g) = (Total::default(), x.clone());
        let scale = 1.0 / ce.count(Targets::Classes(&targets)).unwrap().weight;
        for (g, targets) in g.chunks_mut(10 * classes).zip(targets.chunks(10)) {
            bench.run(CrossEntropy::need(targets.len()), |exec, frame| {
                let targets = Targets::Classes(targets);
                ce.rows(exec, frame, Logits::InPlace(g), targets, scale, &mut total).unwrap();
            });
        }
        assert_eq!((total, g), whole, "in slices");
        assert_eq!(*first.get_or_insert((whole.clone(), squares.clone())), (whole, squares), "{threads} threads");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let bench = Bench::new(1, Isa::detect());
    let x = [0.0; 6];
    let ce = CrossEntropy::new(3);
    let refused = |ce: &CrossEntropy, x: &[f32], targets: Targets, code: Code, word: &str| {
        let error = bench
            .run_in(&mut qorus::memory::Region::new(1 << 12).unwrap(), |exec, frame| {
                ce.rows(exec, frame, Logits::Read(x), targets, 1.0, &mut Total::default())
            })
            .unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains(word), "{error}");
    };
    refused(&ce, &x, Targets::Classes(&[0, 3]), Code::InvalidArgument, "row 1 has the target 3, there are 3 classes");
    refused(&ce, &x, Targets::Classes(&[-1, 0]), Code::InvalidArgument, "row 0 has the target -1");
    refused(&ce, &x, Targets::Classes(&[0]), Code::Shape, "6 logits");
    refused(&ce, &x, Targets::Distributions(&[0.0; 5]), Code::Shape, "5 weights");
    refused(&CrossEntropy::new(0), &[], Targets::Classes(&[]), Code::InvalidArgument, "no class");
    let smoothing = f32::NAN;
    refused(
        &CrossEntropy { smoothing, ..ce },
        &x,
        Targets::Classes(&[0, 0]),
        Code::InvalidArgument,
        "smoothing is NaN",
    );
    let weights = [1.0, f32::INFINITY, 1.0];
    let weighted = CrossEntropy { weights: Some(&weights), ..ce };
    refused(&weighted, &x, Targets::Classes(&[0, 0]), Code::InvalidArgument, "class 1 has the weight inf");
    let error = bench.run(Default::default(), |exec, frame| mse(exec, frame, &x, &x[1..], Reduction::Mean));
    assert_eq!(error.unwrap_err().code(), Code::Shape);
}
