//! DPO, KTO and distillation beside PyTorch's autograd (tests/goldens/preference.py).

#[path = "common/exec.rs"]
mod exec;

use exec::Bench;
use qorus::Isa;
use qorus::train::distill::{Distill, Top};
use qorus::train::loss::{CrossEntropy, IGNORED, Total};
use qorus::train::pass::Counted;
use qorus::train::preference::{Pair, Preference};
use serde_json::Value;

fn goldens() -> Value {
    let folder = std::env::var_os("QORUS_GOLDENS").filter(|folder| !folder.is_empty()).map(std::path::PathBuf::from);
    let beside = || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let path = folder
        .map(|f| f.join("preference.json"))
        .filter(|p| p.exists())
        .unwrap_or_else(|| beside().join("preference.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn number(v: &Value) -> f64 {
    v.as_f64().unwrap()
}

fn twos(v: &Value) -> Vec<[f64; 2]> {
    v.as_array().unwrap().iter().map(|v| [number(&v[0]), number(&v[1])]).collect()
}

fn flat(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap().iter().map(number)).collect()
}

#[test]
fn preferences_agree_with_autograd() {
    let goldens = goldens();
    for (name, loss) in [
        ("dpo", Preference::dpo()),
        ("cdpo", Preference::Dpo { beta: 0.5, smoothing: 0.1 }),
        ("kto", Preference::Kto { beta: 0.2, desirable: 1.0, undesirable: 1.3 }),
        ("kto_behind", Preference::Kto { beta: 0.2, desirable: 1.0, undesirable: 1.3 }),
    ] {
        let g = &goldens[name];
        let (policy, reference, wanted) = (twos(&g["policy"]), twos(&g["reference"]), twos(&g["grad"]));
        let pairs: Vec<Pair> = (0..policy.len())
            .map(|i| Pair { policy: policy[i], reference: reference[i], good: g["good"][i].as_bool().unwrap_or(true) })
            .collect();
        let mut gradients = vec![[0.0; 2]; pairs.len()];
        let total = loss.losses(&pairs, &mut gradients);
        assert!((total.loss - number(&g["loss"])).abs() < 1e-12, "{name}: {} {}", total.loss, g["loss"]);
        for (found, wanted) in gradients.iter().zip(&wanted) {
            assert!((0..2).all(|i| (found[i] - wanted[i]).abs() < 1e-13), "{name}: {found:?} {wanted:?}");
        }
        let rewards = g["rewards"].as_array().unwrap();
        assert!((0..2).all(|i| (total.rewards[i] - number(&rewards[i])).abs() < 1e-12), "{name}");
        if let Some(right) = g["right"].as_u64() {
            assert_eq!(total.right as u64, right, "{name}");
        }
        assert!(total.margin().is_some());
    }
}

#[test]
fn distillation_agrees_with_autograd() {
    let goldens = goldens();
    for name in ["distill", "distill_warm", "distill_off"] {
        let g = &goldens[name];
        let distill =
            Distill { temperature: number(&g["temperature"]) as f32, share: number(&g["share"]) as f32, top: 5 };
        distill.check().unwrap();
        let logits: Vec<f32> = flat(&g["logits"]).iter().map(|x| *x as f32).collect();
        let top: Vec<Top> = flat(&g["ids"])
            .iter()
            .zip(flat(&g["top"]))
            .map(|(id, logit)| Top { id: *id as u32, logit: logit as f32 })
            .collect();
        let targets: Vec<i32> = g["targets"].as_array().unwrap().iter().map(|t| t.as_i64().unwrap() as i32).collect();
        // Rows without a target stay out; their gradients are nothing.
        let n = logits.len() / targets.len();
        let is = |row: &u32| targets[*row as usize] != IGNORED;
        let (origins, others): (Vec<u32>, Vec<u32>) = (0..targets.len() as u32).partition(is);
        let of_rows = |all: &[f64], rows: &[u32]| -> Vec<f64> {
            rows.iter().flat_map(|&row| all[row as usize * n..][..n].to_vec()).collect()
        };
        let wanted = flat(&g["grad"]);
        assert!(!others.is_empty() && of_rows(&wanted, &others).iter().all(|g| *g == 0.0));
        let wanted = of_rows(&wanted, &origins);
        let logits: Vec<f32> = origins.iter().flat_map(|&row| logits[row as usize * n..][..n].to_vec()).collect();
        let targets: Vec<i32> = origins.iter().map(|row| targets[*row as usize]).collect();
        let rows = Counted { targets: &targets, origins: &origins };
        let mut bits = None;
        for threads in [1, 3] {
            let bench = Bench::new(threads, Isa::detect());
            let (mut x, mut apart, mut total) = (logits.clone(), vec![f32::NAN; logits.len()], Total::default());
            bench
                .run(CrossEntropy::need(targets.len()), |exec, frame| {
                    let scale = Some(1.0 / targets.len() as f64);
                    distill.rows(exec, frame, (&mut x, &mut apart), (rows, &top), scale, &mut total)
                })
                .unwrap();
            let loss = total.mean().unwrap();
            assert!((loss - number(&g["loss"])).abs() < 2e-5, "{name}: {loss} {}", g["loss"]);
            assert_eq!(total.rows, targets.len());
            for (found, wanted) in x.iter().zip(&wanted) {
                assert!((f64::from(*found) - wanted).abs() < 1e-6, "{name}: {found} {wanted}");
            }
            let now = (x, total);
            assert!(bits.replace(now.clone()).is_none_or(|before| before == now), "other bits on {threads} threads");
        }
    }
    for bad in [(0.0, 0.5, 4), (1.0, 1.5, 4), (1.0, 0.5, 0), (f32::NAN, 0.5, 4), (1.0, 0.5, 1000)] {
        assert!(Distill { temperature: bad.0, share: bad.1, top: bad.2 }.check().is_err(), "{bad:?}");
    }
}
