//! What a forward pass has to read and to compute, and how fast this machine can do either at best.

use crate::failure::Result;
use qorus::engine::Runtime;
use qorus::gguf::{Gguf, TensorInfo};
use qorus::kernels::exercise::bandwidth::read;
use qorus::kernels::exercise::peak::{Unit, peak};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What weights and attention ask of a pass.
pub struct Work {
    /// Bytes of weights that a pass reads: all but an embedding that is no head too, and of experts only those used.
    pub bytes: f64,
    /// Operations (a product and a sum are two) of a token in the layers' matrices.
    pub layers: f64,
    /// Operations of a token whose logits are wanted in the head.
    pub head: f64,
    /// Operations of attention for each earlier position a token looks at, windows not counted.
    pub position: f64,
}

impl Work {
    pub fn of(gguf: &Gguf) -> Result<Work> {
        let arch = gguf.str("general.architecture")?.unwrap_or_default();
        let experts =
            |what: &str| Ok::<_, qorus::Error>(gguf.u32(&format!("{arch}.expert_{what}"))?.map_or(1.0, f64::from));
        let used = experts("used_count")? / experts("count")?.max(1.0);
        let own_head = gguf.tensor("output.weight").is_some();
        let mut work = Work { bytes: 0.0, layers: 0.0, head: 0.0, position: 0.0 };
        for t in gguf.tensors() {
            let (name, bytes, ops) = (gguf.tensor_name(t), t.bytes as f64, 2.0 * elements(t));
            let part = if name.contains("_exps.") { used } else { 1.0 };
            match name {
                "token_embd.weight" if own_head => work.bytes += bytes / t.rows() as f64,
                "token_embd.weight" | "output.weight" => (work.bytes, work.head) = (work.bytes + bytes, ops),
                _ => {
                    work.bytes += bytes * part;
                    work.layers += if t.n_dims > 1 { ops * part } else { 0.0 };
                }
            }
            if name.ends_with(".attn_output.weight") {
                // Its rows are as long as all heads together, and each element meets a key and a value.
                work.position += 4.0 * t.dims[0] as f64;
            }
        }
        Ok(work)
    }
}

fn elements(t: &TensorInfo) -> f64 {
    t.dims.iter().map(|&n| n as f64).product()
}

/// What the runtime's threads can compute together.
pub struct Peaks {
    /// Products and sums of 8-bit integers in a second.
    pub int8: f64,
    /// The same of f32.
    pub f32: f64,
}

impl Peaks {
    pub fn measure(runtime: &Runtime) -> Result<Peaks> {
        Ok(Peaks { int8: together(runtime, Unit::I8)?, f32: together(runtime, Unit::F32)? })
    }
}

/// Operations per second of all threads at once.
fn together(runtime: &Runtime, unit: Unit) -> Result<f64> {
    let sum = Mutex::new(0.0);
    runtime.pool.run(&|_| {
        let one = peak(runtime.kernels.isa(), unit);
        *sum.lock().unwrap_or_else(PoisonError::into_inner) += one;
    })?;
    Ok(sum.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Bytes per second at which the runtime's threads now read the file's tensors.
pub fn bandwidth(runtime: &Runtime, gguf: &Gguf) -> Result<f64> {
    const LEAST: usize = 64 << 20;
    let (isa, threads, all) = (runtime.kernels.isa(), runtime.pool.len(), gguf.tensors());
    let bytes: usize = all.iter().map(|t| t.bytes as usize).sum();
    let times = LEAST.div_ceil(bytes.max(1));
    let sum = AtomicU64::new(0);
    let start = Instant::now();
    runtime.pool.run(&|thread| {
        for _ in 0..times {
            for t in all {
                let data = gguf.data(t);
                let part = &data[data.len() * thread / threads..data.len() * (thread + 1) / threads];
                sum.fetch_add(read(isa, part), Ordering::Relaxed);
            }
        }
    })?;
    black_box(sum.into_inner());
    Ok((bytes * times) as f64 / start.elapsed().as_secs_f64())
}
