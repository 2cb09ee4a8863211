//! Operations run alone: kernels of a level, threads, and memory for frames.
#![allow(dead_code)] // no test uses all of it

use qorus::Isa;
use qorus::engine::Runtime;
use qorus::memory::{Frame, Need, Region};
use qorus::ops::Exec;
use qorus::threads::Shards;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What operations run on, without scratch.
pub struct Bench {
    runtime: Arc<Runtime>,
    never: AtomicBool,
}

impl Bench {
    pub fn new(threads: usize, isa: Isa) -> Bench {
        let runtime = Runtime::new(threads, Some(isa)).unwrap_or_else(|e| panic!("{e}"));
        Bench { runtime, never: AtomicBool::new(false) }
    }

    /// Runs `f`, with a frame over memory of its own that it must need to the last byte.
    pub fn run<R>(&self, need: Need, f: impl FnOnce(&Exec, &mut Frame) -> R) -> R {
        let mut region = Region::new(need.peak()).unwrap();
        let result = self.run_in(&mut region, f);
        assert_eq!(region.high_water(), need.peak(), "the plan is not what was taken");
        result
    }

    /// Runs `f` with a frame over that memory.
    pub fn run_in<R>(&self, region: &mut Region, f: impl FnOnce(&Exec, &mut Frame) -> R) -> R {
        let scratch = Shards::new(&mut []);
        let (kernels, pool) = (&self.runtime.kernels, &self.runtime.pool);
        let exec = Exec { kernels, pool, scratch: &scratch, scratch_bytes: 0, cancel: &self.never };
        region.with_frame(|frame| f(&exec, frame))
    }
}
