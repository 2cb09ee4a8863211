//! A residual branch: y = x + f(x).

#[cfg(feature = "train")]
use super::grads::Grads;
#[cfg(feature = "train")]
use super::keep::Keep;
#[cfg(feature = "train")]
use super::train::{Pass, PassSizes};
use super::{Layer, Run, sequence};
use crate::error::Result;
use crate::memory::Frame;
#[cfg(feature = "train")]
use crate::memory::Need;
use crate::ops::elementwise;

/// Layers whose result is added to their input. They keep its width.
#[derive(Debug)]
pub struct Residual {
    /// f, one layer after another.
    pub body: Vec<Layer>,
}

impl Residual {
    /// y = x + f(x), rows of `width`.
    pub fn forward(&self, run: &mut Run, frame: &mut Frame<'_>, x: &[f32], width: usize, y: &mut [f32]) -> Result<()> {
        let rows = x.len() / width.max(1);
        sequence::forward(&self.body, run, frame, x, width, rows, y)?;
        elementwise::add(&run.exec, y, x, width)
    }
}

#[cfg(feature = "train")]
impl Residual {
    /// f32 elements of the forward cache; none when the branch is computed again.
    pub fn cache_len(&self, s: PassSizes, width: usize) -> usize {
        if s.keep == Keep::Inputs { 0 } else { sequence::cache_len(&self.body, s, width) }
    }

    fn own_cache(&self, s: PassSizes, width: usize) -> Need {
        match s.keep {
            Keep::Inputs => Need::new().take::<f32>(sequence::cache_len(&self.body, s, width)),
            Keep::F32 | Keep::Bf16 => Need::new(),
        }
    }

    /// Bytes that [`Residual::forward_train`] takes.
    pub fn train_need(&self, s: PassSizes, width: usize) -> Need {
        self.own_cache(s, width).sub(sequence::train_need(&self.body, s, width))
    }

    /// Bytes that [`Residual::backward`] takes.
    pub fn backward_need(&self, s: PassSizes, width: usize, dx: bool) -> Need {
        let mut need = self.own_cache(s, width);
        if s.keep == Keep::Inputs {
            let again = Need::new().take::<f32>(s.rows.saturating_mul(width));
            need = need.sub(again.sub(sequence::train_need(&self.body, s, width)));
        }
        need.sub(sequence::backward_need(&self.body, s, width, self.stop(s, dx), dx))
    }

    /// The layer of the branch where the way back ends: when nobody asks for the gradient of the input, the first that is trained.
    fn stop(&self, s: PassSizes, dx: bool) -> usize {
        if dx { 0 } else { s.trained.first(&self.body) }
    }

    /// y = x + f(x), rows of `width`.
    pub fn forward_train(
        &self,
        pass: &Pass,
        frame: &mut Frame<'_>,
        x: &[f32],
        width: usize,
        y: &mut [f32],
        cache: &mut [f32],
    ) -> Result<()> {
        let (s, mut frame) = (pass.sizes(x.len() / width.max(1)), frame.sub());
        let cache = match s.keep {
            Keep::Inputs => frame.take(sequence::cache_len(&self.body, s, width))?,
            Keep::F32 | Keep::Bf16 => cache,
        };
        sequence::forward_train(&self.body, pass, &mut frame, s, x, width, y, cache)?;
        elementwise::add(&pass.run.exec, y, x, width)
    }

    /// dx = dy + the gradient through f.
    #[allow(clippy::too_many_arguments)] // as any layer's
    pub fn backward(
        &self,
        pass: &Pass,
        frame: &mut Frame<'_>,
        x: &[f32],
        width: usize,
        dy: &[f32],
        mut dx: Option<&mut [f32]>,
        cache: &mut [f32],
        grads: &mut Grads,
    ) -> Result<()> {
        let (s, mut frame) = (pass.sizes(x.len() / width.max(1)), frame.sub());
        let cache = match s.keep {
            Keep::Inputs => {
                let cache = frame.take(sequence::cache_len(&self.body, s, width))?;
                let mut frame = frame.sub();
                let y = frame.take(x.len())?;
                sequence::forward_train(&self.body, pass, &mut frame, s, x, width, y, cache)?;
                cache
            }
            Keep::F32 | Keep::Bf16 => cache,
        };
        let stop = self.stop(s, dx.is_some());
        sequence::backward(&self.body, pass, &mut frame, s, x, width, dy, dx.as_deref_mut(), cache, grads, stop)?;
        match dx {
            Some(dx) => elementwise::add(&pass.run.exec, dx, dy, width),
            None => Ok(()),
        }
    }
}
