//! Training passes over a whole graph, in memory that they must need to the last byte.
#![allow(dead_code)] // no test uses all of it

use qorus::Isa;
use qorus::engine::Runtime;
use qorus::layers::grads::Grads;
use qorus::layers::keep::Keep;
use qorus::layers::sequence;
use qorus::layers::train::{Pass, PassSizes};
use qorus::layers::trained::{Param, Trained, Values};
use qorus::layers::{Layer, Params, Store};
use qorus::memory::{Frame, Need, Region};
use qorus::models::Graph;
use qorus::models::train::{Batch, Mode};
use qorus::ops::Exec;
use qorus::ops::attend::Place;
use qorus::ops::dropout::Noise;
use qorus::threads::Shards;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A model with what is trained of it.
pub struct Lesson {
    pub runtime: Arc<Runtime>,
    pub graph: Graph,
    pub store: Store,
    pub trained: Trained,
    pub values: Vec<f32>,
    pub grads: Vec<f32>,
    /// Of the rows that an adapter brings to lengths.
    pub lengths: Vec<f32>,
    pub mode: Mode,
    /// The way back ends at this layer.
    pub stop: usize,
    /// Whether the gradient of the rows that go in is wanted.
    pub dx: bool,
    never: AtomicBool,
}

/// What goes in: tokens or rows, in sequences.
pub struct Input<'a> {
    pub tokens: &'a [u32],
    pub x: &'a [f32],
    pub lens: &'a [u32],
}

/// The memory of passes over a number of rows.
pub struct Room {
    places: Vec<Place>,
    region: Region,
    scratch: Vec<u8>,
    pub y: Vec<f32>,
    pub dx: Vec<f32>,
    dy: Vec<f32>,
}

impl Lesson {
    pub fn new(threads: usize, isa: Isa, (graph, store): (Graph, Store), wanted: impl Fn(&Param) -> bool) -> Lesson {
        let trained = Trained::new(&graph.layers, &store, wanted).unwrap();
        Lesson::of(threads, isa, (graph, store), trained)
    }

    pub fn of(threads: usize, isa: Isa, (graph, store): (Graph, Store), trained: Trained) -> Lesson {
        let runtime = Runtime::new(threads, Some(isa)).unwrap_or_else(|e| panic!("{e}"));
        let (mut values, grads) = (vec![f32::NAN; trained.len()], vec![0.0; trained.len()]);
        trained.load(&store, &runtime.kernels, &mut values).unwrap();
        let mode = Mode { keep: Keep::F32, eight: false, noise: Noise { seed: 7, pass: 3 } };
        Lesson {
            runtime,
            graph,
            store,
            trained,
            values,
            grads,
            lengths: Vec::new(),
            mode,
            stop: 0,
            dx: false,
            never: AtomicBool::new(false),
        }
    }

    /// Room for passes over sequences of those lengths.
    pub fn room(&self, lens: &[u32]) -> Room {
        let places: Vec<Place> =
            (0..).zip(lens).flat_map(|(seq, &len)| (0..len).map(move |pos| Place { seq, pos })).collect();
        let rows = places.len();
        let sizes = sizes(lens, &self.mode, &self.trained);
        let end = self.graph.layers.len();
        let need = self.graph.train_need(sizes, end, self.stop, self.dx);
        let cache = Need::new().take::<f32>(self.graph.train_cache_len(sizes, end));
        let region = Region::new(cache.sub(Need::new()).peak() + need.peak()).unwrap();
        let scratch = self.graph.train_scratch(sizes.longest) * self.runtime.pool.len();
        let (y, dy) = (vec![f32::NAN; rows * self.graph.out_width()], vec![f32::NAN; rows * self.graph.out_width()]);
        let dx = vec![f32::NAN; if self.dx { rows * self.graph.in_width } else { 0 }];
        Room { places, region, scratch: vec![0; scratch], y, dx, dy }
    }

    /// Forward, `loss(y, dy)`, and back: adds to the gradients. Gives what the loss gave.
    pub fn pass<R>(&mut self, input: &Input, room: &mut Room, loss: impl FnOnce(&[f32], &mut [f32]) -> R) -> R {
        let Lesson { graph, runtime, trained, values, grads, lengths, mode, stop, dx: wants, store, never } = self;
        let sizes = sizes(input.lens, mode, trained);
        let Room { places, region, scratch, y, dy, dx } = room;
        let threads = runtime.pool.len();
        let each = scratch.len() / threads;
        let scratch = Shards::new(scratch);
        let exec = Exec {
            kernels: &runtime.kernels,
            pool: &runtime.pool,
            scratch: &scratch,
            scratch_bytes: each,
            cancel: never,
        };
        let params = Params::with(store, Values::with_lengths(trained, values, lengths).unwrap());
        let batch = Batch { tokens: input.tokens, places, lens: input.lens };
        let mut grads = Grads::new(trained, grads).unwrap();
        let end = graph.layers.len();
        let cache_len = graph.train_cache_len(sizes, end);
        let planned = region.len();
        let result = region.with_frame(|frame| {
            let cache = frame.take::<f32>(cache_len).unwrap();
            cache.fill(f32::NAN);
            graph.with_pass(exec, params, trained, batch, *mode, frame, |pass, frame| {
                let width = graph.in_width;
                sequence::forward_train(&graph.layers, pass, frame, sizes, input.x, width, y, cache)?;
                let result = loss(y, dy);
                let dx = wants.then_some(&mut dx[..]);
                sequence::backward(
                    &graph.layers,
                    pass,
                    frame,
                    sizes,
                    input.x,
                    width,
                    dy,
                    dx,
                    cache,
                    &mut grads,
                    *stop,
                )?;
                Ok(result)
            })
        });
        assert_eq!(region.high_water(), planned, "the plan is not what was taken");
        result.unwrap_or_else(|e| panic!("{e}"))
    }

    /// Calls `f` with a pass, with ample memory, with the layers, where the head of them begins and the width there, and with
    /// the gradients.
    pub fn in_pass(&mut self, input: &Input, f: impl FnOnce(&Pass, &mut Frame, (&[Layer], usize, usize), &mut Grads)) {
        let Room { places, mut scratch, .. } = self.room(input.lens);
        let Lesson { graph, runtime, trained, values, grads, lengths, mode, store, never, .. } = self;
        let threads = runtime.pool.len();
        let each = scratch.len() / threads;
        let scratch = Shards::new(&mut scratch);
        let (kernels, pool) = (&runtime.kernels, &runtime.pool);
        let exec = Exec { kernels, pool, scratch: &scratch, scratch_bytes: each, cancel: never };
        let params = Params::with(store, Values::with_lengths(trained, values, lengths).unwrap());
        let batch = Batch { tokens: input.tokens, places: &places, lens: input.lens };
        let mut grads = Grads::new(trained, grads).unwrap();
        let end = graph.embedding_end();
        let layers = (&graph.layers[..], end, graph.width_at(end));
        let mut region = Region::new(1 << 24).unwrap();
        region
            .with_frame(|frame| {
                graph.with_pass(exec, params, trained, batch, *mode, frame, |pass, frame| {
                    f(pass, frame, layers, &mut grads);
                    Ok(())
                })
            })
            .unwrap_or_else(|e| panic!("{e}"));
    }

    /// The gradient of a parameter by its number in the list.
    pub fn grad(&self, index: usize) -> &[f32] {
        let t = self.trained.list()[index];
        &self.grads[t.at..t.at + t.len]
    }
}

fn sizes<'a>(lens: &[u32], mode: &Mode, trained: &'a Trained) -> PassSizes<'a> {
    let longest = lens.iter().max().map_or(0, |&len| len as usize);
    let rows = lens.iter().map(|&len| len as usize).sum();
    PassSizes { rows, longest, keep: mode.keep, eight: mode.eight, trained }
}
