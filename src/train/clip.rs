//! The norm of all gradients, taken from partial sums at fixed places, what it makes of them, and where it went wrong.

use super::gradients::Gradients;
use super::not_negative;
use super::slots::{CHUNK, Slots};
use crate::error::{Result, fail};
use crate::memory::{Frame, Need};
use crate::ops::Exec;
use crate::threads::Shards;

/// How gradients are bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Clip {
    /// Not at all.
    #[default]
    None,
    /// All are multiplied by `min(1, limit / (norm + 1e-6))`.
    Norm(f64),
    /// Each is brought to within the limit of 0.
    Value(f64),
}

impl Clip {
    /// `InvalidArgument` unless a limit is a number above 0.
    pub fn check(self) -> Result<()> {
        let (Clip::Norm(limit) | Clip::Value(limit)) = self else { return Ok(()) };
        not_negative("the limit of gradients", limit)?;
        if limit == 0.0 {
            fail!(InvalidArgument, "the limit of gradients is 0: nothing would be learned");
        }
        Ok(())
    }

    /// `(factor, limit)` for each gradient, when they have that norm together.
    pub fn bounds(self, norm: f64) -> (f64, f64) {
        match self {
            Clip::None => (1.0, f64::INFINITY),
            Clip::Norm(limit) => ((limit / (norm + 1e-6)).min(1.0), f64::INFINITY),
            Clip::Value(limit) => (1.0, limit),
        }
    }
}

/// The first number among gradients that is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// The tensor's number.
    pub param: usize,
    /// The element of the tensor.
    pub element: usize,
    /// NaN or an infinity.
    pub value: f32,
}

impl Fault {
    /// The sentence that says so.
    pub fn describe(&self, slots: &Slots) -> String {
        let name = slots.list().get(self.param).map_or("", |p| &p.name);
        format!("the gradient of {name} is {} at element {}", self.value, self.element)
    }
}

/// What [`norm`] takes from its frame.
pub fn need(slots: &Slots) -> Need {
    Need::new().take::<f32>(slots.chunks())
}

/// The square root of the sum of squares of all gradients, or the first that is NaN or infinite.
pub fn norm<'a>(
    exec: &Exec,
    frame: &mut Frame,
    slots: &Slots,
    g: impl Into<Gradients<'a>>,
) -> Result<std::result::Result<f64, Fault>> {
    let g = g.into();
    g.check(slots)?;
    let partials: &mut [f32] = frame.sub().take(slots.chunks())?;
    let shards = Shards::new(partials);
    exec.pool.share(slots.chunks(), |thread, i| {
        // SAFETY: each chunk is one thread's, and a thread has one at a time.
        let (partial, g) = unsafe { (shards.part(i..i + 1), g.chunk(exec, thread, &slots.chunk(i))) };
        partial[0] = exec.kernels.sum_squares(g);
    })?;
    let mut sum = 0.0;
    for (i, partial) in partials.iter().enumerate() {
        let chunk = slots.chunk(i);
        // SAFETY: nothing else runs.
        if let Some((at, value)) = add(&mut sum, *partial, || unsafe { g.chunk(exec, 0, &chunk) }) {
            let element = chunk.range.start - slots.list()[chunk.param].range.start + at;
            return Ok(Err(Fault { param: chunk.param, element, value }));
        }
    }
    Ok(Ok(sum.sqrt()))
}

/// Adds the partial sum of a chunk; the place and value of the first of its gradients that is no number, if there is one.
fn add<'a>(sum: &mut f64, partial: f32, g: impl FnOnce() -> &'a [f32]) -> Option<(usize, f32)> {
    if partial.is_finite() {
        *sum += f64::from(partial);
        return None;
    }
    let g = g();
    let bad = g.iter().position(|g| !g.is_finite());
    if bad.is_none() {
        // Finite gradients whose squares are too large for f32.
        *sum += g.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>();
    }
    bad.map(|at| (at, g[at]))
}

/// Adds the sum of squares of a tensor that lies alone, with the bits it has in [`norm`]; or the place and value of its first
/// gradient that is NaN or infinite.
pub fn add_squares(exec: &Exec, g: &[f32], sum: &mut f64) -> Result<Option<(usize, f32)>> {
    let mut partials = [0.0; 1024];
    for (slice, g) in g.chunks(partials.len() * CHUNK).enumerate() {
        let chunk = |i: usize| i * CHUNK..g.len().min((i + 1) * CHUNK);
        let partials = &mut partials[..g.len().div_ceil(CHUNK)];
        let shards = Shards::new(partials);
        exec.pool.split(g.len().div_ceil(CHUNK), 1, |part| {
            for i in part {
                // SAFETY: each chunk is one thread's.
                let partial = unsafe { shards.part(i..i + 1) };
                partial[0] = exec.kernels.sum_squares(&g[chunk(i)]);
            }
        })?;
        for (i, partial) in partials.iter().enumerate() {
            if let Some((at, value)) = add(sum, *partial, || &g[chunk(i)]) {
                return Ok(Some((slice * 1024 * CHUNK + chunk(i).start + at, value)));
            }
        }
    }
    Ok(None)
}

/// Multiplies all gradients by what [`Clip::bounds`] gives, where no optimizer does it on its way.
pub fn apply(exec: &Exec, slots: &Slots, g: &mut [f32], (factor, limit): (f64, f64)) -> Result<()> {
    slots.check("the buffer of gradients", g.len())?;
    each(exec, slots, g, |g| exec.kernels.clamp(g, factor as f32, limit as f32))
}

/// The same for a tensor that lies alone.
pub fn apply_one(exec: &Exec, g: &mut [f32], (factor, limit): (f64, f64)) -> Result<()> {
    pieces(exec, g, |g| exec.kernels.clamp(g, factor as f32, limit as f32))
}

/// Makes the gradients of a tensor that lies alone 0.
pub fn zero_one(exec: &Exec, g: &mut [f32]) -> Result<()> {
    pieces(exec, g, |g| exec.kernels.zero(g))
}

/// Makes all gradients 0.
pub fn zero(exec: &Exec, slots: &Slots, g: &mut [f32]) -> Result<()> {
    slots.check("the buffer of gradients", g.len())?;
    each(exec, slots, g, |g| exec.kernels.zero(g))
}

/// Adds gradients of another batch: `sum += g`.
pub fn accumulate(exec: &Exec, slots: &Slots, sum: &mut [f32], g: &[f32]) -> Result<()> {
    slots.check("the buffer of sums of gradients", sum.len())?;
    slots.check("the buffer of gradients", g.len())?;
    let sum = Shards::new(sum);
    exec.pool.split(slots.chunks(), 1, |part| {
        for i in part {
            let range = slots.chunk(i).range;
            // SAFETY: each chunk is one thread's.
            exec.kernels.add(unsafe { sum.part(range.clone()) }, &g[range]);
        }
    })
}

fn each(exec: &Exec, slots: &Slots, g: &mut [f32], f: impl Fn(&mut [f32]) + Sync) -> Result<()> {
    let g = Shards::new(g);
    exec.pool.split(slots.chunks(), 1, |part| {
        for i in part {
            // SAFETY: each chunk is one thread's.
            f(unsafe { g.part(slots.chunk(i).range) });
        }
    })
}

fn pieces(exec: &Exec, g: &mut [f32], f: impl Fn(&mut [f32]) + Sync) -> Result<()> {
    let (len, g) = (g.len(), Shards::new(g));
    // SAFETY: parts are disjoint.
    exec.pool.split(len, CHUNK, |part| f(unsafe { g.part(part) }))
}
