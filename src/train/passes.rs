//! The halves of a pass, for a loss of somebody else: forward, and back from the gradient of its results.
//!
//! They work in the memory of a whole pass. That has room for the logits of a slice of rows only, so the layers of the head are
//! computed again on the way back, as a slice's are in a whole pass: the gradients have the same bits.

use super::examples::Examples;
use super::trainer::{Trainer, exec, floats};
use crate::error::{Result, fail};
use crate::layers::Params;
use crate::layers::train::{PassSizes, sequence_backward, sequence_cache_len, sequence_forward_train};
use crate::layers::trained::{Grads, Values};
use crate::models::train::{Batch, Mode};
use crate::ops::dropout::Noise;
use crate::threads::Shards;

/// Which half.
enum Half<'a> {
    /// To `[rows][out_width]`.
    Forward(&'a mut [f32]),
    /// From the gradient of those, down to this layer.
    Backward(&'a [f32], usize),
}

impl Trainer {
    /// The results of examples, `[rows][out_width]`, to `y`; keeps what [`Trainer::backward`] needs. Targets are not looked at.
    /// `number` is the pass's own, below 2^48: it decides dropout.
    pub fn forward(&mut self, examples: &Examples, number: u64, y: &mut [f32]) -> Result<()> {
        self.kept = None;
        self.half(examples, number, Half::Forward(y))?;
        self.kept = Some(number);
        Ok(())
    }

    /// Adds to the gradients what follows from `dy`, that of the results of [`Trainer::forward`], whose examples are given again:
    /// of the layers from `stop` on. `State` without such a pass right before; `InvalidArgument` when there is no layer `stop`.
    pub fn backward(&mut self, examples: &Examples, dy: &[f32], stop: usize) -> Result<()> {
        let layers = self.model.graph.layers.len();
        if stop >= layers {
            fail!(InvalidArgument, "the way back cannot stop at layer {stop}: the model has {layers}, counted from 0");
        }
        let Some(number) = self.kept else {
            fail!(
                State,
                "there is no forward pass to go back through: each serves once, and steps and losses come after it"
            );
        };
        let check = self.half(examples, number, Half::Backward(dy, stop));
        self.kept = None;
        check
    }

    fn half(&mut self, examples: &Examples, number: u64, mut half: Half) -> Result<()> {
        self.check_rows(examples)?;
        let Trainer { model, params, layout, trained, values, grads, cache, work, scratch, cancel, .. } = self;
        let (graph, rows) = (&model.graph, examples.places.len());
        let (end, width, out, slice) = (layout.end, layout.width, layout.out, layout.slice);
        let given = match &half {
            Half::Forward(y) => y.len(),
            Half::Backward(dy, _) => dy.len(),
        };
        if given != rows * out {
            fail!(Shape, "{given} results, or gradients of them, for {rows} rows of {out}");
        }
        let scratch = Shards::new(scratch.bytes_mut());
        let exec = exec(model, &scratch, layout.scratch, cancel);
        let values = &bytemuck::cast_slice(values.bytes())[..trained.len()];
        let parameters = Params::with(&model.store, Values::new(trained, values)?);
        let mut grads = Grads::new(trained, floats(grads, trained.len()))?;
        let sizes = |rows, longest| PassSizes { rows, longest, recompute: params.recompute, trained };
        let longest = examples.lens.iter().max().map_or(0, |&len| len as usize);
        let whole = sizes(rows, longest);
        let cache = floats(cache, graph.train_cache_len(whole, end));
        let mode = Mode { recompute: params.recompute, noise: Noise { seed: params.seed, pass: number } };
        let batch = Batch { tokens: examples.tokens, places: examples.places, lens: examples.lens };
        let (body, head) = graph.layers.split_at(end);
        work.with_frame(|frame| {
            // First, in both halves: what the one leaves here the other finds.
            let mid = frame.take::<f32>(rows * width)?;
            let dmid = frame.take::<f32>(rows * width)?;
            let logits = frame.take::<f32>(slice * out)?;
            let head_cache = frame.take::<f32>(layout.head)?;
            graph.with_pass(exec, parameters, trained, batch, mode, frame, |pass, frame| {
                if let Half::Forward(_) = half {
                    sequence_forward_train(body, pass, frame, whole, examples.x, graph.in_width, mid, cache)?;
                }
                for at in (0..rows).step_by(slice) {
                    let part = at..rows.min(at + slice);
                    let s = sizes(part.len(), longest.min(part.len()));
                    let (inner, outer) = (part.start * width..part.end * width, part.start * out..part.end * out);
                    let mid = &mid[inner.clone()];
                    let logits = &mut logits[..part.len() * out];
                    let head_cache = &mut head_cache[..sequence_cache_len(head, s, width)];
                    sequence_forward_train(head, pass, frame, s, mid, width, logits, head_cache)?;
                    match &mut half {
                        Half::Forward(y) => y[outer].copy_from_slice(logits),
                        Half::Backward(dy, stop) => {
                            let (dy, dx) = (&dy[outer], (*stop < end).then_some(&mut dmid[inner]));
                            let stop = stop.saturating_sub(end);
                            sequence_backward(head, pass, frame, s, mid, width, dy, dx, head_cache, &mut grads, stop)?;
                        }
                    }
                }
                match half {
                    Half::Backward(_, stop) if stop < end => {
                        let (x, w) = (examples.x, graph.in_width);
                        sequence_backward(body, pass, frame, whole, x, w, dmid, None, cache, &mut grads, stop)
                    }
                    _ => Ok(()),
                }
            })
        })
    }
}
