//! Thirty steps of whole models beside PyTorch's: losses, norms of gradients, and weights at the end.

mod golden;

use golden::llama::{llama, names};
use golden::{Golden, wide, within};
use qorus::engine::{Model, Runtime};
use qorus::ops::rope::RopeStyle;
use qorus::train::clip::Clip;
use qorus::train::control::Control;
use qorus::train::data::Place;
use qorus::train::examples::{HostFeed, Slab};
use qorus::train::optim::{Betas, Group, Method};
use qorus::train::run::{Report, Run, RunParams, Watch};
use qorus::train::{Trainer, TrainerParams};
use qorus::{Isa, Result};
use std::sync::Arc;

#[derive(Default)]
struct Log(Vec<Report>);

impl Watch for Log {
    fn step(&mut self, report: &Report, _: &Trainer) -> Result<()> {
        self.0.push(*report);
        Ok(())
    }
}

#[test]
fn golden_curves_of_thirty_steps() {
    for (name, tied) in [("llama2l_norm", false), ("llama2l_norm_tied", true), ("llama2l_neox", false)] {
        let file = Golden::open(name);
        let gguf = llama(&file, tied);
        let model = Model::new(&Runtime::new(2, Some(Isa::detect())).unwrap(), gguf).unwrap();
        let mut model = Arc::into_inner(model).unwrap();
        if name == "llama2l_neox" {
            model.graph.ropes.iter_mut().for_each(|rope| rope.style = RopeStyle::Neox);
        }
        let model = Arc::new(model);
        let (ids, targets) = (file.ints("in/ids"), file.ints("in/targets"));
        let len = file.shape("in/ids")[1];
        let params = TrainerParams {
            rows: ids.len(),
            longest: len,
            slice: 40,
            method: Method::AdamW(Betas { beta1: 0.9, beta2: 0.95, eps: 1e-8 }),
            groups: Group::pair(0.1),
            ..TrainerParams::default()
        };
        let mut trainer = Trainer::new(&model, &params, |_| true).unwrap();
        let mut feed = HostFeed::new(
            |_, slab: &mut Slab| {
                for i in 0..ids.len() {
                    (slab.tokens[i], slab.targets[i]) = (ids[i] as u32, targets[i] as i32);
                    slab.places[i] = Place { seq: (i / len) as u32, pos: (i % len) as u32 };
                }
                slab.rows = ids.len();
                Ok(true)
            },
            1,
        );
        let rules = RunParams { clip: Clip::Norm(1.0), ..RunParams::new(30, 3e-3) };
        let mut log = Log::default();
        Run::new(&mut trainer, &mut feed, None, &rules).unwrap().go(&Control::new(), &mut log).unwrap();
        let losses: Vec<f64> = log.0.iter().map(|r| r.loss).collect();
        let norms: Vec<f64> = log.0.iter().map(|r| r.norm).collect();
        let expected = file.f64("f64/loss_curve");
        let steps = expected.len().min(30);
        within(&format!("{name}: losses of 10 steps"), &losses[..10], &expected[..10], 1e-4, 0.0);
        within(&format!("{name}: losses of 30 steps"), &losses[..steps], &expected[..steps], 1e-3, 0.0);
        let expected = file.f64("f64/grad_norm_curve");
        within(&format!("{name}: norms of 10 steps"), &norms[..10], &expected[..10], 1e-4, 1e-4);
        for weight in ["l0.wq", "out_norm"] {
            let (ours, _) = names(tied).into_iter().find(|(_, theirs)| theirs == weight).unwrap();
            let list = trainer.optimizer().slots().list();
            let slot = list.iter().find(|p| p.name == format!("{ours}.weight")).unwrap();
            let found = wide(&trainer.values()[slot.range.clone()]);
            within(
                &format!("{name}: {weight} after 30 steps"),
                &found,
                &file.f64(&format!("f64/after30/{weight}")),
                1e-3,
                0.0,
            );
        }
    }
}
