//! Nothing allocates in a host's own step of training: losses, gradients, clipping, optimizers of tensors that are bound.

#[path = "common/abi.rs"]
mod abi;
#[path = "common/counting.rs"]
mod counting;

use abi::{Host, floats, floats_mut, ints, ok};
use counting::{allocations, settle};
use qorus::Isa;
use qorus::ffi::train::clip::{q_grad_clip_norm, q_grad_clip_value};
use qorus::ffi::train::loss::*;
use qorus::ffi::train::optimizer::params::*;
use qorus::ffi::train::optimizer::state::*;
use qorus::ffi::train::optimizer::*;
use qorus::ffi::train::trainer::pass::*;
use qorus::ffi::train::trainer::tensors::*;
use qorus::ffi::train::trainer::*;
use std::ptr::{null, null_mut};

// One test: others would allocate meanwhile.
#[test]
fn a_step_of_a_host_allocates_nothing() {
    settle();
    let (x, y, mut g, mut w) = (vec![0.5; 40_000], vec![0.25; 40_000], vec![0.1; 40_000], vec![1.0; 40_000]);
    let classes: Vec<i32> = (0..40).collect();
    let dims = [40, 1000];
    let (p, t, ids) = (floats(&x, &dims), floats(&y, &dims), ints(&classes, &[40]));
    let (mut gt, mut wt) = (floats_mut(&mut g, &dims), floats_mut(&mut w, &dims));
    for threads in [1, 3] {
        let host = Host::new(threads, Isa::detect());
        for (kind, bits, momentum) in [(0, 32, 0.0), (0, 32, 0.9), (1, 32, 0.0), (2, 32, 0.0), (2, 8, 0.0)] {
            // SAFETY: arguments as the header asks for.
            unsafe {
                let mut params = std::mem::zeroed::<q_optimizer_params>();
                ok(q_optimizer_params_init(&mut params, size_of_val(&params)));
                (params.r#type, params.moment_bits, params.momentum) = (kind, bits, momentum);
                let mut optimizer = null_mut();
                ok(q_optimizer_create_with(host.context, &params, &mut optimizer));
                ok(q_optimizer_bind(optimizer, &wt, &gt, 1, 0));
                let mut loss_params = std::mem::zeroed::<q_loss_params>();
                ok(q_loss_params_init(&mut loss_params, size_of_val(&loss_params)));
                loss_params.runtime = host.runtime;
                let (mut loss, mut step) = (0.0, 0);
                // The first use of a level finds out which kernels there are.
                ok(q_loss_mse(&p, &t, &mut loss));
                q_loss_mse_avx2(&p, &t, &mut loss);
                let (count, ()) = allocations(|| {
                    for _ in 0..3 {
                        ok(q_loss_mse(&p, &t, &mut loss));
                        ok(q_loss_crossentropy(&p, &ids, &mut loss));
                        ok(q_loss_crossentropy_grad(&p, &ids, &mut gt));
                        ok(q_loss_mse_grad(&p, &t, &mut gt));
                        ok(q_loss_compute(&loss_params, &p, &ids, &mut gt, null_mut(), 0));
                        ok(q_grad_clip_norm(host.runtime, &gt, 1, 1.0, &mut loss));
                        ok(q_grad_clip_value(null(), &gt, 1, 0.5));
                        ok(q_optimizer_set_learning_rate(optimizer, 0.1));
                        ok(q_optimizer_step(optimizer, &mut wt, &gt));
                        ok(q_optimizer_get_step(optimizer, &wt, &mut step));
                        q_optimizer_zero_grad(optimizer);
                    }
                });
                assert_eq!(count, 0, "type {kind}, {bits} bits, {threads} threads");
                assert_eq!(step, 3);
                q_optimizer_free(optimizer);
            }
        }
        // A pass and a step of the context's own trainer.
        let tokens = [3; 16];
        let mut y = vec![0.0; 16 * 98];
        let (ids, mut yt) = (ints(&tokens, &[16]), floats_mut(&mut y, &[16, 98]));
        let mut trainer = null_mut();
        // SAFETY: arguments as the header asks for.
        unsafe {
            ok(q_trainer_create(host.context, null(), &mut trainer));
            ok(q_trainer_publish(trainer, host.context));
            let (count, ()) = allocations(|| {
                for _ in 0..3 {
                    ok(q_model_forward_train(host.model, host.context, &ids, &mut yt));
                    ok(q_model_backward(host.model, host.context, &yt, 0));
                    ok(q_trainer_step(trainer, 1e-3, 1.0, null_mut()));
                    ok(q_trainer_zero_grad(trainer));
                    ok(q_trainer_publish(trainer, host.context));
                }
            });
            assert_eq!(count, 0, "{threads} threads");
            q_trainer_free(trainer);
        }
    }
}
