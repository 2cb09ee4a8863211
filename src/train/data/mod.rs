//! What a model is trained on, in bounded memory.
//!
//! Text goes this way: [`Source`] (plain text or JSONL) -> [`prepare()`] tokenises it once into a file of ids beside the run ->
//! [`Ids`] maps that file -> [`Batches`] fills the caller's slices, shuffled by counting, so that its place in the data is three
//! numbers. Tables go through [`table`].

mod asked;
pub mod batch;
pub mod ids;
mod lines;
pub mod pairs;
pub mod prepare;
mod sample;
pub mod shuffle;
pub mod sift;
pub mod source;
mod stretch;
pub mod table;
pub mod teacher;
pub mod vocab;

pub use batch::{Batch, BatchParams, Batches, Fill, Filled, IGNORED, Part, Place, Position, Split};
pub use ids::Ids;
pub use pairs::PairBatches;
pub use prepare::prepare;
pub use shuffle::Permutation;
pub use sift::{Sift, Sifted};
pub use source::{Kind, Source};
pub use teacher::Teacher;
