//! A trainer through the C ABI: passes by hand and the whole loop come to the same bits, partial ways back, checkpoints, export,
//! models that were built by hand.

#[path = "common/abi.rs"]
mod abi;
#[path = "common/dir.rs"]
#[allow(dead_code)]
mod dir;

use abi::{Host, floats_mut, ints, ok};
use dir::Dir;
use qorus::Isa;
use qorus::ffi::builder::*;
use qorus::ffi::context::{q_context, q_context_create, q_context_free};
use qorus::ffi::error::q_error_code;
use qorus::ffi::forward::q_model_forward;
use qorus::ffi::model::{q_model, q_model_free, q_model_load};
use qorus::ffi::train::loss::*;
use qorus::ffi::train::optimizer::params::*;
use qorus::ffi::train::optimizer::*;
use qorus::ffi::train::run::*;
use qorus::ffi::train::trainer::files::*;
use qorus::ffi::train::trainer::params::*;
use qorus::ffi::train::trainer::pass::*;
use qorus::ffi::train::trainer::tensors::*;
use qorus::ffi::train::trainer::*;
use qorus::tensor::Tensor;
use std::ffi::c_void;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const VOCAB: usize = 98;
const ROWS: usize = 20;

/// Two sequences in which each token says the next, but for the first of each.
fn batch(number: u64, tokens: &mut [u32], targets: &mut [i32]) -> [u32; 2] {
    let mut at = 0;
    for (seq, len) in [(0, 10), (1, 10)] {
        let mut token = (number * 7 + seq) % 31;
        for pos in 0..len {
            let next = (token * 5 + 3) % 31;
            (tokens[at], targets[at]) = (token as u32, if pos == 0 { -100 } else { next as i32 });
            (token, at) = (next, at + 1);
        }
    }
    [10, 10]
}

unsafe extern "C" fn give(number: u64, to: *mut q_train_batch, user: *mut c_void) -> i32 {
    // A validation has three batches.
    if user as usize == 1 && number >= 3 {
        return 0;
    }
    // SAFETY: the library's batch has room for 20 rows.
    unsafe {
        let to = &mut *to;
        assert_eq!((to.max_rows, to.in_width, to.out_width), (20, 0, VOCAB as u32));
        assert!(to.rows.is_null() && to.values.is_null());
        let tokens = std::slice::from_raw_parts_mut(to.tokens, ROWS);
        let lens = batch(number, tokens, std::slice::from_raw_parts_mut(to.targets, ROWS));
        std::slice::from_raw_parts_mut(to.lens, 2).copy_from_slice(&lens);
        to.n_seqs = 2;
    }
    1
}

fn zeroed<T>(init: unsafe extern "C" fn(*mut T, usize) -> q_error_code) -> T {
    // SAFETY: structs of numbers and pointers, filled by the call.
    unsafe {
        let mut p = std::mem::zeroed::<T>();
        ok(init(&mut p, size_of::<T>()));
        p
    }
}

fn trainer(context: *mut q_context, change: impl FnOnce(&mut q_trainer_params)) -> *mut q_trainer {
    let mut p = zeroed(q_trainer_params_init);
    (p.max_rows, p.max_len, p.slice) = (ROWS as u32, 10, 7);
    change(&mut p);
    let mut out = null_mut();
    // SAFETY: arguments as the header asks for.
    ok(unsafe { q_trainer_create(context, &p, &mut out) });
    out
}

/// The tensors of a trainer: names, values, gradients.
fn tensors(trainer: *mut q_trainer) -> Vec<(String, Tensor, Tensor)> {
    let mut n = 0;
    // SAFETY: arguments as the header asks for.
    unsafe {
        ok(q_trainer_tensors(trainer, &mut n));
        (0..n)
            .map(|i| {
                let (mut w, mut g) = (floats_mut(&mut [0.0], &[1]), floats_mut(&mut [0.0], &[1]));
                let (mut name, mut len) = ([0u8; 64], 0);
                ok(q_trainer_tensor(trainer, i, &mut w, &mut g));
                ok(q_trainer_tensor_name(trainer, i, name.as_mut_ptr().cast(), 64, &mut len));
                (String::from_utf8(name[..len].to_vec()).unwrap(), w, g)
            })
            .collect()
    }
}

fn values(t: &Tensor) -> Vec<f32> {
    let n = t.dims().iter().product::<u64>() as usize;
    // SAFETY: dense floats of a living trainer.
    unsafe { std::slice::from_raw_parts(t.data.cast::<f32>(), n) }.to_vec()
}

fn bits(trainer: *mut q_trainer) -> Vec<u32> {
    tensors(trainer).iter().flat_map(|(_, w, _)| values(w)).map(f32::to_bits).collect()
}

/// Forward, a loss of the host, and back.
fn by_hand(host: &Host, number: u64, stop: u32) -> f32 {
    let (mut tokens, mut targets) = ([0; ROWS], [0; ROWS]);
    batch(number, &mut tokens, &mut targets);
    let tokens = tokens.map(|t| t as i32);
    let (mut y, mut dy, mut loss) = (vec![f32::NAN; ROWS * VOCAB], vec![f32::NAN; ROWS * VOCAB], f32::NAN);
    let dims = [2, 10, VOCAB];
    let (mut yt, mut dt) = (floats_mut(&mut y, &dims), floats_mut(&mut dy, &dims));
    let (input, classes) = (ints(&tokens, &[2, 10]), ints(&targets, &[2, 10]));
    // SAFETY: arguments as the header asks for.
    unsafe {
        ok(q_model_forward_train(host.model, host.context, &input, &mut yt));
        ok(q_loss_crossentropy(&yt, &classes, &mut loss));
        ok(q_loss_crossentropy_grad(&yt, &classes, &mut dt));
        ok(q_model_backward(host.model, host.context, &dt, stop));
    }
    loss
}

fn train(host: &Host, change: impl FnOnce(&mut q_train_params)) -> q_train_result {
    let mut p = zeroed(q_train_params_init);
    (p.steps, p.learning_rate) = (6, 3e-3);
    p.data = Some(give);
    change(&mut p);
    // SAFETY: arguments as the header asks for.
    unsafe {
        let mut result = std::mem::zeroed::<q_train_result>();
        ok(q_model_train(host.model, host.context, &p, &mut result, size_of::<q_train_result>()));
        result
    }
}

#[test]
fn passes_by_hand_are_the_loop_to_the_bit() {
    let mut first = None;
    for threads in [1, 2, 3] {
        let host = Host::new(threads, Isa::detect());
        let whole = trainer(host.context, |_| {});
        assert_eq!(train(&host, |_| {}).step, 6);
        let expected = bits(whole);
        // SAFETY: handles of this test.
        unsafe { q_trainer_free(whole) };
        let own = trainer(host.context, |_| {});
        let mut losses = vec![];
        for number in 0..6 {
            losses.push(by_hand(&host, number, 0));
            let mut norm = 0.0;
            // SAFETY: arguments as the header asks for.
            ok(unsafe { q_trainer_step(own, 3e-3, 1.0, &mut norm) });
            assert!(norm > 0.0);
        }
        // The rate is a float here and a double there.
        let found = bits(own);
        let close = |a: u32, b: u32| (f32::from_bits(a) - f32::from_bits(b)).abs() < 1e-6;
        assert!(found.iter().zip(&expected).all(|(a, b)| close(*a, *b)));
        assert!(losses[5] < losses[0], "{losses:?}");
        assert!(*first.get_or_insert((found.clone(), expected.clone())) == (found, expected), "{threads} threads");
        // SAFETY: handles of this test.
        unsafe { q_trainer_free(own) };
    }
}

/// A rate of 2^-8 is the same number as float and as double, and so is everything after it.
#[test]
fn a_rate_that_is_a_float_gives_the_same_bits() {
    let host = Host::new(2, Isa::detect());
    let whole = trainer(host.context, |_| {});
    train(&host, |p| p.learning_rate = 0.00390625);
    let expected = bits(whole);
    // SAFETY: handles of this test.
    unsafe { q_trainer_free(whole) };
    let own = trainer(host.context, |_| {});
    for number in 0..6 {
        by_hand(&host, number, 0);
        // SAFETY: arguments as the header asks for.
        ok(unsafe { q_trainer_step(own, 0.00390625, 1.0, null_mut()) });
    }
    assert!(bits(own) == expected);
    // SAFETY: handles of this test.
    unsafe { q_trainer_free(own) };
}

#[test]
fn the_way_back_can_stop_at_a_layer() {
    let host = Host::new(2, Isa::detect());
    let own = trainer(host.context, |_| {});
    by_hand(&host, 0, 0);
    let all: Vec<(String, Vec<f32>)> = tensors(own).iter().map(|(n, _, g)| (n.clone(), values(g))).collect();
    assert!(all.iter().all(|(_, g)| g.iter().any(|x| *x != 0.0)));
    for stop in 1.. {
        // SAFETY: a handle of this test.
        ok(unsafe { q_trainer_zero_grad(own) });
        let (mut same, mut none) = (vec![], vec![]);
        by_hand(&host, 0, stop);
        for ((name, whole), (_, _, g)) in all.iter().zip(tensors(own)) {
            let g = values(&g);
            if g == *whole {
                same.push(name)
            } else {
                none.push(name)
            }
            assert!(g == *whole || g.iter().all(|x| *x == 0.0), "{name} down to layer {stop}");
        }
        assert!(none.iter().any(|n| *n == "token_embd.weight"));
        if same == ["output.weight"] {
            break;
        }
        assert!(stop < 20 && same.len() > 1, "down to layer {stop}: {same:?}");
    }
    // SAFETY: a handle of this test.
    unsafe { q_trainer_free(own) };
}

/// The same step by an optimizer that the trainer's tensors are bound to.
#[test]
fn an_optimizer_of_the_host_takes_the_same_step() {
    let host = Host::new(2, Isa::detect());
    let own = trainer(host.context, |p| p.seed = 1);
    by_hand(&host, 0, 0);
    let all = tensors(own);
    let (weights, gradients): (Vec<Tensor>, Vec<Tensor>) = all.iter().map(|(_, w, g)| (*w, *g)).unzip();
    let start: Vec<Vec<f32>> = weights.iter().map(values).collect();
    let optimizer = |mut p: q_optimizer_params| {
        let mut out = null_mut();
        p.weight_decay = 0.01;
        // SAFETY: arguments as the header asks for.
        ok(unsafe { q_optimizer_create_with(host.context, &p, &mut out) });
        out
    };
    let other = optimizer(zeroed(q_optimizer_params_init));
    // SAFETY: tensors of a living trainer.
    unsafe {
        for (w, g) in weights.iter().zip(&gradients) {
            let flags = if w.n_dims == 1 { Q_OPTIM_NO_DECAY } else { 0 };
            ok(q_optimizer_bind(other, w, g, 1, flags));
            let mut w = *w;
            ok(q_optimizer_step(other, &mut w, g));
        }
        let stepped: Vec<Vec<f32>> = weights.iter().map(values).collect();
        for (w, start) in weights.iter().zip(&start) {
            std::slice::from_raw_parts_mut(w.data.cast::<f32>(), start.len()).copy_from_slice(start);
        }
        ok(q_trainer_step(own, 1e-3, 0.0, null_mut()));
        for (((name, ..), w), stepped) in all.iter().zip(&weights).zip(&stepped) {
            let w = values(w);
            assert!(w.iter().zip(stepped).all(|(a, b)| (a - b).abs() < 1e-7), "{name}");
        }
        q_optimizer_free(other);
        q_trainer_free(own);
    }
}

fn text(path: &Path) -> (*const std::ffi::c_char, usize) {
    let path = path.to_str().unwrap();
    (path.as_ptr().cast(), path.len())
}

#[test]
fn a_run_goes_on_to_the_same_bits_and_is_exported() {
    let (host, dir) = (Host::new(2, Isa::detect()), Dir::new("capi-run"));
    let with = |p: &mut q_train_params, steps| {
        (p.steps, p.warmup, p.schedule, p.floor) = (steps, 2, 2, 1e-4);
        p.validate_every = 2;
        p.validation = Some(give);
        (p.folder, p.folder_len) = text(&dir.0);
        (p.save_every, p.keep) = (3, 10);
    };
    let whole = trainer(host.context, |p| p.accumulate = 2);
    // The user's pointer tells a validation nothing here: it has as many batches as are asked for.
    let result = train(&host, |p| {
        with(p, 8);
        p.validate_batches = 2;
    });
    assert!(result.best_validation.is_finite() && result.step == 8);
    let expected = bits(whole);
    let saved = dir.0.join("step-0000000003.qckpt");
    assert!(saved.exists() && dir.0.join("best.qckpt").exists());
    // SAFETY: handles of this test, and tensors over living memory.
    unsafe {
        let file = dir.0.join("saved.qckpt");
        let (path, len) = text(&file);
        ok(q_trainer_save(whole, path, len));
        q_trainer_free(whole);
        let own = trainer(host.context, |p| p.accumulate = 2);
        train(&host, |p| {
            with(p, 8);
            p.validate_batches = 2;
            (p.folder, p.folder_len) = (null(), 0);
            (p.resume, p.resume_len) = text(&saved);
        });
        assert!(bits(own) == expected);
        q_trainer_free(own);
        let own = trainer(host.context, |p| p.accumulate = 2);
        let mut step = 0;
        ok(q_trainer_load(own, path, len, &mut step));
        assert!(bits(own) == expected && step == 8);

        // What the context computes after it was given the weights, and what the exported model computes.
        ok(q_trainer_publish(own, host.context));
        let (mut a, mut b) = (vec![0.0; 4 * VOCAB], vec![0.0; 4 * VOCAB]);
        let ids = ints(&[1, 2, 3, 4], &[4]);
        ok(q_model_forward(host.model, host.context, &ids, &mut floats_mut(&mut a, &[4, VOCAB])));
        let file = dir.0.join("model.gguf");
        let (path, len) = text(&file);
        ok(q_trainer_export(own, path, len, qorus::ffi::types::q_type::Q_TYPE_F32 as u32));
        let (mut model, mut context): (*mut q_model, *mut q_context) = (null_mut(), null_mut());
        ok(q_model_load(host.runtime, path, len, null(), &mut model));
        ok(q_context_create(model, null(), &mut context));
        ok(q_model_forward(model, context, &ids, &mut floats_mut(&mut b, &[4, VOCAB])));
        let near = a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4 * (1.0 + a.abs()));
        assert!(near, "{:?} {:?}", &a[..4], &b[..4]);
        q_context_free(context);
        q_model_free(model);
        q_trainer_free(own);
    }
}

unsafe extern "C" fn count(report: *const q_train_report, user: *mut c_void) -> i32 {
    // SAFETY: the library's report, and this test's counter.
    unsafe { (*user.cast::<AtomicU64>()).store((*report).step, Ordering::SeqCst) };
    0
}

#[test]
fn a_run_is_paused_and_stopped_from_another_thread() {
    let host = Host::new(1, Isa::detect());
    let own = trainer(host.context, |_| {});
    let (steps, handle) = (AtomicU64::new(0), own as usize);
    let step = || steps.load(Ordering::SeqCst);
    let wait = |from: u64| {
        while step() <= from {
            std::thread::yield_now();
        }
    };
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            let own = handle as *mut q_trainer;
            let mut n = 0;
            // SAFETY: these calls are for other threads; the handle lives.
            unsafe {
                wait(2);
                // Nothing else may be done with it meanwhile.
                assert_eq!(q_trainer_tensors(own, &mut n), q_error_code::Q_ERR_STATE);
                ok(q_trainer_pause(own));
                std::thread::sleep(Duration::from_millis(50));
                let paused = step();
                std::thread::sleep(Duration::from_millis(50));
                assert_eq!(step(), paused);
                ok(q_trainer_resume(own));
                wait(paused);
                ok(q_trainer_stop(own));
            }
        });
        train(&host, |p| {
            (p.steps, p.user) = (1 << 40, (&raw const steps).cast_mut().cast());
            p.on_step = Some(count);
        })
    });
    assert_eq!((result.end, result.step), (q_train_end::Q_TRAIN_STOPPED as u32, step()));
    // A stop is of one run.
    assert_eq!(train(&host, |_| {}).end, q_train_end::Q_TRAIN_DONE as u32);
    // SAFETY: a handle of this test.
    unsafe { q_trainer_free(own) };
}

/// Rows of two numbers, whose product's sign is the class.
unsafe extern "C" fn signs(number: u64, to: *mut q_train_batch, _: *mut c_void) -> i32 {
    // SAFETY: the library's batch has room for 20 rows.
    unsafe {
        let to = &mut *to;
        let x = std::slice::from_raw_parts_mut(to.rows, 2 * ROWS);
        let t = std::slice::from_raw_parts_mut(to.targets, ROWS);
        let mut state = (number as u32).wrapping_mul(747_796_405).wrapping_add(2_891_336_453) | 1;
        for row in 0..ROWS {
            for x in &mut x[2 * row..2 * row + 2] {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                *x = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
            }
            t[row] = i32::from(x[2 * row] * x[2 * row + 1] > 0.0);
            *to.lens.add(row) = 1;
        }
        to.n_seqs = ROWS as u32;
    }
    1
}

unsafe extern "C" fn last(report: *const q_train_report, user: *mut c_void) -> i32 {
    // SAFETY: the library's report, and this test's place for it.
    unsafe { *user.cast::<f64>() = (*report).accuracy };
    0
}

#[test]
fn a_network_that_was_built_learns_and_is_saved() {
    let (mut host, dir) = (Host::new(2, Isa::detect()), Dir::new("capi-built"));
    let (mut builder, mut model) = (null_mut(), null_mut());
    let mut seed = 1u32;
    let mut matrix = |rows: usize, cols: usize| -> Vec<f32> {
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..rows * cols).map(|_| next() * 2.0 * (3.0 / cols as f32).sqrt()).collect()
    };
    // SAFETY: arguments as the header asks for.
    unsafe {
        let (mut up, mut bias, mut down) = (matrix(16, 2), vec![0.0; 16], matrix(2, 16));
        ok(q_builder_create(host.runtime, &mut builder));
        ok(q_builder_rows(builder, 2));
        let (u, b, d) = (floats_mut(&mut up, &[16, 2]), floats_mut(&mut bias, &[16]), floats_mut(&mut down, &[2, 16]));
        ok(q_builder_mlp(builder, 1, &u, &b, &d, null()));
        ok(q_builder_finish(builder, &mut model));
        q_builder_free(builder);
        q_context_free(host.context);
        q_model_free(host.model);
        host.model = model;
        ok(q_context_create(model, null(), &mut host.context));
        let own = trainer(host.context, |p| p.max_len = 1);
        let names: Vec<String> = tensors(own).into_iter().map(|t| t.0).collect();
        assert_eq!(names.len(), 3, "{names:?}");
        let mut accuracy = 0.0f64;
        train(&host, |p| {
            (p.steps, p.learning_rate, p.user) = (400, 0.03, (&raw mut accuracy).cast());
            p.data = Some(signs);
            p.on_step = Some(last);
        });
        assert!(accuracy >= 0.9, "{accuracy}");
        let file = dir.0.join("signs.gguf");
        let (path, len) = text(&file);
        ok(q_trainer_export(own, path, len, Q_TYPE_AS_IS));
        ok(q_trainer_publish(own, host.context));
        let (mut x, mut a, mut b) = (vec![0.5, -0.5, 0.5, 0.5], vec![0.0; 4], vec![0.0; 4]);
        let input = floats_mut(&mut x, &[2, 2]);
        ok(q_model_forward(model, host.context, &input, &mut floats_mut(&mut a, &[2, 2])));
        assert!(a[0] > a[1] && a[2] < a[3], "{a:?}");
        let (mut again, mut context) = (null_mut(), null_mut());
        ok(q_model_load(host.runtime, path, len, null(), &mut again));
        ok(q_context_create(again, null(), &mut context));
        ok(q_model_forward(again, context, &input, &mut floats_mut(&mut b, &[2, 2])));
        assert_eq!(a, b);
        q_context_free(context);
        q_model_free(again);
        q_trainer_free(own);
    }
}
