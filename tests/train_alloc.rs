//! Nothing allocates in a step of training, on any thread, and the plan is what is taken.

#[path = "common/exec.rs"]
mod exec;
#[path = "common/tensors.rs"]
mod tensors;

use exec::Bench;
use qorus::Isa;
use qorus::memory::{Need, Region};
use qorus::train::clip::{self, Clip};
use qorus::train::loss::{CrossEntropy, Logits, Reduction, Targets, Total, mse, mse_grad, mse_need};
use qorus::train::optim::{Group, Optimizer};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tensors::{methods, params, random};

struct Counting;

static ON: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator, with a counter.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(usize::from(ON.load(Ordering::Relaxed)), Ordering::Relaxed);
        // SAFETY: the caller's promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of the process during `f`.
fn allocations<R>(f: impl FnOnce() -> R) -> (usize, R) {
    COUNT.store(0, Ordering::Relaxed);
    ON.store(true, Ordering::Relaxed);
    let result = f();
    ON.store(false, Ordering::Relaxed);
    (COUNT.load(Ordering::Relaxed), result)
}

// One test: others would allocate meanwhile.
#[test]
fn a_step_allocates_nothing() {
    // The harness, on a thread of its own, is done with what it does after it has started a test.
    while allocations(|| std::thread::sleep(std::time::Duration::from_millis(50))).0 > 0 {}
    assert_eq!(allocations(|| Vec::<u8>::with_capacity(1)).0, 1, "the counter counts nothing");
    let (rows, classes) = (40, 1000);
    let (x, t) = (random(9, 1.0, rows * classes), random(10, 1.0, rows * classes));
    let targets: Vec<i32> = (0..rows as i32).collect();
    for threads in [1, 3] {
        let bench = Bench::new(threads, Isa::detect());
        for method in methods() {
            let mut optimizer = Optimizer::new(method, &Group::pair(0.1), params()).unwrap();
            let n = optimizer.params().elements();
            let (mut w, mut g, mut sum) = (random(1, 1.0, n), random(2, 1.0, n), vec![0.0; n]);
            let mut logits = x.clone();
            let need = CrossEntropy::need(rows);
            let need = Need::new().sub(need).sub(mse_need(x.len())).sub(Optimizer::step_need(optimizer.params()));
            let mut region = Region::new(need.peak()).unwrap();
            let mut gap = vec![0.0; x.len()];
            let (count, ()) = allocations(|| {
                bench.run_in(&mut region, |exec, frame| {
                    for step in 0..3 {
                        let (ce, targets) = (CrossEntropy::new(classes), Targets::Classes(&targets));
                        let scale = 1.0 / ce.count(targets).unwrap().weight;
                        let mut total = Total::default();
                        ce.rows(exec, frame, Logits::InPlace(&mut logits), targets, scale, &mut total).unwrap();
                        mse(exec, frame, &x, &t, Reduction::Mean).unwrap();
                        mse_grad(exec, &x, &t, Reduction::Mean, &mut gap).unwrap();
                        clip::accumulate(exec, optimizer.params(), &mut sum, &g).unwrap();
                        let clip = [Clip::None, Clip::Norm(1.0), Clip::Value(0.1)][step];
                        optimizer.step(exec, frame, (&mut w, &mut sum), (1e-3, 0.5, clip)).unwrap();
                        optimizer.update_one(exec, 0, (&mut w[..40_000], &g[..40_000]), 1e-3, (1.0, 1.0)).unwrap();
                        clip::zero(exec, optimizer.params(), &mut g).unwrap();
                    }
                });
            });
            assert_eq!(count, 0, "{method:?} on {threads} threads");
            assert_eq!(region.high_water(), need.peak(), "the plan is not what was taken");
            assert_eq!(optimizer.high_water(), Optimizer::need(&method, optimizer.params()).peak());
            assert_eq!(optimizer.state().len(), optimizer.high_water());
        }
    }
}
