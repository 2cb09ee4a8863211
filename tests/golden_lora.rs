//! An adapter on a llama beside PyTorch's: gradients of its factors, and thirty steps.

mod golden;

use golden::llama::{llama, names};
use golden::{Golden, within};
use qorus::adapter::{Adapter, Kind, Pair};
use qorus::engine::{Model, Runtime};
use qorus::ops::rope::RopeStyle;
use qorus::train::clip::Clip;
use qorus::train::data::Place;
use qorus::train::examples::Examples;
use qorus::train::optim::{Betas, Group, Method, Outcome};
use qorus::train::{AdapterParams, Passed, Trainer, TrainerParams};
use qorus::{Isa, Type};
use std::sync::Arc;

/// The golden's adapter.
fn adapter(file: &Golden) -> Adapter {
    let mut pairs = Vec::new();
    for (ours, theirs) in names(false) {
        let name = |factor: &str| format!("w/{theirs}.{factor}");
        if !file.has(&name("lora_a")) {
            continue;
        }
        let (a, b) = (file.shape(&name("lora_a")), file.shape(&name("lora_b")));
        pairs.push(Pair {
            tensor: format!("{ours}.weight"),
            rank: a[0],
            rows: b[0],
            cols: a[1],
            experts: 1,
            a: file.f32(&name("lora_a")),
            b: file.f32(&name("lora_b")),
            magnitude: None,
        });
    }
    assert_eq!(pairs.len(), 14);
    Adapter { arch: "llama".into(), kind: Kind::Lora, alpha: 8.0, pairs, ..Adapter::default() }
}

/// The base with matrices as they are, or stored in another type.
fn trainer(ty: Type, eight: bool) -> Trainer {
    let file = llama(&Golden::open("llama2l_neox"), false);
    let gguf = if ty == Type::F32 { file } else { stored(&file, ty) };
    let model = Model::new(&Runtime::new(2, Some(Isa::detect())).unwrap(), gguf).unwrap();
    let mut model = Arc::into_inner(model).unwrap();
    model.graph.ropes.iter_mut().for_each(|rope| rope.style = RopeStyle::Neox);
    let params = TrainerParams {
        rows: 96,
        longest: 24,
        slice: 40,
        method: Method::AdamW(Betas { beta1: 0.9, beta2: 0.999, eps: 1e-8 }),
        groups: Group::pair(0.0),
        adapter: Some(AdapterParams { rank: 4, alpha: 8.0, ..AdapterParams::default() }),
        eight,
        ..TrainerParams::default()
    };
    let mut trainer = Trainer::new(&Arc::new(model), &params, |_| false).unwrap();
    trainer.set_adapter(&adapter(&Golden::open("llama2l_neox_lora"))).unwrap();
    trainer
}

/// The same file with its matrices stored as `ty`.
fn stored(file: &qorus::gguf::Gguf, ty: Type) -> Arc<qorus::gguf::Gguf> {
    let kernels = qorus::kernels::Kernels::new(Isa::Scalar).unwrap();
    let mut w = qorus::gguf::Writer::new();
    file.entries().for_each(|(key, value)| assert!(w.put(key, value).is_ok()));
    for t in file.tensors() {
        let to = if t.n_dims > 1 { ty } else { t.ty };
        w.tensor(file.tensor_name(t), to, &t.dims[..t.n_dims as usize]).unwrap();
    }
    let mut out = w.begin(Vec::new()).unwrap();
    for t in file.tensors() {
        let values: &[f32] = bytemuck::cast_slice(file.data(t));
        if t.n_dims < 2 {
            out.write(file.data(t)).unwrap();
            continue;
        }
        for row in values.chunks(t.dims[0] as usize) {
            let mut bytes = vec![0; ty.row_bytes(row.len()).unwrap()];
            kernels.quantize(ty, row, &mut bytes);
            out.write(&bytes).unwrap();
        }
    }
    Arc::new(qorus::gguf::Gguf::from_bytes(out.finish().unwrap()).unwrap())
}

/// Calls `f` with the golden's batch.
fn batch<R>(f: impl FnOnce(&Examples) -> R) -> R {
    let file = Golden::open("llama2l_neox_lora");
    let tokens: Vec<u32> = file.ints("in/ids").iter().map(|&id| id as u32).collect();
    let targets: Vec<i32> = file.ints("in/targets").iter().map(|&id| id as i32).collect();
    let places: Vec<Place> = (0..96).map(|i| Place { seq: i / 24, pos: i % 24 }).collect();
    f(&Examples { tokens: &tokens, targets: &targets, places: &places, lens: &[24; 4], ..Examples::default() })
}

/// The losses of thirty steps.
fn curve(trainer: &mut Trainer) -> Vec<f64> {
    batch(|examples| {
        let step = |number: u64| {
            let Passed::Total(total) = trainer.learn(examples, 96.0, number).unwrap() else { panic!("no number") };
            let outcome = trainer.step(1e-2, Clip::None).unwrap();
            assert!(matches!(outcome, Outcome::Taken { .. }));
            total.loss / 96.0
        };
        (0..30).map(step).collect()
    })
}

#[test]
fn golden_gradients_of_an_adapter() {
    let file = Golden::open("llama2l_neox_lora");
    let mut trainer = trainer(Type::F32, false);
    batch(|examples| trainer.learn(examples, 96.0, 0).map(drop)).unwrap();
    let mut seen = 0;
    for slot in trainer.optimizer().slots().list() {
        let (tensor, factor) = slot.name.split_once(".weight.").unwrap();
        let (_, theirs) = names(false).into_iter().find(|(ours, _)| ours == tensor).unwrap();
        let name = format!("f64/grad/{theirs}.{factor}");
        let (found, mut expected) = (golden::wide(&trainer.grads()[slot.range.clone()]), file.f64(&name));
        if factor == "lora_b" {
            // Ours lies rank by rank.
            let shape = file.shape(&name);
            expected = (0..shape[1])
                .flat_map(|j| expected.iter().skip(j).step_by(shape[1]).copied().collect::<Vec<_>>())
                .collect();
        }
        within(&name, &found, &expected, 1e-5, 1e-5);
        seen += 1;
    }
    assert_eq!(seen, 28);
}

#[test]
fn golden_curve_of_thirty_steps_of_an_adapter() {
    let expected = Golden::open("llama2l_neox_lora").f64("f64/loss_curve");
    let losses = curve(&mut trainer(Type::F32, false));
    within("losses of 10 steps", &losses[..10], &expected[..10], 1e-4, 0.0);
    within("losses of 30 steps", &losses, &expected[..30], 1e-3, 0.0);
}

/// On a base of 8 bits the curve is near that of the base itself: the matrices are off by 2^-8 of their blocks' greatest at most.
#[test]
fn an_adapter_on_blocks_learns_as_on_floats() {
    let exact = curve(&mut trainer(Type::F32, false));
    for (ty, eight, bound) in [(Type::Q8_0, false, 0.05), (Type::Q8_0, true, 0.1), (Type::Q4_0, false, 0.5)] {
        let found = curve(&mut trainer(ty, eight));
        let worst = found.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        println!(
            "{} (8-bit inputs: {eight}): losses within {worst:.1e}, from {:.4} to {:.4}",
            ty.name(),
            found[0],
            found[29]
        );
        assert!(worst > 0.0 && worst < bound, "{} {eight}: {worst}", ty.name());
        assert!(found[29] < 0.8 * found[0], "it learns");
    }
}
