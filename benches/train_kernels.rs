//! What training is made of, one operation at a time on all threads: the time of each, and its share of what the machine can do at most.
//!
//!     cargo bench --features train --bench train_kernels -- [--threads N] [--isa LEVEL] [--only PART]
//!
//! PART is one of optimizer, cross_entropy, rows and products. It prints one object of JSON: for each operation the best of its runs in
//! milliseconds, and the share of the limit: of the peak of f32 products and sums on registers, or of the rate at which the same threads copy
//! memory beside it (bytes read and written), or read it, where an operation only reads. The names are those of `benches/peers/train.py --kernels`. Cross-entropy, RMSNorm and softmax are told as shares of
//! the rate of memory too, though exp costs more. All memory is in large pages, as far as the system has them: the trainer's is.

use qorus::engine::Runtime;
use qorus::kernels::Mat;
use qorus::kernels::exercise::bandwidth;
use qorus::kernels::exercise::peak::{Unit, peak};
use qorus::kernels::loss::Logits;
use qorus::memory::Region;
use qorus::ops::{Exec, gemm, norm};
use qorus::threads::Shards;
use qorus::train::clip::{self, Clip};
use qorus::train::loss::{CrossEntropy, Targets, Total};
use qorus::train::optim::{Betas, Group, Method, Optimizer};
use qorus::train::slots::Slots;
use qorus::{Isa, Products};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// The best of some runs, in seconds, after one that brings its pages into being.
fn best(runs: usize, mut f: impl FnMut()) -> f64 {
    f();
    let run = |_| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    (0..runs).map(run).fold(f64::INFINITY, f64::min)
}

/// Elements in memory as a trainer's.
struct Large(Region);

impl std::ops::Deref for Large {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        bytemuck::cast_slice(self.0.bytes())
    }
}

impl std::ops::DerefMut for Large {
    fn deref_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(self.0.bytes_mut())
    }
}

fn large(n: usize, mut f: impl FnMut() -> f32) -> Large {
    let mut of = Large(Region::large(n * size_of::<f32>()).unwrap_or_else(|e| panic!("{e}")));
    of.iter_mut().for_each(|x| *x = f());
    of
}

fn noise(n: usize) -> Large {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    large(n, next)
}

fn region(bytes: usize) -> Region {
    Region::new(bytes).unwrap_or_else(|e| panic!("{e}"))
}

struct Report {
    lines: Vec<String>,
    peak: f64,
    copies: f64,
    reads: f64,
}

impl Report {
    fn flops(&mut self, name: &str, seconds: f64, flops: f64) {
        self.line(name, seconds, flops / seconds / self.peak);
    }

    fn bytes(&mut self, name: &str, seconds: f64, floats: f64) {
        self.line(name, seconds, 4.0 * floats / seconds / self.copies);
    }

    /// Of an operation that only reads.
    fn reads(&mut self, name: &str, seconds: f64, floats: f64) {
        self.line(name, seconds, 4.0 * floats / seconds / self.reads);
    }

    fn line(&mut self, name: &str, seconds: f64, share: f64) {
        self.lines.push(format!("\"{name}\": {{\"ms\": {:.3}, \"share_of_limit\": {share:.3}}}", seconds * 1e3));
    }
}

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let (mut threads, mut isa, mut only) = (2, Isa::detect(), None);
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        match word.as_str() {
            "--threads" => threads = value.parse().unwrap_or_else(|_| panic!("{value} threads: give a number")),
            "--isa" => isa = Isa::from_name(&value).unwrap_or_else(|| panic!("no level is called {value}")),
            "--only" => only = Some(value),
            _ => panic!("no option is called {word}"),
        }
    }
    let runtime = Runtime::new(threads, Some(isa)).unwrap_or_else(|e| panic!("{e}"));
    let mut scratch = vec![0; threads * gemm::scratch()];
    let (scratch, cancel) = (Shards::new(&mut scratch), AtomicBool::new(false));
    let exec = Exec {
        kernels: &runtime.kernels,
        pool: &runtime.pool,
        scratch: &scratch,
        scratch_bytes: gemm::scratch(),
        cancel: &cancel,
    };
    let (copies, reads) = (copies(&exec), reads(&exec));
    let mut report = Report { lines: Vec::new(), peak: peak(isa, Unit::F32) * threads as f64, copies, reads };
    type Part = (&'static str, fn(&Exec, &mut Report));
    let parts: [Part; 4] =
        [("optimizer", optimizer), ("cross_entropy", cross_entropy), ("rows", rows), ("products", products)];
    if let Some(only) = &only
        && parts.iter().all(|(name, _)| name != only)
    {
        panic!("no part is called {only}");
    }
    for (_, part) in parts.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)) {
        part(&exec, &mut report);
    }
    let limits = format!("\"copies_gb_per_s\": {:.1}, \"reads_gb_per_s\": {:.1}", copies * 1e-9, reads * 1e-9);
    println!("{{{limits}, {}}}", report.lines.join(", "));
}

/// Bytes read and written per second by copying, beyond the caches.
fn copies(exec: &Exec) -> f64 {
    let n = 64 << 20;
    let (from, mut to) = (large(n, || 1.0), large(n, || 0.0));
    let seconds = best(6, || {
        let to = Shards::new(&mut to);
        // SAFETY: parts are disjoint.
        let copy = |part: std::ops::Range<usize>| unsafe { to.part(part.clone()) }.copy_from_slice(&from[part]);
        exec.pool.split(n, 4096, copy).unwrap_or_else(|e| panic!("{e}"));
    });
    8.0 * n as f64 / seconds
}

/// Bytes read per second, beyond the caches.
fn reads(exec: &Exec) -> f64 {
    let from = large(64 << 20, || 1.0);
    let bytes: &[u8] = bytemuck::cast_slice(&from);
    let read = |part: std::ops::Range<usize>| {
        std::hint::black_box(bandwidth::read(exec.kernels.isa(), &bytes[part]));
    };
    let seconds = best(6, || exec.pool.split(bytes.len(), 16384, read).unwrap_or_else(|e| panic!("{e}")));
    bytes.len() as f64 / seconds
}

fn optimizer(exec: &Exec, report: &mut Report) {
    let n = 50_000_000;
    let mut slots = Slots::default();
    slots.add("w", n, 0).unwrap_or_else(|e| panic!("{e}"));
    let (mut w, mut g) = (large(slots.elements(), || 0.0), large(slots.elements(), || 1e-3));
    let mut work = region(clip::need(&slots).peak());
    let seconds = best(8, || {
        let norm = work.with_frame(|frame| clip::norm(exec, frame, &slots, &*g));
        let norm = norm.unwrap_or_else(|e| panic!("{e}")).unwrap_or_else(|e| panic!("{e:?}"));
        clip::apply(exec, &slots, &mut g, Clip::Norm(1e9).bounds(norm)).unwrap_or_else(|e| panic!("{e}"));
    });
    // The norm reads, clipping reads and writes.
    report.bytes("clip norm 50M", seconds, 3.0 * n as f64);
    let seconds = best(8, || clip::zero(exec, &slots, &mut g).unwrap_or_else(|e| panic!("{e}")));
    report.bytes("zero grad 50M", seconds, n as f64);
    g.fill(1e-3);
    let method = Method::AdamW(Betas::default());
    let mut adam = Optimizer::new(method, &Group::pair(0.01), slots).unwrap_or_else(|e| panic!("{e}"));
    let seconds = best(8, || {
        adam.update(exec, &mut w, &mut *g, 1e-3, (1.0, f64::INFINITY)).unwrap_or_else(|e| panic!("{e}"));
    });
    // Weights, gradients and two moments, read and written.
    report.bytes("adamw 50M", seconds, 8.0 * n as f64);
}

fn cross_entropy(exec: &Exec, report: &mut Report) {
    let (rows, classes) = (2048, 32000);
    let mut x = noise(rows * classes);
    let targets: Vec<i32> = (0..rows as i32).map(|row| row * 15).collect();
    let entropy = CrossEntropy::new(classes);
    let mut work = region(CrossEntropy::need(rows).peak());
    let mut run = |grad: bool| {
        // A trainer's gradients take the place of the logits.
        let logits = if grad { Logits::InPlace(&mut x) } else { Logits::Read(&x) };
        let done = work.with_frame(|frame| {
            entropy.rows(exec, frame, logits, Targets::Classes(&targets), 1.0 / rows as f64, &mut Total::default())
        });
        done.unwrap_or_else(|e| panic!("{e}"));
    };
    let n = (rows * classes) as f64;
    report.reads("cross-entropy 2048x32000, forward", best(8, || run(false)), n);
    report.bytes("cross-entropy 2048x32000", best(8, || run(true)), 2.0 * n);
}

fn rows(exec: &Exec, report: &mut Report) {
    let (rows, width) = (2048, 1024);
    let n = (rows * width) as f64;
    let (x, w, dy) = (noise(rows * width), noise(width), large(rows * width, || 1.0));
    let zeros = |n| large(n, || 0.0);
    let (mut y, mut dx, mut dw) = (zeros(rows * width), zeros(rows * width), zeros(width));
    let seconds = best(50, || norm::rmsnorm(exec, &x, &w, 1e-5, &mut y).unwrap_or_else(|e| panic!("{e}")));
    report.bytes("rmsnorm 2048x1024", seconds, 2.0 * n);
    let seconds = best(50, || {
        let y = Shards::new(&mut y);
        let softmax = |part: std::ops::Range<usize>| {
            for row in part {
                let at = row * width..(row + 1) * width;
                // SAFETY: each row is one thread's.
                let y = unsafe { y.part(at.clone()) };
                y.copy_from_slice(&x[at]);
                exec.kernels.softmax(y, 1.0);
            }
        };
        exec.pool.split(rows, 1, softmax).unwrap_or_else(|e| panic!("{e}"));
    });
    report.bytes("softmax 2048x1024", seconds, 2.0 * n);
    let mut work = region(norm::backward_need(rows, width).peak());
    let seconds = best(20, || {
        norm::rmsnorm(exec, &x, &w, 1e-5, &mut y).unwrap_or_else(|e| panic!("{e}"));
        dw.fill(0.0);
        let add = |part, values: &[f32]| {
            if part == norm::Part::Weight {
                exec.kernels.add(&mut dw, values);
            }
        };
        let of = (&x[..], &w[..], 1e-5);
        work.with_frame(|frame| norm::norm_backward(exec, frame, false, of, &dy, &mut dx, add))
            .unwrap_or_else(|e| panic!("{e}"));
    });
    report.bytes("rmsnorm with backward", seconds, 5.0 * n);
}

fn products(exec: &Exec, report: &mut Report) {
    let run = |(m, n, k): (usize, usize, usize), kind: &str| {
        let (a, b, mut c) = (noise(m * k), noise(k * n), large(m * n, || 0.0));
        // As a layer has them: y = x w^T, dx = dy w, dw += dy^T x.
        let (a, b) = match kind {
            "forward" => (Mat::new(&a, m, k, k), Mat::new(&b, n, k, k).t()),
            "weights" => (Mat::new(&a, k, m, m).t(), Mat::new(&b, k, n, n)),
            _ => (Mat::new(&a, m, k, k), Mat::new(&b, k, n, n)),
        };
        best(20, || gemm::gemm(exec, Products::F32, a, b, kind == "weights", &mut c).unwrap_or_else(|e| panic!("{e}")))
    };
    for (m, n, k) in [(2048, 688, 256), (2048, 256, 688), (688, 256, 2048), (256, 32000, 288), (1024, 1024, 1024)] {
        let flops = 2.0 * (m * n * k) as f64;
        let kind = match (m, n) {
            (2048, 688) | (256, 32000) => "forward",
            (688, 256) => "weights",
            _ => "input",
        };
        report.flops(&format!("matmul {m}x{n}x{k}"), run((m, n, k), kind), flops);
    }
}
