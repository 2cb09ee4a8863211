//! A training pass allocates nothing after set-up: every allocation of the process is counted, on all threads.

#[path = "common/counting.rs"]
mod counting;
#[path = "common/lesson.rs"]
mod lesson;
#[path = "common/run.rs"]
mod run;

use counting::{allocations, settle};
use lesson::{Input, Lesson};
use qorus::Isa;
use qorus::gguf::Gguf;
use qorus::layers::keep::Keep;
use qorus::models::Graph;
use std::sync::Arc;

// One test: others would allocate meanwhile.
#[test]
fn training_passes_allocate_nothing() {
    settle();
    for name in ["llama.gguf", "qwen2moe.gguf", "qwen3.gguf", "gemma2.gguf", "phi3.gguf", "llama-q8_0.gguf"] {
        for (threads, keep, all) in
            [(1, Keep::F32, true), (3, Keep::Inputs, true), (2, Keep::Bf16, true), (3, Keep::F32, false)]
        {
            let gguf = Arc::new(Gguf::open(&run::reference(name)).unwrap());
            let graph = Graph::from_gguf(&gguf).unwrap();
            let store = graph.load(&gguf).unwrap();
            let wanted =
                |p: &qorus::layers::trained::Param| all || matches!(p, qorus::layers::trained::Param::Vector(_));
            let mut lesson = Lesson::new(threads, Isa::detect(), (graph, store), wanted);
            lesson.mode.keep = keep;
            let (lens, tokens) = ([70, 5, 1], (0..76).map(|i| i * 5 % 60).collect::<Vec<u32>>());
            let mut room = lesson.room(&lens);
            let input = Input { tokens: &tokens, x: &[], lens: &lens };
            let (count, ()) = allocations(|| {
                for _ in 0..2 {
                    lesson.pass(&input, &mut room, |y, d| d.copy_from_slice(y));
                }
            });
            assert_eq!(count, 0, "{name}, {threads} threads: allocations");
            assert!(lesson.grads.iter().any(|g| *g != 0.0) && lesson.grads.iter().all(|g| g.is_finite()));
        }
    }
}
