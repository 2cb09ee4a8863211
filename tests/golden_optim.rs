//! Optimizers, schedules and clipping against PyTorch's trajectories.

#[path = "common/exec.rs"]
mod exec;
mod golden;
#[path = "common/run.rs"]
mod run;

use exec::Bench;
use golden::{Golden, near, wide, within};
use qorus::memory::Need;
use qorus::train::clip::{self, Clip};
use qorus::train::optim::{Betas, Group, Method, Optimizer, Outcome};
use qorus::train::schedule::{Fall, Schedule};
use qorus::train::slots::Slots;
use serde_json::Value;

/// What the README allows trajectories of 20 steps.
const TRAJECTORY: f64 = 5e-6;

fn number(meta: &Value, key: &str, default: f64) -> f64 {
    meta.get(key).and_then(Value::as_f64).unwrap_or(default)
}

/// The method a case was made with, its learning rate and its decay.
fn method(case: &str, meta: &Value) -> (Method, f64, f64) {
    let beta = |i: usize, default| meta["betas"].get(i).and_then(Value::as_f64).unwrap_or(default);
    let betas = Betas { beta1: beta(0, 0.9), beta2: beta(1, 0.999), eps: number(meta, "eps", 1e-8) };
    let method = match case.split('_').next().unwrap() {
        "adamw" => Method::AdamW(betas),
        "adam" => Method::Adam(betas),
        "sgd" => Method::Sgd { momentum: number(meta, "momentum", 0.0), nesterov: meta["nesterov"] == true },
        other => panic!("{other} is no method"),
    };
    (method, meta["lr"].as_f64().unwrap(), number(meta, "weight_decay", 0.0))
}

#[test]
fn golden_trajectories() {
    let file = Golden::open("optim");
    let names = ["w", "b"];
    for isa in run::levels() {
        let bench = Bench::new(2, isa);
        for case in ["adamw", "adamw_nowd", "adam", "adam_l2", "sgd", "sgd_momentum", "sgd_nesterov"] {
            let (method, rate, decay) = method(case, &file.meta(case));
            let start = names.map(|name| file.f32(&format!("opt/in/{name}0")));
            let gradients = names.map(|name| file.f32(&format!("opt/in/grads_{name}")));
            let mut params = Slots::default();
            for (name, start) in names.iter().zip(&start) {
                params.add(name, start.len(), 0).unwrap();
            }
            let ranges: Vec<_> = params.list().iter().map(|p| p.range.clone()).collect();
            let (elements, need) = (params.elements(), Optimizer::step_need(&params));
            let group = Group { decay, ..Group::default() };
            let mut optimizer = Optimizer::new(method, &[group], params).unwrap();
            let (mut w, mut g) = (vec![0.0; elements], vec![0.0; elements]);
            for (range, start) in ranges.iter().zip(&start) {
                w[range.clone()].copy_from_slice(start);
            }
            let mut found = [vec![], vec![]];
            for step in 0..20 {
                for ((range, all), start) in ranges.iter().zip(&gradients).zip(&start) {
                    g[range.clone()].copy_from_slice(&all[step * start.len()..][..start.len()]);
                }
                let outcome = bench.run(need, |exec, frame| {
                    optimizer.step(exec, frame, (&mut w, &mut g), (rate, 1.0, Clip::None)).unwrap()
                });
                assert!(matches!(outcome, Outcome::Taken { .. }));
                assert!(g.iter().all(|g| *g == 0.0), "gradients are zeroed");
                for (range, found) in ranges.iter().zip(&mut found) {
                    found.extend(wide(&w[range.clone()]));
                }
            }
            for (name, found) in names.iter().zip(&found) {
                let what = format!("{case} {name} {}", isa.name());
                within(&what, found, &file.f64(&format!("{case}/f64/traj_{name}")), TRAJECTORY, 0.0);
            }
            // The state begins with the first moments, then the second, in the order of the tensors.
            let state: Vec<f32> = optimizer.state().as_chunks().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
            for (at, moment) in [(0, "exp_avg"), (elements, "exp_avg_sq"), (0, "momentum_buffer")] {
                for (name, range) in names.iter().zip(&ranges) {
                    let key = format!("{case}/f64/state_{moment}_{name}");
                    if file.has(&key) {
                        let found = wide(&state[at + range.start..at + range.end]);
                        within(&format!("{key} {}", isa.name()), &found, &file.f64(&key), TRAJECTORY, 0.0);
                    }
                }
            }
            assert_eq!(optimizer.taken(), [20, 20]);
            assert_eq!(optimizer.high_water(), Optimizer::need(&method, optimizer.slots()).peak());
        }
    }
}

/// Tensors one at a time, from gradients that are only read, go the same way to the bit.
#[test]
fn golden_trajectories_one_tensor_at_a_time() {
    let file = Golden::open("optim");
    let (start, gradients) = (file.f32("opt/in/w0"), file.f32("opt/in/grads_w"));
    let bench = Bench::new(2, qorus::Isa::detect());
    let (method, rate, decay) = method("adamw", &file.meta("adamw"));
    let make = || {
        let mut params = Slots::default();
        params.add("w", start.len(), 0).unwrap();
        Optimizer::new(method, &[Group { decay, ..Group::default() }], params).unwrap()
    };
    let (mut one, mut all) = (make(), make());
    let (mut w, mut flat) = (start.clone(), vec![0.0; all.slots().elements()]);
    flat[..start.len()].copy_from_slice(&start);
    for g in gradients.chunks(start.len()) {
        let mut flat_g = vec![0.0; flat.len()];
        flat_g[..g.len()].copy_from_slice(g);
        bench.run(Need::new(), |exec, _| {
            one.update_one(exec, 0, (&mut w, g), rate, (1.0, f64::INFINITY)).unwrap();
            all.update(exec, &mut flat, &mut flat_g, rate, (1.0, f64::INFINITY)).unwrap();
        });
    }
    assert_eq!(w, flat[..w.len()]);
    let expected = file.f64("adamw/f64/traj_w");
    within("adamw w", &wide(&w), &expected[expected.len() - w.len()..], TRAJECTORY, 0.0);
}

#[test]
fn golden_schedules() {
    let file = Golden::open("optim");
    let meta = file.meta("sched");
    let (rate, least) = (meta["lr"].as_f64().unwrap(), meta["min_lr"].as_f64().unwrap());
    let (total, warmup) = (meta["total"].as_u64().unwrap(), meta["warmup"].as_u64().unwrap());
    let cases = [
        ("cosine_warmup_minlr", Fall::Cosine, least, false),
        ("hf_cosine_with_warmup", Fall::Cosine, 0.0, true),
        ("hf_linear_with_warmup", Fall::Linear, 0.0, true),
        ("constant_with_warmup", Fall::Constant, 0.0, true),
    ];
    for (case, fall, floor, from_zero) in cases {
        let schedule = Schedule { rate, floor, warmup, total, fall, from_zero };
        schedule.check().unwrap();
        let found: Vec<f64> = (0..total).map(|i| schedule.at(i)).collect();
        within(case, &found, &file.f64(&format!("sched/{case}")), 1e-12, 0.0);
    }
}

#[test]
fn golden_clipping() {
    let file = Golden::open("optim");
    for isa in run::levels() {
        let bench = Bench::new(2, isa);
        for case in ["clip_active", "clip_inactive"] {
            let limit = file.meta(case)["max_norm"].as_f64().unwrap();
            let mut params = Slots::default();
            let gradients: Vec<Vec<f32>> = (0..3).map(|i| file.f32(&format!("{case}/in/g{i}"))).collect();
            for g in &gradients {
                params.add("g", g.len(), 0).unwrap();
            }
            let mut flat = vec![0.0; params.elements()];
            for (param, g) in params.list().iter().zip(&gradients) {
                flat[param.range.clone()].copy_from_slice(g);
            }
            let norm = bench.run(clip::need(&params), |exec, frame| {
                let norm = clip::norm(exec, frame, &params, &flat).unwrap().unwrap();
                clip::apply(exec, &params, &mut flat, Clip::Norm(limit).bounds(norm)).unwrap();
                norm
            });
            let what = format!("{case} {}", isa.name());
            within(&format!("{what} norm"), &[norm], &file.f64(&format!("{case}/f64/total_norm")), 1e-5, 1e-5);
            for (i, param) in params.list().iter().enumerate() {
                near(&format!("{what} g{i}"), &flat[param.range.clone()], &file.f64(&format!("{case}/f64/g{i}")));
            }
            assert_eq!(case == "clip_inactive", flat[..gradients[0].len()] == gradients[0], "{what}");
        }
    }
}
