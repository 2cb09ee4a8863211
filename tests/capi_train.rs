//! Losses, clipping and optimizers of the C ABI: PyTorch's values, the same bits as the Rust interface, any number of threads.

#[path = "common/abi.rs"]
mod abi;
mod golden;
#[path = "common/run.rs"]
mod run;

use abi::{Host, floats, floats_mut, ints, ok};
use golden::{Golden, near, wide, within};
use qorus::Isa;
use qorus::ffi::error::q_error_code;
use qorus::ffi::train::clip::q_grad_clip_norm;
use qorus::ffi::train::loss::*;
use qorus::ffi::train::optimizer::params::*;
use qorus::ffi::train::optimizer::state::*;
use qorus::ffi::train::optimizer::*;
use qorus::tensor::Tensor;
use std::ptr::{null, null_mut};

type Value = unsafe extern "C" fn(*const Tensor, *const Tensor, *mut f32) -> q_error_code;
type Gradient = unsafe extern "C" fn(*const Tensor, *const Tensor, *mut Tensor) -> q_error_code;

/// The loss and its gradient by one pair of the promised functions; None where the CPU lacks their level.
fn both((value, gradient): (Value, Gradient), p: &Tensor, t: &Tensor) -> Option<(f32, Vec<f32>)> {
    let n = p.dims().iter().product::<u64>() as usize;
    let dims: Vec<usize> = p.dims().iter().map(|d| *d as usize).collect();
    let (mut loss, mut g) = (f32::NAN, vec![f32::NAN; n]);
    let mut gt = floats_mut(&mut g, &dims);
    // SAFETY: tensors over living memory.
    unsafe {
        match value(p, t, &mut loss) {
            q_error_code::Q_ERR_ISA if !Isa::Avx2.available() => return None,
            code => ok(code),
        }
        ok(gradient(p, t, &mut gt));
    }
    Some((loss, g))
}

const SQUARES: [(Value, Gradient); 2] = [(q_loss_mse, q_loss_mse_grad), (q_loss_mse_avx2, q_loss_mse_grad_avx2)];
const ENTROPIES: [(Value, Gradient); 2] =
    [(q_loss_crossentropy, q_loss_crossentropy_grad), (q_loss_crossentropy_avx2, q_loss_crossentropy_grad_avx2)];

#[test]
fn golden_losses_of_the_abi() {
    let file = Golden::open("ops");
    for functions in SQUARES {
        let (x, t) = (file.f32("mse_mean/in/x"), file.f32("mse_mean/in/t"));
        let dims = file.shape("mse_mean/in/x");
        let Some((loss, g)) = both(functions, &floats(&x, &dims), &floats(&t, &dims)) else { continue };
        within("mse loss", &[loss.into()], &file.f64("mse_mean/f64/loss"), 1e-5, 1e-5);
        near("mse gradient", &g, &file.f64("mse_mean/f64/grad_x"));
    }
    for functions in ENTROPIES {
        for case in ["ce_mean", "ce_ignore", "ce_extreme"] {
            let (x, dims) = (file.f32(&format!("{case}/in/logits")), file.shape(&format!("{case}/in/logits")));
            let targets: Vec<i32> = file.ints(&format!("{case}/in/target")).iter().map(|t| *t as i32).collect();
            let (logits, classes) = (floats(&x, &dims), ints(&targets, &dims[..1]));
            let Some((loss, g)) = both(functions, &logits, &classes) else { continue };
            within(case, &[loss.into()], &file.f64(&format!("{case}/f64/loss")), 1e-5, 1e-5);
            near(case, &g, &file.f64(&format!("{case}/f64/grad_logits")));
            // The same as distributions, in a batch of more dimensions.
            if case != "ce_ignore" {
                let mut shares = vec![0.0; x.len()];
                targets.iter().enumerate().for_each(|(row, t)| shares[row * dims[1] + *t as usize] = 1.0);
                let dims = [1, dims[0], dims[1]];
                let (loss2, g2) = both(functions, &floats(&x, &dims), &floats(&shares, &dims)).unwrap();
                within(case, &[loss2.into()], &[loss.into()], 1e-6, 1e-6);
                near(case, &g2, &wide(&g));
            }
        }
    }
}

/// What one call gives with options.
fn computed(params: &q_loss_params, p: &Tensor, t: &Tensor, g: *mut Tensor) -> q_loss_result {
    // SAFETY: results are numbers; tensors over living memory.
    unsafe {
        let mut result = std::mem::zeroed::<q_loss_result>();
        ok(q_loss_compute(params, p, t, g, &mut result, size_of::<q_loss_result>()));
        result
    }
}

fn defaults() -> q_loss_params {
    // SAFETY: the call fills it.
    unsafe {
        let mut p = std::mem::zeroed::<q_loss_params>();
        ok(q_loss_params_init(&mut p, size_of_val(&p)));
        p
    }
}

#[test]
fn golden_losses_with_options() {
    let file = Golden::open("ops");
    for isa in run::levels() {
        let host = Host::new(2, isa);
        for case in ["ce_mean", "ce_ignore", "ce_sum", "ce_smooth", "mse_sum"] {
            let input = if case == "mse_sum" { "x" } else { "logits" };
            let (x, dims) = (file.f32(&format!("{case}/in/{input}")), file.shape(&format!("{case}/in/{input}")));
            let mut p = defaults();
            p.runtime = host.runtime;
            p.label_smoothing = if case == "ce_smooth" { 0.1 } else { 0.0 };
            p.reduction = case.ends_with("sum").into();
            let mut g = vec![f32::NAN; x.len()];
            let mut gt = floats_mut(&mut g, &dims);
            let result = if case == "mse_sum" {
                p.r#type = q_loss_type::Q_LOSS_MSE as u32;
                let t = file.f32("mse_sum/in/t");
                computed(&p, &floats(&x, &dims), &floats(&t, &dims), &mut gt)
            } else {
                let targets: Vec<i32> = file.ints(&format!("{case}/in/target")).iter().map(|t| *t as i32).collect();
                let result = computed(&p, &floats(&x, &dims), &ints(&targets, &dims[..1]), &mut gt);
                assert_eq!(result.counted, targets.iter().filter(|t| **t >= 0).count() as u64);
                result
            };
            within(case, &[result.loss], &file.f64(&format!("{case}/f64/loss")), 1e-5, 1e-5);
            near(case, &g, &file.f64(&format!("{case}/f64/grad_{input}")));
        }
    }
}

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

/// More rows than are computed together, and more elements than a partial sum has.
#[test]
fn losses_have_the_same_bits_on_any_threads() {
    let (rows, classes) = (2500, 37);
    let x = random(1, 5.0, rows * classes);
    let targets: Vec<i32> = (0..rows as i32).map(|row| if row % 7 == 0 { -100 } else { row % 37 }).collect();
    let other = random(2, 5.0, rows * classes);
    let dims = [rows, classes];
    let run = |squares: bool, host: Option<&Host>| {
        let mut p = defaults();
        p.runtime = host.map_or(null(), |h| h.runtime.cast_const());
        p.r#type = if squares { 0 } else { 1 };
        let mut g = vec![f32::NAN; x.len()];
        let t = if squares { floats(&other, &dims) } else { ints(&targets, &dims[..1]) };
        let result = computed(&p, &floats(&x, &dims), &t, &mut floats_mut(&mut g, &dims));
        (result.loss.to_bits(), g)
    };
    for squares in [false, true] {
        let first = run(squares, None);
        for threads in [1, 2, 3] {
            assert!(run(squares, Some(&Host::new(threads, Isa::detect()))) == first, "{threads} threads");
        }
    }
    // Nothing to lose: no row, or none that counts.
    let t = ints(&[-100; 3], &[3]);
    let (loss, g) = both(ENTROPIES[0], &floats(&x[..6], &[3, 2]), &t).unwrap();
    assert_eq!((loss, g), (0.0, vec![0.0; 6]));
    let (loss, g) = both(ENTROPIES[0], &floats(&[], &[0, 2]), &ints(&[], &[0])).unwrap();
    assert_eq!((loss, g), (0.0, vec![]));
}

/// The optimizer that a case was made with.
fn optimizer(host: &Host, case: &str, meta: &serde_json::Value) -> *mut q_optimizer {
    let number = |key: &str, default: f64| meta.get(key).and_then(serde_json::Value::as_f64).unwrap_or(default);
    let beta = |i: usize, default| meta["betas"].get(i).and_then(serde_json::Value::as_f64).unwrap_or(default);
    let mut out = null_mut();
    // SAFETY: arguments as the header asks for.
    unsafe {
        // Those that the promised functions can make, by these.
        let (rate, decay) = (number("lr", 0.0) as f32, number("weight_decay", 0.0) as f32);
        let (beta1, beta2, eps) = (beta(0, 0.9) as f32, beta(1, 0.999) as f32, number("eps", 1e-8) as f32);
        out = match case {
            "sgd" if decay == 0.0 => q_optimizer_create(q_optimizer_type::Q_OPTIM_SGD as u32, rate, host.context),
            "adam" if (beta1, beta2, decay) == (0.9, 0.999, 0.0) => {
                q_optimizer_create(q_optimizer_type::Q_OPTIM_ADAM as u32, rate, host.context)
            }
            "adamw" | "adamw_nowd" => q_optimizer_adam_create(rate, beta1, beta2, eps, decay, 0.0, host.context),
            _ => {
                let mut p = std::mem::zeroed::<q_optimizer_params>();
                ok(q_optimizer_params_init(&mut p, size_of_val(&p)));
                p.r#type = if case.starts_with("sgd") { 0 } else { 1 };
                (p.learning_rate, p.weight_decay) = (number("lr", 0.0), number("weight_decay", 0.0));
                (p.beta1, p.beta2, p.epsilon) = (beta(0, 0.9), beta(1, 0.999), number("eps", 1e-8));
                (p.momentum, p.nesterov) = (number("momentum", 0.0), u32::from(meta["nesterov"] == true));
                ok(q_optimizer_create_with(host.context, &p, &mut out));
                out
            }
        };
    }
    assert!(!out.is_null(), "{}", abi::message());
    out
}

#[test]
fn golden_trajectories_of_the_abi() {
    let file = Golden::open("optim");
    for isa in run::levels() {
        let host = Host::new(2, isa);
        for case in ["adamw", "adamw_nowd", "adam", "adam_l2", "sgd", "sgd_momentum", "sgd_nesterov"] {
            let optimizer = optimizer(&host, case, &file.meta(case));
            let mut found = [vec![], vec![]];
            let names = ["w", "b"];
            let mut weights = names.map(|name| file.f32(&format!("opt/in/{name}0")));
            let shapes = names.map(|name| file.shape(&format!("opt/in/{name}0")));
            let gradients = names.map(|name| file.f32(&format!("opt/in/grads_{name}")));
            for step in 0..20 {
                for i in 0..2 {
                    let n = weights[i].len();
                    let g = floats(&gradients[i][step * n..][..n], &shapes[i]);
                    let mut w = floats_mut(&mut weights[i], &shapes[i]);
                    // SAFETY: tensors over living memory.
                    ok(unsafe { q_optimizer_step(optimizer, &mut w, &g) });
                    found[i].extend(wide(&weights[i]));
                }
            }
            for i in 0..2 {
                let what = format!("{case} {} {}", names[i], isa.name());
                within(&what, &found[i], &file.f64(&format!("{case}/f64/traj_{}", names[i])), 5e-6, 0.0);
                let (mut first, mut second) = (vec![0.0; weights[i].len()], vec![0.0; weights[i].len()]);
                let (mut ft, mut st) = (floats_mut(&mut first, &shapes[i]), floats_mut(&mut second, &shapes[i]));
                let (keys, w) = (["exp_avg", "exp_avg_sq", "momentum_buffer"], floats_mut(&mut weights[i], &shapes[i]));
                for (key, number) in keys.iter().zip([0, 1, 0]) {
                    let key = format!("{case}/f64/state_{key}_{}", names[i]);
                    if file.has(&key) {
                        let squares: *mut Tensor = if case.starts_with("sgd") { null_mut() } else { &mut st };
                        let mut step = 0;
                        // SAFETY: tensors over living memory.
                        unsafe {
                            ok(q_optimizer_get_moments(optimizer, &w, &mut ft, squares));
                            ok(q_optimizer_get_step(optimizer, &w, &mut step));
                        }
                        assert_eq!(step, 20);
                        within(&key, &wide([&first, &second][number]), &file.f64(&key), 5e-6, 0.0);
                    }
                }
            }
            // SAFETY: a handle of this test.
            unsafe { q_optimizer_free(optimizer) };
        }
    }
}

/// Moments and steps that are read back and set make another optimizer go on to the same bits.
#[test]
fn an_optimizer_goes_on_where_another_was() {
    let host = Host::new(2, Isa::detect());
    for bits in [32, 8] {
        let start = random(1, 1.0, 3000);
        // SAFETY: numbers, filled below.
        let mut p = unsafe { std::mem::zeroed::<q_optimizer_params>() };
        let make = |p: &q_optimizer_params| {
            let mut out = null_mut();
            // SAFETY: arguments as the header asks for.
            ok(unsafe { q_optimizer_create_with(host.context, p, &mut out) });
            out
        };
        let steps = |optimizer: *mut q_optimizer, w: &mut [f32], from: u32, to: u32| {
            for step in from..to {
                let g = random(9 + step, 0.1, w.len());
                let (mut wt, gt) = (floats_mut(w, &[g.len()]), floats(&g, &[g.len()]));
                // SAFETY: tensors over living memory.
                ok(unsafe { q_optimizer_step(optimizer, &mut wt, &gt) });
            }
        };
        // SAFETY: arguments as the header asks for.
        unsafe {
            ok(q_optimizer_params_init(&mut p, size_of_val(&p)));
            (p.moment_bits, p.weight_decay, p.l1_regularization) = (bits, 0.1, 1e-4);
            let (one, two) = (make(&p), make(&p));
            let mut w = start.clone();
            steps(one, &mut w, 0, 4);
            let mut copy = w.clone();
            let (mut m, mut v, mut taken) = (vec![0.0; w.len()], vec![0.0; w.len()], 0);
            let (mut mt, mut vt) = (floats_mut(&mut m, &[3000]), floats_mut(&mut v, &[3000]));
            let wt = floats_mut(&mut w, &[3000]);
            ok(q_optimizer_get_moments(one, &wt, &mut mt, &mut vt));
            ok(q_optimizer_get_step(one, &wt, &mut taken));
            assert!(taken == 4 && m.iter().all(|x| x.is_finite()) && v.iter().any(|x| *x > 0.0));
            let ct = floats_mut(&mut copy, &[3000]);
            ok(q_optimizer_bind(two, &ct, null(), 1, 0));
            ok(q_optimizer_set_moments(two, &ct, &mt, &vt));
            ok(q_optimizer_set_step(two, &ct, taken));
            steps(one, &mut w, 4, 8);
            steps(two, &mut copy, 4, 8);
            match bits {
                // The greatest of a block may have no code of its own, and is a little less the second time.
                8 => drop(within("8 bits", &wide(&copy), &wide(&w), 2e-4, 0.0)),
                _ => assert_eq!(w, copy),
            }
            assert_ne!(w, start);
            q_optimizer_free(one);
            q_optimizer_free(two);
        }
    }
}

#[test]
fn golden_clipping_of_the_abi() {
    let file = Golden::open("optim");
    let host = Host::new(2, Isa::detect());
    for runtime in [null(), host.runtime.cast_const()] {
        for case in ["clip_active", "clip_inactive"] {
            let limit = file.meta(case)["max_norm"].as_f64().unwrap() as f32;
            let mut gradients: Vec<Vec<f32>> = (0..3).map(|i| file.f32(&format!("{case}/in/g{i}"))).collect();
            let tensors: Vec<Tensor> = gradients
                .iter_mut()
                .map(|g| {
                    let n = g.len();
                    floats_mut(g, &[n])
                })
                .collect();
            let mut norm = 0.0;
            // SAFETY: tensors over living memory.
            ok(unsafe { q_grad_clip_norm(runtime, tensors.as_ptr(), 3, limit, &mut norm) });
            within(case, &[norm.into()], &file.f64(&format!("{case}/f64/total_norm")), 1e-5, 1e-5);
            for (i, g) in gradients.iter().enumerate() {
                near(case, g, &file.f64(&format!("{case}/f64/g{i}")));
            }
        }
    }
}
